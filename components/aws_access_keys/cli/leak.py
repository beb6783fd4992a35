"""`access-keys leak`: stop an access key that has leaked, and the sessions that it made; say what it did.

Each step is done whatever became of the others, and a second run does what the first one did not. Works with no stack,
too. `pulumi up` is never run.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import partial
from shlex import quote
from typing import Any, Literal, NamedTuple

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.rotate import as_listed, edit, entry_of, in_project, update_warnings
from aws_access_keys.cli.stack import (
    StackError,
    list_stacks,
    owned,
    selected_stack,
    stack_config,
    stack_keys,
)
from aws_access_keys.cli.usage import Looked, as_data, as_text, look_up
from aws_access_keys.iam import format_error, sdk_errors
from aws_access_keys.rules import leak as rules
from aws_access_keys.rules.keys import delete_command, status_command
from aws_access_keys.rules.resource_types import COMPONENT
from aws_access_keys.session import session_for

Say = Callable[[str], None]
"""Prints a line, as soon as what it is about is done."""


class Request(NamedTuple):
    """What is asked for."""

    key_id: str
    user: str | None
    dry_run: bool
    undo: bool
    new_key: bool
    regions: Sequence[str]


class Owner(NamedTuple):
    """Where a stack has the key."""

    stack: str
    user: str
    """The name in IAM."""
    role: Literal["current", "previous"]
    keys: dict[str, Any]
    """The user's part of the output `keys`."""


def leak(request: Request, stack: str | None, say: Say) -> tuple[dict[str, Any], bool]:
    """Do what is asked for, a line for each step. Returns the same as data, and whether all of it was done.

    Raises StackError where nothing can be done, and nothing was.
    """
    if problem := rules.key_problem(request.key_id):
        raise StackError(problem)
    answer = _Answer(request, stack, say)
    answer.identify()
    answer.do_steps()
    answer.find_stack()
    answer.edit_file()
    answer.look_around()
    answer.look_again()
    return answer.data, not answer.failed


