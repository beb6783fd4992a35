"""What an account has already, as the settings of a stack file: which groups and users are chosen, how each is written,
and what no setting expresses. Nothing here asks or changes anything.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from aws_access_keys.rules.documents import Document, document_problems
from aws_access_keys.rules.leak import DENY_NAME
from aws_access_keys.rules.networks import ALLOW_FROM
from aws_access_keys.rules.policies import PolicyError, is_quarantine, managed_policies, policy_arn, policy_key
from aws_access_keys.rules.resource_types import (
    GROUP,
    GROUP_POLICY,
    GROUP_POLICY_ATTACHMENT,
    MEMBERSHIP,
    USER,
    USER_POLICY,
    USER_POLICY_ATTACHMENT,
)

Entity = tuple[str, str]
"""`group` or `user`, and the name in IAM."""


class ExistingKey(NamedTuple):
    """An access key that IAM has."""

    id: str
    active: bool
    created: datetime
    known: Mapping[str, Any] | None = None
    """Further outputs of the resource, such as the secret, where a Terraform state has them."""


@dataclass(frozen=True, kw_only=True)
class Existing:
    """A group or user that IAM has."""

    name: str
    path: str
    attached: tuple[str, ...]
    """ARNs of managed policies."""
    inline: Mapping[str, Document | None]
    """Name → document; None for what is not JSON."""


@dataclass(frozen=True, kw_only=True)
class ExistingUser(Existing):
    tags: Mapping[str, str]
    boundary: str | None
    """ARN."""
    groups: tuple[str, ...]
    keys: tuple[ExistingKey, ...] = ()
    """The newest first."""
    others: tuple[str, ...] = ()
    """What the user has besides, in words: a console password, an SSH key."""


@dataclass(frozen=True)
class Inventory:
    """The groups and users of an account, by name."""

    groups: Mapping[str, Existing]
    users: Mapping[str, ExistingUser]

    def members(self, group: str) -> list[str]:
        """The users in a group."""
        return [name for name, user in self.users.items() if group in user.groups]


def parse_account(pages: Iterable[Mapping[str, Any]]) -> Inventory:
    """The pages of GetAccountAuthorizationDetails, without keys, which it does not have."""
    groups: dict[str, Existing] = {}
    users: dict[str, ExistingUser] = {}
    for page in pages:
        for found in page.get("GroupDetailList", ()):
            groups[found["GroupName"]] = Existing(name=found["GroupName"], **_holder(found, "Group"))
        for found in page.get("UserDetailList", ()):
            users[found["UserName"]] = ExistingUser(
                name=found["UserName"],
                **_holder(found, "User"),
                tags={tag["Key"]: tag["Value"] for tag in found.get("Tags", ())},
                boundary=found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
                groups=tuple(sorted(found.get("GroupList", ()))),
            )
    return Inventory(groups, users)


def _holder(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    inline = {one["PolicyName"]: one.get("PolicyDocument") for one in found.get(f"{kind}PolicyList", ())}
    return {
        "path": found["Path"],
        "attached": tuple(one["PolicyArn"] for one in found.get("AttachedManagedPolicies", ())),
        "inline": {name: document if isinstance(document, dict) else None for name, document in inline.items()},
    }


@dataclass(frozen=True)
class Choice:
    """Which groups and users to take over: all that one of these names."""

    users: Sequence[str] = ()
    groups: Sequence[str] = ()
    paths: Sequence[str] = ()
    """How their IAM paths begin."""
    tags: Sequence[tuple[str, str]] = ()
    everything: bool = False


def chosen(account: Inventory, choice: Choice) -> set[Entity]:
    """The chosen groups and users. A group brings the users in it, and a user the groups that it is in.

    Raises KeyError with the entity that is named and does not exist.
    """
    for kind, names, known in (("user", choice.users, account.users), ("group", choice.groups, account.groups)):
        for name in names:
            if name not in known:
                raise KeyError((kind, name))

    def by_path(found: Existing) -> bool:
        return choice.everything or any(found.path.startswith(path) for path in choice.paths)

    groups = {*choice.groups, *(name for name, group in account.groups.items() if by_path(group))}
    users = {*choice.users, *(member for group in choice.groups for member in account.members(group))}
    for name, user in account.users.items():
        if by_path(user) or any(user.tags.get(key) == value for key, value in choice.tags):
            users.add(name)
    groups |= {group for name in users for group in account.users[name].groups}
    return {*(("group", name) for name in groups), *(("user", name) for name in users)}


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What the stack file has already, and applies to what is added."""

    partition: str = "aws"
    prefix: str = ""
    """Of all names in IAM (`namePrefix`)."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those that the stack file or the provider puts on every user."""
    ignored_tags: Sequence[str] = ()
    """Prefixes of tag keys that the provider leaves alone."""
    delivers: bool = False
    """Whether every key is delivered into a store."""
    keeps_secrets: bool = True
    """Whether the secrets of new keys are kept; of one that exists, somebody may have it."""
    serial: int = 1
    """Of every key, unless the user has another one."""
    status: str | None = None
    previous: str | None = None
    """The same of the status of current keys, and of what becomes of previous ones, at the latest after an overlap."""


