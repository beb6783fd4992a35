"""ProgrammaticAccess: groups, users and access keys as one reusable component."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pulumi
from typing_extensions import NotRequired, TypedDict

from aws_access_keys.aws import Account, SessionMaker, default_session
from aws_access_keys.description import DescriptionTags
from aws_access_keys.group import AccessGroup, GroupArgs
from aws_access_keys.guard import InUseError, RetireGuard
from aws_access_keys.keys import Surroundings, key_rules
from aws_access_keys.plans import leaving_refused, plan_keys
from aws_access_keys.rules.access import access_problems
from aws_access_keys.rules.credentials import credentials_csv, credentials_file
from aws_access_keys.rules.problem import Problem, as_lines
from aws_access_keys.user import AccessUser, UserArgs


class ProgrammaticAccessArgs(TypedDict):
    """What `ProgrammaticAccess` makes."""

    groups: Mapping[str, GroupArgs]
    """Groups by name. The keys name both the IAM groups and the Pulumi resources."""
    users: Mapping[str, UserArgs]
    """Users by name. The keys name both the IAM users and the Pulumi resources."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags put on every user. IAM groups and access keys take none."""
    partition: NotRequired[str]
    """AWS partition in which policy names are resolved: `aws` (default), `aws-cn` or `aws-us-gov`."""
    today: NotRequired[str]
    """The day, `YYYY-MM-DD`; needed where a key's life depends on it (rotation, guard, `issued`)."""
    retire_guard_idle_days: NotRequired[int]
    """Idle days that the guard asks for at users that had one and are no longer among `users`; 0: none. Default: as
    many as were asked for while the user was there."""
    issued: NotRequired[Mapping[str, Any]]
    """What earlier runs issued, from `issued_keys()`; needed to rotate a key."""


