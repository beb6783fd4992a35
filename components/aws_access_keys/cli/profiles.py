"""One profile in the text of an AWS shared credentials file, put in so that every other byte stays as it is.

The text is understood as the AWS CLI and boto3 understand it, which is as Python's configparser does: names of options
in any case, `=` or `:`, values that go on in lines further in, comments on lines of their own.
Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from configparser import (
    DuplicateOptionError,
    DuplicateSectionError,
    Error,
    MissingSectionHeaderError,
    ParsingError,
    RawConfigParser,
)
from io import StringIO
from typing import Literal, NamedTuple

KEY_ID, SECRET = "aws_access_key_id", "aws_secret_access_key"
# The token of a temporary key; beside another key AWS refuses both. The second name is that of old tools.
TOKENS = ("aws_session_token", "aws_security_token")
# Settings that take precedence over a key in the same profile.
OVERRIDING_SETTINGS = ("role_arn", "web_identity_token_file", "sso_session", "sso_start_url")

_NAME = re.compile(r"[A-Za-z0-9_./%@:+=,-]+")
_SECTION = re.compile(r"\[(?P<name>.+)\]")


class ProfileError(ValueError):
    """A name or a text that AWS's tools cannot use. The message explains why and what to do, and quotes no value."""


class EditResult(NamedTuple):
    """The text of a credentials file with the profile in it."""

    text: str
    is_new: bool
    replaced: str | None
    """The key id that the profile had before: None for one without a key, empty for a secret without an id."""
    overriding: tuple[str, ...]
    """Settings of the profile that take precedence over its key."""


def profile_name_problem(name: str) -> str | None:
    """Why a profile cannot have this name, or None.

    Letters, digits and _-/.%@:+ are what every AWS SDK takes (source above); = and , occur in names of IAM users.
    """
    if not name:
        return "The name of a profile cannot be empty."
    if name == "DEFAULT":
        return "'DEFAULT' is not a profile: every profile would inherit its key. Did you mean 'default'?"
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a valid profile name. Use letters, digits and _ - . / % @ : + = , only."
    return None


def with_profile(text: str, profile: str, key_id: str, secret: str) -> EditResult:
    """The text with the key in the profile, whose other settings stay, as does all else.

    text: with the file's own line ends. Raises ProfileError.
    """
    problem = profile_name_problem(profile)
    if problem:
        raise ProfileError(problem)
    values = {KEY_ID: key_id, SECRET: secret}
    before = _parsed(text)
    lines = list(StringIO(text, newline=""))
    end = next((_end(line) for line in reversed(lines) if _end(line)), "\n")
    if lines and not _end(lines[-1]):
        lines[-1] += end
    if profile in before:
        lines = _with_values(lines, profile, values)
    else:
        gap = [end] if lines and lines[-1].strip() else []
        lines += [*gap, f"[{profile}]{end}", *(f"{name} = {value}{end}" for name, value in values.items())]
    edited = "".join(lines)
    _check(before, _parsed(edited), profile, values)
    had = before.get(profile, {})
    replaced = had.get(KEY_ID, "") if KEY_ID in had or SECRET in had else None
    overriding = tuple(name for name in OVERRIDING_SETTINGS if name in had)
    return EditResult(edited, profile not in before, replaced, overriding)


def _with_values(lines: Sequence[str], profile: str, values: Mapping[str, str]) -> list[str]:
    """The lines with the values at the top of the profile's section, instead of its old key and tokens."""
    result: list[str] = []
    header = 0
    inside = dropped = False  # dropped: the option, and the lines that go on with it, are left out
    for line, kind, name in _classify_lines(lines):
        if kind == "section":
            inside = name == profile
            header = len(result) + 1 if inside else header
        if kind in ("section", "option"):
            dropped = inside and kind == "option" and name in (*values, *TOKENS)
        if not dropped or kind == "other":
            result.append(line)
    # As far in as the next line: one further in than the line before it would be read as a part of that line's value.
    following = next((line for line, kind, _ in _classify_lines(result[header:]) if kind != "other"), "")
    indent = following[: len(following) - len(following.lstrip())]
    end = _end(result[header - 1])
    result[header:header] = [f"{indent}{name} = {value}{end}" for name, value in values.items()]
    return result


def _end(line: str) -> str:
    return line[len(line.rstrip("\r\n")) :]


_LineKind = Literal["section", "option", "continuation", "other"]


def _classify_lines(lines: Sequence[str]) -> Iterator[tuple[str, _LineKind, str]]:
    """Each line with what it is, and the name of a section or option; `other` is a comment or blank."""
    has_option, level = False, 0
    for line in lines:
        content = line.strip()
        if not content or content[0] in "#;":
            yield line, "other", ""
            continue
        indent = len(line) - len(line.lstrip())
        if has_option and indent > level:
            yield line, "continuation", ""
            continue
        level = indent
        section = _SECTION.match(content)
        has_option = section is None
        if section:
            yield line, "section", section["name"]
        else:
            yield line, "option", re.split("[=:]", content, maxsplit=1)[0].strip().lower()


def _parsed(text: str) -> dict[str, dict[str, str]]:
    """Section → its options, as the AWS CLI reads them; [DEFAULT] is in all of them."""
    if text.startswith("\ufeff"):
        raise ProfileError("AWS's own tools cannot read it: it begins with a byte order mark. Remove that first.")
    parser = RawConfigParser()
    try:
        parser.read_file(StringIO(text, newline=None))
    except Error as error:
        raise ProfileError(f"AWS's own tools cannot read it: {_place(error)}. Fix that first.") from None
    return {"DEFAULT": dict(parser.defaults()), **{name: dict(parser.items(name)) for name in parser.sections()}}


def _place(error: Error) -> str:
    """Where configparser stopped and why; its own words hold the line, which may be a secret."""
    if isinstance(error, DuplicateSectionError):
        return f"line {error.lineno} begins profile '{error.section}' a second time"
    if isinstance(error, DuplicateOptionError):
        return f"line {error.lineno} sets {error.option} of profile '{error.section}' a second time"
    if isinstance(error, MissingSectionHeaderError):
        return f"line {error.lineno} comes before the first profile"
    line = error.errors[0][0] if isinstance(error, ParsingError) else "?"
    return f"line {line} is neither a profile's name, nor a setting, nor a comment"


def _check(
    before: Mapping[str, Mapping[str, str]],
    after: Mapping[str, Mapping[str, str]],
    profile: str,
    values: Mapping[str, str],
) -> None:
    """Refuse an edit that AWS's tools would read as anything but the one that was asked for."""
    inherited = [name for name in TOKENS if name in before["DEFAULT"]]
    if inherited:
        raise ProfileError(
            f"its section [DEFAULT] sets {inherited[0]} for every profile, which makes AWS reject the key. "
            "Remove that first."
        )
    kept = {name: value for name, value in before.get(profile, before["DEFAULT"]).items() if name not in TOKENS}
    if dict(after) != {**before, profile: {**kept, **values}}:
        raise ProfileError(f"profile '{profile}' cannot be added without changing other profiles. Add it manually.")
