"""What the stack's state has of one component's users and keys: all that is known of earlier runs.

The resources' names are the record: `access/ann/2` is the key of user ann that was issued for serial 2. Some more
things stand in outputs:
- `keys` of the component, registered when every key of a run is known to work: the keys that were handed over.
- The content of secrets and parameters, and what the program delivered itself (direct_delivery.py): a key that is
  delivered is handed over, even if the run failed because of another user.
- `expectations` of the component: the permission tests that passed; see expectations.py.
- `notices` of the component: which notices were sent; see rules/notices.py.
- `KeyPlans`, registered before any key is touched: the plan of the last run, and settings that it must know. Where
  the plan differs from `keys`, that run did not finish, and a resource in the state can be one that AWS has deleted
  already: the engine does not distinguish a resource that waits for its replacement from one that exists. IAM is asked
  then.
"""

import time
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import pulumi

from aws_access_keys import clock
from aws_access_keys.credentials import stored_id
from aws_access_keys.rules.names import DESCRIPTION
from aws_access_keys.rules.problem import OTHER_LANGUAGES
from aws_access_keys.rules.resource_types import (
    COMPONENT,
    GROUP,
    GROUP_POLICY,
    GROUP_POLICY_ATTACHMENT,
    KEY,
    MEMBERSHIP,
    PARAMETER,
    PLANS,
    POLICY,
    SECRET,
    SECRET_VERSION,
    STASH,
    USER,
    USER_POLICY,
    USER_POLICY_ATTACHMENT,
    held,
)
from aws_access_keys.rules.rotation import Key, KeyName
from aws_access_keys.rules.untyped import mapping

STORED = {SECRET: (SECRET_VERSION, "secretString"), PARAMETER: (PARAMETER, "value")}
"""Type of a store → type of the resource of the same name that holds the delivered key, and its output that does."""


KINDS = {"secretsManager": SECRET, "existingSecret": SECRET, "ssm": PARAMETER}
"""Where a key is delivered to, as DeliverSettings.destinations has it → type of the store."""


def aws_stores(to: Mapping[str, Any]) -> dict[str, str]:
    """Those of the destinations that are stores of AWS: `secretsManager`, `existingSecret`, `ssm` → name."""
    return {kind: str(name) for kind, name in to.items() if kind in KINDS and name}


