"""The guard on keys in use: a key that was used lately is neither deactivated nor deleted."""

from collections.abc import Mapping
from datetime import date

import pulumi

from components.aws import SessionMaker, last_use

DEFAULT_IDLE_DAYS = 30


class InUseError(Exception):
    """A key that is still in use; its text says which, since when, and what to do."""


class RetireGuard:
    """One resource hook for all users of a component.

    It is registered whether or not a user has the guard, for the state may name it for a key that the program no longer
    mentions: deleting that key runs the hook too. It also runs in a preview, so that a preview tells what `up` would.
    """

    def __init__(
        self, name: str, idle_days: Mapping[str, int | None], gone_idle_days: int, today: date, maker: SessionMaker
    ) -> None:
        """idle_days: user → days for which a key must be unused, None where the guard is off.

        gone_idle_days: the same for users that the config no longer has, 0 where the guard is off.
        """
        self._idle_days = idle_days
        self._gone_idle_days = gone_idle_days
        self._today = today
        self._maker = maker
        self._hook = pulumi.ResourceHook(
            f"{name}/retire-guard", self._run, opts=pulumi.ResourceHookOptions(on_dry_run=True)
        )

    def binding(self, user: str) -> pulumi.ResourceHookBinding | None:
        """The hook for a user's keys, or None where the guard is off."""
        if self._idle_days.get(user) is None:
            return None
        return pulumi.ResourceHookBinding(before_update=[self._hook], before_delete=[self._hook])

    def _run(self, args: pulumi.ResourceHookArgs) -> None:
        """Refuse the step with an InUseError if it takes a used key away."""
        old = args.old_outputs or args.old_inputs or {}
        new_status = (args.new_inputs or {}).get("status")
        if old.get("status") == "Inactive" or (args.new_inputs is not None and new_status != "Inactive"):
            return  # it works for nobody already, or goes on working
        user = str(old.get("user", ""))
        # A user that the config no longer has took its own number of days along.
        idle_days = self._idle_days.get(user, self._gone_idle_days)
        used = last_use(self._maker, args.id) if idle_days else None
        if not idle_days or used is None:
            return
        days = (self._today - used.on.date()).days
        if days < idle_days:
            setting = f"users.{user}.key.retireGuard" if user in self._idle_days else "keyDefaults.retireGuard"
            action = "deleted" if args.new_inputs is None else "deactivated"
            where = f"{used.service} in {used.region}" if used.region != "N/A" else used.service
            raise InUseError(
                f"The access key {args.id} of user {user} is still in use, so it is not {action}: it was used on "
                f"{used.on:%Y-%m-%d %H:%M} UTC for {where}, {_ago(days)}, and retireGuard asks for "
                f"{idle_days} idle days. Find who uses it and give them the current key; or, to retire it all the "
                f"same, set {setting} to null for this one run."
            )


def _ago(days: int) -> str:
    return "today" if days <= 0 else "1 day ago" if days == 1 else f"{days} days ago"
