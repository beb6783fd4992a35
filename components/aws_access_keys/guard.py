"""The guard on keys in use: a key that was used lately is neither deactivated nor deleted."""

from collections.abc import Mapping
from datetime import date

import pulumi

from aws_access_keys.aws import Account, UnansweredError
from aws_access_keys.rules.rotation import Retirement


class InUseError(pulumi.RunError):
    """Keys that are still in use; its text says which, since when, and what to do."""


class RetireGuard:
    """Knows which keys may not go, and is a resource hook that refuses to let one go.

    What the config asks for is asked of the guard before anything is registered (components/plans.py). The hook is for
    what no config says: `pulumi destroy`, and a key that came into use in between. It is registered whether or not a
    user has the guard, for the state may name it for a key that the program no longer mentions.
    """

    def __init__(
        self, name: str, idle_days: Mapping[str, int | None], gone_idle_days: int | None, today: date, account: Account
    ) -> None:
        """idle_days: user → days for which a key must be unused, None where the guard is off.

        gone_idle_days: the same for users that the config no longer has; 0 where the guard is off, None: as it was
        when the user left.
        """
        self._idle_days = idle_days
        self._gone_idle_days = gone_idle_days
        self._left: dict[str, int] = {}
        self._today = today
        self._account = account
        self._hook = pulumi.ResourceHook(
            f"{name}/retire-guard", self._run, opts=pulumi.ResourceHookOptions(on_dry_run=True)
        )

    def left(self, users: Mapping[str, int]) -> None:
        """Tell which users have left the config, and how many idle days they had asked for; 0: none."""
        self._left.update(users)

    def idle_days(self, user: str) -> int | None:
        """Days for which a user's key must have been unused before it may go; None or 0 where the guard is off."""
        if user in self._idle_days:
            return self._idle_days[user]
        return self._left.get(user) if self._gone_idle_days is None else self._gone_idle_days

    def binding(self, user: str) -> pulumi.ResourceHookBinding | None:
        """The hook for a user's keys, or None where the guard is off."""
        if not self.idle_days(user):
            return None
        return pulumi.ResourceHookBinding(before_update=[self._hook], before_delete=[self._hook])

    def refusal(self, user: str, key_id: str, action: Retirement) -> str | None:
        """Why a key may not be deactivated or deleted, in words for the operator; None where it may."""
        idle_days = self.idle_days(user)
        if not idle_days:
            return None
        own = user in self._idle_days
        setting = f"users.{user}.key.retireGuard" if own else "keyDefaults.retireGuard"
        override = f"set {setting} to null for one run"
        try:
            # The state may not know that a key was deleted, or switched on again, by hand.
            status = {key.id: key.status for key in self._account.keys_of(user)}.get(key_id)
            used = self._account.last_use(key_id) if status == "Active" else None
        except UnansweredError as error:
            return (
                f"the access key {key_id} of user {user} is not {action}, because AWS does not say whether it is in "
                f"use ({error}). Whoever runs Pulumi needs iam:ListAccessKeys and iam:GetAccessKeyLastUsed for the "
                f"retireGuard; or, to retire the key unseen, {override}."
            )
        days = (self._today - used.on.date()).days if used else idle_days
        if used is None or days >= idle_days:
            return None
        return (
            f"the access key {key_id} of user {user} is still in use, so it is not {action}: it was {used.text}, "
            f"{_ago(days)}, and retireGuard asks for {idle_days} idle days. Find who uses it and give them "
            f"{'the current key' if own else 'another key'}; or, to retire it all the same, {override}."
        )

    def _run(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse the step with an InUseError if it takes a used key away."""
        old = args.old_outputs or args.old_inputs or {}
        if args.new_inputs is not None and args.new_inputs.get("status") != "Inactive":
            return  # it goes on working
        action: Retirement = "deleted" if args.new_inputs is None else "deactivated"
        refusal = self.refusal(str(old.get("user", "")), args.id, action)
        if refusal:
            raise InUseError(refusal)


def _ago(days: int) -> str:
    return "today" if days <= 0 else "1 day ago" if days == 1 else f"{days} days ago"
