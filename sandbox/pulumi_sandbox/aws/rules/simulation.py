"""SimulateCustomPolicy and SimulatePrincipalPolicy, decided as real calls are (policy_evaluation.py).

Sources: both actions, EvaluationResult and ResourceSpecificResult in the IAM API reference. The wording of errors
was not compared with AWS's.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.authorization import boundary_of, default_document
from pulumi_sandbox.aws.policy_evaluation import AccessRequest, Verdict, condition_keys, decide
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.lists import page
from pulumi_sandbox.aws.rules.rule import Context, groups_of, rule

DECISIONS = {Verdict.ALLOWED: "allowed", Verdict.DENIED: "explicitDeny", Verdict.SILENT: "implicitDeny"}
BOUNDARY = "PermissionsBoundaryPolicyInputList"
# What is not simulated is refused, so that nobody mistakes the result for one that considers it.
UNSUPPORTED = ("ResourcePolicy", "ResourceOwner", "ResourceHandlingOption", "OrderedOrganizationPolicyInputList")


class Source(NamedTuple):
    """A policy of a simulation. `id`: as MatchedStatements names it. `names`: what PolicyExclusionList can name."""

    id: str
    document: str
    names: Mapping[str, Any] = {}


@rule("SimulateCustomPolicy")
def simulate_custom_policy(context: Context) -> ApiResponse:
    policies, limits = (_given(context, name) for name in ("PolicyInputList", BOUNDARY))
    return _simulated(context, policies, limits)


@rule("SimulatePrincipalPolicy")
def simulate_principal_policy(context: Context) -> ApiResponse:
    """A user's policies are its own and those of its groups; a group's are those that are attached to it."""
    arn, store = context.given["PolicySourceArn"], context.store
    kinds: dict[str, dict[str, Any]] = {"user": store.users, "group": store.groups, "role": store.roles}
    found: list[tuple[str, Any]] = [
        (kind, one) for kind, every in kinds.items() for one in every.values() if one.arn == arn
    ]
    if not found:
        raise AwsError("NoSuchEntity", f"No entity exists with the ARN {arn}")
    kind, holder = found[0]
    holders = found + [("group", group) for group in (groups_of(context, holder) if kind == "user" else [])]
    policies = [policy for one in holders for policy in _attached(*one)]
    policies = [policy for policy in policies if not _is_excluded(policy, context.given.get("PolicyExclusionList", []))]
    limits = _given(context, BOUNDARY)
    if not limits and (document := boundary_of(holder, store)):
        limits = [Source("PermissionsBoundary", document)]
    known: dict[str, tuple[str, ...]] = {}
    if kind == "user":
        tags = {f"aws:principaltag/{tag['Key'].lower()}": (tag["Value"],) for tag in holder.tags or []}
        known = {"aws:username": (holder.name,), "aws:userid": (holder.id,), "aws:principaltype": ("User",), **tags}
    known |= {"aws:principalarn": (arn,), "aws:principalaccount": (account.current(),)} if kind != "group" else {}
    return _simulated(context, [*policies, *_given(context, "PolicyInputList")], limits, known)


def _attached(kind: str, holder: Any) -> Iterator[Source]:
    """The policies of a user, group or role, identified as seen on AWS: by name, an inline one with its owner's."""
    for name, document in holder.policies.items():
        where = {"PolicyName": name, "AttachmentType": kind, "AttachmentName": holder.name}
        names = {"InlinePolicyIdentifier": where, "PolicyType": "inline"}
        yield Source(f"{kind}_{holder.name}_{name}", document, names)
    for policy in holder.managed_policies.values():
        owner = "aws-managed" if ":iam::aws:" in policy.arn else "user-managed"
        yield Source(policy.name, default_document(policy), {"PolicyArn": policy.arn, "PolicyType": owner})


def _is_excluded(policy: Source, exclusions: Sequence[Mapping[str, Any]]) -> bool:
    if any("*" in str(exclusion) or exclusion.get("PolicyType") == "permission-boundary" for exclusion in exclusions):
        raise AwsError("NotImplemented", "The sandbox can exclude only policies named without wildcards.")
    return any(policy.names.get(kind) == value for exclusion in exclusions for kind, value in exclusion.items())


def _given(context: Context, parameter: str) -> list[Source]:
    """The policy documents in a parameter. Raises InvalidInput for one that is not a policy."""
    from moto.core.exceptions import ServiceException
    from moto.iam.policy_validation import IAMPolicyDocumentValidator

    documents: list[str] = context.given.get(parameter, [])
    for document in documents:
        try:
            IAMPolicyDocumentValidator(document).validate()
        except ServiceException as error:
            raise AwsError("InvalidInput", f"Invalid policy in {parameter}: {error.message}") from None
    if parameter == BOUNDARY and len(documents) > 1:
        raise AwsError("InvalidInput", "Only one permissions boundary policy can be simulated.")
    return [Source(f"{parameter}.{number}", document) for number, document in enumerate(documents, 1)]


