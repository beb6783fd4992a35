"""What earlier runs of a stack issued: the one thing that cannot be told from its config."""

import time
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import pulumi

from rules.rotation import SLOTS, Issued

USER = "aws-access-keys:index:AccessUser"
KEY = "aws:iam/accessKey:AccessKey"


def issued_keys() -> Mapping[str, Any]:
    """User → what the stack's state says of the user's keys; empty before the first run.

    Each user's component keeps its own record, so a run that failed or left out another user (`--target`) does not
    touch it, and a user whose removal failed is still known. Added to the record are `component`, the name of the
    ProgrammaticAccess it is from, and `ids`, the ids of all keys of the user that the state knows. One question to the
    engine, none to AWS. The stack must export something, for the engine answers only for a stack that has outputs.
    """
    stack = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    if not _ask("pulumi:pulumi:readStackOutputs", {"name": stack}):
        return {}  # never deployed; the engine cannot answer the next question then
    resources = _ask("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    named = {urn.rsplit("::", 1)[1]: found for urn, found in resources.items() if found["type"] in (USER, KEY)}
    records: dict[str, Any] = {}
    for name, found in named.items():
        record = found["outputs"].get("keys")
        if found["type"] == USER and _whole(record):
            component, user = name.rsplit("/", 1)
            slots = {slot: named[f"{name}/{slot}"]["outputs"] for slot in SLOTS if f"{name}/{slot}" in named}
            ids = [key["id"] for key in slots.values() if key.get("id")]
            records[user] = {
                **record,
                "current": _as_it_is(record["current"], slots),
                "previous": _previous(record, slots),
                "component": component,
                "ids": ids,
            }
    return records


def _previous(record: Mapping[str, Any], slots: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The previous key of a record, where the state still has it.

    One that was deleted by hand is not made again. One whose deletion failed is still there, though the run that was to
    delete it no longer names it.
    """
    previous = record.get("previous") or record.get("leaving")
    return _as_it_is(previous, slots) if previous and previous["slot"] in slots else None


def _as_it_is(key: Mapping[str, Any], slots: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """A key of a record with the status that the state has of it: a refresh can have found another."""
    found = slots.get(key["slot"])
    return {**key, "status": found["status"]} if found and found.get("status") else key


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


def issued_to(record: Mapping[str, Any]) -> Issued | None:
    """A user's record as the pure rules take it, or None for a user that has no key yet."""
    if not record:
        return None
    current, previous = record["current"], record.get("previous")
    return Issued(
        serial=int(current["serial"]),
        slot=current["slot"],
        issued_on=date.fromisoformat(record["issuedOn"]),
        asked=int(record["askedSerial"]),
        active=current["status"] == "Active",
        previous_serial=int(previous["serial"]) if previous else None,
        previous_active=bool(previous) and previous["status"] == "Active",
    )


def key_ids(record: Mapping[str, Any], active: bool = False) -> dict[str, str]:
    """Slot → id of the keys in a user's record; with `active` only of those that work."""
    keys = [key for key in (record.get("current"), record.get("previous")) if key]
    return {key["slot"]: key["id"] for key in keys if not active or key["status"] == "Active"}
