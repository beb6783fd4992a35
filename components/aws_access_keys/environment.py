"""What the stack's `aws:` configuration sets for the aws provider, for the program's own questions and checks."""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

import pulumi
from pulumi_aws import ProviderArgs, get_region

from aws_access_keys.rules.problem import OTHER_LANGUAGES, Problem
from aws_access_keys.session import region_or_default, roles_of

_ACCOUNT_IDS = r'\[\s*("\d{12}"\s*(,\s*"\d{12}"\s*)*)?\]'
_DEFAULT_PROVIDER = "pulumi:providers:aws::default_"


def region() -> str:
    """The AWS region; empty where neither the stack nor the environment names one."""
    return region_or_default(pulumi.Config("aws").get("region")) or ""


def region_problems(resources: Mapping[str, Any]) -> Iterator[Problem]:
    """A region other than that of the default provider in the state: Pulumi would replace the provider, and with it
    every user and key.

    resources: URN → `outputs` of each resource of the stack.
    """
    before = {found["outputs"].get("region") for urn, found in resources.items() if _DEFAULT_PROVIDER in urn} - {None}
    if before and region() not in before:
        old = " or ".join(sorted(before))
        now = f"the region is '{region()}'" if region() else "no region is set"
        yield Problem(
            "aws:region",
            f"{now}, but this stack was created in '{old}'. Pulumi would replace every user and "
            f"key. Restore aws:region: {old}; for another region, create another stack.",
            is_absolute=True,
        )


def provider_region(component: pulumi.Resource) -> str | None:
    """The region of a component's provider, which nobody is asked for; None where it is not known yet."""
    if component.get_provider("aws:index/getRegion:getRegion") is None:
        return region() or None
    try:
        return get_region(opts=pulumi.InvokeOptions(parent=component)).region
    except Exception:  # the SDK raises nothing more specific
        return None


def aws_config_problems(config: Mapping[str, str]) -> Iterator[Problem]:
    """Keys of the aws provider that are nearly right, which Pulumi ignores silently, and values of the wrong form.

    config: every key of the stack with its value as text. Source of the names: the provider's arguments.
    """
    known = {OTHER_LANGUAGES(name) for name in signature(ProviderArgs.__init__).parameters}
    for key, value in config.items():
        name = key.removeprefix("aws:")
        if name == key or name.partition(".")[0] in known:
            if name in ("allowedAccountIds", "forbiddenAccountIds") and not re.fullmatch(_ACCOUNT_IDS, value):
                yield Problem(key, f'expected a list of account ids, for example ["123456789012"], got {value}.', True)
            if name.partition(".")[0] == "assumeRoleWithWebIdentity":
                cure = "Set AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE in the environment, which both read."
                yield Problem(
                    key, f"the provider would use this role, but the program's own calls would not. {cure}", True
                )
            if name == "assumeRoles":
                try:
                    roles_of(value)
                except ValueError as error:
                    yield Problem(key, str(error), True)
            if key == "aws:region" and not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d+", value):
                yield Problem(key, f"'{value}' is not an AWS region. Write it like ap-northeast-2.", True)
        elif near := get_close_matches(name, known, n=1, cutoff=0.8):
            yield Problem(key, f"the aws provider does not read this key. Did you mean 'aws:{near[0]}'?", True)


def ignored_tags() -> list[str]:
    """The key prefixes under `aws:ignoreTags`. Whatever has another type is the provider's to refuse."""
    try:
        ignored: Any = json.loads(pulumi.Config("aws").get("ignoreTags") or "{}")
        prefixes: list[Any] = ignored["keyPrefixes"] if isinstance(ignored["keyPrefixes"], list) else []
        return [prefix for prefix in prefixes if isinstance(prefix, str) and prefix]
    except (json.JSONDecodeError, KeyError, TypeError):
        return []
