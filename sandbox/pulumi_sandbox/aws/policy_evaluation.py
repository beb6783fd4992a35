"""Whether IAM policy documents allow a request: AWS's evaluation of identity-based policies.

moto's own evaluation ignores most condition operators, NotResource and the case rules, so it would let through what AWS
refuses and the other way round. Rules: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements". A
condition key that the sandbox does not know counts as absent from the request.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from functools import lru_cache
from typing import Any


class Verdict(Enum):
    """What a set of policies decides on a request."""

    ALLOWED = "allowed"
    DENIED = "explicitly denied"
    SILENT = "not mentioned"


@dataclass(frozen=True)
class AccessRequest:
    """An action (`iam:CreateUser`) on a resource (an ARN or `*`) with its condition keys, names in lower case."""

    action: str
    resource: str = "*"
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])


def evaluate(documents: Iterable[str], access: AccessRequest) -> Verdict:
    """An explicit deny wins over any allow; without either the request is not allowed."""
    return decide(documents, access)[0]


def decide(documents: Iterable[str], access: AccessRequest) -> tuple[Verdict, list[tuple[int, int]]]:
    """The same, with the statements that decided: index of the document and of the statement in it, from 0."""
    found: dict[str, list[tuple[int, int]]] = {"Allow": [], "Deny": []}
    for number, document in enumerate(documents):
        for index, statement in enumerate(_statements(document)):
            if _applies(statement, access):
                found["Deny" if statement.get("Effect") == "Deny" else "Allow"].append((number, index))
    if found["Deny"]:
        return Verdict.DENIED, found["Deny"]
    return (Verdict.ALLOWED if found["Allow"] else Verdict.SILENT), found["Allow"]


def of_principals(document: str, allowed: Collection[str], denied: Collection[str]) -> str:
    """The statements of a resource-based policy that are about a caller, under the names that count for each effect."""
    names = {"Allow": allowed, "Deny": denied}

    def is_about(statement: Mapping[str, Any]) -> bool:
        principal = statement.get("Principal", {})
        listed = _list(principal.get("AWS", []) if isinstance(principal, dict) else principal)
        return bool(set(listed) & set(names[statement["Effect"]]))

    return json.dumps({"Statement": [statement for statement in _statements(document) if is_about(statement)]})


def condition_keys(document: str) -> list[str]:
    """The names of the condition keys in the conditions of a document."""
    conditions = [statement.get("Condition", {}) for statement in _statements(document)]
    return list(dict.fromkeys(key for condition in conditions for keys in condition.values() for key in keys))


@lru_cache(maxsize=4096)
def _statements(document: str) -> tuple[dict[str, Any], ...]:
    return tuple(_list(json.loads(document).get("Statement", [])))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _applies(statement: Mapping[str, Any], access: AccessRequest) -> bool:
    return (
        _element(statement, "Action", access.action, access, ignore_case=True)
        and _element(statement, "Resource", access.resource, access, ignore_case=False)
        and all(
            _condition(operator, key, _list(values), access)
            for operator, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )


def _element(statement: Mapping[str, Any], name: str, value: str, access: AccessRequest, *, ignore_case: bool) -> bool:
    if f"Not{name}" in statement:
        return not any(_like(str(p), value, access, ignore_case) for p in _list(statement[f"Not{name}"]))
    return any(_like(str(p), value, access, ignore_case) for p in _list(statement.get(name, [])))


@lru_cache(maxsize=4096)
def _pattern(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    flags = re.DOTALL | (re.IGNORECASE if ignore_case else re.RegexFlag(0))
    return re.compile("".join(wild.get(letter) or re.escape(letter) for letter in pattern), flags)


def _like(pattern: str, value: str, access: AccessRequest, ignore_case: bool = False) -> bool:
    return _pattern(_with_variables(pattern, access), ignore_case).fullmatch(value) is not None


def _with_variables(text: str, access: AccessRequest) -> str:
    """`text` with ${aws:username} and other variables replaced by the request's values."""
    if "${" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        name, _, default = match.group(1).partition(",")
        if name in ("*", "?", "$"):
            return name
        values = access.context.get(name.strip().lower())
        return values[0] if values else default.strip().strip("'") or match.group(0)

    return re.sub(r"\$\{([^}]*)\}", value, text)


# ---- conditions


def _number(test: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda have, want: test(float(have), float(want))


def _date(test: Callable[[float, float], bool]) -> Callable[[str, str], bool]:
    return lambda have, want: test(_seconds(have), _seconds(want))


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _in_network(have: str, want: str) -> bool:
    return ipaddress.ip_address(have) in ipaddress.ip_network(want, strict=False)


def _wild(have: str, want: str) -> bool:
    return _pattern(want, False).fullmatch(have) is not None


# Test of one value of the request against one value of the policy. "Not…" operators are their negations.
OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda have, want: have == want,
    "StringEqualsIgnoreCase": lambda have, want: have.lower() == want.lower(),
    "StringLike": _wild,
    "NumericEquals": _number(lambda have, want: have == want),
    "NumericLessThan": _number(lambda have, want: have < want),
    "NumericLessThanEquals": _number(lambda have, want: have <= want),
    "NumericGreaterThan": _number(lambda have, want: have > want),
    "NumericGreaterThanEquals": _number(lambda have, want: have >= want),
    "DateEquals": _date(lambda have, want: have == want),
    "DateLessThan": _date(lambda have, want: have < want),
    "DateLessThanEquals": _date(lambda have, want: have <= want),
    "DateGreaterThan": _date(lambda have, want: have > want),
    "DateGreaterThanEquals": _date(lambda have, want: have >= want),
    "Bool": lambda have, want: have.lower() == want.lower(),
    "BinaryEquals": lambda have, want: have == want,
    "IpAddress": _in_network,
    "ArnEquals": _wild,
    "ArnLike": _wild,
}
NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _condition(operator: str, key: str, wanted: list[Any], access: AccessRequest) -> bool:
    have = access.context.get(key.lower())
    quantifier, _, name = operator.rpartition(":")
    if name == "Null":
        return (have is None) == (str(wanted[0]).lower() == "true")
    if_exists = name.endswith("IfExists")
    name = name.removesuffix("IfExists")
    negated = name in NEGATIONS
    test = OPERATORS.get(NEGATIONS.get(name, name))
    if test is None:
        return False
    if have is None:
        return if_exists or negated or quantifier == "ForAllValues"
    values = [_with_variables(_text(value), access) for value in wanted]

    def matches(value: str) -> bool:
        return any(_holds(test, value, want) for want in values) != negated

    return all(map(matches, have)) if quantifier == "ForAllValues" else any(map(matches, have))


def _holds(test: Callable[[str, str], bool], have: str, want: str) -> bool:
    try:
        return test(have, want)
    except ValueError:  # not a number, date or network: no match, as in AWS
        return False


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