@dataclass
class Description:
    """Groups and users as a stack file has them."""

    groups: dict[str, Any] = field(default_factory=dict[str, Any])
    """Name in the stack file → settings."""
    users: dict[str, Any] = field(default_factory=dict[str, Any])
    entities: set[Entity] = field(default_factory=set[Entity])
    """What is described."""
    left: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """What stays as it is, and is not described: whose it is (`user ann`), and what, with the reason."""

    def leave(self, kind: str, name: str, what: str) -> None:
        self.left.append((f"{kind} {name}", what))


def describe(account: Inventory, entities: Collection[Entity], around: Surroundings) -> Description:
    """The chosen groups and users as settings."""
    made = Description()
    for kind, name in sorted(entities):
        if not name.startswith(around.prefix):
            made.leave(kind, name, f"its name does not begin with namePrefix, '{around.prefix}'")
        else:
            made.entities.add((kind, name))
    for kind, name in sorted(made.entities):
        if kind == "group":
            settings = _permissions(made, kind, account.groups[name], around)
            made.groups[name.removeprefix(around.prefix)] = settings or {"adopt": True}
        else:
            made.users[name.removeprefix(around.prefix)] = _user(made, account.users[name], around)
    return made


def _user(made: Description, user: ExistingUser, around: Surroundings) -> dict[str, Any]:
    groups = [group.removeprefix(around.prefix) for group in user.groups if ("group", group) in made.entities]
    settings: dict[str, Any] = {"groups": groups} if groups else {}
    settings |= _permissions(made, "user", user, around)
    if not any(name in settings for name in ("groups", "policies", "inline")):
        settings["adopt"] = True
    for group in user.groups:
        if ("group", group) not in made.entities:
            made.leave("user", user.name, f"the membership in the group {group}, which is not taken over")
    if user.boundary:
        settings["permissionsBoundary"] = _policy_name(user.boundary, around.partition)
    ignored = ("aws:", *around.ignored_tags)
    tags = {key: value for key, value in sorted(user.tags.items()) if not key.startswith(ignored)}
    if tags := {key: value for key, value in tags.items() if around.tags.get(key) != value}:
        settings["tags"] = tags
    if not user.keys:
        settings["key"] = None
    elif key := dict(_key_settings(user.keys, around)):
        settings["key"] = key
    if around.delivers and user.keys and not (user.keys[0].known or {}).get("secret"):
        settings["deliver"] = None
    for other in user.others:
        made.leave("user", user.name, other)
    return settings


def _key_settings(keys: Sequence[ExistingKey], around: Surroundings) -> Iterator[tuple[str, Any]]:
    """What a user's `key` needs so that the next update changes none of the keys, and no overlap begins with it.
    keys: the newest first."""
    if len(keys) > 1 and around.serial < len(keys):
        yield "serial", len(keys)
    if not around.keeps_secrets:
        yield "keepSecret", True
    if around.status in ("active", "inactive") and (around.status == "active") != keys[0].active:
        yield "status", "active" if keys[0].active else "inactive"
    for older in keys[1:]:
        if around.previous == "deleted" or (around.previous in ("inactive", "whenidle") and older.active):
            yield "previous", "active" if older.active else "inactive"


