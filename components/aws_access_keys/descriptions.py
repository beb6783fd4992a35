"""Descriptions of keys, as the AWS console shows them: user tags named after the key id.

Such a tag cannot be among the user's own tags, for the key needs the user first. So the tags are a resource of their
own (a Stash), and a hook writes them before the resource is created or updated: what AWS refused is tried again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from aws_access_keys.account import Account, AwsQueryError


class DescriptionError(pulumi.RunError):
    """AWS did not accept a description."""


class KeyDescriptions:
    """One resource hook for all users of a component."""

    def __init__(self, urn: str, account: Account) -> None:
        """urn: of the component; two components under different parents can have one name."""
        self._account = account
        self._hook = pulumi.ResourceHook(f"{urn} describe-keys", self._write)

    def describe(
        self,
        name: str,
        user: pulumi.Resource,
        user_name: pulumi.Output[str],
        key_ids: Sequence[pulumi.Output[str]],
        description: "pulumi.Input[str]",
    ) -> pulumi.Stash:
        """Give each key of a user the description; an empty one removes them."""

        def tags(values: "list[Any]") -> dict[str, str]:
            text: str = values[0]
            return dict.fromkeys(values[1:], text) if text else {}

        return pulumi.Stash(
            name,
            input={"user": user_name, "tags": pulumi.Output.all(description, *key_ids).apply(tags)},
            opts=pulumi.ResourceOptions(
                parent=user,
                hooks=pulumi.ResourceHookBinding(before_create=[self._hook], before_update=[self._hook]),
            ),
        )

    def _write(self, args: pulumi.ResourceHookArgs) -> None:
        wanted, before = _tags(args.new_inputs), _tags(args.old_inputs)
        user = (args.new_inputs or {})["input"]["user"]
        try:
            self._account.tag_user(user, wanted, remove=sorted(before.keys() - wanted.keys()))
        except AwsQueryError as error:
            raise DescriptionError(
                f"the description of {user}'s keys cannot be written: {error}. The keys are not affected. The identity "
                "running Pulumi needs iam:TagUser and iam:UntagUser. Run `pulumi up` again, or remove the description."
            ) from None


def _tags(inputs: Mapping[str, Any] | None) -> dict[str, str]:
    return dict((inputs or {}).get("input", {}).get("tags", {}))
