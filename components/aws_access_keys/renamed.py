"""Users who were renamed in IAM: their keys work, and the stack no longer finds them."""

from collections.abc import Iterable

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.rules.rotation import Key


def renamed(user: str, keys: Iterable[Key], account: Account) -> str | None:
    """What to do if somebody renamed a user in IAM: that one of the keys is at another user now, and the way back. None
    where nobody did, or AWS does not tell. keys: those that the state has of the user."""
    try:
        listed = {key.id for key in account.list_access_keys(user)}
    except AwsQueryError:
        return None
    for key in keys:
        if key.id not in listed and (owner := account.owner(key.id)) not in (None, user):
            return f"{renamed_text(user, key.id, owner, account)} and run `pulumi up` again."
    return None


def renamed_text(user: str, key_id: str, owner: str, account: Account) -> str:
    """The beginning of a message about a user who is `owner` in IAM now; without its end."""
    try:
        is_taken = account.has_user(user)
    except AwsQueryError:
        is_taken = False
    first = f"Rename the user who has the name '{user}' now, and restore" if is_taken else "Restore"
    return (
        f"the access key {key_id}, which this stack issued for '{user}', now belongs to the IAM user '{owner}': "
        f"somebody renamed the user. {first} the name (aws iam update-user --user-name {owner} --new-user-name {user})"
    )
