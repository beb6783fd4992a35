"""The AWS session that the stack's own `aws:` config gives, so that the program and the provider are one caller."""

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aws_access_keys.rules.problem import did_you_mean
from aws_access_keys.rules.untyped import mapping

if TYPE_CHECKING:
    import boto3

_ROLE = {
    "roleArn": "RoleArn",
    "sessionName": "RoleSessionName",
    "externalId": "ExternalId",
    "policy": "Policy",
    "policyArns": "PolicyArns",
    "sourceIdentity": "SourceIdentity",
    "tags": "Tags",
    "transitiveTagKeys": "TransitiveTagKeys",
}
"""What the provider reads of a role in `aws:assumeRoles` → the parameter of AssumeRole, except `duration`: sessions are
renewed here. Source: ProviderAssumeRoleArgs of pulumi-aws."""
_OTHER_TYPES = {
    "policyArns": (list, "a list of ARNs"),
    "tags": (dict, "a mapping, such as {team: data}"),
    "transitiveTagKeys": (list, "a list of tag keys"),
}
"""Settings of a role that are not text → their type, and what a message calls it."""
_EXAMPLE = "[{roleArn: arn:aws:iam::123456789012:role/deploy}]"
_KEYS = ("accessKey", "secretKey", "token")


def region_or_default(configured: Any) -> str | None:
    """A stack's region (`aws:region`), or that of the environment, in the provider's order: boto3 itself does not read
    AWS_REGION. None where neither names one. Source: `pulumi_aws.config`."""
    return configured or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None


def aws_session() -> "boto3.Session":
    """The session of the running stack. Raises botocore's errors, and RunError for malformed roles."""
    import pulumi  # not needed, and slow to load, for the operators' commands that share session_for

    config = pulumi.Config("aws")
    try:
        return session_for({name: config.get(name) for name in ("region", "profile", *_KEYS, "assumeRoles")})
    except ValueError as error:
        raise pulumi.RunError(f"{error} Nothing was created or changed.") from None


def session_for(config: Mapping[str, Any]) -> "boto3.Session":
    """A boto3 session with the region, profile, keys and roles of a stack's `aws:` config.

    What is not given comes from AWS's default credential chain. In the sandbox there are no profiles, and keys only
    count with roles, as for the provider there. Raises botocore's errors, and ValueError for malformed roles.
    """
    import boto3

    try:
        roles = roles_of(config.get("assumeRoles"))
    except ValueError as error:
        raise ValueError(f"aws:assumeRoles: {error}") from None
    if is_sandbox():
        config = {name: config.get(name) for name in ("region", *(_KEYS if roles else ()))}
    key_id, secret, token = (config.get(name) for name in _KEYS)
    session: Any = boto3.Session(
        region_name=region_or_default(config.get("region")),
        profile_name=config.get("profile"),
        aws_access_key_id=key_id,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )
    return _as_roles(session, config.get("profile"), roles) if roles else session


def _as_roles(session: Any, profile: str | None, roles: list[dict[str, Any]]) -> "boto3.Session":
    """A session as the last of the roles, each of which is assumed by the one before it. Renews its credentials."""
    import boto3
    from botocore.credentials import (
        AssumeRoleCredentialFetcher,
        CredentialProvider,
        CredentialResolver,
        DeferredRefreshableCredentials,
    )
    from botocore.exceptions import NoCredentialsError
    from botocore.session import Session

    region = session.region_name or "us-east-1"
    core: Any = Session(profile=profile)
    core.set_config_variable("region", region)
    found: Any = session.get_credentials()
    if found is None:
        raise NoCredentialsError
    for index, role in enumerate(roles):
        fetcher = AssumeRoleCredentialFetcher(
            partial(core.create_client, region_name=region), found, role["roleArn"], extra_args=_asked(role)
        )
        refresh = partial(_fetched, fetcher.fetch_credentials, f"aws:assumeRoles[{index}]", role["roleArn"])
        found = DeferredRefreshableCredentials(refresh, "assume-role")

    class Assumed(CredentialProvider):
        METHOD = "aws:assumeRoles"

        def load(self) -> Any:
            return found

    core.register_component("credential_provider", CredentialResolver([Assumed()]))
    return boto3.Session(botocore_session=core)


def _fetched(fetch: Callable[[], Any], place: str, arn: str) -> Any:
    """The credentials of a role. Raises CredentialRetrievalError, which names the setting."""
    from botocore.exceptions import ClientError, CredentialRetrievalError

    from aws_access_keys.iam import format_error

    try:
        return fetch()
    except ClientError as error:
        hint = "The role must exist and trust this caller, and externalId must be the one in its trust policy"
        raise CredentialRetrievalError(
            provider=f"{place} ({arn})", error_msg=f"{format_error(error)}. {hint}"
        ) from None


def _asked(role: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of AssumeRole besides the role's ARN."""
    given: dict[str, Any] = {"sessionName": "aws-access-keys", **{name: value for name, value in role.items() if value}}
    if "policyArns" in given:
        given["policyArns"] = [{"arn": arn} for arn in given["policyArns"]]
    if "tags" in given:
        given["tags"] = [{"Key": key, "Value": value} for key, value in given["tags"].items()]
    return {_ROLE[name]: value for name, value in given.items() if name not in ("roleArn", "duration")}


def sandbox_project() -> str | None:
    """The folder of the project in the sandbox, whose engine works on a copy of it."""
    return os.environ.get("PULUMI_SANDBOX_PROJECT")


def is_sandbox() -> bool:
    """Whether this runs in the sandbox, where nothing touches a real account."""
    return bool(os.environ.get("PULUMI_SANDBOX"))


def roles_of(given: Any) -> list[dict[str, Any]]:
    """The roles in `aws:assumeRoles`, which a stack file can have as a list or as JSON text. Raises ValueError."""
    try:
        roles: Any = json.loads(given) if isinstance(given, str) else given or []
    except ValueError:
        roles = None
    listed = cast("list[dict[str, Any]]", roles)
    if not isinstance(roles, list) or not all(isinstance(mapping(role).get("roleArn"), str) for role in listed):
        raise ValueError(f"expected a list of roles, for example {_EXAMPLE}.")
    known = sorted({*_ROLE, "duration"})
    for role in listed:
        for name in sorted(role.keys() - set(known)):
            near = did_you_mean(name, known)
            raise ValueError(
                f"the role {role['roleArn']} has an unknown setting '{name}'. Known: {', '.join(known)}.{near}"
            )
        for name, value in role.items():
            expected = _OTHER_TYPES.get(name, (str, "text"))
            if value is not None and not isinstance(value, expected[0]):
                raise ValueError(f"{name} of the role {role['roleArn']} must be {expected[1]}, got {value!r}.")
    return listed
