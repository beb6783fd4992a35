"""The types of settings: how a value of each type is read from what a caller gave, and described to editors.

Every problem is collected with its location. This package reads settings itself, because that loads in milliseconds (a
validation library takes a tenth of a preview) and because the messages are part of the product.
"""

import dataclasses
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import pulumi
from typing_extensions import Self

from aws_access_keys.rules.problem import OTHER_LANGUAGES, PYTHON, Problem, Spelling, did_you_mean

Schema = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a value stands in what the caller gave, and the problems found so far."""

    path: str
    spell: Spelling
    problems: list[Problem]
    root: "type[Section]"
    hides_values: bool = False
    """Whether a value may be a secret that was put in the wrong place."""

    def below(self, name: object) -> "Place":
        """The place of a name in the mapping, or of an index in the list, at this place."""
        path = f"{self.path}.{name}".removeprefix(".") if isinstance(name, str) else f"{self.path}[{name}]"
        return dataclasses.replace(self, path=path)

    def refuse(self, message: str) -> None:
        """Add a problem of this place."""
        self.problems.append(Problem(self.path, message))

    def expected(self, what: str, given: object, cure: str = "") -> None:
        """Add the problem that something else was given."""
        shown = "a value that is not shown" if self.hides_values and given is not None else _shown(given, self.spell)
        self.refuse(f"expected {what}, got {shown}.{cure}")


def _shown(value: object, spell: Spelling) -> str:
    """A value as the caller wrote it, shortened."""
    if value is None:
        return spell.null or "null"
    if isinstance(value, bool):
        return str(value) if spell == PYTHON else str(value).lower()
    if isinstance(value, str):
        return "an empty value" if not value else f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'"
    if isinstance(value, (Mapping, list, tuple)):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    return str(value) if isinstance(value, (int, float, date)) else f"a value of type {type(value).__name__}"


@dataclass(frozen=True)
class SettingType(ABC):
    """One type of values."""

    later: bool = False
    """Whether the value may become known later (a Pulumi Output): it is checked when it is known."""
    later_cure: ClassVar[str] = ""
    """What to do with a value that is not known yet and has to be."""

    def read(self, given: object, place: Place) -> Any:
        """The value that was given; after a problem, anything."""
        if not isinstance(given, (pulumi.Output, Awaitable)):
            return self.read_known(given, place)
        if not self.later:
            cure = place.spell(self.later_cure)
            return place.refuse(f"expected a value that is known when the program runs, got an Output.{cure}")
        return given  # pyright: ignore[reportUnknownVariableType] - of whatever type

    @abstractmethod
    def read_known(self, given: object, place: Place) -> Any:
        """The same for a value that is known."""

    @abstractmethod
    def schema(self) -> Schema:
        """Its JSON schema, in camelCase."""


class Text(SettingType):
    """Any text."""

    def read_known(self, given: object, place: Place) -> Any:
        if isinstance(given, str):
            return given
        return place.expected("text", given, " Put it in quotes." if isinstance(given, (int, float)) else "")

    def schema(self) -> Schema:
        return {"type": "string"}


class GrantText(Text):
    """A text that goes into a policy of ours."""

    later_cure = " For one that is known later, create the policy in the program and list it below policy_arns."


def file_content(given: str) -> bytes:
    """What is in a file given as `file:PATH`, relative to the program. Raises OSError, which says what to correct."""
    path = Path(given.removeprefix("file:"))
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot read '{path}' in {Path.cwd()}: {error.strerror}. Correct the path.") from None


class PolicyDocument(SettingType):
    """A policy document: a mapping, JSON text, or `file:PATH` of a JSON file, relative to the program."""

    later_cure = " For one that is known later, create the policy in the program and list it below policy_arns."

    def read_known(self, given: object, place: Place) -> Any:
        document = given
        if isinstance(given, str):
            try:
                document = json.loads(file_content(given) if given.startswith("file:") else given)
            except OSError as error:
                return place.refuse(str(error))
            except ValueError as error:  # not JSON, or not UTF-8
                return place.refuse(
                    f"expected a policy document as JSON, or file:PATH of one, but this is not valid JSON: {error}."
                )
        if not isinstance(document, Mapping):
            return place.expected("a policy document {Version, Statement}, or file:PATH of one", document)
        return self._plain(cast("object", document), place)

    def _plain(self, value: object, place: Place) -> Any:
        """A part of a document as JSON has it. An unquoted date arrives as a time at midnight, a number as a float."""
        if isinstance(value, Mapping):
            parts = cast("Mapping[Any, object]", value).items()
            return {str(name): self._plain(item, place.below(str(name))) for name, item in parts}
        if isinstance(value, (list, tuple)):
            return [self._plain(item, place.below(n)) for n, item in enumerate(cast("Sequence[object]", value))]
        if isinstance(value, str):
            return value.removesuffix(" 00:00:00 +0000 UTC")
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, pulumi.Output):
            return self.read(cast("object", value), place)
        if not isinstance(value, (bool, int, float, type(None))):
            return place.expected("what JSON can express", value)
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "object"}, {"type": "string"}]}


class PolicyName(Text):
    """The name or the ARN of a managed policy."""

    later_cure = " An ARN that is known later belongs below the policy_arns of a group."

    def read_known(self, given: object, place: Place) -> Any:
        if isinstance(given, Mapping):
            cure = " Put the document below policy_documents, and list its name here."
            return place.expected("the name or ARN of a managed policy", cast("object", given), place.spell(cure))
        return super().read_known(given, place)


class Flag(SettingType):
    """True or false."""

    def read_known(self, given: object, place: Place) -> Any:
        return given if isinstance(given, bool) else place.expected("true or false", given)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class WholeNumber(SettingType):
    """A whole number within limits. Numbers of other languages arrive as floats."""

    least: int = 0
    most: int | None = None

    def read_known(self, given: object, place: Place) -> Any:
        if isinstance(given, bool) or not (isinstance(given, int) or (isinstance(given, float) and given.is_integer())):
            return place.expected("a whole number", given)
        number = int(given)
        if number < self.least:
            return place.expected(f"{self.least} or more", number)
        if self.most is not None and number > self.most:
            return place.expected(f"{self.most} or less", number)
        return number

    def schema(self) -> Schema:
        limits = {"minimum": self.least} | ({} if self.most is None else {"maximum": self.most})
        return {"type": "integer", **limits}


class Day(SettingType):
    """A day as text or, from Python, as a date; an unquoted date in a stack file arrives as a time at midnight."""

    FIRST, LAST = date(2000, 1, 1), date(2999, 12, 31)

    def read_known(self, given: object, place: Place) -> Any:
        day = given
        if isinstance(given, str):
            found = re.fullmatch(r"(\d{4}-\d{2}-\d{2})( 00:00:00 \+0000 UTC)?", given)
            try:
                day = date.fromisoformat(found[1]) if found else None
            except ValueError:  # a day that does not exist
                day = None
        if type(day) is not date:
            return place.expected("a date such as 2026-12-01 (YYYY-MM-DD)", given)
        if not self.FIRST <= day <= self.LAST:
            return place.expected(f"{self.FIRST} or later" if day < self.FIRST else f"{self.LAST} or earlier", day)
        return day

    def schema(self) -> Schema:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True)
class Choice(SettingType):
    """One of some words, in any case: AWS writes `Active`, people write `active`."""

    choices: tuple[str, ...] = ()

    def read_known(self, given: object, place: Place) -> Any:
        found = [choice for choice in self.choices if isinstance(given, str) and choice.casefold() == given.casefold()]
        if found:
            return found[0]
        *others, last = (f"'{choice}'" for choice in self.choices)
        return place.expected(f"{', '.join(others)} or {last}", given)

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.choices)}


_TEXT = Text()


@dataclass(frozen=True)
class ListOf(SettingType):
    """A list of values of one type."""

    item: SettingType = _TEXT
    example: str = ""

    def read_known(self, given: object, place: Place) -> Any:
        if not isinstance(given, (list, tuple)):
            return place.expected(f"a list, for example {self.example}", given)
        items = cast("Sequence[object]", given)
        return [self.item.read(value, place.below(index)) for index, value in enumerate(items)]

    def read(self, given: object, place: Place) -> Any:
        if isinstance(given, pulumi.Output):
            return self.item.read(cast("object", given), place)
        return super().read(given, place)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema()}


@dataclass(frozen=True)
class MapOf(SettingType):
    """A mapping of names of the caller's choice to values of one type."""

    item: SettingType = _TEXT
    example: str = ""

    def read_known(self, given: object, place: Place) -> Any:
        if not isinstance(given, Mapping):
            return place.expected(f"a mapping, for example {place.spell(self.example)}", given)
        read: dict[str, Any] = {}
        for name, value in cast("Mapping[Any, object]", given).items():
            if isinstance(name, str):
                read[name] = self.item.read(value, place.below(name))
            else:
                _TEXT.read(name, place.below(name))
        return read

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.item.schema()}


