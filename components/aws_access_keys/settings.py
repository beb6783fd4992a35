"""The settings of the component: which there are, of which type, with which defaults.

One set of classes for every caller. A stack file and programs in other languages write the names in camelCase, Python
programs in snake_case; error messages name a setting as its caller wrote it (`Spelling`). What the values must obey
beyond their types is in `rules/`. The JSON schema for editors comes from these classes (`schema.py`).
"""

import re
from collections.abc import Awaitable, Callable
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import pulumi
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator
from pydantic.alias_generators import to_camel

from aws_access_keys.rules.problem import Spelling
from aws_access_keys.rules.rotation import Calendar, KeyRules

MAX_SERIAL = 10**9  # far below 2**53, beyond which the engine rounds numbers


def _unless_output(value: object, validate: Callable[[object], object]) -> object:
    """A value that becomes known later is checked when it is known."""
    if isinstance(value, (pulumi.Output, Awaitable)):
        return value  # pyright: ignore[reportUnknownVariableType] - of whatever type
    return validate(value)


def _lower_case(value: object) -> object:
    """AWS writes `Active`, people write `active`."""
    return value.lower() if isinstance(value, str) and value.lower() in ("active", "inactive", "deleted") else value


def _whole_number(value: object) -> object:
    """Numbers of other languages arrive as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _day(value: object) -> object:
    """A day as text or, from Python, as a date; an unquoted date in a stack file arrives as a time at midnight."""
    if isinstance(value, str):
        return date.fromisoformat(value) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) else _unquoted_day(value)
    return value


def _unquoted_day(value: str) -> date:
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2}) 00:00:00 \+0000 UTC", value)
    if not found:
        raise ValueError("a day is written YYYY-MM-DD, for example 2026-12-01")
    return date.fromisoformat(found[1])


if TYPE_CHECKING:
    Text = pulumi.Input[str]
    Tags = dict[str, pulumi.Input[str]]
else:
    Text = Annotated[str, WrapValidator(_unless_output)]
    Tags = dict[str, Text]
Int = Annotated[int, BeforeValidator(_whole_number)]
Day = Annotated[date, BeforeValidator(_day)]
Status = Annotated[Literal["active", "inactive"], BeforeValidator(_lower_case)]
Previous = Annotated[Literal["active", "inactive", "deleted"], BeforeValidator(_lower_case)]


class SettingsModel(BaseModel):
    """Unknown names and values of another type are refused."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, alias_generator=to_camel, arbitrary_types_allowed=True
    )


def _example(text: str) -> ConfigDict:
    """What an error message shows where something else than a mapping is given."""
    return ConfigDict(json_schema_extra={"example": text})


class GroupSettings(SettingsModel):
    """One IAM group; its name is its key."""

    model_config = _example("{policies: [AmazonS3ReadOnlyAccess]}")

    policies: list[str] = Field(
        default=[],
        description="Managed policies: AWS's by name (AmazonS3FullAccess), any by ARN; at most 10 on a group.",
        examples=[["AmazonS3ReadOnlyAccess"]],
    )
    policy_arns: Tags = Field(
        default={},
        description="Managed policies whose ARN is known only later: a name of your choice for the attachment and the "
        "ARN. For programs that create the policy; a stack file lists ARNs under policies.",
        json_schema_extra={"example": "{own: 'arn:aws:iam::123456789012:policy/own'}"},
    )
    path: Text = Field(default="/", description="IAM path of the group, for example /data/.")


class RotationSettings(SettingsModel):
    """New keys on a schedule."""

    model_config = _example("{start: 2026-12-01, every_days: 90, overlap_days: 7}")

    start: Day = Field(
        ge=date(2000, 1, 1),
        le=date(2999, 12, 31),
        description="First day of the first period: YYYY-MM-DD.",
        examples=["2026-12-01"],
    )
    every_days: Int = Field(
        ge=1,
        le=3650,
        description="Length of a period in days; each one but the first begins with a new key.",
        examples=[90],
    )
    overlap_days: Int = Field(
        ge=0,
        description="Days for which the previous key stays active after a new one is issued; at most everyDays.",
        examples=[7],
    )

    def calendar(self) -> Calendar:
        """The same as the rules take it."""
        return Calendar(self.start, self.every_days, self.overlap_days)


class RetireGuardSettings(SettingsModel):
    """A key that is still in use is neither deactivated nor deleted."""

    model_config = _example("{idle_days: 3}")

    idle_days: Int = Field(
        ge=1,
        le=3650,
        description="Days for which a key must have been unused before it may be retired.",
        examples=[3],
    )


class AdoptSettings(SettingsModel):
    """An existing key of an existing user, taken over instead of creating the first key."""

    model_config = _example("{id: AKIAIOSFODNN7EXAMPLE}")

    id: str = Field(description="The access key id.", examples=["AKIAIOSFODNN7EXAMPLE"])
    secret: Text | None = Field(
        default=None,
        description="Its secret, where it is known: pulumi config set --secret --path "
        "'aws-access-keys:users.NAME.key.adopt.secret'",
    )


class KeyDefaults(SettingsModel):
    """The life of every user's key, where the user's own `key` does not specify otherwise."""

    model_config = _example("{serial: 2}")

    serial: Int = Field(default=1, ge=1, le=MAX_SERIAL, description="Raise it by one for a new key.")
    previous: Previous | None = Field(
        default=None,
        description="What happens to the previous key. Default: inactive under a schedule, else active.",
    )
    rotation: RotationSettings | None = Field(default=None, description="New keys on a schedule.")
    status: Status | None = Field(
        default=None,
        description="inactive suspends the current key, active makes it work again. Default: a new key is active, the "
        "status of an existing key is left alone.",
    )
    description: Text | None = Field(default=None, description="Shown beside the key in the AWS console.")
    pgp_key: Text | None = Field(
        default=None,
        description="An OpenPGP public key, armored or base64, or file:PATH: the secret is kept encrypted to it only.",
    )
    verify: bool = Field(default=True, description="Wait until AWS accepts a new key, at most 60 seconds.")
    retire_guard: RetireGuardSettings | None = Field(
        default=None, description="Refuse to deactivate or delete a key that is still in use."
    )


