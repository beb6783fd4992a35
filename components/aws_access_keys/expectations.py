"""Permission tests (`expect`): decided by IAM's simulator before anything is registered, and again after the update.

IAM is asked only about groups and users where an expectation, or something that decides it, differs from what the last
finished run recorded in the component's output `expectations`:

    {"groups.readers": {"of": "3f1c...", "tested": 2, "checks": [...]}}

`of` is a digest of all that decides, as far as it is known without AWS. `tested` counts the runs that had to test it;
each registers the count in KeyPlans before it changes anything, so that after a failed run the test is repeated. The
checks, in the form of `Check.record`, are what `access-keys permissions --check` asks again at any time.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.rules.documents import Document, text_digest
from aws_access_keys.rules.expectations import (
    SOURCE_IP,
    Check,
    Decision,
    Policies,
    Question,
    check_problem,
    least_favorable,
    open_keys,
    sources,
    to_check,
)
from aws_access_keys.rules.networks import ALLOW_FROM, Network, allow_from_document, common_networks
from aws_access_keys.rules.policies import policy_arn
from aws_access_keys.rules.problem import Problem, Spelling, as_lines
from aws_access_keys.rules.s3_grants import grant_policies
from aws_access_keys.settings import AccessSettings, GroupSettings
from aws_access_keys.simulation import simulate_policies, simulate_principal
from aws_access_keys.state import ComponentState

CONFIRM_TIMEOUT = 30.0  # seconds; a change in IAM takes a while to be visible everywhere

Owner = tuple[str, str]
"""`groups` or `users`, and the name."""


class ExpectationError(pulumi.RunError):
    """After the changes, a group or user is allowed less or more than expected."""


class Deciding(NamedTuple):
    """All that decides what a group or user is allowed, as far as it is known without AWS."""

    documents: dict[str, Document]
    """How messages name a policy → its document."""
    arns: dict[str, str]
    """The same for policies whose text AWS has → ARN."""
    boundary: "Document | str | None"
    """The document of the permissions boundary, or its ARN."""
    later: tuple[str, ...]
    """Names of policies that become known only during the update."""
    limits: list[list[str]]
    """Lists of networks, in each of which a caller must be."""


class Expectations:
    """The expectations of one component in one run."""

    def __init__(
        self, settings: AccessSettings, spell: Spelling, partition: str, state: ComponentState, account: Account
    ) -> None:
        self._settings, self._spell, self._partition = settings, spell, partition
        self._state, self._account = state, account
        self._expected = settings.expectations(spell)
        self._deciding = {owner: self._decides(*owner) for owner in self._expected}
        self._of = {owner: self._digest(owner) for owner in self._expected}
        self._checks: dict[Owner, list[Check]] = {}
        """Of the groups and users that this run has to check."""

    @property
    def changed(self) -> list[Owner]:
        """The groups and users whose expectations are not those that passed in the last run."""
        return [owner for owner, of in self._of.items() if not self._has_passed(".".join(owner), of)]

    def _has_passed(self, name: str, of: str) -> bool:
        recorded, last = self._state.expectations.get(name, {}), self._state.tested.get(name, 0)
        return recorded.get("of") == of and int(recorded.get("tested", 0)) == last

    @property
    def tested(self) -> dict[str, int]:
        """Group or user → how many runs have tested it, together with this one."""
        before = self._state.tested
        return {".".join(owner): before.get(".".join(owner), 0) + (owner in self._checks) for owner in self._of}

    def problems(self) -> Iterator[Problem]:
        """Expectations that the settings do not meet. Asks AWS only if something has changed."""
        for owner in self.changed:
            try:
                yield from self._problems(owner)
            except AwsQueryError as error:
                cure = error.cure("iam:SimulateCustomPolicy, iam:GetPolicy and iam:GetPolicyVersion")
                where = self._spell(f"{owner[0]}.{{}}.expect", owner[1])
                yield Problem(where, f"the expectations could not be checked: {error}. {cure}")

    def _problems(self, owner: Owner) -> Iterator[Problem]:
        found = self._deciding[owner]
        policies, boundary = dict(found.documents), found.boundary
        where = self._spell(f"{owner[0]}.{{}}.expect", owner[1])
        for name, arn in {**found.arns, **({"": boundary} if isinstance(boundary, str) else {})}.items():
            document = self._account.policy_document(arn)
            if document is None:
                cure = "Correct the ARN, or create the policy first."
                yield Problem(where, f"cannot be checked: IAM has no policy {arn}. {cure}")
                return
            if name:
                policies[name] = document
            else:
                boundary = document
        assert not isinstance(boundary, str)
        common = common_networks(found.limits)
        names_user = owner[0] == "users" and "aws:username" in json.dumps([policies, boundary]).casefold()
        known = {"aws:username": owner[1]} if names_user else {}
        checks = {one.place: to_check(one, policies, boundary, known, common) for one in self._expected[owner]}
        self._checks[owner] = list(checks.values())
        if found.later:
            names = ", ".join(found.later)
            text = f"checked only after the update, because these policies are not known yet: {names}"
            pulumi.log.info(f"{self._spell.prefix}{where}: {text}")
            return
        networks = {checks[one.place]: sources(one, common) for one in self._expected[owner]}
        worst = self._in_the_worst_case(policies, boundary, networks)
        doubtful = [check for check in networks if check_problem(check, worst[check])]
        decisions = simulate_policies(self._account, policies, boundary, doubtful) if doubtful else {}
        for one in self._expected[owner]:
            check = checks[one.place]
            if check not in doubtful:
                continue
            keys = open_keys(check, worst[check], decisions, policies, boundary, networks[check])
            of_address = [key for key in keys if key.casefold() == SOURCE_IP.casefold()]
            cures = ["set a network under from that the policies treat as a whole"] if of_address else []
            cures += ["set a value under context"] if len(keys) > len(of_address) else []
            cure = " and ".join(cures)
            hint = f" It depends on {', '.join(keys)}: {cure}." if keys and one.is_allowed else ""
            if problem := check_problem(check, decisions, hint):
                yield Problem(one.place, f"{problem} Change the policies or the expectation.")
            else:
                what = "allowed" if one.is_allowed else "denied"
                text = f"whether it is {what} depends on {', '.join(keys)}"
                yield Problem(one.place, f"{text}. {cure.capitalize()}, or narrow the expectation.")

    def _in_the_worst_case(
        self, policies: Policies, boundary: Document | None, networks: Mapping[Check, Sequence[Network]]
    ) -> dict[Check, dict[Question, Decision]]:
        """The decisions on each check in the least favorable case. networks: where its calls come from."""
        cases: dict[str, tuple[Policies, Document | None, list[Check]]] = {}
        for check, found in networks.items():
            least = least_favorable(policies, check, found)
            limit = least_favorable({"": boundary}, check, found).get("", {}) if boundary is not None else None
            cases.setdefault(json.dumps([least, limit]), (least, limit, []))[2].append(check)
        worst: dict[Check, dict[Question, Decision]] = {}
        for least, limit, checks in cases.values():
            worst |= dict.fromkeys(checks, simulate_policies(self._account, least, limit, checks))
        return worst

    def confirmed(
        self,
        arns: "Mapping[Owner, pulumi.Output[str]]",
        after: Mapping[Owner, Sequence[pulumi.Resource]],
    ) -> "dict[str, pulumi.Input[Any]]":
        """What to record, known once IAM decides as expected after the changes.

        arns: of the groups and users. after: the resources that decide what they may do.
        """
        records: dict[str, pulumi.Input[Any]] = {}
        for owner, of in self._of.items():
            name = ".".join(owner)
            if owner not in self._checks:
                records[name] = dict(self._state.expectations[name])
                continue
            record = {"of": of, "tested": self.tested[name], "checks": [check.record for check in self._checks[owner]]}
            done = pulumi.Output.all(arns[owner], *(resource.urn for resource in after[owner]))
            records[name] = record if pulumi.runtime.is_dry_run() else self._once_confirmed(owner, done, record)
        return records

    def _once_confirmed(self, owner: Owner, done: "pulumi.Output[list[Any]]", record: Any) -> "pulumi.Output[Any]":
        def confirm(values: "list[Any]") -> "asyncio.Future[Any]":
            return asyncio.ensure_future(self._confirm(owner, values[0], record))

        return done.apply(confirm)

    async def _confirm(self, owner: Owner, arn: str, record: Any) -> Any:
        """The record, once IAM decides as expected. Raises ExpectationError after CONFIRM_TIMEOUT seconds."""
        where = self._spell(f"{owner[0]}.{{}}.expect", owner[1])
        checks, removed = self._checks[owner], None
        permissions = "iam:SimulatePrincipalPolicy, iam:ListEntitiesForPolicy and iam:ListGroupsForUser"
        began, pause = time.monotonic(), 0.2
        while True:
            try:
                if removed is None:
                    removed = await asyncio.to_thread(lambda: list(self._removed(owner)))
                decisions = await asyncio.to_thread(simulate_principal, self._account, arn, checks, removed)
            except AwsQueryError as error:
                raise ExpectationError(
                    f"{self._spell.prefix}{where}: the stack's policies are in place, but could not be checked in IAM: "
                    f"{error}. {error.cure(permissions)}"
                ) from None
            found = ["IAM has no such group or user"]
            if decisions is not None:
                found = [f"{check.text}: {why}" for check in checks if (why := check_problem(check, decisions))]
            if not found:
                return record
            if time.monotonic() - began + pause > CONFIRM_TIMEOUT:
                problems = [Problem(where, why) for why in found]
                raise ExpectationError(
                    f"The stack's policies are in place, but the permissions of {arn} are not as expected:\n"
                    f"{as_lines(problems, self._spell)}\nIf somebody attached another policy or added the user to "
                    "another group, undo that; or change the expectation. Then run `pulumi up` again."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5.0)

    def _removed(self, owner: Owner) -> Iterator[dict[str, Any]]:
        """Policies that the stack removes, which the engine does only at the end, as IAM's PolicyIdentifier.

        Excluding a managed policy excludes it for all that have it. So AWS is asked who else has one that is removed.
        """
        settings, state = self._settings, self._state
        kind, name = owner
        holders: dict[tuple[str, str], frozenset[str]] = {}
        if kind == "users":
            holders["user", name] = state.user(name).policies
        groups = {name} if kind == "groups" else {*settings.users[name].groups, *state.user(name).groups}
        holders |= {("group", group): state.group_policies.get(group, frozenset[str]()) for group in groups}
        stays = {holder: self._policies_of(*holder) for holder in holders}
        remaining = settings.users[name].groups if kind == "users" else groups
        left = {("group", group) for group in groups - set(remaining)}
        stays |= {group: set[str]() for group in left}
        everywhere = {policy for policies in stays.values() for policy in policies}
        for (attached_to, holder), policies in sorted(holders.items()):
            for policy in sorted(policies):
                if policy.startswith("arn:"):
                    # A policy that is not known yet cannot be told from one that is removed.
                    may_stay = self._deciding[owner].later or {policy, policy.rpartition("/")[2]} & everywhere
                    going = {one for one, found in holders.items() if policy in found or one in left}
                    if not may_stay and not self._is_held(owner, policy, going):
                        yield {"PolicyArn": policy}
                elif policy not in stays[attached_to, holder]:
                    where = {"PolicyName": policy, "AttachmentType": attached_to, "AttachmentName": holder}
                    yield {"InlinePolicyIdentifier": where}

    def _is_held(self, owner: Owner, policy: str, going: "set[tuple[str, str]]") -> bool:
        """Whether a user has a policy from elsewhere than from what is going: attached by somebody else."""
        kind, name = owner
        if kind == "groups":  # it has no policies from elsewhere, and IAM attaches each to it once
            return False
        others = self._account.holders(policy) - going
        groups = {holder for attached_to, holder in others if attached_to == "group"}
        return ("user", name) in others or bool(groups and groups & self._account.groups_of(name))

    def _policies_of(self, kind: str, name: str) -> set[str]:
        """What the stack gives a user or group: the ARNs of policies, the names of its own and of inline ones."""
        settings = self._settings
        own = (settings.groups if kind == "group" else settings.users).get(name)
        if own is None:
            return set()
        found = {ALLOW_FROM} if own.allow_from is not None else set[str]()
        for policy in own.policies:
            found.add(policy if policy in settings.policy_documents else policy_arn(policy, self._partition))
        found |= own.inline.keys()
        if isinstance(own, GroupSettings):
            found |= {arn for arn in own.policy_arns.values() if isinstance(arn, str)}
            found |= {f"{name}-{key}" for key in grant_policies([one.grant() for one in own.s3], self._partition)}
        return found

    # ---- what decides

    def _decides(self, kind: str, name: str) -> Deciding:
        settings = self._settings
        documents: dict[str, Document] = {}
        arns: dict[str, str] = {}
        later: list[str] = []
        groups = [name] if kind == "groups" else settings.users[name].groups
        for group in groups:
            of_group = settings.groups[group]
            whose = f" of group {self._spell('{}', group)}"
            self._managed(of_group.policies, documents, arns)
            for key, arn in of_group.policy_arns.items():
                if isinstance(arn, str):
                    arns[f"the policy '{key}'{whose}"] = arn
                else:
                    later.append(key)
            grants = grant_policies([asked.grant() for asked in of_group.s3], self._partition)
            documents |= {f"the policy '{key}'{whose}": json.loads(text) for key, text in grants.items()}
            documents |= {f"the inline policy '{key}'{whose}": found for key, found in of_group.inline.items()}
            if of_group.allow_from is not None:
                documents[f"{self._spell('allow_from')}{whose}"] = allow_from_document(of_group.allow_from)
        if kind == "groups":
            limits = [of_group.allow_from for of_group in [settings.groups[name]] if of_group.allow_from is not None]
            return Deciding(documents, arns, None, tuple(sorted(later)), limits)
        user = settings.users[name]
        self._managed(user.policies, documents, arns)
        documents |= {f"the inline policy '{key}' of the user": found for key, found in user.inline.items()}
        if user.allow_from is not None:
            documents[f"{self._spell('allow_from')} of the user"] = allow_from_document(user.allow_from)
        boundary: Document | str | None = None
        if isinstance(user.permissions_boundary, str):
            limit = user.permissions_boundary
            boundary = settings.policy_documents.get(limit) or policy_arn(limit, self._partition)
        elif user.permissions_boundary is not None:
            later.append("permissions_boundary")
        return Deciding(documents, arns, boundary, tuple(sorted(later)), settings.networks(name))

    def _managed(self, names: Sequence[str], documents: "dict[str, Document]", arns: dict[str, str]) -> None:
        for policy in names:
            key = f"the policy '{self._spell('{}', policy)}'"
            if policy in self._settings.policy_documents:
                documents[key] = self._settings.policy_documents[policy]
            else:
                arns[key] = policy_arn(policy, self._partition)

    def _digest(self, owner: Owner) -> str:
        """Of all that decides and all that is expected, in whatever order it is written."""
        found = self._deciding[owner]._replace(limits=sorted(map(sorted, self._deciding[owner].limits)))
        expected = sorted(json.dumps(one._replace(place=""), sort_keys=True) for one in self._expected[owner])
        return text_digest(json.dumps([owner, found, expected], sort_keys=True))
