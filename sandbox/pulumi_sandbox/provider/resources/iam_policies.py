"""IAM managed policies, inline policies, and what managed policies are attached to."""

from typing import Any

from pulumi_sandbox.provider import input_rules, policy_documents, tags
from pulumi_sandbox.provider.clients import Aws, all_pages
from pulumi_sandbox.provider.schema import TAGS, Property, ResourceType, Rule, output
from pulumi_sandbox.provider.unique_ids import prefix_of, unique_id
from pulumi_sandbox.provider.values import ProviderError, State

_MOST_VERSIONS = 5  # of a managed policy


def _name(desired: State) -> str:
    """The desired name, or a new one with the desired prefix."""
    return desired.get("name") or unique_id(desired.get("namePrefix") or "terraform-")


# ---- managed policies


def _create(aws: Aws, desired: State, state: State) -> None:
    tagged = aws.tagging.all(desired["tags"])
    policy = aws.iam.create_policy(
        PolicyName=_name(desired),
        Path=desired["path"],
        PolicyDocument=desired["policy"],
        **({"Description": desired["description"]} if desired.get("description") else {}),
        **({"Tags": tags.to_list(tagged)} if tagged else {}),
    )
    state["id"] = policy["Policy"]["Arn"]


def _read(aws: Aws, state: State) -> State | None:
    arn = state["id"]
    policy = aws.iam.get_policy(PolicyArn=arn)["Policy"]
    version = aws.iam.get_policy_version(PolicyArn=arn, VersionId=policy["DefaultVersionId"])["PolicyVersion"]
    own, everything = aws.tagging.split(tags.from_list(policy.get("Tags")), state.get("tags"))
    return {
        "arn": policy["Arn"],
        "name": policy["PolicyName"],
        "namePrefix": prefix_of(policy["PolicyName"]),
        "path": policy["Path"],
        "description": policy.get("Description", ""),
        "policyId": policy["PolicyId"],
        "attachmentCount": policy["AttachmentCount"],
        "tags": own,
        "tagsAll": everything,
        "policy": policy_documents.compact(policy_documents.kept(state.get("policy"), version["Document"])),
    }


def _update(aws: Aws, desired: State, state: State) -> None:
    arn = state["id"]
    removed, new = tags.difference(state.get("tagsAll"), desired["tagsAll"])
    if removed:
        aws.iam.untag_policy(PolicyArn=arn, TagKeys=removed)
    if new:
        aws.iam.tag_policy(PolicyArn=arn, Tags=tags.to_list(new))
    if policy_documents.meaning(desired["policy"]) != policy_documents.meaning(state.get("policy")):
        older = [version for version in _versions(aws, arn) if not version["IsDefaultVersion"]]
        if len(older) + 1 >= _MOST_VERSIONS:
            oldest = min(older, key=lambda version: int(version["VersionId"].removeprefix("v")))
            aws.iam.delete_policy_version(PolicyArn=arn, VersionId=oldest["VersionId"])
        aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=desired["policy"], SetAsDefault=True)


def _versions(aws: Aws, arn: str) -> list[Any]:
    return all_pages(aws.iam, "list_policy_versions", "Versions", PolicyArn=arn)


def _delete(aws: Aws, state: State) -> None:
    arn = state["id"]
    for version in _versions(aws, arn):
        if not version["IsDefaultVersion"]:
            aws.iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
    aws.iam.delete_policy(PolicyArn=arn)


def _policy_name(longest: int) -> Rule:
    return input_rules.text("made of ASCII letters, digits and _+=,.@- only", r"[\w+=,.@-]+", longest)


POLICY = ResourceType(
    "aws:iam/policy:Policy",
    {
        "policy": Property("document", required=True, rule=input_rules.document, normalize=policy_documents.compact),
        "name": Property(computed=True, replaces=True, rule=_policy_name(128), conflicts=("namePrefix",)),
        "namePrefix": Property(computed=True, replaces=True, rule=_policy_name(102), conflicts=("name",)),
        "path": Property(default="/", replaces=True),
        "description": Property(replaces=True),
        # The sandbox's AWS is consistent at once; the real provider waits this long after a create.
        "delayAfterPolicyCreationInMs": Property("int"),
        "arn": output(),
        "policyId": output(),
        "attachmentCount": output("int"),
        **TAGS,
    },
    _create,
    _read,
    _delete,
    _update,
    autoname="name",
)

