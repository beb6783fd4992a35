"""What a caller may do: its policies decide on the permissions that a request needs (permissions.py).

Root may do everything. A user's policies are its own and those of its groups, bounded by its permissions boundary; an
assumed role's are the role's. A federated user may do what both its user and its session policies allow. Of
resource-based policies, that of a secret counts, and a bucket policy's deny.
"""

from __future__ import annotations

from typing import Any

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.permissions import needed
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, evaluate, of_principals
from pulumi_sandbox.aws.request import EC2, JSON, REST, S3, ApiRequest
from pulumi_sandbox.aws.response import AwsError

Context = dict[str, tuple[str, ...]]
PLAIN_HTTP = "sandbox.plain_http"  # in the environ of a request that counts as plain HTTP; others count as TLS
ALWAYS_ALLOWED = {"sts:GetCallerIdentity", "sts:GetSessionToken"}


def authorize(request: ApiRequest, caller: Caller, now: str) -> None:
    """Raise AwsError, in the words of the service, unless the caller may do what `request` asks. `now`: ISO 8601."""
    context = _context(request, caller, now)
    if request.service == "s3":
        _check_bucket_policy(request, caller, context)
    if caller.is_root:
        return
    policies, boundary = _documents(request, caller)
    for action, resource in needed(request, caller):
        if action in ALWAYS_ALLOWED:
            continue
        access = AccessRequest(action, resource, context | _kms_context(request, action, resource))
        verdict, of_secret = evaluate(policies, access), _verdict_of_secret(request, caller, access)
        if of_secret is Verdict.DENIED:
            raise _refusal(request, caller, access, "with an explicit deny in a resource-based policy")
        if of_secret is Verdict.ALLOWED and verdict is Verdict.SILENT:
            continue  # in the same account, one of the two policies is enough; a boundary does not limit this one
        if verdict is Verdict.ALLOWED and boundary is not None:
            if evaluate([boundary], access) is not Verdict.ALLOWED:
                raise _refusal(request, caller, access, f"because no permissions boundary allows the {action} action")
        elif verdict is Verdict.SILENT:
            raise _refusal(request, caller, access, f"because no identity-based policy allows the {action} action")
        elif verdict is Verdict.DENIED:
            raise _refusal(request, caller, access, "with an explicit deny in an identity-based policy")
        if caller.session and caller.session.name and evaluate(caller.session.policies, access) is not Verdict.ALLOWED:
            raise _refusal(request, caller, access, f"because no session policy allows the {action} action")


def _verdict_of_secret(request: ApiRequest, caller: Caller, access: AccessRequest) -> Verdict:
    """What the resource policy of a secret decides on an action on it."""
    from moto.secretsmanager.models import secretsmanager_backends

    if not access.action.startswith("secretsmanager:") or access.resource == "*":
        return Verdict.SILENT
    owner = account.current()
    secret: Any = secretsmanager_backends[owner][request.region].secrets.get(access.resource)
    policy: str | None = getattr(secret, "policy", None)
    if not policy:
        return Verdict.SILENT
    # The account as principal leaves it to its identity-based policies to allow something.
    own, everybody = _principals(request, caller)
    return evaluate([of_principals(policy, own, everybody)], access)


def _principals(request: ApiRequest, caller: Caller) -> tuple[set[str], set[str]]:
    """How a resource-based policy can name the caller, and how it can name the caller or the whole account."""
    own = {"*", caller.arn, *([caller.role.role_arn] if caller.role else [])}
    owner = account.current()
    return own, own | {owner, f"arn:{account.partition(request.region)}:iam::{owner}:root"}


def _check_bucket_policy(request: ApiRequest, caller: Caller, context: Context) -> None:
    """Raise AwsError where the policy of the bucket denies what `request` asks."""
    from moto.s3.models import s3_backends

    buckets: Any = s3_backends[account.current()][account.partition(request.region)].buckets
    bucket: Any = buckets.get(request.parameters.get("Bucket", ""))
    # Root can always repair a policy: "Bucket policies", S3 user guide.
    if bucket is None or not bucket.policy or (caller.is_root and "BucketPolicy" in (request.action or "")):
        return
    document = of_principals(bucket.policy.decode(), *_principals(request, caller))
    for action, resource in needed(request, caller):
        access = AccessRequest(action, resource, context)
        if evaluate([document], access) is Verdict.DENIED:
            raise _refusal(request, caller, access, "with an explicit deny in a resource-based policy")


