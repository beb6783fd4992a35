"""`python bench/bare.py FILE`: what one would write with boto3 alone. FILE: a JSON document with `group` and `users`
(user → serial of the key; none: delete everything). The keys are kept in FILE.keys, in clear text."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3

POLICIES = [f"arn:aws:iam::aws:policy/{name}" for name in ("AmazonS3FullAccess", "IAMFullAccess")]


def main(file: Path) -> None:
    """Create what is missing, one call after the other, and delete what is not asked for."""
    wanted: dict[str, Any] = json.loads(file.read_text())
    group, users = wanted["group"], wanted["users"]
    kept = file.with_suffix(".keys")
    keys: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    iam: Any = boto3.client("iam")
    if users and not keys:
        iam.create_group(GroupName=group)
        for arn in POLICIES:
            iam.attach_group_policy(GroupName=group, PolicyArn=arn)
    try:
        for user, serial in users.items():
            if user not in keys:
                iam.create_user(UserName=user)
                iam.add_user_to_group(GroupName=group, UserName=user)
                keys[user] = issue(iam, user, serial)
            elif keys[user]["serial"] != serial:
                old = keys[user]["id"]
                iam.delete_access_key(UserName=user, AccessKeyId=old)
                keys[user] = issue(iam, user, serial)
        for user in keys.keys() - users.keys():
            iam.delete_access_key(UserName=user, AccessKeyId=keys[user]["id"])
            iam.remove_user_from_group(GroupName=group, UserName=user)
            iam.delete_user(UserName=user)
            del keys[user]
    finally:
        kept.write_text(json.dumps(keys))
    if not users:
        for arn in POLICIES:
            iam.detach_group_policy(GroupName=group, PolicyArn=arn)
        iam.delete_group(GroupName=group)


def issue(iam: Any, user: str, serial: int) -> dict[str, Any]:
    """A new key."""
    key = iam.create_access_key(UserName=user)["AccessKey"]
    return {"serial": serial, "id": key["AccessKeyId"], "secret": key["SecretAccessKey"]}


if __name__ == "__main__":
    os.umask(0o077)
    main(Path(sys.argv[1]))
