"""The settings of the component: which there are, of which type, with which defaults.

One set of classes for every caller. A stack file and programs in other languages write the names in camelCase, Python
programs in snake_case; error messages name a setting as its caller wrote it (`Spelling`). What the values must obey
beyond their types is in `rules/`. The JSON schema for editors comes from these classes (`schema.py`).
"""

import json
from collections.abc import Collection, Mapping
from datetime import date
from typing import Any, Literal, get_args

import pulumi
from typing_extensions import Self

from aws_access_keys.credentials import stored_key
from aws_access_keys.rules.documents import Document, text_digest
from aws_access_keys.rules.expectations import Expectation
from aws_access_keys.rules.names import stored_name
from aws_access_keys.rules.problem import Spelling
from aws_access_keys.rules.rotation import Calendar, KeyRules, Retired, Status
from aws_access_keys.rules.s3_grants import Access, S3Grant
from aws_access_keys.rules.secrets import secret_name
from aws_access_keys.setting_types import (
    Choice,
    Day,
    Flag,
    GrantText,
    ListOf,
    MapOf,
    Nested,
    NestedOrText,
    PolicyDocument,
    PolicyName,
    Section,
    Text,
    WholeNumber,
    setting,
)

MAX_SERIAL = 10**9  # far below 2**53, beyond which the engine rounds numbers

Partition = Literal["aws", "aws-cn", "aws-us-gov"]
Tags = dict[str, pulumi.Input[str]]


class S3GrantSettings(Section):
    """What a group may do with a bucket, or with the objects below a prefix."""

    example = "{bucket: my-bucket, access: read}"

    bucket: str = setting(GrantText(), "Name of the bucket.", example="my-bucket")
    prefix: str = setting(
        GrantText(), "Beginning of the objects' keys, for example reports/. Default: the whole bucket.", default=""
    )
    access: Access = setting(
        Choice(choices=get_args(Access)),
        "list: see which objects exist. read: list, and read objects. write: create, overwrite and delete objects, "
        "without seeing what is there. readWrite: all of these.",
        example="read",
    )
    kms_key: str | None = setting(
        GrantText(),
        "ARN of the customer managed KMS key that encrypts the objects. Default: none.",
        default=None,
    )

    def grant(self) -> S3Grant:
        """The same as the rules take it."""
        return S3Grant(self.bucket, self.prefix, self.access, self.kms_key)


class ExpectationSettings(Section):
    """One permission test: actions on resources that are expected to be allowed, or to be denied."""

    example = "{action: s3:ListBucket, resource: 'arn:aws:s3:::my-bucket', context: {s3:prefix: in/}}"

    action: str = setting(Text(), "The action, for example s3:GetObject, or iam:* for all of IAM's.", example="iam:*")
    resource: str = setting(Text(), "ARN of the resource; may contain wildcards. Default: all.", default="*")
    context: dict[str, str] = setting(
        MapOf(item=Text(), example="{s3:prefix: in/}"),
        "Other condition keys of the call, with their values.",
        default={},
    )


setattr(  # a keyword of Python
    ExpectationSettings,
    "from",
    setting(Text(), "Network from which the call comes. Default: any of allowFrom.", default=None),
)


class ExpectSettings(Section):
    """Permission tests of a group or user."""

    example = "{allow: ['s3:GetObject arn:aws:s3:::my-bucket/*'], deny: ['iam:*']}"

    allow: list[ExpectationSettings] = setting(
        ListOf(
            item=NestedOrText(section=ExpectationSettings, words=("action", "resource")),
            example="['s3:GetObject arn:aws:s3:::my-bucket/*']",
        ),
        "What must be allowed: ACTION, ACTION RESOURCE, or a mapping. With wildcards: all that matches.",
        default=[],
    )
    deny: list[ExpectationSettings] = setting(
        ListOf(item=NestedOrText(section=ExpectationSettings, words=("action", "resource")), example="['iam:*']"),
        "What must be denied, in the same form. With wildcards: all that matches.",
        default=[],
    )

    def listed(self, where: str) -> list[Expectation]:
        """The expectations in the form that the rules take. where: the setting, as its caller writes it."""
        return [
            Expectation(
                f"{where}.{name}[{index}]", name == "allow", one.action, one.resource, getattr(one, "from"), one.context
            )
            for name in ("allow", "deny")
            for index, one in enumerate(getattr(self, name))
        ]


