"""The layer in front of moto, as one WSGI application: read, authenticate, authorize, then moto."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any

from sandbox.aws import account, answers, authentication, authorization
from sandbox.aws import apicall
from sandbox.aws.answers import Answer, AwsError
from sandbox.aws.authentication import Credentials

log = logging.getLogger(__name__)


class Gate:
    """The WSGI application that answers as AWS does."""

    def __init__(self, root: Credentials) -> None:
        self._root = root
        self._moto = account.application()
        self._lock = threading.RLock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        call = apicall.read(environ)
        try:
            answer = self._answer(call)
        except AwsError as problem:
            answer = answers.error(call, problem)
        except Exception as bug:
            log.error("%s %s failed: %s", call.service, call.action, type(bug).__name__, exc_info=True)
            answer = answers.error(call, AwsError("InternalFailure", "The sandbox failed; its log says why.", 500))
        start_response(answer.status_line, answer.headers)
        return [answer.body]

    def _answer(self, call: apicall.Call) -> Answer:
        if call.path.startswith(account.MOTO_PATHS) or not account.serves(call.service):
            raise AwsError("NotImplemented", f"The sandbox has no {call.service!r} service.")
        if call.service == "s3":
            _route_s3(call)
        caller = authentication.authenticate(call, self._root, time.time(), lambda _key: True)
        with self._lock:
            authorization.authorize(call, caller, datetime.now(timezone.utc).isoformat())
            return self._to_moto(call)

    def _to_moto(self, call: apicall.Call) -> Answer:
        answer = Answer(500)

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            answer.status, answer.headers = int(status.split(" ", 1)[0]), headers

        answer.body = b"".join(self._moto(apicall.for_moto(call), start_response))
        return answer


def _route_s3(call: apicall.Call) -> None:
    """Find the operation, bucket and key of an S3 call with moto's router over botocore's service model."""
    from moto.core.request import Request
    from moto.core.routing import NotFound, get_service_router

    try:
        operation, parameters = get_service_router("s3").match(Request(apicall.for_moto(call)))
    except NotFound:
        raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.") from None
    call.action, call.parameters = operation.name, dict(parameters)
