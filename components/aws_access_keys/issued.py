"""What earlier runs of a stack issued: the one thing that cannot be told from its config.

Each user has a record: a Stash named `COMPONENT/USER/issued`, written once a new key is known to work and before it is
handed to anyone or the key before is touched, so that no failure afterwards, of this user or of another, can make a
later run take a key in use for one that may go. The user's component has a copy: when the user is removed the Stash
goes before the keys, and if their removal fails the copy is what is left.
"""

import time
from collections.abc import Mapping
from datetime import date
from typing import Any, cast

import pulumi

from aws_access_keys.rules.rotation import SLOTS, Issued

RECORD = "issued"
KEY = "aws:iam/accessKey:AccessKey"
_USER = "aws-access-keys:index:AccessUser"
_STASH = "pulumi:index:Stash"


def issued_keys() -> Mapping[str, Any]:
    """User → what the stack's state says of the user's keys; empty before the first run.

    Per user: `current` and `previous` (id, serial, slot, status; `previous` is None where the state has no such key),
    `recorded` (the id that was written down as the current key's: another than `current` has where that was made anew),
    `before` (slot and serial of the previous key, there or not), `issuedOn`, `askedSerial`, `guardIdleDays`, the name
    of the `component`, `slots` (slot → id of every key in the state), and `handedOver`: False where the stack's output
    `accessKeyIds` does not name the current key yet, because the run that issued it failed. Two questions to the
    engine, none to AWS.
    """
    stack = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    outputs = _ask("pulumi:pulumi:readStackOutputs", {"name": stack})
    if not outputs:
        # Never deployed, and the engine cannot answer the next question then. It can after a run that failed, but does
        # not tell the two apart. So that the next run can: these outputs stand if this run fails, and are replaced by
        # the program's own if it does not.
        root = pulumi.runtime.get_root_resource()
        if isinstance(root, pulumi.ComponentResource):
            root.register_outputs({"accessKeyIds": {}})
        return {}
    resources = _ask("pulumi:pulumi:readStackResourceOutputs", {"stackName": stack})
    named = {(found["type"], urn.rsplit("::", 1)[1]): found["outputs"] for urn, found in resources.items()}
    copies = {name: found.get("record") for (kind, name), found in named.items() if kind == _USER}
    stashes = {
        name.removesuffix(f"/{RECORD}"): found.get("input")
        for (kind, name), found in named.items()
        if kind == _STASH and name.endswith(f"/{RECORD}")
    }
    handed_over: Mapping[str, str] | None = outputs.get("accessKeyIds")
    records: dict[str, Any] = {}
    for name, record in {**copies, **stashes}.items():
        if _whole(record):
            component, user = name.rsplit("/", 1)
            slots = {slot: named[KEY, f"{name}/{slot}"] for slot in SLOTS if (KEY, f"{name}/{slot}") in named}
            known = {**record, "component": component, "slots": {slot: key["id"] for slot, key in slots.items()}}
            known["current"] = _as_it_is(record["current"], slots)
            known["recorded"] = record["current"]["id"]
            # One that was deleted, by a run or by hand, is not made again.
            before = record.get("previous")
            known["before"] = before
            known["previous"] = _as_it_is(before, slots) if before and before["slot"] in slots else None
            known["handedOver"] = handed_over is None or handed_over.get(user) == record["current"]["id"]
            records[user] = known
    return records


def _whole(record: Any) -> bool:
    """Whether this is a record. A run that did not get to a user can leave the engine's mark for an unknown value."""
    return isinstance(record, dict) and isinstance(cast("dict[str, Any]", record).get("current"), dict)


def _as_it_is(key: Mapping[str, Any], slots: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A key of a record with what the state has of it now; a refresh can have found another status."""
    found = slots.get(key["slot"], {})
    return {
        **key,
        "id": found.get("id") or key.get("id"),
        "status": found.get("status") or "Active",
        "created": found.get("createDate"),
        "pgpFingerprint": found.get("keyFingerprint"),
    }


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


def key_ids(record: Mapping[str, Any]) -> dict[str, str]:
    """Slot → id of the keys in a user's record."""
    return {key["slot"]: key["id"] for key in (record.get("current"), record.get("previous")) if key}
