"""The points of the fault matrix: scenarios, the faults at each of their API calls, and what an operator does next."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pulumi_sandbox.aws.settings import Failure

from tests.lifecycle.helpers import GROUPS, in_days

Fault = Literal["error", "lost response", "kill before", "kill after"]
Then = Literal["same", "reverted"]
Config = Mapping[str, Any]

POINT = "fault point"
MISSED = "fault point whose fault did not come"
FAILED = "failed fault point"
"""What tests record, for the count in tests/conftest.py."""

FAULTS: tuple[Fault, ...] = ("error", "lost response", "kill before", "kill after")
FOLLOW_UPS: tuple[Then, ...] = ("same", "reverted")
READS = ("Get", "List", "Describe")
ERRORS = (("AccessDenied", 50), ("Throttling", 2), ("LimitExceeded", 50), ("RequestTimeout", 2))
"""Error codes of IAM and STS, and for how many calls they last; the other services' end in `Exception`."""


@dataclass(frozen=True)
class ScenarioContext:
    """What a scenario's configuration can refer to."""

    adopted: str
    """Id of an access key that was created without the stack."""
    certificate: str
    """An OpenPGP certificate."""


@dataclass(frozen=True)
class Scenario:
    """What is set up before, and the command under test."""

    name: str
    before: tuple[Config, ...]
    """Configurations that were applied one after the other."""
    after: Config
    """The configuration of the command under test."""
    retires: frozenset[str] = frozenset()
    """Users whose keys of the set-up may stop working, because the configuration asks for it."""
    takes_slot: bool = False
    """Whether the oldest key of ann may be deleted, to make room for a new one."""
    removes: bool = False
    """Whether users are removed."""
    in_days: int = 0
    """Days after the set-up."""
    command: tuple[str, ...] = ("up",)
    is_refused: bool = False
    """Whether the retire guard refuses the command, so that only the reverted configuration succeeds."""
    suspends: bool = False
    """Whether the key under test is inactive, also the one in the stores."""


def config(ann: Config | None, bob: Config | None = None, **more: Any) -> Config:
    """The configuration of user ann, delivered to both stores, and of bob, delivered to one. None: no such user."""
    users: dict[str, Any] = {}
    if ann is not None:
        users["ann"] = {"groups": ["test"], "key": dict(ann), "deliver": {"ssm": {}, "secretsManager": {}}}
    if bob is not None:
        users["bob"] = {"groups": ["test"], "key": dict(bob), "deliver": {"ssm": {}}}
    return {"groups": GROUPS, "users": users, **({} if users else {"allowNoUsers": True}), **more}


def _undelivered(user: str, **key: Any) -> Config:
    both = config({}, {})
    return {**both, "users": {user: {"groups": ["test"], "key": key}, "bob": both["users"]["bob"]}}


_CALENDAR = {"rotation": {"start": in_days(0), "everyDays": 30, "overlapDays": 3}}
_GUARD = {"retireGuard": {"idleDays": 30}}
_ONE = config({}, {})
_TWO_STORES = {**_ONE, "users": {name: {**_ONE["users"]["ann"]} for name in _ONE["users"]}}
_UNKEPT = {"keepSecret": False}

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("first up of one user", (), config({})),
        Scenario("first up of two users", (), _TWO_STORES),
        Scenario("rotation into the empty slot", (_ONE,), config({"serial": 2}, {})),
        Scenario("rotation into a taken slot", (_ONE, config({"serial": 2}, {})), config({"serial": 3}, {}),
                 takes_slot=True),
        Scenario("previous inactive", (_ONE,), config({"serial": 2, "previous": "inactive"}, {}),
                 retires=frozenset({"ann"})),
        Scenario("previous deleted", (_ONE,), config({"serial": 2, "previous": "deleted"}, {}),
                 retires=frozenset({"ann"})),
        Scenario("previous whenIdle", (_ONE,), config({"serial": 2, "previous": "whenIdle", **_GUARD}, {})),
        Scenario("rotation of two users", (_ONE,), config({"serial": 2}, {"serial": 2})),
        Scenario("scheduled rotation", (config(_CALENDAR, {}),), config(_CALENDAR, {}), in_days=30),
        Scenario("suspended", (_ONE,), config({"status": "inactive"}, {}), retires=frozenset({"ann"}), suspends=True),
        Scenario("OpenPGP", (_undelivered("ann"),), _undelivered("ann", serial=2, pgpKey="CERTIFICATE")),
        Scenario("first up of a secret that is not kept", (), config(_UNKEPT)),
        Scenario("rotation of a secret that is not kept", (config(_UNKEPT, {}),),
                 config({"serial": 2, **_UNKEPT}, {"serial": 2})),
        Scenario("previous deleted of a secret that is not kept", (config(_UNKEPT, _UNKEPT),),
                 config({"serial": 2, "previous": "deleted", **_UNKEPT}, {"serial": 2, **_UNKEPT}),
                 retires=frozenset({"ann"})),
        Scenario("adopted", (config(None, {}),), _undelivered("eve", adopt={"id": "ADOPTED"})),
        Scenario("renamed", (_ONE,), {**_ONE, "users": {"anna": _ONE["users"]["ann"], "bob": _ONE["users"]["bob"]}},
                 retires=frozenset({"ann"}), removes=True),
        Scenario("removed", (config({}, {}), config({"serial": 2}, {})), config(None, {}),
                 retires=frozenset({"ann"}), removes=True),
        Scenario("destroyed", (_ONE,), _ONE, retires=frozenset({"ann", "bob"}), removes=True, command=("destroy",)),
        Scenario("destroyed under the guard", (config(_GUARD, _GUARD),), config(_GUARD, _GUARD),
                 command=("destroy", "--run-program"), is_refused=True),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """The `number`-th call of an action in a scenario."""

    action: str
    number: int

    @property
    def is_read(self) -> bool:
        return self.action.partition(":")[2].startswith(READS)


@dataclass(frozen=True)
class Point:
    """One row of the matrix."""

    scenario: str
    fault: Fault
    then: Then
    call: Call
    ordinal: int
    """Place of the call in the scenario, from which the kind of error follows."""

    def __str__(self) -> str:
        return f"{self.scenario}: {self.fault} at {self.call.action}#{self.call.number}, then {self.then}"

    def failures(self) -> tuple[Failure, ...]:
        action, number = self.call.action, self.call.number
        if self.fault == "lost response":
            return (Failure(action, number),)
        if self.fault != "error":
            return (Failure(action, number, code="AccessDenied" if self.fault == "kill before" else None, hold=True),)
        code, times = ERRORS[self.ordinal % len(ERRORS)]
        code += "" if action.startswith(("iam:", "sts:")) or code == "RequestTimeout" else "Exception"
        return (Failure(action, number, times, code),)


def points(scenario: str, calls: Iterable[Call]) -> Iterator[Point]:
    """The matrix of one scenario: everything at each write; at each read one fault, which nothing can be lost by."""
    for ordinal, call in enumerate(calls):
        if call.is_read:
            fault: Fault = "kill before" if ordinal % 2 else "error"
            yield Point(scenario, fault, FOLLOW_UPS[ordinal // 2 % 2], call, ordinal)
        else:
            for fault, then in itertools.product(FAULTS, FOLLOW_UPS):
                yield Point(scenario, fault, then, call, ordinal)
