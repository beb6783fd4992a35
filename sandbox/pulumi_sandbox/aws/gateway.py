"""The layer in front of moto, as one WSGI application: the way of a request through it.

From authorization on, one request at a time: moto's stores are not thread-safe.
"""

from __future__ import annotations

import logging
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from botocore.exceptions import UnknownServiceError
from werkzeug.exceptions import NotFound

from pulumi_sandbox.aws import account, authentication, clock, rules, validation
from pulumi_sandbox.aws.authentication import Caller
from pulumi_sandbox.aws.authorization import authorize
from pulumi_sandbox.aws.call_log import CallLog, LoggedCall
from pulumi_sandbox.aws.control import PREFIX, ControlEndpoint
from pulumi_sandbox.aws.faults import FaultInjector
from pulumi_sandbox.aws.http_server import DropConnection
from pulumi_sandbox.aws.request import EC2, JSON, QUERY, REST, S3, ApiRequest, for_moto, read
from pulumi_sandbox.aws.response import ApiResponse, AwsError, error_code, error_response
from pulumi_sandbox.aws.settings import Quotas
from pulumi_sandbox.credentials import Credentials

log = logging.getLogger(__name__)

# Bytes of a request body by wire protocol. The longest parameter of IAM, a policy document, is 131,072 characters.
MAX_BODY = {QUERY: 1024 * 1024, EC2: 1024 * 1024, JSON: 70 * 1024 * 1024}

_ISSUED = re.compile(rb"<AccessKeyId>(\w+)</AccessKeyId>")  # in a response of STS


class Gateway:
    """The WSGI application that responds as AWS does. `changed` is called for each request that changes the account."""

    def __init__(
        self,
        root: Credentials,
        quotas: Quotas,
        faults: FaultInjector,
        call_log: CallLog,
        control: ControlEndpoint,
        lock: threading.RLock,
        changed: Callable[[], None],
    ) -> None:
        self._root, self._quotas, self._faults = root, quotas, faults
        self._log, self._control, self._lock, self._changed = call_log, control, lock, changed
        self._moto = account.Moto()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_URI"].startswith(PREFIX):
            body = environ["wsgi.input"].read()
            token = environ.get("HTTP_AUTHORIZATION", "")
            response = self._control.respond(environ["REQUEST_METHOD"], environ["REQUEST_URI"], token, body)
        else:
            response = self._logged(read(environ))
        start_response(response.status_line, response.headers)
        return [response.body]

    def _logged(self, request: ApiRequest) -> ApiResponse:
        began, moment = time.perf_counter(), clock.iso()
        try:
            response = self._processed(request)
        except AwsError as error:
            response = error_response(request, error)
        except Exception as error:
            # Neither the message nor the values in the frames: both can hold what the caller sent.
            frames = traceback.extract_tb(error.__traceback__)[-4:]
            where = "; ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
            what = f"{_loggable(request.service)}:{_loggable(request.action)}"
            log.error("%s failed in the sandbox: %s at %s", what, type(error).__name__, where)
            text = "The sandbox failed; the reason is in its log."
            response = error_response(request, AwsError("InternalFailure", text, 500))
        issues = response.status == 200 and request.service == "sts"
        session = _ISSUED.search(response.body) if issues and request.action != "GetAccessKeyInfo" else None
        self._log.add(
            LoggedCall(
                time=moment,
                service=_loggable(request.service),
                action=_loggable(request.action),
                key=request.key_to_log,
                region=_loggable(request.region),
                status=response.status,
                code=response.code,
                milliseconds=round((time.perf_counter() - began) * 1000, 3),
                dropped=request.drop_response,
                caller=request.caller,
                address=request.environ.get("REMOTE_ADDR", ""),
                agent=request.header("user-agent")[:200],
                role=request.form.get("RoleArn") if session else None,
                session=session[1].decode() if session else None,
            )
        )
        if request.hold_response:
            self._faults.hold()
            return error_response(request, AwsError("AccessDenied", "The response was held."))
        if request.drop_response:
            raise DropConnection
        return response

    def _processed(self, request: ApiRequest) -> ApiResponse:
        """The steps of a request, in AWS's order."""
        account.enter(request.key_id)
        self._identify(request)
        self._faults.inject(request)
        caller = authentication.authenticate(request, self._root, clock.now(), self._faults.has_propagated)
        request.caller = caller.arn
        validation.validate(request)
        with self._lock:
            self._note_use(request, caller)
            authorize(request, caller, clock.iso())
            context = rules.Context(request, caller, self._root, self._quotas, self._faults, self._log)
            return rules.apply(context) or self._to_moto(request)

    def _identify(self, request: ApiRequest) -> None:
        """Find out what is asked; refuse what is not an API request."""
        if len(request.body) > MAX_BODY.get(request.protocol, len(request.body)):
            raise AwsError("RequestEntityTooLarge", "Request size exceeded the limit.")
        if request.path.startswith(account.MOTO_PATHS) or not account.serves(request.service):
            raise AwsError("NotImplemented", f"The sandbox has no service {request.service!r}.")
        if request.protocol in MAX_BODY and not _is_text(request.body):
            code = "SerializationException" if request.protocol == JSON else "MalformedInput"
            raise AwsError(code, "The request body is not UTF-8 text.")
        if request.region not in account.regions():
            raise authentication.wrong_region(request)
        if request.protocol in (S3, REST):
            _route(request)
        elif request.action is None and request.protocol == QUERY:
            raise AwsError("MissingAction", "The request is missing an action or a required parameter.")

    def _note_use(self, request: ApiRequest, caller: Caller) -> None:
        """Record when, where and for what a key was last used. AWS does so for every request that it authenticates."""
        if caller.user is not None and caller.session is None:
            account.note_use(caller.key_id, request.service, request.region)
            self._changed()
            return
        if caller.is_root:
            account.note_root_use(request.service, request.region)
        if not request.reads:
            self._changed()

    def _to_moto(self, request: ApiRequest) -> ApiResponse:
        response = ApiResponse(500)

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            response.status, response.headers = int(status.split(" ", 1)[0]), headers

        application = self._moto.application(request.service, request.path)
        try:
            response.body = b"".join(application(for_moto(request), start_response))
        except NotImplementedError:
            if _is_known(request):
                raise AwsError("NotImplemented", f"The sandbox has no {request.service}:{request.action}.") from None
            raise _unknown_action(request) from None
        if response.status >= 400:
            response.code = error_code(response) or str(response.status)
        return response


def _route(request: ApiRequest) -> None:
    """Find the operation and path parameters of a REST request with moto's router over botocore's service model."""
    from moto.core.request import Request
    from moto.core.routing import get_service_router

    try:
        operation, parameters = get_service_router(request.service).match(Request(for_moto(request)))
    except NotFound:
        raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.") from None
    except UnknownServiceError:
        return  # moto serves it under another name than botocore
    request.action, request.parameters = str(operation.name), dict(parameters)


def _loggable(text: str | None) -> str:
    """What a client named, fit for a line of a log."""
    return re.sub(r"[^\w.:-]", "?", text or "-", flags=re.ASCII)[:80]


def _is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_known(request: ApiRequest) -> bool:
    from moto.core.utils import get_service_model

    names: Any = get_service_model(request.service).operation_names
    return request.action in names


def _unknown_action(request: ApiRequest) -> AwsError:
    if request.protocol == JSON:
        return AwsError("UnknownOperationException", "", 400)
    if request.protocol == EC2:
        return AwsError("InvalidAction", f"The action {request.action} is not valid for this web service.")
    return AwsError("InvalidAction", f"Could not find operation {request.action}")
