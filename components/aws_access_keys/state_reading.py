"""How the state of the stack becomes what state.py tells of one component."""

import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import pulumi

from aws_access_keys import clock
from aws_access_keys.credentials import stored_id
from aws_access_keys.rules.names import DESCRIPTION
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
    SECRET_POLICY,
    SECRET_VERSION,
    STASH,
    USER,
    USER_POLICY,
    USER_POLICY_ATTACHMENT,
    held,
)
from aws_access_keys.rules.rotation import Key, KeyName
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.state import THIS_RUN, ComponentState, Delivered, HandedOver, RunRecord, UserState, stored_in
from aws_access_keys.updating import ACTS
from aws_access_keys.urns import component_of, urn_below

STORED = {SECRET: (SECRET_VERSION, "secretString"), PARAMETER: (PARAMETER, "value")}
"""Type of a store → type of the resource of the same name that holds the delivered key, and its output that does."""


_Secret = Literal["unkept", "encrypted", "lost"]
"""What became of a key's secret: it is not kept, is encrypted to an OpenPGP key, or could not be encrypted."""


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
    plans = below.outputs(PLANS)  # there from the beginning of the first run, its outputs a moment later
    record = RunRecord.of_outputs(plans.get("", {}))
    own: Mapping[str, Any] = resources.get(urn, {}).get("outputs", {})
    registered = mapping(own.get("keys"))
    keys, secret_of = _keys(below, record, registered)
    secrets = below.outputs(USER, SECRET)
    stashes = below.outputs(USER, STASH)
    direct = _delivered_directly(stashes, secrets, record.writing)
    # Nobody here could deliver what is encrypted to somebody's OpenPGP key: its secret was not kept.
    encrypted = (one.content for one in direct.values() if one.content and secret_of.get(one.content) == "encrypted")
    secret_of |= dict.fromkeys(encrypted, "unkept")
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
            is_encrypted=bool(of_user) and secret_of.get(of_user[0].id) == "encrypted",
            policies=policies.get(user, frozenset()),
            groups=frozenset(map(str, memberships.get(user, {}).get("groups") or ())),
            lost=frozenset(record.lost.get(user, ())),
            expired_on=date.fromisoformat(record.expired[user]) if user in record.expired else None,
            boundary=exist.get(user, {}).get("permissionsBoundary") or None,
            account_id=arn.split(":")[4] if (arn := exist.get(user, {}).get("arn")) else None,
            unkept=frozenset(key.id for key in of_user if secret_of.get(key.id) == "unkept"),
            lost_secrets=frozenset(key.id for key in of_user if secret_of.get(key.id) == "lost"),
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
    # With an alias, the state may have this one under its former name only.
    components = frozenset({urn, *(one for one, found in resources.items() if found.get("type") == COMPONENT)})
    made = [*below.outputs(POLICY).values(), *below.outputs(GROUP, POLICY).values()]
    return ComponentState(
        urn=urn,
        is_new=not (own or plans or users or groups),
        users=users,
        groups=groups,
        policies={str(found.get("name")): str(found.get("policy")) for found in made},
        policy_arns={str(found.get("name")): str(found.get("arn")) for found in made},
        changes=record.changes,
        attached=attached,
        copies=copies,
        in_stack={known: urns[-1] for known, urns in in_stack.items()},
        twice=tuple(pair for urns in in_stack.values() for pair in _twice(below, urns)),
        components=components,
        given=_given(urn, resources, components),
        group_policies=below.policies(GROUP, GROUP_POLICY, GROUP_POLICY_ATTACHMENT),
        expectations={name: mapping(found) for name, found in mapping(own.get("expectations")).items()},
        tested={name: int(runs) for name, runs in record.tested.items()},
        notices={channel: mapping(marks) for channel, marks in mapping(own.get("notices")).items()},
        secrets=frozenset(secrets),
        secret_policies={
            name: str(found.get("policy") or "") for name, found in below.outputs(USER, SECRET_POLICY).items()
        },
        number=int(max(record.number.get(THIS_RUN, 0), own.get(THIS_RUN) or 0)),
        is_written=record.number.get(THIS_RUN) in (None, own.get(THIS_RUN)),
        secrets_written=_written(versions, copies, direct.values()),
        acted=None if (number := below.outputs(STASH).get(ACTS, {}).get("input")) is None else int(number),
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
) -> tuple[dict[str, tuple[Key, ...]], dict[str, _Secret]]:
    """User → keys, newest first; and id of each key whose secret is not in the state as it is → what became of it.

    registered: user → the keys that the last finished run handed over.
    """
    keys: dict[str, list[Key]] = {}
    secret_of: dict[str, _Secret] = {}
    for path, found in below.outputs(USER, KEY).items():
        user, _, name = path.rpartition("/")
        if not (parsed := KeyName.parse(name)) or not isinstance(found.get("id"), str):
            continue
        if {found["id"], name} & set(record.unkept.get(user, ())):
            secret_of[found["id"]] = "unkept"
        elif found.get("keyFingerprint"):
            secret_of[found["id"]] = "encrypted"
        elif found.get("pgpKey"):  # the provider could not encrypt it
            secret_of[found["id"]] = "lost"
        is_active = found.get("status") != "Inactive"
        # Only what a finished run saw: in one that failed, somebody else may have deactivated the key afterwards.
        seen = mapping(mapping(registered.get(user)).get("previous"))
        was_retired = seen.get("id") == found["id"] and seen.get("status") == "Inactive"
        is_retired = not is_active and was_retired and record.retired.get(user) == name
        now = mapping(mapping(registered.get(user)).get("current"))
        late = date.fromisoformat(now["handedOver"]) if now.get("id") == found["id"] and "handedOver" in now else None
        keys.setdefault(user, []).append(Key(parsed, found["id"], is_active, _day(found), is_retired, late))
    newest_first = {user: tuple(sorted(found, key=lambda key: key.name, reverse=True)) for user, found in keys.items()}
    return newest_first, secret_of