def _permissions(made: Description, kind: str, holder: Existing, around: Surroundings) -> dict[str, Any]:
    settings: dict[str, Any] = {"path": holder.path} if holder.path != "/" else {}
    policies: list[str] = []
    for arn in sorted(holder.attached):
        if is_quarantine(arn):
            name = arn.rpartition("/")[2]
            made.leave(kind, holder.name, f"the policy {name}: AWS attached it because it found a key exposed")
            continue
        try:
            policy_arn(arn, around.partition)
        except PolicyError as error:
            made.leave(kind, holder.name, f"the policy {arn}: {error}")
        else:
            policies.append(_policy_name(arn, around.partition))
    inline: dict[str, Document] = {}
    for name, document in sorted(holder.inline.items()):
        problem = "its document is not JSON"
        if name.startswith(DENY_NAME):
            made.leave(kind, holder.name, f"the inline policy {name}, by which `access-keys leak` denies sessions")
            continue
        if document is not None:
            problems = document_problems(name, document, around.partition)
            problem = next((f"{found.path}: {found.message}" for found in problems), "")
        if name == ALLOW_FROM:
            problem = "allowFrom creates a policy of this name"
        if problem or document is None:
            made.leave(kind, holder.name, f"the inline policy {name}, which no setting expresses ({problem})")
        else:
            inline[name] = document
    settings |= {"policies": policies} if policies else {}
    return settings | ({"inline": inline} if inline else {})


def _policy_name(arn: str, partition: str) -> str:
    """A policy as people write it: AWS's by name, if this program knows it."""
    name = arn.rpartition("/")[2]
    return name if name in managed_policies() and policy_arn(name, partition) == arn else arn


def only(account: Inventory, held: Collection[tuple[str, ...]]) -> tuple[Inventory, list[tuple[str, str]]]:
    """The same account with only the policies, memberships and keys that are in `held`, and what was left out.

    held: (kind of the owner, its name, what): the ARN or name of a policy, the name of a group, the id of a key.
    """
    left: list[tuple[str, str]] = []

    def keep(kind: str, name: str, things: Iterable[str], words: str) -> list[str]:
        listed = list(things)
        left.extend((f"{kind} {name}", f"{words} {one}") for one in listed if (kind, name, one) not in held)
        return [one for one in listed if (kind, name, one) in held]

    def kept(kind: str, holder: Existing) -> dict[str, Any]:
        inline = keep(kind, holder.name, holder.inline, "the inline policy")
        attached = keep(kind, holder.name, holder.attached, "the policy")
        return {"attached": tuple(attached), "inline": {name: holder.inline[name] for name in inline}}

    groups = {name: replace(group, **kept("group", group)) for name, group in account.groups.items()}
    users: dict[str, ExistingUser] = {}
    for name, user in account.users.items():
        ids = keep("user", name, (key.id for key in user.keys), "the access key")
        of_user = tuple(keep("user", name, user.groups, "the membership in the group"))
        keys = tuple(key for key in user.keys if key.id in ids)
        users[name] = replace(user, **kept("user", user), groups=of_user, keys=keys)
    return Inventory(groups, users), left


@dataclass(frozen=True)
class Foreign:
    """What a group or user of a stack has in IAM and the stack does not manage."""

    owner: str
    """`group web` or `user ann`."""
    what: str
    """In words: a policy, an inline policy, a group that the user is in."""
    removal: str
    """The command that removes it."""


def foreign_parts(
    account: Inventory, entities: Collection[Entity], held: Collection[tuple[str, ...]]
) -> Iterator[Foreign]:
    """What groups and users have beside what a stack holds. held: as in `only`."""
    for kind, holders in (("group", account.groups), ("user", account.users)):
        for name, holder in sorted(holders.items()):
            if (kind, name) not in entities:
                continue
            option = f"--{kind}-name {name}"
            for arn in holder.attached:
                if (kind, name, arn) not in held:
                    command = f"aws iam detach-{kind}-policy {option} --policy-arn {arn}"
                    yield Foreign(f"{kind} {name}", f"the policy {arn}", command)
            for inline in holder.inline:
                if (kind, name, inline) not in held and not inline.startswith(DENY_NAME):
                    command = f"aws iam delete-{kind}-policy {option} --policy-name {inline}"
                    yield Foreign(f"{kind} {name}", f"the inline policy {inline}", command)
    for name, user in sorted(account.users.items()):
        for group in user.groups:
            if ("user", name, group) not in held and {("user", name), ("group", group)} & set(entities):
                command = f"aws iam remove-user-from-group --user-name {name} --group-name {group}"
                yield Foreign(f"user {name}", f"the membership in the group {group}", command)


