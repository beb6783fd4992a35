"""What the components of one program share during one run: the retire guard's hook, their users, their refusals."""

import asyncio
import atexit
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import Any, NamedTuple

import pulumi

from aws_access_keys.account import MAX_WORKERS, Account, AwsQueryError
from aws_access_keys.direct_delivery import OneTimeKey, parameter_hook
from aws_access_keys.key_endings import retired_line, unmanaged_key
from aws_access_keys.removal import unmanaged_items
from aws_access_keys.renamed import renamed
from aws_access_keys.retire_guard import InUseError, RetireGuard
from aws_access_keys.rules.problem import Problem, Spelling, as_lines
from aws_access_keys.rules.resource_types import COMPONENT, KEY, USER
from aws_access_keys.rules.rotation import Key, KeyPlan, Retirement
from aws_access_keys.state import ComponentState, UserState
from aws_access_keys.state_reading import parse_state
from aws_access_keys.takeover import is_listing
from aws_access_keys.urns import component_name, owner_of_key

HOOK = "aws-access-keys retire guard"
ISSUE_HOOK = "aws-access-keys issue"
STATE_HOOK = "aws-access-keys state"
PARAMETER_HOOK = "aws-access-keys parameter"
NEW_PARAMETER_HOOK = "aws-access-keys new parameter"
_ATTRIBUTE = "_aws_access_keys_run"
ALREADY_REPORTED_EXIT_CODE = 32
"""By this exit code a program tells Pulumi's language host that it has reported its error itself. Source:
`pulumi-language-python-exec` in the Pulumi SDK."""


STORES = ("secret", "parameter")


class Place(NamedTuple):
    """Where a component has its entities."""

    account_id: str
    region: str | None
    """Of the stores; None if it is not known."""


PlaceOf = Callable[[str], Place | None]
"""Where a component has its entities of a kind; None if the account is not known."""


