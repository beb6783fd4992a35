"""Systems Manager: parameters."""

from typing import Any

from . import limits, tags
from .aws import Aws
from .schema import TAGS, Property, Resource, output
from .values import State


def _client(aws: Aws) -> Any:
    return aws.client("ssm")


def _put(aws: Aws, want: State, **more: Any) -> None:
    secure = want["type"] == "SecureString"
    value = want.get("insecureValue") or want.get("value") or ""
    optional = {
        "Description": want.get("description"),
        "Tier": want.get("tier"),
        "DataType": want.get("dataType"),
        "AllowedPattern": want.get("allowedPattern"),
        "KeyId": want.get("keyId") if secure else None,
    }
    _client(aws).put_parameter(
        Name=want["name"],
        Type=want["type"],
        Value=value,
        **{key: given for key, given in optional.items() if given} | more,
    )


def _create(aws: Aws, want: State, state: State) -> None:
    tagged = tags.to_list(aws.tagging.all(want["tags"]))
    if want.get("overwrite"):  # AWS takes no tags together with Overwrite
        _put(aws, want, Overwrite=True)
        state["id"] = want["name"]
        if tagged:
            _client(aws).add_tags_to_resource(ResourceType="Parameter", ResourceId=want["name"], Tags=tagged)
    else:
        _put(aws, want, **({"Tags": tagged} if tagged else {}))
        state["id"] = want["name"]


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


def _update(aws: Aws, want: State, state: State) -> None:
    if any((want.get(key) or None) != (state.get(key) or None) for key in _PUT):
        # Said even when empty, or AWS keeps the old ones.
        _put(
            aws,
            want,
            Overwrite=True,
            Description=want.get("description") or "",
            AllowedPattern=want.get("allowedPattern") or "",
        )
    gone, new = tags.difference(state.get("tagsAll"), want["tagsAll"])
    where = {"ResourceType": "Parameter", "ResourceId": state["id"]}
    if gone:
        _client(aws).remove_tags_from_resource(**where, TagKeys=gone)
    if new:
        _client(aws).add_tags_to_resource(**where, Tags=tags.to_list(new))


def _delete(aws: Aws, state: State) -> None:
    _client(aws).delete_parameter(Name=state["id"])


PARAMETER = Resource(
    "aws:ssm/parameter:Parameter",
    {
        "name": Property(required=True, replaces=True, rule=limits.at_most(2048)),
        "type": Property(required=True, rule=limits.one_of("String", "StringList", "SecureString")),
        "value": Property(computed=True, secret=True),
        "insecureValue": Property(computed=True, follows=("value",)),
        "description": Property(rule=limits.at_most(1024)),
        "tier": Property(computed=True, rule=limits.one_of("Standard", "Advanced", "Intelligent-Tiering")),
        "keyId": Property(computed=True),
        "overwrite": Property("bool"),
        "allowedPattern": Property(rule=limits.at_most(1024)),
        "dataType": Property(
            computed=True, replaces=True, rule=limits.one_of("text", "aws:ec2:image", "aws:ssm:integration")
        ),
        "arn": Property(computed=True),
        "version": output("int", follows=("value",)),
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
