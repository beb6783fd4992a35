"""Names, paths and tags that IAM accepts.

Sources: IAM identifiers, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, and the
parameters of CreateGroup, CreateUser and TagUser in the IAM API reference.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from aws_access_keys.rules.limits import (
    GROUP_NAME_LENGTH,
    KEYS_PER_USER,
    PATH_LENGTH,
    TAG_KEY_LENGTH,
    TAG_VALUE_LENGTH,
    TAGS_PER_USER,
    USER_NAME_LENGTH,
)
from aws_access_keys.rules.problem import Problem

_NAME = re.compile(r"[A-Za-z0-9_+=,.@-]+")
_PATH = re.compile(r"/|/[!-~]+/")
_TAG = re.compile(r"[\w\s.:/=+@-]*")

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
                f"the {kind} name '{name}' has characters that IAM does not take: '{illegal}'. "
                "Use ASCII letters, digits and _+=,.@- only.",
            )
        if len(name) > limit:
            yield Problem(
                where, f"the {kind} name has {len(name)} characters, IAM takes {limit} at most. Choose a shorter one."
            )
    for alike in same.values():
        if len(alike) > 1:
            listed = " and ".join(f"'{name}'" for name in sorted(alike))
            yield Problem(
                f"{kind}s.{sorted(alike)[1]}",
                f"{listed} differ only in case, and to IAM they are the same {kind}. Keep one of them.",
            )


def path_problems(where: str, path: str) -> Iterator[Problem]:
    """Problems of an IAM path such as `/` or `/data/`."""
    if not _PATH.fullmatch(path) or len(path) > PATH_LENGTH:
        yield Problem(
            where,
            f"'{path}' is no IAM path. It starts and ends with '/', has no spaces, and is at most "
            f"{PATH_LENGTH} characters long, for example '/data/'.",
        )


def tag_problems(where: str, tags: Mapping[str, str], described: bool = False) -> Iterator[Problem]:
    """Problems of the tags that one user gets. described: the user's keys have a description, which is a tag each."""
    limit = TAGS_PER_USER - (KEYS_PER_USER if described else 0)
    if len(tags) > limit:
        less = f", and the descriptions of {KEYS_PER_USER} keys are among them" if described else ""
        yield Problem(
            where,
            f"{len(tags)} tags; IAM takes {TAGS_PER_USER} on a user at most{less}. Remove {len(tags) - limit} of them.",
        )
    seen: dict[str, str] = {}
    for key, value in tags.items():
        place = f"{where}.{key}"
        if not key or len(key) > TAG_KEY_LENGTH or not _TAG.fullmatch(key):
            yield Problem(
                place,
                f"'{key}' is no IAM tag key. Use 1 to {TAG_KEY_LENGTH} letters, digits, spaces and _.:/=+-@ signs.",
            )
        if key.lower().startswith("aws:"):
            yield Problem(place, f"tag keys that start with 'aws:' belong to AWS. Rename '{key}'.")
        if len(value) > TAG_VALUE_LENGTH or not _TAG.fullmatch(value):
            yield Problem(
                place,
                f"the value of tag '{key}' is no IAM tag value. Use at most {TAG_VALUE_LENGTH} letters, digits, "
                "spaces and _.:/=+-@ characters.",
            )
        if key.lower() in seen:
            yield Problem(place, f"'{seen[key.lower()]}' and '{key}' differ only in case. Keep one of them.")
        seen[key.lower()] = key


def stored_name(user: str, given: str | None, store: str) -> str:
    """The name under which a user's key lies in a store (`secretsManager` or `ssm`): as given, else after the user."""
    return given or ("/" if store == "ssm" else "") + f"access-keys/{user}"


_STORED = {
    "secretsManager": (re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}"), "letters, digits and /_+=.@-, 512 at most"),
    "ssm": (re.compile(r"[A-Za-z0-9/_.-]{1,1011}"), "letters, digits and /_.-, 1011 at most"),
}


def stored_name_problems(store: str, names: Mapping[str, str | None], places: Mapping[str, str]) -> Iterator[Problem]:
    """Problems of the names in a store.

    names: user → the name given for its key, None for the default. places: user → where that is said.
    Sources: CreateSecret and PutParameter in the API references.
    """
    taken: dict[str, str] = {}
    for user, given in names.items():
        name, where = stored_name(user, given, store), places[user]
        problem = _stored_name_problem(store, name)
        if problem and given is None:
            problem = (
                f"the default name for the key of '{user}' is made of the user's name: {problem} Give another here."
            )
        if problem:
            yield Problem(where, problem)
        if name in taken:
            yield Problem(
                where,
                f"'{name}' is the name for the keys of '{taken[name]}' and of '{user}', and one would overwrite the "
                "other. Give each user a name of its own under users.NAME.deliver, or none: the default is made of the "
                "user's name.",
            )
        taken.setdefault(name, user)


def _stored_name_problem(store: str, name: str) -> str | None:
    pattern, allowed = _STORED[store]
    if not pattern.fullmatch(name):
        return f"'{name}' is no name that the store takes. Use {allowed}."
    if store == "ssm" and name.lstrip("/").lower().startswith(("aws", "ssm")):
        return f"'{name}' starts with aws or ssm, which AWS keeps for itself in SSM. Choose another name."
    if store == "ssm" and "/" in name and not name.startswith("/"):
        return f"'{name}' has a path, so it must start with '/'. Write '/{name}'."
    return None