class Run:
    """One preview, update or destroy. `Run.current()` is the one that is going on."""

    _of_plugin: "Run | None" = None

    def __init__(self, is_plugin: bool) -> None:
        self.is_plugin = is_plugin
        self.guards: dict[str, RetireGuard] = {}
        """URN of a component → its guard."""
        self.resources: Mapping[str, Any] = {}
        """What the state had when the run began; see state.py."""
        self.new_keys: set[str] = set()
        """URNs of the keys that this run issues."""
        self.replaced: dict[str, Key] = {}
        """URN of a new key → the key that makes room for it."""
        self.undelivered: set[str] = set()
        """The ids of keys whose secret nobody has, because they were never delivered."""
        self.staying: dict[str, Key] = {}
        """Id of each key that the program keeps → the key: what deletes it is not an update."""
        self.users: dict[tuple[str, str], UserState] = {}
        """URN of the component, and user, for each user whom the program keeps → what the state has."""
        self.stores: dict[str, tuple[str, str]] = {}
        """URN of each secret or parameter that holds a user's current key → URN of the component, user."""
        self.copied: set[tuple[str, str]] = set()
        """URN of the component, and user, where this run has put the current key into every store, or is to put it
        into none: another store that had it may go."""
        self.accounts: dict[str, Account] = {}
        """URN of a component → its account."""
        self.parameters: set[tuple[str, str]] = set()
        """URN of the component and name of each parameter that is a resource."""
        self.one_time_key = OneTimeKey()
        self._owners: dict[tuple[str, str], list[_Owner]] = {}
        self._states: dict[str, ComponentState] = {}
        self._fails = False
        # The event loop's own threads can all wait for the engine, which waits for a hook.
        self._threads = ThreadPoolExecutor(MAX_WORKERS)
        # One name in all components, so that one that is in the program guards the keys of one that was removed.
        self.hook = _hook(HOOK, self._check)
        self.issue_hook = _hook(ISSUE_HOOK, self._check_issue)
        self.state_hook = _hook(STATE_HOOK, self._check_state)
        self.new_parameter_hook = _hook(NEW_PARAMETER_HOOK, self._check_new_parameter)
        self.parameter_hook = _hook(PARAMETER_HOOK, parameter_hook(self.accounts, self.parameters, self._state_of))

    @classmethod
    def current(cls) -> "Run":
        """The run that is going on."""
        root: Any = pulumi.runtime.get_root_resource()
        if root is None:  # in a plugin, whose process serves one run only
            cls._of_plugin = cls._of_plugin or cls(is_plugin=True)
            return cls._of_plugin
        # The Automation API can run several programs in one process at the same time, each with a root of its own.
        if not hasattr(root, _ATTRIBUTE):
            setattr(root, _ATTRIBUTE, cls(is_plugin=False))
        return getattr(root, _ATTRIBUTE)

    def claim(
        self,
        component: pulumi.ComponentResource,
        name: str,
        kind: str,
        places: Mapping[str, str],
        place_of: PlaceOf,
    ) -> Iterator[Problem]:
        """Entities that another component of the same account has already.

        kind: `user`, `group`, `policy`, `secret` or `parameter`. places: name in AWS → the setting. place_of: called
        only if the names match and the providers differ.
        """
        mine = _Owner(component, name, id(component.get_provider(USER)), place_of)
        for entity, place in places.items():
            same = entity if kind in STORES else entity.casefold()  # IAM ignores case
            owners = self._owners.setdefault((kind, same), [])
            other = next((one for one in owners if one.shares(kind, mine)), None)
            owners.append(mine)
            if other:
                yield Problem(
                    place,
                    f"the component '{other.name}' has a {kind} of this name in the same account. Rename or remove one "
                    "of the two, or pass each component the provider of its own account.",
                )

    def report(self, skipped: Sequence[Problem], spell: Spelling) -> None:
        """Report changes that were skipped, and make an update fail when everything else is done.

        An exception instead would keep the engine from its deletions, which come last, and an error in the log alone
        ends in exit code 0, which no scheduler notices. So the process fails when the engine has finished with it.
        """
        if not skipped:
            return
        if pulumi.runtime.is_dry_run():
            pulumi.log.warn(
                "`pulumi up` will skip the following, apply everything else, and exit with an error:\n"
                f"{as_lines(skipped, spell)}"
            )
            return
        if self.is_plugin:
            return  # provider.py reports it
        pulumi.log.error(skipped_message(skipped, spell))
        if not self._fails:
            self._fails = True
            atexit.register(_exit)

    def note(self, state: ComponentState, plans: Mapping[str, KeyPlan]) -> None:
        """Note which keys this run issues, which ones make room for them, and which ones stay. plans: by user."""
        for user, plan in plans.items():
            known, urn = state.user(user), state.key_urn(user, plan.current.name)
            self.users[state.urn, user] = known
            self.staying |= {key.id: key for planned in plan.keys if (key := known.key(planned.name))}
            if not plan.is_new:
                continue
            self.new_keys.add(urn)
            if plan.replaced and not plan.is_reissue and (key := known.key(plan.replaced)):
                self.replaced[urn] = key

    def outputs(self, urn: str) -> Mapping[str, Any]:
        """The outputs that a resource had when the run began; none of one that was not there."""
        return self.resources.get(urn, {}).get("outputs", {})

    def hooks(self, is_guarded: bool) -> pulumi.ResourceHookBinding:
        """The hooks of a user's keys."""
        guard = [self.hook] if is_guarded else []
        update = [self.state_hook, *guard]
        # In a preview always, for the line about a key that `pulumi destroy --run-program` deletes. The state gets it
        # from updates only; it would make every destroy require --run-program.
        delete = [self.hook] if is_guarded or pulumi.runtime.is_dry_run() else []
        return pulumi.ResourceHookBinding(before_create=[self.issue_hook], before_update=update, before_delete=delete)

    async def _check_issue(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse to issue a key that nobody asked for: the state had it when the run began.

        `pulumi up --refresh` finds out only after the plan is made that IAM no longer has it; and `pulumi up --replace`
        would replace a key in use.
        """
        if args.urn not in self.new_keys:
            user = owner_of_key(args.urn)[1]
            raise InUseError(
                f"no access key is issued to replace {args.name} of user {user}, because the settings do not ask for "
                "one. For a new key, raise the serial instead of using --replace. If the key is tainted, run `pulumi "
                f"state untaint '{args.urn}'`. If IAM no longer has it, run `pulumi refresh`, then `pulumi up`."
            )
        if (key := self.replaced.get(args.urn)) and not pulumi.runtime.is_dry_run():
            make_room = self._threads.submit(copy_context().run, self._make_room, *owner_of_key(args.urn), key)
            await asyncio.wrap_future(make_room)

    def _make_room(self, component: str, user: str, key: Key) -> None:
        """Delete a key right before its successor is created: IAM allows two keys per user, and the engine deletes what
        the program no longer has only after it has created what is new.

        An alias and delete_before_replace would do it without a call of ours. But a destroy or refresh that runs the
        program applies the alias alone: the old key gets the name of the new one, and would be taken for it.
        """
        if key.id not in self.undelivered and (refusal := self.guards[component].refusal(user, key.id, "deleted")):
            raise InUseError(refusal)
        try:
            self.accounts[component].ask("iam", "delete_access_key", UserName=user, AccessKeyId=key.id)
        except AwsQueryError as error:
            cure = error.cure("iam:DeleteAccessKey")
            raise pulumi.RunError(
                f"no new key is issued for {user}: the access key {key.id} could not be deleted to make room "
                f"({error}). {cure} Then run `pulumi up` again."
            ) from None

    def _check_new_parameter(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse to replace what stands for a parameter whose secret is not kept: nothing could fill it again."""
        if args.urn in self.resources:
            raise InUseError(
                f"{args.name} is not replaced, because the parameter has the only copy of the secret. For a new key, "
                "raise the serial instead of using --replace. If the resource is tainted, run `pulumi state untaint "
                f"'{args.urn}'`."
            )

    async def _check_state(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse to activate a key, or to fill a store, that changed since the plan was made: `pulumi up --refresh`.

        The plan knows the state before that refresh, and not what somebody deactivated or delivered.
        """
        if args.type == KEY and args.new_inputs is not None and args.new_inputs.get("status") == "Inactive":
            return
        known = self.outputs(args.urn)
        for name in {"status", "value"} & known.keys():
            now = await pulumi.Output.from_input((args.old_outputs or {}).get(name)).future()
            if now != known[name]:
                raise InUseError(
                    f"{args.name} was changed in AWS, which this run found only after its plan was made. Run "
                    "`pulumi refresh`, then `pulumi up` without --refresh."
                )
        if args.type == KEY and known.get("status") == "Inactive" and not pulumi.runtime.is_dry_run():
            check = self._threads.submit(copy_context().run, self._check_leak, *owner_of_key(args.urn), args.id)
            await asyncio.wrap_future(check)

    def _check_leak(self, component: str, user: str, key_id: str) -> None:
        """Refuse to activate a key that `access-keys leak` has recorded since the plan was made."""
        try:
            has_leaked = self.accounts[component].has_leaked(user, key_id)
        except AwsQueryError as error:
            why = f"whether it has leaked could not be checked ({error}). {error.cure('iam:GetUserPolicy')}"
            raise pulumi.RunError(f"the access key {key_id} of {user} is not activated: {why}") from None
        if has_leaked:
            raise InUseError(
                f"the access key {key_id} of {user} is not activated: `access-keys leak` recorded during this run that "
                "it has leaked. Run `pulumi up` again."
            )

    async def _check(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse to delete or deactivate a key in use, and to delete the secret or parameter that holds it."""
        if args.type != KEY:
            await self._check_store(args)
            return
        if args.new_inputs is not None and args.new_inputs.get("status") != "Inactive":
            return  # it keeps working
        if args.id in self.undelivered:
            return
        action: Retirement = "deleted" if args.new_inputs is None else "deactivated"
        component, user = owner_of_key(args.urn)
        guard = self.guards.get(component) or self._guard_of_removed(component)
        refusal = guard.refusal(user, args.id, action)
        if refusal:
            raise InUseError(refusal)
        staying = self.staying.get(args.id) if args.new_inputs is None else None
        if staying is None:
            if component not in self.guards:
                await self._refuse_others(component, user, guard)
            return
        account = self.accounts[component]
        if why := renamed(user, [staying], account):
            raise InUseError(f"{args.name} is not deleted: {why}")
        await self._refuse_others(component, user, guard)
        if line := retired_line(account, user, staying, "deleted", "the stack is destroyed"):
            pulumi.log.info(line)

    async def _refuse_others(self, component: str, user: str, guard: RetireGuard) -> None:
        """Refuse to destroy a user who has in IAM what the state has not: IAM would delete everything else before it
        refuses, and of a key a store of the stack may have the only copy."""
        # One request after the other for one user; other hooks go on.
        look = self._threads.submit(copy_context().run, self._others, component, user, guard)
        if why := await asyncio.wrap_future(look):
            raise InUseError(why)

    def _others(self, component: str, user: str, guard: RetireGuard) -> str | None:
        state = self._known(component, user)
        # That of a component which is no longer in the program: as in _guard_of_removed.
        account = self.accounts.get(component) or next(iter(self.accounts.values()))
        known = {key.id for key in state.keys}
        with suppress(AwsQueryError):
            for key in [key for key in account.list_access_keys(user) if key.id not in known]:
                if refusal := guard.refusal(user, key.id, "deleted"):
                    return refusal
                if not state.force_destroy:
                    return f"the user {user} cannot be deleted. {unmanaged_key(user, key, account)}"
        own = self._state_of(component).policies_of(user)
        if state.force_destroy or not (items := ", ".join(unmanaged_items(user, known, own, account))):
            return None
        return (
            f"the user {user} cannot be deleted, because {user} still has items in IAM that this stack does not manage"
            f": {items}. Remove them in IAM; or, to delete them with the user, follow 'Remove users, destroy a stack' "
            "in docs/keys.md."
        )

    async def _check_store(self, args: pulumi.ResourceHookArgs) -> None:
        """`pulumi destroy` deletes what holds a key before the key: its consumers would lose a key that is kept.

        Where the program no longer has the secret or parameter, it goes once another store has the key.
        """
        owner = self.stores.get(args.urn)
        if owner is None:
            owner = None if pulumi.runtime.is_dry_run() else self._former_user(args.urn)
            if owner is None or owner in self.copied:
                return
        component, user = owner
        guard = self.guards.get(component) or self._guard_of_removed(component)
        if args.urn in self.stores or component not in self.guards:
            await self._refuse_others(component, user, guard)
        for key in self._known(component, user).keys:
            if refusal := guard.refusal(user, key.id, "deleted"):
                raise InUseError(f"{args.name} is not deleted, because it holds the key of {user}: {refusal}")

    def _state_of(self, component: str) -> ComponentState:
        if component not in self._states:
            self._states[component] = parse_state(component, self.resources)
        return self._states[component]

    def _known(self, component: str, user: str) -> UserState:
        """What the state has of a user, who may no longer be in the program."""
        return self.users.get((component, user)) or self._state_of(component).user(user)

    def _former_user(self, urn: str) -> tuple[str, str] | None:
        """The URN of the component, and the user, whose key the state has in a secret or parameter."""
        components = {urn for urn in self.resources if urn.split("::", 3)[2].endswith(COMPONENT)} | self.guards.keys()
        owners = ((component, self._state_of(component).owner_of_store(urn)) for component in components)
        return next(((component, user) for component, user in owners if user), None)

    def _guard_of_removed(self, component: str) -> RetireGuard:
        """The guard that a component had which is no longer in the program.

        It asks in the account of one that is; a key that this account does not have is not deleted.
        """
        state = self._state_of(component)
        name = component_name(component)
        other = next(iter(self.guards.values()))
        return other.of_removed(name, {user: found.idle_days for user, found in state.users.items()})


class _Owner(NamedTuple):
    """A component that has an entity in AWS."""

    component: pulumi.ComponentResource
    name: str
    provider: int
    place_of: PlaceOf

    def shares(self, kind: str, other: "_Owner") -> bool:
        """Whether another component has its entities of a kind in the same account, and stores in the same region."""
        if self.component is other.component:
            return False
        if self.provider == other.provider:
            return True
        mine, its = self.place_of(kind), other.place_of(kind)
        if mine is None or its is None or mine.account_id != its.account_id:
            return False
        return kind not in STORES or (mine.region is not None and mine.region == its.region)


def _hook(name: str, check: pulumi.ResourceHookFunction) -> pulumi.ResourceHook:
    """A hook that runs in previews, too. Where one only lists resources, there is nothing to refuse: to the engine, the
    keys that it does not list are deleted."""
    check = (lambda _: None) if is_listing() else check
    return pulumi.ResourceHook(name, check, opts=pulumi.ResourceHookOptions(on_dry_run=True))


def skipped_message(skipped: Sequence[Problem], spell: Spelling) -> str:
    """The error of an update that skipped changes."""
    changes = "1 change was" if len(skipped) == 1 else f"{len(skipped)} changes were"
    return f"{changes} skipped; everything else is applied:\n{as_lines(skipped, spell)}"


def _exit() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ALREADY_REPORTED_EXIT_CODE)