class KeySettings(KeyDefaults):
    """The life of one user's key."""

    adopt: AdoptSettings | None = Field(default=None, description="Take over an existing key as the first one.")

    def rules(self) -> KeyRules:
        """The same as the rules take it."""
        return KeyRules(self.serial, self.status, self.previous, self.rotation.calendar() if self.rotation else None)


class StoreSettings(SettingsModel):
    """Where a user's key is put in a secret store."""

    model_config = _example("{name: team/backup-key}")

    name: str | None = Field(
        default=None, description="Name in the store. Default: access-keys/USER, with a leading / in SSM."
    )
    kms_key: Text | None = Field(default=None, description="KMS key (id, ARN or alias/NAME) instead of AWS's own.")


class DeliverSettings(SettingsModel):
    """Stores into which a user's current key is delivered, as JSON, encrypted by the store."""

    model_config = _example("{secrets_manager: {}}")

    secrets_manager: StoreSettings | None = Field(default=None, description="AWS Secrets Manager.")
    ssm: StoreSettings | None = Field(default=None, description="SSM Parameter Store, as SecureString.")


class UserSettings(SettingsModel):
    """One IAM user with an access key; its name is its key."""

    model_config = _example("{groups: [test]}")

    groups: list[str] = Field(
        description="Names of groups of this stack that the user is in; 1 to 10.", examples=[["test"]]
    )
    path: Text = Field(default="/", description="IAM path of the user, for example /data/.")
    tags: Tags = Field(
        default={},
        description="Tags of this user, on top of the stack's tags.",
        json_schema_extra={"example": "{team: data}"},
    )
    force_destroy: bool = Field(
        default=False,
        description="Delete the user with everything that IAM has and this stack does not manage, such as a console "
        "password. Takes effect for a removal after the next update.",
    )
    key: KeySettings = Field(default=KeySettings(), description="The life of this user's key.")
    deliver: DeliverSettings | None = Field(default=None, description="Instead of the stack's deliver.")


class AccessSettings(SettingsModel):
    """Groups and users with their access keys."""

    groups: dict[str, GroupSettings] = Field(
        default={},
        description="IAM groups by name.",
        json_schema_extra={"example": "{test: {policies: [AmazonS3ReadOnlyAccess]}}"},
    )
    users: dict[str, UserSettings] = Field(
        default={},
        description="IAM users by name, each with an access key.",
        json_schema_extra={"example": "{test-user: {groups: [test]}}"},
    )
    allow_no_users: bool = Field(
        default=False,
        description="Needed to delete all users: a stack that has users refuses settings without any, which are more "
        "often a mistake.",
    )
    tags: Tags = Field(
        default={},
        description="Tags put on every user. IAM groups and access keys cannot have tags.",
        json_schema_extra={"example": "{team: data}"},
    )
    key_defaults: KeyDefaults = Field(default=KeyDefaults(), description="The life of every user's key.")
    deliver: DeliverSettings | None = Field(default=None, description="Delivery of every user's key into a store.")
    retire_unguarded: list[str] = Field(
        default=[],
        description="Users whose keys may be retired though they are in use, removed users included. For one run.",
        examples=[["former-colleague"]],
    )

    def effective_key(self, user: str) -> KeySettings:
        """A user's key settings: the user's own over `key_defaults` over the defaults."""
        own = self.users[user].key
        given = {name: getattr(self.key_defaults, name) for name in self.key_defaults.model_fields_set}
        given |= {name: getattr(own, name) for name in own.model_fields_set}
        return KeySettings.model_construct(**given)

    def key_place(self, spell: Spelling, user: str, field: str) -> str:
        """Where a key setting of a user is written: at the user, or among the defaults."""
        if field in self.users[user].key.model_fields_set:
            return spell(f"users.{{}}.key.{field}", user)
        return spell(f"key_defaults.{field}")

    def tag_place(self, spell: Spelling, user: str, key: str) -> str:
        """Where a tag of a user is written: at the user, or among everybody's."""
        return spell("users.{}.tags.{}", user, key) if key in self.users[user].tags else f"tags.{key}"

    def effective_deliver(self, user: str) -> DeliverSettings | None:
        """Where a user's key is delivered: the user's own setting, else the stack's."""
        own = self.users[user]
        return own.deliver if "deliver" in own.model_fields_set else self.deliver

    def effective_tags(self, user: str) -> "dict[str, pulumi.Input[str]]":
        """A user's tags: the user's own over everybody's."""
        return self.tags | self.users[user].tags


class ComponentSettings(AccessSettings):
    """What a program can pass to `ProgrammaticAccess`."""

    partition: Literal["aws", "aws-cn", "aws-us-gov"] | None = Field(
        default=None, description="AWS partition of policy names. Default: that of the region in aws:region."
    )


class StackSettings(AccessSettings):
    """Everything that a stack file has under `aws-access-keys:`."""

    outputs: list[Literal["credentialsCsv", "sesSmtpPasswords"]] = Field(
        default=[],
        description="Further encrypted outputs: credentialsCsv, sesSmtpPasswords.",
        examples=[["credentialsCsv"]],
    )