class GroupSettings(Section):
    """One IAM group; its name is its key."""

    example = "{policies: [AmazonS3ReadOnlyAccess]}"

    policies: list[str] = setting(
        ListOf(item=PolicyName(), example="[AmazonS3ReadOnlyAccess]"),
        "Managed policies: AWS managed ones (AmazonS3FullAccess) and those under policyDocuments by name, others by "
        "ARN; at most 10 on a group.",
        default=[],
    )
    policy_arns: Tags = setting(
        MapOf(item=Text(later=True), example="{own: 'arn:aws:iam::123456789012:policy/own'}"),
        "Managed policies whose ARN is known only later: a name of your choice for the attachment and the ARN. For "
        "programs that create the policy; a stack file lists ARNs under policies.",
        default={},
    )
    s3: list[S3GrantSettings] = setting(
        ListOf(item=Nested(section=S3GrantSettings), example="[{bucket: my-bucket, access: read}]"),
        "What the group may do in S3. Becomes a managed policy that allows this and nothing else.",
        default=[],
    )
    inline: dict[str, Document] = setting(
        MapOf(item=PolicyDocument(), example="{own: {Version: '2012-10-17', Statement: [...]}}"),
        "Inline policies of the group: name and document, as under policyDocuments.",
        default={},
    )
    allow_from: list[str] | None = setting(
        ListOf(example="[203.0.113.0/24]"),
        "Networks from which the keys of the group's users work. Default: everywhere.",
        default=None,
    )
    expect: ExpectSettings | None = setting(
        Nested(section=ExpectSettings),
        "Permission tests: what the group must be allowed and denied. Checked before anything is changed.",
        default=None,
    )
    path: pulumi.Input[str] = setting(Text(later=True), "IAM path of the group, for example /data/.", default="/")
    adopt: bool = setting(
        Flag(),
        "Take over the existing group of this name. Its other policies and members stay.",
        default=False,
    )


class RotationSettings(Section):
    """New keys on a schedule."""

    example = "{start: 2026-12-01, every_days: 90, overlap_days: 7}"

    start: date = setting(Day(), "First day of the first period: YYYY-MM-DD.", example="2026-12-01")
    every_days: int = setting(
        WholeNumber(least=1, most=3650),
        "Length of a period in days; each one except the first begins with a new key.",
        example="90",
    )
    overlap_days: int = setting(
        WholeNumber(),
        "Days for which the previous key stays active after a new one is issued; at most everyDays.",
        example="7",
    )

    def calendar(self) -> Calendar:
        """The same as the rules take it."""
        return Calendar(self.start, self.every_days, self.overlap_days)


class RetireGuardSettings(Section):
    """A key that is still in use is neither deactivated nor deleted."""

    example = "{idle_days: 3}"

    idle_days: int = setting(
        WholeNumber(least=1, most=3650),
        "Days for which a key must have been unused before it may be retired.",
        example="3",
    )


class AdoptSettings(Section):
    """An existing key of an existing user, taken over instead of creating the first key."""

    example = "{id: AKIAIOSFODNN7EXAMPLE}"

    id: str = setting(Text(), "The access key id.", example="AKIAIOSFODNN7EXAMPLE")
    secret: pulumi.Input[str] | None = setting(
        Text(later=True),
        "Its secret, if you have it: pulumi config set --secret --path 'aws-access-keys:users.NAME.key.adopt.secret'",
        default=None,
    )


