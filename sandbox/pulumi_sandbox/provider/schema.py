"""How resource types and functions are described: a row of data and a few small functions each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pulumi_sandbox.provider.clients import Aws
from pulumi_sandbox.provider.values import State

Kind = Literal["string", "bool", "int", "document", "map", "set", "list", "blocks"]
"""``document`` is a JSON text (a mapping is taken too); ``set`` and ``list`` hold strings; ``blocks`` anything."""

Rule = Callable[[Any], "str | None"]
"""Looks at a known value of an input and returns what is wrong with it, or None."""


@dataclass(frozen=True)
class Property:
    """One property of a resource, an input unless it is made with ``output``."""

    kind: Kind = "string"
    required: bool = False
    default: Any = None  # filled in by check where the program gives none
    computed: bool = False  # AWS or the provider decides it where the program gives none
    is_output: bool = False  # never an input
    replaces: bool = False  # a change needs a new resource
    secret: bool = False
    rule: Rule | None = None
    conflicts: tuple[str, ...] = ()  # inputs that cannot be given beside this one
    needs: tuple[str, ...] = ()  # inputs that must be given beside this one
    normalize: Callable[[Any], Any] | None = None  # the form in which the state keeps a value
    normalize_for_diff: Callable[[Any], Any] | None = None  # values with the same image under this are the same
    recomputed_with: tuple[str, ...] = ()  # unknown in a preview in which one of these changes


def output(kind: Kind = "string", *, secret: bool = False, recomputed_with: tuple[str, ...] = ()) -> Property:
    """A property that only AWS or the provider sets."""
    return Property(kind, computed=True, is_output=True, secret=secret, recomputed_with=recomputed_with)


def _same_id(aws: Aws, resource_id: str) -> State:
    return {}


def _nothing_to_update(aws: Aws, desired: State, state: State) -> None:
    """For resources of which every input replaces, or is the provider's own business only."""


@dataclass(frozen=True)
class ResourceType:
    """A resource type: its properties, and how it is made, found, changed and removed.

    The functions let boto3's ClientError pass: the server formats it. ``state`` holds the properties and
    "id"; a function changes it step by step, so that a failure half-way leaves in it what is true by then. Where create
    or update returns the fresh properties, they are not read again.

    Calls are those of the real provider: it waits with a further read until what it made can be read.
    """

    token: str  # aws:iam/group:Group
    properties: dict[str, Property]
    create: Callable[[Aws, State, State], State | None]  # (aws, desired inputs, state): sets state["id"] once it exists
    read: Callable[
        [Aws, State], State | None
    ]  # fresh properties; None, or an error of NOT_FOUND_CODES: it does not exist
    delete: Callable[[Aws, State], None]  # an error of NOT_FOUND_CODES is taken as done
    update: Callable[[Aws, State, State], State | None] = _nothing_to_update  # (aws, desired inputs, state)
    locate: Callable[[Aws, str], State] = _same_id  # what read needs, from an import id; may set another "id"
    autoname: str = ""  # input filled with "<logical name>-<7 hex digits>" when absent
    autoname_lower: bool = False
    autoname_limit: int = 255
    exactly_one: tuple[str, ...] = ()  # one of these inputs must be given, and no more
    delete_first: bool = False  # always delete before replace
    regional: bool = False  # takes a region of its own

    def __post_init__(self) -> None:
        if self.regional:  # the same in every regional type, so that none has to list it
            self.properties["region"] = Property(computed=True, replaces=True)

    def inputs(self) -> dict[str, Property]:
        """The properties a program may give."""
        return {name: prop for name, prop in self.properties.items() if not prop.is_output}


@dataclass(frozen=True)
class Function:
    """A function (``aws.iam.get_user``...): its arguments and how it is answered."""

    token: str  # aws:iam/getUser:getUser
    arguments: dict[str, Property]
    answer: Callable[[Aws, State], State]  # raises ClientError or ProviderError


TAGS = {"tags": Property("map"), "tagsAll": output("map")}
"""The properties of everything that can be tagged."""
