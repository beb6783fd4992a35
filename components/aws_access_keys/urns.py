"""The URNs of a component's resources, which tell whose they are: type and name contain those of the parents."""

from collections.abc import Container

from aws_access_keys.rules.resource_types import (
    COMPONENT,
    KEY,
    MEMBERSHIP,
    PARAMETER,
    SECRET,
    SECRET_POLICY,
    SECRET_VERSION,
    STASH,
    USER,
)

_OF_STORES = {SECRET, SECRET_POLICY, SECRET_VERSION, PARAMETER, STASH}


def component_name(urn: str) -> str:
    """The name of the component with a URN."""
    return urn.split("::", 3)[3]


def urn_below(urn: str, *kinds: str) -> str:
    """How the URNs begin of a component's resources of one type. kinds: the types of its parents and its own."""
    stack, project, types, name = urn.split("::", 3)
    return "::".join((stack, project, "$".join((types, *kinds)), name))


def name_below(kind: str, name: str) -> str:
    """The name of a store's resource below the component, after a /. kind: its type. name: in the store."""
    return name.removeprefix("/") if kind == PARAMETER else name


def component_of(urn: str, known: Container[str]) -> str | None:
    """The URN of the component that a resource of a user or group belongs to; None for one that no component made.

    known: the URNs of the stack: names of components and of stores can contain a /, so the name alone does not tell.
    """
    stack, project, types, name = urn.split("::", 3)
    above, component, below = types.rpartition(f"{COMPONENT}$")
    kinds, parts = below.split("$"), name.split("/")
    # Each type below has a part of the name; but a membership has its user's name, and what is of a store the store's.
    own = 1 if kinds[-1] in _OF_STORES else sum(kind != MEMBERSHIP for kind in kinds)
    for end in range(len(parts) - own, 0, -1) if component else ():
        found = "::".join((stack, project, f"{above}{COMPONENT}", "/".join(parts[:end])))
        if found in known:
            return found
    return None


def owner_of_key(urn: str) -> tuple[str, str]:
    """The URN of the component that a key belongs to, and the name of its user."""
    stack, project, types, name = urn.split("::", 3)
    component, user, _ = name.rsplit("/", 2)
    return "::".join((stack, project, types.removesuffix(f"${USER}${KEY}"), component)), user
