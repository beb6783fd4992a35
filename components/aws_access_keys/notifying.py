"""Sends the notices about keys (rules/notices.py) to an SNS topic, to a command, or both."""

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.command import CommandError, project_folder, run
from aws_access_keys.key_endings import in_parallel
from aws_access_keys.planning import UserPlan
from aws_access_keys.rules.notices import Marks, Notice, Standing, after, notices
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.settings import AccessSettings, NotifySettings
from aws_access_keys.state import ComponentState

COMMAND_TIMEOUT = 60  # seconds


class NotSentError(Exception):
    """A notice could not be sent; the message has the reason."""


class Notifying:
    """The notices of one component in one run."""

    def __init__(
        self,
        settings: AccessSettings,
        notify: NotifySettings,
        spell: Spelling,
        state: ComponentState,
        plans: Mapping[str, UserPlan],
        account: Account,
        today: date,
    ) -> None:
        self._settings, self._notify, self._spell, self._state, self._plans = settings, notify, spell, state, plans
        self._account, self._today = account, today
        self._stack = f"{pulumi.get_project()}/{pulumi.get_stack()}"
        self._hangs = False
        self._channels: dict[str, Callable[[Notice], None]] = {}
        if notify.sns is not None:
            self._channels["sns"] = self._publish
        if notify.command is not None:
            self._channels["command"] = self._run

    def preview(self) -> list[str]:
        """A line about each notice that the update will send."""
        keys: dict[str, Any] = {}
        for user, plan in self._plans.items():
            known = {key.name: key for key in self._state.user(user).keys}
            found = [
                {"id": had.id if had else "", "status": "Active" if active else "Inactive"}
                for planned in plan.plan.keys
                for had in [known.get(planned.name)]
                for active in [planned.status == "active" or (planned.status is None and (had is None or had.active))]
            ]
            day = plan.plan.next_rotation
            keys[user] = {**dict(zip(("current", "previous"), found, strict=False)), "nextRotation": day and str(day)}
        standings = self._standings(keys, {})
        texts: dict[str, list[str]] = {}
        for channel in self._channels:
            due, _ = notices(standings, self._sent(channel), self._today, self._notify.before_days)
            for notice in due.values():
                texts.setdefault(notice.text, []).append(channel)
        return [f"`pulumi up` will send a notice ({', '.join(channels)}): {text}" for text, channels in texts.items()]

    def send(
        self, keys: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]], is_announced: bool
    ) -> tuple[dict[str, Any], list[Problem]]:
        """Send what is due. Returns what was sent up to now, for the component's outputs, and what failed.

        keys: the component's output of this name. tags: of each user. is_announced: whether a preview shows any. What
        it does not show waits for the next update: this may be a refresh, which has just seen a change in IAM.
        """
        standings, record, problems = self._standings(keys, tags), dict[str, Any](), list[Problem]()
        for channel, put in self._channels.items():
            sent = self._sent(channel)
            due, marks = notices(standings, sent, self._today, self._notify.before_days)
            if due and not is_announced:
                record[channel] = sent
                continue
            # Commands run one after the other: few are made for more.
            reasons = (in_parallel if channel == "sns" else map)(partial(_reason, put), list(due.values()))
            failed = {mark: reason for mark, reason in zip(due, reasons, strict=True) if reason}
            record[channel] = after(sent, marks, list(failed))
            for mark, reason in failed.items():
                text = f"this notice was not sent ({reason}); the next `pulumi up` tries again: {due[mark].text}"
                problems.append(Problem(f"notify.{channel}", text))
        return record, problems

    def _standings(self, keys: Mapping[str, Any], tags: Mapping[str, Mapping[str, str]]) -> list[Standing]:
        return [
            Standing(
                user,
                tags.get(user, {}).get(self._notify.owner_tag),
                keys[user],
                self._plans[user].not_retired if user in self._plans else {},
                self._fetch(user),
            )
            for user in sorted(keys)
        ]

    def _sent(self, channel: str) -> Marks:
        """What was sent on a channel; on a new one, everybody knows the keys that were handed over."""
        if channel in self._state.notices:
            return self._state.notices[channel]
        return {
            f"works {key.id}": {"user": user}
            for user, found in self._state.users.items()
            for key in found.keys
            if key.active and key.id in {handed_over.id for handed_over in found.handed_over}
        }

    def _fetch(self, user: str) -> tuple[str, ...]:
        deliver = self._settings.effective_deliver(user) if user in self._settings.users else None
        commands: list[str] = []
        if deliver and (store := deliver.secrets_manager):
            name = store.existing or store.stored_name(user, "secrets_manager")
            commands.append(
                f"aws secretsmanager get-secret-value --secret-id {name}{self._account.region_option('secretsmanager')}"
            )
        if deliver and (store := deliver.ssm):
            name = store.stored_name(user, "ssm")
            commands.append(
                f"aws ssm get-parameter --name {name} --with-decryption{self._account.region_option('ssm')}"
            )
        if deliver and deliver.command and not commands:
            return ()  # it is where the command put it
        return tuple(commands or [f"access-keys credentials {user} --stack {pulumi.get_stack()}"])

    def _publish(self, notice: Notice) -> None:
        assert self._notify.sns
        attributes = {"event": notice.event, "user": notice.user, "owner": notice.owner}
        try:
            self._account.publish(
                self._notify.sns,
                f"AWS access key of {notice.user}: {notice.event}",
                notice.as_text(self._stack),
                {name: value for name, value in attributes.items() if value},
            )
        except AwsQueryError as error:
            raise NotSentError(f"{error}. {error.cure('sns:Publish')}".rstrip(".")) from None

    def _run(self, notice: Notice) -> None:
        """Run the command with the notice as JSON on its standard input; exit code 0 means that it was sent."""
        assert self._notify.command
        if self._hangs:
            took = f"it did not finish within {COMMAND_TIMEOUT} seconds for an earlier notice"
            raise NotSentError(f"{self._notify.command[0]}: {took}, so it was not run again")
        document = notice.as_data() | {"stack": self._stack}
        try:
            run(self._notify.command, document, {}, project_folder(), COMMAND_TIMEOUT)
        except CommandError as error:
            self._hangs = error.is_timeout
            raise NotSentError(f"{self._notify.command[0]}: {error}") from None


def _reason(put: Callable[[Notice], None], notice: Notice) -> str | None:
    """Why a notice was not sent; None where it was."""
    try:
        put(notice)
    except NotSentError as error:
        return str(error)
    return None
