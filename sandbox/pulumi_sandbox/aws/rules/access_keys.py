"""AWS's rules for access keys and for STS: quotas, who a key belongs to, when it was last used, who may assume what."""

from __future__ import annotations

import json
from base64 import b32decode
from datetime import datetime, timezone
from typing import Any

from pulumi_sandbox.aws import account, clock, sessions
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import Context, check_quota, rule, user_details

ROOT_KEYS = "The sandbox keeps the account's one root key; it can be neither added to, changed nor deleted."


@rule("CreateAccessKey")
def create_access_key(context: Context) -> ApiResponse:
    if "UserName" not in context.given:
        raise AwsError("NotImplemented", ROOT_KEYS)
    user = context.user()
    check_quota(context.quotas, "access_keys_per_user", len(user.access_keys))  # an Inactive one counts
    key = context.store.create_access_key(user.name)
    context.faults.register(key.access_key_id)
    return context.success(
        {
            "AccessKey": {
                "UserName": user.name,
                "AccessKeyId": key.access_key_id,
                "Status": key.status,
                "SecretAccessKey": key.secret_access_key,
                "CreateDate": key.create_date,
            }
        }
    )


@rule("UpdateAccessKey", "DeleteAccessKey")
def change_access_key(context: Context) -> None:
    key_id = context.given["AccessKeyId"]
    owned = context.user().access_keys if "UserName" in context.given else []
    if "UserName" not in context.given and key_id == context.root.access_key_id:
        raise AwsError("NotImplemented", ROOT_KEYS)
    if not any(key.access_key_id == key_id for key in owned):
        raise AwsError("NoSuchEntity", f"The Access Key with id {key_id} cannot be found.")


@rule("GetAccessKeyLastUsed")
def get_access_key_last_used(context: Context) -> ApiResponse:
    """AWS responds AccessDenied for a key it does not know: it may be another account's."""
    key_id = context.given["AccessKeyId"]
    key = context.store.access_keys.get(key_id)
    if key is None or key.user_name is None:
        what = f"{context.caller.arn} is not authorized to perform iam:GetAccessKeyLastUsed"
        raise AwsError("AccessDenied", f"User: {what} on resource: access key {key_id}")
    used = key.last_used
    return context.success(
        {
            "UserName": key.user_name,
            "AccessKeyLastUsed": {
                "LastUsedDate": used.timestamp if used else None,
                "ServiceName": used.service if used else "N/A",
                "Region": used.region if used else "N/A",
            },
        }
    )


@rule("GetUser")
def get_user(context: Context) -> ApiResponse:
    if "UserName" in context.given:
        return context.success({"User": user_details(context.user())})
    root = {"Path": "/", "UserId": account.current(), "Arn": context.caller.arn, "CreateDate": "2020-01-01T00:00:00Z"}
    return context.success({"User": root})


@rule("GetAccountSummary")
def get_account_summary(context: Context) -> None:
    """Let moto answer with the quotas that are in force."""
    quotas, summary = context.quotas, vars(context.store.account_summary)
    summary["_users_quota"] = quotas.users_per_account
    summary["_groups_quota"] = quotas.groups_per_account
    summary["_roles_quota"] = quotas.roles_per_account
    summary["_policies_quota"] = quotas.policies_per_account
    summary["_groups_per_user_quota"] = quotas.groups_per_user
    summary["_attached_policies_per_user_quota"] = quotas.policies_per_user
    summary["_attached_policies_per_group_quota"] = quotas.policies_per_group
    summary["_account_access_keys_present"] = 1


# ---- STS


@rule("GetCallerIdentity", service="sts")
def get_caller_identity(context: Context) -> ApiResponse:
    caller = context.caller
    if caller.user is not None:
        identity = caller.user.id
        if caller.session and caller.session.name:
            identity = f"{account.current()}:{caller.session.name}"
    else:
        identity = caller.role.user_id if caller.role is not None else account.current()
    return context.success({"Arn": caller.arn, "UserId": identity, "Account": account.current()})


