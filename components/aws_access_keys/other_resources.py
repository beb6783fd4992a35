"""What the state has already as another resource. The component must not have it, too: when the other resource leaves
the program, Pulumi deletes it, or takes it away."""

import re
from collections.abc import Collection, Container, Iterator, Mapping
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.adoption import new_groups
from aws_access_keys.rules.networks import ALLOW_FROM
from aws_access_keys.rules.policies import customer_policy, policy_arn, policy_key
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import COMPONENT, FORGET, GROUP, KEY, PARAMETER, RESOURCE_POLICY, SECRET, USER
from aws_access_keys.rules.s3_grants import POLICY_KEY
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.settings import AccessSettings, GroupSettings, UserSettings
from aws_access_keys.state import ComponentState
from aws_access_keys.urns import component_name, component_of, urn_below


def adopted_twice(
    settings: AccessSettings, spell: Spelling, state: ComponentState, account: Account
) -> Iterator[Problem]:
    """Users, groups and keys to adopt that the stack has as another resource: it would delete them with that one."""

    def group(name: str) -> Any:
        return mapping(account.ask("iam", "get_group", GroupName=name, MaxItems=1)).get("Group")

    users = [name for name in settings.users if settings.adopts(name) and not state.user(name).exists]
    for kind, adopted, ask in (("user", users, account.user), ("group", new_groups(settings, state), group)):
        for name in sorted({*state.names(kind)} & {*adopted}):
            try:
                found = mapping(ask(name))
            except AwsQueryError:
                continue  # adoption_problems reports it
            if urn := state.in_stack.get(str(found.get("Arn"))):
                yield Problem(spell(f"{kind}s.{{}}", name), already_in_stack(kind, urn, state))
    for user in sorted(settings.users_with_key):
        adopt = settings.effective_key(user).adopt
        if adopt and state.user(user).takes_over(adopt.id) and (urn := state.in_stack.get(adopt.id)):
            yield Problem(spell("users.{}.key.adopt.id", user), already_in_stack("access key", urn, state))


_KINDS = {USER: "user", GROUP: "group", KEY: "access key", SECRET: "secret", PARAMETER: "parameter"}


def had_twice(spell: Spelling, state: ComponentState) -> Iterator[Problem]:
    """What the component has, and somebody imported into the stack once more."""
    for mine, other in state.twice:
        kind, name = mine.split("::", 3)[2].rpartition("$")[2], mine.split("::", 3)[3]
        name = name.removeprefix(f"{state.component}/")
        owner = state.owner_of_store(mine) if kind in (SECRET, PARAMETER) else name.partition("/")[0]
        yield Problem(
            spell("groups.{}" if kind == GROUP else "users.{}", owner or ""),
            f"the {_KINDS[kind]} '{name}' is in this stack a second time, as '{other}', and would be deleted together "
            f"with that resource. {FORGET.format(other)} Then run `pulumi up` again.",
            in_file=False,
        )


def given_twice(
    settings: AccessSettings,
    spell: Spelling,
    state: ComponentState,
    partition: str,
    policies: Container[str],
) -> Iterator[Problem]:
    """What the component is to give although another resource of the stack gives it, too: to AWS, both are the same.
    When the other one goes, in this update or a later one, it takes that away, and the stack would not notice.

    policies: the names of the customer managed policies that the component creates.
    """
    for kind, holders in (("group", settings.groups), ("user", settings.users)):
        for name, holder in holders.items():
            wanted: list[tuple[str, str, str]] = []
            for place, key, what in _wanted(kind, name, holder, settings, spell, state, partition):
                made = customer_policy(what)
                if made and made in state.policies and made not in policies and key == policy_key(what):
                    yield Problem(
                        place,
                        f"this stack created the policy {what}, and deletes it, because {spell('policy_documents')} no "
                        f"longer has '{made}'. Keep it there, and write '{made}' here.",
                    )
                else:
                    wanted.append((place, key, what))
            stays = {key for _, key, _ in wanted} | getattr(holder, "policy_arns", {}).keys()
            for place, key, what in wanted:
                for why in other_givers(state, kind, name, what, key, stays):
                    yield Problem(place, why)
    for user, store in settings.secrets().items():
        if store.existing is not None:
            continue  # it has no readers
        name, where = store.stored_name(user, "secrets_manager"), "users.{}.deliver.secrets_manager.readers"
        secret = state.store_urn(SECRET, name)
        for arn in (arn for arn, urn in state.in_stack.items() if urn == secret):
            if store.readers:
                found = other_givers(state, "secret", arn, RESOURCE_POLICY)
            else:
                givers = state.given.get(("secret", arn), {}).get(RESOURCE_POLICY, ())
                beside = givers if name in state.secret_policies else ()
                found = (f"{_BESIDE.format(urn)} {FORGET.format(urn)}" for urn in beside)
            yield from (Problem(spell(where, user), why) for why in found)