class KeyDefaults(Section):
    """The life of every user's key, where the user's own `key` does not specify otherwise."""

    example = "{serial: 2}"

    serial: int = setting(WholeNumber(least=1, most=MAX_SERIAL), "Raise it by one for a new key.", default=1)
    previous: Retired | None = setting(
        Choice(choices=get_args(Retired)),
        "What happens to the previous key. whenIdle: inactive once the new key has been used and the previous "
        "one has been idle for retireGuard.idleDays. Default: inactive with a schedule, otherwise active.",
        default=None,
    )
    rotation: RotationSettings | None = setting(
        Nested(section=RotationSettings), "New keys on a schedule.", default=None
    )
    status: Status | None = setting(
        Choice(choices=get_args(Status)),
        "inactive suspends the current key, active makes it work again. Default: a new key is active, the status of an "
        "existing key is left alone.",
        default=None,
    )
    description: pulumi.Input[str] | None = setting(
        Text(later=True), "Shown beside the key in the AWS console.", default=None
    )
    pgp_key: pulumi.Input[str] | None = setting(
        Text(later=True),
        "An OpenPGP public key, armored or base64, or file:PATH: the secret is kept encrypted to it only.",
        default=None,
    )
    expires: date | None = setting(
        Day(),
        "Day on which the user's keys expire, in UTC: YYYY-MM-DD. The first update on or after it deactivates them, or "
        "deletes them with previous: deleted; no new one is issued. Default: never.",
        default=None,
    )
    keep_secret: bool = setting(
        Flag(),
        "false: the secret of the next key is in the stores to which it is delivered, and nowhere else: not in the "
        "state either. Needs deliver.",
        default=True,
    )
    verify: bool = setting(Flag(), "Wait until AWS accepts a new key, at most 60 seconds.", default=True)
    retire_guard: RetireGuardSettings | None = setting(
        Nested(section=RetireGuardSettings), "Refuse to deactivate or delete a key that is still in use.", default=None
    )


class KeySettings(KeyDefaults):
    """The life of one user's key."""

    without: list[str] = setting(
        ListOf(example="[rotation, expires]"),
        "Settings of keyDefaults that this key does not have, for languages in which null gets lost, such as YAML.",
        default=[],
    )
    adopt: AdoptSettings | None = setting(
        Nested(section=AdoptSettings, hides_values=True), "Take over an existing key as the first one.", default=None
    )

    def rules(self) -> KeyRules:
        """The same as the rules take it."""
        return KeyRules(
            self.serial, self.status, self.previous, self.rotation.calendar() if self.rotation else None, self.expires
        )


class FieldSettings(Section):
    """The names of the two fields of the JSON in a store."""

    example = "{id: username, secret: password}"

    id: str = setting(Text(), "Field for the access key id.", default="aws_access_key_id")
    secret: str = setting(Text(), "Field for the secret.", default="aws_secret_access_key")

    def renamed(self, content: str) -> str:
        """A key in JSON with these names in place of the usual ones; anything else as it is."""
        key = stored_key(content)
        return json.dumps(dict(zip((self.id, self.secret), key, strict=True))) if key else content


USUAL_FIELDS = [FieldSettings().id, FieldSettings().secret]
"""The names of the two fields of the JSON, where the settings give no others."""


class StoreSettings(Section):
    """Where a user's key is put in a secret store."""

    example = "{name: team/backup-key}"

    name: str | None = setting(
        Text(), "Name in the store. Default: access-keys/USER, with a leading / in SSM.", default=None
    )
    kms_key: pulumi.Input[str] | None = setting(
        Text(later=True), "KMS key (id, ARN or alias/NAME) instead of the AWS managed key.", default=None
    )
    fields: FieldSettings = setting(
        Nested(section=FieldSettings), "Names of the fields of the JSON.", default=FieldSettings()
    )

    @property
    def given_name(self) -> str | None:
        """The name that the settings give; None for the default."""
        return self.name

    def stored_name(self, user: str, store: str) -> str:
        """The name under which a user's key lies in a store, `secrets_manager` or `ssm`."""
        return stored_name(user, self.given_name, store)


class SecretSettings(StoreSettings):
    """Where a user's key is put in AWS Secrets Manager."""

    existing: str | None = setting(
        Text(),
        "Name or ARN of an existing secret, to write the key into instead of creating a secret. It stays when the user "
        "is removed.",
        default=None,
    )
    readers: list[str] | None = setting(
        ListOf(example="['arn:aws:iam::123456789012:role/app']"),
        "ARNs of the users, roles and accounts that may read the secret, by its resource policy.",
        default=None,
    )
    replicas: list[str] = setting(
        ListOf(example="[eu-west-1]"), "Other regions to which the secret is replicated.", default=[]
    )

    @property
    def given_name(self) -> str | None:
        """The same; of a secret that exists, its own."""
        return self.name if self.existing is None else secret_name(self.existing)


