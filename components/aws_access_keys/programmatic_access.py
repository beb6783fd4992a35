"""ProgrammaticAccess: groups, users and access keys as one reusable component."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timezone
from typing import Any, cast

import pulumi

from aws_access_keys import clock
from aws_access_keys.access_keys import RegisteredKeys, UserKeys, all_accepted
from aws_access_keys.account import Account, SessionFactory
from aws_access_keys.adoption import kept_tags, taken_over
from aws_access_keys.args import ProgrammaticAccessArgs
from aws_access_keys.credentials import credentials_csv, credentials_file
from aws_access_keys.delivery import Deliveries
from aws_access_keys.descriptions import KeyDescriptions
from aws_access_keys.environment import ignored_tags, provider_region, region, region_problems
from aws_access_keys.existing_secrets import existing_facts
from aws_access_keys.expectations import Expectations
from aws_access_keys.facts import FIRST_WRITTEN, facts_in_state, facts_of_parameters, facts_wanted
from aws_access_keys.identities import Identities, once_known
from aws_access_keys.key_endings import expiry, removed_in_use, removed_keys, still_active, stray_keys
from aws_access_keys.notifying import Notifying
from aws_access_keys.planning import UserPlan, plan_users
from aws_access_keys.preflight import missing_buckets, policy_places, preflight, store_places
from aws_access_keys.removal import (
    group_problems,
    kept_items,
    lost_users,
    removal_problems,
    removed_copies,
    renamed_users,
    unfinished_adoptions,
)
from aws_access_keys.renamed import renamed
from aws_access_keys.retire_guard import InUseError, RetireGuard, UserGuard
from aws_access_keys.rules.keys import CONSOLE_TAGS, description_problems
from aws_access_keys.rules.moving import interrupted
from aws_access_keys.rules.policies import administrator_warning, partition_of
from aws_access_keys.rules.problem import PYTHON, STACK_FILE, Problem, Spelling, as_lines
from aws_access_keys.rules.resource_types import COMPONENT, USER
from aws_access_keys.rules.untyped import mapping
from aws_access_keys.run import Place, Run
from aws_access_keys.session import aws_session, is_sandbox
from aws_access_keys.setting_types import read_section
from aws_access_keys.settings import (
    AccessSettings,
    ComponentSettings,
    KeySettings,
    StackSettings,
)
from aws_access_keys.state import THIS_RUN, ComponentState, KeyPlans, RunRecord, UserState, regions_of_stores
from aws_access_keys.state_reading import read_state
from aws_access_keys.takeover import is_listing
from aws_access_keys.unfinished import changes, foreign_policies, unfinished
from aws_access_keys.updating import is_update
from aws_access_keys.validation import SettingsError, pgp_problems, refuse, rule_problems


class ProgrammaticAccess(pulumi.ComponentResource):
    """IAM groups with managed policies, users in these groups, and the access keys of each user.

    Children are named `NAME/GROUP`, `NAME/GROUP/POLICY`, `NAME/USER` and `NAME/USER/SERIAL`; IAM names have no `/`, so
    the names of two components never collide.

    What the settings ask for and must not be done, such as the deletion of a key in use, is skipped: it is reported,
    everything else is done, and the update fails. Raises SettingsError, with every problem in one message, before
    anything is registered; InUseError where a user was removed whose key is in use, KeyLimitError where a user cannot
    have the planned keys, both before any user or key is registered.
    """

    access_key_ids: pulumi.Output[dict[str, str]]
    """User → id of the current access key."""
    secret_access_keys: pulumi.Output[dict[str, str]]
    """User → secret of the current access key; a secret. Without users whose secret is encrypted to an OpenPGP key."""
    encrypted_secrets: pulumi.Output[dict[str, dict[str, str]]]
    """User with a `pgp_key` → `ciphertext` (base64 OpenPGP message) and `fingerprint` of the key that reads it."""
    credentials_file: pulumi.Output[str]
    """An AWS shared credentials file with one profile per user; a secret."""
    credentials_csv: pulumi.Output[str]
    """A CSV file for `aws configure import`; a secret."""
    ses_smtp_passwords: pulumi.Output[dict[str, str]]
    """User → password for the SMTP interface of SES, derived from the current key; a secret."""
    keys: pulumi.Output[dict[str, Any]]
    """User → status of the keys: current and previous key, next rotation."""
    user_arns: pulumi.Output[dict[str, str]]
    """User → ARN."""
    group_arns: pulumi.Output[dict[str, str]]
    """Group → ARN."""

    def __init__(
        self,
        name: str,
        args: ProgrammaticAccessArgs,
        opts: pulumi.ResourceOptions | None = None,
        session: SessionFactory = aws_session,
        today: date | None = None,
        spell: Spelling = PYTHON,
    ) -> None:
        """session: makes the boto3 session for the component's own calls. Default: as in `aws:` of the stack's config.
        To be given where `opts` has a provider with credentials of its own. today: default the current UTC date.
        spell: how the caller writes the names of the arguments.
        """
        self._name = name
        # A provider of the program's own has its own settings, which are not known here.
        self._has_provider = bool(opts and (opts.provider or opts.providers))
        self._ignored_tags = [CONSOLE_TAGS] if self._has_provider else ignored_tags()
        given, self._partition = _checked(name, args, spell, self._ignored_tags)
        self._settings = given.prefixed()
        self._spell = spell = replace(spell, name_prefix=given.name_prefix or "")
        self._today = _today() if today is None else today
        if not isinstance(self._today, date) or not callable(session):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise SettingsError(
                f"ProgrammaticAccess '{name}': today is a datetime.date, and session is a function that returns a "
                "boto3.Session (session=lambda: boto3.Session(...)). Nothing of this component was created or changed."
            )
        for option in ("retain_on_delete", "deleted_with"):
            if getattr(opts, option, None):
                raise SettingsError(
                    f"ProgrammaticAccess '{name}': {option} would leave keys working that this component reports as "
                    "deleted. Remove it; `pulumi state delete` takes users and keys out of a stack and leaves them in "
                    "AWS. Nothing of this component was created or changed."
                )
        self._account = Account(session)
        self._has_own_session = session is not aws_session
        not_inherited = pulumi.ResourceOptions(retain_on_delete=False)
        super().__init__(COMPONENT, name, None, pulumi.ResourceOptions.merge(opts, not_inherited))
        run = Run.current()
        state, run.resources = read_state(self)
        if why := interrupted(run.resources):
            raise pulumi.RunError(why)
        if account_id := state.account_id:
            # The provider could tell without boto3, but to ask it would put it, with these credentials, into the state,
            # and `pulumi refresh` would use it.
            self._account.check_account(account_id)
        if own := provider_region(self):  # a session of the program's own may be for another one
            delivered = [found.delivered_directly for found in state.users.values()]
            self._account.regions = regions_of_stores(delivered, own, self._account.session_region or own)
        self._state, self._is_listing = state, is_listing()
        if self._is_listing:
            state = ComponentState(state.urn, is_new=True, users={}, groups=frozenset())
            self._settings = self._settings.without_adoption()
        removed = sorted(
            user
            for user, found in state.users.items()
            if user not in self._settings.users and (found.exists or found.keys)
        )
        # A removed user may have had another prefix.
        known = {*self._settings.users, *removed}
        prefixed = [f"{spell.name_prefix}{user}" for user in self._settings.retire_unguarded]
        self._unguarded = {
            name if name in known else user
            for name, user in zip(prefixed, self._settings.retire_unguarded, strict=True)
        }
        keyless = sorted(self._settings.users.keys() - set(self._settings.users_with_key))
        guard = RetireGuard(self._today, self._account, self._user_guards(state, [*removed, *keyless]))
        run.guards[state.urn] = guard
        self._expired = self._expired_users(state, guard)
        self._settings = self._settings.without_keys(self._expired)
        keyless = sorted({*keyless, *self._expired})
        self._deliveries = Deliveries(name, self._settings, spell, state, self._account, run, guard)
        plans = self._plan(run, state, removed, keyless, guard)
        self.has_encrypted_secrets = any(
            self._settings.effective_key(user).pgp_key or found.is_encrypted
            for user in self._settings.users_with_key
            for found in [state.user(user)]
        )
        ended = dict.fromkeys(keyless, "the settings give the user no key") | self._expired
        ended |= {user: f"it expired on {plan.expired_on}" for user, plan in plans.items() if plan.expired_on}
        left, warnings = still_active(state.users, ended, spell, self._account)
        # What was skipped. Not annotated on the class, where it would count as an output.
        self.skipped = (
            *(Problem(spell("users.{}.key", user), why) for user, plan in plans.items() for why in plan.skipped),
            *left.values(),
        )
        for warning in warnings:
            pulumi.log.warn(warning)
        # Then the engine does not write the stack's outputs. Not annotated on the class, either.
        self.outputs_stay = run.is_plugin and bool(self.skipped)
        run.report(self.skipped, spell)
        run.undelivered |= {plan.undelivered for plan in plans.values() if plan.undelivered}
        settings = self._settings
        self._notifying = settings.notify and Notifying(
            settings, settings.notify, spell, state, plans, self._account, self._today
        )
        self._report(state, plans, known)
        run.note(state, {user: plan.plan for user, plan in plans.items()})
        self._tried = {user: self._trial(user, plan, state.user(user)) for user, plan in plans.items()}
        record = self._record(guard, plans, [*removed, *keyless], left)
        KeyPlans(name, record, pulumi.ResourceOptions(parent=self))
        self._register_all(run, state, guard, plans)

    @classmethod
    def from_stack_file(cls, name: str, settings: StackSettings) -> "ProgrammaticAccess":
        """The component with the settings of a stack file, which are checked already."""
        return cls(name, cast("ProgrammaticAccessArgs", settings), spell=STACK_FILE)

    def _report(self, state: ComponentState, plans: Mapping[str, UserPlan], known: Collection[str]) -> None:
        """What this run does to the keys, before it does it. known: users of the settings and of the state."""
        spell = self._spell
        self._warn_of_settings(known)
        for user, plan in plans.items():
            for line in (*plan.retired, *plan.waits):
                pulumi.log.info(line)
            for warning in plan.warnings:
                pulumi.log.warn(f"{spell.prefix}{spell('users.{}.key', user)}: {warning}")
        if self.outputs_stay and any(plan.retired for plan in plans.values()):
            pulumi.log.info("as changes are skipped, no previous key is deactivated yet, unless it expires")
        if pulumi.runtime.is_dry_run():
            rotated = [
                user
                for user, plan in plans.items()
                if plan.plan.is_new and not plan.takes_over and state.user(user).keys
            ]
            for line in kept_items(rotated, state, self._account):
                pulumi.log.info(line)
        for user, plan in plans.items():
            self._deliveries.note(user, plan)
        for line in self._notifying.preview() if self._notifying and pulumi.runtime.is_dry_run() else ():
            pulumi.log.info(line)

    def _record(
        self,
        guard: RetireGuard,
        plans: Mapping[str, UserPlan],
        without: Sequence[str],
        left: Collection[tuple[str, str]],
    ) -> RunRecord:
        """What the next run must know of this one.

        without: users that are to have no key. left: user and id of each key that still works although it should not.
        """
        users, before = [*plans, *without], {user: self._state.user(user) for user in without}
        # What an earlier run left open is not forgotten if this one fails before it has deleted the keys or the users.
        removed = {user: found.kept_tags for user, found in before.items() if user not in self._settings.users}
        tags = {user: tags for user, tags in removed.items() if tags} | self._kept_tags
        before = {user: found for user, found in before.items() if found.keys}
        undecided = {user: found.undecided for user, found in before.items()}
        undecided |= {user: plan.undecided for user, plan in plans.items()}
        adopts = {
            user: str(found.adopting)
            for user in users
            if (found := self._state.user(user)).adopting in {key.id for key in found.keys}
        }
        planned = {user: list(found.planned) for user, found in before.items() if found.planned}
        return RunRecord(
            plans=planned | {user: [str(key.name) for key in plan.plan.keys] for user, plan in plans.items()},
            idle_days={user: days for user in users if (days := guard.idle_days(user))},
            adopts=adopts | {user: key.adopt.id for user in plans if (key := self._settings.effective_key(user)).adopt},
            retired={user: str(key.name) for user, plan in plans.items() if (key := plan.retired_key)},
            expired={user: plan.expired_on.isoformat() for user, plan in plans.items() if plan.expired_on},
            lost={user: [key_id for owner, key_id in left if owner == user] for user, _ in left},
            tested=self._expectations.tested,
            unkept={user: keys for user in users if (keys := self._deliveries.unkept(user, plans.get(user)))},
            keep_secret={user: False for user in users if not self._deliveries.keeps(user)},
            tags=tags,
            tried={user: tried for user, tried in self._tried.items() if tried},
            undecided={user: key_id for user, key_id in undecided.items() if key_id},
            changes=self._changes,
            number=self._number,
            writing={user: writes for user in users if (writes := self._deliveries.writing(user, plans.get(user)))},
        )

    def _warn_of_settings(self, known: Collection[str]) -> None:
        """Settings that are allowed and can do harm. known: users of the settings and of the state."""
        for user in sorted(self._unguarded):
            name = self._spell("{}", user)
            what = (
                f"the retire guard does not protect the keys of '{name}'. Remove the name after this run."
                if user in known
                else f"there is no user '{name}'. Remove the name."
            )
            pulumi.log.warn(f"{self._spell.prefix}{self._spell('retire_unguarded')}: {what}")
        if pulumi.runtime.is_dry_run():
            documents = self._settings.policy_documents
            holders = [("groups", *group) for group in self._settings.groups.items()]
            holders += [("users", *user) for user in self._settings.users.items()]
            for kind, name, holder in holders:
                attached = {policy: documents.get(policy) for policy in holder.policies}
                for setting, policies in (("policies", attached), ("inline", holder.inline)):
                    if warning := administrator_warning(policies):
                        place = self._spell(f"{kind}.{{}}.{setting}", name)
                        pulumi.log.warn(f"{self._spell.prefix}{place}: {warning}")

    def _user_guards(self, state: ComponentState, removed: list[str]) -> dict[str, UserGuard]:
        """User → what the retire guard asks for; where keys are removed, as in `key_defaults`, else as it was.

        removed: users that are not in the settings, and those that are to have no key.
        """
        settings, spell = self._settings, self._spell
        defaults = settings.key_defaults
        guards: dict[str, UserGuard] = {}
        for user in [*settings.users_with_key, *removed]:
            asked = defaults.retire_guard if user in removed else settings.effective_key(user).retire_guard
            days = asked.idle_days if asked else 0
            if user in removed and "retire_guard" not in defaults.given:
                days = state.user(user).idle_days
            # One user's keys are let go without lifting the guard from anybody else's.
            setting = f"{spell.prefix}{spell('retire_unguarded')}"
            name = spell("{}", user)
            override = f"add '{name}' to {setting} for one run (its `pulumi preview` lists the keys that it retires)"
            guards[user] = UserGuard(days, override, user in self._unguarded)
        return guards

    def _expired_users(self, state: ComponentState, guard: RetireGuard) -> dict[str, str]:
        """Users that are to have no key from this run on, because theirs have expired → why.

        Where the guard keeps a key, each is deactivated as far as it may be (planning.py).
        """
        expired: dict[str, str] = {}
        problems: list[Problem] = []
        for user in self._settings.users_with_key:
            key, found = self._settings.effective_key(user), state.user(user)
            rules = key.rules()
            if not rules.have_expired(self._today):
                continue
            if key.adopt and found.takes_over(key.adopt.id):
                text = f"the keys of this user expired on {rules.expires}, so none is adopted. Set a later day, run"
                cure = "`pulumi up`, and set the day again; or remove adopt."
                place = self._settings.key_place(self._spell, user, "expires")
                problems.append(Problem(place, f"{text} {cure}"))
            elif not found.keys or (
                rules.previous == "deleted"
                and not any(guard.refusal(user, one.id, "deleted") for one in found.keys)
                and not renamed(user, found.keys, self._account)  # planning.py reports it
            ):
                expired[user] = expiry(rules)
        refuse(problems, self._spell, self._name)
        return expired

    def _plan(
        self, run: Run, state: ComponentState, removed: list[str], keyless: list[str], guard: RetireGuard
    ) -> dict[str, UserPlan]:
        """User → plan. Raises where nothing may be done at all. keyless: users that are to have no key."""
        settings, spell = self._settings, self._spell
        keys = {user: settings.effective_key(user) for user in settings.users_with_key}
        had_keys = [user for user in keyless if state.user(user).keys]
        present = sorted(user for user, found in state.users.items() if found.exists or found.keys)
        if present and not settings.users and not settings.allow_no_users:
            users = f"{', '.join(present[:5])}{' and others' if len(present) > 5 else ''}"
            cure = f"List them, or enable {spell('allow_no_users')} to delete them all."
            refuse([Problem("users", f"no users, but the stack has {users}. {cure}")], spell, self._name)
        if not self._has_provider and state.users:
            refuse(list(region_problems(run.resources)), spell, self._name)
        policies = policy_places(settings, spell, self._partition)
        claims = {
            "user": {user: spell("users.{}", user) for user in settings.users},
            "group": {group: spell("groups.{}", group) for group in settings.groups},
            "policy": policies,
            **store_places(settings, spell),
        }
        problems = [
            found
            for kind, places in claims.items()
            for found in run.claim(self, self._name, kind, places, self._place_of)
        ]
        self._expectations = Expectations(settings, spell, self._partition, state, self._account)
        warnings: list[str] = []
        adopted = {user: key.adopt.id for user, key in keys.items() if key.adopt}
        if not self._is_listing:
            problems += preflight(
                settings, spell, state, removed, policies, self._partition, self._ignored_tags, self._account
            )
            problems += self._expectations.problems()
            changing = {user: self._deliveries.changing(user, self._today) for user in state.users}
            with_secret = {
                user: key.adopt.id for user, key in keys.items() if key.adopt and key.adopt.secret is not None
            }
            problems += stray_keys(state.users, with_secret, changing, removed, spell, self._account)
            problems += self._deliveries.taken(changing)
            warnings += missing_buckets(settings, spell, state, self._account)
        lost, unmanaged = lost_users(settings, state.users, spell, self._account)
        renames = renamed_users([*removed, *had_keys], settings.users, state.users, spell, self._account)
        refuse([*problems, *lost, *renames, *unfinished_adoptions(removed, state, spell)], spell, self._name)
        for warning in [*unmanaged, *warnings]:
            pulumi.log.warn(warning)
        self._kept_tags = kept_tags(settings, state, self._ignored_tags, self._account)
        if pulumi.runtime.is_dry_run():
            for line in taken_over(settings, state, self._kept_tags, self._partition, self._account):
                pulumi.log.info(line)
        in_use = removed_in_use(state.users, removed, had_keys, guard, self._account, spell)
        if in_use:
            raise InUseError(
                f"These keys would be deleted, but are still in use:\n{as_lines(in_use, spell)}\nNothing was changed."
            )
        problems, lines = removal_problems(removed, state, spell, self._account)
        refuse(problems, spell, self._name)
        copies, held = removed_copies(settings, state, run.resources)
        lines += copies
        why = dict.fromkeys(removed, "the user was removed")
        why |= {user: self._expired.get(user, "the settings give the user no key") for user in had_keys}
        lines += removed_keys(state.users, why, self._account)
        states = {user: state.user(user) for user in keys}
        plans = plan_users(
            {user: key.rules() for user, key in keys.items()},
            adopted,
            # IAM has those that are adopted, too.
            {user: replace(found, exists=found.exists or settings.adopts(user)) for user, found in states.items()},
            self._today,
            guard,
            self._account,
            held,
            spell,
            {user: self._deliveries.handling(user) for user in keys},
            self._is_listing,
        )
        places = {f"{kind} {name}": place for kind, of in claims.items() for name, place in of.items()}
        left = self._look_up(run, state, plans, places) or group_problems(settings, state, spell, self._account)
        refuse([*self._deliveries.problems(plans), *left], spell, self._name)
        for line in lines:
            pulumi.log.info(line)
        return plans

    def _place_of(self, kind: str) -> Place | None:
        """As for `Run.claim`. A provider of the program's own may be for another account than the stack's session."""
        account_id = self._state.account_id
        has_provider = self.get_provider(USER) is not None
        # An existing secret was looked for, and found, with the session.
        has_existing = kind == "secret" and any(store.existing for store in self._settings.secrets().values())
        if account_id is None and (self._has_own_session or not has_provider or has_existing):
            account_id = self._account.caller_account
        region = provider_region(self) or (None if has_provider else self._account.session_region)
        return Place(account_id, region) if account_id else None

    def _look_up(
        self, run: Run, state: ComponentState, plans: Mapping[str, UserPlan], places: Mapping[str, str]
    ) -> list[Problem]:
        """What an interrupted update left; and note what this one is about to change. places: as for `unfinished`."""
        settings = self._settings
        facts = facts_in_state(state, run.resources)
        kept = {user for user, plan in plans.items() if not self._deliveries.direct(user, plan).without_copy}
        wanted = facts_wanted(
            settings.with_tags(self._kept_tags), state, facts, plans, kept, self._partition, run.resources
        )
        existing, written = existing_facts(settings, state, self._account)
        wanted |= written
        existing |= facts_of_parameters(facts, wanted, state, self._account)
        self._changes = changes(facts | existing, wanted, settings)
        is_first = any(owner.startswith(FIRST_WRITTEN) and owner not in facts for owner in self._changes)
        self._number = {THIS_RUN: state.number + 1} if is_first else {}
        left = list(unfinished(state.changes, facts, wanted, state, places, self._spell, self._account))
        if self._is_listing:
            return left
        return [*left, *foreign_policies(facts, wanted, settings, state, self._spell, self._account)]

    def _register_all(self, run: Run, state: ComponentState, guard: RetireGuard, plans: Mapping[str, UserPlan]) -> None:
        settings = self._settings.with_tags(self._kept_tags)
        identities = Identities(self, self._name, settings, self._spell, self._partition, state)
        # Not annotated on the class, where they would count as outputs: the children, for programs that need them.
        self.groups, self.users = identities.groups, identities.users
        descriptions = KeyDescriptions(state.urn, self._account)
        keys: dict[str, RegisteredKeys] = {}
        proofs: list[pulumi.Output[Any]] = []
        acts = any(self._deliveries.acts(user, plan) for user, plan in plans.items())
        self._sends = bool(self._notifying and self._notifying.preview())
        acts |= self._sends
        issued: list[pulumi.Output[bool]] = []
        updating = is_update(self._name, state.acted, acts, self, issued)
        accepted = pulumi.Output.from_input(all_accepted(proofs, self._deliveries.failures, updating))
        self.delivered = accepted
        run.accounts[state.urn] = self._account
        for user in sorted(plans):
            direct = self._deliveries.direct(user, plans[user], updating)
            keys[user] = UserKeys(
                user=self.users[user],
                name=f"{self._name}/{user}",
                user_name=user,
                spell=self._spell,
                settings=self._key(user),
                plan=plans[user],
                state=state.user(user),
                account=self._account,
                hooks=run.hooks(is_guarded=bool(guard.idle_days(user))),
                allowed=identities.allowed[user],
                descriptions=descriptions,
                deliver=self._deliveries.into_stores(user, plans[user], direct, self.users[user]),
                direct=direct,
                one_time_key=run.one_time_key,
                tried=self._tried[user],
                proofs=proofs,
                issued=issued,
                all_accepted=accepted,
                outputs_stay=self.outputs_stay,
            ).register()
        arns = {("groups", name): made.arn for name, made in self.groups.items()}
        arns |= {("users", name): made.arn for name, made in self.users.items()}
        self._set_outputs(run, state, keys, accepted, self._expectations.confirmed(arns, identities.deciding))

    def _trial(self, user: str, plan: UserPlan, state: UserState) -> Any:
        """When the last run began that tries a user's current key, in ISO format: this one, or an earlier one."""
        current = state.key(plan.plan.current.name)
        stays_off = current and not current.active and plan.plan.current.status != "active"
        if current and (stays_off or plan.plan.current.status == "inactive" or state.is_proven(current.id)):
            return state.tried.isoformat() if state.tried else None
        if not current and not self._settings.effective_key(user).verify:
            return None  # otherwise a run that failed, or a takeover, may have tried it
        if pulumi.runtime.is_dry_run():
            return pulumi.UNKNOWN  # an update that is held to its plan begins later
        return datetime.now(timezone.utc).isoformat(timespec="seconds")

    def _key(self, user: str) -> KeySettings:
        """A user's key settings."""
        settings, known = self._settings.effective_key(user), dict[str, pulumi.Input[str]]()
        for field, check in (("description", description_problems), ("pgp_key", pgp_problems)):
            value: pulumi.Input[str] | None = getattr(settings, field)
            if value is not None:
                place = self._settings.key_place(self._spell, user, field)
                known[field] = once_known(value, place, check, self._spell, self._name)
        return settings.but(**known)

    def _set_outputs(
        self,
        run: Run,
        state: ComponentState,
        keys: Mapping[str, RegisteredKeys],
        accepted: "pulumi.Output[bool]",
        expectations: "dict[str, pulumi.Input[Any]]",
    ) -> None:
        def by_user(
            values: "Mapping[str, pulumi.Output[Any]]", before: Mapping[str, Any] | None = None
        ) -> "pulumi.Output[dict[str, Any]]":
            """User → value, without the users that have none. before: the values before this run."""
            resolved: pulumi.Output[Any] = pulumi.Output.from_input(
                {user: _or_before(value, (before or {}).get(user)) for user, value in values.items()}
            )
            return resolved.apply(lambda found: {user: value for user, value in found.items() if value is not None})

        def before(output: str) -> dict[str, Any]:
            newest = {user: of_user.keys[0].name for user, of_user in state.users.items() if of_user.keys}
            return {user: run.outputs(state.key_urn(user, name)).get(output) for user, name in newest.items()}

        self.access_key_ids = by_user({user: key.current.id for user, key in keys.items()}, before("id"))
        self.secret_access_keys = pulumi.Output.secret(
            by_user({user: key.secret for user, key in keys.items()}, before("secret"))
        )
        self.encrypted_secrets = by_user(
            {
                user: pulumi.Output.all(key.current.encrypted_secret, key.current.key_fingerprint).apply(
                    lambda both: {"ciphertext": both[0], "fingerprint": both[1]} if both[0] else None
                )
                for user, key in keys.items()
                if not key.without_copy
            }
        )
        both = pulumi.Output.all(self.access_key_ids, self.secret_access_keys)
        self.credentials_file = pulumi.Output.secret(both.apply(lambda found: credentials_file(*found)))
        self.credentials_csv = pulumi.Output.secret(both.apply(lambda found: credentials_csv(*found)))
        passwords = {user: key.current.ses_smtp_password_v4 for user, key in keys.items()}
        self.ses_smtp_passwords = pulumi.Output.secret(by_user(passwords, before("sesSmtpPasswordV4")))
        nulls = dict.fromkeys(("previous", "nextRotation", "expires", "previousUntil"))  # the state has no null
        registered = mapping(run.outputs(state.urn).get("keys"))
        had = {user: {**nulls, **mapping(found)} for user, found in registered.items()}
        self.keys = by_user({user: key.status for user, key in keys.items()}, had)
        self.user_arns = by_user({user: made.arn for user, made in self.users.items()})
        self.group_arns = by_user({group: made.arn for group, made in self.groups.items()})
        # Only what the next run must know: every other output would be one more copy of a secret in the state.
        outputs: dict[str, Any] = {"keys": self.keys} | ({"expectations": expectations} if expectations else {})
        outputs |= self._number
        # Not annotated on the class, where it would count as an output.
        self.notices = None
        if self._notifying:
            tags = {user: self._settings.effective_tags(user) for user in keys}
            self.notices = pulumi.Output.all(accepted, self.keys, tags).apply(lambda found: self._notify(run, *found))
            # Not known before: an update that is held to its plan compares it.
            outputs["notices"] = pulumi.UNKNOWN if pulumi.runtime.is_dry_run() else self.notices
        # With --continue-on-error, those of the last finished run stay where this one fails.
        accepted.apply(lambda done: self.register_outputs(outputs) if done else None)

    async def _notify(
        self, run: Run, accepted: bool, keys: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]]
    ) -> dict[str, Any]:
        """Send the notices, before the outputs are registered. One that fails makes the update fail at its end.

        Returns what was sent, for the next run.
        """
        if self._notifying is None or not accepted or pulumi.runtime.is_dry_run():
            return {}
        record, problems = await asyncio.to_thread(self._notifying.send, keys, tags, self._sends)
        self.skipped = (*self.skipped, *problems)
        run.report(problems, self._spell)
        return record


