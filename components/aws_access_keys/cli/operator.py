"""`access-keys permissions`: a least-privilege IAM policy with which the operator can run a command on a stack, and
which of its permissions the current operator lacks.

The policy covers everything in the stack file and in the state: creating, changing and removing it, and rotating its
keys. Reads the stack from the engine, and asks AWS only what the current operator may do.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import click

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.stack import StackError, aws_config, config_entries, pulumi
from aws_access_keys.rules.documents import length
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.operator import (
    Place,
    Resource,
    Statement,
    document,
    of_account,
    planned,
    resources_of,
    statements,
)
from aws_access_keys.rules.operator_rows import OF_ACCOUNT, OWN, Command
from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.problem import NAMESPACE, STACK_FILE, as_lines
from aws_access_keys.rules.resource_types import (
    GROUP,
    PARAMETER,
    POLICY,
    SECRET,
    SECRET_POLICY,
    SECRET_VERSION,
    USER,
)
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.session import region_or_default, session_for

if TYPE_CHECKING:
    from aws_access_keys.settings import StackSettings

MAX_RESOURCES = 20  # of one simulation; IAM documents no limit, but refuses requests that are too large


def print_needed(stack: str | None, command: Command) -> bool:
    """Print the policy, and on standard error what the current operator lacks. Returns whether anything is missing.

    stack: None only for the inventory, which can do without any. Raises StackError.
    """
    asked = needed(stack, command) if stack and command not in OF_ACCOUNT else needed_for_account(stack, command)
    click.echo(json.dumps(asked.document, indent=2))
    for note in asked.notes:
        click.echo(note, err=True)
    try:
        lines = list(lacking(asked))
    except AwsQueryError as error:
        click.echo(f"It could not be checked what the current operator lacks: {error}.", err=True)
        return False
    for line in lines:
        click.echo(line, err=True)
    return bool(lines)


class Needed(NamedTuple):
    """What a command on a stack needs."""

    command: Command
    account: str
    """The stack's account, or `*`."""
    statements: list[Statement]
    document: dict[str, Any]
    notes: list[str]
    """What a reader of the document must know."""
    aws: dict[str, Any]
    """The stack's config under `aws:`."""


def needed(stack: str, command: Command) -> Needed:
    """What a command on a stack needs. Raises StackError."""
    config, has_secrets = _config(stack)
    aws: dict[str, Any] = {key.removeprefix("aws:"): value for key, value in config.items() if key.startswith("aws:")}
    deployment = mapping(mapping(json.loads(pulumi("stack", "export", "--stack", stack))).get("deployment"))
    state = list(_state(deployment.get("resources") or []))
    region = region_or_default(aws.get("region")) or ""
    place = Place(partition_of(region), region or "*", _account(aws, state) or "*")
    tags = mapping(mapping(_decoded(aws.get("defaultTags"))).get("tags"))
    ignored: list[str] = mapping(_decoded(aws.get("ignoreTags"))).get("keyPrefixes") or []
    settings = _settings(stack, config, has_secrets, place, ignored).prefixed()
    about = resources_of([*planned(settings, place, tags), *state], place)
    notes: list[str] = []
    if place.account == "*":
        notes.append("The account is not known, so the ARNs match any account. Set aws:allowedAccountIds.")
    if aws.get("assumeRoles"):
        notes.append(
            "The policy is for the role in aws:assumeRoles. The identity that runs Pulumi needs sts:AssumeRole on it, "
            "and access to the state and its KMS key."
        )
    else:
        about |= _backend(deployment, place)
    found = statements(about, command, place)
    made, is_shortened = document(found)
    if is_shortened:
        notes.append(
            f"With all names, the policy would exceed {POLICY_LENGTH} characters. It has only what they begin with, "
            "and so it covers other names, too."
        )
    if (characters := length(made)) > POLICY_LENGTH:
        notes.append(f"The policy has {characters} characters; IAM allows {POLICY_LENGTH}. Split it into several.")
    return Needed(command, place.account, found, made, notes, aws)


