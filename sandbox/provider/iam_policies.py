"""IAM managed policies, inline policies, and what managed policies are attached to."""
from __future__ import annotations

from typing import Any

from . import limits
from .aws import Aws, all_pages
from .schema import Property, Resource
from .unique import unique_id
from .values import Refusal, State

# ---- attachments


def _attachment(owner: str, token: str) -> Resource:
    """GroupPolicyAttachment and UserPolicyAttachment; ``owner`` is "group" or "user"."""
    name_argument = f"{owner.capitalize()}Name"

    def call(aws: Aws, operation: str, state: State) -> Any:
        method = getattr(aws.iam, f"{operation}_{owner}_policy")
        return method(**{name_argument: state[owner], "PolicyArn": state["policyArn"]})

    def create(aws: Aws, want: State, state: State) -> None:
        call(aws, "attach", want)
        state["id"] = unique_id(f"{want[owner]}-")

    def read(aws: Aws, state: State) -> State | None:
        attached = all_pages(aws.iam, f"list_attached_{owner}_policies", "AttachedPolicies",
                             **{name_argument: state[owner]})
        found = any(policy["PolicyArn"] == state["policyArn"] for policy in attached)
        return {owner: state[owner], "policyArn": state["policyArn"]} if found else None

    def delete(aws: Aws, state: State) -> None:
        call(aws, "detach", state)

    def locate(aws: Aws, import_id: str) -> State:
        name, slash, policy = import_id.partition("/")
        if not name or not slash or limits.arn(policy):
            raise Refusal(f"the import id of a {owner.capitalize()}PolicyAttachment is "
                          f"{owner}/policy-arn, not {import_id!r}")
        return {"id": f"{name}-{policy}", owner: name, "policyArn": policy}

    properties = {owner: Property(required=True, replaces=True),
                  "policyArn": Property(required=True, replaces=True, rule=limits.arn)}
    return Resource(token, properties, create, read, delete, locate=locate, delete_first=True)


GROUP_POLICY_ATTACHMENT = _attachment("group", "aws:iam/groupPolicyAttachment:GroupPolicyAttachment")
USER_POLICY_ATTACHMENT = _attachment("user", "aws:iam/userPolicyAttachment:UserPolicyAttachment")
