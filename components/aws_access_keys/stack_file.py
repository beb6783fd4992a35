"""From `Pulumi.STACK.yaml` to checked settings, or to one message with everything that is wrong."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import pulumi
import yaml

from aws_access_keys.environment import aws_config_problems, ignored_tags, region
from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.problem import NAMESPACE, STACK_FILE, Problem
from aws_access_keys.setting_types import Text, read_section, settings_of
from aws_access_keys.settings import StackSettings
from aws_access_keys.validation import SettingsError, refuse, rule_problems

PULUMI_NAMES = ("config", "environment", "encryptionsalt", "encryptedkey", "secretsprovider")
"""What a stack file has beside `config`. Source: `ProjectStack` in Pulumi's `sdk/go/common/workspace/project.go`."""
_SETTINGS = settings_of(StackSettings)
_NAMES = frozenset(map(STACK_FILE, _SETTINGS))
_EMPTY = {
    "key": "null for a user without a key",
    "deliver": "null for a user whose key is not delivered",
    "secretsManager": "{} for a secret with the default name",
    "ssm": "{} for a parameter with the default name",
    "retireGuard": "null to switch the guard off",
    "rotation": "null for a key that is not rotated by date",
    "expires": "null for a key that does not expire",
    "allowFrom": "null for calls from any network",
}
"""Settings → what to write instead of nothing."""
_TEXTS = frozenset(STACK_FILE(name) for name, found in _SETTINGS.items() if isinstance(found.type, Text))
"""Settings whose value is text, such as a prefix "2024"."""


def stack_settings() -> StackSettings:
    """The settings of the running stack. Raises SettingsError, which names every problem at once."""
    config: dict[str, str] = pulumi.runtime.get_config_env() | pulumi.runtime.config.CONFIG.get()
    given = given_settings(config)
    given.pop(NAMESPACE, None)
    problems, in_file = [*_namespace_problems(config), *aws_config_problems(config)], list(_file_problems(given))
    if not given:
        refuse([*problems, *in_file], STACK_FILE)
        stack = pulumi.get_stack()
        raise SettingsError(
            f"The stack '{stack}' has no configuration: Pulumi.{stack}.yaml is missing or has no {NAMESPACE}: keys.\n"
            "The smallest one has a group and a user:\n"
            "config:\n"
            f"  {NAMESPACE}:groups: {{test: {{policies: [AmazonS3FullAccess]}}}}\n"
            f"  {NAMESPACE}:users: {{test-user: {{groups: [test]}}}}\n"
            f"If all its users have moved to another stack: {NAMESPACE}:allowNoUsers: true\n"
            "Nothing was created or changed."
        )
    settings, type_problems = read_section(StackSettings, given, STACK_FILE)
    wrong = {problem.path for problem in type_problems}
    problems += [problem for problem in in_file if problem.path not in wrong]
    problems += [*_clear_text_secrets(given), *type_problems]
    if settings:
        problems += rule_problems(settings, STACK_FILE, partition_of(region()), ignored_tags())
        problems += _output_problems(settings)
    refuse(problems, STACK_FILE)
    assert settings is not None, "settings that cannot be parsed have problems"
    return settings


def given_settings(config: Mapping[str, str]) -> dict[str, Any]:
    """What the stack file has under our namespace: {"groups": {...}, ...}."""
    prefix = f"{NAMESPACE}:"
    given: dict[str, Any] = {}
    for key, text in config.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            given[name] = text  # plain text stays text, and is refused where it is not expected
            if name not in _TEXTS:
                with suppress(json.JSONDecodeError, RecursionError):  # RecursionError: thousands of brackets
                    given[name] = json.loads(text)
    return given


def _namespace_problems(config: Mapping[str, str]) -> Iterator[Problem]:
    """Keys under another namespace that are meant for ours. Pulumi passes them on, but nobody reads them."""
    for key in config:
        namespace, _, name = key.rpartition(":")
        if name == NAMESPACE:
            text = f"settings nested under '{name}' are not read. Write {name}:groups, {name}:users and so on."
            yield Problem("config", text, is_absolute=True)
        if NAMESPACE in (namespace, name):
            continue
        # A key without a namespace gets that of the project, which can have keys of its own.
        own = namespace == pulumi.get_project()
        if name in _NAMES if own else get_close_matches(namespace.casefold(), [NAMESPACE], cutoff=0.8):
            yield Problem(key, f"this program does not read this key. Write {NAMESPACE}:{name}.", is_absolute=True)


def _file_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    """What the engine does not pass on: keys outside `config`, and how a name was written that YAML takes for a number.

    The file may not exist: the configuration can come from somewhere else (`pulumi up --config-file`).
    """
    project = _read_yaml(Path(pulumi.get_root_directory(), "Pulumi.yaml"))
    yield from _project_problems(project)
    folder = next((value.value for key, value in _pairs(project) if key.value == "stackConfigDir"), "")
    path = Path(pulumi.get_root_directory(), str(folder), f"Pulumi.{pulumi.get_stack()}.yaml")
    for key, value in _pairs(_read_yaml(path)):
        name = str(key.value)
        if name == "config":
            for config_key, settings in _pairs(value):
                namespace, _, setting = str(config_key.value).rpartition(":")
                if namespace in (NAMESPACE, "") and setting in given:
                    yield from _number_problems(setting, settings, given[setting])
                    yield from _empty_settings(setting, settings, given[setting])
                    if setting == "users":
                        yield from _clear_text_beside_encrypted(settings, given[setting])
        elif name in _NAMES or ":" in name:
            yield Problem(
                f"line {key.start_mark.line + 1}",
                f"'{name}' is outside 'config:', where Pulumi ignores it. Move it below 'config:' and indent it.",
                is_absolute=True,
            )
        elif name not in PULUMI_NAMES and get_close_matches(name.casefold(), ["config"]):
            yield Problem(
                f"line {key.start_mark.line + 1}",
                f"Pulumi ignores '{name}' and everything below it. Did you mean 'config'?",
                is_absolute=True,
            )


