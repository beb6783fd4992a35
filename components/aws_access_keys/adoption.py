"""Groups, users and keys that the account has already, and that the settings take over: `adopt`.

AWS is asked before anything is registered, and only about what the state does not have yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.removal import items_of_group, unmanaged_items
from aws_access_keys.rules.limits import KEYS_PER_USER
from aws_access_keys.rules.names import in_words
from aws_access_keys.rules.networks import ALLOW_FROM
from aws_access_keys.rules.policies import policy_arn
from aws_access_keys.rules.problem import Problem, Spelling
from aws_access_keys.rules.resource_types import PARAMETER, SECRET
from aws_access_keys.settings import AccessSettings, GroupSettings, UserSettings
from aws_access_keys.state import ComponentState
from aws_access_keys.urns import name_below


def adoption_problems(
    settings: AccessSettings,
    spell: Spelling,
    state: ComponentState,
    ignored_tags: Sequence[str],
    account: Account,
) -> Iterator[Problem]:
    """What keeps groups, users and keys from being taken over. ignored_tags: prefixes; see preflight.py."""
    for name in new_groups(settings, state):
        where = spell("groups.{}.adopt", name)
        try:
            found = account.ask("iam", "get_group", GroupName=name, MaxItems=1)
        except AwsQueryError as error:
            yield Problem(where, f"could not read the group '{name}' ({error}). {error.cure('iam:GetGroup')}")
            continue
        if found is None:
            yield Problem(where, _missing("group", name))
        elif (path := found["Group"]["Path"]) != settings.groups[name].path:
            place = spell("groups.{}.path", name)
            yield Problem(
                place,
                f"the group to adopt has the path '{path}'; another path would change its ARN. Write path: {path}",
            )
    for user in new_users(settings, state):
        where = spell("users.{}.adopt", user)
        try:
            found = account.user(user)
        except AwsQueryError as error:
            yield Problem(where, f"could not read the user '{user}' ({error}). {error.cure('iam:GetUser')}")
            continue
        if found is None:
            yield Problem(where, _missing("user", user))
        elif not settings.effective_key(user).adopt:  # whose user is checked below
            yield from user_changes(settings, spell, user, ignored_tags, found)
    for user in sorted(settings.users):
        adopt = settings.effective_key(user).adopt
        if adopt and state.user(user).takes_over(adopt.id):
            is_taken_back = bool(state.user(user).handed_over)
            if adopt.secret is None:
                yield from _only_copies(adopt.id, spell("users.{}.key.adopt", user), state, spell, account)
            yield from _KeyAdoption(settings, spell, user, ignored_tags, account, is_taken_back).problems()
        elif adopt and not state.user(user).has_adopted(adopt.id):
            keys = ", ".join(key.id for key in state.user(user).keys)
            yield Problem(
                spell("users.{}.key.adopt.id", user),
                f"'{adopt.id}' cannot be adopted: '{user}' has keys of this stack ({keys}), and the current one works. "
                "Remove adopt.",
            )


def _only_copies(
    key_id: str, place: str, state: ComponentState, spell: Spelling, account: Account
) -> Iterator[Problem]:
    """Stores of the stack that hold a key which is taken over without its secret. They go: the key is not delivered."""
    recorded = {name_below(PARAMETER, name): name for name in state.recorded_parameters}
    for (kind, name), held in state.copies.items():
        if held != key_id or (kind == SECRET and name not in state.secrets):
            continue
        if kind == PARAMETER and name in recorded:  # of which a refresh sees nothing
            with suppress(AwsQueryError):
                if not account.parameters([recorded[name]]):
                    continue
        where = in_words({"ssm" if kind == PARAMETER else "secretsManager": recorded.get(name, name)})
        yield Problem(
            place,
            f"{where} has the secret of {key_id}, perhaps as its only copy, and would be deleted. Specify that secret "
            f"here, and leave {spell('deliver')} as it was. If somebody deleted it there, run `pulumi refresh`.",
        )


def new_groups(settings: AccessSettings, state: ComponentState) -> list[str]:
    """The groups to adopt that the state does not have yet."""
    return sorted(name for name, group in settings.groups.items() if group.adopt and name not in state.groups)


def new_users(settings: AccessSettings, state: ComponentState) -> list[str]:
    """The same of users."""
    return sorted(name for name, user in settings.users.items() if user.adopt and not state.user(name).exists)


def _missing(kind: str, name: str) -> str:
    return f"IAM has no {kind} '{name}' to adopt. Correct the name, or remove adopt to create the {kind}."


def kept_tags(
    settings: AccessSettings, state: ComponentState, ignored_tags: Sequence[str], account: Account
) -> dict[str, dict[str, str]]:
    """User → the tags that an adopted user keeps although the settings do not have them. Raises AwsQueryError.

    Those found when the user was taken over: without this, the provider would remove them.
    """
    kept: dict[str, dict[str, str]] = {}
    for name, user in settings.users.items():
        if not user.adopt:
            continue
        if not state.user(name).exists:
            kept[name] = undeclared_tags(settings, name, ignored_tags, account.user(name) or {})
        else:
            declared = settings.effective_tags(name)
            kept[name] = {key: value for key, value in state.user(name).kept_tags.items() if key not in declared}
    return {name: tags for name, tags in kept.items() if tags}


def undeclared_tags(
    settings: AccessSettings, user: str, ignored_tags: Sequence[str], found: Mapping[str, Any]
) -> dict[str, str]:
    """The tags that a user has and the settings do not. found: as GetUser describes it."""
    wanted, ignored = settings.effective_tags(user), ("aws:", *ignored_tags)
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
    return {key: value for key, value in tags.items() if key not in wanted and not key.startswith(ignored)}


def taken_over(
    settings: AccessSettings,
    state: ComponentState,
    tags: Mapping[str, Mapping[str, str]],
    partition: str,
    account: Account,
) -> Iterator[str]:
    """A line about each group and user that is taken over: what stays that the stack does not manage."""
    for name in new_groups(settings, state):
        yield _line("group", name, _items_of_group(settings, name, partition, account))
    for name in new_users(settings, state):
        own = _own_policies(settings, settings.users[name], partition)
        adopt = settings.effective_key(name).adopt
        items = [f"the tag {key}" for key in tags.get(name, ())]
        items += unmanaged_items(name, {adopt.id} if adopt else (), own, account)
        yield _line("user", name, items)


def _own_policies(settings: AccessSettings, holder: GroupSettings | UserSettings, partition: str) -> set[str]:
    """The existing policies that a group or user is to have: names of inline ones, ARNs of attached ones."""
    limit = [ALLOW_FROM] if holder.allow_from is not None else []
    attached = (policy for policy in holder.policies if policy not in settings.policy_documents)
    return {*holder.inline, *limit, *(policy_arn(policy, partition) for policy in attached)}


def _line(kind: str, name: str, items: Sequence[str]) -> str:
    kept = f" It keeps what this stack does not manage: {', '.join(items)}" if items else ""
    return f"the {kind} {name} is taken over as it is in IAM.{kept}"


def _items_of_group(settings: AccessSettings, name: str, partition: str, account: Account) -> list[str]:
    own = _own_policies(settings, settings.groups[name], partition)
    members = {user for user, found in settings.users.items() if name in found.groups}
    try:
        return items_of_group(name, own, members, account)
    except AwsQueryError as error:
        return [f"what could not be read ({error})"]


class _KeyAdoption:
    """Checks the key that a user's settings take over, and the user."""

    def __init__(
        self,
        settings: AccessSettings,
        spell: Spelling,
        user: str,
        ignored_tags: Sequence[str],
        account: Account,
        is_taken_back: bool,
    ) -> None:
        """is_taken_back: whether the stack had the key before, and its state lost it."""
        self._settings, self._spell, self._user = settings, spell, user
        self._is_taken_back = is_taken_back
        self._ignored_tags, self._account = ignored_tags, account

    def problems(self) -> Iterator[Problem]:
        """What is wrong with it."""
        user, key = self._user, self._settings.effective_key(self._user)
        assert key.adopt is not None
        where, key_id = self._spell("users.{}.key.adopt", user), key.adopt.id
        try:
            found = self._account.user(user)
            listed = self._account.list_access_keys(user)
        except AwsQueryError as error:
            cure = error.cure("iam:GetUser and iam:ListAccessKeys")
            yield Problem(where, f"could not list the access keys of '{user}' ({error}). {cure}")
            return
        if found is None:
            text = f"IAM has no user '{user}', so there is no key to adopt"
            yield Problem(where, f"{text}. Correct the name, or remove adopt to create the user.")
            return
        ids = [other.id for other in listed]
        if key_id not in ids:
            yield Problem(
                f"{where}.id",
                f"'{key_id}' is not an access key of '{user}', who has: {', '.join(ids) or 'none'}. Correct the id; "
                "or, if this stack took the key over before, remove adopt.",
            )
        elif len(ids) >= KEYS_PER_USER and not self._is_taken_back:
            other = next(found for found in ids if found != key_id)
            yield Problem(
                f"{where}.id",
                f"'{user}' has {len(ids)} access keys; that is IAM's maximum, so this one could never be rotated. "
                f"Delete '{other}' first, if nobody uses it.",
            )
        elif not next(found for found in listed if found.id == key_id).active and key.status is None:
            yield Problem(
                self._spell("users.{}.key.status", user),
                f"the access key '{key_id}' to adopt is inactive. Set status to inactive to keep it inactive, or to "
                "active to make it work again.",
            )
        elif key.status == "active" and not next(found for found in listed if found.id == key_id).active:
            yield from self._leaked(key_id)
        yield from user_changes(self._settings, self._spell, user, self._ignored_tags, found)

    def _leaked(self, key_id: str) -> Iterator[Problem]:
        where = self._spell("users.{}.key.status", self._user)
        stays = f"the access key '{key_id}' to adopt is inactive and is not activated:"
        try:
            is_leaked = self._account.has_leaked(self._user, key_id)
        except AwsQueryError as error:
            yield Problem(
                where, f"{stays} whether it has leaked could not be checked ({error}). Set status to inactive."
            )
            return
        if is_leaked:
            yield Problem(
                where,
                f"{stays} `access-keys leak` recorded that it has leaked. If that was a false alarm, run `access-keys "
                f"leak {key_id} --undo`; otherwise set status to inactive.",
            )


def user_changes(
    settings: AccessSettings, spell: Spelling, user: str, ignored_tags: Sequence[str], found: Mapping[str, Any]
) -> Iterator[Problem]:
    """What a takeover would change about a user: the ARN, the boundary, and tags that the settings do not have."""
    path: str = found["Path"]
    if path != settings.users[user].path:
        yield Problem(
            spell("users.{}.path", user),
            f"the user to adopt has the path '{path}'; another path would change its ARN. Write path: {path}",
        )
    boundary = found.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")
    if boundary and settings.users[user].permissions_boundary is None:
        where = spell("users.{}.permissions_boundary", user)
        text = "the user to adopt has a permissions boundary, which would be removed"
        yield Problem(where, f"{text}. To keep it, write {boundary}")
    lost = {} if settings.users[user].adopt else undeclared_tags(settings, user, ignored_tags, found)
    if lost:
        listed = ", ".join(f"{key}: {value}" for key, value in sorted(lost.items()))
        yield Problem(
            spell("users.{}.tags", user),
            f"the user to adopt has tags that would be removed. Write them here: {{{listed}}}; or remove them first.",
        )
