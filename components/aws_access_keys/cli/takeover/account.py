"""What the account has: all groups and users in one paged call, then the keys and credentials of the chosen users."""

from collections.abc import Collection, Container, Iterator
from dataclasses import replace

from botocore.exceptions import ClientError
from rich.progress import Progress

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.asking import authorization_details, each, reason_for
from aws_access_keys.cli.stack import StackError
from aws_access_keys.iam import error_code, sdk_errors
from aws_access_keys.removal import ATTACHED
from aws_access_keys.rules.takeover import ExistingKey, ExistingUser, Inventory, parse_account

KINDS = ("User", "Group")
_WRONG_SECRET = "SignatureDoesNotMatch"
CREDENTIALS = {name: words for name, words in ATTACHED.items() if not name.endswith("_policies")}


def read_account(account: Account, progress: Progress) -> Inventory:
    """All groups and users, without keys. Raises StackError."""
    try:
        return parse_account(authorization_details(account, KINDS, progress))
    except AwsQueryError as error:
        because = reason_for(error, "iam:GetAccountAuthorizationDetails")
        raise StackError(f"The account cannot be read{because} Nothing was changed.") from None


def with_credentials(
    account: Account, found: Inventory, names: Collection[str], progress: Progress
) -> tuple[Inventory, list[str]]:
    """The account with the keys and other credentials of some users, and what of the latter could not be read.

    Raises StackError where keys cannot be listed: a key that is not seen would not be taken over.
    """
    users, problems = dict(found.users), dict[str, str]()
    task = progress.add_task("asking for keys and other credentials", total=len(names))

    def others(name: str) -> Iterator[str]:
        for operation, describe in CREDENTIALS.items():
            try:
                response = account.ask("iam", operation, UserName=name)
            except AwsQueryError as error:
                action = "".join(word.capitalize() for word in operation.split("_"))
                action = f"iam:{action.replace('Mfa', 'MFA').replace('Ssh', 'SSH')}"
                problems.setdefault(
                    action, f"Not all of the users' other credentials are listed{reason_for(error, action)}"
                )
            else:
                yield from describe(response) if response is not None else ()

    def ask(name: str) -> tuple[list[ExistingKey], tuple[str, ...]]:
        keys = [ExistingKey(key.id, key.active, key.created) for key in account.list_access_keys(name)]
        keys.reverse()  # IAM lists the oldest first, and tells only the second
        return sorted(keys, key=lambda key: key.created, reverse=True), tuple(others(name))

    for name, answer in each(sorted(names), ask):
        progress.advance(task)
        if isinstance(answer, AwsQueryError):
            raise StackError(
                f"The access keys of {name} cannot be listed{reason_for(answer, 'iam:ListAccessKeys')} Nothing was "
                "changed."
            )
        users[name] = replace(found.users[name], keys=tuple(answer[0]), others=answer[1])
    return Inventory(found.groups, users), list(problems.values())


def with_tried_secrets(
    account: Account, found: Inventory, managed: Container[str], progress: Progress
) -> tuple[Inventory, list[str]]:
    """The account without secrets that AWS does not accept, and a line about each one.

    managed: ids of keys that the stack has already, which are not tried: AWS would show that as a use by others. Those
    of inactive keys cannot be tried. Raises StackError where AWS does not answer.
    """
    keys = {
        key.id: str(key.known["secret"])
        for user in found.users.values()
        for key in user.keys
        if key.active and key.known and key.known.get("secret") and key.id not in managed
    }
    task = progress.add_task("trying the secrets", total=len(keys))

    def is_accepted(key_id: str) -> bool:
        try:
            account.sts_client_of(key_id, keys[key_id]).get_caller_identity()
        except sdk_errors() as error:
            if isinstance(error, ClientError) and error_code(error) in ("InvalidClientTokenId", _WRONG_SECRET):
                return False
            raise AwsQueryError(error) from None
        return True

    wrong: set[str] = set()
    for key_id, answer in each(sorted(keys), is_accepted):
        progress.advance(task)
        if isinstance(answer, AwsQueryError):
            raise StackError(f"The secret of the access key {key_id} cannot be tried: {answer}. Nothing was changed.")
        wrong |= set() if answer else {key_id}
    users: dict[str, ExistingUser] = {}
    lines: list[str] = []
    for name, user in found.users.items():
        users[name] = replace(user, keys=tuple(k._replace(known=None) if k.id in wrong else k for k in user.keys))
        lines += [
            f"AWS does not accept the secret that the Terraform state has of the access key {key.id} of {name}: it is "
            "not taken over, and the key cannot be delivered."
            for key in user.keys
            if key.id in wrong
        ]
    return Inventory(found.groups, users), lines
