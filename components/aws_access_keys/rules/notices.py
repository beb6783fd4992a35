"""Notices about keys: which are due, and which were sent.

What was sent is kept as marks, by channel, in the component's outputs of the last finished run. Everything that a
notice can be about is found again from the keys and the marks, so a run that failed or was killed forgets nothing: a
key that works and has no mark is new, a mark without a key that works is of one that was retired.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, NamedTuple

from aws_access_keys.rules.problem import OTHER_LANGUAGES, Problem

Event = Literal["rotation", "issued", "held", "retired"]
Marks = Mapping[str, Mapping[str, Any]]
"""Mark (`works AKIA...`, `held AKIA...`, `rotation AKIA... 2027-03-01`) → `user` and `owner` of the key."""

_WORKS = "works "
_TOPIC = re.compile(r"arn:([\w-]+):sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True)
class Standing:
    """How the keys of one user stand at the end of a run."""

    user: str
    owner: str | None
    keys: Mapping[str, Any]
    """The user's part of the component's output `keys`. A key that is yet to be issued has an empty id."""
    not_retired: Mapping[str, str]
    """Id of a key that the settings retire and AWS still sees in use → why it stays."""
    fetch: tuple[str, ...]
    """Commands with which the current key is read."""

    @property
    def working(self) -> list[str]:
        """The ids of the keys that work, the current one first."""
        found = [self.keys.get(which) for which in ("current", "previous")]
        return [key["id"] for key in found if key and key["status"] == "Active"]


class Notice(NamedTuple):
    """One notice. No secret is in it."""

    event: Event
    user: str
    owner: str | None
    access_key_id: str
    date: str | None
    """The day of the rotation."""
    text: str
    fetch: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """The notice as JSON has it."""
        return {OTHER_LANGUAGES(name): value for name, value in self._asdict().items()}

    def as_text(self, stack: str) -> str:
        """The notice for people."""
        lines = [self.text, "", *(["To fetch it:", *(f"  {command}" for command in self.fetch), ""] * bool(self.fetch))]
        return "\n".join([*lines, f"Stack: {stack}", *([f"Owner: {self.owner}"] if self.owner else [])])


def notices(
    standings: Sequence[Standing], sent: Marks, today: date, before_days: int
) -> tuple[dict[str, Notice], dict[str, Mapping[str, Any]]]:
    """Mark → the notice that is due; and the marks of the next run, as if all were sent. sent: those of the last run.

    A notice that could not be sent keeps its mark, or its absence, as it was; see `after`.
    """
    due: dict[str, Notice] = {}
    marks: dict[str, Mapping[str, Any]] = {}

    def note(mark: str, one: Standing, event: Event, key: str, text: str, day: date | None = None) -> None:
        marks[mark] = {"user": one.user, "owner": one.owner}
        if mark not in sent:
            fetch = one.fetch if event in ("issued", "rotation") else ()
            due[mark] = Notice(event, one.user, one.owner, key, day and day.isoformat(), text, fetch)

    for one in standings:
        current = one.keys["current"]["id"]
        for key in one.working:
            if key == current:
                text = f"{one.user} has a new access key{f', {key}' if key else ''}."
                note(f"{_WORKS}{key or one.user}", one, "issued", key, text)
            else:
                marks[f"{_WORKS}{key}"] = {"user": one.user, "owner": one.owner}
        next_rotation = one.keys.get("nextRotation")
        day = date.fromisoformat(next_rotation) if next_rotation and current in one.working else None
        if day and day - timedelta(days=before_days) <= today:
            which = f"access key {current}" if current else "new access key"
            text = f"The {which} of {one.user} will be replaced on {day}."
            note(f"rotation {current or one.user} {day}", one, "rotation", current, text, day)
        for key, why in one.not_retired.items():
            note(f"held {key}", one, "held", key, f"{why[0].upper()}{why[1:]}")
    for mark in sent.keys() - marks.keys():
        if mark.startswith(_WORKS):
            key, user, owner = mark.removeprefix(_WORKS), sent[mark]["user"], sent[mark].get("owner")
            text = f"The access key {key} of {user} is retired, or is no longer in this stack."
            due[mark] = Notice("retired", user, owner, key, None, text, ())
    return due, marks


def after(sent: Marks, marks: Marks, failed: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The marks to keep. sent: those of the last run. marks: those of this one. failed: those of notices not sent."""
    kept = {mark: value for mark, value in marks.items() if mark not in failed}
    return kept | {mark: sent[mark] for mark in failed if mark in sent}


def topic_problems(where: str, topic: str, partition: str) -> Iterator[Problem]:
    """Problems of the ARN of an SNS topic."""
    found = _TOPIC.fullmatch(topic)
    if found is None or found[1] != partition:
        yield Problem(
            where,
            f"'{topic}' is not the ARN of a standard topic in the partition {partition}. Write it like "
            f"arn:{partition}:sns:ap-northeast-2:123456789012:access-keys.",
        )
