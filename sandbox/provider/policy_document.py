"""getPolicyDocument: statements and other documents put together to one policy document."""

import json
import zlib
from typing import Any

from . import documents
from .values import ProviderError, State

_CURRENT_VERSION = "2012-10-17"
# A statement's lists in the function's words and in the document's, in the document's order.
_LISTS = {"actions": "Action", "notActions": "NotAction", "resources": "Resource", "notResources": "NotResource"}
_PRINCIPALS = {"principals": "Principal", "notPrincipals": "NotPrincipal"}
_ORDER = ("Sid", "Effect", *_LISTS.values(), *_PRINCIPALS.values(), "Condition")


def render(arguments: State) -> State:
    """The answer of getPolicyDocument. Raises ProviderError where the parts do not go together."""
    version = arguments.get("version") or _CURRENT_VERSION
    given = [_completed(statement) for statement in arguments.get("statements") or []]
    own: State = {"Id": arguments.get("policyId"), "Statement": [_statement(statement, version) for statement in given]}
    _refuse_doubles(own["Statement"], "statements")
    document: State = {"Id": None, "Statement": []}
    for source in _parsed(arguments, "sourcePolicyDocuments"):
        _refuse_doubles(document["Statement"] + source["Statement"], "sourcePolicyDocuments")
        document = _merged(document, source)
    for override in (own, *_parsed(arguments, "overridePolicyDocuments")):
        document = _merged(document, override)
    whole = {"Version": version, **{key: value for key, value in document.items() if value}}
    text = documents.as_go_writes(json.dumps(whole, indent=2, ensure_ascii=False))
    small = documents.as_go_writes(json.dumps(whole, separators=(",", ":"), ensure_ascii=False))
    return {
        **arguments,
        "statements": given or None,
        "version": version,
        "json": text,
        "minifiedJson": small,
        "id": str(zlib.crc32(text.encode())),
    }


def _parsed(arguments: State, key: str) -> list[State]:
    found: list[State] = []
    for place, text in enumerate(arguments.get(key) or []):
        if not text:
            continue
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ProviderError(f"{key}[{place}] is no JSON: {error}") from None
        statements = document.get("Statement", []) if isinstance(document, dict) else None
        if not isinstance(statements, list):
            raise ProviderError(f"{key}[{place}] is no policy document with a list of statements")
        found.append({"Id": document.get("Id"), "Statement": [_source_statement(part) for part in statements]})
    return found


def _refuse_doubles(statements: list[State], where: str) -> None:
    sids = [statement["Sid"] for statement in statements if statement.get("Sid")]
    for sid in sids:
        if sids.count(sid) > 1:
            raise ProviderError(f"the Sid {sid!r} stands more than once in {where}; make it unique or leave it out")


def _merged(document: State, more: State) -> State:
    """A statement replaces the one of the same Sid; others are added."""
    statements: list[State] = list(document["Statement"])
    for statement in more["Statement"]:
        sid = statement.get("Sid")
        place = next((i for i, other in enumerate(statements) if sid and other.get("Sid") == sid), None)
        if place is None:
            statements.append(statement)
        else:
            statements[place] = statement
    return {"Id": more["Id"] or document["Id"], "Statement": statements}


def _completed(given: Any) -> State:
    """A statement of the arguments with all its members; ProviderError names what is missing."""
    statement: State = {
        "sid": given.get("sid") or "",
        "effect": given.get("effect") or "Allow",
        **{key: sorted(set(given.get(key) or [])) for key in _LISTS},
        **{key: given.get(key) or [] for key in _PRINCIPALS},
        "conditions": given.get("conditions") or [],
    }
    if statement["effect"] not in ("Allow", "Deny"):
        raise ProviderError(f"a statement's effect is Allow or Deny, not {statement['effect']!r}")
    needed = {"conditions": ("test", "variable", "values"), **dict.fromkeys(_PRINCIPALS, ("type", "identifiers"))}
    for key, members in needed.items():
        for block in statement[key]:
            missing = [member for member in members if block.get(member) is None]
            if missing:
                raise ProviderError(f"a statement's {key} lack {', '.join(missing)}")
    return statement


def _statement(given: State, version: str) -> State:
    def listed(values: list[str]) -> Any:
        return _one_or_more(sorted((_variables(value, version) for value in values), reverse=True))

    statement: State = {"Sid": given["sid"], "Effect": given["effect"]}
    statement |= {
        name: listed(given[key])
        if key.lower().endswith("resources")
        else _one_or_more(sorted(given[key], reverse=True))
        for key, name in _LISTS.items()
    }
    for key, name in _PRINCIPALS.items():
        principals: dict[str, list[str]] = {}
        for principal in given[key]:
            ids = sorted((_variables(value, version) for value in principal["identifiers"]), reverse=True)
            principals.setdefault(principal["type"], []).extend(ids)
        statement[name] = (
            "*" if principals == {"*": ["*"]} else {kind: _one_or_more(principals[kind]) for kind in sorted(principals)}
        )
    conditions: dict[str, dict[str, list[str]]] = {}
    for condition in given["conditions"]:
        values = conditions.setdefault(condition["test"], {}).setdefault(condition["variable"], [])
        values.extend(_variables(value, version) for value in condition["values"])
    statement["Condition"] = _conditions(conditions)
    return _ordered(statement)


def _source_statement(statement: State) -> State:
    """A statement of another document, in the order in which the real provider writes it again."""
    principals = {
        name: {
            kind: sorted(ids, reverse=True) if isinstance(ids, list) else ids
            for kind, ids in sorted(statement[name].items())
        }
        for name in _PRINCIPALS.values()
        if isinstance(statement.get(name), dict)
    }
    return _ordered(statement | principals | {"Condition": _conditions(statement.get("Condition") or {})})


def _conditions(given: dict[str, dict[str, Any]]) -> State:
    return {
        test: {variable: _one_or_more(values) for variable, values in sorted(given[test].items())}
        for test in sorted(given)
    }


def _ordered(statement: State) -> State:
    return {key: statement[key] for key in _ORDER if statement.get(key)}


def _one_or_more(values: Any) -> Any:
    return values[0] if isinstance(values, list) and len(values) == 1 else values


def _variables(value: str, version: str) -> str:
    """Policy variables are written &{...}, because ${...} has a meaning of its own in Terraform."""
    if "&{" in value and version != _CURRENT_VERSION:
        raise ProviderError(f"{value!r}: policy variables (&{{...}}) need the document version {_CURRENT_VERSION}")
    return value.replace("&{", "${")
