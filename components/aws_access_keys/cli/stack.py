"""What the Pulumi engine reports of a stack: outputs, config and resources."""

import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from click import ClickException

from aws_access_keys.rules.problem import NAMESPACE, did_you_mean
from aws_access_keys.rules.resource_types import COMPONENT, GROUP, KEY, USER, held
from aws_access_keys.rules.untyped import mapping

MAX_NAMES_SHOWN = 20  # users in a message
NO_STACKS = "This project has no stacks: run `pulumi stack init NAME` first."
PARALLEL = 4  # `pulumi` processes at a time
TEXTS = ("region", "profile", "accessKey", "secretKey", "token")  # of the `aws:` config
Answer = TypeVar("Answer")
_OWNERS = {USER: "users", GROUP: "groups"}


class StackError(ClickException):
    """The stack cannot be read, or not be used as asked; the text explains why and what to do."""

    @property
    def line(self) -> str:
        """The text in one line, without a period at the end."""
        return " ".join(self.message.split()).rstrip(".")

    def of_stack(self, stack: str) -> str:
        """The text as one of many, about a stack."""
        return f"Stack '{stack}' could not be read: {self.line}."


class NoKeysError(StackError):
    """No update of the stack has finished yet."""

    def of_stack(self, stack: str) -> str:
        return f"{self.line}."


def pulumi(*arguments: str, stdin: str | None = None) -> str:
    """What `pulumi ARGUMENTS` prints. stdin: what it reads. Raises StackError in Pulumi's own words where it fails."""
    command = ("pulumi", *arguments, "--non-interactive", "--color", "never")
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StackError(
            "pulumi was not found on PATH. Install it: https://www.pulumi.com/docs/install/. To use the sandbox of a "
            "checkout, run make report, make credentials or make rotate."
        ) from None
    if done.returncode:
        # What it printed may have secrets in it, also where it was interrupted.
        text = (done.stderr or f"`pulumi {' '.join(arguments[:2])}` ended with exit code {done.returncode}.").strip()
        text = text.removeprefix("error: ")
        is_unknown = re.fullmatch("no stack named '.*' found", text)
        raise StackError(f"{text}. `pulumi stack ls` lists the stacks of this backend." if is_unknown else text)
    return done.stdout


def selected_stack() -> str:
    """The stack that `pulumi stack select` chose. Raises StackError where there is none."""
    return pulumi("stack", "--show-name").strip()


def stack_outputs(stack: str, required: str, *options: str) -> dict[str, Any]:
    """Output → value; secrets only with the option --show-secrets. Raises StackError where `required` is missing."""
    outputs: dict[str, Any] = json.loads(pulumi("stack", "output", "--json", "--stack", stack, *options))
    if not outputs:
        raise StackError(
            f"Stack '{stack}' has no outputs: run `pulumi up --stack {stack}` first. If it has succeeded, the program "
            f"exports none: export '{required}'."
        )
    if not isinstance(outputs.get(required), dict):
        raise StackError(
            f"Stack '{stack}' has no output '{required}'. Either its last `pulumi up` failed early, and has to be run "
            f"again, or its program does not export '{required}'."
        )
    return outputs


def stack_keys(stack: str) -> dict[str, Any]:
    """What the stack's components know of their keys, whatever its program exports: `keys`, as in the component's
    output of that name, and `userArns`. A user name that two components have is written COMPONENT/USER.

    Read from the state; the secrets in it stay encrypted. Raises StackError where no update has finished yet.
    """
    resources = _resources(stack)
    components: dict[str, dict[str, Any]] = {
        found["urn"]: found["outputs"]["keys"]
        for found in resources
        # What did not become known in a run that failed is not a mapping.
        if found["type"] == COMPONENT and isinstance(found.get("outputs", {}).get("keys"), dict)
    }
    if not components:
        raise NoKeysError(
            f"Stack '{stack}' has no access keys yet: run `pulumi up --stack {stack}` first, or again if it failed."
        )
    arns = _arns(resources)
    names = _names((urn, user) for urn, keys in components.items() for user in keys)
    result: dict[str, dict[str, Any]] = {"keys": {}, "userArns": {}}
    for urn, keys in components.items():
        for user, part in keys.items():
            if not isinstance(part, dict):
                continue
            result["keys"][names[urn, user]] = part
            if arn := arns.get((urn, f"users.{user}")):
                result["userArns"][names[urn, user]] = arn
    for (urn, owner), arn in arns.items():  # also of users who have no key
        kind, _, user = owner.partition(".")
        if kind == "users" and urn in components and user not in components[urn]:
            result["userArns"].setdefault(user, arn)
    return result


