"""The arguments of `ProgrammaticAccess`. They are checked when the component is created, with those of a stack file."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from typing_extensions import NotRequired, TypedDict


class S3GrantArgs(TypedDict):
    """What a group may do with a bucket, or with the objects below a prefix."""

    bucket: str
    """Name of the bucket."""
    prefix: NotRequired[str]
    """Beginning of the objects' keys, for example `reports/`. Default: the whole bucket."""
    access: str
    """`list`: see which objects exist. `read`: list, and read objects. `write`: create, overwrite and delete
    objects, without seeing what is there. `readWrite`: all of these."""
    kms_key: NotRequired[str]
    """ARN of the customer managed KMS key that encrypts the objects. Default: none."""


class ExpectArgs(TypedDict):
    """Permission tests of a group or user. Each is `ACTION`, `ACTION RESOURCE`, or a mapping with `action`, `resource`,
    `from` (the network from which the call comes) and `context` (other condition keys with their values)."""

    allow: NotRequired[Sequence[Any]]
    """What must be allowed. With wildcards: all that matches."""
    deny: NotRequired[Sequence[Any]]
    """What must be denied. With wildcards: all that matches."""


class GroupArgs(TypedDict):
    """One IAM group."""

    policies: NotRequired[Sequence[str]]
    """Managed policies: AWS managed ones (`AmazonS3FullAccess`) and those in `policy_documents` by name, others by ARN;
    at most 10. They name the attachments."""
    policy_arns: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Managed policies whose ARN is known only later, for example of one that the same program creates: a name of your
    choice, which names the attachment, and the ARN."""
    s3: NotRequired[Sequence[S3GrantArgs]]
    """What the group may do in S3. Becomes a managed policy that allows this and nothing else."""
    inline: NotRequired[Mapping[str, Any]]
    """Inline policies of the group: name and document, as in `policy_documents`."""
    allow_from: NotRequired[Sequence[str] | None]
    """Networks (CIDR) from which the keys of the group's users work. Default: everywhere."""
    expect: NotRequired[ExpectArgs | None]
    """Permission tests, checked before anything is changed."""
    path: NotRequired[pulumi.Input[str]]
    """IAM path, default `/`."""
    adopt: NotRequired[bool]
    """Take over the existing group of this name. Its other policies and members stay. Default false."""


class RotationArgs(TypedDict):
    """New keys on a schedule."""

    start: str
    """First day of the first period, `YYYY-MM-DD`."""
    every_days: int
    """Length of a period in days; each one except the first begins with a new key."""
    overlap_days: int
    """Days for which the previous key stays active after a new one is issued; at most `every_days`."""


class RetireGuardArgs(TypedDict):
    """A key that is still in use is neither deactivated nor deleted."""

    idle_days: int
    """Days for which a key must have been unused before it may be retired."""


class AdoptArgs(TypedDict):
    """An existing key of an existing user, taken over instead of creating the first key."""

    id: str
    """The access key id."""
    secret: NotRequired[pulumi.Input[str]]
    """Its secret, if you have it."""


class KeyDefaultsArgs(TypedDict):
    """The life of every user's key, where the user's own `key` does not specify otherwise."""

    serial: NotRequired[int]
    """Raise it by one for a new key. Default 1."""
    previous: NotRequired[str]
    """What happens to the previous key: `active`, `inactive`, `deleted`, or `whenIdle`: inactive once the new key has
    been used and the previous one has been idle for the days of `retire_guard`. Default: `inactive` with a schedule,
    otherwise `active`."""
    rotation: NotRequired[RotationArgs | None]
    """New keys on a schedule. Default: none."""
    status: NotRequired[str]
    """`inactive` suspends the current key, `active` makes it work again. Default: a new key is active, the status of an
    existing key is left alone."""
    description: NotRequired[pulumi.Input[str]]
    """Shown beside the key in the AWS console. The provider must ignore tags that start with AKIA."""
    pgp_key: NotRequired[pulumi.Input[str]]
    """An OpenPGP public key, armored or base64, or `file:PATH`: the next secret is kept encrypted to it only."""
    expires: NotRequired[str]
    """Day on which the user's keys expire, in UTC: `YYYY-MM-DD`. The first update on or after it deactivates them, or
    deletes them with `previous: deleted`; no new one is issued. Default: never."""
    keep_secret: NotRequired[bool]
    """False: the secret of the next key is in the stores to which it is delivered, and nowhere else: not in the state
    either. Needs `deliver`. Default true."""
    verify: NotRequired[bool]
    """Wait until AWS accepts a new key, at most 60 seconds. Default true."""
    retire_guard: NotRequired[RetireGuardArgs | None]
    """Refuse to deactivate or delete a key that is still in use. Default: no guard."""


class KeyArgs(KeyDefaultsArgs):
    """The life of one user's key."""

    without: NotRequired[Sequence[str]]
    """Settings of `key_defaults` that this key does not have, for languages in which null gets lost, such as YAML."""
    adopt: NotRequired[AdoptArgs]
    """Take over an existing key as the first one."""


class FieldArgs(TypedDict):
    """The names of the two fields of the JSON in a store."""

    id: NotRequired[str]
    """Field for the access key id. Default `aws_access_key_id`."""
    secret: NotRequired[str]
    """Field for the secret. Default `aws_secret_access_key`."""


