"""Property values between the engine's wire form (protobuf Struct) and plain Python.

Plain values are str, bool, int, float, list, dict and None, and ``UNKNOWN`` for what only a later run can know.
"""

from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct


class ProviderError(Exception):
    """Something the person who runs Pulumi must fix; the message is shown as it is."""


State = dict[str, Any]
"""A resource's properties, by their Pulumi names."""

# Signatures the engine marks special values with (sdk/go/common/resource/properties.go and plugin/rpc.go).
_SIGNATURE: Final = "4dabf18193072939515e22adb298388d"
_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"
_OUTPUT: Final = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_UNKNOWN_STRING: Final = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS: Final = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # of a bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # of a number
        _UNKNOWN_STRING,
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # of an array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # of an asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # of an archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # of an object
    }
)


class _Unknown:
    """The type of ``UNKNOWN``; it is equal only to itself, and asking for its truth is an error."""

    def __repr__(self) -> str:
        return "<unknown>"

    def __bool__(self) -> bool:
        raise TypeError("the truth of an unknown value is not known yet")


UNKNOWN: Final = _Unknown()


class Secret:
    """A value that the engine must encrypt in its state and hide in what it prints."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<secret>"


def from_struct(struct: Struct) -> State:
    """Plain properties; secrets are unwrapped, because the engine itself remembers what was secret."""
    return {key: _plain(value) for key, value in MessageToDict(struct).items()}


def to_struct(properties: State) -> Struct:
    """The wire form of properties that may hold ``UNKNOWN`` and ``Secret``."""
    return ParseDict(_wire(properties), Struct())


def has_unknown(value: Any) -> bool:
    """Whether any part of the value is unknown."""
    if isinstance(value, dict):
        return any(has_unknown(part) for part in value.values())
    if isinstance(value, list):
        return any(has_unknown(part) for part in value)
    return value is UNKNOWN


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return UNKNOWN if value in _UNKNOWNS else value
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the wire knows only one kind of number
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, dict):
        signature = value.get(_SIGNATURE)
        if signature is None:
            return {key: _plain(part) for key, part in value.items()}
        if signature not in (_SECRET, _OUTPUT):
            raise ProviderError("an asset, archive or resource is given where only text, numbers, lists and maps fit")
        return _plain(value["value"]) if "value" in value else UNKNOWN
    return value


def _wire(value: Any) -> Any:
    if value is UNKNOWN:
        return _UNKNOWN_STRING
    if isinstance(value, Secret):
        return {_SIGNATURE: _SECRET, "value": _wire(value.value)}
    if isinstance(value, list):
        return [_wire(part) for part in value]
    if isinstance(value, dict):
        return {key: _wire(part) for key, part in value.items()}
    return value
