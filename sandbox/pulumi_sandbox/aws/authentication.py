"""Who calls: checks the Signature Version 4 of every request and finds the principal behind the key.

The signature is computed again by botocore's own signer from the key's secret and compared. Root is the account's root
key, which belongs to no IAM user. Errors per protocol are those of each service's "Common errors" page and of S3's
"Error responses" page. Not accepted: unsigned S3 requests (public buckets), Signature Version 2 (AWS refuses it for
buckets made since June 2020). The signatures inside an aws-chunked S3 body are not checked, only that of its header.
"""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import sha256
from typing import TYPE_CHECKING

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials as SigningCredentials

from pulumi_sandbox.aws import account, sessions
from pulumi_sandbox.aws.request import EC2, JSON, QUERY, REST, S3, ApiRequest, Signature
from pulumi_sandbox.aws.response import AwsError
from pulumi_sandbox.aws.sessions import UserSession
from pulumi_sandbox.credentials import Credentials

if TYPE_CHECKING:
    from moto.iam.models import User
    from moto.sts.models import AssumedRole

CLOCK_SKEW = 15 * 60  # seconds a signature's date may differ from the server's, in AWS
MAX_PRESIGNED = 7 * 24 * 3600  # seconds a presigned URL may be valid, in AWS
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_TIMESTAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)


@dataclass(frozen=True)
class Caller:
    """The principal of a request: the account's root, an IAM user, or an assumed role.

    `session`: what a user calls with, if not with an access key of its own.
    """

    arn: str
    key_id: str
    user: User | None = None
    role: AssumedRole | None = None
    session: UserSession | None = None

    @property
    def is_root(self) -> bool:
        """Root is allowed everything."""
        return self.user is None and self.role is None

    @property
    def issued(self) -> datetime | None:
        """When the temporary credentials that it calls with were issued, in UTC."""
        if self.session is not None:
            return datetime.fromtimestamp(int(self.session.issued), timezone.utc)
        return self.role.access_key.create_date.replace(tzinfo=timezone.utc) if self.role is not None else None


def authenticate(request: ApiRequest, root: Credentials, now: float, has_propagated: Callable[[str], bool]) -> Caller:
    """The caller; AwsError in the words of the service. `now` is the sandbox's time in seconds since 1970;
    `has_propagated(key_id)`: whether a new key works already."""
    if request.malformed:
        raise _malformed(request, request.malformed)
    signature = request.signature
    if signature is None:
        raise _unsigned(request)
    if not _TIMESTAMP.fullmatch(signature.date):
        raise _malformed(request, "Date in the signature must be in ISO-8601 'basic format', as in 20250131T235959Z.")
    caller, secret = _principal(request, signature.key_id, root, now, has_propagated)
    _check_date(request, signature, now)
    if not hmac.compare_digest(_expected(request, signature, secret).encode(), signature.value.encode()):
        raise _mismatch(request)
    _check_body(request)
    return caller


def _principal(
    request: ApiRequest, key_id: str, root: Credentials, now: float, has_propagated: Callable[[str], bool]
) -> tuple[Caller, str]:
    token = request.header("x-amz-security-token") or request.form.get("X-Amz-Security-Token")
    partition = account.partition(request.region)
    if hmac.compare_digest(key_id.encode(), root.access_key_id.encode()):
        if token:
            raise _invalid_token(request)
        return Caller(f"arn:{partition}:iam::{account.current()}:root", key_id), root.secret_access_key
    store = account.iam(request.region)
    if token and (found := sessions.read(root, key_id, token)):
        return _of_session(request, *found, now)
    key = store.access_keys.get(key_id)
    if key is None or key.status != "Active" or not has_propagated(key_id):
        raise _unknown_key(request, key_id)
    if key.user_name is not None:
        if token:
            raise _invalid_token(request)
        user = store.users.get(key.user_name)
        if user is None:
            raise _unknown_key(request, key_id)
        return Caller(user.arn, key_id, user=user), key.secret_access_key
    role = account.sts(request.region).get_assumed_role_from_access_key(key_id)
    if role is None:
        raise _unknown_key(request, key_id)
    if token is None or not hmac.compare_digest(token.encode(), role.session_token.encode()):
        raise _invalid_token(request)
    if role.expiration.replace(tzinfo=timezone.utc).timestamp() < now:
        raise _expired_token(request)
    return Caller(role.arn, key_id, role=role), role.secret_access_key


