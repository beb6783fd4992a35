"""What earlier runs of a stack issued: the one thing that cannot be told from its config."""

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
    answer: Any = pulumi.runtime.invoke("pulumi:pulumi:readStackOutputs", {"name": stack}).value
    found: Mapping[str, Any] | None = answer["outputs"].get(output)
    return found or {}


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
        previous_serial=int(previous["serial"]) if previous else None,
    )