def _wanted(
    kind: str,
    name: str,
    holder: GroupSettings | UserSettings,
    settings: AccessSettings,
    spell: Spelling,
    state: ComponentState,
    partition: str,
) -> Iterator[tuple[str, str, str]]:
    """What a group or user is to have, as far as it is known before the update: the setting, the name of its resource
    below that of the group or user, and what it gives."""
    of = f"{kind}s.{{}}"
    for policy in holder.policies:
        if policy not in settings.policy_documents:
            arn = policy_arn(policy, partition)
            yield spell(f"{of}.policies", name), policy_key(arn), arn
            continue
        for arn in state.given.get((kind, name), ()):  # IAM has each name once in an account, whatever the path
            if customer_policy(arn) == policy:
                yield spell(f"{of}.policies", name), policy, arn
    if isinstance(holder, GroupSettings):
        for key, arn in holder.policy_arns.items():
            if isinstance(arn, str):
                yield spell(f"{of}.policy_arns.{{}}", name, key), key, arn
    else:
        yield from ((spell(f"{of}.groups", name), "", group) for group in holder.groups)
    yield from ((spell(f"{of}.inline", name), policy, policy) for policy in holder.inline)
    if holder.allow_from is not None:
        yield spell(f"{of}.allow_from", name), ALLOW_FROM, ALLOW_FROM


def parameters_of_others(places: Mapping[str, str], state: ComponentState, account: Account) -> Iterator[Problem]:
    """Parameters to deliver to that another resource of the stack is: it would delete them, and the key in them.

    places: name of each parameter → the setting.
    """
    own = f"{urn_below(state.urn, USER, PARAMETER)}/"
    others = {arn: urn for arn, urn in state.in_stack.items() if ":parameter/" in arn and not urn.startswith(own)}
    region = account.region if others else ""
    for name, place in places.items():
        for arn, urn in others.items():
            if arn.split(":")[3] == region and arn.endswith(f":parameter/{name.removeprefix('/')}"):
                yield Problem(
                    place,
                    f"this stack already has the parameter '{name}', as '{urn}', and would delete it, and the key in "
                    "it, together with that resource. Choose another name, and remove that resource when every "
                    "consumer reads the new parameter.",
                )


def other_givers(
    state: ComponentState, kind: str, name: str, what: str, key: str = "", stays: Collection[str] = ()
) -> Iterator[str]:
    """What to do about each other resource that gives the same.

    kind, name, what: as in `ComponentState.given`. key: name of the component's own resource below that of the group or
    user. stays: the same of all that it has in this run.
    """
    givers = state.given.get((kind, name), {}).get(what, ())
    below = f"{COMPONENT}${USER if kind == 'user' else GROUP}$"
    mine = (urn for urn in givers if below in urn and component_of(urn, state.components) == state.urn)
    own = {urn.rpartition("/")[2]: urn for urn in mine}
    for urn in givers:
        if is_of_former_name(urn, state):
            yield _FORMER.format(urn)
        elif urn not in own.values():
            yield (
                f"'{urn}' gives {what} to the {kind}, too, and takes it away when that resource is removed. "
                f"{FORGET.format(urn)} Then run `pulumi up` again."
            )
    if not key or key in own:
        return
    for other, urn in own.items():
        if re.fullmatch(POLICY_KEY, other):
            yield f"the {kind} has {what} from its S3 grants. Remove it here; a policy of your own needs another name."
        elif other in stays:
            yield f"the {kind} has {what} already, as '{other}'. Keep it there, and remove it here."
        else:
            yield (
                f"the {kind} has {what} already, as '{urn}', and would lose it together with that resource. Rename it "
                f"in the state: `pulumi state rename '{urn}' '{state.component}/{name}/{key}'`. Then run `pulumi up` "
                "again."
            )


def already_in_stack(kind: str, urn: str, state: ComponentState) -> str:
    """urn: of the resource in this stack's state that is the user, group or key."""
    component = component_of(urn, state.components)
    if component and component != state.urn and kind != "access key":
        return _renamed(component, state, kind)
    if is_of_former_name(urn, state):
        return _FORMER.format(urn)
    text = f"this stack already has this {kind}, as '{urn}', and would delete it together with that resource."
    if component:
        return f"{text} If it was renamed in the state, restore its name with `pulumi state rename`."
    return f"{text} {FORGET.format(urn)} Then run `pulumi up` again."


_BESIDE = (
    "'{}' gives the secret a resource policy, too, and the two would overwrite each other: the stack keeps the one "
    "that had its readers. List those who may read it as readers instead, or give the secret another name."
)
_FORMER = (
    "this stack already has it, as '{}', which belongs to a component of another name or with another parent. Restore "
    "both: aliases do not cover users, groups and keys."
)


def is_of_former_name(urn: str, state: ComponentState) -> bool:
    """Whether a component like this one made a resource, and the stack has no component of that name (any more)."""
    return f"{COMPONENT}$" in urn and component_of(urn, state.components) is None


def _renamed(other: str, state: ComponentState, kind: str) -> str:
    """other: URN of the component that has the name. kind: of what has it."""
    component = component_name(other)
    with_parent, cure = "", f"you renamed that component to '{state.component}', restore its name"
    if component == state.component:
        with_parent, cure = " with another parent", "you changed the component's parent, restore it"
    return (
        f"the component '{component}'{with_parent} already has this name in this stack, and a {kind} cannot move to "
        f"another component. If {cure}; otherwise keep the name there, or remove it there in an update of its own "
        f"first, which deletes the {kind}{' and its keys' if kind == 'user' else ''}."
    )
