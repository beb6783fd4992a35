"""What a rule says when it is broken."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing to mend.

    where: path of the value from the top, for example `users.test-user.groups[0]`.
    what: one sentence with the value, the limit or the known choices, and what to do.
    """

    where: str
    what: str


def as_lines(problems: Sequence[Problem]) -> str:
    """One indented line per problem: `  users.ann.key: ...`."""
    return "\n".join(f"  {where}: {what}" for where, what in problems)


def did_you_mean(word: str, choices: Sequence[str], fold: Callable[[str], str] = str.casefold) -> str:
    """` Did you mean 'x'?` for the choice nearest to `word`, both compared after `fold`, or nothing.

    A choice that `word` begins is nearer than one of similar letters.
    """
    by_folded = {fold(choice): choice for choice in choices}
    folded = fold(word)
    longer = sorted((choice for choice in by_folded if len(folded) > 2 and choice.startswith(folded)), key=len)
    near = longer[:1] or get_close_matches(folded, list(by_folded), n=1, cutoff=0.6)
    return f" Did you mean '{by_folded[near[0]]}'?" if near else ""
