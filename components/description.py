"""Descriptions of keys, as the AWS console shows them: user tags named after the key id.

A tag named after a key cannot be among the user's own tags, for the key needs the user first. So the wanted tags are
stashed in the state, and a hook writes them once the keys are there and whenever they change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.aws import SessionMaker


class DescriptionTags:
    """One resource hook for all users of a component."""

    def __init__(self, name: str, maker: SessionMaker) -> None:
        self._maker = maker
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
        binding = pulumi.ResourceHookBinding(after_create=[self._hook], after_update=[self._hook])
        pulumi.Stash(
            name, input={"user": user, "tags": tags}, opts=pulumi.ResourceOptions(parent=parent, hooks=binding)
        )

    def _run(self, args: pulumi.ResourceHookArgs) -> None:
        wanted, before = _tags(args.new_inputs), _tags(args.old_inputs)
        user = (args.new_inputs or {})["input"]["user"]
        session: Any = self._maker()
        iam = session.client("iam")
        gone = sorted(before.keys() - wanted.keys())
        if gone:
            iam.untag_user(UserName=user, TagKeys=gone)
        if wanted:
            iam.tag_user(UserName=user, Tags=[{"Key": key_id, "Value": text} for key_id, text in wanted.items()])


def _tags(inputs: Mapping[str, Any] | None) -> dict[str, str]:
    return dict((inputs or {}).get("input", {}).get("tags", {}))
