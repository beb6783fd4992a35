"""Moving users from the state of one stack into that of another: their keys, secrets and records, and the groups and
policies that nobody else uses. `pulumi state move` moves a whole component only, with everything in it.

The states are those of `pulumi stack export`. Source of their members: apitype.ResourceV3 in the Pulumi SDK.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, cast

from aws_access_keys.rules.resource_types import COMPONENT, GROUP, KEY, PARAMETER, PLANS, POLICY, SECRET, USER
from aws_access_keys.rules.untyped import mapping

STACK = "pulumi:pulumi:Stack"
MOVE = "aws-access-keys:index:Move"
"""Marks the source while users move: components refuse to run. No program has it."""

State = list[dict[str, Any]]
"""The resources of a stack in the engine's order: each after what it depends on."""

_KINDS = {USER: "user", GROUP: "group", POLICY: "policy"}


class MoveError(Exception):
    """The users cannot be moved; the message explains why and what to do."""


class Moved(NamedTuple):
    """What a move makes of two states."""

    source: State
    target: State
    names: dict[str, list[str]]
    """`user`, `group` and `policy` → the names in IAM of what moves."""


def move_users(source: State, target: State, stack: str, users: Sequence[str]) -> Moved:
    """Both states after the move; the arguments stay as they are. Raises MoveError.

    stack: the name of the target. users: names in IAM, as COMPONENT/USER where two components have one. If the target
    has them already, with the same keys, an interrupted move is completed: the target stays as it is.
    """
    source = _resumed(source)
    found = _Source(source)
    moved = found.with_what_they_use([found.user(name) for name in users])
    found.check(moved)
    rename = _Renamer.between(source, stack, {one["urn"] for one in target})
    is_written = found.are_in(target, moved, rename)
    left, made = deepcopy([one for one in source if one["urn"] not in moved]), deepcopy(target)
    around = found.frame({found.component(urn) for urn in moved})
    copied = {_provider(one)[0] for one in source if one["urn"] in moved} | around
    for one in () if is_written else source:
        is_known = rename.urn(one["urn"]) in rename.known
        if one["urn"] in moved and is_known:
            text = f"Stack '{stack}' already has {found.describe(one['urn'])}."
            if _identity(one) in map(_identity, target):
                text += (
                    f" It is the very same in AWS: a move was interrupted, and '{stack}' has been updated since. Run "
                    f"`pulumi refresh --stack {rename.source}`, then this command again."
                )
            raise MoveError(text)
        if one["urn"] in moved or (one["urn"] in copied and not is_known):
            made.append(rename.resource(one, {other["urn"]: other.get("id", "") for other in made}))
            rename.known.add(made[-1]["urn"])
            if one["urn"] in around:
                made[-1]["outputs"] = {}
    accounts = {str(one["outputs"]["arn"]).split(":")[4] for one in made if one["type"] in _KINDS and one["outputs"]}
    if len(accounts) > 1:
        raise MoveError(f"The stacks are in different AWS accounts: {', '.join(sorted(accounts))}.")
    tops = {found.tops[urn] for urn in moved}
    for one in left:
        _depend_on(one, {other["urn"] for other in left})
        if one["type"] in (COMPONENT, PLANS):
            component = one["urn"] if one["type"] == COMPONENT else one["parent"]
            names = found.names_in_records(urn for urn in {*tops, *moved} if found.component(urn) == component)
            into = [new for new in made if new["urn"] == rename.urn(one["urn"]) and not is_written]
            _move_records(one, into, names)
    by_kind = {
        kind: sorted(_name(urn) for urn in tops if found.by_urn[urn]["type"] == type_) for type_, kind in _KINDS.items()
    }
    return Moved(left, made, by_kind)


def protected(source: State, moved: Moved, command: str) -> State:
    """The source until the target is written, too: its components refuse to run, and without them the engine refuses to
    delete what moves. The next update by the program of either stack sets `protect` again.

    command: what completes the move.
    """
    source = _resumed(source)
    root, staying = source[0]["urn"], {one["urn"] for one in moved.source}
    urn = "::".join([*root.split("::")[:2], MOVE, "move"])
    for one in source:
        if one["urn"] not in staying:
            one["protect"] = True
    return [
        source[0],
        {"urn": urn, "custom": False, "type": MOVE, "parent": root, "outputs": {"command": command}},
        *source[1:],
    ]


def interrupted(resources: Mapping[str, Any]) -> str | None:
    """Why the stack may not be updated in the middle of a move; None outside of one. resources: of parse_state."""
    for urn, found in resources.items():
        if found.get("type") == MOVE:
            return (
                "users are moving to another stack, or a move was interrupted. To complete it, run "
                f"`{found['outputs']['command']}` again. If the other stack has none of these users, you can also give "
                f"it up with `pulumi state delete '{urn}'`. Nothing was changed."
            )
    return None


