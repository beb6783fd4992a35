"""The preview in which `access-keys takeover` has the engine name what the program would create."""

import os

import pulumi

VARIABLE = "ACCESS_KEYS_TAKEOVER"


def is_listing() -> bool:
    """Whether this run only lists resources, as if the stack and the account had none. Raises RunError in an update."""
    if not os.environ.get(VARIABLE):
        return False
    if not pulumi.runtime.is_dry_run():
        raise pulumi.RunError(
            f"{VARIABLE} is for the preview that `access-keys takeover` makes: an update would create what exists. "
            f"Unset {VARIABLE}. Nothing was changed."
        )
    return True
