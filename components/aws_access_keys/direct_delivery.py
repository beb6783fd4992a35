"""Delivery by this program itself: to a command, and of secrets that nobody keeps (`keep_secret: false`) to the stores.

A secret that is not kept is encrypted by the aws provider to an OpenPGP key that exists in the memory of one run. This
program decrypts it, tries the key, delivers it and forgets it. The state has no more than where the key went: a Stash
for each user, written as soon as the key is delivered. A key that it does not name was not delivered, and if no store
has its secret either, it is issued again: delivery_check.py. What a command did that was interrupted is not known, so
another Stash has the key before the command gets it, and the command comes after everything that can fail and end the
run.

The parameter in SSM is not a resource, because the state of one has its value. A Stash is there in its place, whose
hook deletes the parameter.
"""

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from uuid import uuid4

import pulumi

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.command import CommandError, project_folder, run_command
from aws_access_keys.credentials import is_expired, stored_id, stored_key
from aws_access_keys.rules.keys import is_key_id, key_ids
from aws_access_keys.rules.names import DESCRIPTION, described_user, in_words
from aws_access_keys.rules.problem import Spelling
from aws_access_keys.rules.resource_types import AWS_KEYS, PARAMETER, STASH, USER
from aws_access_keys.settings import DeliverSettings
from aws_access_keys.state import ComponentState, Delivered, UserState, known_ids
from aws_access_keys.urns import urn_below

_GONE = ("ResourceNotFoundException", "ParameterNotFound")


class OneTimeKey:
    """An OpenPGP key pair that exists in the memory of this process only."""

    @cached_property
    def _pair(self) -> Any:
        from pysequoia import Profile, Tsk  # a few milliseconds, for those who use it

        # A user id is required by the aws provider, and so is the older format.
        return Tsk.generate("aws-access-keys", profile=Profile.RFC4880)

    @property
    def public(self) -> str:
        """The public key as the aws provider takes it: base64 of the binary form."""
        return b64encode(bytes(self._pair.extract_certificate())).decode()

    def decrypt(self, message: str) -> str:
        """The text in a base64 OpenPGP message."""
        from pysequoia import decrypt

        found: Any = decrypt(b64decode(message), self._pair.decryptor())
        return found.bytes.decode()


TOKEN = "aws-access-keys-"
"""How the ids of the versions of secrets begin that the program writes."""