def _of_session(request: ApiRequest, session: UserSession, secret: str, now: float) -> tuple[Caller, str]:
    """A session outlives the access key that it was made with, but not its user.

    Without MFA it opens nothing of IAM's. Sources: GetSessionToken and GetFederationToken in the STS API reference.
    """
    store = account.iam(request.region)
    user = next((user for user in store.users.values() if user.id == session.user_id), None)
    if user is None or request.service == "iam":
        raise _invalid_token(request)
    if session.expires < now:
        raise _expired_token(request)
    federated = f"arn:{store.partition}:sts::{account.current()}:federated-user/{session.name}"
    return Caller(federated if session.name else user.arn, session.key_id, user=user, session=session), secret


class _Verifier(SigV4Auth):
    """botocore's signer, signing exactly the headers that the client signed and the payload hash it is given."""

    def headers_to_sign(self, request: AWSRequest) -> HTTPHeaders:
        return request.context["signed_headers"]

    def payload(self, request: AWSRequest) -> str:
        return request.context["payload"]


class _S3Verifier(_Verifier, S3SigV4Auth):
    """The same with S3's rule for the path: taken as sent."""

    def _normalize_url_path(self, path: str) -> str:
        return path


def _expected(request: ApiRequest, signature: Signature, secret: str) -> str:
    signed = AWSRequest(method=request.method, url=f"http://sandbox{request.path}?{_query_to_sign(request)}")
    headers = HTTPHeaders()
    for name in signature.signed_headers:
        headers[name] = request.header(name)
    signed.context = {
        "timestamp": signature.date,
        "signed_headers": headers,
        "payload": _payload_hash(request, signature),
    }
    verifier = _S3Verifier if signature.service == "s3" else _Verifier
    signer = verifier(SigningCredentials(signature.key_id, secret), signature.service, signature.region)
    return str(signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed))


def _query_to_sign(request: ApiRequest) -> str:
    parts = [part for part in request.query.split("&") if part and not part.startswith("X-Amz-Signature=")]
    return "&".join(part if "=" in part else f"{part}=" for part in parts)


def _payload_hash(request: ApiRequest, signature: Signature) -> str:
    if signature.service == "s3":
        declared = request.header("x-amz-content-sha256")
        if declared:
            return declared
        if signature.presigned:
            return UNSIGNED_PAYLOAD
    return sha256(request.body).hexdigest()


def _check_body(request: ApiRequest) -> None:
    declared = request.header("x-amz-content-sha256")
    if request.service != "s3" or not re.fullmatch(r"[0-9a-f]{64}", declared):
        return
    if declared != (actual := sha256(request.body).hexdigest()):
        raise AwsError(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
            400,
            ClientComputedContentSHA256=declared,
            S3ComputedContentSHA256=actual,
        )


def _check_date(request: ApiRequest, signature: Signature, now: float) -> None:
    """A signature is fresh by the sandbox's clock or by the real one, on which the client's clock runs."""
    try:
        signed = datetime(*map(int, _TIMESTAMP.findall(signature.date)[0]), tzinfo=timezone.utc).timestamp()
    except ValueError:
        raise _malformed(request, f"there is no such date: {signature.date}.") from None
    clocks = (now, time.time())
    if signature.presigned:
        lifetime = request.form.get("X-Amz-Expires", "3600")
        if not lifetime.isdigit() or not 0 < int(lifetime) <= MAX_PRESIGNED:
            raise _malformed(request, f"X-Amz-Expires must be a number of seconds between 1 and {MAX_PRESIGNED}.")
        if not any(-CLOCK_SKEW <= clock - signed <= int(lifetime) for clock in clocks):
            raise (
                AwsError("AccessDenied", "Request has expired", 403)
                if request.protocol == S3
                else _stale(request, signed)
            )
    elif not any(abs(clock - signed) <= CLOCK_SKEW for clock in clocks):
        raise _stale(request, signed)


