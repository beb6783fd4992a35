"""The shape of the config under `aws-access-keys:`: which keys there are, of which type, with which defaults.

What the values must obey beyond their type is in `rules/`. The JSON schema that editors use comes from these classes
(`python -m settings.schema`).
"""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


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


class UserSettings(Shape):
    """One IAM user with an access key; its name is its key."""

    groups: list[str] = Field(description="Names of groups of this stack that the user is in; 1 to 10.")
    path: str = Field(default="/", description="IAM path of the user, for example /data/.")
    tags: dict[str, str] = Field(default={}, description="Tags of this user, on top of the stack's tags.")


class StackSettings(Shape):
    """Everything a stack says under `aws-access-keys:`."""

    groups: dict[str, GroupSettings] = Field(default={}, description="IAM groups by name.")
    users: dict[str, UserSettings] = Field(default={}, description="IAM users by name, each with an access key.")
    tags: dict[str, str] = Field(default={}, description="Tags put on every user.")
