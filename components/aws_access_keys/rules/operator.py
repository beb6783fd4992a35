"""The least IAM policy with which the operator can run a command on a stack, from the table in operator_rows.py."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_access_keys.rules.documents import VERSION, length
from aws_access_keys.rules.limits import POLICY_LENGTH
from aws_access_keys.rules.operator_rows import ROWS, Command, Row
from aws_access_keys.rules.policies import managed_policies, policy_arn
from aws_access_keys.rules.resource_types import (
    GROUP,
    GROUP_POLICY,
    GROUP_POLICY_ATTACHMENT,
    KEY,
    MEMBERSHIP,
    PARAMETER,
    POLICY,
    SECRET,
    SECRET_POLICY,
    SECRET_VERSION,
    STASH,
    USER,
    USER_POLICY,
    USER_POLICY_ATTACHMENT,
)
from aws_access_keys.rules.s3_grants import grant_policies

if TYPE_CHECKING:
    from aws_access_keys.settings import AccessSettings


class Resource(NamedTuple):
    """A resource that the stack has or is to have, with the properties that matter here, as in the state."""

    type: str
    properties: Mapping[str, Any]


class Place(NamedTuple):
    """Where a stack's resources are. `*` for what is not known."""

    partition: str
    region: str
    account: str

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource; IAM has no regions."""
        region = "" if service == "iam" else self.region
        return f"arn:{self.partition}:{service}:{region}:{self.account}:{resource}"

    def names_of(self, service: str) -> list[str]:
        """The names under which a service calls KMS for the caller. In China, AWS uses both."""
        name = f"{service}.{self.region}.amazonaws.com"
        return [name, f"{name}.cn"] if self.partition == "aws-cn" else [name]


GRANT, EXPECTATIONS, NOTICES = "grant", "expectations", "notices"
"""A granted bucket, the expectations of a group or user, a topic for notices: not resources of the stack."""


def planned(settings: "AccessSettings", place: Place, default_tags: Mapping[str, Any]) -> Iterator[Resource]:
    """What the component registers for checked settings with the names in IAM."""
    own = {name: place.arn("iam", f"policy/{name}") for name in settings.policy_documents}

    def arn(policy: str) -> str:
        return own.get(policy) or policy_arn(policy, place.partition)

    for name in settings.policy_documents:
        yield Resource(POLICY, {"arn": own[name], "tagsAll": default_tags})
    for name, group in settings.groups.items():
        yield Resource(
            GROUP, {"name": name, "arn": place.arn("iam", f"group{group.path}{name}"), "adopted": group.adopt}
        )
        grants = [f"{name}-{key}" for key in grant_policies([one.grant() for one in group.s3], place.partition)]
        for policy in grants:
            yield Resource(POLICY, {"arn": place.arn("iam", f"policy/{policy}"), "tagsAll": default_tags})
        attached = [*map(arn, group.policies), *(place.arn("iam", f"policy/{policy}") for policy in grants)]
        for policy in (*attached, *group.policy_arns.values()):
            yield Resource(GROUP_POLICY_ATTACHMENT, {"group": name, "policyArn": policy, "checked": True})
        yield from (Resource(GRANT, {"bucket": one.bucket}) for one in group.s3)
        if group.inline or group.allow_from is not None:
            yield Resource(GROUP_POLICY, {"group": name})
        if group.expect:
            yield Resource(EXPECTATIONS, {"group": name, "policies": [*map(arn, group.policies)]})
    if settings.notify and settings.notify.sns:
        yield Resource(NOTICES, {"arn": settings.notify.sns})
    for name, user in settings.users.items():
        tags = {**default_tags, **settings.effective_tags(name)}
        boundary = arn(user.permissions_boundary) if isinstance(user.permissions_boundary, str) else None
        known = {"name": name, "arn": place.arn("iam", f"user{user.path}{name}"), "tagsAll": tags}
        limits = {"permissionsBoundary": boundary, "checked": True}
        adopted = settings.adopts(name)
        yield Resource(USER, {**known, **limits, "forceDestroy": user.force_destroy, "adopted": adopted})
        for policy in user.policies:
            yield Resource(USER_POLICY_ATTACHMENT, {"user": name, "policyArn": arn(policy), "checked": True})
        if user.inline or user.allow_from is not None:
            yield Resource(USER_POLICY, {"user": name})
        if user.expect:
            deciding = [
                *user.policies,
                *(policy for group in user.groups for policy in settings.groups[group].policies),
            ]
            found = [*map(arn, deciding), *([boundary] if boundary else [])]
            yield Resource(EXPECTATIONS, {"user": name, "policies": found})
        if user.groups:
            yield Resource(MEMBERSHIP, {"user": name, "groups": user.groups})
        if user.key is None:
            continue
        key, deliver = settings.effective_key(name), settings.effective_deliver(name)
        guarded = key.retire_guard is not None
        yield Resource(KEY, {"user": name})
        if key.description is not None:
            yield Resource(STASH, {"input": {"user": name}})
        if deliver and (store := deliver.secrets_manager):
            stored = place.arn("secretsmanager", f"secret:{store.stored_name(name, 'secrets_manager')}-??????")
            asked = {"arn": stored, "kmsKeyId": store.kms_key, "tagsAll": default_tags, "guarded": guarded}
            if store.existing is None:
                yield Resource(SECRET, {**asked, "replicas": store.replicas})
            else:
                yield Resource(SECRET_VERSION, {"arn": stored, "checked": True})
            if store.readers:
                yield Resource(SECRET_POLICY, {"secretArn": stored})
        if deliver and (store := deliver.ssm):
            stored = place.arn("ssm", f"parameter/{store.stored_name(name, 'ssm').removeprefix('/')}")
            asked = {"arn": stored, "keyId": store.kms_key, "tagsAll": default_tags, "guarded": guarded}
            yield Resource(PARAMETER, asked)


def resources_of(resources: Iterable[Resource], place: Place) -> dict[str, list[str]]:
    """What the rows are about (Row.about) and the values of conditions (Row.only), sorted: mostly ARNs.

    A group or user has two ARNs while its path changes.
    """
    listed = list(resources)
    arns: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, properties in listed:
        if kind in (GROUP, USER):
            arns[kind, properties["name"]].add(properties["arn"])
    found: dict[str, set[str]] = defaultdict(set)
    for kind, properties in listed:
        for about, names in _FINDINGS.get(kind, _nothing)(properties, place):
            owner = {"group": GROUP, "user": USER}.get(about.partition(":")[0])
            # A group or user that the stack does not have belongs to somebody else.
            found[about] |= {arn for name in names for arn in arns[owner, name]} if owner else set(names)
    for others in ("policy:of others", "policy:expected"):
        found[others] -= found["policy"]
    if USER in (kind for kind, _ in listed):
        found["every user"] = {place.arn("iam", "user/*")}
    for service in ("secretsmanager", "ssm"):
        found[service] |= set(place.names_of(service))
    return {about: sorted(which) for about, which in found.items() if which}


def of_account(place: Place) -> dict[str, list[str]]:
    """The same for a command about the whole account."""
    users = [place.arn("iam", "user/*")]
    aws = [f"arn:{place.partition}:iam::aws:policy/*"]
    groups = {"group:of the account": [place.arn("iam", "group/*")]}
    return {
        "any:account": ["*"],
        "every user": users,
        "every user:of the account": users,
        "policy:of AWS": aws,
        **groups,
    }


Findings = Iterator[tuple[str, list[str]]]
"""Row.about or the values of a condition → names of groups or users; of others ARNs, or `*`."""


def _nothing(_properties: Mapping[str, Any], _place: Place) -> Findings:
    yield from ()


def _of_group(group: Mapping[str, Any], _: Place) -> Findings:
    yield "group", [group["name"]]
    yield "any:groups", ["*"]
    if group.get("adopted"):
        yield "group:to adopt", [group["name"]]


def _of_user(user: Mapping[str, Any], place: Place) -> Findings:
    name = [user["name"]]
    tags: Mapping[str, Any] = user.get("tagsAll") or {}
    yield "user", name
    yield "any:users", ["*"]
    if user.get("adopted"):
        yield "user:to adopt", name
    if tags:
        yield "user:with tags", name
    if "" in tags.values():
        yield "user:with an empty tag", name
    if boundary := user.get("permissionsBoundary"):
        yield "user:with a boundary", name
        if user.get("checked"):
            yield "policy:of others", _unknown(boundary)
    if user.get("forceDestroy"):
        yield "user:to force", name
        yield "any:users to force", ["*"]
        yield "mfa", [place.arn("iam", f"mfa/{user['name']}")]


def _of_policy(policy: Mapping[str, Any], _: Place) -> Findings:
    yield "policy", [policy["arn"]]
    yield "any:policies", ["*"]
    if policy.get("tagsAll"):
        yield "policy:with tags", [policy["arn"]]


def _of_attachment(attachment: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in attachment else "user"
    yield f"{owner}:with managed policies", [attachment[owner]]
    yield f"of {owner}s", [attachment["policyArn"]]
    if attachment.get("checked"):
        yield "policy:of others", _unknown(attachment["policyArn"])


def _unknown(policy: str) -> list[str]:
    """The ARN of a policy, unless it is one of AWS's that are known offline."""
    owner, _, path = policy.partition(":policy/")
    return [] if owner.endswith(":iam::aws") and path in managed_policies().values() else [policy]