def stored_in(to: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Type of each store and name of its resource below the component. to: kind → name, see KINDS."""
    return [(KINDS[kind], name_below(KINDS[kind], name)) for kind, name in aws_stores(to).items()]


def name_below(kind: str, name: str) -> str:
    """The name of a store's resource below the component, after a /. kind: its type. name: in the store."""
    return name.removeprefix("/") if kind == PARAMETER else name


@dataclass(frozen=True)
class HandedOver:
    """A key that the last finished run registered."""

    id: str
    name: KeyName


@dataclass(frozen=True)
class Delivered:
    """What the program delivered itself for a user, recorded as soon as it was."""

    content: str | None = None
    """The id of the key, or `expired DAY`."""
    to: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """`secretsManager` and `ssm` → the name in the store; `command` → its arguments."""
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The same stores → the names of the two fields, where they are not the usual ones."""
    failed: str | None = None
    """The id of the key with which the command failed."""
    kms_key: str | None = None
    """What encrypts the parameter; None where that is not recorded."""

    def missing(self, to: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the destinations to which this was not delivered, or under other names of the fields."""
        return {
            kind: where
            for kind, where in to.items()
            if self.to.get(kind) != where or self.fields.get(kind) != fields.get(kind)
        }

    def gone(self, to: Mapping[str, Any]) -> dict[str, str]:
        """The stores of AWS that have this and are not among the destinations."""
        return {kind: name for kind, name in aws_stores(self.to).items() if to.get(kind) != name}

    @property
    def key_id(self) -> str | None:
        """The id of the key."""
        return self.content if self.content and not self.content.startswith("expired ") else None


class RunRecord(NamedTuple):
    """What a run registers before it touches a key (KeyPlans), for the next one: by user, if not stated otherwise."""

    plans: Mapping[str, list[str]]
    """The names of the keys that it wants."""
    idle_days: Mapping[str, int]
    """Idle days that the retire guard asks for, also of users that are being removed."""
    adopts: Mapping[str, str]
    """The id of the existing key that is taken over with the user."""
    retired: Mapping[str, str]
    """The name of the previous key that the settings make inactive."""
    expired: Mapping[str, str]
    """The day on which the keys expired."""
    lost: Mapping[str, list[str]]
    """The ids of keys that work in IAM although they should not, and that the state lost."""
    tested: Mapping[str, int]
    """See ComponentState."""
    unkept: Mapping[str, list[str]]
    """The keys whose secret is not kept: ids of those in the state, and the name of a new one."""
    keep_secret: Mapping[str, bool]
    """False, where the settings ask for keys whose secret is not kept."""
    tags: Mapping[str, Mapping[str, str]]
    """The tags that an adopted user keeps although the settings do not have them."""
    tried: Mapping[str, str]
    """When the last run began that tried the current key, in ISO format: AWS shows that as a use of the key."""
    undecided: Mapping[str, str]
    """The id of the current key, where it is not known whether it was delivered."""
    changes: Mapping[str, Mapping[str, str]]
    """What the run is about to change: see unfinished.py. Not by user."""

    @staticmethod
    def of_outputs(outputs: Mapping[str, Any]) -> "RunRecord":
        """The record in a state. Numbers come back as floats."""
        return RunRecord(*(mapping(outputs.get(OTHER_LANGUAGES(name))) for name in RunRecord._fields))

    def as_outputs(self) -> dict[str, Any]:
        """The record as the state has it."""
        found = {name: dict(value) for name, value in self._asdict().items()}
        for name in ("tested", "unkept", "keep_secret", "tags", "tried", "undecided", "changes"):
            if not found[name]:
                del found[name]  # for those who do not use it, states stay as they were
        return {OTHER_LANGUAGES(name): value for name, value in found.items()}


@dataclass(frozen=True)
class UserState:
    """One user of the component."""

    exists: bool = False
    """Whether the state has the IAM user."""
    keys: tuple[Key, ...] = ()
    """The keys in the state, newest first."""
    handed_over: tuple[HandedOver, ...] = ()
    """The current key of the last finished run, and the previous one if there was one."""
    delivered: frozenset[str] = frozenset()
    """The ids of the keys that secrets and parameters of the component hold."""
    strays: frozenset[str] = frozenset()
    """Those of them that no key in the component's state has: the state may be older than the stores."""
    planned: tuple[str, ...] | None = None
    """The names of the keys that the last run wanted; None where no run wanted any."""
    idle_days: int = 0
    """Idle days that the user's retire guard asked for; 0 without one."""
    adopting: str | None = None
    """The id of the key that the last run was to take over, with a user who existed before; None once it finished."""
    adopted: str | None = None
    """The id of the key that the settings of the last run adopted."""
    force_destroy: bool = False
    """Whether the user is deleted with everything that the stack does not manage."""
    is_encrypted: bool = False
    """Whether the secret of the newest key is encrypted to an OpenPGP key."""
    policies: frozenset[str] = frozenset()
    """The policies that the stack gave the user itself: names of inline ones, ARNs of attached ones."""
    groups: frozenset[str] = frozenset()
    """The groups to which the stack added the user."""
    lost: frozenset[str] = frozenset()
    """The ids of keys that worked in IAM at the last run, though the user was to have none and the state lost them."""
    expired_on: date | None = None
    """The day on which the current key expired, if it did in an earlier run."""
    boundary: str | None = None
    """The ARN of the permissions boundary."""
    account_id: str | None = None
    """The AWS account of the user."""
    unkept: frozenset[str] = frozenset()
    """The ids of the keys whose secret is not kept."""
    keep_secret: bool = True
    """What the last run's settings asked for."""
    delivered_directly: Delivered = field(default_factory=Delivered)
    """What the program delivered itself."""
    kept_tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """See RunRecord."""
    overtaken: tuple[str, ...] = ()
    """The names of secrets into which something else has written a newer version than the one in the state, or of which
    the state has no version."""
    attempted: str | None = None
    """The id of the last key that a command got and whose secret is not kept; recorded before the command runs."""
    tried: datetime | None = None
    undecided: str | None = None
    """See RunRecord."""
    adopted_secret: str | None = None
    """The digest of the secret with which the adopted key was tried."""

    @property
    def is_certain(self) -> bool:
        """Whether the last run finished with these very keys."""
        handed_over = {key.id: str(key.name) for key in self.handed_over}
        known = {key.id: str(key.name) for key in self.keys}
        return known == handed_over and (self.planned is None or set(self.planned) == set(known.values()))

    def key(self, name: KeyName) -> Key | None:
        """The key of a name."""
        return next((key for key in self.keys if key.name == name), None)

    def takes_over(self, adopted: str | None) -> bool:
        """Whether an existing key is still to be taken into the state: the first key, one that the state lost or may
        have lost, or one in place of a current key that does not work."""
        known = {key.id for key in (*self.keys, *self.handed_over[1:])}  # a previous key never becomes the current one
        lost = self.handed_over_ids | self.strays
        was_adopted = adopted == self.adopted and self.is_certain
        is_needed = not self.keys or adopted in lost or (not self.keys[0].active and not was_adopted)
        # What the stores have of a key whose secret is not kept is not in the state, and may be the adopted one.
        is_needed = is_needed or (bool(self.overtaken or self.keys[0].id in self.unkept) and not was_adopted)
        return adopted is not None and adopted not in known and is_needed

    def has_adopted(self, adopted: str) -> bool:
        """Whether an earlier run has taken over a key, which may be gone since."""
        return adopted == self.adopted or adopted in {key.id for key in (*self.keys, *self.handed_over)}

    @property
    def lacks_copy(self) -> bool:
        """Whether no secret of a key that the state lacks was kept in it."""
        return bool(self.unkept) or not self.keep_secret

    @property
    def handed_over_ids(self) -> set[str]:
        """The ids of the keys that the last finished run registered."""
        return {key.id for key in self.handed_over}

    def is_proven(self, key_id: str) -> bool:
        """Whether an earlier run knows that AWS accepts a key, which is active. One that is only delivered is from a
        run that failed; and AWS takes a moment to activate one that was inactive, which may never have been tried."""
        return key_id in self.handed_over_ids and any(key.id == key_id and key.active for key in self.keys)

    def was_handed_over(self, key: Key) -> bool:
        """Whether somebody may use a key: it is delivered, or the run that issued it finished."""
        return key.id in self.handed_over_ids | self.delivered


@dataclass(frozen=True)
class ComponentState:
    """All users and groups of one component in the state."""

    urn: str
    is_new: bool
    """Whether the state has nothing of this component."""
    users: Mapping[str, UserState]
    groups: frozenset[str]
    policies: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name of each customer managed policy → its document."""
    policy_arns: Mapping[str, str] = field(default_factory=dict[str, str])
    """The same → its ARN."""
    changes: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """What the last run was about to change: see unfinished.py."""
    attached: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """Group → name of an attachment of the stack → ARN of the policy."""
    copies: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """Type of a store and name of its resource below the component → id of the key in it."""
    in_stack: Mapping[str, str] = field(default_factory=dict[str, str])
    """ARN of each user, group, secret and parameter, and id of each access key, of the whole stack → URN of the
    resource."""
    twice: Sequence[tuple[str, str]] = ()
    """URN of each user, group, key, secret and parameter of the component that the stack also has as another resource,
    and the URN of that one."""
    given: Mapping[tuple[str, str], Mapping[str, list[str]]] = field(default_factory=dict[tuple[str, str], Any])
    """`user`, `group` or `secret`, and its name or ARN → what it has (resource_types.held) → URNs of the resources that
    give it: of no component, and for users and groups of this one."""
    group_policies: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Group → the policies that the stack gave it: names of inline ones, ARNs of attached ones."""
    expectations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """`groups.NAME` or `users.NAME` → its permission tests that passed in the last finished run: expectations.py."""
    tested: Mapping[str, int] = field(default_factory=dict[str, int])
    """The same → how many runs have tested it, including one that failed afterwards."""
    notices: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict[str, Any])
    """Channel of the last finished run → the marks of what was sent there: rules/notices.py."""
    secrets: frozenset[str] = frozenset()
    """The names of the secrets that the stack created; others are only written to."""

    @property
    def component(self) -> str:
        """The name of the component."""
        return component_name(self.urn)

    def key_urn(self, user: str, name: KeyName) -> str:
        """The URN of a user's key."""
        return f"{urn_below(self.urn, USER, KEY)}/{user}/{name}"

    def user_urn(self, user: str) -> str:
        """The URN of an IAM user."""
        return f"{urn_below(self.urn, USER)}/{user}"

    def store_urn(self, kind: str, name: str) -> str:
        """The URN of a resource of a store. kind: its type. name: in the store."""
        return f"{urn_below(self.urn, USER, kind)}/{name_below(kind, name)}"

    def held_by(self, user: str, to: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
        """Kind of each destination that holds the key of another user, that user, and the id of the key."""
        for kind in aws_stores(to):
            for place in stored_in({kind: to[kind]}):
                owner = self.owner_of(held) if (held := self.copies.get(place)) else None
                if held and owner not in (None, user):
                    yield kind, str(owner), held

    def owner_of(self, key_id: str) -> str | None:
        """The user who has a key in the state."""
        return next((name for name, of in self.users.items() if any(key.id == key_id for key in of.keys)), None)

    def owner_of_store(self, urn: str) -> str | None:
        """The user whose key a secret or parameter of this component holds. urn: of what stands for it in the state."""
        for (kind, name), key_id in self.copies.items():
            also = [f"{urn_below(self.urn, USER, STASH)}/ssm:{slash}{name}" for slash in ("", "/") if kind == PARAMETER]
            if urn in (self.store_urn(kind, name), *also):
                return self.owner_of(key_id)
        return None

    def names(self, kind: str) -> dict[str, str]:
        """Name of each `user` or `group` of the whole stack → URN of the resource."""
        return {arn.rpartition("/")[2]: urn for arn, urn in self.in_stack.items() if f":{kind}/" in arn}

    def user(self, name: str) -> UserState:
        """A user's state; an empty one for a new user."""
        return self.users.get(name, UserState())


def read_state(component: pulumi.ComponentResource) -> tuple[ComponentState, Mapping[str, Any]]:
    """What the state has of a component that was just registered, and the outputs of all resources of the stack by URN.

    One question to the engine, none to AWS.
    """
    stack = "/".join((pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()))
    urns: list[str] = []
    # The call waits for its arguments: the component's own URN, which tells its resources from everybody else's.
    own = component.urn.apply(urns.append)
    resources = _resource_outputs({"stackName": stack, "component": own})
    return parse_state(urns[0], resources), resources


def parse_state(urn: str, resources: Mapping[str, Any]) -> ComponentState:
    """The state of the component with a URN. resources: URN → `type` and `outputs` of each resource of the stack."""
    below = Below(urn, resources)
    last_run = below.outputs(PLANS).get("", {})
    record = RunRecord.of_outputs(last_run)
    own: Mapping[str, Any] = resources.get(urn, {}).get("outputs", {})
    registered = mapping(own.get("keys"))
    keys, unkept, encrypted = _keys(below, record, registered)
    secrets = below.outputs(USER, SECRET)
    stashes = below.outputs(USER, STASH)
    direct = _delivered_directly(stashes, secrets)
    # Nobody here could deliver what is encrypted to somebody's OpenPGP key: its secret was not kept.
    unkept |= encrypted & {one.content for one in direct.values()}
    encrypted -= unkept
    copies = {
        (store, path): key_id
        for store, (kind, content) in STORED.items()
        for path, found in below.outputs(USER, kind).items()
        if (key_id := stored_id(found.get(content)))
    }
    versions = below.outputs(USER, SECRET_VERSION)
    overtaken = {
        path: copies.get((SECRET, path))
        for path, found in versions.items()
        if (stages := found.get("versionStages")) is not None and "AWSCURRENT" not in stages
    }
    for one in direct.values():
        copies |= dict.fromkeys(stored_in(one.to), one.key_id) if one.key_id else {}
    # Secrets Manager drops a version that two others have followed, and a refresh drops it from the state.
    without_version = {
        path: found.get("description")
        for path, found in secrets.items()
        if path not in versions and (SECRET, path) not in copies
    }
    delivered = frozenset({*copies.values(), *(one.key_id for one in direct.values() if one.key_id)})
    strays = delivered - {key.id for of_user in keys.values() for key in of_user}
    policies = below.policies(USER, USER_POLICY, USER_POLICY_ATTACHMENT)
    exist, memberships = below.outputs(USER), below.outputs(USER, MEMBERSHIP)
    users: dict[str, UserState] = {}
    for user in filter(_is_name, {*keys, *exist, *registered}):
        of_user = keys.get(user, ())
        handed_over = tuple(_handed_over(mapping(registered.get(user))))
        ids = {key.id for key in (*of_user, *handed_over)}
        users[user] = UserState(
            exists=user in exist,
            keys=of_user,
            handed_over=handed_over,
            delivered=delivered,
            strays=strays,
            planned=tuple(record.plans[user]) if user in record.plans else None,
            idle_days=int(record.idle_days.get(user, 0)),
            adopting=None if handed_over else record.adopts.get(user),
            adopted=record.adopts.get(user),
            force_destroy=bool(exist.get(user, {}).get("forceDestroy")),
            is_encrypted=bool(of_user) and of_user[0].id in encrypted,
            policies=policies.get(user, frozenset()),
            groups=frozenset(map(str, memberships.get(user, {}).get("groups") or ())),
            lost=frozenset(record.lost.get(user, ())),
            expired_on=date.fromisoformat(record.expired[user]) if user in record.expired else None,
            boundary=exist.get(user, {}).get("permissionsBoundary") or None,
            account_id=arn.split(":")[4] if (arn := exist.get(user, {}).get("arn")) else None,
            unkept=frozenset(key.id for key in of_user if key.id in unkept),
            keep_secret=bool(record.keep_secret.get(user, True)),
            delivered_directly=direct.get(user, Delivered()),
            kept_tags=mapping(record.tags.get(user)),
            overtaken=(
                *(path for path, held in overtaken.items() if held in ids),
                *(path for path, text in without_version.items() if text == DESCRIPTION.format(user)),
            ),
            attempted=mapping(stashes.get(f"{user}/attempt", {}).get("input")).get("key"),
            tried=datetime.fromisoformat(record.tried[user]) if user in record.tried else None,
            undecided=record.undecided.get(user),
            adopted_secret=mapping(registered.get(user)).get("adoptedSecret"),
        )
    groups = frozenset(filter(_is_name, below.outputs(GROUP)))
    attached: dict[str, dict[str, str]] = {}
    for path, found in below.outputs(GROUP, GROUP_POLICY_ATTACHMENT).items():
        group, _, attachment = path.partition("/")
        attached.setdefault(group, {})[attachment] = str(found.get("policyArn"))
    in_stack: dict[str, list[str]] = {}
    for resource, found in resources.items():
        kind = found.get("type")
        if kind in (USER, GROUP, KEY, SECRET, PARAMETER) and (
            known := found["outputs"].get("id" if kind == KEY else "arn")
        ):
            in_stack.setdefault(str(known), []).append(resource)
    made = [*below.outputs(POLICY).values(), *below.outputs(GROUP, POLICY).values()]
    return ComponentState(
        urn=urn,
        is_new=not (own or last_run or users or groups),
        users=users,
        groups=groups,
        policies={str(found.get("name")): str(found.get("policy")) for found in made},
        policy_arns={str(found.get("name")): str(found.get("arn")) for found in made},
        changes=record.changes,
        attached=attached,
        copies=copies,
        in_stack={known: urns[-1] for known, urns in in_stack.items()},
        twice=tuple(pair for urns in in_stack.values() for pair in _twice(below, urns)),
        given=_given(urn, resources),
        group_policies=below.policies(GROUP, GROUP_POLICY, GROUP_POLICY_ATTACHMENT),
        expectations={name: mapping(found) for name, found in mapping(own.get("expectations")).items()},
        tested={name: int(runs) for name, runs in record.tested.items()},
        notices={channel: mapping(marks) for channel, marks in mapping(own.get("notices")).items()},
        secrets=frozenset(secrets),
    )


class Below(NamedTuple):
    """The resources below a component."""

    urn: str
    resources: Mapping[str, Any]
    """As in parse_state."""

    def outputs(self, *kinds: str) -> dict[str, dict[str, Any]]:
        """Name below the component → outputs, of the resources of one type. kinds: the types of the parents, and it."""
        begin = urn_below(self.urn, *kinds)
        return {
            resource.removeprefix(begin).removeprefix("/"): details["outputs"]
            for resource, details in self.resources.items()
            if resource == begin or resource.startswith(f"{begin}/")
        }

    def has(self, urn: str) -> bool:
        """Whether a user, group, key, secret or parameter is the component's own."""
        kinds = [(USER,), (GROUP,), *((USER, kind) for kind in (KEY, SECRET, PARAMETER))]
        return any(urn.startswith(f"{urn_below(self.urn, *of)}/") for of in kinds)

    def policies(self, owner: str, inline: str, attachment: str) -> dict[str, frozenset[str]]:
        """User or group → names of the inline policies, ARNs of the attached ones. Arguments: the types."""
        known: dict[str, set[str]] = {}
        for kind in (inline, attachment):
            for path, found in self.outputs(owner, kind).items():
                known.setdefault(path.rpartition("/")[0], set()).update(what for _, _, what in held(kind, found))
        return {name: frozenset(found) for name, found in known.items()}


def _keys(
    below: Below, record: RunRecord, registered: Mapping[str, Any]
) -> tuple[dict[str, tuple[Key, ...]], set[str], set[str]]:
    """User → keys, newest first; the ids of those whose secret is not kept; and of those whose secret is encrypted.

    registered: user → the keys that the last finished run handed over.
    """
    keys: dict[str, list[Key]] = {}
    unkept, encrypted = set[str](), set[str]()
    for path, found in below.outputs(USER, KEY).items():
        user, _, name = path.rpartition("/")
        if not (parsed := KeyName.parse(name)) or not isinstance(found.get("id"), str):
            continue
        if {found["id"], name} & set(record.unkept.get(user, ())):
            unkept.add(found["id"])
        elif found.get("keyFingerprint"):
            encrypted.add(found["id"])
        is_active = found.get("status") != "Inactive"
        # Only what a finished run saw: in one that failed, somebody else may have deactivated the key afterwards.
        seen = mapping(mapping(registered.get(user)).get("previous"))
        was_retired = seen.get("id") == found["id"] and seen.get("status") == "Inactive"
        is_retired = not is_active and was_retired and record.retired.get(user) == name
        keys.setdefault(user, []).append(Key(parsed, found["id"], is_active, _day(found), is_retired))
    newest_first = {user: tuple(sorted(found, key=lambda key: key.name, reverse=True)) for user, found in keys.items()}
    return newest_first, unkept, encrypted


def _delivered_directly(stashes: Mapping[str, Mapping[str, Any]], secrets: Container[str]) -> dict[str, Delivered]:
    """User → what the program delivered itself. secrets: the names of those that the state has."""
    direct: dict[str, Delivered] = {}
    for path, found in stashes.items():
        user, _, what = path.rpartition("/")
        if what == "delivery" and (kept := mapping(found.get("input"))):
            to = {**mapping(kept.get("to"))}
            if (name := to.get("secretsManager")) and name not in secrets:
                del to["secretsManager"]  # somebody deleted it, with what it held
            fields = mapping(kept.get("fields"))
            direct[user] = Delivered(kept.get("content"), to, fields, kept.get("failed"), kept.get("kmsKey"))
    return direct


def _given(component: str, resources: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, list[str]]]:
    """As `ComponentState.given`. Other components are left out: they can be in another account, with the same names."""
    given: dict[tuple[str, str], dict[str, list[str]]] = {}
    for urn, found in resources.items():
        for kind, name, what in held(str(found.get("type")), found["outputs"]):
            owner = component_of(urn)
            if owner not in resources or (owner == component and kind != "secret"):
                given.setdefault((kind, name), {}).setdefault(what, []).append(urn)
    return given