# ---- errors per protocol


def _error(
    request: ApiRequest,
    query: str,
    json: str,
    text: str,
    status: int | None = None,
    *,
    s3: AwsError,
    **others: AwsError,
) -> AwsError:
    """An error in the words of the request's service. `query` and `json` are its codes for a query and a JSON service;
    the others, by protocol, have words of their own."""
    if request.protocol == S3:
        return s3
    if request.protocol in others:
        return others[request.protocol]
    if request.protocol in (JSON, REST):
        return AwsError(json, text, 400 if request.protocol == JSON else 403)
    return AwsError(query, text)


def _not_validated() -> AwsError:
    return AwsError("AuthFailure", "AWS was not able to validate the provided access credentials")


def _unsigned(request: ApiRequest) -> AwsError:
    text = "Missing Authentication Token"
    if request.protocol in (QUERY, EC2):
        text = "Request is missing Authentication Token"
    code = "MissingAuthenticationToken"
    return _error(request, code, f"{code}Exception", text, s3=AwsError("AccessDenied", "Access Denied"))


def _malformed(request: ApiRequest, text: str) -> AwsError:
    s3 = AwsError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {text}")
    if "not supported" in text:
        s3 = AwsError("InvalidRequest", text)
    return _error(request, "IncompleteSignature", "IncompleteSignatureException", text, s3=s3)


def _unknown_key(request: ApiRequest, key_id: str) -> AwsError:
    if request.protocol == S3:
        text = "The AWS Access Key Id you provided does not exist in our records."
        return AwsError("InvalidAccessKeyId", text, AWSAccessKeyId=key_id)
    return _invalid_token(request)


def _invalid_token(request: ApiRequest) -> AwsError:
    text = "The security token included in the request is invalid."
    s3 = AwsError("InvalidToken", "The provided token is malformed or otherwise invalid.")
    return _error(request, "InvalidClientTokenId", "UnrecognizedClientException", text, s3=s3, ec2=_not_validated())


def _expired_token(request: ApiRequest) -> AwsError:
    text = "The security token included in the request is expired"
    s3 = AwsError("ExpiredToken", "The provided token has expired.", 400)
    return _error(request, "ExpiredToken", "ExpiredTokenException", text, s3=s3)


def _mismatch(request: ApiRequest) -> AwsError:
    text = "The request signature we calculated does not match the signature you provided. Check your "
    key_id = request.key_id or ""
    s3 = AwsError("SignatureDoesNotMatch", f"{text}key and signing method.", AWSAccessKeyId=key_id)
    text += "AWS Secret Access Key and signing method. Consult the service documentation for details."
    return _error(request, "SignatureDoesNotMatch", "InvalidSignatureException", text, s3=s3, ec2=_not_validated())


def wrong_region(request: ApiRequest) -> AwsError:
    """The signature names a region that AWS does not have."""
    text = f"Credential should be scoped to a valid region, not '{request.region}'."
    s3 = _malformed(request, f"the region '{request.region}' is wrong")
    return _error(request, "SignatureDoesNotMatch", "InvalidSignatureException", text, s3=s3)


def _stale(request: ApiRequest, signed: float) -> AwsError:
    """`signed`: when the request was signed, in seconds since 1970. The server's clock is the real one."""

    def basic(moment: float) -> str:
        return f"{datetime.fromtimestamp(moment, timezone.utc):%Y%m%dT%H%M%SZ}"

    now = time.time()
    text = f"Signature expired: {basic(signed)} is now earlier than {basic(now - CLOCK_SKEW)} ({basic(now)} - 15 min.)"
    if signed > now:
        limit = f"{basic(now + CLOCK_SKEW)} ({basic(now)} + 15 min.)"
        text = f"Signature not yet current: {basic(signed)} is still later than {limit}"
    s3 = AwsError("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
    ec2 = AwsError("RequestExpired", "Request has expired.", 400)
    return _error(request, "SignatureDoesNotMatch", "InvalidSignatureException", text, s3=s3, ec2=ec2)