# ---- inline policies


def _inline(owner: str, token: str) -> ResourceType:
    """GroupPolicy and UserPolicy; ``owner`` is "group" or "user"."""

    def call(aws: Aws, operation: str, owner_name: str, name: str, **arguments: str) -> Any:
        method = getattr(aws.iam, f"{operation}_{owner}_policy")
        return method(**{f"{owner.capitalize()}Name": owner_name, "PolicyName": name}, **arguments)

    def parts(resource_id: str) -> tuple[str, str]:
        owner_name, colon, name = resource_id.partition(":")
        if not (owner_name and colon and name):
            raise ProviderError(f"the id of a {owner.capitalize()}Policy is {owner}:policy-name, not {resource_id!r}")
        return owner_name, name

    def create(aws: Aws, desired: State, state: State) -> None:
        name = _name(desired)
        call(aws, "put", desired[owner], name, PolicyDocument=desired["policy"])
        state["id"] = f"{desired[owner]}:{name}"
        call(aws, "get", desired[owner], name)

    def read(aws: Aws, state: State) -> State | None:
        owner_name, name = parts(state["id"])
        on_aws = call(aws, "get", owner_name, name)["PolicyDocument"]
        return {
            owner: owner_name,
            "name": name,
            "namePrefix": prefix_of(name),
            "policy": policy_documents.version_first(policy_documents.kept(state.get("policy"), on_aws)),
        }

    def update(aws: Aws, desired: State, state: State) -> None:
        call(aws, "put", *parts(state["id"]), PolicyDocument=desired["policy"])

    def delete(aws: Aws, state: State) -> None:
        call(aws, "delete", *parts(state["id"]))

    properties = {
        owner: Property(required=True, replaces=True),
        "policy": Property(
            "document", required=True, rule=input_rules.document, normalize=policy_documents.version_first
        ),
        "name": Property(computed=True, replaces=True, conflicts=("namePrefix",)),
        "namePrefix": Property(computed=True, replaces=True, conflicts=("name",)),
    }
    return ResourceType(token, properties, create, read, delete, update, autoname="name")


GROUP_POLICY = _inline("group", "aws:iam/groupPolicy:GroupPolicy")
USER_POLICY = _inline("user", "aws:iam/userPolicy:UserPolicy")

# ---- attachments


def _attachment(owner: str, token: str) -> ResourceType:
    """GroupPolicyAttachment and UserPolicyAttachment; ``owner`` is "group" or "user"."""
    name_argument = f"{owner.capitalize()}Name"

    def call(aws: Aws, operation: str, state: State) -> None:
        method = getattr(aws.iam, f"{operation}_{owner}_policy")
        method(**{name_argument: state[owner], "PolicyArn": state["policyArn"]})

    def create(aws: Aws, desired: State, state: State) -> None:
        call(aws, "attach", desired)
        state["id"] = unique_id(f"{desired[owner]}-")

    def read(aws: Aws, state: State) -> State | None:
        attached = all_pages(
            aws.iam, f"list_attached_{owner}_policies", "AttachedPolicies", **{name_argument: state[owner]}
        )
        found = any(policy["PolicyArn"] == state["policyArn"] for policy in attached)
        return {owner: state[owner], "policyArn": state["policyArn"]} if found else None

    def delete(aws: Aws, state: State) -> None:
        call(aws, "detach", state)

    def locate(aws: Aws, import_id: str) -> State:
        name, slash, policy = import_id.partition("/")
        if not name or not slash or input_rules.arn(policy):
            raise ProviderError(
                f"the import id of a {owner.capitalize()}PolicyAttachment is {owner}/policy-arn, not {import_id!r}"
            )
        return {"id": f"{name}-{policy}", owner: name, "policyArn": policy}

    properties = {
        owner: Property(required=True, replaces=True),
        "policyArn": Property(required=True, replaces=True, rule=input_rules.arn),
    }
    return ResourceType(token, properties, create, read, delete, locate=locate, delete_first=True)


GROUP_POLICY_ATTACHMENT = _attachment("group", "aws:iam/groupPolicyAttachment:GroupPolicyAttachment")
USER_POLICY_ATTACHMENT = _attachment("user", "aws:iam/userPolicyAttachment:UserPolicyAttachment")