class StoreArgs(TypedDict):
    """Where a user's key is put in a secret store."""

    name: NotRequired[str]
    """Name in the store. Default `access-keys/USER`, with a leading `/` in SSM."""
    kms_key: NotRequired[pulumi.Input[str]]
    """KMS key (id, ARN or `alias/NAME`) instead of the AWS managed key."""
    fields: NotRequired[FieldArgs]
    """Names of the fields of the JSON."""


class SecretArgs(StoreArgs):
    """Where a user's key is put in AWS Secrets Manager."""

    existing: NotRequired[str | None]
    """Name or ARN of an existing secret, to write the key into instead of creating a secret. It stays when the user
    is removed."""
    readers: NotRequired[Sequence[str] | None]
    """ARNs of the users, roles and accounts that may read the secret, by its resource policy."""
    replicas: NotRequired[Sequence[str]]
    """Other regions to which the secret is replicated."""


class DeliverArgs(TypedDict):
    """Stores that get the current key as JSON with `aws_access_key_id` and `aws_secret_access_key`."""

    secrets_manager: NotRequired[SecretArgs]
    """AWS Secrets Manager; a rotation makes a new version, which becomes AWSCURRENT."""
    ssm: NotRequired[StoreArgs]
    """SSM Parameter Store, as SecureString."""
    command: NotRequired[Sequence[str] | None]
    """A program with its arguments, in the project's folder: it gets each new key as JSON on standard input, and exits
    with 0 once the key is delivered. No shell is involved."""
    timeout_seconds: NotRequired[int]
    """Seconds after which the command is killed. Default 60."""


class NotifyArgs(TypedDict):
    """Notices: before a rotation, and when a key is issued, held back or retired."""

    sns: NotRequired[str | None]
    """ARN of an SNS topic."""
    command: NotRequired[Sequence[str] | None]
    """A program and its arguments, which gets each notice as JSON on standard input."""
    before_days: NotRequired[int]
    """Days before a scheduled rotation on which it is announced. Default 7."""
    owner_tag: NotRequired[str]
    """The user's tag that names the owner. Default `owner`."""


class UserArgs(TypedDict):
    """One IAM user with an access key."""

    groups: NotRequired[Sequence[str]]
    """Names of groups of the same component; at most 10."""
    policies: NotRequired[Sequence[str]]
    """Managed policies of the user itself, as in the `policies` of a group."""
    inline: NotRequired[Mapping[str, Any]]
    """Inline policies of the user itself: name and document, as in `policy_documents`."""
    permissions_boundary: NotRequired[pulumi.Input[str] | None]
    """Managed policy that limits what the user's policies can allow: a name as in the `policies` of a group, or an
    ARN."""
    allow_from: NotRequired[Sequence[str] | None]
    """Networks (CIDR) from which the user's keys work. Default: everywhere, or as in the user's groups."""
    expect: NotRequired[ExpectArgs | None]
    """Permission tests, checked before anything is changed."""
    path: NotRequired[pulumi.Input[str]]
    """IAM path, default `/`."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags of this user, in addition to the component's."""
    force_destroy: NotRequired[bool]
    """Delete the user together with what it has in IAM and this component does not manage, such as a console password.
    Takes effect for a removal after the next update. Default false."""
    key: NotRequired[KeyArgs | None]
    """The life of this user's key. None for a user without a key; an existing one is deleted."""
    deliver: NotRequired[DeliverArgs | None]
    """Stores that get this user's key, instead of the component's `deliver`."""
    without: NotRequired[Sequence[str]]
    """What this user does not have, `key` or `deliver`, for languages in which null gets lost, such as YAML."""
    adopt: NotRequired[bool]
    """Take over the existing user of this name. Its other policies, groups, tags and access keys stay.
    Default false."""


class ProgrammaticAccessArgs(TypedDict):
    """What `ProgrammaticAccess` creates. A value may be an Output where its type allows it, not where it decides which
    resources there are or how they are named."""

    groups: Mapping[str, GroupArgs]
    """Groups by name. The keys name the IAM groups and the Pulumi resources."""
    users: Mapping[str, UserArgs]
    """Users by name. The keys name the IAM users and the Pulumi resources."""
    policy_documents: NotRequired[Mapping[str, Any]]
    """Customer managed policies: name, and the document (a mapping or JSON) or `file:PATH` of a JSON file. List them in
    the `policies` of groups and users."""
    name_prefix: NotRequired[str | None]
    """Prefix of all names in IAM (users, groups, policies). Changing it renames everything, which means new keys.
    Default: none."""
    allow_no_users: NotRequired[bool]
    """Needed to delete all users: a component that has users refuses an empty `users`, which is usually a mistake.
    Default false."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Tags put on every user. IAM groups and access keys cannot have tags."""
    key_defaults: NotRequired[KeyDefaultsArgs]
    """The life of every user's key."""
    deliver: NotRequired[DeliverArgs]
    """Delivery of every user's key into a store."""
    notify: NotRequired[NotifyArgs | None]
    """Notices about keys, without secrets. Default: none."""
    retire_unguarded: NotRequired[Sequence[str]]
    """Users whose keys may be retired even if they are in use, including removed users. For one run."""
    partition: NotRequired[str]
    """AWS partition of policy names: `aws`, `aws-cn` or `aws-us-gov`. Default: that of the region in `aws:region`."""