class DeliverSettings(Section):
    """Stores into which a user's current key is delivered, as JSON, encrypted by the store."""

    example = "{secrets_manager: {}}"

    secrets_manager: SecretSettings | None = setting(
        Nested(section=SecretSettings), "AWS Secrets Manager.", default=None
    )
    ssm: StoreSettings | None = setting(
        Nested(section=StoreSettings), "SSM Parameter Store, as SecureString.", default=None
    )
    command: list[str] | None = setting(
        ListOf(example="[python3, deliver.py]"),
        "A program with its arguments, in the project's folder: it gets each new key as JSON on standard input, and "
        "exits with 0 once the key is delivered. No shell is involved.",
        default=None,
    )
    timeout_seconds: int = setting(
        WholeNumber(least=1, most=3600), "Seconds after which the command is killed.", default=60
    )

    def stores(self, user: str) -> dict[str, str]:
        """`secretsManager`, `existingSecret`, `ssm`, where a user's key is delivered there → the name in the store."""
        found: dict[str, str] = {}
        if store := self.secrets_manager:
            kind = "secretsManager" if store.existing is None else "existingSecret"
            found[kind] = store.stored_name(user, "secrets_manager")
        if store := self.ssm:
            found["ssm"] = store.stored_name(user, "ssm")
        return found

    def destinations(self, user: str) -> dict[str, Any]:
        """The same, and `command` → the program and a digest of all arguments, which may be secrets."""
        if not self.command:
            return {**self.stores(user)}
        digest = text_digest("\0".join(self.command))
        return {**self.stores(user), "command": [self.command[0], digest]}

    @property
    def fields(self) -> dict[str, list[str]]:
        """`secretsManager`, `existingSecret`, `ssm` → the names of the fields, where they are not the usual ones."""
        kind = "existingSecret" if self.secrets_manager and self.secrets_manager.existing else "secretsManager"
        stores = {kind: self.secrets_manager, "ssm": self.ssm}
        return {
            kind: [store.fields.id, store.fields.secret]
            for kind, store in stores.items()
            if store and store.fields != FieldSettings()
        }


class NotifySettings(Section):
    """Notices: before a rotation, and when a key is issued, held back or retired."""

    example = "{sns: 'arn:aws:sns:ap-northeast-2:123456789012:access-keys'}"

    sns: str | None = setting(Text(), "ARN of an SNS topic.", default=None)
    command: list[str] | None = setting(
        ListOf(example="[./notify.sh]"),
        "A program and its arguments, which gets each notice as JSON on standard input.",
        default=None,
    )
    before_days: int = setting(
        WholeNumber(least=1, most=365), "Days before a scheduled rotation on which it is announced.", default=7
    )
    owner_tag: str = setting(Text(), "The user's tag that names the owner.", default="owner")


class UserSettings(Section):
    """One IAM user with an access key; its name is its key."""

    example = "{groups: [test]}"

    groups: list[str] = setting(
        ListOf(example="[test]"), "Names of groups of this stack that the user is in; at most 10.", default=[]
    )
    policies: list[str] = setting(
        ListOf(item=PolicyName(), example="[AmazonS3ReadOnlyAccess]"),
        "Managed policies of the user itself, as in groups.NAME.policies.",
        default=[],
    )
    inline: dict[str, Document] = setting(
        MapOf(item=PolicyDocument(), example="{own: {Version: '2012-10-17', Statement: [...]}}"),
        "Inline policies of the user itself: name and document, as under policyDocuments.",
        default={},
    )
    permissions_boundary: pulumi.Input[str] | None = setting(
        Text(later=True),
        "Managed policy that limits what the user's policies can allow: a name as in groups.NAME.policies, or an ARN.",
        default=None,
    )
    allow_from: list[str] | None = setting(
        ListOf(example="[203.0.113.0/24]"),
        "Networks from which the user's keys work. Default: everywhere, or as in the user's groups.",
        default=None,
    )
    expect: ExpectSettings | None = setting(
        Nested(section=ExpectSettings),
        "Permission tests: what the user must be allowed and denied. Checked before anything is changed.",
        default=None,
    )
    path: pulumi.Input[str] = setting(Text(later=True), "IAM path of the user, for example /data/.", default="/")
    tags: Tags = setting(
        MapOf(item=Text(later=True), example="{team: data}"),
        "Tags of this user, in addition to the stack's.",
        default={},
    )
    force_destroy: bool = setting(
        Flag(),
        "Delete the user together with what it has in IAM and this stack does not manage, such as a console "
        "password. "
        "Takes effect for a removal after the next update.",
        default=False,
    )
    key: KeySettings | None = setting(
        Nested(section=KeySettings),
        "The life of this user's key. null for a user without a key; an existing one is deleted.",
        default=KeySettings(),
        can_be_null=True,
    )
    deliver: DeliverSettings | None = setting(
        Nested(section=DeliverSettings), "Replaces the stack's deliver for this user.", default=None
    )
    without: list[str] = setting(
        ListOf(example="[key, deliver]"),
        "What this user does not have, key or deliver, for languages in which null gets lost, such as YAML.",
        default=[],
    )
    adopt: bool = setting(
        Flag(),
        "Take over the existing user of this name. Its other policies, groups, tags and access keys stay.",
        default=False,
    )