def _resumed(source: State) -> State:
    """A copy of the source, as it was before a move that was interrupted."""
    return deepcopy([one for one in source if one["type"] != MOVE])


class _Source:
    """The state that is moved from."""

    def __init__(self, resources: State) -> None:
        self.by_urn = {one["urn"]: one for one in resources if not one.get("delete")}
        self._unfinished = {one["urn"] for one in resources if one.get("delete") or one.get("pendingReplacement")}
        self.tops = {urn: top for urn in self.by_urn if (top := self._top(urn))}
        """URN → that of the user, group or policy of a component that it is, or is below."""

    def _top(self, urn: str) -> str | None:
        while (parent := self.by_urn[urn].get("parent")) in self.by_urn:
            if self.by_urn[str(parent)]["type"] == COMPONENT:
                return urn if self.by_urn[urn]["type"] in _KINDS else None
            urn = str(parent)
        return None

    def user(self, name: str) -> str:
        """The URN of a user. Raises MoveError."""
        users = [urn for urn, top in self.tops.items() if urn == top and self.by_urn[urn]["type"] == USER]
        found = [urn for urn in users if name in (_name(urn), urn.rpartition("::")[2])]
        if len(found) > 1:
            raise MoveError(f"Several components have a user '{name}'. Write COMPONENT/{name}.")
        if not found:
            known = ", ".join(sorted(map(_name, users))[:20])
            raise MoveError(f"The state has no user '{name}'. Its users: {known or 'none'}.")
        return found[0]

    def component(self, urn: str) -> str:
        """The URN of the component that a resource is in."""
        return str(self.by_urn[self.tops[urn]]["parent"])

    def frame(self, components: Collection[str]) -> set[str]:
        """The URNs of what is around the users of components: the stack, the components with what they are in, and
        their plans. Raises MoveError."""
        around = set(components)
        for urn in components:
            while parent := self.by_urn[urn].get("parent"):
                if self.by_urn[parent].get("custom"):
                    raise MoveError(f"Users below a resource that is not a component, {parent}, cannot move.")
                around.add(parent)
                urn = parent
        plans = {urn for urn, one in self.by_urn.items() if one["type"] == PLANS and one["parent"] in components}
        return around | plans

    def describe(self, urn: str) -> str:
        """`group 'readers'`; a resource that no component has by its name."""
        top = self.by_urn[self.tops.get(urn, urn)]
        return f"{_KINDS.get(top['type'], top['type'])} '{_name(top['urn'])}'"

    def names_in_records(self, urns: Iterable[str]) -> set[str]:
        """What the records of a component call its users and groups: state.py. A group can be named like a user.

        urns: of all that moves.
        """
        found = [self.by_urn[urn] for urn in urns]
        stores = {SECRET: "secret", PARAMETER: "parameter"}
        kinds = [(_KINDS[one["type"]], _name(one["urn"])) for one in found if one["type"] in _KINDS]
        kinds += [(stores[one["type"]], one["outputs"].get("name")) for one in found if one["type"] in stores]
        users = {name for kind, name in kinds if kind == "user"}
        return users | {text for kind, name in kinds for text in (f"{kind}s.{name}", f"{kind} {name}")}

    def with_what_they_use(self, users: Sequence[str]) -> set[str]:
        """The URNs of all that moves: users, the groups and policies that they use, and what is below them."""
        tops, waiting = set(users), list(users)
        while waiting:
            top = waiting.pop()
            used = {dep for urn, of in self.tops.items() if of == top for dep in _dependencies(self.by_urn[urn])}
            more = {self.tops[urn] for urn in used & self.tops.keys()} - tops
            waiting += [urn for urn in more if self.by_urn[urn]["type"] != USER]
            tops |= set(waiting)
        return {urn for urn, top in self.tops.items() if top in tops}

    def are_in(self, target: State, moved: Collection[str], rename: "_Renamer") -> bool:
        """Whether another state has all users, keys, groups and policies of what moves, the very same in AWS."""
        has = {one["urn"]: _identity(one) for one in target if not one.get("delete")}
        compared = [self.by_urn[urn] for urn in moved if self.by_urn[urn]["type"] in (KEY, *_KINDS)]
        return all(has.get(rename.urn(one["urn"])) == _identity(one) for one in compared)

    def check(self, moved: Collection[str]) -> None:
        """Raise MoveError where something that stays needs what moves, or an update of that is not finished."""
        for urn in sorted(self._unfinished.intersection(moved)):
            raise MoveError(
                f"The last update of {self.describe(urn)} did not finish. Put its settings back "
                "where they were, run `pulumi up`, and move them again."
            )
        for urn, one in self.by_urn.items():
            needed = _dependencies(one).intersection(moved) if urn not in moved else set[str]()
            for other in sorted(needed):
                # A user's store waits for the keys of other users, and does not need them.
                if urn not in self.tops or self.by_urn[self.tops[other]]["type"] != USER:
                    what, why = self.describe(other), f"{self.describe(urn)} uses it and would stay"
                    raise MoveError(f"The {what} cannot move: {why}. Move both, or separate them in the stack file.")