_REQUIRED: Any = object()


class Setting(NamedTuple):
    """One setting of a section: a value of a type, under a name."""

    type: SettingType
    description: str
    default: Any = _REQUIRED
    example: str = ""
    can_be_null: bool = False

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is _REQUIRED

    def schema(self) -> Schema:
        """Its JSON schema with description and default."""
        shown = {"description": self.description}
        schema = self.type.schema()
        if self.can_be_null:
            return shown | {"anyOf": [schema, {"type": "null"}]}
        return schema | shown | ({"default": self.default} if isinstance(self.default, (bool, int, str)) else {})


def setting(
    kind: SettingType,
    description: str,
    *,
    default: Any = _REQUIRED,
    example: str = "",
    can_be_null: bool = False,
) -> Any:
    """A setting of a section. One whose default is None can be given as None; one without default is required."""
    return Setting(kind, description, default, example, can_be_null or default is None)


class Section:
    """A mapping with settings of certain names, which are attributes. Not to be changed."""

    example = ""
    """What an error message shows where something else than a mapping is given."""

    def __init__(self, **given: Any) -> None:
        """given: the settings that the caller gave; the others have their defaults."""
        self.given = frozenset(given)
        assert self.given <= settings_of(type(self)).keys(), f"{type(self).__name__} has no such setting: {given}"
        defaults = {name: found.default for name, found in settings_of(type(self)).items() if not found.is_required}
        self.__dict__.update(defaults | given)

    def but(self, **changes: Any) -> Self:
        """The same with other settings, which count as given."""
        given = {name: getattr(self, name) for name in self.given}
        return type(self)(**given | changes)


