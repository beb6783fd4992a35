"""Values from outside, whose shape nobody has promised."""

from typing import Any, cast


def mapping(value: object) -> dict[str, Any]:
    """A mapping, or an empty one in place of anything else: of what is missing, and of the engine's mark for a value
    that did not become known.
    """
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
