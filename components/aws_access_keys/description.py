"""Descriptions of keys, as the AWS console shows them: user tags named after the key id.

A tag named after a key cannot be among the user's own tags, for the key needs the user first. So the wanted tags are
stashed in the state, and a hook writes them once the keys are there and whenever they change: before the stash, so
that what AWS refused is not taken for done, and tried again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from aws_access_keys.aws import Account, UnansweredError


class DescriptionError(pulumi.RunError):
    """AWS did not take a description."""


class DescriptionTags:
    """One resource hook for all users of a component."""

    def __init__(self, name: str, account: Account) -> None:
        self._account = account
        self._hook = pulumi.ResourceHook(f"{name}/describe-keys", self._run)

    def stash(
        self,
        name: str,
        user: pulumi.Output[str],
        key_ids: Sequence[pulumi.Output[str]],
        description: str,
        parent: pulumi.Resource,
    ) -> None:
        """Keep the wanted tags of one user: each of the user's keys has the description; an empty one clears them."""
        tags = pulumi.Output.all(*key_ids).apply(lambda ids: dict.fromkeys(ids, description) if description else {})
        binding = pulumi.ResourceHookBinding(before_create=[self._hook], before_update=[self._hook])
        pulumi.Stash(
            name, input={"user": user, "tags": tags}, opts=pulumi.ResourceOptions(parent=parent, hooks=binding)
        )

    def _run(self, args: pulumi.ResourceHookArgs) -> None:
        wanted, before = _tags(args.new_inputs), _tags(args.old_inputs)
        user = (args.new_inputs or {})["input"]["user"]
        try:
            self._account.tag_user(user, wanted, gone=sorted(before.keys() - wanted.keys()))
        except UnansweredError as error:
            raise DescriptionError(
                f"The description of {user}'s keys cannot be written: {error}. The keys are not touched by this. "
                "Whoever runs Pulumi needs iam:TagUser and iam:UntagUser. Run pulumi up again, or take the description "
                "out."
            ) from None


def _tags(inputs: Mapping[str, Any] | None) -> dict[str, str]:
    return dict((inputs or {}).get("input", {}).get("tags", {}))
