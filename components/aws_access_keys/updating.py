"""Whether a run is an update: `pulumi destroy` and `pulumi refresh` with `--run-program` look like one to the program.

They create and change nothing that the program registers, so it must not deliver or send anything itself. The engine
does not tell which of them it is doing, but it answers with what the state has, not with what it was given: here, with
a number. An update in which the program is to act raises it. `--target` can leave that number out, but not a key that
is issued.
"""

from collections.abc import Sequence

import pulumi

ACTS = "acts"
"""The name of the resource that has the number, below the component."""


def is_update(
    component: str, acted: int | None, acts: bool, parent: pulumi.Resource, issued: "Sequence[pulumi.Output[bool]]"
) -> "pulumi.Output[bool]":
    """component: its name. acted: the number in the state. acts: whether this run is to act. issued: whether each new
    key is one that the state did not have, which an update alone issues; complete when all users are registered."""
    if acted is None and not acts:
        return pulumi.Output.from_input(True)
    number = (acted or 0) + acts
    record = pulumi.Stash(f"{component}/{ACTS}", input=number, opts=pulumi.ResourceOptions(parent=parent))

    async def is_raised() -> bool:
        if pulumi.runtime.is_dry_run():
            return True
        known = pulumi.Output.all(record.id, record.input)  # without an id, the input is what was given
        if await known.is_known() and (await known.future() or [None])[-1] == number:
            return True
        if any([await one.future() for one in issued]):
            return True
        pulumi.log.warn(
            "This run delivers no key and sends no notice: it is a destroy or a refresh, or an update with --target or "
            "--exclude. `pulumi up` without these does."
        )
        return False

    return pulumi.Output.from_input(is_raised())