def _documents(request: ApiRequest, caller: Caller) -> tuple[list[str], str | None]:
    """The policy documents of the caller, and that of its permissions boundary if it has one."""
    store = account.iam(request.region)
    if caller.user is not None:
        holders: list[Any] = [caller.user, *store.get_groups_for_user(caller.user.name)]
    else:
        assumed = caller.role.role_arn if caller.role else ""
        holders = [role for role in store.roles.values() if role.arn == assumed]
    documents: list[str] = []
    for holder in holders:
        documents += holder.policies.values()
        documents += [default_document(policy) for policy in holder.managed_policies.values()]
    return documents, boundary_of(holders[0], store) if holders else None


def boundary_of(holder: Any, store: Any) -> str | None:
    """The document of a user's or role's permissions boundary, if it has one."""
    limit = getattr(holder, "permissions_boundary", None)
    policy = store.managed_policies.get(limit["PermissionsBoundaryArn"]) if limit else None
    return default_document(policy) if policy else '{"Statement": []}' if limit else None


def default_document(policy: Any) -> str:
    """The document of a managed policy's default version."""
    return next(version.document for version in policy.versions if version.is_default)


def _context(request: ApiRequest, caller: Caller, now: str) -> Context:
    """The global condition keys. Long-lived keys carry no aws:MultiFactorAuthPresent."""
    context = {
        "aws:principalarn": (caller.arn,),
        "aws:principalaccount": (account.current(),),
        "aws:principaltype": ("User" if caller.user else "AssumedRole",),
        "aws:requestedregion": (request.region,),
        "aws:sourceip": (request.environ.get("REMOTE_ADDR", "127.0.0.1"),),
        "aws:securetransport": ("false" if PLAIN_HTTP in request.environ else "true",),
        "aws:viaawsservice": ("false",),
        "aws:currenttime": (now,),
        "aws:useragent": (request.header("user-agent"),),
    }
    if caller.issued:
        context["aws:tokenissuetime"] = (f"{caller.issued:%Y-%m-%dT%H:%M:%SZ}",)
    if caller.user:
        context["aws:username"] = (caller.user.name,)
        context["aws:userid"] = (caller.user.id,)
        for tag in caller.user.tags or []:
            context[f"aws:principaltag/{tag['Key'].lower()}"] = (tag["Value"],)
    for name, key in (("PolicyArn", "iam:policyarn"), ("PermissionsBoundary", "iam:permissionsboundary")):
        if name in request.form:
            context[key] = (request.form[name],)
    if request.service == "s3":
        context |= {
            f"s3:{name}": (request.form[name],) for name in ("prefix", "delimiter", "max-keys") if name in request.form
        }
    return context


def _kms_context(request: ApiRequest, action: str, resource: str) -> dict[str, tuple[str, ...]]:
    """The condition keys of KMS: the aliases of the key, and the service that calls on behalf of the caller."""
    from moto.kms.models import kms_backends

    if not action.startswith("kms:"):
        return {}
    key: Any = kms_backends[account.current()][request.region].keys.get(resource.rpartition("/")[2])
    aliases = {"kms:resourcealiases": tuple(key.aliases)} if key and key.aliases else {}
    if request.service == "kms":
        return aliases
    suffix = "amazonaws.com.cn" if request.region.startswith("cn-") else "amazonaws.com"
    return aliases | {"kms:viaservice": (f"{request.service}.{request.region}.{suffix}",)}


def _refusal(request: ApiRequest, caller: Caller, access: AccessRequest, reason: str) -> AwsError:
    if request.service == "secretsmanager" and access.action.startswith("kms:"):
        return AwsError("AccessDeniedException", "Access to KMS is not allowed", 400)
    what = f"User: {caller.arn} is not authorized to perform: {access.action}"
    if request.protocol == EC2:
        return AwsError("UnauthorizedOperation", f"You are not authorized to perform this operation. {what} {reason}")
    if access.resource != "*":
        resource = f'"{access.resource}"' if request.protocol == S3 else access.resource
        what = f"{what} on resource: {resource}"
    if request.protocol == JSON:
        return AwsError("AccessDeniedException", f"{what} {reason}", 400)
    if request.protocol == REST:
        return AwsError("AccessDeniedException", f"{what} {reason}", 403)
    if request.service == "sns":  # has a code of its own, and writes its name in capitals
        text = f"{what} {reason}".replace(access.action, f"SNS:{request.action}")
        return AwsError("AuthorizationError", text, 403)
    return AwsError("AccessDenied", f"{what} {reason}")