def _twice(below: Below, urns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """See ComponentState.twice. urns: of one user, group, key, secret or parameter."""
    for mine in filter(below.has, urns) if len(urns) > 1 else ():
        yield from ((mine, other) for other in urns if not below.has(other))


def _is_name(text: str) -> bool:
    """Whether this is the name of a user or group: other components can have names with a `/`."""
    return bool(text) and "/" not in text


def _day(key: Mapping[str, Any]) -> date:
    """The day on which a key was created; the last one of the clock where it is not known: nothing is due then."""
    try:
        return date.fromisoformat(str(key.get("createDate"))[:10])
    except ValueError:
        return clock.LAST


def component_name(urn: str) -> str:
    """The name of the component with a URN."""
    return urn.split("::", 3)[3]


def urn_below(urn: str, *kinds: str) -> str:
    """How the URNs begin of a component's resources of one type. kinds: the types of its parents and its own."""
    stack, project, types, name = urn.split("::", 3)
    return "::".join((stack, project, "$".join((types, *kinds)), name))


def component_of(urn: str) -> str | None:
    """The URN of the component that a resource of a user or group belongs to; None for one that no component made."""
    below = urn.split("::", 3)[2].rpartition(COMPONENT)[2].split("$")[1:]
    return _component(urn, *below) if f"{COMPONENT}$" in urn else None


def owner_of_key(urn: str) -> tuple[str, str]:
    """The URN of the component that a key belongs to, and the name of its user."""
    return _component(urn, USER, KEY), urn.rsplit("/", 2)[1]


def _component(urn: str, *kinds: str) -> str:
    """The URN of the component that a resource is below. kinds: the types below it; each has a part of the name, except
    the membership, which has its user's name."""
    stack, project, types, name = urn.split("::", 3)
    parts = sum(kind != MEMBERSHIP for kind in kinds)
    return "::".join(
        (stack, project, types.removesuffix("".join(f"${kind}" for kind in kinds)), name.rsplit("/", parts)[0])
    )


def _handed_over(keys: Mapping[str, Any]) -> "list[HandedOver]":
    found = [mapping(keys.get(which)) for which in ("current", "previous")]
    return [
        HandedOver(key["id"], name)
        for key in found
        if isinstance(key.get("id"), str) and (name := KeyName.parse(str(key.get("name"))))
    ]


def _resource_outputs(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The outputs of every resource of the stack, by URN.

    While it updates, the engine writes the file from which it reads the answer, and can read it half-written; a moment
    later it is whole.
    """
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, None):
        try:
            answer: Any = pulumi.runtime.invoke("pulumi:pulumi:readStackResourceOutputs", dict(arguments)).value
            return answer["outputs"]
        except Exception as error:  # the SDK raises nothing more specific
            if pause is None:
                raise pulumi.RunError(
                    f"Pulumi cannot read the state of this stack: {error}. Nothing was changed; run the command again."
                ) from None
            time.sleep(pause)
    raise AssertionError("unreachable")


class KeyPlans(pulumi.ComponentResource):
    """What a run is about to do, in the state before any key is touched."""

    def __init__(self, name: str, run: RunRecord, opts: pulumi.ResourceOptions) -> None:
        super().__init__(PLANS, name, None, opts)
        self.register_outputs(run.as_outputs())
