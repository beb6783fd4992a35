"""Stores that pass from one user to another: the former user's key must not stay in them for the new one's readers."""

from collections.abc import Iterator, Mapping
from typing import Any

from aws_access_keys.planning import UserPlan
from aws_access_keys.rules.names import described_user, in_words
from aws_access_keys.rules.resource_types import PARAMETER, SECRET
from aws_access_keys.rules.rotation import KeyName
from aws_access_keys.rules.secrets import readers_in
from aws_access_keys.run import Run
from aws_access_keys.settings import AccessSettings
from aws_access_keys.state import ComponentState


class PassingStores:
    """What the settings ask of the stores that the state has, and who may read them."""

    def __init__(self, settings: AccessSettings, state: ComponentState, run: Run) -> None:
        self._settings, self._state, self._run = settings, state, run

    def held_by_others(self, user: str, to: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the destinations that have another user's key."""
        return {kind: to[kind] for kind, _, _ in self._state.held_by(user, to)}

    def problems(self, user: str, plans: Mapping[str, UserPlan], is_unkept: bool) -> Iterator[str]:
        """Stores that another user has, and that this user cannot have in one update. is_unkept: whether the secret of
        the user's current key, as planned, is not kept."""
        plan, wanted = plans[user], self._settings.destinations(user)
        current = self._state.user(user).key(plan.plan.current.name)
        secret = wanted.get("secretsManager")
        is_written = not is_unkept or plan.plan.is_new or plan.is_moved or plan.expired_on
        for kind, owner, key_id in self._state.held_by(user, wanted):
            place = in_words({kind: wanted[kind]})
            has = f"{place} has {owner}'s access key {key_id}"
            planned = {key.name for key in plans[owner].plan.keys} if owner in plans else set[KeyName]()
            stays = any(key.id == key_id and key.name in planned for key in self._state.user(owner).keys)
            if key_id in self._state.user(owner).unkept:
                why = f"{place} has the only copy of the secret of {owner}'s access key {key_id}."
            elif stays:
                why = f"{has}. That key stays, and older versions would still have it, for whoever reads {user}'s key."
            elif is_unkept and kind == "ssm" and self._state.store_urn(PARAMETER, wanted[kind]) in self._run.resources:
                why = f"{has}. It is in the state with its value, where the secret of {user}'s key must not be."
            elif current and not is_written:
                cause = "it does not work" if plan.is_withheld else "its secret is not kept"
                cause = f"{cause}. Raise serial to {current.name.serial + 1} for a key that can."
                skipped = "" if plan.is_withheld else " ".join(plan.skipped)
                why = f"{has}, and {current.id} cannot take its place: {skipped or cause}"
            else:
                continue
            secret = None if kind == "secretsManager" else secret
            yield f"{why} {self._in_two_updates(kind, user, owner if owner in plans else None)}"
        if secret and self._has_other_readers(user, secret):
            place = in_words({"secretsManager": secret})
            why = f"{place} is another user's, with other readers: some could read a key that is not for them."
            yield f"{why} {self._in_two_updates('secretsManager', user, None)}"

    def _in_two_updates(self, kind: str, user: str, owner: str | None) -> str:
        """How a store passes to a user. owner: who has it, and stays."""
        if owner:
            first = f"take this one away from {owner} first, run `pulumi up`, and then give it to {user}"
        elif self._state.user(user).exists:
            first = f"leave it out for {user} in this update, and add it in the next one"
        else:
            first = f"leave {user} out of this update, and add {user} in the next one"
        between = (
            "" if kind == "existingSecret" else " The first update deletes the store, the second creates it again."
        )
        return f"Choose another name; or {first}.{between}"

    def _has_other_readers(self, user: str, name: str) -> bool:
        """Whether a secret in the state is another user's, whose readers are not those that this user's is to have."""
        former = described_user(self._run.outputs(self._state.store_urn(SECRET, name)), self._state.users)
        is_anothers = former not in (None, user)
        is_anothers |= any(True for _ in self._state.held_by(user, {"secretsManager": name}))
        has = readers_in(self._state.secret_policies.get(name))
        store = self._settings.secret(user)
        wants = (store.readers if store else None) or ()
        return is_anothers and has != set(wants)
