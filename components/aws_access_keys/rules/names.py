"""Names, paths and tags that IAM accepts.

Sources: IAM identifiers, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, and the
parameters of CreateGroup, CreateUser and TagUser in the IAM API reference.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aws_access_keys.rules.limits import (
    GROUP_NAME_LENGTH,
    KEYS_PER_USER,
    PATH_LENGTH,
    POLICY_NAME_LENGTH,
    TAG_KEY_LENGTH,
    TAG_VALUE_LENGTH,
    TAGS_PER_USER,
    USER_NAME_LENGTH,
)
from aws_access_keys.rules.problem import Problem

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]+")
_PATH = re.compile(r"/|/[!-~]+/")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,32}")  # valid in the secret stores as well
_TAG = re.compile(r"[\w .:/=+@-]*")

_LENGTHS = {"group": GROUP_NAME_LENGTH, "user": USER_NAME_LENGTH}


def name_problems(kind: str, names: Iterable[str]) -> Iterator[Problem]:
    """Problems of the names of all groups or all users of a stack; `kind` is `group` or `user`."""
    limit = _LENGTHS[kind]
    same: dict[str, list[str]] = defaultdict(list)
    for name in names:
        where = f"{kind}s.{name}"
        same[name.lower()].append(name)
        if not name:
            yield Problem(f"{kind}s", f"a {kind} has an empty name; give it one.")
        elif not _NAME.fullmatch(name):
            illegal = "".join(dict.fromkeys(c for c in name if not _NAME.fullmatch(c)))
            yield Problem(
                where,
                f"the {kind} name '{name}' has characters that IAM does not allow: '{illegal}'. "
                "Use only ASCII letters, digits and _+=,.@- characters.",
            )
        if len(name) > limit:
            yield Problem(
                where, f"the {kind} name has {len(name)} characters; IAM allows at most {limit}. Choose a shorter one."
            )
    for alike in same.values():
        if len(alike) > 1:
            listed = " and ".join(f"'{name}'" for name in sorted(alike))
            yield Problem(
                f"{kind}s.{sorted(alike)[1]}",
                f"{listed} differ only in case; to IAM they are the same {kind}. Keep one of them.",
            )


def prefix_problems(where: str, prefix: str, names: Mapping[str, Iterable[str]]) -> Iterator[Problem]:
    """Problems of the prefix of all names. names: setting (`users`, `groups`, policies) → the names in it."""
    if not _PREFIX.fullmatch(prefix):
        yield Problem(where, f"'{prefix}' is not a valid prefix. Use 1 to 32 ASCII letters, digits and _.- characters.")
        return
    for setting, found in names.items():
        limit = _LENGTHS.get(setting.removesuffix("s"), POLICY_NAME_LENGTH)
        for name in found:
            if len(name) <= limit < len(name) + len(prefix):
                text = f"with the prefix '{prefix}' the name has {len(name) + len(prefix)} characters"
                yield Problem(f"{setting}.{name}", f"{text}; IAM allows at most {limit}. Choose a shorter one.")


def policy_name_problems(where: str, names: Iterable[str]) -> Iterator[Problem]:
    """Problems of the names of policies that the stack creates. where: the setting that has them."""
    seen: dict[str, str] = {}
    for name in names:
        if not _NAME.fullmatch(name) or len(name) > POLICY_NAME_LENGTH:
            yield Problem(
                f"{where}.{name}" if name else where,
                f"'{name}' is not a valid policy name. Use 1 to {POLICY_NAME_LENGTH} ASCII letters, digits and "
                "_+=,.@- characters.",
            )
        if (same := name.casefold()) in seen:
            yield Problem(f"{where}.{name}", f"'{seen[same]}' and '{name}' are the same name to IAM. Keep one of them.")
        seen[same] = name


def path_problems(where: str, path: str) -> Iterator[Problem]:
    """Problems of an IAM path such as `/` or `/data/`."""
    if not _PATH.fullmatch(path) or len(path) > PATH_LENGTH:
        yield Problem(
            where,
            f"'{path}' is not a valid IAM path. A path starts and ends with '/', has no spaces and at most "
            f"{PATH_LENGTH} characters, for example '/data/'.",
        )


def tag_problems(where: str, tags: Mapping[str, str], described: bool = False) -> Iterator[Problem]:
    """Problems of the tags that one user gets. described: the user's keys have a description, which is a tag each."""
    limit = TAGS_PER_USER - (KEYS_PER_USER if described else 0)
    if len(tags) > limit:
        less = f", {KEYS_PER_USER} of which hold the descriptions of keys" if described else ""
        yield Problem(
            where,
            f"{len(tags)} tags; IAM allows at most {TAGS_PER_USER} on a user{less}. Remove {len(tags) - limit}.",
        )
    seen: dict[str, str] = {}
    for key, value in tags.items():
        place = f"{where}.{key}"
        if not key or len(key) > TAG_KEY_LENGTH or not _TAG.fullmatch(key):
            yield Problem(
                place,
                f"'{key}' is not a valid tag key. Use 1 to {TAG_KEY_LENGTH} letters, digits, spaces and _.:/=+-@ "
                "characters.",
            )
        if key.lower().startswith("aws:"):
            yield Problem(place, f"tag keys that start with 'aws:' belong to AWS. Rename '{key}'.")
        yield from tag_value_problems(place, value)
        if key.lower() in seen:
            yield Problem(place, f"'{seen[key.lower()]}' and '{key}' differ only in case. Keep one of them.")
        seen[key.lower()] = key