def _simulated(
    context: Context,
    policies: Sequence[Source],
    limits: Sequence[Source],
    known: Mapping[str, tuple[str, ...]] | None = None,
) -> ApiResponse:
    """The decisions, a page of them. `limits`: the permissions boundary. `known`: condition keys of the principal."""
    given = context.given
    for name in UNSUPPORTED:
        if name in given:
            raise AwsError("NotImplemented", f"The sandbox does not simulate {name}.")
    for action in given["ActionNames"]:
        if not re.fullmatch(r"[A-Za-z0-9-]+:[A-Za-z0-9]+", action):
            raise AwsError("InvalidInput", f"Invalid action name: {action}. Wildcards are not supported.")
    resources: list[str] = given.get("ResourceArns", ["*"])
    for resource in resources:
        if resource != "*" and not re.fullmatch(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+", resource):
            raise AwsError("InvalidInput", f"Invalid resource ARN: {resource}")
    keys = {**(known or {}), **_context_keys(given.get("ContextEntries", []))}
    missing = [key for source in (*policies, *limits) for key in condition_keys(source.document)]
    missing = [key for key in dict.fromkeys(missing) if key.lower() not in keys]
    results: list[dict[str, Any]] = []
    for action in given["ActionNames"]:
        decided = [_decided(policies, limits, AccessRequest(action, resource, keys)) for resource in resources]
        # The most restrictive decision on the resources is at the top.
        worst = min(decided, key=lambda one: ["explicitDeny", "implicitDeny", "allowed"].index(one["EvalDecision"]))
        together = [statement for one in decided for statement in one["MatchedStatements"]]
        # The resource at the top is the ARN template of the action, or `*`; which template, the sandbox does not know.
        result = {**worst, "EvalActionName": action, "EvalResourceName": "*", "MissingContextValues": missing}
        result["MatchedStatements"] = [one for n, one in enumerate(together) if one not in together[:n]]
        if resources != ["*"]:
            result |= {
                "EvalDecisionDetails": {},
                "ResourceSpecificResults": [
                    {
                        **{name: value for name, value in one.items() if name != "EvalDecision"},
                        "EvalResourceName": resource,
                        "EvalResourceDecision": one["EvalDecision"],
                        "MissingContextValues": missing,
                    }
                    for resource, one in zip(resources, decided, strict=True)
                ],
            }
        results.append(result)
    return context.success(page(context, "EvaluationResults", results))


def _decided(policies: Sequence[Source], limits: Sequence[Source], access: AccessRequest) -> dict[str, Any]:
    """The decision on one action and resource: what the policies allow and the boundary, if there is one, too."""
    verdict, statements = decide([policy.document for policy in policies], access)
    matched = [_matched(policies[number], index) for number, index in statements]
    if not limits:
        return {"EvalDecision": DECISIONS[verdict], "MatchedStatements": matched}
    limit, statements = decide([policy.document for policy in limits], access)
    if limit is Verdict.DENIED and verdict is not Verdict.DENIED:
        verdict, matched = limit, [_matched(limits[number], index) for number, index in statements]
    elif limit is Verdict.SILENT and verdict is Verdict.ALLOWED:
        verdict = limit
    within = {"AllowedByPermissionsBoundary": limit is Verdict.ALLOWED}
    decision = DECISIONS[verdict]
    return {"EvalDecision": decision, "MatchedStatements": matched, "PermissionsBoundaryDecisionDetail": within}


def _matched(source: Source, index: int) -> dict[str, Any]:
    """A statement as MatchedStatements has it. The type is the one seen on AWS; the API reference does not list it."""
    start, end = list(_spans(source.document))[index]
    return {
        "SourcePolicyId": source.id,
        "SourcePolicyType": "IAM Policy",
        "StartPosition": _position(source.document, start),
        "EndPosition": _position(source.document, end),
    }


def _position(text: str, offset: int) -> dict[str, int]:
    """Line and column, both from 1."""
    return {"Line": text.count("\n", 0, offset) + 1, "Column": offset - text.rfind("\n", 0, offset)}


def _spans(document: str) -> Iterator[tuple[int, int]]:
    """Where each statement begins and ends in the text of a policy document."""
    decoder = json.JSONDecoder()

    def next_token(position: int) -> int:
        return position + len(document[position:]) - len(document[position:].lstrip(" \t\r\n,:"))

    at, name = next_token(document.index("{") + 1), ""
    while name != "Statement":
        name, at = decoder.raw_decode(document, at)
        at = next_token(at)
        if name != "Statement":
            at = next_token(decoder.raw_decode(document, at)[1])
    at = next_token(at + 1) if document[at] == "[" else at
    while document[at : at + 1] == "{":
        end = decoder.raw_decode(document, at)[1]
        yield at, end
        at = next_token(end)


def _context_keys(entries: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Condition keys, names in lower case, with the values that the request gives. Raises InvalidInput."""
    keys: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name, kind = entry.get("ContextKeyName", ""), entry.get("ContextKeyType", "")
        values = tuple(entry.get("ContextKeyValues", []))
        if not (name and kind and values) or (len(values) > 1 and not kind.endswith("List")):
            raise AwsError("InvalidInput", f"Invalid context entry: {name}")
        if not all(_is_of_type(kind.removesuffix("List"), value) for value in values):
            raise AwsError("InvalidInput", f"Invalid context entry: {name} has a value that is not of type {kind}")
        keys[name.lower()] = values
    return keys


def _is_of_type(kind: str, value: str) -> bool:
    if kind == "boolean":
        return value.lower() in ("true", "false")
    if kind == "numeric":
        return bool(re.fullmatch(r"-?\d+(\.\d+)?", value))
    try:
        return kind != "ip" or bool(ipaddress.ip_network(value, strict=False))
    except ValueError:
        return False
