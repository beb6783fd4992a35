"""Systems Manager: parameters."""

from typing import Any

from pulumi_sandbox.provider import input_rules, tags
from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, output
from pulumi_sandbox.provider.values import State


def _client(aws: Aws) -> Any:
    return aws.client("ssm")


def _put(aws: Aws, desired: State, **more: Any) -> None:
    secure = desired["type"] == "SecureString"
    value = desired.get("insecureValue") or desired.get("value") or ""
    optional = {
        "Description": desired.get("description"),
        "Tier": desired.get("tier"),
        "DataType": desired.get("dataType"),
        "AllowedPattern": desired.get("allowedPattern"),
        "KeyId": desired.get("keyId") if secure else None,
    }
    _client(aws).put_parameter(
        Name=desired["name"],
        Type=desired["type"],
        Value=value,
        **{key: given for key, given in optional.items() if given} | more,
    )


def _create(aws: Aws, desired: State, state: State) -> None:
    tagged = tags.to_list(aws.tagging.all(desired["tags"]))
    if desired.get("overwrite"):  # AWS takes no tags together with Overwrite
        _put(aws, desired, Overwrite=True)
        state["id"] = desired["name"]
        if tagged:
            _client(aws).add_tags_to_resource(ResourceType="Parameter", ResourceId=desired["name"], Tags=tagged)
    else:
        _put(aws, desired, **({"Tags": tagged} if tagged else {}))
        state["id"] = desired["name"]


def _read(aws: Aws, state: State) -> State | None:
    client, name = _client(aws), state["id"]
    parameter = client.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    described = client.describe_parameters(ParameterFilters=[{"Key": "Name", "Option": "Equals", "Values": [name]}])[
        "Parameters"
    ]
    if not described:
        return None
    details = described[0]
    listed = client.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
    own, everything = aws.tagging.split(tags.from_list(listed), state.get("tags"))
    insecure = bool(state.get("insecureValue")) and parameter["Type"] != "SecureString"
    return {
        "name": parameter["Name"],
        "type": parameter["Type"],
        "arn": parameter["ARN"],
        "value": None if insecure else parameter["Value"],
        "insecureValue": parameter["Value"] if insecure else None,
        "version": parameter["Version"],
        "dataType": parameter.get("DataType", "text"),
        "description": details.get("Description", ""),
        "tier": details.get("Tier", "Standard"),
        "allowedPattern": details.get("AllowedPattern", ""),
        "keyId": details.get("KeyId", ""),
        "tags": own,
        "tagsAll": everything,
    }


_PUT = ("type", "value", "insecureValue", "description", "tier", "keyId", "allowedPattern", "dataType")


def _update(aws: Aws, desired: State, state: State) -> None:
    removed, new = tags.difference(state.get("tagsAll"), desired["tagsAll"])
    where = {"ResourceType": "Parameter", "ResourceId": state["id"]}
    if removed:
        _client(aws).remove_tags_from_resource(**where, TagKeys=removed)
    if new:
        _client(aws).add_tags_to_resource(**where, Tags=tags.to_list(new))
    if any((desired.get(key) or None) != (state.get(key) or None) for key in _PUT):
        # Sent even when empty, or AWS keeps the old ones.
        _put(
            aws,
            desired,
            Overwrite=True,
            Description=desired.get("description") or "",
            AllowedPattern=desired.get("allowedPattern") or "",
        )


def _delete(aws: Aws, state: State) -> None:
    _client(aws).delete_parameter(Name=state["id"])


PARAMETER = ResourceType(
    "aws:ssm/parameter:Parameter",
    {
        "name": Property(required=True, replaces=True, rule=input_rules.at_most(2048)),
        "type": Property(required=True, rule=input_rules.one_of("String", "StringList", "SecureString")),
        "value": Property(computed=True, secret=True),
        "insecureValue": Property(computed=True, recomputed_with=("value",)),
        "description": Property(rule=input_rules.at_most(1024)),
        "tier": Property(computed=True, rule=input_rules.one_of("Standard", "Advanced", "Intelligent-Tiering")),
        "keyId": Property(computed=True),
        "overwrite": Property("bool"),
        "allowedPattern": Property(rule=input_rules.at_most(1024)),
        "dataType": Property(
            computed=True, replaces=True, rule=input_rules.one_of("text", "aws:ec2:image", "aws:ssm:integration")
        ),
        "arn": Property(computed=True),
        "version": output("int", recomputed_with=("value",)),
        "hasValueWo": output("bool"),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    autoname="name",
    exactly_one=("value", "insecureValue"),
    regional=True,
)