def list_stacks(all_projects: bool = False) -> list[str]:
    """The names of the stacks of the project in this folder, or of all projects of the backend. Raises StackError."""
    found: list[dict[str, Any]] = json.loads(pulumi("stack", "ls", "--json", *(["--all"] if all_projects else [])))
    return [stack["name"] for stack in found]


def each_stack(
    names: Sequence[str], read: Callable[[str], Answer], advance: Callable[[], object] = lambda: None
) -> dict[str, Answer | StackError]:
    """Stack → what is read of it, or why it cannot be. Several `pulumi` processes run at a time. advance: is called
    for each.
    """

    def tried(name: str) -> Answer | StackError:
        try:
            return read(name)
        except StackError as error:
            return error

    found: dict[str, Answer | StackError] = {}
    with ThreadPoolExecutor(PARALLEL) as pool:
        for name, answer in zip(names, pool.map(tried, names), strict=True):
            found[name] = answer
            advance()
    return found


def stacks_to_read(all_projects: bool = False) -> tuple[list[str], list[str]]:
    """The same, and no problem; or where they cannot be listed the stacks that have a file here, and why."""
    try:
        return list_stacks(all_projects), []
    except StackError as error:
        # One damaged state keeps the engine from listing any stack.
        files = () if all_projects else Path().glob("Pulumi.*.y*ml")
        names = sorted({path.name.split(".", 1)[1].rsplit(".", 1)[0] for path in files})
        read = f"only those with a file here were read ({', '.join(names)})" if names else "none was read"
        elsewhere = "" if names or all_projects else " Run this in the folder of the program, or with --all-projects."
        return names, [f"The stacks could not be listed, so {read}: {error.line}.{elsewhere}"]


class KeyInState(NamedTuple):
    """An access key that the state of a stack has."""

    stack: str
    user: str | None
    role: str
    """`current` or `previous` key of a component, else `managed`."""
    record: dict[str, Any]
    """What the component knows of its user, as in the output `keys`; empty for a key outside the component."""
    is_active: bool = True


def keys_in_state(stack: str) -> dict[str, KeyInState]:
    """Key id → what the stack has of it, for every access key in its state, whatever program made it.

    Raises StackError.
    """
    resources = _resources(stack)
    records: dict[str, tuple[str, dict[str, Any]]] = {}
    for found in resources:
        for part in mapping(mapping(found.get("outputs")).get("keys") if found["type"] == COMPONENT else None).values():
            for role in ("current", "previous"):
                if key_id := mapping(mapping(part).get(role)).get("id"):
                    records[key_id] = (role, part)
    return {
        found["id"]: KeyInState(
            stack,
            mapping(found.get("outputs")).get("user"),
            *records.get(found["id"], ("managed", {})),
            is_active=mapping(found.get("outputs")).get("status") != "Inactive",
        )
        for found in resources
        if found["type"] == KEY and isinstance(found.get("id"), str)
    }


class Owned(NamedTuple):
    """What the state of a stack has of IAM, whatever program made it."""

    entities: dict[tuple[str, str], str]
    """`group` or `user`, and the name → URN of the resource."""
    keys: dict[str, dict[str, Any]]
    """Id of each access key → its resource."""
    held: set[tuple[str, ...]]
    """See resource_types.held."""


def owned(stack: str, account: str | None = None) -> Owned:
    """The groups, users and keys in the state of a stack. account: the only one whose groups and users count: others
    have the same names. Raises StackError.
    """
    found = Owned({}, {}, set())
    for resource in _resources(stack):
        kind, has = resource["type"], mapping(resource.get("outputs"))
        if kind in _OWNERS:
            if account and f":{account}:" not in str(has.get("arn", f":{account}:")):
                continue
            found.entities[_OWNERS[kind].removesuffix("s"), str(resource.get("id"))] = resource["urn"]
        elif kind == KEY:
            found.keys[str(resource.get("id"))] = resource
        found.held.update(held(kind, has))
    return found


def stack_expectations(stack: str) -> dict[str, tuple[str | None, list[dict[str, Any]]]]:
    """`groups.NAME` or `users.NAME` → its ARN and what it is expected to allow and deny, as expectations.py records it.

    A name that two components have is written COMPONENT/groups.NAME. The ARN is None where the state lost the group or
    user. Raises StackError where there are no expectations.
    """
    resources = _resources(stack)
    arns = _arns(resources)
    expectations: dict[tuple[str, str], list[dict[str, Any]]] = {
        (found["urn"], owner): record["checks"]
        for found in resources
        if found["type"] == COMPONENT and isinstance(found.get("outputs", {}).get("expectations"), dict)
        for owner, record in found["outputs"]["expectations"].items()
        if isinstance(record, dict)
    }
    if not expectations:
        raise StackError(
            f"The state of stack '{stack}' has no expectations. Add expect to a group or user and run "
            f"`pulumi up --stack {stack}`; if the last update failed, run it again."
        )
    names = _names(expectations)
    return {names[owner]: (arns.get(owner), checks) for owner, checks in expectations.items()}


