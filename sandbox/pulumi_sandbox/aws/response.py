"""AWS's responses, in the form of each wire protocol.

Query services (IAM, STS) answer XML with the error wrapped in ErrorResponse, EC2 wraps it in Response, S3 sends a bare
Error element (and nothing at all to HEAD), JSON services send {"__type", "message"}.
Sources: "Common errors" of each service's API reference, and the error shapes in botocore's service models.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from xml.sax.saxutils import escape

from pulumi_sandbox.aws.request import EC2, QUERY, S3, ApiRequest

NAMESPACES = {
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
}

# HTTP status by error code where it is not 400 (IAM's error shapes, and the common errors).
STATUS = {
    "NoSuchEntity": 404,
    "EntityAlreadyExists": 409,
    "DeleteConflict": 409,
    "LimitExceeded": 409,
    "ConcurrentModification": 409,
    "EntityTemporarilyUnmodifiable": 409,
    "ServiceFailure": 500,
    "InternalFailure": 500,
    "InternalError": 500,
    "NotImplemented": 501,
    "ServiceUnavailable": 503,
    "SlowDown": 503,
    "RequestLimitExceeded": 503,
    "AccessDenied": 403,
    "UnauthorizedOperation": 403,
    "AuthFailure": 401,
    "InvalidClientTokenId": 403,
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "MissingAuthenticationToken": 403,
    "RequestTimeTooSkewed": 403,
    "ExpiredToken": 403,
    "NoSuchBucket": 404,
    "EntityTooLarge": 400,
    "RequestEntityTooLarge": 413,
    "MethodNotAllowed": 405,
}


class AwsError(Exception):
    """An error of AWS's. `extra` are further elements of an S3 error."""

    def __init__(self, code: str, message: str, status: int | None = None, **extra: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, 400)
        self.extra = extra


@dataclass
class ApiResponse:
    """An HTTP response; `code` is AWS's error code, None for success."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = field(default=b"", repr=False)
    code: str | None = None

    @property
    def status_line(self) -> str:
        """The status with its reason phrase, as WSGI wants it."""
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return f"{self.status} Unknown"


def error_response(request: ApiRequest, error: AwsError) -> ApiResponse:
    """`error` as the service of `request` words it on the wire."""
    request_id = str(uuid.uuid4())
    headers = [("x-amzn-RequestId", request_id)]
    code, message = escape(error.code), escape(_printable(error.message))
    if request.protocol == S3:
        extra = "".join(f"<{name}>{escape(_printable(value))}</{name}>" for name, value in error.extra.items())
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{extra}'
            f"<RequestId>{request_id}</RequestId><HostId>sandbox</HostId></Error>"
        )
        body = b"" if request.method == "HEAD" else text.encode()
        headers = [("x-amz-request-id", request_id), ("Content-Type", "application/xml")]
    elif request.protocol == EC2:
        body = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code>'
            f"<Message>{message}</Message></Error></Errors><RequestID>{request_id}</RequestID></Response>"
        ).encode()
        headers.append(("Content-Type", "text/xml;charset=UTF-8"))
    elif request.protocol == QUERY:
        kind = "Sender" if error.status < 500 else "Receiver"
        namespace = NAMESPACES.get(request.service)
        opening = f'<ErrorResponse xmlns="{namespace}">' if namespace else "<ErrorResponse>"
        body = (
            f"{opening}<Error><Type>{kind}</Type><Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        ).encode()
        headers.append(("Content-Type", "text/xml"))
    else:
        body = json.dumps({"__type": error.code, "message": error.message}).encode()
        headers += [("x-amzn-ErrorType", error.code), ("Content-Type", "application/x-amz-json-1.1")]
    return ApiResponse(error.status, headers, body, error.code)


_CODE_IN_XML = re.compile(rb"<Code>([^<]+)</Code>")
_CODE_IN_JSON = re.compile(rb'"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"')


def error_code(response: ApiResponse) -> str | None:
    """AWS's error code in a response of moto's."""
    match = _CODE_IN_XML.search(response.body[:4096]) or _CODE_IN_JSON.search(response.body[:4096])
    return match[1].decode("utf-8", "replace") if match else None


def success_response(request: ApiRequest, content: dict[str, Any]) -> ApiResponse:
    """A query service's success: `content` by the members of the action's output shape. None stands for absent."""
    from moto.core.serialize import QuerySerializer, SerializationContext
    from moto.core.utils import get_service_model

    request_id = str(uuid.uuid4())
    operation: Any = get_service_model(request.service).operation_model(request.action or "")
    body = QuerySerializer(operation, SerializationContext(request_id)).serialize(content)["body"]
    return ApiResponse(200, [("x-amzn-RequestId", request_id), ("Content-Type", "text/xml")], str(body).encode())


def _printable(text: str) -> str:
    """`text` without the characters that XML 1.0 cannot carry."""
    return "".join(letter if letter in "\t\n\r" or letter >= " " else "\N{REPLACEMENT CHARACTER}" for letter in text)
