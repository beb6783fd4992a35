"""One AWS API request as it came in over HTTP: which service, which action, whose key, where, and how it is signed.

The sandbox serves every AWS service on one address, so the service cannot be read from the host name as AWS does. It
is read from the credential scope of the signature (Signature Version 4 names service and region there), and for an
unsigned request from its target header or its API version.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

READING = ("Get", "List", "Head", "Describe", "Simulate", "Lookup")
"""How the names of actions begin that change nothing."""
ALGORITHM = "AWS4-HMAC-SHA256"

# Wire protocol by signing name, from the "protocol" entry of botocore's service models.
QUERY, EC2, JSON, S3, REST = "query", "ec2", "json", "rest-xml", "rest-json"
PROTOCOLS = {
    "iam": QUERY,
    "sts": QUERY,
    "ec2": EC2,
    "s3": S3,
    "secretsmanager": JSON,
    "ssm": JSON,
    "kms": JSON,
    "cloudtrail": JSON,
    "sns": QUERY,
}

# What names the service of an unsigned request: its API version, or the prefix of its X-Amz-Target header.
SERVICE_BY_VERSION = {"2010-05-08": "iam", "2011-06-15": "sts", "2016-11-15": "ec2", "2010-03-31": "sns"}
SERVICE_BY_TARGET = {
    "secretsmanager": "secretsmanager",
    "AmazonSSM": "ssm",
    "TrentService": "kms",
    "CloudTrail_20131101": "cloudtrail",
}

_KEY_ID = re.compile(r"[A-Z0-9]{16,32}")


@dataclass(frozen=True)
class Signature:
    """The parts of a Signature Version 4, from the Authorization header or from the query of a presigned URL."""

    key_id: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str = field(repr=False)
    presigned: bool = False


class MalformedSignatureError(Exception):
    """The request names Signature Version 4 but its parts cannot be read; the text names them."""


@dataclass
class ApiRequest:
    """One API request. `headers` has lower-case names; `path` and `query` are as sent, still percent-encoded."""

    environ: dict[str, Any] = field(repr=False)
    method: str
    path: str
    query: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    form: dict[str, str] = field(repr=False)
    signature: Signature | None
    malformed: str | None
    service: str
    region: str
    protocol: str
    action: str | None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)
    caller: str | None = None
    """The ARN of the principal, once it is known."""
    drop_response: bool = False
    """Whether to carry the request out and close the connection without a response."""
    hold_response: bool = False
    """Whether to carry the request out and hold the response; see Failure."""

    @property
    def key_id(self) -> str | None:
        """The access key id that the request claims to be signed with."""
        return self.signature.key_id if self.signature else None

    @property
    def key_to_log(self) -> str | None:
        """The same for logs: nothing that does not look like a key id, for it might be a secret in the wrong place."""
        return self.key_id if self.key_id is None or _KEY_ID.fullmatch(self.key_id) else "(no key id)"

    @property
    def reads(self) -> bool:
        """Whether the action, going by its name, changes nothing."""
        return (self.action or "").startswith(READING)

    def header(self, name: str, default: str = "") -> str:
        """A header by its lower-case name; WSGI does not tell dashes and underscores apart."""
        return self.headers.get(name.replace("_", "-"), default)

    def set_parameter(self, name: str, value: str) -> None:
        """Add a parameter to a query request, for moto to see."""
        self.parameters[name] = self.form[name] = value
        self.body = urlencode(self.form).encode()
        self.environ |= {"REQUEST_METHOD": "POST", "CONTENT_TYPE": "application/x-www-form-urlencoded"}


def read(environ: dict[str, Any]) -> ApiRequest:
    """Read a WSGI request. Never raises on bad input: what cannot be read is noted in `malformed`."""
    body: bytes = environ["wsgi.input"].read()
    path, _, query = environ["REQUEST_URI"].partition("?")
    if not path.startswith("/"):  # the absolute form: http://host/path
        path = "/" + path.partition("://")[2].partition("/")[2]
    headers = _headers(environ)
    arguments = dict(parse_qsl(query, keep_blank_values=True))
    form = arguments
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded") and body:
        form = {**arguments, **dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))}
    signature, malformed = None, None
    try:
        signature = _signature(headers, arguments)
    except MalformedSignatureError as error:
        malformed = str(error)
    service = signature.service if signature else _service_of_unsigned(headers, form)
    request = ApiRequest(
        environ=environ,
        method=environ["REQUEST_METHOD"],
        path=path or "/",
        query=query,
        headers=headers,
        body=body,
        form=form,
        signature=signature,
        malformed=malformed,
        service=service,
        region=signature.region if signature else "us-east-1",
        protocol=PROTOCOLS.get(service) or _guess_protocol(headers, form),
        action=None,
    )
    if request.protocol in (QUERY, EC2):
        request.action = form.get("Action")
    elif request.protocol == JSON:
        request.action = headers.get("x-amz-target", "").rpartition(".")[2] or None
    return request


def for_moto(request: ApiRequest) -> dict[str, Any]:
    """The request as a WSGI environ for moto: body readable again, raw path and service where moto looks for them."""
    environ = dict(request.environ)
    environ["wsgi.input"] = io.BytesIO(request.body)
    environ["CONTENT_LENGTH"] = str(len(request.body))
    environ["RAW_URI"] = environ["REQUEST_URI"]
    environ.pop("HTTP_X_MOTO_ACCOUNT_ID", None)  # the key alone tells the account
    if request.signature and request.signature.presigned:
        # moto tells the service from this header alone.
        parts = request.signature
        scope = f"{parts.key_id}/{parts.date[:8]}/{parts.region}/{parts.service}/aws4_request"
        environ["HTTP_AUTHORIZATION"] = f"{ALGORITHM} Credential={scope}, SignedHeaders=host, Signature=presigned"
    return environ


def _headers(environ: dict[str, Any]) -> dict[str, str]:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    return headers


def _signature(headers: dict[str, str], arguments: dict[str, str]) -> Signature | None:
    authorization = headers.get("authorization")
    if authorization is not None:
        algorithm, _, rest = authorization.partition(" ")
        parts = {name: value for name, _, value in (part.strip().partition("=") for part in rest.split(","))}
        parts["Date"] = headers.get("x-amz-date") or headers.get("date", "")
    elif "X-Amz-Algorithm" in arguments:
        algorithm = arguments["X-Amz-Algorithm"]
        names = ("Credential", "SignedHeaders", "Signature", "Date")
        parts = {name: arguments.get(f"X-Amz-{name}", "") for name in names}
    elif "AWSAccessKeyId" in arguments and "Signature" in arguments:
        algorithm, parts = "Signature Version 2", {}
    else:
        return None
    if algorithm != ALGORITHM:
        raise MalformedSignatureError(
            f"The authorization mechanism you have provided is not supported. Please use {ALGORITHM}."
        )
    for name in ("Credential", "Signature", "SignedHeaders", "Date"):
        if not parts.get(name):
            raise MalformedSignatureError(f"Authorization header requires '{name}' parameter.")
    scope = parts["Credential"].split("/")
    if len(scope) != 5 or scope[4] != "aws4_request" or not all(scope):
        raise MalformedSignatureError(
            "Credential must have exactly 5 slash-delimited elements, ending in aws4_request."
        )
    return Signature(
        key_id=scope[0],
        date=parts["Date"],
        region=scope[2],
        service=scope[3].lower(),
        signed_headers=tuple(parts["SignedHeaders"].lower().split(";")),
        value=parts["Signature"],
        presigned=authorization is None,
    )


def _service_of_unsigned(headers: dict[str, str], form: dict[str, str]) -> str:
    target = headers.get("x-amz-target", "").partition(".")[0]
    return SERVICE_BY_TARGET.get(target) or SERVICE_BY_VERSION.get(form.get("Version", "")) or "s3"


def _guess_protocol(headers: dict[str, str], form: dict[str, str]) -> str:
    if "x-amz-target" in headers:
        return JSON
    return QUERY if "Action" in form else REST