def tag_value_problems(where: str, value: str) -> Iterator[Problem]:
    """Problems of the value of a tag."""
    if len(value) > TAG_VALUE_LENGTH or not _TAG.fullmatch(value):
        yield Problem(
            where,
            f"the value is not valid for a tag. Use at most {TAG_VALUE_LENGTH} letters, digits, spaces and _.:/=+-@ "
            "characters.",
        )


def stored_name(user: str, given: str | None, store: str) -> str:
    """The name under which a user's key lies in a store (`secrets_manager` or `ssm`): as given, else after the user."""
    return given or ("/" if store == "ssm" else "") + f"access-keys/{user}"


_SSM_LEVELS = 15  # PutParameter in the Systems Manager API reference
_STORED = {
    "secrets_manager": (re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}"), "at most 512 letters, digits and /_+=.@- characters"),
    "ssm": (re.compile(r"[A-Za-z0-9/_.-]{1,1011}"), "at most 1011 letters, digits and /_.- characters"),
}


def stored_name_problems(store: str, names: Mapping[str, str | None], places: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of the names in a store.

    names: user → the name given for its key, None for the default. places: user → the setting.
    Sources: CreateSecret and PutParameter in the API references.
    """
    taken: dict[str, tuple[str, str]] = {}
    for user, given in names.items():
        name, where = stored_name(user, given, store), places[user]
        problem = _stored_name_problem(store, name)
        if problem and given is None:
            problem = f"the default name is derived from the user name '{user}': {problem} Set another name here."
        if problem:
            yield Problem(where, problem)
        other, taken_name = taken.setdefault(name.removeprefix("/"), (user, name))
        if other != user:
            what = f"'{name}' is the name for both '{other}' and '{user}', so one key would overwrite the other"
            if name != taken_name:  # the names of the resources in the state have no `/` at the start
                what = f"'{name}' differs from '{taken_name}' of '{other}' only in the '/' at the start"
            yield Problem(
                where,
                f"{what}. Give each user a different name under users.NAME.deliver, or omit it; the default includes "
                "the user name.",
            )


def _stored_name_problem(store: str, name: str) -> str | None:
    pattern, allowed = _STORED[store]
    if not pattern.fullmatch(name):
        return f"'{name}' is not a valid name in this store. Use {allowed}."
    if store == "ssm" and name.lstrip("/").lower().startswith(("aws", "ssm")):
        return f"'{name}' starts with aws or ssm, which AWS reserves in SSM. Choose another name."
    if store == "ssm" and "/" in name and not name.startswith("/"):
        return f"'{name}' has a path, so it must start with '/'. Write '/{name}'."
    if store == "ssm" and (name.endswith("/") or "//" in name or name.count("/") > _SSM_LEVELS):
        cure = "Use fewer levels, no empty ones and no trailing '/'."
        return f"'{name}' has an empty level or more than {_SSM_LEVELS} levels. {cure}"
    return None


DESCRIPTION = "Access key of IAM user {}"
"""The description of the secret or parameter that a stack creates for a user."""


def described_user(store: Mapping[str, Any], users: Iterable[str]) -> str | None:
    """The user among these for whom a secret or parameter was created, by its description. store: what AWS or the state
    has of it."""
    description = store.get("description", store.get("Description"))
    return next((user for user in users if DESCRIPTION.format(user) == description), None)


_WHERE = {
    "secretsManager": "the secret '{}' in Secrets Manager",
    "existingSecret": "the secret '{}' in Secrets Manager",
    "ssm": "the parameter '{}' in SSM",
    "command": "the command '{}'",
}


def in_words(to: Mapping[str, Any]) -> str:
    """Where a key is delivered to, for people. to: kind of the store → name; `command` → its arguments."""
    names = {kind: name[0] if kind == "command" else name for kind, name in to.items()}
    return " and ".join(_WHERE[kind].format(name) for kind, name in names.items())