def _arns(resources: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """URN of the component, and `groups.NAME` or `users.NAME` → ARN."""
    return {
        (found.get("parent", ""), f"{_OWNERS[found['type']]}.{found['outputs']['name']}"): found["outputs"]["arn"]
        for found in resources
        if found["type"] in _OWNERS and "arn" in found.get("outputs", {})
    }


def _names(owners: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """URN of the component and name → the name, as COMPONENT/NAME where two components have it."""
    listed = list(owners)
    count = Counter(name for _, name in listed)
    return {(urn, name): name if count[name] == 1 else f"{urn.rpartition('::')[2]}/{name}" for urn, name in listed}


def _resources(stack: str) -> list[dict[str, Any]]:
    """The resources in the state; the secrets stay encrypted."""
    state: dict[str, Any] = json.loads(pulumi("stack", "export", "--stack", stack))
    deployment: dict[str, Any] = state.get("deployment") or {}
    return deployment.get("resources") or []


def config_entries(stack: str, *decrypted: str) -> dict[str, dict[str, Any]]:
    """The stack's whole config as `pulumi config --json` has it. decrypted: namespaces, such as `aws`, whose secrets
    are needed. Raises StackError.
    """
    command = ("config", "--json", "--stack", stack)
    config: dict[str, dict[str, Any]] = json.loads(pulumi(*command))
    secrets = [name for name, entry in config.items() if entry.get("secret") and name.split(":")[0] in decrypted]
    if not secrets:
        return config
    try:
        shown: dict[str, dict[str, Any]] = json.loads(pulumi(*command[:2], "--show-secrets", *command[2:]))
    except StackError as error:
        raise StackError(
            f"The config of stack '{stack}' has encrypted values that are needed here, and Pulumi cannot decrypt them: "
            f"{', '.join(secrets)}. {error.line}. Run this with what `pulumi up` decrypts them with: the passphrase of "
            "the stack, or credentials that may use its KMS key."
        ) from None
    return config | {name: shown[name] for name in secrets}


def stack_config(stack: str, namespace: str, is_decrypted: bool = False) -> dict[str, Any]:
    """The stack's config in a namespace. is_decrypted: whether it has the encrypted values, decrypted; it has those of
    `aws`, as AWS would otherwise be asked as another caller. Raises StackError.
    """
    is_aws = namespace == "aws"
    is_decrypted = is_decrypted or is_aws
    found = {
        name.removeprefix(f"{namespace}:"): entry.get("objectValue", entry.get("value"))
        for name, entry in config_entries(stack, *([namespace] if is_decrypted else [])).items()
        if name.startswith(f"{namespace}:") and (is_decrypted or not entry.get("secret"))
    }
    wrong = [name for name in TEXTS if is_aws and not isinstance(found.get(name, ""), str)]
    if wrong:
        raise StackError(
            f"Pulumi.{stack}.yaml: aws:{wrong[0]} is a list or a mapping. Write one value, as in aws:region: us-east-1."
        )
    return found


def aws_config(stack: str | None) -> dict[str, Any]:
    """The `aws:` config of a stack. None: of the selected stack; where there is none, AWS's own settings count.

    Raises StackError where the config of the stack cannot be read.
    """
    if not stack:
        try:
            stack = selected_stack()
        except StackError:
            return {}
    return stack_config(stack, "aws")


def name_in_iam(stack: str, user: str, known: Collection[str]) -> str:
    """A user's name in IAM, from that name or the one in the stack file. known: names in IAM. Raises StackError."""
    prefixed = user if user in known else f"{stack_config(stack, NAMESPACE).get('namePrefix') or ''}{user}"
    if prefixed in known:
        return prefixed
    require_user(user, known, f"Stack '{stack}'")
    return user


def require_user(user: str, known: Collection[str], place: str) -> None:
    """Raise a StackError that names the known users where this one is not among them."""
    if user not in known:
        names = sorted(known)
        more = f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else ""
        listed = f"Its users: {', '.join(names[:MAX_NAMES_SHOWN])}{more}." if names else "It has no users."
        # Secrets have 40 such characters; one that was pasted by mistake does not get into a log.
        shown = "of this name, which may be a secret" if re.fullmatch(r"[A-Za-z0-9/+]{40}", user) else f"'{user}'"
        raise StackError(f"{place} has no user {shown}. {listed}{did_you_mean(user, names)}")
