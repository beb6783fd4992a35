"""What IAM reports of the whole account: GetAccountAuthorizationDetails and the credential report.

moto gives all details in one page, and its credential report lacks root, uses of keys and the errors.
Sources: both actions, GenerateCredentialReport and GetCredentialReport in the IAM API reference; "Generate credential
reports for your AWS account" in the IAM user guide for columns and values. Reports seen on AWS have no column
`additional_credentials_info`, begin with root, are sorted regardless of case, have a user's keys by id, keep the dates
of inactive keys, and end without a newline.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any
from urllib.parse import quote

from pulumi_sandbox.aws import account, clock
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.lists import page
from pulumi_sandbox.aws.rules.rule import Context, group_summary, rule, user_details

REPORT_TAKES = 1.0  # seconds; on AWS some more
REPORT_LASTS = 4 * 3600  # seconds
UNKNOWN = "Unknown"  # what SDKs show of AWS's errors, which have no message
COLUMNS = (
    *("user", "arn", "user_creation_time"),
    *("password_enabled", "password_last_used", "password_last_changed", "password_next_rotation", "mfa_active"),
    *(
        f"access_key_{number}_{what}"
        for number in (1, 2)
        for what in ("active", "last_rotated", "last_used_date", "last_used_region", "last_used_service")
    ),
    *(f"cert_{number}_{what}" for number in (1, 2) for what in ("active", "last_rotated")),
)
NO_KEY, NO_CERTIFICATE = ["false", "N/A", "N/A", "N/A", "N/A"], ["false", "N/A"]


# ---- GetAccountAuthorizationDetails

Detail = Callable[[], "dict[str, Any]"]
KINDS = ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy")


@rule("GetAccountAuthorizationDetails")
def get_account_authorization_details(context: Context) -> ApiResponse:
    """All kinds of entities count together for a page."""
    wanted = context.given.get("Filter") or KINDS
    found = page(context, "Details", [one for kind in KINDS if kind in wanted for one in _entities(context, kind)])
    lists: dict[str, list[Any]] = {
        name: [] for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")
    }
    for member, detail in found.pop("Details"):
        lists[member].append(detail())
    return context.success({**lists, **found})


def _entities(context: Context, kind: str) -> Iterable[tuple[str, Detail]]:
    """The member of the response, and what makes the detail, of each entity of a kind."""
    store = context.store
    if kind == "User":
        groups: dict[str, list[str]] = defaultdict(list)
        for group in store.groups.values():
            for user in group.users:
                groups[user.name].append(group.name)
        known = [user for user in store.users.values() if not context.faults.is_stale(user.name)]
        return [("UserDetailList", lambda user=user: _user(user, groups[user.name])) for user in known]
    if kind == "Group":
        return [("GroupDetailList", lambda group=group: _group(group)) for group in store.groups.values()]
    if kind == "Role":
        return [("RoleDetailList", lambda role=role: _role(context, role)) for role in store.roles.values()]
    own = kind == "LocalManagedPolicy"
    policies = [policy for policy in store.managed_policies.values() if (":iam::aws:" not in policy.arn) == own]
    return [("Policies", lambda policy=policy: _policy(policy)) for policy in policies]


def _user(user: Any, groups: list[str]) -> dict[str, Any]:
    return {**user_details(user), **_policies(user, "User"), "GroupList": groups}


def _group(group: Any) -> dict[str, Any]:
    return {**group_summary(group), **_policies(group, "Group")}


def _role(context: Context, role: Any) -> dict[str, Any]:
    profiles = [one for one in context.store.instance_profiles.values() if role in one.roles]
    return {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": role.arn,
        "CreateDate": role.create_date,
        "AssumeRolePolicyDocument": quote(role.assume_role_policy_document),
        "InstanceProfileList": [
            {
                "Path": one.path,
                "InstanceProfileName": one.name,
                "InstanceProfileId": one.id,
                "Arn": one.arn,
                "CreateDate": one.create_date,
                "Roles": [],
            }
            for one in profiles
        ],
        **_policies(role, "Role"),
    }


def _policies(holder: Any, kind: str) -> dict[str, Any]:
    """Inline policies, where there are any, and attached ones; AWS encodes documents as in a URL."""
    inline = [{"PolicyName": name, "PolicyDocument": quote(text)} for name, text in holder.policies.items()]
    attached = [{"PolicyName": one.name, "PolicyArn": one.arn} for one in holder.managed_policies.values()]
    return {f"{kind}PolicyList": inline or None, "AttachedManagedPolicies": attached}


def _policy(policy: Any) -> dict[str, Any]:
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": policy.default_version_id,
        "AttachmentCount": policy.attachment_count,
        "IsAttachable": True,
        "CreateDate": policy.create_date,
        "UpdateDate": policy.update_date,
        "PolicyVersionList": [
            {
                "Document": quote(version.document),
                "VersionId": version.version_id,
                "IsDefaultVersion": version.is_default,
                "CreateDate": version.create_date,
            }
            for version in policy.versions
        ],
    }


# ---- the credential report


@rule("GenerateCredentialReport")
def generate_credential_report(context: Context) -> ApiResponse:
    """What is reported is the account as it is now. Within four hours, the report that is there stays."""
    known = _report(context)
    if known and _age(known) < 0:
        return context.success({"State": "INPROGRESS"})
    if known and _age(known) < REPORT_LASTS:
        return context.success({"State": "COMPLETE"})
    ready = clock.now() + REPORT_TAKES
    vars(context.store)["credential_report"] = {"ready": ready, "content": _content(context)}
    description = None if known else "No report exists. Starting a new report generation task"
    return context.success({"State": "STARTED", "Description": description})


@rule("GetCredentialReport")
def get_credential_report(context: Context) -> ApiResponse:
    known = _report(context)
    if known is None:
        raise AwsError("ReportNotPresent", UNKNOWN, 410)
    if _age(known) < 0:
        raise AwsError("ReportInProgress", UNKNOWN, 404)
    if _age(known) >= REPORT_LASTS:
        raise AwsError("ReportExpired", UNKNOWN, 410)
    content = str(known["content"]).encode()
    made = datetime.fromtimestamp(int(known["ready"]), timezone.utc)
    return context.success({"Content": content, "ReportFormat": "text/csv", "GeneratedTime": made})


def _report(context: Context) -> dict[str, Any] | None:
    """When the last report is or was ready (seconds since 1970), and its content."""
    return vars(context.store).get("credential_report") or None


def _age(report: dict[str, Any]) -> float:
    """Seconds since it was ready; negative while it is made."""
    return clock.now() - float(report["ready"])


def _content(context: Context) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerow(_root_row(context))
    for user in sorted(context.store.users.values(), key=lambda user: user.name.lower()):
        rows.writerow(_user_row(context, user))
    return text.getvalue().removesuffix("\n")


def _root_row(context: Context) -> list[str]:
    """The sandbox's root has one key, and neither a password nor an MFA device that anybody could use."""
    created = "2020-01-01T00:00:00Z"
    password = ["not_supported", "no_information", "not_supported", "not_supported"]
    key = ["true", created, *_use(account.root_last_used(context.request.region))]
    arn = f"arn:{context.store.partition}:iam::{account.current()}:root"
    return ["<root_account>", arn, created, *password, "false", *key, *NO_KEY, *NO_CERTIFICATE, *NO_CERTIFICATE]


