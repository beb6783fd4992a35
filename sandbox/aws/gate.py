"""The layer in front of moto, as one WSGI application.

A call goes through, in AWS's order: identify, realism, authenticate, validate, authorize, AWS's rules, moto; and its
outcome into the call log. From authorization on, one call at a time: moto's stores know no threads.
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

from sandbox.aws import (
    account,
    answers,
    apicall,
    authentication,
    authorization,
    clock,
    listing,
    rules,
    rules_keys,
    rules_policies,
    rules_users,
    validation,
)
from sandbox.aws.answers import Answer, AwsError
from sandbox.aws.authentication import Caller, Credentials
from sandbox.aws.calls import CallLog, LoggedCall
from sandbox.aws.control import PREFIX, ControlEndpoint
from sandbox.aws.http import DropConnection
from sandbox.aws.options import Quotas
from sandbox.aws.realism import Director

log = logging.getLogger(__name__)

# Bytes of a request body by wire protocol. The longest parameter of IAM, a policy document, is 131,072 characters.
MAX_BODY = {apicall.QUERY: 1024 * 1024, apicall.EC2: 1024 * 1024, apicall.JSON: 70 * 1024 * 1024}

RULE_BOOK = (listing, rules_keys, rules_policies, rules_users)  # importing them puts their rules into rules.RULES

READS = ("Get", "List", "Head", "Describe")


class Gate:
    """The WSGI application that answers as AWS does. `changed` is called after each call that changed the account."""

    def __init__(
        self,
        root: Credentials,
        quotas: Quotas,
        director: Director,
        call_log: CallLog,
        lock: threading.RLock,
        changed: Callable[[], None],
    ) -> None:
        self._root, self._quotas, self._director = root, quotas, director
        self._log, self._lock, self._changed = call_log, lock, changed
        self._moto = account.Moto()
        self.control: ControlEndpoint | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_URI"].startswith(PREFIX) and self.control is not None:
            body = environ["wsgi.input"].read()
            token = environ.get("HTTP_AUTHORIZATION", "")
            answer = self.control.answer(environ["REQUEST_METHOD"], environ["REQUEST_URI"], token, body)
        else:
            answer = self._logged(apicall.read(environ))
        start_response(answer.status_line, answer.headers)
        return [answer.body]

    def _logged(self, call: apicall.Call) -> Answer:
        began, moment, lose = time.perf_counter(), clock.iso(), False
        try:
            try:
                self._identify(call)
            except AwsError as odd:
                log.warning("refused %s:%s: %s", _loggable(call.service), _loggable(call.action), odd.code)
                raise
            lose = self._director.before(call)
            answer = self._answer(call)
        except AwsError as problem:
            answer = answers.error(call, problem)
        except Exception as bug:
            # Neither the message nor the values in the frames: both can hold what the caller sent.
            where = "; ".join(f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(bug.__traceback__)[-4:])
            what = f"{_loggable(call.service)}:{_loggable(call.action)}"
            log.error("%s failed in the sandbox: %s at %s", what, type(bug).__name__, where)
            answer = answers.error(call, AwsError("InternalFailure", "The sandbox failed; its log says where.", 500))
        self._log.add(
            LoggedCall(
                time=moment,
                service=_loggable(call.service),
                action=_loggable(call.action),
                key=call.key_to_log,
                region=_loggable(call.region),
                status=answer.status,
                code=answer.code,
                milliseconds=round((time.perf_counter() - began) * 1000, 3),
                lost=lose,
            )
        )
        if lose:
            raise DropConnection
        return answer

    def _identify(self, call: apicall.Call) -> None:
        """Find out what the call is; refuse what is no call."""
        if len(call.body) > MAX_BODY.get(call.protocol, len(call.body)):
            raise AwsError("RequestEntityTooLarge", "Request size exceeded the limit.")
        if call.path.startswith(account.MOTO_PATHS) or not account.serves(call.service):
            raise AwsError("NotImplemented", f"The sandbox has no service {call.service!r}.")
        if call.protocol in (apicall.QUERY, apicall.EC2, apicall.JSON) and not _is_text(call.body):
            code = "SerializationException" if call.protocol == apicall.JSON else "MalformedInput"
            raise AwsError(code, "The request body is not UTF-8 text.")
        if call.region not in account.regions():
            raise authentication.wrong_region(call)
        if call.protocol in (apicall.S3, apicall.REST):
            _route(call)
        elif call.action is None and call.protocol == apicall.QUERY:
            raise AwsError("MissingAction", "The request is missing an action or a required parameter.")

    def _answer(self, call: apicall.Call) -> Answer:
        caller = authentication.authenticate(call, self._root, clock.now(), self._director.is_born)
        if call.service in validation.CHECKED_SERVICES:
            call.parameters = validation.parameters(call.service, call.action or "", call.form)
        elif call.service in apicall.PROTOCOLS and call.protocol == apicall.JSON:
            validation.check_json(call.service, call.action, call.body)
        with self._lock:
            self._note_use(call, caller)
            authorization.authorize(call, caller, clock.iso())
            answer: Answer | None = None
            if call.service in validation.CHECKED_SERVICES:
                answer = rules.apply(rules.Context(call, caller, self._root, self._quotas, self._director))
            return answer or self._to_moto(call)

    def _note_use(self, call: apicall.Call, caller: Caller) -> None:
        """Record when, where and for what a key was last used. AWS does so for every call that it authenticates."""
        if caller.user is not None:
            account.note_use(caller.key_id, call.service, call.region)
            self._changed()
        elif not (call.action or "").startswith(READS):
            self._changed()

    def _to_moto(self, call: apicall.Call) -> Answer:
        answer = Answer(500)

        def start_response(status: str, headers: list[tuple[str, str]], _exc_info: Any = None) -> None:
            answer.status, answer.headers = int(status.split(" ", 1)[0]), headers

        application = self._moto.application(call.service, call.path)
        try:
            answer.body = b"".join(application(apicall.for_moto(call), start_response))
        except NotImplementedError:
            if _is_known(call):
                raise AwsError("NotImplemented", f"The sandbox has no {call.service}:{call.action}.") from None
            raise _unknown_action(call) from None
        if answer.status >= 400:
            answer.code = answers.error_code(answer) or str(answer.status)
        return answer


def _route(call: apicall.Call) -> None:
    """Find the operation and path parameters of a REST call with moto's router over botocore's service model."""
    from moto.core.request import Request
    from moto.core.routing import get_service_router

    try:
        operation, parameters = get_service_router(call.service).match(Request(apicall.for_moto(call)))
    except NotFound:
        raise AwsError("MethodNotAllowed", "The specified method is not allowed against this resource.") from None
    except UnknownServiceError:
        return  # moto serves it under another name than botocore
    call.action, call.parameters = str(operation.name), dict(parameters)


def _loggable(text: str | None) -> str:
    """What a client named, fit for a line of a log."""
    return re.sub(r"[^\w.:-]", "?", text or "-", flags=re.ASCII)[:80]


def _is_text(body: bytes) -> bool:
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_known(call: apicall.Call) -> bool:
    from moto.core.utils import get_service_model

    names: Any = get_service_model(call.service).operation_names
    return call.action in names


def _unknown_action(call: apicall.Call) -> AwsError:
    if call.protocol == apicall.JSON:
        return AwsError("UnknownOperationException", "", 400)
    if call.protocol == apicall.EC2:
        return AwsError("InvalidAction", f"The action {call.action} is not valid for this web service.")
    return AwsError("InvalidAction", f"Could not find operation {call.action}")