def _project_problems(project: "yaml.Node | None") -> Iterator[Problem]:
    """Settings of the project, which Pulumi passes on and the commands of access-keys do not know of."""
    for key in (key for name, value in _pairs(project) if name.value == "config" for key, _ in _pairs(value)):
        namespace, _, name = str(key.value).rpartition(":")
        # A key without a namespace gets that of the project.
        if namespace == NAMESPACE or (not namespace and name in _NAMES and pulumi.get_project() == NAMESPACE):
            yield Problem(
                f"Pulumi.yaml, line {key.start_mark.line + 1}",
                f"`access-keys` does not read '{key.value}' here. Move it to Pulumi.{pulumi.get_stack()}.yaml.",
                is_absolute=True,
                in_file=False,
            )


def _read_yaml(path: Path) -> "yaml.Node | None":
    """What is in a YAML file; None if it cannot be read."""
    try:
        return yaml.SafeLoader(path.read_text("utf-8-sig")).get_single_node()
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _number_problems(path: str, written: "yaml.Node", given: Any) -> Iterator[Problem]:
    """Unquoted names that arrive as another text, such as 0123 as 83. given: what arrived."""
    names = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    for key, value in _pairs(written):
        name = str(key.value)
        if name in names:
            yield from _number_problems(f"{path}.{name}", value, names[name])
        elif names and isinstance(key, yaml.ScalarNode) and key.style is None and re.match(r"[-+.0-9]", name):
            yield Problem(f"{path}.{name}", f"YAML reads this unquoted name as a number or a date. Write '{name}'.")


def _empty_settings(path: str, written: "yaml.Node", given: Any) -> Iterator[Problem]:
    """Settings that are empty, which is null to YAML: `key:` would delete the user's key.

    Somebody may have removed or commented out the last line below a setting. given: what arrived; something else where
    the file is not the one in use (`--config-file`).
    """
    if isinstance(written, yaml.ScalarNode) and written.style is None and not written.value and not given:
        name = path.rpartition(".")[2]
        form = _EMPTY.get(name, "null for the default")
        yield Problem(path, f"empty. Write {name}: {form}, or remove it.")
    for index, item in enumerate(written.value if isinstance(written, yaml.SequenceNode) else ()):
        if isinstance(given, list) and index < len(cast("list[Any]", given)):
            yield from _empty_settings(f"{path}[{index}]", item, given[index])
    for name, value in _pairs(written):
        if isinstance(given, dict) and name.value in given:
            yield from _empty_settings(f"{path}.{name.value}", value, given[name.value])


def _pairs(node: "yaml.Node | None") -> "list[tuple[yaml.Node, yaml.Node]]":
    """The names and values of a mapping, with those that `<<` merges into it; none of anything else."""
    if not isinstance(node, yaml.MappingNode):
        return []
    yaml.SafeLoader("").flatten_mapping(node)
    return node.value


def _output_problems(settings: StackSettings) -> list[Problem]:
    if "credentialsCsv" not in settings.outputs:
        return []
    return [
        Problem(
            f"users.{user}",
            "`aws configure import` splits the lines of credentialsCsv at commas, so a user name cannot contain one. "
            "Rename the user, or remove credentialsCsv from outputs.",
        )
        for user in settings.users
        if "," in user
    ]


def _clear_text_secrets(given: Mapping[str, Any]) -> list[Problem]:
    """Secrets that the file shows, whatever else is wrong with it."""
    users = given.get("users")
    if pulumi.runtime.is_config_secret(f"{NAMESPACE}:users") or not isinstance(users, dict):
        return []  # the engine knows of `users` as a whole that it has a secret
    return [
        _clear_text(name)
        for name, user in cast("dict[str, Any]", users).items()
        if _below(user, "key", "adopt", "secret") is not None
    ]


def _clear_text_beside_encrypted(users: "yaml.Node", given: Any) -> Iterator[Problem]:
    """The same where the engine knows that something in `users` is encrypted, but not what. given: what arrived."""
    if not pulumi.runtime.is_config_secret(f"{NAMESPACE}:users"):
        return
    for user, settings in _pairs(users):
        found = [settings]
        for name in ("key", "adopt", "secret"):
            found = [value for node in found for key, value in _pairs(node) if key.value == name]
        arrived = _below(given, user.value, "key", "adopt", "secret")
        if any(isinstance(node, yaml.ScalarNode) and arrived and node.value == arrived for node in found):
            yield _clear_text(user.value)


def _clear_text(user: str) -> Problem:
    return Problem(
        f"users.{user}.key.adopt.secret",
        "the secret is in this file in clear text. Remove it, and treat it as known to everyone who can read the file; "
        f"then set it encrypted: pulumi config set --secret --path '{NAMESPACE}:users.{user}.key.adopt.secret'",
    )


def _below(value: Any, *names: str) -> Any:
    """What a value has below names, where it is the right kind of mapping; else None."""
    for name in names:
        value = cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None
    return value