@dataclass(frozen=True)
class DirectDelivery:
    """Delivers one user's keys."""

    component: str
    """The component's URN."""
    user: str
    settings: DeliverSettings
    without_copy: bool
    """Whether the secret of the user's current key is not kept."""
    state: UserState
    account: Account
    spell: Spelling
    failures: list[str]
    """Of all users: what was not delivered, and why. Nothing older is retired then, and the run fails."""
    copied: set[tuple[str, str]]
    """See run.py."""
    is_update: "pulumi.Output[bool]"
    """See updating.py."""
    ready: "list[pulumi.Output[Any]]"
    """Known when the current key of each user of the component is accepted, and in the stores that are resources. Not
    of other components, which may wait for this one."""

    @property
    def destinations(self) -> dict[str, Any]:
        """Where this program delivers the key to, as recorded."""
        found = self.settings.destinations(self.user)
        return found if self.without_copy else {kind: to for kind, to in found.items() if kind == "command"}

    def attempt(self, name: str, value: "pulumi.Output[str | None]", opts: pulumi.ResourceOptions) -> pulumi.Stash:
        """Record which key the command is about to get, if its secret is not kept. value: as in `record`."""

        async def attempted(text: str | None) -> dict[str, Any]:
            key_id = stored_id(text) if text else None
            if key_id and not pulumi.runtime.is_dry_run():
                await asyncio.sleep(0)  # until all users are registered
                for one in self.ready:
                    await one.future()
                if not await self.is_update.future():
                    key_id = None
            return {"key": key_id or self.state.attempted}

        known = value.apply(lambda text: asyncio.ensure_future(attempted(text)))
        return pulumi.Stash(name, input=pulumi.Output.unsecret(known), opts=opts)

    def record(
        self,
        name: str,
        value: "pulumi.Output[str | None]",
        arn: pulumi.Input[str],
        ids: "Sequence[pulumi.Input[str | None]]",
        opts: pulumi.ResourceOptions,
    ) -> pulumi.Resource:
        """Deliver a value, and record it. value: what a store holds; None where the secret is not known (any more).

        arn: of the user. ids: of the secret in Secrets Manager, of what stands for the parameter, and of the key in the
        record of the attempt, if there is one: they come first.
        """
        kms_key = self.settings.ssm.kms_key if self.settings.ssm else None

        def start(values: "list[Any]") -> "asyncio.Future[dict[str, Any]]":
            return asyncio.ensure_future(self._deliver(*values))

        known = pulumi.Output.all(value, arn, kms_key, *ids).apply(start)
        return pulumi.Stash(name, input=pulumi.Output.unsecret(known), opts=opts)

    async def _deliver(
        self, text: str | None, arn: str, kms_key: str | None, secret_id: str | None, _: Any, *attempted: str | None
    ) -> dict[str, Any]:
        """Returns what is to be recorded."""
        before, wanted, fields = self.state.delivered_directly, self.destinations, self.settings.fields
        kms_key = kms_key or AWS_KEYS[PARAMETER]
        if text is None:
            kept = {kind: where for kind, where in before.to.items() if kind in wanted}
            if any(wanted[kind] == where for kind, where in kept.items()):
                self.copied.add((self.component, self.user))
            if before.to.get("ssm") == wanted.get("ssm") and before.kms_key not in (None, kms_key):
                place = f"{self.spell.prefix}{self.spell('users.{}.deliver.ssm.kms_key', self.user)}"
                pulumi.log.warn(
                    f"{place}: this applies from the next key on. The parameter '{before.to['ssm']}' has the only copy "
                    f"of {self.user}'s secret, and stays encrypted with {before.kms_key}: keep that KMS key until a "
                    "new key is delivered. For a new key, raise serial."
                )
            return _record(replace(before, to=kept))
        content: dict[str, str] = json.loads(text)
        name = stored_id(text) or f"expired {content['expired']}"
        if "expired" in content:
            wanted = {kind: where for kind, where in wanted.items() if kind != "command"}
        missing = before.missing(wanted, fields) if before.content == name else wanted
        done, failed = {kind: to for kind, to in wanted.items() if kind not in missing}, None
        kms_key = kms_key if "ssm" in missing else before.kms_key

        def delivered(to: Mapping[str, Any]) -> dict[str, Any]:
            if not to:
                return _record(replace(before, failed=failed))
            is_new = missing.keys() & to.keys() & {"ssm", "existingSecret"} and not pulumi.runtime.is_dry_run()
            region = self.account.region if is_new else before.region
            return _record(Delivered(name, to, fields, failed, kms_key, region, before.writes + bool(missing)))

        if pulumi.runtime.is_dry_run():
            return delivered(wanted)
        if missing and not await self.is_update.future():
            return _record(before)
        for kind, where in missing.items():  # the command comes last: the stores can tell a later run the secret
            try:
                if kind == "command" and attempted not in ((), (name,)):
                    raise CommandError("the engine did not record that the command gets it, as with --target")
                await asyncio.to_thread(self.account.check_account, arn.split(":")[4])
                await asyncio.to_thread(self._put, kind, where, text, secret_id, kms_key)
            except (AwsQueryError, CommandError, pulumi.RunError) as error:
                self.failures.append(self._failure(kind, where, name, error))
                # Where a store failed, the command did not get the key that this run has recorded for it.
                is_known = kind == "command" or (attempted == (name,) and self.state.attempted != name)
                failed = name if self.without_copy and is_known else None
                break
            done[kind] = where
        else:
            self.copied.add((self.component, self.user))
        return delivered(done)

    def _put(self, kind: str, where: Any, text: str, secret_id: str | None, kms_key: str | None) -> None:
        if kind == "ssm" and self.settings.ssm:
            key_id = {} if kms_key == AWS_KEYS[PARAMETER] else {"KeyId": kms_key}
            self._put_parameter(where, self.settings.ssm.fields.renamed(text), key_id)
        elif store := self.settings.secrets_manager if kind != "command" else None:
            text = store.fields.renamed(text)
            token = f"{TOKEN}{uuid4()}"
            put = {"SecretId": secret_id, "SecretString": text, "ClientRequestToken": token}
            self.account.ask("secretsmanager", "put_secret_value", **put)
        else:
            key: dict[str, str] = {"user": self.user, **json.loads(text)}
            command = self.settings.command or []
            output = run_command(command, key, project_folder(), self.settings.timeout_seconds)
            pulumi.log.info(f"the command delivered the access key {key['aws_access_key_id']} of {self.user}{output}")

    def _put_parameter(self, name: str, text: str, key: Mapping[str, Any]) -> None:
        """Write a parameter: a new one, or one that this stack wrote before."""
        put = {"Name": name, "Value": text, "Type": "SecureString", **key}
        put["Description"] = DESCRIPTION.format(self.user)
        if self.state.delivered_directly.to.get("ssm") == name:
            if other := key_of_another(self.account, "ssm", name, {self.user: self.state}):
                raise pulumi.RunError(
                    f"it has {other} by now, maybe the only copy. Name another parameter; or, once that key is stored "
                    "elsewhere, delete this one"
                )
        else:
            try:
                self.account.ask("ssm", "put_parameter", **put)
            except AwsQueryError as error:
                found = text_in_store(self.account, "ssm", name) if error.code == "ParameterAlreadyExists" else None
                # AWS's response may have got lost.
                if found is None or not (found == text or is_own(self.account, name, found, {self.user: self.state})):
                    raise
            else:
                return
        self.account.ask("ssm", "put_parameter", **put, Overwrite=True)

    def _failure(self, kind: str, where: Any, name: str, error: Exception) -> str:
        place = f"{self.spell.prefix}{self.spell('users.{}.deliver', self.user)}"
        to = in_words({kind: where})
        again = "The next `pulumi up` delivers it" + (
            ", or issues another one in its place if no store has its secret" if self.without_copy else ""
        )
        return (
            f"{place}: the access key {name} was not delivered to {to}: {error}. The key before it was not touched. "
            f"Fix the cause and run `pulumi up` again. {again}."
        )