def _user_row(context: Context, user: Any) -> list[str]:
    password = ["false", "N/A", "N/A", "N/A"]
    if user.password:
        changed = getattr(user, "password_changed", user.create_date)
        policy = context.store.account_password_policy
        days = policy.max_password_age if policy else None
        used = _date(user.password_last_used) if user.password_last_used else "no_information"
        password = ["true", used, _date(changed), _date(changed + timedelta(days=days)) if days else "N/A"]
    keys = [
        [_flag(key.status == "Active"), _date(key.create_date), *_use(key.last_used)]
        for key in sorted(user.access_keys, key=lambda key: key.access_key_id)
    ]
    certificates = sorted(
        ([_flag(one.status == "Active"), _date(one.upload_date)] for one in user.signing_certificates.values()),
    )
    mfa = _flag(bool(user.mfa_devices))
    return [
        *(user.name, user.arn, _date(user.create_date), *password, mfa),
        *(cell for key in [*keys, NO_KEY, NO_KEY][:2] for cell in key),
        *(cell for one in [*certificates, NO_CERTIFICATE, NO_CERTIFICATE][:2] for cell in one),
    ]


def _use(used: Any) -> list[str]:
    return [_date(used.timestamp), used.region, used.service] if used else ["N/A", "N/A", "N/A"]


def _date(day: datetime) -> str:
    return f"{day:%Y-%m-%dT%H:%M:%SZ}"


def _flag(value: bool) -> str:
    return "true" if value else "false"
