"""From the stack's config to checked settings, or to one message with everything that is wrong."""

import json
import os
from collections.abc import Sequence
from typing import Any

import pulumi
from pydantic import ValidationError

from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.problem import Problem
from aws_access_keys.settings.check import Environment, check
from aws_access_keys.settings.day import read_day
from aws_access_keys.settings.shape import StackSettings
from aws_access_keys.settings.wording import finding

NAMESPACE = "aws-access-keys"


class SettingsError(pulumi.RunError):
    """The config cannot be used. A RunError, so that Pulumi shows its text and no traceback."""


def read_settings() -> tuple[StackSettings, Environment]:
    """The settings of the running stack. Raises SettingsError, which names every problem at once."""
    try:
        today = read_day()
    except ValueError as error:
        raise SettingsError(str(error)) from None
    region = pulumi.Config("aws").get("region") or os.environ.get("AWS_REGION", "")
    encrypted = pulumi.runtime.is_config_secret(f"{NAMESPACE}:users")
    environment = Environment(partition_of(region), region, _ignored_tags(), today, encrypted)
    given = _given()
    if not given:
        raise SettingsError(
            f"The stack '{pulumi.get_stack()}' has no configuration: {_file()} is missing or has no {NAMESPACE}: "
            "keys.\nThe least it needs is one group and one user:\n"
            f"  {NAMESPACE}:groups: {{test: {{policies: [AmazonS3FullAccess]}}}}\n"
            f"  {NAMESPACE}:users: {{test-user: {{groups: [test]}}}}\n"
            "Nothing was created."
        )
    try:
        settings = StackSettings.model_validate(given)
    except ValidationError as error:
        raise _refusal([finding(details) for details in error.errors()]) from None
    refuse(list(check(settings, environment)))
    return settings, environment


def refuse(problems: Sequence[Problem]) -> None:
    """Raise a SettingsError that names every problem, if there is one."""
    if problems:
        raise _refusal(problems)


def _file() -> str:
    return f"Pulumi.{pulumi.get_stack()}.yaml"


def _ignored_tags() -> list[str]:
    """The key prefixes under `aws:ignoreTags`. Whatever has another shape is the provider's to refuse."""
    try:
        ignored: Any = json.loads(pulumi.Config("aws").get("ignoreTags") or "{}")
        prefixes: list[Any] = ignored["keyPrefixes"]
        return [str(prefix) for prefix in prefixes]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []


def _given() -> dict[str, Any]:
    """What the stack says under our namespace, parsed: {"groups": {...}, ...}; unset and empty keys are left out."""
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


def _refusal(problems: Sequence[Problem]) -> SettingsError:
    problems = list(dict.fromkeys(problems))  # one mistake in keyDefaults is one problem, not one per user
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    lines = "\n".join(f"  {NAMESPACE}:{where}: {what}" for where, what in problems)
    return SettingsError(
        f"The configuration of stack '{pulumi.get_stack()}' has {count}:\n{lines}\n"
        f"Mend this in {_file()}. Nothing was created or changed."
    )