def _record(delivered: Delivered) -> dict[str, Any]:
    """What a Stash has."""
    to = dict(delivered.to)
    of_stores = {kind: names for kind, names in delivered.fields.items() if kind in to}
    kms_key = delivered.kms_key if "ssm" in to else None
    more = {"fields": of_stores, "failed": delivered.failed, "kmsKey": kms_key, "writes": delivered.writes}
    more["region"] = delivered.region
    return {"content": delivered.content, "to": to, **{name: value for name, value in more.items() if value}}


def stored_secret(account: Account, stores: Iterable[tuple[str, str]], key_id: str) -> str | None:
    """The secret of an access key, from a store that holds that very key. stores: kind and name.

    Raises AwsQueryError where a store does not tell.
    """
    for kind, name in stores:
        found, secret = key_in_store(account, kind, name)
        if found == key_id:
            return secret
    return None


def key_in_store(account: Account, kind: str, name: str) -> tuple[str | None, str | None]:
    """The id and the secret in a store; None where there is no key, or no such store. Raises AwsQueryError."""
    return stored_key(text_in_store(account, kind, name)) or (None, None)


def text_in_store(account: Account, kind: str, name: str) -> str | None:
    """What a store holds; None where there is no such store. Raises AwsQueryError."""
    try:
        if kind == "ssm":
            return account.ask("ssm", "get_parameter", Name=name, WithDecryption=True)["Parameter"]["Value"]
        return account.ask("secretsmanager", "get_secret_value", SecretId=name).get("SecretString")
    except AwsQueryError as error:
        if error.code in _GONE:
            return None
        if error.code == "InvalidRequestException":  # of a secret that is scheduled for deletion
            region = account.region_option("secretsmanager")
            error.hint = f"Restore the secret: `aws secretsmanager restore-secret --secret-id {name}{region}`."
        raise


