"""From `Pulumi.STACK.yaml` to checked settings, or to one message with everything that is wrong."""

import json
from typing import Any

import pulumi

from aws_access_keys.environment import ignored_tags, region
from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.problem import NAMESPACE, STACK_FILE, Problem
from aws_access_keys.settings import StackSettings
from aws_access_keys.validation import SettingsError, parse, refuse, rule_problems


def stack_settings() -> StackSettings:
    """The settings of the running stack. Raises SettingsError, which names every problem at once."""
    file = f"Pulumi.{pulumi.get_stack()}.yaml"
    given = _config()
    if not given:
        raise SettingsError(
            f"The stack '{pulumi.get_stack()}' has no configuration: {file} is missing or has no {NAMESPACE}: keys.\n"
            "The smallest one has a group and a user:\n"
            "config:\n"
            f"  {NAMESPACE}:groups: {{test: {{policies: [AmazonS3FullAccess]}}}}\n"
            f"  {NAMESPACE}:users: {{test-user: {{groups: [test]}}}}\n"
            "Nothing was created."
        )
    settings, problems = parse(StackSettings, given, STACK_FILE)
    if settings:
        problems += rule_problems(settings, STACK_FILE, partition_of(region()), ignored_tags())
        problems += _output_problems(settings)
        problems += _clear_text_secrets(settings)
    refuse(problems, STACK_FILE)
    assert settings is not None, "settings that cannot be parsed have problems"
    return settings


def _config() -> dict[str, Any]:
    """What the stack file has under our namespace: {"groups": {...}, ...}; unset and empty keys are left out."""
    prefix = f"{NAMESPACE}:"
    raw = pulumi.runtime.get_config_env() | pulumi.runtime.config.CONFIG.get()
    given: dict[str, Any] = {}
    for key, text in raw.items():
        if key.startswith(prefix):
            try:
                value = json.loads(text)
            except json.JSONDecodeError:
                value = text  # plain text stays text, and is refused where a mapping is expected
            if value not in ({}, [], None):
                given[key.removeprefix(prefix)] = value
    return given


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


def _clear_text_secrets(settings: StackSettings) -> list[Problem]:
    if pulumi.runtime.is_config_secret(f"{NAMESPACE}:users"):
        return []  # the engine tells it of `users` as a whole
    return [
        Problem(
            f"users.{name}.key.adopt.secret",
            "the secret is in this file in clear text. Remove it, and treat it as known to everyone who can read the "
            "file; then set it encrypted: pulumi config set --secret --path "
            f"'{NAMESPACE}:users.{name}.key.adopt.secret'",
        )
        for name, user in settings.users.items()
        if user.key.adopt and user.key.adopt.secret is not None
    ]
