"""What can be set about the sandbox's AWS: quotas, and the faults that it shows.

The same settings come from the command line (`add_arguments`, `from_args`), from Python, and, for faults, over the
control endpoint while the sandbox runs (`Faults.from_json`).
"""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


class SettingError(ValueError):
    """A setting that makes no sense; the message names it, its value and what is allowed."""


@dataclass(frozen=True)
class Failure:
    """Let calls of an action fail: the `call`-th one from now on, and the `times` - 1 after it.

    With `code` the call is refused with that error before it does anything; without, it is carried out and its response
    is dropped (the connection closes). `action` is `CreateUser` or `iam:CreateUser`, or `*` for any. `hold`: either way
    the caller waits until the faults are changed, at most a minute, and can be killed meanwhile; then the response is
    `code`, or AccessDenied where the call was carried out, so that no SDK tries again.
    """

    action: str
    call: int = 1
    times: int = 1
    code: str | None = None
    message: str | None = None
    status: int | None = None
    hold: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\*|([a-z0-9-]+:)?[A-Za-z0-9]+", self.action):
            raise SettingError(f"failure action {self.action!r}: must be like iam:CreateUser, CreateUser or *")
        if self.call < 1 or self.times < 1:
            raise SettingError(f"failure of {self.action}: call {self.call} and times {self.times} must be 1 or more")
        if self.status is not None and not 400 <= self.status <= 599:
            raise SettingError(f"failure of {self.action}: status {self.status} must be between 400 and 599")


@dataclass(frozen=True)
class Faults:
    """How the sandbox differs from an AWS that responds at once and never fails. All off by default.

    `key_delay`: seconds until a new access key works; AWS takes about 10. `stale`: seconds for which reads of IAM do
    not find a new user or access key; on AWS a few, and not always. `latency`: seconds added to every call.
    `throttle`: calls per second and service above which AWS throttles; 0 means unlimited. `clock`: seconds that
    the sandbox's clock runs ahead. `failures`: see Failure.
    """

    key_delay: float = 0.0
    stale: float = 0.0
    latency: float = 0.0
    throttle: float = 0.0
    clock: float = 0.0
    failures: tuple[Failure, ...] = ()

    def __post_init__(self) -> None:
        limits = {"key_delay": 3600, "stale": 3600, "latency": 60, "throttle": 100_000, "clock": 100 * 366 * 86400}
        for name, limit in limits.items():
            value = getattr(self, name)
            if not 0 <= value <= limit:
                raise SettingError(f"{name} {value:g}: must be between 0 and {limit}")

    def to_json(self) -> dict[str, Any]:
        """As the control endpoint shows it."""
        return asdict(self)

    @staticmethod
    def from_json(content: Any) -> Faults:
        """From the control endpoint's JSON; what is not given is off. Raises SettingError."""
        try:
            failures = tuple(Failure(**failure) for failure in content.pop("failures", []))
            return Faults(**content, failures=failures)
        except (AttributeError, TypeError) as error:
            raise SettingError(f"not valid as faults: {error}") from None


# How far AWS raises a quota on request; those not listed cannot be raised.
_RAISED = {
    "groups_per_account": 500,
    "roles_per_account": 5000,
    "policies_per_account": 5000,
    "policies_per_user": 20,
    "policies_per_role": 20,
}


@dataclass(frozen=True)
class Quotas:
    """AWS's IAM quotas: AWS's names in its LimitExceeded messages (UsersPerAccount), here with underscores.

    Each may be lowered, to see what happens, and raised as far as AWS raises it. Sizes are characters without white
    space. Source: IAM user guide, "IAM and AWS STS quotas".
    """

    users_per_account: int = 5000
    groups_per_account: int = 300
    roles_per_account: int = 1000
    policies_per_account: int = 1500
    access_keys_per_user: int = 2
    groups_per_user: int = 10
    policies_per_user: int = 10
    policies_per_group: int = 10
    policies_per_role: int = 10
    versions_per_policy: int = 5
    tags_per_user: int = 50
    policy_size: int = 6144
    user_policy_size: int = 2048
    group_policy_size: int = 5120
    role_policy_size: int = 10240

    def __post_init__(self) -> None:
        for item in fields(self):
            value, limit = getattr(self, item.name), _RAISED.get(item.name, item.default)
            if not 0 <= value <= limit:
                raise SettingError(f"quota {aws_name(item.name)} {value}: AWS allows 0 to {limit}")


