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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.rules.problem import OTHER_LANGUAGES
from aws_access_keys.rules.resource_types import GROUP, KEY, PARAMETER, PLANS, SECRET, STASH, USER
from aws_access_keys.rules.rotation import Key, KeyName
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.urns import component_name, name_below, urn_below

KINDS = {"secretsManager": SECRET, "existingSecret": SECRET, "ssm": PARAMETER}
"""Where a key is delivered to, as DeliverSettings.destinations has it → type of the store."""


def aws_stores(to: Mapping[str, Any]) -> dict[str, str]:
    """Those of the destinations that are stores of AWS: `secretsManager`, `existingSecret`, `ssm` → name."""
    return {kind: str(name) for kind, name in to.items() if kind in KINDS and name}


def stored_in(to: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Type of each store and name of its resource below the component. to: kind → name, see KINDS."""
    return [(KINDS[kind], name_below(KINDS[kind], name)) for kind, name in aws_stores(to).items()]


THIS_RUN = "this run"
"""See RunRecord.number."""


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
    """The id of the key whose delivery failed, by the command or before it ran."""
    kms_key: str | None = None
    """What encrypts the parameter; None where that is not recorded."""
    region: str | None = None
    """That of the stores; None where that is not recorded."""
    writes: int = 0
    """How often this program has delivered something."""
    is_uncertain: bool = False
    """Whether it may have done so once more: a run that was about to did not record it."""

    def missing(self, to: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the destinations to which this was not delivered, or under other names of the fields, or that may
        have something else since."""
        return {
            kind: where
            for kind, where in to.items()
            if self.to.get(kind) != where
            or self.fields.get(kind) != fields.get(kind)
            or (self.is_uncertain and kind in KINDS)
        }

    def gone(self, to: Mapping[str, Any]) -> dict[str, str]:
        """The stores of AWS that have this and are not among the destinations."""
        return {kind: name for kind, name in aws_stores(self.to).items() if to.get(kind) != name}

    @property
    def key_id(self) -> str | None:
        """The id of the key."""
        return self.content if self.content and not self.content.startswith("expired ") else None


def regions_of_stores(delivered: Iterable[Delivered], own: str, session: str) -> dict[str, str]:
    """Service → region. own: that of the provider, in which stores are created. session: that of the program's calls.

    What the program delivered itself stays where it is; an older record does not name the region: it was the session's.
    """
    direct = [one for one in delivered if one.region or one.to.keys() & {"ssm", "existingSecret"}]
    where = min({one.region for one in direct if one.region} or {session for _ in direct}, default=own)
    is_existing = any("existingSecret" in one.to for one in direct)
    return {"secretsmanager": where if is_existing else own, "ssm": where, "kms": own}


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
    writing: Mapping[str, int]
    """Where the run delivers a key whose secret is not kept: `Delivered.writes` as it is when that is done."""
    number: Mapping[str, int]
    """`this run` (no user has a space in the name): its number, if it writes into a store for the first time."""

    @staticmethod
    def of_outputs(outputs: Mapping[str, Any]) -> "RunRecord":
        """The record in a state. Numbers come back as floats."""
        return RunRecord(*(mapping(outputs.get(OTHER_LANGUAGES(name))) for name in RunRecord._fields))

    def as_outputs(self) -> dict[str, Any]:
        """The record as the state has it."""
        found = {name: dict(value) for name, value in self._asdict().items()}
        for name in ("tested", "unkept", "keep_secret", "tags", "tried", "undecided", "changes", "writing", "number"):
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
    """The id of the key that the settings of the last run adopted, or of one whose adoption has not finished."""
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
    lost_secrets: frozenset[str] = frozenset()
    """The ids of the keys whose secret nobody has, because the provider could not encrypt it to an OpenPGP key."""
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
        return adopted == self.adopted or adopted in self.known_ids

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

    @property
    def known_ids(self) -> set[str]:
        """The ids of the keys in the state, and of those that the last finished run handed over."""
        return {key.id for key in (*self.keys, *self.handed_over)}

    def was_handed_over(self, key: Key) -> bool:
        """Whether somebody may use a key: it is delivered, or the run that issued it finished."""
        return key.id in self.handed_over_ids | self.delivered


def known_ids(users: Mapping[str, UserState]) -> set[str]:
    """The ids of several users' keys: of those in the state, and of those that the last finished run handed over."""
    return {key_id for user in users.values() for key_id in user.known_ids}


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
    number: int = 0
    """That of the last run that was to write into a store for the first time."""
    is_written: bool = True
    """Whether it has. The resources in the state do not tell: they may have changed since."""
    secrets_written: frozenset[str] = frozenset()
    """The names of the secrets into which the stack has written something."""
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
    components: frozenset[str] = frozenset()
    """The URNs of all components like this one in the stack."""
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
    secret_policies: Mapping[str, str] = field(default_factory=dict[str, str])
    """The name of each of these to which the component gave a resource policy → the policy."""
    acted: int | None = None
    """How many updates have delivered keys themselves or sent notices; None where that is not recorded: updating.py."""

    @property
    def account_id(self) -> str | None:
        """The AWS account of the users; None where the state has none."""
        return next((user.account_id for user in self.users.values() if user.account_id), None)

    @cached_property
    def policy_names(self) -> Mapping[str, str]:
        """ARN of each customer managed policy → its name."""
        return {arn: name for name, arn in self.policy_arns.items()}

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

    def group_urn(self, group: str) -> str:
        """The URN of an IAM group."""
        return f"{urn_below(self.urn, GROUP)}/{group}"

    def store_urn(self, kind: str, name: str) -> str:
        """The URN of a resource of a store. kind: its type. name: in the store."""
        return f"{urn_below(self.urn, USER, kind)}/{name_below(kind, name)}"

    @property
    def recorded_parameters(self) -> set[str]:
        """The names of the parameters that are no resources, and into which something was put by what is recorded."""
        found = (of_user.delivered_directly.to.get("ssm") for of_user in self.users.values())
        return {name for name in found if name}

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

    def policies_of(self, user: str) -> set[str]:
        """The policies that the stack gives a user, this component or its program: names of inline ones, ARNs."""
        return {*self.user(user).policies, *self.given.get(("user", user), {})}


class KeyPlans(pulumi.ComponentResource):
    """What a run is about to do, in the state before any key is touched."""

    def __init__(self, name: str, run: RunRecord, opts: pulumi.ResourceOptions) -> None:
        super().__init__(PLANS, name, None, opts)
        self.register_outputs(run.as_outputs())
