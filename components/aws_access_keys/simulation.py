"""IAM's policy simulator: what policies would allow, and what a user or group is allowed.

Sources: SimulateCustomPolicy, SimulatePrincipalPolicy and EvaluationResult in the IAM API reference.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.rules.documents import Document, compact, listed, matching_actions
from aws_access_keys.rules.expectations import Check, Decision, Policies, Question, context_type

ACTIONS_PER_CALL, RESOURCES_PER_CALL = 100, 20  # IAM documents no limits, but refuses requests that are too large
MAX_ITEMS = 1000

Statement = Mapping[str, Any]
"""A statement as MatchedStatements describes it."""


def simulate_policies(
    account: Account, policies: Policies, boundary: Document | None, checks: Sequence[Check]
) -> dict[Question, Decision]:
    """What policies would allow the user or group that has them. Raises AwsQueryError."""
    if not policies or (boundary is not None and not _statements(boundary)):  # which IAM does not take
        return {question: Decision("implicitDeny") for check in checks for question in check.questions}
    texts = {name: _text(document) for name, document in policies.items()}
    given: dict[str, Any] = {"PolicyInputList": list(texts.values())}
    limit = _text(boundary) if boundary else ""
    if limit:
        given["PermissionsBoundaryPolicyInputList"] = [limit]

    def named(found: Statement) -> str:
        source, _, number = str(found.get("SourcePolicyId")).partition(".")
        if source != "PolicyInputList":
            return _statement(boundary or {}, found, "the permissions boundary")
        name = list(policies)[int(number) - 1]
        return _statement(policies[name], found, name)

    return _simulate(account, "simulate_custom_policy", given, checks, named)


def simulate_principal(
    account: Account, arn: str, checks: Sequence[Check], excluded: Sequence[Mapping[str, Any]] = ()
) -> dict[Question, Decision] | None:
    """What a user or group is allowed, by all policies that IAM has for it; None where IAM has no such entity.

    excluded: attached policies that do not count, as IAM's PolicyIdentifier. Raises AwsQueryError.
    """
    given: dict[str, Any] = {"PolicySourceArn": arn}
    if excluded:
        given["PolicyExclusionList"] = list(excluded)
    return _simulate(account, "simulate_principal_policy", given, checks, lambda found: str(found["SourcePolicyId"]))


def _simulate(
    account: Account,
    operation: str,
    given: Mapping[str, Any],
    checks: Sequence[Check],
    named: Callable[[Statement], str],
) -> Any:
    decisions: dict[Question, Decision] = {}
    for call in _calls(checks):
        actions, resources = sorted(call.actions), sorted(call.resources)
        spelled = {action.casefold(): action for action in actions}
        parameters = {**given, "ActionNames": actions, "ResourceArns": resources, "MaxItems": MAX_ITEMS}
        parameters["ContextEntries"] = [_entry(*pair) for pair in call.context]
        while True:
            response: dict[str, Any] | None = account.ask("iam", operation, **parameters)
            if response is None:
                return None
            for result in response["EvaluationResults"]:
                action = spelled[result["EvalActionName"].casefold()]
                for resource, decision in _decisions(result, resources, named):
                    decisions[Question(action, resource, call.context)] = decision
            if not response.get("IsTruncated"):
                break
            parameters["Marker"] = response["Marker"]
    for question in (question for check in checks for question in check.questions if question not in decisions):
        raise AwsQueryError(ValueError(f"IAM did not decide on {question.action} on '{question.resource}'"))
    return decisions


class _Call(NamedTuple):
    """A call of the simulator, which decides on each action with each resource."""

    context: tuple[tuple[str, str], ...]
    actions: set[str]
    resources: set[str]

    def has_room_for(self, other: "_Call") -> bool:
        """Whether both can be one call. `*` gets a call of its own, because its result has another form."""
        actions, resources = self.actions | other.actions, self.resources | other.resources
        fits = len(actions) <= ACTIONS_PER_CALL and len(resources) <= RESOURCES_PER_CALL
        return fits and self.context == other.context and ("*" in self.resources) == ("*" in other.resources)


def _calls(checks: Sequence[Check]) -> list[_Call]:
    """Few calls that decide on all questions."""
    calls: list[_Call] = []
    for check in checks:
        others = [resource for resource in check.resources if resource != "*"]
        where = [["*"]] * ("*" in check.resources) + _batches(others, RESOURCES_PER_CALL)
        for resources, actions in product(where, _batches(matching_actions(check.action), ACTIONS_PER_CALL)):
            new = _Call(check.context, set(actions), set(resources))
            known = next((call for call in calls if call.has_room_for(new)), None)
            if known:
                known.actions.update(actions)
                known.resources.update(resources)
            else:
                calls.append(new)
    return calls


def _batches(items: Sequence[str], size: int) -> list[list[str]]:
    return [list(items[begin : begin + size]) for begin in range(0, len(items), size)]


def _decisions(
    result: Mapping[str, Any], resources: Sequence[str], named: Callable[[Statement], str]
) -> Iterable[tuple[str, Decision]]:
    """The decision on each resource. For `*` it is at the top of a result, for others below it."""
    specific: list[Mapping[str, Any]] = result.get("ResourceSpecificResults") or []
    if not specific and len(resources) == 1:
        specific = [{**result, "EvalResourceName": resources[0]}]
    for found in specific:
        decision: str = found.get("EvalResourceDecision") or found["EvalDecision"]
        within: Mapping[str, Any] = found.get("PermissionsBoundaryDecisionDetail") or {}
        by = tuple(dict.fromkeys(named(statement) for statement in found.get("MatchedStatements", [])))
        yield found["EvalResourceName"], Decision(decision, by, within.get("AllowedByPermissionsBoundary") is False)


def _entry(key: str, value: str) -> dict[str, Any]:
    return {"ContextKeyName": key, "ContextKeyType": context_type(key, value), "ContextKeyValues": [value]}


def _begin(document: Document) -> str:
    version = f'"Version":"{document["Version"]}",' if "Version" in document else ""
    return f'{{{version}"Statement":['


def _text(document: Document) -> str:
    """A document in one line whose statements begin at known columns."""
    return _begin(document) + ",".join(compact(statement) for statement in _statements(document)) + "]}"


def _statements(document: Document) -> list[Any]:
    return listed(document.get("Statement", []))


def _statement(document: Document, found: Statement, policy: str) -> str:
    """`statement 2 of the policy 'own'`, by its Sid if it has one.

    IAM counts columns from 1, and a statement after the first from the comma before it.
    """
    column, begin, number = found["StartPosition"]["Column"], len(_begin(document)), 0
    statements = _statements(document)
    for index, statement in enumerate(statements):
        if begin > column:
            break
        number, begin = index, begin + len(compact(statement)) + 1
    sid = statements[number].get("Sid") if statements else None
    return f"statement {repr(sid) if sid else number + 1} of {policy}"