def key_of_another(account: Account, kind: str, name: str, users: Mapping[str, UserState]) -> str | None:
    """The access key of somebody else in the account that a store holds, in words; None also where the caller may not
    ask. users: those to whom the store belongs. Raises AwsQueryError."""
    try:
        text = text_in_store(account, kind, name) or ""
    except AwsQueryError as error:
        if error.is_denied or error.code == "InvalidKeyId":  # its KMS key is disabled or gone, so nobody can read it
            return None
        raise
    for key_id in sorted(key_ids(text) - known_ids(users)):
        if (owner := account.certain_owner(key_id)) is not None and owner not in users:
            return f"the access key {key_id} of {owner}"
    return None


def not_ours(account: Account, kind: str, name: str, users: Mapping[str, UserState], cure: str) -> str | None:
    """Why a store is not to be written or deleted, and what to do: it holds somebody else's key, or could not be read.
    cure: what to do about that key. A preview reads no store."""
    if pulumi.runtime.is_dry_run():
        return None
    place = in_words({kind: name})
    try:
        other = key_of_another(account, kind, name, users)
    except AwsQueryError as error:
        return f"whether {place} holds somebody else's key could not be checked ({error}). Run this command again."
    return other and f"{place} holds {other}, possibly its only copy. {cure}"


def is_own(account: Account, parameter: str, text: str, users: Mapping[str, UserState]) -> bool:
    """Whether a parameter has a key of these users that the state knows, or something that this program wrote and that
    no longer works. text: its content. Raises AwsQueryError."""
    held = stored_id(text)
    if held in known_ids(users):
        return True
    user = described_user(account.parameters([parameter]).get(parameter, {}), users)
    if user is None:
        return False
    if held is None:
        return is_expired(text)
    listed = {key.id for key in account.list_access_keys_now(user)}
    if not is_key_id(held) or held in listed or account.is_unlisted(user, held):
        return False
    return account.certain_owner(held) is None  # the user may have been renamed


def _why_kept(state: ComponentState, account: Account, parameter: str) -> str | None:
    """Why a parameter that is no resource is not the component's to delete, as a clause; None if it is. Its Stash is
    there before it, also where the name turned out to be somebody else's. Raises AwsQueryError."""
    if other := key_of_another(account, "ssm", parameter, state.users):
        return f"it has {other}"
    if parameter in state.recorded_parameters:
        return None
    text = text_in_store(account, "ssm", parameter)
    if text is None or is_own(account, parameter, text, state.users):
        return None
    return "it has no key that an update of this stack has recorded; delete it if nobody needs it"


def parameter_hook(
    accounts: Mapping[str, Account], kept: Container[tuple[str, str]], state_of: Callable[[str], ComponentState]
) -> Callable[[pulumi.ResourceHookArgs], None]:
    """The hook that deletes a parameter which is no resource, before the Stash in its place goes. A preview finds out
    whether it could.

    accounts: URN of each component → its account. kept: URN of the component and name of each parameter that is a
    resource in this run. state_of: URN of a component → what the state had of it when the run began.
    """

    def delete(args: pulumi.ResourceHookArgs) -> None:
        name: str = (args.old_inputs or {})["input"]["parameter"]
        longest = sorted(accounts, key=len, reverse=True)  # a component's name can begin with another one's and a /
        owner = next((urn for urn in longest if args.urn.startswith(f"{urn_below(urn, USER, STASH)}/")), None)
        if owner is None:  # it may be in another account than those of the other components
            raise pulumi.RunError(
                f"the parameter '{name}' in SSM is not deleted, because its component is no longer in the program. "
                "Put the component back without its users and with allowNoUsers (in Python: allow_no_users) enabled, "
                "run `pulumi up`, and remove it again."
            )
        if (owner, name) in kept or pulumi.runtime.is_dry_run():
            return
        try:
            if why := _why_kept(state_of(owner), accounts[owner], name):
                pulumi.log.warn(f"the parameter '{name}' in SSM stays as it is: {why}.")
                return
            accounts[owner].ask("ssm", "delete_parameter", Name=name)
        except AwsQueryError as error:
            if error.code not in _GONE:
                raise pulumi.RunError(
                    f"the parameter '{name}' in SSM was not deleted: {error}. The key in it was not touched. Fix the "
                    "cause and run the command again."
                ) from None

    return delete