@cache
def settings_of(section: type[Section]) -> dict[str, Setting]:
    """The settings of a section by their names in snake_case."""
    members = [member for base in reversed(section.__mro__) for member in vars(base).items()]
    return {name: value for name, value in members if isinstance(value, Setting)}


@dataclass(frozen=True)
class Nested(SettingType):
    """A section below a setting."""

    section: type[Section] = Section
    hides_values: bool = False

    def read_known(self, given: object, place: Place) -> Any:
        spell = place.spell
        if self.hides_values:
            place = dataclasses.replace(place, hides_values=True)
        settings = {spell(name): name for name in settings_of(self.section)}
        if not isinstance(given, Mapping):
            name = place.path.rpartition(".")[2]
            cure = f" Should '{name}' be one level deeper?" if name in settings else ""
            example = f", for example {spell(self.section.example)}" if self.section.example else ""
            return place.expected(f"a mapping{example}", given, cure)
        mapping = cast("Mapping[str, object]", given)
        unknown = [str(name) for name in mapping if name not in settings]
        cures = {name: _elsewhere(place.root, name, spell) or _near(name, list(settings)) for name in unknown}
        read: dict[str, Any] = {}
        for spelled, name in settings.items():
            where, found = place.below(spelled), settings_of(self.section)[name]
            if spelled in mapping:
                value = mapping[spelled]
                is_null = value is None and found.can_be_null
                read[name] = None if is_null else found.type.read(value, where)
            elif found.is_required and not any(f"'{spelled}'" in cure for cure in cures.values()):
                # A mistyped name is one mistake, though it leaves the right name missing.
                where.refuse(f"missing. Add it, for example {spelled}: {found.example}.")
        self._switch_off(read, settings, place)
        for name, cure in cures.items():
            place.below(name).refuse(f"unknown name. Known names: {', '.join(sorted(settings))}.{cure}")
        return None if place.problems else self.section(**read)

    def _switch_off(self, read: dict[str, Any], settings: Mapping[str, str], place: Place) -> None:
        """Read what is named under `without` as if it were null. settings: as the caller spells them → name."""
        found = settings_of(self.section)
        can_be_off = {spelled: name for spelled, name in settings.items() if found[name].can_be_null}
        for index, spelled in enumerate(read.get("without") or ()):
            where = place.below("without").below(index)
            if spelled not in can_be_off:
                known = list(can_be_off)
                where.refuse(f"'{spelled}' is none of: {', '.join(known)}.{did_you_mean(spelled, known)}")
            elif read.get(can_be_off[spelled]) is not None:
                where.refuse(f"'{spelled}' is specified, too. Remove it here or there.")
            else:
                read[can_be_off[spelled]] = None

    def schema(self) -> Schema:
        settings = settings_of(self.section)
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": {OTHER_LANGUAGES(name): found.schema() for name, found in settings.items()},
            "required": [OTHER_LANGUAGES(name) for name, found in settings.items() if found.is_required],
        }