class _Answer:
    """One run."""

    def __init__(self, request: Request, stack: str | None, say: Say) -> None:
        self.request, self.key_id, self.say = request, request.key_id, say
        self.data: dict[str, Any] = {"key": request.key_id, "dryRun": request.dry_run, "steps": [], "problems": []}
        self.failed = False
        self.in_project = in_project()
        self.stack = stack
        if self.in_project and not stack:
            with suppress(StackError):  # all stacks of the project are searched anyway
                self.stack = selected_stack()
        config: Mapping[str, Any] | None = None
        if self.stack:
            config = self._tried(lambda: stack_config(str(self.stack), "aws"))
        try:
            self.session: Any = session_for(config or {})
            credentials = self.session.get_credentials()
            own = credentials and credentials.access_key  # which assumes the roles, if there are any
            self._is_session = bool(credentials and credentials.token)
        except (*sdk_errors(), ValueError) as error:
            raise StackError(f"AWS cannot be asked: {format_error(error)}.") from None
        self._others = "AWS_PROFILE=NAME"
        if any((config or {}).get(name) for name in ("profile", "accessKey", "assumeRoles")):
            self._others = (
                f"those of another stack (--stack NAME), or {self._others} outside the project's folder; here, the "
                f"aws: config of stack {self.stack} decides"
            )
        if own == self.key_id:
            raise StackError(
                f"{self.key_id} is the key that this command would use itself. Use other credentials: {self._others}."
            )
        self.account = Account(lambda: self.session)
        self.user: str = request.user or ""
        self.active: bool | None = None
        self.document: Mapping[str, Any] | None = None
        """Of the policy that denies sessions."""
        self.is_read = True
        """Whether that policy could be read."""
        self.owner: Owner | None = None
        self.is_off = True
        """Whether the key is inactive by now."""
        self._behind = timedelta()
        self.resource: tuple[str, str] | None = None
        """The stack whose state has the key, though not its outputs, and the URN."""
        self.before: datetime | None = None

    # ---- whose it is

    def identify(self) -> None:
        """Find the account and the user. Raises StackError."""
        try:
            caller = self.account.ask("sts", "get_caller_identity")
        except AwsQueryError as error:
            raise StackError(f"AWS cannot be asked: {error}. {error.cure('sts:GetCallerIdentity')}") from None
        self._behind = _behind(caller)
        found = self._ask("sts", "get_access_key_info", AccessKeyId=self.key_id)
        account = found["Account"] if found else caller["Account"]
        if account != caller["Account"]:
            raise StackError(rules.elsewhere(self.key_id, account, caller["Account"], caller["Arn"], self._others))
        reason = "IAM does not have it"
        if not self.user:
            try:
                response = self.account.ask("iam", "get_access_key_last_used", AccessKeyId=self.key_id)
                self.user = response.get("UserName", "") if response else ""
            except AwsQueryError as error:
                reason = str(error)
                self.find_stack()
                self.user = self.owner.user if self.owner else ""
        if not self.user:
            summary = self._ask("iam", "get_account_summary")
            has_keys = summary and bool(summary["SummaryMap"].get("AccountAccessKeysPresent"))
            raise StackError(rules.of_nobody(self.key_id, account, reason, has_keys))
        if self._is_session and ":user/" in caller["Arn"] and caller["Arn"].rpartition("/")[2] == self.user:
            raise StackError(
                f"You are signed in as {self.user}, whose sessions are about to be denied. Use other credentials: "
                f"{self._others}."
            )
        self.active = self._is_active()
        self.document = self._deny_policy()
        self.data |= {"account": account, "user": self.user}
        self.say(f"{self.key_id} is an access key of user {self.user} in AWS account {account}.")

    def _is_active(self) -> bool | None:
        try:
            listed = self.account.list_access_keys(self.user)
        except AwsQueryError as error:
            self._problem(f"Whether the key is active is not known: {error}.")
            return None
        found = next((key for key in listed if key.id == self.key_id), None)
        if found is None:
            has = ", ".join(key.id for key in listed) or "none"
            raise StackError(f"The user {self.user} does not have the access key {self.key_id} (its keys: {has}).")
        return found.active

    def _deny_policy(self) -> Mapping[str, Any] | None:
        problems = len(self.data["problems"])
        response = self._ask("iam", "get_user_policy", UserName=self.user, PolicyName=rules.deny_name(self.key_id))
        self.is_read = len(self.data["problems"]) == problems
        return response and response["PolicyDocument"]

    # ---- the steps in IAM

    def do_steps(self) -> None:
        """Do what is due, or say what would be done."""
        is_owner = self.active is not None or not self.request.user
        undo = self.request.undo
        self.before = rules.denied_before(self.document)
        goes_on, is_recorded = True, is_owner
        known = self.active, self.document
        for step in rules.undo_steps(*known) if undo else rules.steps(*known, is_owner):
            if undo and not self.is_read:
                self._step(step.name, "FAILED", f"{step.what}: with other credentials, {self._command(step)}")
            elif not goes_on:
                first = "the key must be active" if undo else f"it must be known that the key is {self.user}'s"
                self._step(step.name, "not done", f"{step.what}: first {first}. Then run this again.")
            elif not step.is_due:
                self._step(step.name, "already done", self._past(step))
                if undo and step.name == "key" and not self.active:
                    self.say(f"  {'':12} To activate it: {self._command(step)}")
            elif self.request.dry_run:
                self._step(step.name, "would", step.what)
            else:
                try:
                    {"key": self._switch_key, "sessions": self._deny_sessions}[step.name]()
                except AwsQueryError as error:
                    self.failed, goes_on, is_recorded = True, not undo and is_owner, False
                    self.is_off &= step.name != "key"
                    text = f"{step.what}: {error}. {self._remedy(step, error)}"
                    self._step(step.name, "FAILED", text)
                else:
                    way_back = f"access-keys leak {self.key_id} --undo"
                    if step.name == "key" and not is_recorded:
                        way_back = status_command(self.user, self.key_id, "Active")
                    self._step(step.name, "done", self._past(step), None if undo else way_back)

    def _works(self, key: Mapping[str, Any]) -> bool:
        """Whether another key of the user works: in IAM, or by the last update where IAM does not tell."""
        with suppress(AwsQueryError):
            return any(one.id == key["id"] and one.active for one in self.account.list_access_keys(self.user))
        return key["status"] == "Active"

    def _past(self, step: rules.Step) -> str:
        if step.name == "key" or self.request.undo or not self.before:
            return step.past
        return f"{step.past}, issued before {self.before:%Y-%m-%d %H:%M:%S} UTC"

    def _switch_key(self) -> None:
        status = "Active" if self.request.undo else "Inactive"
        response = self.account.ask(
            "iam", "update_access_key", UserName=self.user, AccessKeyId=self.key_id, Status=status
        )
        if response is None:
            raise AwsQueryError(ValueError(f"IAM does not have the key or the user {self.user} any more"))

    def _deny_sessions(self) -> None:
        named = {"UserName": self.user, "PolicyName": rules.deny_name(self.key_id)}
        if self.request.undo:
            self.account.ask("iam", "delete_user_policy", **named)
            return
        self.before = datetime.now(timezone.utc) + self._behind + rules.MARGIN
        document = rules.as_text(rules.deny_document(self.before, self._was_active))
        if not self.account.ask("iam", "put_user_policy", **named, PolicyDocument=document):
            raise AwsQueryError(ValueError(f"IAM does not have the user {self.user} any more"))

    @property
    def _was_active(self) -> bool:
        return self.active is not False or rules.was_active(self.document)

    def _remedy(self, step: rules.Step, error: AwsQueryError) -> str:
        if error.code == "LimitExceeded":
            return (
                "The user's inline policies have no room for it. Delete one and run this again; or deny the user "
                f"everything: aws iam attach-user-policy --user-name {quote(self.user)} --policy-arn "
                f"{rules.deny_all(self.session.region_name)}"
            )
        if step.name == "key" and not self.request.undo:  # later sessions are denied only by another run
            return f"Run this again with other credentials; or, where that is not possible: {self._command(step)}"
        return f"With other credentials: {self._command(step)}"

    def _command(self, step: rules.Step) -> str:
        if step.name == "key":
            return status_command(self.user, self.key_id, "Active" if self.request.undo else "Inactive")
        command = "delete-user-policy" if self.request.undo else "put-user-policy"
        text = f"aws iam {command} --user-name {quote(self.user)} --policy-name {rules.deny_name(self.key_id)}"
        if self.request.undo or not self.before:
            return text
        document = rules.as_text(rules.deny_document(self.before, self._was_active))
        return f"{text} --policy-document {quote(document)}"

    # ---- the stack

    def find_stack(self) -> None:
        """Look for the key in the selected stack and in the others of this project."""
        if self.owner or not (self.in_project or self.stack):
            return
        others: list[str] = (self._tried(list_stacks) if self.in_project else None) or []
        stacks = [*([self.stack] if self.stack else []), *(stack for stack in others if stack != self.stack)]
        for stack in stacks:
            keys: dict[str, Any] = {}
            try:
                keys = stack_keys(stack)["keys"]
            except StackError as error:
                if "no access keys yet" not in error.message:
                    self._problem(f"Stack {stack} cannot be read: {error.message}")
                    continue
            for user, part in keys.items():
                for role in ("current", "previous"):
                    if part and part.get(role) and part[role]["id"] == self.key_id:
                        self.owner = Owner(stack, user.rpartition("/")[2], role, part)
                        return
            found = self._tried(partial(owned, stack))
            if resource := found.keys.get(self.key_id) if found else None:
                self.resource = stack, resource["urn"]

    def edit_file(self) -> None:
        """Change the stack file so that no update makes the key active again."""
        owner, request = self.owner, self.request
        if owner is None and self.resource:
            self._without_record(*self.resource)
            return
        if owner is None:
            where = "No stack of this project has the key." if self.in_project else "There is no Pulumi project here."
            self.say(f"  {where}")
            if request.new_key:
                self.say(
                    f"  For a new key: aws iam create-access-key --user-name {quote(self.user)} (it prints the secret)"
                )
            return
        up = f"pulumi up --stack {quote(owner.stack)}"
        self.data["stack"] = {"name": owner.stack, "role": owner.role}
        self.say(f"  It is the {owner.role} key of {owner.user} in stack {owner.stack}.")
        try:
            if request.undo:
                self._after_undo(owner, up)
                return
            entry = entry_of(owner.stack, owner.user)
            serial = int(owner.keys["current"]["serial"])
            previous = owner.keys.get("previous") if owner.role == "current" else None
            has_other = bool(previous) and self.is_off and self._works(previous)
            values = rules.stack_settings(owner.role, serial, entry.settings, request.new_key, has_other)
            diff = edit(owner.stack, entry, values, request.dry_run)
        except (StackError, ValueError) as error:
            text = getattr(error, "message", str(error))
            if not request.new_key:
                text = f"{text.partition('Set the serial')[0]} See that no setting makes the key active again."
            self._problem(text)
            return
        what = as_listed(values) or "nothing in it revives the key"
        status = "would" if request.dry_run and diff else "done" if diff else "already done"
        self._step("file", status, f"{entry.path}: {what}", entry.way_back(values) if diff else None)
        self.data["diff"] = diff
        for line in diff:
            self.say(f"      {line}")
        if request.new_key and previous and has_other:
            self.say(
                f"  The previous key, {previous['id']}, works. `pulumi up` issues a new key only once the leaked one "
                f"is deleted: {delete_command(self.user, self.key_id)}"
            )
        elif "serial" in values and not request.dry_run:
            for warning in update_warnings(owner.keys, {}):
                self.say(f"  Warning: {warning}")
        if request.new_key and owner.role == "previous":
            self.say("  The current key is another one, so no new one was asked for.")
        self.data["next"] = up
        self.say(f"  Next: {up}")

    def _without_record(self, stack: str, urn: str) -> None:
        """What to do about a key that a stack has, and that is not in its outputs."""
        if COMPONENT not in urn:
            status, undone = ("Active", "deactivates") if self.request.undo else ("Inactive", "activates")
            self._problem(
                f"Stack {stack} has the key outside ProgrammaticAccess, as {urn}. Set its status to {status} in the "
                f"program; otherwise the next update after a `pulumi refresh` {undone} the key again."
            )
        elif self.request.undo:
            self.say(f"  Stack {stack} has the key, from an update that did not finish: `pulumi refresh` and")
            self.say("  `pulumi up` complete it.")
        else:
            self._problem(
                f"Stack {stack} has the key, and no update has finished since. After `access-keys takeover`, run "
                "`pulumi up` and this command again. If an update that was to issue the key failed, the next one would "
                "complete it: delete the key first; then `pulumi refresh` and `pulumi up` issue another one: "
                f"{delete_command(self.user, self.key_id)}"
            )

    def _after_undo(self, owner: Owner, up: str) -> None:
        """What else a false alarm needs."""
        try:
            entry = entry_of(owner.stack, owner.user)
            serial = int(owner.keys["current"]["serial"])
            against = rules.settings_against(owner.role, serial, entry.settings, owner.keys, str(date.today()))
        except StackError as error:
            why = error.message.partition("Set the serial")[0]
            self.say(f"  See that no setting replaces or deactivates the key again. {why}")
        else:
            cure = "Correct that first"
            if owner.role == "previous":
                cure = "Set previous to active, and keep the serial, which is that of the current key"
            if against:
                self.say(
                    f"  {entry.path} was not changed. It has {', '.join(against)}, with which `{up}` replaces, "
                    f"deactivates or deletes the key. {cure}."
                )
        self.data["next"] = f"pulumi refresh --stack {quote(owner.stack)}; {up}"
        self.say(f"  Next: {self.data['next']}")

    # ---- what it did

    def look_around(self) -> None:
        """Quarantine, what the key did, and the roles that it assumed."""
        response = self._ask("iam", "list_attached_user_policies", UserName=self.user)
        attached: list[dict[str, str]] = response["AttachedPolicies"] if response else []
        found = {
            one["PolicyName"]: one["PolicyArn"] for one in attached if one["PolicyName"].startswith(rules.QUARANTINE)
        }
        self.data["quarantine"] = list(found)
        for name, arn in found.items():
            self.say(
                f"AWS found the leak, too, and attached {name} to the user. Detach it when all is done: "
                f"aws iam detach-user-policy --user-name {quote(self.user)} --policy-arn {arn}"
            )
        if self.request.dry_run or self.request.undo:
            return
        regions = list(self.request.regions)
        if self.owner and self.owner.stack != self.stack:
            config: Mapping[str, Any] = (
                self._tried(lambda: stack_config(str(self.owner and self.owner.stack), "aws")) or {}
            )
            regions += [config["region"]] if config.get("region") else []
        looked = look_up(self.session, [self.key_id], regions, follow=True)
        self.data["usage"] = as_data(looked)
        self.failed |= bool(looked.problems)
        self.say("")
        self.say(as_text(looked))
        self._roles(looked)

    def _roles(self, looked: Looked) -> None:
        before = self.before or datetime.now(timezone.utc)
        roles = sorted({role for usage in looked.usages for role in usage.roles})
        self.data["roles"] = [{"arn": arn, "revoke": _revoke(arn, before)} for arn in roles]
        if roles:
            self.say("\nRoles that it assumed. This revokes the sessions that each has now, also those of others:")
        for arn in roles:
            other = "" if f":{self.data['account']}:" in arn else f"  with credentials of its account, {arn}:\n"
            self.say(f"{other}  {_revoke(arn, before)}")

    def look_again(self) -> None:
        """Whether the key is still inactive: an update may have been about to activate it."""
        if self.request.dry_run or self.request.undo:
            return
        with suppress(AwsQueryError):  # which was said when the key was looked for
            if any(key.id == self.key_id and key.active for key in self.account.list_access_keys_now(self.user)):
                self._problem("The key is active again: an update may have been running. Run this command again.")

    # ---- what all of them use

    def _ask(self, service: str, operation: str, **parameters: Any) -> Any:
        """A response; None where AWS has no such thing or does not answer, which is said."""
        try:
            return self.account.ask(service, operation, **parameters)
        except AwsQueryError as error:
            name = "".join(word.capitalize() for word in operation.split("_"))
            self._problem(f"{service}:{name} was not answered: {error}.")
            return None

    def _tried(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except StackError as error:
            self._problem(error.message)
            return None

    def _problem(self, text: str) -> None:
        self.failed = True
        self.data["problems"].append(text)
        self.say(f"  Problem: {text}")

    def _step(self, name: str, status: str, what: str, undo: str | None = None) -> None:
        self.data["steps"].append({"step": name, "status": status, "what": what, "undo": undo})
        self.say(f"  {status:12} {what}")
        if undo:
            self.say(f"  {'':12} Undo: {undo}")


def _behind(response: Mapping[str, Any]) -> timedelta:
    """How far this machine's clock is behind that of AWS, which answered just now."""
    date = response["ResponseMetadata"]["HTTPHeaders"].get("date")
    return max(parsedate_to_datetime(date) - datetime.now(timezone.utc), timedelta()) if date else timedelta()


def _revoke(arn: str, before: datetime) -> str:
    return rules.revoke_command(arn.rpartition("/")[2], before)