class Planned(NamedTuple):
    """A resource that the program would create, as `pulumi preview --import-file` lists it."""

    type: str
    name: str
    """The whole name in Pulumi: `access/ann/2`."""
    parent: tuple[str, str] | None
    """Type and name of its parent."""


def import_id(planned: Planned, account: Inventory, groups: Mapping[str, Sequence[str]]) -> str | None:
    """The id by which Pulumi imports a resource; None where AWS does not have it.

    groups: user → the groups that the stack file lists for it. Sources: the pages of the resources in the Pulumi
    registry. Keys have their own function, `key_names`.
    """
    owner, _, what = planned.name.rpartition("/")
    if planned.type in (GROUP, USER):
        return what if what in (account.groups if planned.type == GROUP else account.users) else None
    if planned.type == MEMBERSHIP:
        user, wanted = account.users.get(what), sorted(groups.get(what, ()))
        return "/".join((what, *wanted)) if user and wanted and set(wanted) <= set(user.groups) else None
    of_group = planned.type in (GROUP_POLICY, GROUP_POLICY_ATTACHMENT)
    holder = (account.groups if of_group else account.users).get(owner.rpartition("/")[2])
    if holder is None:
        return None
    if planned.type in (GROUP_POLICY, USER_POLICY):
        return f"{holder.name}:{what}" if what in holder.inline else None
    if planned.type in (GROUP_POLICY_ATTACHMENT, USER_POLICY_ATTACHMENT):
        return next((f"{holder.name}/{arn}" for arn in holder.attached if policy_key(arn) == what), None)
    return None


def entity_of(planned: Planned) -> Entity | None:
    """The group or user that a resource is, or belongs to."""
    if planned.type in (GROUP, USER):
        return ("group" if planned.type == GROUP else "user", planned.name.rpartition("/")[2])
    if planned.parent and planned.parent[0] in (GROUP, USER):
        return ("group" if planned.parent[0] == GROUP else "user", planned.parent[1].rpartition("/")[2])
    return None


def key_names(current: str, keys: Sequence[ExistingKey]) -> Iterator[tuple[str, ExistingKey]]:
    """The names of a user's keys, as in `access/ann/NAME`. current: that of the newest; keys: the newest first."""
    serial = int(current.partition(".")[0])
    for index, key in enumerate(keys):
        if serial - index >= 1:
            yield (current if index == 0 else str(serial - index)), key


def key_outputs(user: str, key: ExistingKey) -> tuple[dict[str, Any], dict[str, Any]]:
    """Inputs and outputs of an access key's resource, for one whose secret is known; without any secret marked."""
    status = "Active" if key.active else "Inactive"
    known = {name: value for name, value in (key.known or {}).items() if value}
    inputs: dict[str, Any] = {"user": user, "status": status, "__defaults": []}
    created = key.created.strftime("%Y-%m-%dT%H:%M:%SZ")
    return inputs, {"id": key.id, "user": user, "status": status, "createDate": created, **known}


def record_of(names: Mapping[str, Sequence[tuple[str, ExistingKey]]]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What a finished run would have recorded of keys that are taken over: the component's output `keys`, and the plans
    of `KeyPlans`. names: user → names and keys, the newest first.
    """

    def facts(name: str, key: ExistingKey) -> dict[str, Any]:
        status = "Active" if key.active else "Inactive"
        created = key.created.strftime("%Y-%m-%dT%H:%M:%SZ")
        serial = int(name.partition(".")[0])
        return {"id": key.id, "name": name, "serial": serial, "status": status, "created": created}

    keys = {
        user: {
            "current": facts(*found[0]),
            "previous": facts(*found[1]) if len(found) > 1 else None,
            "nextRotation": None,
            "expires": None,
            "previousUntil": None,
        }
        for user, found in names.items()
        if found
    }
    return keys, {user: [name for name, _ in found] for user, found in names.items() if found}