def _delivered_directly(
    stashes: Mapping[str, Mapping[str, Any]], secrets: Container[str], writing: Mapping[str, int]
) -> dict[str, Delivered]:
    """User → what the program delivered itself. secrets: the names of those that the state has. writing: as in
    RunRecord."""
    direct: dict[str, Delivered] = {}
    for path, found in stashes.items():
        user, _, what = path.rpartition("/")
        if what == "delivery" and (kept := mapping(found.get("input"))):
            to = {**mapping(kept.get("to"))}
            if (name := to.get("secretsManager")) and name not in secrets:
                del to["secretsManager"]  # somebody deleted it, with what it held
            fields = mapping(kept.get("fields"))
            writes = int(kept.get("writes") or 0)
            direct[user] = Delivered(
                content=kept.get("content"),
                to=to,
                fields=fields,
                failed=kept.get("failed"),
                kms_key=kept.get("kmsKey"),
                region=kept.get("region"),
                writes=writes,
                is_uncertain=writing.get(user, 0) > writes,
            )
    return direct


def _written(versions: Iterable[str], copies: Iterable[tuple[str, str]], direct: Iterable[Delivered]) -> frozenset[str]:
    """As ComponentState.secrets_written: what the state has of secrets, of the keys in them, and what the program
    delivered itself."""
    stores = [*copies, *(place for one in direct if one.content for place in stored_in(one.to))]
    return frozenset({*versions, *(name for kind, name in stores if kind == SECRET)})


def _given(
    component: str, resources: Mapping[str, Any], components: Container[str]
) -> dict[tuple[str, str], dict[str, list[str]]]:
    """As `ComponentState.given`. Other components are left out: they can be in another account, with the same names."""
    given: dict[tuple[str, str], dict[str, list[str]]] = {}
    for urn, found in resources.items():
        for kind, name, what in held(str(found.get("type")), found["outputs"]):
            owner = component_of(urn, components)
            if owner is None or (owner == component and kind != "secret"):
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