class _Renamer(NamedTuple):
    """Puts resources into another stack."""

    old: str
    new: str
    roots: dict[str, str]
    """URN of the stack itself, whose name is a part of it, in both states."""
    known: set[str]
    """The URNs in the target."""

    @staticmethod
    def between(source: State, stack: str, known: set[str]) -> "_Renamer":
        """From a state to a stack of the same project."""
        old, project = source[0]["urn"].split("::")[:2]
        new = f"urn:pulumi:{stack}"
        root = f"{project}::{STACK}::{project}-"
        name = old.rpartition(":")[2]
        return _Renamer(f"{old}::", f"{new}::", {f"{old}::{root}{name}": f"{new}::{root}{stack}"}, known)

    @property
    def source(self) -> str:
        """The name of the old stack."""
        return self.old.removesuffix("::").rpartition(":")[2]

    def urn(self, urn: str) -> str:
        return self.roots.get(urn) or self.new + urn.removeprefix(self.old)

    def resource(self, one: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
        """A resource as the target has it. ids: URN → id of what the target has, for its providers."""
        made = deepcopy(dict(one))
        made.pop("protect", None)  # of a move that was interrupted; the program sets its own again
        made |= {name: self.urn(made[name]) for name in ("urn", "parent", "deletedWith") if made.get(name)}
        if provider := made.get("provider"):
            urn, own = _provider(made)
            made["provider"] = f"{self.urn(urn)}::{ids.get(self.urn(urn), own)}" if urn else provider
        _depend_on(made, self.known, self.urn)
        return made


def _identity(one: Mapping[str, Any]) -> tuple[Any, Any]:
    """What no other resource of its type in AWS has: a key's id, an ARN."""
    return one.get("id"), mapping(one.get("outputs")).get("arn")


def _provider(one: Mapping[str, Any]) -> tuple[str, str]:
    """The URN and the id of a resource's provider; empty for a component."""
    urn, _, own = str(one.get("provider") or "").rpartition("::")
    return urn, own


def _depend_on(one: dict[str, Any], known: Collection[str], rename: Callable[[str], str] = str) -> None:
    """Rename the dependencies of a resource, and drop those on what its state does not have."""

    def kept(urns: Sequence[str] | None) -> list[str]:
        return [new for urn in urns or () if (new := rename(urn)) in known]

    if "dependencies" in one:
        one["dependencies"] = kept(one["dependencies"])
    by_property: Mapping[str, list[str] | None] | None = one.get("propertyDependencies")
    if by_property is not None:
        one["propertyDependencies"] = {name: kept(urns) for name, urns in by_property.items()}


def _dependencies(one: Mapping[str, Any]) -> set[str]:
    by_property: Mapping[str, list[str] | None] = one.get("propertyDependencies") or {}
    return {*(one.get("dependencies") or ()), *(urn for urns in by_property.values() for urn in urns or ())}


def _move_records(old: Mapping[str, Any], targets: State, names: Collection[str]) -> None:
    """Move what a component, or its plan of the keys, has recorded of users and groups; see state.py."""
    outputs: Mapping[str, Any] = old.get("outputs") or {}
    # What did not become known in a run that failed is not a mapping.
    records = {member: cast("dict[str, Any]", found) for member, found in outputs.items() if isinstance(found, dict)}
    for member, record in records.items():
        for name in record.keys() & set(names):
            found = record.pop(name)
            for new in targets:
                new.setdefault("outputs", {}).setdefault(member, {})[name] = found
    notices = cast("dict[str, dict[str, Any]]", records.get("notices", {}))
    for channel, marks in notices.items():
        for mark in [mark for mark, sent in marks.items() if sent.get("user") in names]:
            sent = marks.pop(mark)
            for new in targets:
                new.setdefault("outputs", {}).setdefault("notices", {}).setdefault(channel, {})[mark] = sent


def _name(urn: str) -> str:
    """The name in IAM of a user, group or policy."""
    return urn.rpartition("/")[2] if "/" in urn.rpartition("::")[2] else urn.rpartition("::")[2]