def _or_before(value: "pulumi.Output[Any]", before: Any) -> "pulumi.Output[Any]":
    """A value; or the one before, where this run does not make it: a destroy and a refresh that run the program create
    nothing, and what is not known would be a placeholder in the stack's outputs."""
    if pulumi.runtime.is_dry_run():
        return value

    async def known() -> Any:
        return await value.future() if await value.is_known() else before

    return pulumi.Output.from_input(known())


def _checked(
    name: str, args: Mapping[str, Any], spell: Spelling, ignored_tags: Sequence[str]
) -> tuple[AccessSettings, str]:
    """The settings, and the partition of the AWS managed policies. Raises SettingsError."""
    partition = partition_of(region())
    if isinstance(args, StackSettings):
        return args, partition
    settings, problems = read_section(ComponentSettings, args, spell)
    if settings:
        partition = settings.partition or partition
        problems += rule_problems(settings, spell, partition, ignored_tags)
    refuse(problems, spell, name)
    assert settings is not None, "settings that cannot be parsed have problems"
    return settings, partition


def _today() -> date:
    """The current date, or the one that is rehearsed. An update on another day would issue or retire real keys."""
    try:
        day = clock.today(os.environ)
    except ValueError as error:
        raise pulumi.RunError(str(error)) from None
    if os.environ.get(clock.VARIABLE) and not pulumi.runtime.is_dry_run() and not is_sandbox():
        raise pulumi.RunError(
            f"{clock.VARIABLE}={day} rehearses another day, which is for `pulumi preview` only: `pulumi up` would "
            f"issue and retire keys on the wrong day. Unset {clock.VARIABLE}. Nothing was changed."
        )
    return day
