"""The settings of a provider: its region, default tags, tags to ignore, a key of its own, and roles to assume."""

import json
import re
import time
from dataclasses import replace
from typing import Any

from botocore.exceptions import ClientError

from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.clients import Aws, Endpoint, format_error
from pulumi_sandbox.provider.tags import TagSettings
from pulumi_sandbox.provider.values import UNKNOWN, ProviderError, State

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")

_ROLE = {"roleArn": "RoleArn", "externalId": "ExternalId", "sessionName": "RoleSessionName"}


def problems(args: State) -> list[tuple[str, str]]:
    """(setting, what is wrong with it)"""
    found: list[tuple[str, str]] = []
    region = args.get("region")
    if not (region is None or region is UNKNOWN or (isinstance(region, str) and _REGION.fullmatch(region))):
        found.append(("region", f"{region!r} is not a valid AWS region; one looks like eu-central-1"))
    if all(args.get(name) not in (None, [], "[]") for name in ("allowedAccountIds", "forbiddenAccountIds")):
        found.append(("allowedAccountIds", "conflicts with forbiddenAccountIds; set one of the two"))
    return found


def configured(args: State, endpoint: Endpoint, credentials: Credentials, region: str, *, take_key: bool) -> Aws:
    """AWS as these settings desired it. Raises ProviderError where they do not allow its account, or name no region.

    Only region, defaultTags, ignoreTags, allowedAccountIds, forbiddenAccountIds, assumeRoles and - with ``take_key``,
    or with assumeRoles, since root may assume no role - accessKey, secretKey and token count: profiles and endpoints
    would lead out of the sandbox.
    """
    known = {key: _parsed(value) for key, value in args.items() if value is not UNKNOWN}
    roles: list[dict[str, Any]] = known.get("assumeRoles") or []
    own_key = (take_key or bool(roles)) and bool(known.get("accessKey") and known.get("secretKey"))
    if own_key:
        credentials = Credentials(str(known["accessKey"]), str(known["secretKey"]), known.get("token"))
    defaults, ignored = known.get("defaultTags") or {}, known.get("ignoreTags") or {}
    aws = Aws(
        endpoint,
        credentials,
        known.get("region") or region,
        TagSettings(
            {key: value for key, value in (defaults.get("tags") or {}).items() if not key.startswith("__")},
            frozenset(ignored.get("keys") or ()),
            tuple(ignored.get("keyPrefixes") or ()),
        ),
    )
    endpoint.region_info(aws.region)
    for role in roles:
        aws = _assumed(aws, role)
    allowed, forbidden = (
        [str(account) for account in known.get(f"{kind}AccountIds") or ()] for kind in ("allowed", "forbidden")
    )
    if own_key or roles or allowed or forbidden:  # a key that does not work stops here, as with the real provider
        account = aws.sts.get_caller_identity()["Account"]
        if account in forbidden or (allowed and account not in allowed):
            raise ProviderError(f"AWS account ID not allowed: {account}")
    return aws


def _assumed(aws: Aws, role: dict[str, Any]) -> Aws:
    """The same as a role that the caller so far assumes. Source: the provider's AssumeRole settings."""
    unsupported = role.keys() - _ROLE.keys()
    if unsupported:
        raise ProviderError(f"the sandbox does not support {', '.join(sorted(unsupported))} in assumeRoles")
    asked = {_ROLE[name]: value for name, value in role.items() if value}
    try:
        made = aws.sts.assume_role(**{"RoleSessionName": f"pulumi-{time.time_ns()}", **asked})["Credentials"]
    except ClientError as error:
        reason = format_error(error, aws.endpoint.url)
        raise ProviderError(f"IAM Role ({role.get('roleArn')}) cannot be assumed: {reason}") from None
    return replace(aws, credentials=Credentials(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"]))


def _parsed(value: Any) -> Any:
    """Settings with parts arrive as JSON text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        return json.loads(value)
    return value