def aws_name(quota: str) -> str:
    """AWS's name of a quota: UsersPerAccount for users_per_account."""
    return quota.title().replace("_", "")


@dataclass(frozen=True)
class Settings:
    """All settings of the sandbox's AWS."""

    faults: Faults = field(default_factory=Faults)
    quotas: Quotas = field(default_factory=Quotas)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `pulumi-sandbox start` to `parser`."""
    add_fault_arguments(parser)
    names = ", ".join(aws_name(item.name) for item in fields(Quotas))
    parser.add_argument(
        "--quota",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help=f"override an IAM quota, up to AWS's maximum; may be repeated; one of {names}",
    )


def add_fault_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that can also be changed while the sandbox runs."""
    group = parser.add_argument_group("faults", "simulated failures; all off by default")
    group.add_argument(
        "--key-delay", type=float, default=0, metavar="SECONDS", help="a new access key works only after this long"
    )
    group.add_argument(
        "--stale",
        type=float,
        default=0,
        metavar="SECONDS",
        help="reads do not find a user or access key that was created less than this long ago",
    )
    group.add_argument("--latency", type=float, default=0, metavar="SECONDS", help="added to every call")
    group.add_argument(
        "--throttle", type=float, default=0, metavar="RATE", help="calls per second and service before AWS throttles"
    )
    group.add_argument(
        "--clock", default="0", metavar="TIME", help="move the sandbox's clock forward: 90d, 12h, 30m or seconds"
    )
    group.add_argument(
        "--fail",
        action="append",
        default=[],
        metavar="ACTION[#N[xTIMES]]=CODE",
        help="the N-th call of ACTION fails with CODE, as in iam:CreateAccessKey#2=ServiceFailure; may be repeated",
    )
    group.add_argument(
        "--drop-response",
        action="append",
        default=[],
        metavar="ACTION[#N[xTIMES]]",
        help="the N-th call of ACTION is carried out and its response dropped; may be repeated",
    )


def from_args(arguments: argparse.Namespace) -> Settings:
    """The options from parsed arguments. Raises SettingError."""
    known, changed = {aws_name(item.name): item.name for item in fields(Quotas)}, dict[str, int]()
    for text in arguments.quota:
        name, _, number = text.partition("=")
        if name not in known or not number.isdigit():
            raise SettingError(f"--quota {text}: must be NAME=NUMBER with NAME one of {', '.join(known)}")
        changed[known[name]] = int(number)
    return Settings(faults_from_args(arguments), Quotas(**changed))


def faults_from_args(arguments: argparse.Namespace) -> Faults:
    """The faults from parsed arguments. Raises SettingError."""
    failures = [*map(parse_failure, arguments.fail), *map(parse_action, arguments.drop_response)]
    return Faults(
        key_delay=arguments.key_delay,
        stale=arguments.stale,
        latency=arguments.latency,
        throttle=arguments.throttle,
        clock=parse_duration(arguments.clock),
        failures=tuple(failures),
    )


def parse_duration(text: str) -> float:
    """Seconds from `90d`, `12h`, `30m`, `45s` or `45`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    if not match:
        raise SettingError(f"time {text!r}: must be a number followed by d, h, m or s")
    return float(match[1]) * {"d": 86400, "h": 3600, "m": 60, "s": 1, "": 1}[match[2]]


def parse_failure(text: str) -> Failure:
    """A Failure from `iam:CreateUser#2x3=ServiceFailure`."""
    rule, _, code = text.partition("=")
    if not re.fullmatch(r"[A-Za-z.]+", code):
        raise SettingError(f"--fail {text}: must be ACTION[#N[xTIMES]]=CODE, as in iam:CreateUser#2=ServiceFailure")
    return replace(parse_action(rule), code=code)


def parse_action(text: str) -> Failure:
    """A Failure without error code from `iam:CreateUser#2x3`."""
    match = re.fullmatch(r"([^#]+)(?:#(\d+)(?:x(\d+))?)?", text)
    if not match:
        raise SettingError(f"{text!r}: must be ACTION[#N[xTIMES]], as in iam:CreateUser#2")
    return Failure(match[1], int(match[2] or 1), int(match[3] or 1))