def needed_for_account(stack: str | None, command: Command) -> Needed:
    """What a command about the whole account needs. stack: whose `aws:` config counts. Raises StackError."""
    aws = aws_config(stack)
    region = region_or_default(aws.get("region")) or ""
    place = Place(partition_of(region), region or "*", _account(aws, []) or "*")
    about = of_account(place)
    if not aws.get("assumeRoles"):
        deployment = "{}"
        with suppress(StackError):  # without Pulumi there are no stacks to read
            deployment = pulumi("stack", "export", "--stack", stack) if stack else deployment
        with suppress(StackError):
            about |= _backend(mapping(json.loads(deployment).get("deployment")), place)
    found = statements(about, command, place)
    return Needed(command, place.account, found, document(found)[0], [], aws)


def lacking(asked: Needed) -> Iterator[str]:
    """A line about each action that the current operator may not do, by IAM's simulator. Raises AwsQueryError."""
    account = Account(lambda: session_for(asked.aws))
    caller = account.ask("sts", "get_caller_identity")
    if asked.account not in ("*", caller["Account"]):
        yield f"{caller['Arn']} is not in this stack's account, {asked.account}. Use credentials of that account."
        return
    if caller["Arn"].endswith(":root"):
        return
    operator = _principal(account, caller["Arn"])
    missing: dict[str, tuple[Statement, list[str]]] = {}
    for statement in asked.statements:
        for action, resource in _denied(account, operator, caller["Account"], statement):
            resources = missing.setdefault(action, (statement, []))[1]
            resources += [resource] * (resource not in resources)
    for action, (statement, resources) in missing.items():
        more = f" and {len(resources) - 1} more" if len(resources) > 1 else ""
        command = f"access-keys {asked.command}" if asked.command in OWN else f"pulumi {asked.command}"
        otherwise = statement.row.otherwise or f"`{command}` fails when it needs this"
        yield f"{operator} lacks {action} on {resources[0]}{more} ({statement.row.purpose}). Without it, {otherwise}."


def _principal(account: Account, arn: str) -> str:
    """The ARN of the user or role behind a caller; the session of a role does not have the role's path."""
    if not (session := re.fullmatch(r"arn:([\w-]+):sts::(\d+):assumed-role/([^/]+)/.+", arn)):
        return arn
    partition, owner, name = session.groups()
    try:
        found = account.ask("iam", "get_role", RoleName=name)
    except AwsQueryError:
        found = None
    return found["Role"]["Arn"] if found else f"arn:{partition}:iam::{owner}:role/{name}"


def _denied(account: Account, operator: str, owner: str, statement: Statement) -> Iterator[tuple[str, str]]:
    """The actions of a statement that an operator may not do, each with the resource.

    owner: the caller's account, used if that of the stack is not known.
    """
    keys = [(operator, key, value) for operator, found in statement.condition.items() for key, value in found.items()]
    for values in product(*(values for _, _, values in keys)):
        context = [
            {
                "ContextKeyName": key,
                "ContextKeyType": "stringList" if operator.startswith("ForAnyValue") else "string",
                "ContextKeyValues": [value],
            }
            for (operator, key, _), value in zip(keys, values, strict=True)
        ]
        arns = [re.sub(r"^(arn:[^:]*:[^:]*:[^:]*:)\*:", rf"\g<1>{owner}:", arn) for arn in statement.resources]
        for begin in range(0, len(arns), MAX_RESOURCES):
            denied = _simulated(account, operator, statement.actions, arns[begin : begin + MAX_RESOURCES], context)
            limits = "".join(f" with {key} {value}" for (_, key, _), value in zip(keys, values, strict=True))
            yield from ((action, f"{arn}{limits}") for action, arn in denied)