class AccessSettings(Section):
    """Groups and users with their access keys."""

    groups: dict[str, GroupSettings] = setting(
        MapOf(item=Nested(section=GroupSettings), example="{test: {policies: [AmazonS3ReadOnlyAccess]}}"),
        "IAM groups by name.",
        default={},
    )
    users: dict[str, UserSettings] = setting(
        MapOf(item=Nested(section=UserSettings), example="{test-user: {groups: [test]}}"),
        "IAM users by name, each with an access key unless key is null.",
        default={},
    )
    policy_documents: dict[str, Document] = setting(
        MapOf(item=PolicyDocument(), example="{own: {Version: '2012-10-17', Statement: [...]}}"),
        "Customer managed policies: name, and the document or file:PATH of a JSON file. List them in policies.",
        default={},
    )
    name_prefix: str | None = setting(
        Text(),
        "Prefix of all names in IAM (users, groups, policies), for example dev-. For several stacks in one account. "
        "Changing it renames everything, which means new keys.",
        default=None,
    )
    allow_no_users: bool = setting(
        Flag(),
        "Needed to delete all users: a stack that has users refuses settings without any, which are usually a mistake.",
        default=False,
    )
    tags: Tags = setting(
        MapOf(item=Text(later=True), example="{team: data}"),
        "Tags put on every user. IAM groups and access keys cannot have tags.",
        default={},
    )
    key_defaults: KeyDefaults = setting(
        Nested(section=KeyDefaults), "The life of every user's key.", default=KeyDefaults()
    )
    deliver: DeliverSettings | None = setting(
        Nested(section=DeliverSettings), "Delivery of every user's key into a store.", default=None
    )
    notify: NotifySettings | None = setting(
        Nested(section=NotifySettings), "Notices about keys, without secrets. Default: none.", default=None
    )
    retire_unguarded: list[str] = setting(
        ListOf(example="[former-colleague]"),
        "Users whose keys may be retired even if they are in use, including removed users. For one run.",
        default=[],
    )

    def prefixed(self) -> Self:
        """The same with the names that users, groups and policies have in IAM."""
        prefix = self.name_prefix
        if not prefix:
            return self

        def policies(names: "list[str]") -> list[str]:
            return [prefix + name if name in self.policy_documents else name for name in names]

        def boundary(name: "pulumi.Input[str] | None") -> "pulumi.Input[str] | None":
            return policies([name])[0] if isinstance(name, str) else name

        return self.but(
            name_prefix=None,
            groups={prefix + name: group.but(policies=policies(group.policies)) for name, group in self.groups.items()},
            users={
                prefix + name: user.but(
                    groups=[prefix + group for group in user.groups],
                    policies=policies(user.policies),
                    permissions_boundary=boundary(user.permissions_boundary),
                )
                for name, user in self.users.items()
            },
            policy_documents={prefix + name: document for name, document in self.policy_documents.items()},
        )

    def adopts(self, user: str) -> bool:
        """Whether the account has a user already, who is taken over."""
        return self.users[user].adopt or self.effective_key(user).adopt is not None

    def without_adoption(self) -> Self:
        """The same, as if nothing existed yet."""
        groups = {name: group.but(adopt=False) for name, group in self.groups.items()}
        keys = {name: user.key.but(adopt=None) if user.key else None for name, user in self.users.items()}
        return self.but(
            groups=groups, users={name: user.but(adopt=False, key=keys[name]) for name, user in self.users.items()}
        )

    def with_tags(self, tags: Mapping[str, Mapping[str, str]]) -> Self:
        """The same with further tags of users."""
        users = {name: user.but(tags={**tags.get(name, {}), **user.tags}) for name, user in self.users.items()}
        return self.but(users=users) if tags else self

    def without_keys(self, users: Collection[str]) -> Self:
        """The same, but these users have no key."""
        gone = {user: self.users[user].but(key=None, deliver=None) for user in users}
        return self.but(users={**self.users, **gone}) if gone else self

    @property
    def users_with_key(self) -> list[str]:
        """The users that have a key."""
        return [name for name, user in self.users.items() if user.key is not None]

    def effective_key(self, user: str) -> KeySettings:
        """A user's key settings: the user's own over `key_defaults` over the defaults; of one without a key, these."""
        own = self.users[user].key
        if own is None:
            return KeySettings()
        defaults = {name: getattr(self.key_defaults, name) for name in self.key_defaults.given - own.given}
        return own.but(**defaults)

    def key_place(self, spell: Spelling, user: str, field: str) -> str:
        """Where a key setting of a user is written: at the user, or among the defaults."""
        own = self.users[user].key
        if own and field in own.given:
            return spell(f"users.{{}}.key.{field}", user)
        return spell(f"key_defaults.{field}")

    def tag_place(self, spell: Spelling, user: str, key: str) -> str:
        """Where a tag of a user is written: at the user, or among everybody's."""
        return spell("users.{}.tags.{}", user, key) if key in self.users[user].tags else f"tags.{key}"

    def networks(self, user: str) -> list[list[str]]:
        """The lists of networks that limit a user's keys, in each of which a caller must be."""
        own = self.users[user]
        found = [own.allow_from, *(self.groups[group].allow_from for group in own.groups if group in self.groups)]
        return [networks for networks in found if networks is not None]

    def expectations(self, spell: Spelling) -> dict[tuple[str, str], list[Expectation]]:
        """(`groups` or `users`, name) → the permission tests, for each group and user that has some."""
        return {
            (kind, name): owner.expect.listed(spell(f"{kind}.{{}}.expect", name))
            for kind, owners in (("groups", self.groups), ("users", self.users))
            for name, owner in owners.items()
            if owner.expect is not None
        }

    def effective_deliver(self, user: str) -> DeliverSettings | None:
        """Where a user's key is delivered: the user's own setting, else the stack's."""
        own = self.users[user]
        return None if own.key is None else own.deliver if "deliver" in own.given else self.deliver

    def destinations(self, user: str) -> Mapping[str, Any]:
        """Where a user's key is delivered, as DeliverSettings.destinations has it; empty for nowhere."""
        deliver = self.effective_deliver(user)
        return deliver.destinations(user) if deliver else {}

    def secret(self, user: str) -> SecretSettings | None:
        """What is asked of the secret in Secrets Manager into which a user's key goes; None without one."""
        deliver = self.effective_deliver(user)
        return deliver.secrets_manager if deliver else None

    def secrets(self) -> dict[str, SecretSettings]:
        """User → the settings of the secret in Secrets Manager, of those who have one."""
        return {user: store for user in self.users_with_key if (store := self.secret(user))}

    def effective_tags(self, user: str) -> Tags:
        """A user's tags: the user's own over everybody's."""
        return self.tags | self.users[user].tags


class ComponentSettings(AccessSettings):
    """What a program can pass to `ProgrammaticAccess`."""

    partition: Partition | None = setting(
        Choice(choices=get_args(Partition)),
        "AWS partition of policy names. Default: that of the region in aws:region.",
        default=None,
    )


class StackSettings(AccessSettings):
    """Everything that a stack file has under `aws-access-keys:`."""

    outputs: list[str] = setting(
        ListOf(item=Choice(choices=("credentialsCsv", "sesSmtpPasswords")), example="[credentialsCsv]"),
        "Additional encrypted outputs: credentialsCsv, sesSmtpPasswords.",
        default=[],
    )
