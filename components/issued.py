"""What earlier runs of a stack issued: the one thing that cannot be told from its config."""

import time
from collections.abc import Mapping
from datetime import date
from typing import Any

import pulumi

from rules.rotation import Issued

OUTPUT = "keys"


def issued_keys(output: str = OUTPUT) -> Mapping[str, Any]:
    """The value that the stack's output `output` had after its last run; empty before the first.

    One question to the engine for the whole stack, none to AWS. Export `ProgrammaticAccess.keys` under that name.
    """
    stack = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    found: Mapping[str, Any] | None = _outputs(stack).get(output)
    return found or {}


def _outputs(stack: str) -> Mapping[str, Any]:
    """The stack's outputs. At the start of an update the engine writes the file that they are read from, so a reader
    can meet it half written; a moment later it is whole."""
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, None):
        try:
            answer: Any = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
            return answer["outputs"]
        except Exception as error:  # the SDK raises nothing more special
            if pause is None:
                raise pulumi.RunError(
                    f"Pulumi cannot read what the stack {stack} issued before: {error}. Nothing was changed; run it "
                    "again."
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