def _of_grant(grant: Mapping[str, Any], place: Place) -> Findings:
    yield "bucket:granted", [f"arn:{place.partition}:s3:::{grant['bucket']}"]


def _of_expectations(expected: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in expected else "user"
    yield f"{owner}:with expectations", [expected[owner]]
    yield "any:expectations", ["*"]
    if owner == "user":
        yield "any:users with expectations", ["*"]
    yield "policy:expected", expected["policies"]


def _of_inline(policy: Mapping[str, Any], _: Place) -> Findings:
    owner = "group" if "group" in policy else "user"
    yield f"{owner}:with inline policies", [policy[owner]]


def _of_membership(membership: Mapping[str, Any], _: Place) -> Findings:
    yield "group:with users", membership["groups"]
    yield "user:in groups", [membership["user"]]


def _of_key(key: Mapping[str, Any], _: Place) -> Findings:
    yield "user:with a key", [key["user"]]


def _of_stash(stash: Mapping[str, Any], place: Place) -> Findings:
    """The descriptions of a user's keys, or a parameter whose content is not in the state."""
    known: Mapping[str, Any] = stash["input"] if isinstance(stash.get("input"), Mapping) else {}
    if "user" in known:
        yield "user:with tags", [known["user"]]
    if "parameter" in known:
        yield from _of_store({"arn": place.arn("ssm", f"parameter/{known['parameter'].removeprefix('/')}")}, place)


def _of_store(stored: Mapping[str, Any], place: Place) -> Findings:
    """A secret or parameter. The KMS key that it names is a key of the account's own, or an alias of one."""
    is_parameter = ":ssm:" in stored["arn"]
    store, key = ("parameter", stored.get("keyId")) if is_parameter else ("secret", stored.get("kmsKeyId"))
    yield store, [stored["arn"]]
    yield f"any:{store}s", ["*"]
    if stored.get("replicas"):
        yield "secret:with replicas", [stored["arn"]]
    if stored.get("tagsAll"):
        yield f"{store}:with tags", [stored["arn"]]
    if not isinstance(key, str) or not key or key.startswith("alias/aws/"):
        return
    if not key.startswith("arn:"):
        key = place.arn("kms", key if key.startswith("alias/") else f"key/{key}")
    yield from (("key", [key]), (f"key:of {store}s", [key]))
    if stored.get("guarded"):
        yield "key:with a retire guard", [key]


def _of_version(version: Mapping[str, Any], _: Place) -> Findings:
    """The value of a secret, perhaps one that the stack did not create."""
    yield "other secret", [version["arn"]]
    if version.get("checked"):
        yield "other secret:to check", [version["arn"]]


def _of_secret_policy(policy: Mapping[str, Any], _: Place) -> Findings:
    yield "secret:with readers", [policy["secretArn"]]


def _of_notices(notices: Mapping[str, Any], _: Place) -> Findings:
    yield "topic", [notices["arn"]]


_FINDINGS = {
    GROUP: _of_group,
    USER: _of_user,
    POLICY: _of_policy,
    GROUP_POLICY_ATTACHMENT: _of_attachment,
    USER_POLICY_ATTACHMENT: _of_attachment,
    GROUP_POLICY: _of_inline,
    USER_POLICY: _of_inline,
    MEMBERSHIP: _of_membership,
    GRANT: _of_grant,
    EXPECTATIONS: _of_expectations,
    KEY: _of_key,
    STASH: _of_stash,
    SECRET: _of_store,
    SECRET_VERSION: _of_version,
    SECRET_POLICY: _of_secret_policy,
    NOTICES: _of_notices,
    PARAMETER: _of_store,
}


class Statement(NamedTuple):
    """A statement of the policy, and why it is there."""

    row: Row
    actions: list[str]
    resources: list[str]
    condition: dict[str, dict[str, list[str]]]

    @property
    def as_json(self) -> dict[str, Any]:
        """The statement as a policy document has it."""
        condition = {"Condition": self.condition} if self.condition else {}
        found = {"Sid": self.row.sid, "Effect": "Allow", "Action": self.actions, "Resource": self.resources}
        return {**found, **condition}


def statements(about: Mapping[str, Sequence[str]], command: Command, place: Place) -> list[Statement]:
    """What a command needs. about: as from `resources_of`."""
    made: list[Statement] = []
    known: set[tuple[str, str]] = set()
    for row in ROWS:
        actions = [f"{row.service}:{action}" for action in getattr(row, command).split()]
        where = [arn for arn in about.get(row.about, ()) if any((action, arn) not in known for action in actions)]
        actions = [action for action in actions if any((action, arn) not in known for arn in where)]
        condition: dict[str, dict[str, list[str]]] = {}
        if row.only:
            operator, key, values = row.only
            condition[operator] = {key: list(about[values])} if where else {}
        else:
            known |= {(action, arn) for action in actions for arn in where}
        aliases = [arn for arn in where if ":alias/" in arn]
        if keys := [arn for arn in where if arn not in aliases]:
            made.append(Statement(row, actions, keys, condition))
        if aliases:
            # A policy cannot name a key by its alias; it needs a condition on the key's aliases.
            named = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": [arn.split(":", 5)[5] for arn in aliases]}}
            every = sorted({f"{arn.rpartition(':alias/')[0]}:key/*" for arn in aliases})
            of_aliases = row._replace(sid=f"{row.sid}ByAlias")
            made.append(Statement(of_aliases, actions, every, condition | named))
    return made


def document(found: Sequence[Statement]) -> tuple[dict[str, Any], bool]:
    """The policy document, and whether names are shortened in it.

    If it is too long for IAM, statements on the same resources become one, without a Sid; if that is not enough, a list
    of names is replaced by what they begin with, and `*`.
    """
    whole = _document(statement.as_json for statement in found)
    if length(whole) > POLICY_LENGTH:
        whole = _document(_joined(found))
    if length(whole) <= POLICY_LENGTH:
        return whole, False
    return _document(_joined([one._replace(resources=_in_common(one.resources)) for one in found])), True


def _document(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": list(found)}


def _joined(found: Sequence[Statement]) -> Iterator[dict[str, Any]]:
    by_resources: dict[str, Statement] = {}
    for one in found:
        same = by_resources.setdefault(repr((one.resources, one.condition)), one._replace(actions=[]))
        same.actions.extend(action for action in one.actions if action not in same.actions)
    for one in by_resources.values():
        yield {name: value for name, value in one.as_json.items() if name != "Sid"}


def _in_common(arns: list[str]) -> list[str]:
    """One pattern for many ARNs of one kind, unless they are those of KMS keys."""
    if len(arns) < 2 or ":kms:" in arns[0]:
        return arns
    same = takewhile(lambda pair: pair[0] == pair[1], zip(min(arns), max(arns), strict=False))
    return [f"{''.join(one for one, _ in same)}*"]
