"""The shape of the config under `aws-access-keys:`: which keys there are, of which type, with which defaults.

What the values must obey beyond their type is in `rules/`. The JSON schema that editors use comes from these classes
(`python -m aws_access_keys.settings.schema`).
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from aws_access_keys.rules.rotation import Calendar


class Shape(BaseModel):
    """Keys are camelCase in the stack file; an unknown key or a value of another type is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, alias_generator=to_camel)


class GroupSettings(Shape):
    """One IAM group; its name is its key."""

    policies: list[str] = Field(
        description="Managed policies: AWS's by name (AmazonS3FullAccess), any by ARN; 10 at most.",
        examples=[["AmazonS3ReadOnlyAccess"]],
    )
    path: str = Field(default="/", description="IAM path of the group, for example /data/.")


def _unquoted(value: object) -> object:
    """A date that the stack file has without quotes reaches us as the engine's time at midnight."""
    return value.removesuffix(" 00:00:00 +0000 UTC") if isinstance(value, str) else value


class RotationSettings(Shape):
    """New keys by the calendar."""

    start: Annotated[date, BeforeValidator(_unquoted)] = Field(
        strict=False,
        ge=date(2000, 1, 1),
        le=date(2999, 12, 31),
        description="First day of the first period, for example 2026-12-01.",
    )
    every_days: int = Field(
        ge=1, le=3650, description="Length of a period in days; each but the first begins with a new key."
    )
    overlap_days: int = Field(
        ge=0, description="Days for which the key before stays active after a new one was issued; at most everyDays."
    )

    def calendar(self) -> Calendar:
        """The same as the pure rules take it."""
        return Calendar(self.start, self.every_days, self.overlap_days)


class RetireGuardSettings(Shape):
    """A key that is still in use is neither deactivated nor deleted."""

    idle_days: int = Field(ge=1, description="Days for which a key must have been unused before it may go.")


class AdoptSettings(Shape):
    """An access key that exists already."""

    id: str = Field(description="The access key id, AKIA...")
    secret: str | None = Field(
        default=None,
        description="Its secret, as encrypted config (pulumi config set --secret --path); may be left out.",
    )


class KeyDefaults(Shape):
    """The life of every user's key, unless the user says otherwise."""

    serial: int = Field(default=1, ge=1, description="Raise it by one for a new key.")
    previous: Literal["active", "inactive", "deleted"] | None = Field(
        default=None,
        description="What becomes of the key before. Default: inactive under a calendar, else active.",
    )
    rotation: RotationSettings | None = Field(default=None, description="New keys by the calendar.")
    status: Literal["active", "inactive"] = Field(
        default="active", description="inactive suspends the current key without deleting it."
    )
    description: str | None = Field(default=None, description="Shown in the AWS console beside the key.")
    pgp_key: str | None = Field(
        default=None,
        description="An OpenPGP public key, armored or base64, or file:PATH: the secret is only kept encrypted to it.",
    )
    verify: bool = Field(default=True, description="Wait until AWS accepts a new key, 60 seconds at most.")
    retire_guard: RetireGuardSettings | None = Field(
        default=None, description="Refuse to deactivate or delete a key that is still in use."
    )


class KeySettings(KeyDefaults):
    """The life of one user's key."""

    adopt: AdoptSettings | None = Field(default=None, description="Take an existing key instead of making the first.")


class StoreSettings(Shape):
    """Where in a secret store a user's key is put."""

    name: str | None = Field(
        default=None, description="Name in the store. Default: access-keys/USER, with a leading / in SSM."
    )
    kms_key: str | None = Field(default=None, description="KMS key (id, ARN or alias/NAME) instead of AWS's own.")


class DeliverSettings(Shape):
    """Stores into which a user's current key is delivered, as JSON, encrypted by the store."""

    secrets_manager: StoreSettings | None = Field(default=None, description="AWS Secrets Manager.")
    ssm: StoreSettings | None = Field(default=None, description="SSM Parameter Store, as SecureString.")


class UserSettings(Shape):
    """One IAM user with an access key; its name is its key."""

    groups: list[str] = Field(description="Names of groups of this stack that the user is in; 1 to 10.")
    path: str = Field(default="/", description="IAM path of the user, for example /data/.")
    tags: dict[str, str] = Field(default={}, description="Tags of this user, on top of the stack's tags.")
    key: KeySettings = Field(default=KeySettings(), description="The life of this user's key.")
    deliver: DeliverSettings | None = Field(default=None, description="Instead of the stack's deliver.")


Extra = Literal["credentialsCsv", "sesSmtpPasswords"]


class StackSettings(Shape):
    """Everything a stack says under `aws-access-keys:`."""

    groups: dict[str, GroupSettings] = Field(default={}, description="IAM groups by name.")
    users: dict[str, UserSettings] = Field(default={}, description="IAM users by name, each with an access key.")
    tags: dict[str, str] = Field(default={}, description="Tags put on every user.")
    key_defaults: KeyDefaults = Field(default=KeyDefaults(), description="The life of every user's key.")
    deliver: DeliverSettings | None = Field(default=None, description="Delivery of every user's key into a store.")
    outputs: list[Extra] = Field(default=[], description="Further encrypted outputs: credentialsCsv, sesSmtpPasswords.")

    def key_of(self, user: str) -> KeySettings:
        """A user's key settings: what the user says, over what keyDefaults say, over the defaults."""
        own = self.users[user].key
        said = {name: getattr(self.key_defaults, name) for name in self.key_defaults.model_fields_set}
        said |= {name: getattr(own, name) for name in own.model_fields_set}
        return KeySettings.model_construct(**said)

    def says_status(self, user: str) -> bool:
        """Whether a user's key status is written down, and not the default."""
        said = self.users[user].key.model_fields_set | self.key_defaults.model_fields_set
        return "status" in said

    def deliver_of(self, user: str) -> DeliverSettings | None:
        """Where a user's key is delivered: as the user says, else as the stack says."""
        own = self.users[user]
        return own.deliver if "deliver" in own.model_fields_set else self.deliver