@dataclass(frozen=True)
class NestedOrText(Nested):
    """A section that can also be written as text: the values of some of its settings, separated by spaces."""

    words: tuple[str, ...] = ()

    def read_known(self, given: object, place: Place) -> Any:
        if isinstance(given, Mapping):
            return super().read_known(cast("object", given), place)
        values = given.split() if isinstance(given, str) else []
        if 0 < len(values) <= len(self.words):
            return super().read_known(dict(zip(self.words, values, strict=False)), place)
        forms = [" ".join(self.words[: count + 1]).upper() for count in range(len(self.words))]
        return place.expected(f"{', '.join(forms)} or a mapping", given)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "string"}, super().schema()]}


def _near(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, lambda word: re.sub("ies$", "y", word.casefold()).removesuffix("s"))


def _elsewhere(section: type[Section], name: str, spell: Spelling) -> str:
    """Where a name belongs that was given at the wrong place."""
    places = sorted(_places(section, name, spell))
    return f" Write it as {' or '.join(places)}." if places else ""


def _places(section: type[Section], name: str, spell: Spelling, path: str = "") -> Iterator[str]:
    """Where there is a setting of a name in a section and below; NAME stands for a name of the caller's."""
    for own, found in settings_of(section).items():
        place = f"{path}{spell(own)}"
        if spell(own) == name:
            yield place
        kind = found.type
        while isinstance(kind, (ListOf, MapOf)):
            kind, place = kind.item, f"{place}.NAME" if isinstance(kind, MapOf) else f"{place}[]"
        if isinstance(kind, Nested):
            yield from _places(kind.section, name, spell, f"{place}.")


Read = TypeVar("Read", bound=Section)


def read_section(section: type[Read], given: object, spell: Spelling) -> "tuple[Read | None, list[Problem]]":
    """The settings in a mapping, or the problems of their names and types."""
    problems: list[Problem] = []
    if not isinstance(given, Mapping):
        Place("args", spell, problems, section).expected("a mapping", given)
        return None, problems
    read = Nested(section=section).read(cast("object", given), Place("", spell, problems, section))
    return read, problems