class ProgrammaticAccess(pulumi.ComponentResource):
    """IAM groups with managed policies, users in these groups, and the access keys of each user.

    Children are parented to the component and named `NAME/GROUP`, `NAME/GROUP/POLICY`, `NAME/USER` and
    `NAME/USER/SLOT`; no IAM name has a `/`, so two components never collide. Raises ValueError, with every problem
    in one message, before any child is registered; InUseError, also before, where a user left whose key is in use.
    """

    access_key_ids: pulumi.Output[dict[str, str]]
    """User → id of the current access key."""
    secret_access_keys: pulumi.Output[dict[str, str]]
    """User → secret of the current access key; a secret. Without users whose secret is encrypted to a pgpKey."""
    encrypted_secrets: pulumi.Output[dict[str, dict[str, str]]]
    """User with a pgpKey → `ciphertext` (base64 OpenPGP message) and `fingerprint` of the key that reads it."""
    credentials_file: pulumi.Output[str]
    """An AWS shared-credentials file with one profile per user; a secret."""
    credentials_csv: pulumi.Output[str]
    """A CSV that `aws configure import --csv` takes; a secret."""
    ses_smtp_passwords: pulumi.Output[dict[str, str]]
    """User → password for SES's SMTP interface, made from the current key; a secret."""
    keys: pulumi.Output[dict[str, Any]]
    """User → where its keys stand: current and previous key, next rotation."""
    user_arns: pulumi.Output[dict[str, str]]
    """User → ARN."""
    group_arns: pulumi.Output[dict[str, str]]
    """Group → ARN."""

    def __init__(
        self,
        name: str,
        args: ProgrammaticAccessArgs,
        opts: pulumi.ResourceOptions | None = None,
        session: SessionMaker = default_session,
    ) -> None:
        """session: makes the boto3 session with which a new key is tried and a key's last use is asked for."""
        partition = args.get("partition", "aws")
        _refuse(name, list(_problems(args, partition)))
        super().__init__("aws-access-keys:index:ProgrammaticAccess", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        today = date.fromisoformat(args.get("today", "1970-01-01"))
        key_args = {user: user_args.get("key", {}) for user, user_args in args["users"].items()}
        issued = args.get("issued", {})
        account = Account(session)
        idle_days = {user: key.get("retire_guard_idle_days") for user, key in key_args.items()}
        guard = RetireGuard(name, idle_days, args.get("retire_guard_idle_days"), today, account)
        _refuse_leaving(name, args, issued, guard)
        plans = plan_keys({user: key_rules(key) for user, key in key_args.items()}, issued, today, guard, account)
        # What the args ask of keys and AWS has a reason against; for `finish`. Like `groups` and `users` no output.
        self.refused = tuple(problem for user in sorted(plans) for problem in plans[user].refused)
        around = Surroundings(today, account, guard, DescriptionTags(name, account))
        # Not annotated on the class, where they would count as outputs: the children, for programs that need them.
        self.groups = {
            group: AccessGroup(f"{name}/{group}", group, group_args, partition, child)
            for group, group_args in sorted(args["groups"].items())
        }
        self.users: dict[str, AccessUser] = {}
        for user, user_args in sorted(args["users"].items()):
            plan = plans[user].plan
            if plan.note:
                pulumi.log.warn(f"users.{user}.key: {plan.note}")
            self.users[user] = AccessUser(
                f"{name}/{user}",
                user,
                user_args,
                self.groups,
                args.get("tags", {}),
                plan,
                issued.get(user) or {},
                around,
                child,
            )
        self._set_outputs()

    def _set_outputs(self) -> None:
        keys = {user: made.keys for user, made in self.users.items()}

        def by_user(values: "Mapping[str, pulumi.Output[Any]]") -> "pulumi.Output[dict[str, Any]]":
            """User → value, without the users that have none."""
            resolved: pulumi.Output[Any] = pulumi.Output.from_input(dict(values))
            return resolved.apply(lambda found: {user: value for user, value in found.items() if value is not None})

        self.access_key_ids = by_user({user: key.id for user, key in keys.items()})
        self.secret_access_keys = pulumi.Output.secret(by_user({user: key.secret for user, key in keys.items()}))
        self.encrypted_secrets = by_user(
            {
                user: pulumi.Output.all(key.current.encrypted_secret, key.current.key_fingerprint).apply(
                    lambda both: {"ciphertext": both[0], "fingerprint": both[1]} if both[0] else None
                )
                for user, key in keys.items()
            }
        )
        both = pulumi.Output.all(self.access_key_ids, self.secret_access_keys)
        self.credentials_file = pulumi.Output.secret(both.apply(lambda found: credentials_file(*found)))
        self.credentials_csv = pulumi.Output.secret(both.apply(lambda found: credentials_csv(*found)))
        self.ses_smtp_passwords = pulumi.Output.secret(
            by_user({user: key.current.ses_smtp_password_v4 for user, key in keys.items()})
        )
        self.keys = by_user({user: key.state() for user, key in keys.items()})
        self.user_arns = by_user({user: made.user.arn for user, made in self.users.items()})
        self.group_arns = by_user({group: made.group.arn for group, made in self.groups.items()})
        self.register_outputs(
            {
                "accessKeyIds": self.access_key_ids,
                "secretAccessKeys": self.secret_access_keys,
                "encryptedSecrets": self.encrypted_secrets,
                "credentialsFile": self.credentials_file,
                "credentialsCsv": self.credentials_csv,
                "sesSmtpPasswords": self.ses_smtp_passwords,
                "keys": self.keys,
                "userArns": self.user_arns,
                "groupArns": self.group_arns,
            }
        )


def _problems(args: ProgrammaticAccessArgs, partition: str) -> Iterator[Problem]:
    yield from access_problems(
        {group: group_args["policies"] for group, group_args in args["groups"].items()},
        {user: user_args["groups"] for user, user_args in args["users"].items()},
        partition,
    )
    for user, user_args in args["users"].items():
        key = user_args.get("key", {})
        if "issued" not in args and (key.get("serial", 1) > 1 or "rotation" in key):
            yield Problem(
                f"users.{user}.key",
                "to rotate, the component must know what earlier runs issued: pass issued=issued_keys().",
            )
        if "today" not in args and ("rotation" in key or "retire_guard_idle_days" in key):
            yield Problem(f"users.{user}.key", "rotation and the retire guard need the day: pass today='YYYY-MM-DD'.")


def _refuse_leaving(name: str, args: ProgrammaticAccessArgs, issued: Mapping[str, Any], guard: RetireGuard) -> None:
    """Refuse the run as a whole where it would take users away whose keys are in use: their groups would go, too."""
    left = {
        user: int(record.get("guardIdleDays") or 0)  # numbers come back from the engine as floats
        for user, record in issued.items()
        if record.get("component") == name and user not in args["users"]
    }
    guard.left(left)
    for user in sorted(left):
        for other in args["users"]:
            if other.lower() == user.lower():
                raise pulumi.RunError(
                    f"users.{other}: to IAM this is the same name as '{user}', a user of this stack, and the new user "
                    f"is made before the old one goes. Write '{user}', or take another name. Nothing was changed."
                )
    problems = leaving_refused(issued, left, guard)
    if problems:
        raise InUseError(
            f"Users have left the config whose keys are in use:\n{as_lines(problems)}\nNothing was changed."
        )


def _refuse(name: str, problems: list[Problem]) -> None:
    if problems:
        raise ValueError(f"ProgrammaticAccess '{name}' cannot be made as asked:\n{as_lines(problems)}")
