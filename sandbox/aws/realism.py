"""Realism at work: delays, throttling, failures and lost answers, as the current settings say."""

from __future__ import annotations

import threading
import time

from sandbox.aws import apicall, clock
from sandbox.aws.answers import AwsError
from sandbox.aws.options import Failure, Realism

# The codes a service uses for "too many requests": the common error of each wire protocol.
THROTTLED = {
    apicall.QUERY: ("Throttling", "Rate exceeded", 400),
    apicall.EC2: ("RequestLimitExceeded", "Request limit exceeded.", 503),
    apicall.S3: ("SlowDown", "Please reduce your request rate.", 503),
    apicall.JSON: ("ThrottlingException", "Rate exceeded", 400),
    apicall.REST: ("ThrottlingException", "Rate exceeded", 429),
}
MESSAGES = {
    "Throttling": "Rate exceeded",
    "ThrottlingException": "Rate exceeded",
    "ServiceFailure": "The request processing has failed because of an unknown error, exception or failure.",
    "InternalFailure": "The request processing has failed because of an unknown error, exception or failure.",
    "ServiceUnavailable": "The request has failed due to a temporary failure of the server.",
}


class Director:
    """Holds the settings, which may change while calls run, and what they need to remember."""

    def __init__(self, settings: Realism) -> None:
        self._lock = threading.Lock()
        self._born: dict[str, float] = {}
        self.change(settings)

    @property
    def settings(self) -> Realism:
        """The current settings."""
        return self._settings

    def change(self, settings: Realism) -> None:
        """Use `settings` from now on; counts of calls and throttling start anew."""
        with self._lock:
            self._settings = settings
            self._seen = [0] * len(settings.failures)
            self._tokens: dict[str, tuple[float, float]] = {}
            clock.set_ahead(settings.clock)

    def born(self, key_id: str) -> None:
        """Note that an access key was made just now."""
        self._born[key_id] = time.monotonic()

    def is_born(self, key_id: str) -> bool:
        """Whether a new key has reached all of AWS. The delay runs on the real clock."""
        born = self._born.get(key_id)
        return born is None or time.monotonic() - born >= self._settings.key_delay

    def forget(self) -> None:
        """Forget all keys."""
        self._born.clear()

    def before(self, call: apicall.Call) -> bool:
        """Delay the call, or raise AwsError in its place. True: carry it out, but lose its answer."""
        settings = self._settings
        if settings.latency:
            time.sleep(settings.latency)
        if settings.throttle and not self._take_token(call.service, settings.throttle):
            raise AwsError(*THROTTLED[call.protocol])
        failure = self._failure(call)
        if failure is None:
            return False
        if failure.code is None:
            return True
        message = failure.message or MESSAGES.get(failure.code) or f"The sandbox was told to answer {failure.code}."
        raise AwsError(failure.code, message, failure.status)

    def _failure(self, call: apicall.Call) -> Failure | None:
        """The failure due for this call, counting it for all of them."""
        due: Failure | None = None
        names = ("*", call.action, f"{call.service}:{call.action}")
        with self._lock:
            for number, failure in enumerate(self._settings.failures):
                if failure.action in names:
                    self._seen[number] += 1
                    if failure.call <= self._seen[number] < failure.call + failure.times and due is None:
                        due = failure
        return due

    def _take_token(self, service: str, rate: float) -> bool:
        """A token bucket per service: `rate` calls per second, a burst of as many (at least one)."""
        burst = max(1.0, rate)
        with self._lock:
            now = time.monotonic()
            tokens, then = self._tokens.get(service, (burst, now))
            tokens = min(burst, tokens + (now - then) * rate)
            taken = tokens >= 1
            self._tokens[service] = (tokens - 1 if taken else tokens, now)
            return taken
