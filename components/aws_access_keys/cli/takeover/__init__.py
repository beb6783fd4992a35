"""`access-keys takeover`: groups, users and keys that the account has already are described in the stack file and
imported into the state of the stack. Nothing in AWS is changed.

The stack file is written first. If the command is killed before the state has everything, `pulumi up` refuses to create
what exists, and the same command completes the takeover.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any, NamedTuple

import yaml
from rich.console import Console
from rich.progress import Progress

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.asking import reason_for
from aws_access_keys.cli.rotate import difference, read_yaml, stack_file, write_stack_file
from aws_access_keys.cli.stack import Owned, StackError, each_stack, list_stacks, owned, pulumi, stack_config
from aws_access_keys.cli.takeover.account import read_account, with_credentials, with_tried_secrets
from aws_access_keys.cli.takeover.engine import (
    SECRET,
    ImportList,
    Spec,
    hand_over,
    import_resources,
    list_resources,
)
from aws_access_keys.cli.takeover.stack_text import as_yaml, with_entries
from aws_access_keys.cli.takeover.terraform import forget_commands, require_account
from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.problem import NAMESPACE, did_you_mean
from aws_access_keys.rules.resource_types import COMPONENT, FORGET, KEY, PLANS
from aws_access_keys.rules.takeover import (
    Choice,
    Description,
    Entity,
    ExistingKey,
    ExistingUser,
    Inventory,
    Surroundings,
    chosen,
    describe,
    entity_of,
    import_id,
    key_names,
    key_outputs,
    only,
    record_of,
)
from aws_access_keys.rules.terraform import TerraformState
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.session import region_or_default, session_for

ENGINE = (3, 254)  # the first that imports outputs: https://github.com/pulumi/pulumi/pull/23984
SECRETS = ("secret", "sesSmtpPasswordV4")


class Takeover(NamedTuple):
    """What is taken over and how."""

    stack: str
    account_id: str
    path: Path
    old: str
    new: str
    """The text of the stack file, before and after."""
    found: Inventory
    described: Description
    problems: list[str]
    names: ImportList
    specs: list[Spec]


def takeover(stack: str, choice: Choice, terraform: TerraformState | None, write: bool) -> tuple[dict[str, Any], str]:
    """Take over what is chosen; with `write` False, only show it. Raises StackError.

    Returns what was or would be done, as data and as text.
    """
    with _progress() as progress:
        plan = _plan(stack, choice, terraform, write, progress)
        changes: list[str] | None = []
        is_imported = write and bool(plan.specs)
        # An earlier run can have been interrupted after its import.
        is_checked = is_imported or (write and not json.loads(pulumi("stack", "output", "--json", "--stack", stack)))
        if is_imported:
            if plan.new != plan.old:
                write_stack_file(plan.path, plan.old, plan.new)
            task = progress.add_task("importing", total=len(plan.specs))
            try:
                import_resources(stack, plan.names.document(plan.specs), lambda: progress.advance(task))
            except StackError as error:
                raise StackError(
                    f"The import failed: {error.message}\nNothing was changed in AWS. {plan.path} is written; run the "
                    "same command again before any `pulumi up`."
                ) from None
        if is_checked:
            progress.add_task("checking the next update", total=None)
            try:
                changes = hand_over(stack)
            except StackError as error:
                changes = None
                plan.problems.append(f"The next update failed: {error.message}")
    data: dict[str, Any] = {
        "stack": stack,
        "account": plan.account_id,
        "file": str(plan.path),
        "written": is_imported,
        "diff": _diff(plan),
        "takenOver": [{"kind": kind, "name": name} for kind, name in sorted(plan.described.entities)],
        "resources": len(plan.specs),
        "leftAlone": [{"owner": owner, "what": what} for owner, what in plan.described.left],
        "problems": plan.problems,
        "nextChanges": changes,
    }
    return data, "\n".join(_lines(plan, is_imported, is_checked, changes, terraform))


def _plan(stack: str, choice: Choice, terraform: TerraformState | None, write: bool, progress: Progress) -> Takeover:
    began = datetime.now(timezone.utc)
    path = stack_file(stack)
    old = read_yaml(path)[0] if path.exists() else ""
    config = _config(old)
    found_version = re.match(r"v(\d+)\.(\d+)\.", pulumi("version"))
    if found_version and tuple(map(int, found_version.groups())) < ENGINE:
        raise StackError(
            f"takeover needs Pulumi {'.'.join(map(str, ENGINE))} or newer, and this is {found_version[0].rstrip('.')}: "
            "older versions do not import a key's secret. Nothing was changed."
        )
    aws = stack_config(stack, "aws")
    account = Account(lambda: session_for(aws))
    try:
        caller = account.ask("sts", "get_caller_identity")
    except AwsQueryError as error:
        because = reason_for(error, "sts:GetCallerIdentity")
        raise StackError(f"AWS does not answer{because} Nothing was changed.") from None
    reading = progress.add_task("reading the stacks", total=None)
    owners, problems = _owners(stack, caller["Account"])
    state = owned(stack)
    progress.update(reading, total=1, completed=1)
    found = read_account(account, progress)
    if terraform:
        require_account(terraform, caller["Account"])
        entities, missing = terraform.entities & _existing(found), terraform.entities - _existing(found)
    else:
        missing = set[Entity]()
        try:
            entities = chosen(found, choice)
        except KeyError as error:
            raise _unknown(error.args[0], found) from None
    elsewhere = {one: owners[one] for one in entities if one in owners and owners[one] != stack}
    named = {*(("user", name) for name in choice.users), *(("group", name) for name in choice.groups)}
    for (kind, name), other in sorted(elsewhere.items()):
        if (kind, name) in named:
            raise StackError(f"The {kind} {name} belongs to stack '{other}' already. Nothing was changed.")
    entities -= elsewhere.keys()
    found, unread = with_credentials(account, found, [name for kind, name in entities if kind == "user"], progress)
    left = [(f"{kind} {name}", f"it belongs to stack '{other}'") for (kind, name), other in sorted(elsewhere.items())]
    left += [(f"{kind} {name}", "it is in the Terraform state, but not in IAM") for kind, name in sorted(missing)]
    if terraform:
        found, others = only(terraform.with_secrets(found), terraform.held)
        if write:  # AWS records a trial as a use
            found, wrong = with_tried_secrets(account, found, state.keys, progress)
            unread = [*unread, *wrong]
        mine = {f"{kind} {name}" for kind, name in entities}
        left += [(owner, f"{what}, which is not in the Terraform state") for owner, what in others if owner in mine]
    around = _surroundings(config, aws)
    _refuse_what_the_state_has(found, entities, state)
    described = describe(found, entities, around)
    described.left[:0] = left
    if not described.entities:
        raise StackError("\n".join(["There is nothing to take over.", *_left(described), "Nothing was changed."]))
    new = _merged(path, old, config, described)
    listing = progress.add_task("asking the engine for the resources", total=None)
    names = list_resources(stack, new)
    progress.update(listing, total=1, completed=1)
    specs = _filled(names, found, described.entities, _config(new), state, began)
    ids = {spec.get("id") for spec in specs} | state.keys.keys()
    described.left += [
        (
            f"user {name}",
            f"the access key {key.id}: users.{name}.key in the stack file does not cover it; it must not be null, and "
            f"its serial must be at least {len(found.users[name].keys)}",
        )
        for kind, name in sorted(described.entities)
        if kind == "user"
        for key in found.users[name].keys
        if key.id not in ids
    ]
    return Takeover(stack, caller["Account"], path, old, new, found, described, [*problems, *unread], names, specs)


def _config(text: str) -> dict[str, Any]:
    """The `config` of a stack file."""
    return mapping(mapping(yaml.safe_load(text)).get("config"))


def _surroundings(config: Mapping[str, Any], aws: Mapping[str, Any]) -> Surroundings:
    def given(name: str) -> Any:
        return config.get(f"{NAMESPACE}:{name}")

    default_tags = mapping(mapping(config.get("aws:defaultTags")).get("tags"))
    defaults = mapping(given("keyDefaults"))
    serial = defaults.get("serial", 1)
    status, previous = (str(defaults[name]).lower() if defaults.get(name) else None for name in ("status", "previous"))
    return Surroundings(
        partition=partition_of(region_or_default(aws.get("region")) or ""),
        prefix=str(given("namePrefix") or ""),
        tags={str(key): str(value) for key, value in {**default_tags, **mapping(given("tags"))}.items()},
        ignored_tags=[str(one) for one in mapping(config.get("aws:ignoreTags")).get("keyPrefixes") or ()],
        delivers=given("deliver") is not None,
        keeps_secrets=defaults.get("keepSecret") is not False,
        serial=serial if isinstance(serial, int) else 1,
        status=status,
        previous=previous or ("inactive" if defaults.get("rotation") else None),  # once the overlap has ended
    )


def _owners(stack: str, account: str) -> tuple[dict[Entity, str], list[str]]:
    """Groups and users of an account in the states of this project's other stacks → the stack; and which could not be
    read."""
    owners, problems = dict[Entity, str](), list[str]()
    others = [name for name in list_stacks() if name != stack]
    for name, found in each_stack(others, partial(owned, account=account)).items():
        if isinstance(found, StackError):
            problems.append(f"Stack '{name}' could not be read, but may manage some of this: {found.line}.")
        else:
            owners |= dict.fromkeys(found.entities, name)
    return owners, problems


def _existing(found: Inventory) -> set[Entity]:
    return {*(("group", name) for name in found.groups), *(("user", name) for name in found.users)}


def _unknown(entity: Entity, found: Inventory) -> StackError:
    kind, name = entity
    known = list(found.users if kind == "user" else found.groups)
    return StackError(f"IAM has no {kind} '{name}'.{did_you_mean(name, known)} Nothing was changed.")


def _merged(path: Path, old: str, config: Mapping[str, Any], described: Description) -> str:
    """The text of the stack file with all that is not in it yet. Raises StackError."""
    sections: dict[str, dict[str, Any]] = {}
    for section, entries in (("groups", described.groups), ("users", described.users)):
        present = {str(name).casefold() for name in mapping(config.get(f"{NAMESPACE}:{section}"))}
        sections[section] = {name: value for name, value in entries.items() if name.casefold() not in present}
    new = with_entries(old, sections)
    if new is None:
        block = as_yaml({f"{NAMESPACE}:{section}": entries for section, entries in sections.items() if entries}, 2)
        raise StackError(
            f"{path} cannot be edited without changing more lines (an alias, a merge key or an unusual layout). Add "
            f"this below config and run the command again. Nothing was changed.\n{block}"
        )
    return new


def _refuse_what_the_state_has(found: Inventory, entities: Collection[Entity], state: Owned) -> None:
    """Raises StackError where the stack has a group, user or key that no component made: imported as another resource,
    it would be deleted with that one."""
    known = {(kind, name): state.entities[kind, name] for kind, name in entities if (kind, name) in state.entities}
    known |= {
        ("access key", key.id): str(state.keys[key.id]["urn"])
        for kind, name in entities
        for key in (found.users[name].keys if kind == "user" else ())
        if key.id in state.keys
    }
    lines = [
        f"The {kind} {name} is in the state of this stack already, as '{urn}', and would be deleted together with that "
        f"resource. {FORGET.format(urn)}"
        for (kind, name), urn in sorted(known.items())
        if COMPONENT not in urn
    ]
    if lines:
        raise StackError("\n".join([*lines, "Then run this command again. Nothing was changed."]))


def _filled(
    names: ImportList,
    found: Inventory,
    entities: Collection[Entity],
    config: Mapping[str, Any],
    state: Owned,
    began: datetime,
) -> list[Spec]:
    """The resources with the ids that they have in AWS, without what AWS does not have and what is not chosen.

    config: of the new stack file. began: when the keys with a secret were tried. Raises StackError where the program
    would not create what is described.
    """
    prefix = str(config.get(f"{NAMESPACE}:namePrefix") or "")
    members = {
        f"{prefix}{user}": [f"{prefix}{group}" for group in mapping(settings).get("groups") or ()]
        for user, settings in mapping(config.get(f"{NAMESPACE}:users")).items()
    }
    specs: list[Spec] = []
    components: list[Spec] = []
    keys: dict[str, list[tuple[str, ExistingKey]]] = {}
    for planned, spec in zip(names.planned, names.specs, strict=True):
        entity = entity_of(planned)
        if planned.type in (COMPONENT, PLANS):
            components.append(spec)
        elif entity is None or entity not in entities:
            continue
        elif planned.type == KEY:
            owner, _, current = planned.name.rpartition("/")
            user = found.users[entity[1]]
            keys[user.name] = list(key_names(current, user.keys))
            specs += [_key(spec, owner, user.name, *one) for one in keys[user.name] if one[1].id not in state.keys]
        elif found_id := import_id(planned, found, members):
            specs.append({**spec, "id": found_id})
    for name in sorted(name for kind, name in entities if kind == "user" and name not in keys):
        specs += _previous(found.users[name], names, state)
    listed = {entity_of(planned) for planned in names.planned}.union(state.entities)
    if missing := sorted(set(entities) - listed):
        raise StackError(
            f"The program would not create {' '.join(missing[0])} with the new stack file, so it cannot be taken over: "
            f"the program has to read its groups and users from {NAMESPACE}:groups and {NAMESPACE}:users. Nothing was "
            "changed."
        )
    outputs, plans = record_of(keys)
    tried = {
        user: began.isoformat(timespec="seconds")
        for user, of_user in keys.items()
        if any(key.active and (key.known or {}).get("secret") for _, key in of_user)
    }
    for spec in components:
        if outputs:  # as a finished run would have recorded them
            spec["outputs"] = {"keys": outputs} if spec["type"] == COMPONENT else {"plans": plans, "tried": tried}
    if missing := {str(spec["provider"]) for spec in specs if spec.get("provider")} - names.names.keys():
        raise StackError(
            f"The program has a provider of its own, {', '.join(sorted(missing))}, which the state does not have yet. "
            "Register it first: pulumi up --target '**pulumi:providers:aws::*'. Nothing was changed."
        )
    return [*components, *specs] if specs else []


def _previous(user: ExistingUser, names: ImportList, state: Owned) -> list[Spec]:
    """The older key of a user where the state has the newer one, and an earlier run could not import it."""
    ids = [key.id for key in user.keys]
    if len(ids) < 2 or ids[0] not in state.keys or ids[1] in state.keys:
        return []
    newer = state.keys[ids[0]]
    provider = newer["provider"].rpartition("::")[0]
    names.names |= {urn: urn for urn in (newer["parent"], provider)}
    owner, _, current = newer["urn"].split("::", 3)[3].rpartition("/")
    spec = {"type": KEY, "name": owner, "parent": newer["parent"], "provider": provider}
    return [_key(spec, owner, user.name, *one) for one in list(key_names(current, user.keys))[1:]]


def _key(spec: Spec, owner: str, user: str, name: str, key: ExistingKey) -> Spec:
    made = {**spec, "name": f"{spec['name']} {key.id}", "logicalName": f"{owner}/{name}", "id": key.id}
    if key.known:
        inputs, outputs = key_outputs(user, key)
        secrets = {name: {**SECRET, "plaintext": json.dumps(outputs[name])} for name in SECRETS if name in outputs}
        made |= {"inputs": inputs, "outputs": outputs | secrets}
    return made


def _lines(
    plan: Takeover, done: bool, is_checked: bool, changes: list[str] | None, terraform: TerraformState | None
) -> Iterator[str]:
    """What is printed. done: whether something was imported. is_checked: whether the next update was, too."""
    if not done:
        yield from _diff(plan)
    yield f"{'Taken' if done else 'To be taken'} over into stack '{plan.stack}', from account {plan.account_id}:"
    for kind, name in sorted(plan.described.entities):
        yield f"  {kind} {name}{_keys_of(plan.found, name) if kind == 'user' else ''}"
    yield from _left(plan.described)
    yield from plan.problems
    command = f"pulumi up --stack {quote(plan.stack)}"
    if not plan.specs:
        yield "The state has all of this already. Nothing was changed in AWS."
    elif not done:
        yield f"{len(plan.specs)} resources would be imported. Nothing was changed; to do it, add --yes."
    else:
        yield f"{len(plan.specs)} resources were imported, and {plan.path} describes them. Nothing was changed in AWS."
    if done and (until := _until_rotated(plan.described.users)):
        yield (
            f"Until their first rotation, some users need {' and '.join(until)}, which the stack file now has. Remove "
            "this from a user when you first rotate the key."
        )
    if changes is None:
        yield f"Check the next update before anything else: pulumi preview --stack {quote(plan.stack)}; {command}"
    elif changes:
        yield f"The next update makes these changes. Check them with `pulumi preview`, then run at once: {command}"
        yield from (f"  {change}" for change in changes)
    elif is_checked:
        yield "The stack's outputs are written, and the next update changes nothing."
    if done and terraform:
        yield from forget_commands(terraform, plan.described.entities)


def _until_rotated(users: Mapping[str, Any]) -> list[str]:
    """The settings that some users need until the stack has issued a key for them."""
    found = {
        "deliver: null": any("deliver" in has for has in users.values()),
        "keepSecret: true": any("keepSecret" in mapping(has.get("key")) for has in users.values()),
    }
    return [what for what, is_there in found.items() if is_there]


def _diff(plan: Takeover) -> list[str]:
    return difference(plan.path, plan.old, plan.new)


def _keys_of(found: Inventory, name: str) -> str:
    listed = [
        f"{key.id}{', previous' if index else ''}{'' if key.active else ', inactive'}"
        for index, key in enumerate(found.users[name].keys)
    ]
    return f": {'; '.join(listed)}" if listed else ""


def _left(described: Description) -> Iterator[str]:
    if described.left:
        yield "Left alone:"
        yield from (f"  {owner}: {what}" for owner, what in described.left)


def _progress() -> Progress:
    """Progress lines on standard error, gone when it is done; into a file, none."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