@rule("GetSessionToken", "GetFederationToken", service="sts")
def session_token(context: Context) -> ApiResponse:
    """moto answers these with fixed example credentials that open nothing. Managed policies as session policies of a
    federated user are not supported."""
    caller, given, action = context.caller, context.given, context.request.action
    if caller.session or caller.role:
        raise AwsError("AccessDenied", f"Cannot call {action} with session credentials")
    if caller.user is None or "PolicyArns" in given:
        raise AwsError("NotImplemented", f"The sandbox has no {action} for root, and none with PolicyArns.")
    name, policies = given.get("Name"), (given["Policy"],) if "Policy" in given else ()
    begin = clock.now()
    expires = begin + given.get("DurationSeconds", 43200)
    made = sessions.UserSession(sessions.new_key_id(), caller.user.id, begin, expires, name, policies)
    issued = sessions.credentials(context.root, made)
    content: dict[str, Any] = {
        "Credentials": {
            "AccessKeyId": issued.access_key_id,
            "SecretAccessKey": issued.secret_access_key,
            "SessionToken": issued.session_token,
            "Expiration": datetime.fromtimestamp(expires, timezone.utc),
        }
    }
    if name:
        arn = f"arn:{context.store.partition}:sts::{account.current()}:federated-user/{name}"
        content["FederatedUser"] = {"FederatedUserId": f"{account.current()}:{name}", "Arn": arn}
    return context.success(content)


@rule("GetAccessKeyInfo", service="sts")
def get_access_key_info(context: Context) -> ApiResponse:
    """AWS reads the account from the key id, of which it is a part; it does not look whether there is such a key."""
    key_id = context.given["AccessKeyId"]
    if key_id == context.root.access_key_id:
        return context.success({"Account": account.current()})
    try:
        number = int.from_bytes(b32decode(key_id[4:20])[:6], "big")
    except ValueError:
        raise AwsError("ValidationError", f"Invalid access key id: {key_id}") from None
    return context.success({"Account": f"{(number & 0x7FFFFFFFFF80) >> 7:012d}"})


@rule("AssumeRole", service="sts")
def assume_role(context: Context) -> None:
    """The role must exist and trust the caller; root and federated users may assume none."""
    if context.caller.session and context.caller.session.name:
        raise AwsError("AccessDenied", "Cannot call AssumeRole with federated user credentials")
    if context.caller.is_root:
        raise AwsError("AccessDenied", "Roles may not be assumed by root accounts.")
    arn = context.given["RoleArn"]
    role = account.role(context.request.region, arn)
    if role is None or not _trusts(role.assume_role_policy_document, context, arn):
        what = f"{context.caller.arn} is not authorized to perform: sts:AssumeRole"
        raise AwsError("AccessDenied", f"User: {what} on resource: {arn}")


def _trusts(document: str, context: Context, role_arn: str) -> bool:
    caller, account_root = context.caller.arn, f"arn:{context.store.partition}:iam::{account.current()}:root"
    named = {caller, account_root, account.current(), "*"}
    named |= {context.caller.role.role_arn} if context.caller.role else set()
    content: Any = json.loads(document)
    statements: Any = content.get("Statement", [])
    relevant: list[Any] = []
    for statement in statements if isinstance(statements, list) else [statements]:
        principal: Any = statement.get("Principal", {})
        principals: Any = principal.get("AWS", []) if isinstance(principal, dict) else principal
        if named & set(principals if isinstance(principals, list) else [principals]):
            relevant.append({**statement, "Resource": "*"})
    context_keys = {"sts:externalid": (context.given["ExternalId"],)} if "ExternalId" in context.given else {}
    access = AccessRequest("sts:AssumeRole", role_arn, context_keys)
    return evaluate([json.dumps({"Statement": relevant})], access) is Verdict.ALLOWED
