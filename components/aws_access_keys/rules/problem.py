"""What a rule reports when it is broken, and how settings are spelled in it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

NAMESPACE = "aws-access-keys"


class Problem(NamedTuple):
    """One thing to fix.

    path: the setting, as its caller writes it, for example `users.test-user.groups[0]`.
    message: one sentence with the value, the limit or the known choices, and what to do.
    is_absolute: whether the path is complete, and gets no prefix: it is not one of our settings.
    in_file: whether a change of that setting helps.
    """

    path: str
    message: str
    is_absolute: bool = False
    in_file: bool = True


@dataclass(frozen=True)
class Spelling:
    """How a caller writes the names of settings."""

    camel_case: bool
    prefix: str = ""
    """What stands before the first name: `aws-access-keys:` in a stack file."""
    null: str | None = "null"
    """None where it can get lost: in Pulumi's Go SDK, on which YAML stands."""
    name_prefix: str = ""
    """What the names of users and groups begin with in IAM, and not in the settings."""

    def __call__(self, text: str, *names: str | int) -> str:
        """A text with every setting in it as the caller spells it; each `{}` stands for a name of the caller's.

        `users.{}.key.retire_guard`, `ann` → `users.ann.key.retireGuard`.
        """
        if self.camel_case:
            text = re.sub(r"(?<=[a-z])_([a-z])", lambda found: found[1].upper(), text)
        first, *others = (str(name) for name in names) if names else ("",)
        return text.format(first.removeprefix(self.name_prefix), *others) if names else text

    def off(self, name: str) -> str:
        """How a setting of a user or key is switched off."""
        return f"set {self(name)} to {self.null}" if self.null else f"add {self(name)} to without"


PYTHON = Spelling(camel_case=False, null="None")
OTHER_LANGUAGES = Spelling(camel_case=True, null=None)
STACK_FILE = Spelling(camel_case=True, prefix=f"{NAMESPACE}:")


def masked(text: str) -> str:
    """A text without what may be a secret access key: 40 letters, digits, `/` or `+`, of which some are digits,
    lower and upper case. Somebody may have put one in the wrong place.
    """
    return re.sub(
        r"(?<![A-Za-z0-9/+])(?=[A-Za-z/+0-9]*[a-z])(?=[A-Za-z/+0-9]*[A-Z])(?=[A-Za-z/+]*\d)[A-Za-z0-9/+]{40}"
        r"(?![A-Za-z0-9/+=])",
        "[secret]",
        text,
    )


def as_lines(problems: Sequence[Problem], spell: Spelling = PYTHON) -> str:
    """One indented line per problem: `  users.ann.key: ...`."""
    return masked(
        "\n".join(
            f"  {'' if problem.is_absolute else spell.prefix}{problem.path}: {problem.message}".replace("\n", r"\n")
            for problem in dict.fromkeys(problems)
        )
    )


def did_you_mean(word: str, choices: Sequence[str], fold: Callable[[str], str] = str.casefold) -> str:
    """` Did you mean 'x'?` for the choice nearest to `word`, both compared after `fold`, or nothing.

    A choice that `word` begins is nearer than one of similar letters.
    """
    by_folded = {fold(choice): choice for choice in choices}
    folded = fold(word)
    longer = sorted((choice for choice in by_folded if len(folded) > 2 and choice.startswith(folded)), key=len)
    near = longer[:1] or get_close_matches(folded, list(by_folded), n=1, cutoff=0.75 if len(word) > 6 else 0.6)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ""