def _simulated(
    account: Account, operator: str, actions: Sequence[str], arns: Sequence[str], context: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    parameters: dict[str, Any] = {"PolicySourceArn": operator, "ActionNames": actions, "ResourceArns": arns}
    parameters["ContextEntries"] = context
    while True:
        response = account.ask("iam", "simulate_principal_policy", **parameters)
        if response is None:
            raise AwsQueryError(ValueError(f"{operator} does not exist in IAM"))
        for result in response["EvaluationResults"]:
            # For `*` the decision is at the top of a result, for ARNs below it.
            for decided in result.get("ResourceSpecificResults") or [result]:
                if decided.get("EvalResourceDecision", result["EvalDecision"]) != "allowed":
                    yield result["EvalActionName"], decided["EvalResourceName"]
        if not response.get("IsTruncated"):
            return
        parameters["Marker"] = response["Marker"]


def _config(stack: str) -> tuple[dict[str, Any], bool]:
    """The stack's whole config as text, and whether it has decrypted values. Only those of settings are decrypted:
    Pulumi gives `users` as a whole or not at all.
    """
    found = config_entries(stack, NAMESPACE, "aws")
    has_secrets = any(entry.get("secret") for name, entry in found.items() if name.startswith(f"{NAMESPACE}:"))
    return {name: entry.get("value") for name, entry in found.items()}, has_secrets


def _settings(
    stack: str, config: Mapping[str, Any], has_secrets: bool, place: Place, ignored_tags: Sequence[str]
) -> "StackSettings":
    """The checked settings of a stack file. Raises StackError."""
    from aws_access_keys.setting_types import read_section
    from aws_access_keys.settings import StackSettings
    from aws_access_keys.stack_file import given_settings
    from aws_access_keys.validation import rule_problems

    given = given_settings(config)
    if "users" not in given and "groups" not in given:
        raise StackError(
            f"Stack '{stack}' has neither {NAMESPACE}:groups nor {NAMESPACE}:users in its config, so its program sets "
            "them itself. For the permissions by setting, see 'Permissions of the operator' in docs/security.md."
        )
    settings, problems = read_section(StackSettings, given, STACK_FILE)
    if settings:
        problems += rule_problems(settings, STACK_FILE, place.partition, ignored_tags)
    if problems or settings is None:
        # A message can have the value, and only Pulumi knows which ones to hide.
        listed = ". `pulumi preview` lists them." if has_secrets else f":\n{as_lines(problems, STACK_FILE)}"
        raise StackError(f"The configuration of stack '{stack}' has problems{listed}")
    return settings


def _state(resources: Sequence[Mapping[str, Any]]) -> Iterator[Resource]:
    """What the state has, without resources that a failed run left incomplete."""
    for found in resources:
        properties: dict[str, Any] = found.get("outputs") or {}
        name = "secretArn" if found["type"] == SECRET_POLICY else "arn"
        if found["type"] in (GROUP, USER, POLICY, SECRET, SECRET_VERSION, PARAMETER) and "arn" not in properties:
            continue
        if found["type"] in (SECRET, SECRET_VERSION, SECRET_POLICY) and name in properties:
            # AWS appends six characters, which change when the secret is created again.
            yield Resource(found["type"], {**properties, name: re.sub(r"-\w{6}$", "-??????", properties[name])})
        elif properties:
            yield Resource(found["type"], properties)


def _account(aws: Mapping[str, Any], state: Sequence[Resource]) -> str | None:
    """The account's id: the only one that the provider allows, or that of the users in the state."""
    allowed: Any = _decoded(aws.get("allowedAccountIds"))
    if isinstance(allowed, list) and len(ids := cast("list[Any]", allowed)) == 1:
        return str(ids[0])
    ids = {
        match[1]
        for resource in state
        if (match := re.match(r"arn:[\w-]+:iam::(\d{12}):(?:user|group)/", str(resource.properties.get("arn"))))
    }
    return ids.pop() if len(ids) == 1 else None


def _backend(deployment: Mapping[str, Any], place: Place) -> dict[str, list[str]]:
    """The bucket that has the state, and the KMS key that encrypts the secrets in it, if there are any."""
    about: dict[str, list[str]] = {}
    url = urlsplit(json.loads(pulumi("whoami", "--json")).get("url") or "")
    if url.scheme == "s3":
        arn = f"arn:{place.partition}:s3:::{url.netloc}"
        folder = f"{url.path.strip('/')}/" if url.path.strip("/") else ""
        about |= {"bucket": [arn], "object": [f"{arn}/{folder}*"]}
    secrets = urlsplit(mapping(mapping(deployment.get("secrets_providers")).get("state")).get("url") or "")
    if secrets.scheme == "awskms":
        key = f"{secrets.netloc}{secrets.path}".strip("/")
        region = parse_qs(secrets.query).get("region", [place.region])[0]
        if not key.startswith("arn:"):
            key = place._replace(region=region).arn("kms", key if key.startswith("alias/") else f"key/{key}")
        about["key:of the stack"] = [key]
        if url.scheme == "s3":
            about |= {"key:of the state": [key], "s3": place.names_of("s3")}
    return about


def _decoded(text: Any) -> Any:
    """The decoded value of a config key; text that is not JSON is returned as it is."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text
