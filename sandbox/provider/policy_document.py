"""getPolicyDocument: statements and other documents put together to one policy document."""
from __future__ import annotations

import json
import zlib
from typing import Any

from .values import Refusal, State


def render(arguments: State) -> State:
    """The answer of getPolicyDocument; Refusal where statements cannot be put together."""
    statements: list[State] = []
    document: State = {}
    sources = [arguments.get("sourceJson"), *(arguments.get("sourcePolicyDocuments") or [])]
    for source in filter(None, sources):
        document, statements = _merged(document, statements, json.loads(source), overriding=False)
    own = {"Version": arguments.get("version"), "Id": arguments.get("policyId"),
           "Statement": [_statement(given) for given in arguments.get("statements") or []]}
    document, statements = _merged(document, statements, own, overriding=True)
    overrides = [arguments.get("overrideJson"), *(arguments.get("overridePolicyDocuments") or [])]
    for override in filter(None, overrides):
        document, statements = _merged(document, statements, json.loads(override), overriding=True)
    whole = {"Version": document.get("Version") or "2012-10-17"}
    whole |= {"Id": document["Id"]} if document.get("Id") else {}
    whole |= {"Statement": statements} if statements else {}
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    return {**arguments, "version": whole["Version"], "json": text, "id": str(zlib.crc32(text.encode())),
            "minifiedJson": json.dumps(whole, separators=(",", ":"), ensure_ascii=False)}


def _merged(document: State, statements: list[State], more: State, *, overriding: bool) -> tuple[State, list[State]]:
    """Statements of the same Sid replace each other when overriding, and are an error otherwise."""
    added = more.get("Statement") or []
    statements = list(statements)
    for statement in added if isinstance(added, list) else [added]:
        sid = statement.get("Sid")
        place = next((i for i, other in enumerate(statements) if sid and other.get("Sid") == sid), None)
        if place is None:
            statements.append(statement)
        elif overriding:
            statements[place] = statement
        else:
            raise Refusal(f"two source policy documents have a statement with the Sid {sid!r}")
    return document | {key: more[key] for key in ("Version", "Id") if more.get(key)}, statements


def _statement(given: State) -> State:
    statement: State = {"Sid": given.get("sid"), "Effect": given.get("effect") or "Allow"}
    for key, name in (("actions", "Action"), ("notActions", "NotAction"),
                      ("resources", "Resource"), ("notResources", "NotResource")):
        statement[name] = _one_or_more(given.get(key))
    for key, name in (("principals", "Principal"), ("notPrincipals", "NotPrincipal")):
        statement[name] = _principals(given.get(key) or [])
    statement["Condition"] = _conditions(given.get("conditions") or [])
    return {key: value for key, value in statement.items() if value}


def _one_or_more(values: list[str] | None) -> Any:
    distinct = sorted(set(values or []), reverse=True)
    return distinct[0] if len(distinct) == 1 else distinct


def _principals(given: list[State]) -> Any:
    if any(principal["type"] == "*" for principal in given):
        return "*"
    found: dict[str, list[str]] = {}
    for principal in given:
        found.setdefault(principal["type"], []).extend(principal["identifiers"])
    return {kind: _one_or_more(identifiers) for kind, identifiers in found.items()}


def _conditions(given: list[State]) -> State:
    found: State = {}
    for condition in given:
        values = condition["values"]
        found.setdefault(condition["test"], {})[condition["variable"]] = values[0] if len(values) == 1 else values
    return found
