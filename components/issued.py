"""What earlier runs of a stack issued: the one thing that cannot be told from its config."""

import time
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import pulumi

from rules.rotation import Issued

USER = "aws-access-keys:index:AccessUser"
KEY = "aws:iam/accessKey:AccessKey"


def issued_keys() -> Mapping[str, Any]:
    """What the stack's state says of the keys of each user; empty before the first run.

    Each user's component keeps its own record, so a run that failed or left out another user (`--target`) does not
    touch it, and a user whose removal failed is still known. One question to the engine, none to AWS. The stack must
    export something, for the engine answers only for a stack that has outputs.
    """
    stack = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    if not _ask("pulumi:pulumi:readStackOutputs", {"name": stack}):
        return {}  # never deployed; the engine cannot answer the next question then
    resources = _ask("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    slots = {urn.rsplit("::", 1)[1] for urn, found in resources.items() if found["type"] == KEY}
    records: dict[str, Any] = {}
    for urn, found in resources.items():
        record = found["outputs"].get("keys")
        if found["type"] == USER and _whole(record):
            name = urn.rsplit("::", 1)[1]
            previous = record.get("previous")
            if previous and f"{name}/{previous['slot']}" not in slots:
                record = {**record, "previous": None}  # gone, by hand for example; it is not made again
            records[name.rsplit("/", 1)[1]] = record
    return records


def _whole(record: Any) -> bool:
    """Whether this is a record. A run that did not get to a user can leave the engine's mark for an unknown value."""
    return isinstance(record, dict) and isinstance(cast("dict[str, Any]", record).get("current"), dict)


def _ask(question: str, asked: Mapping[str, str]) -> Mapping[str, Any]:
    """One of the engine's answers about the stack.

    At the start of an update the engine writes the file that it reads the answer from, and can meet it half written; a
    moment later it is whole.
    """
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, None):
        try:
            answer: Any = pulumi.runtime.invoke(question, dict(asked)).value
            return answer["outputs"]
        except Exception as error:  # the SDK raises nothing more special
            if pause is None:
                raise pulumi.RunError(
                    f"Pulumi cannot read what this stack issued before: {error}. Nothing was changed; run it again."
                ) from None
            time.sleep(pause)
    raise AssertionError("unreachable")


def issued_to(user: str, issued: Mapping[str, Any]) -> Issued | None:
    """One user's part of the output, or None for a user that has no key yet."""
    found = issued.get(user)
    if not found:
        return None
    current, previous = found["current"], found.get("previous")
    return Issued(
        serial=int(current["serial"]),
        slot=current["slot"],
        issued_on=date.fromisoformat(found["issuedOn"]),
        asked=int(found["askedSerial"]),
        active=current["status"] == "Active",
        previous_serial=int(previous["serial"]) if previous else None,
        previous_active=bool(previous) and previous["status"] == "Active",
    )
