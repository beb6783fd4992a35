"""What earlier runs left in the state of a stack, as the engine returns it: URN → type and outputs of each resource."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aws_access_keys.state import ComponentState
from aws_access_keys.state_reading import parse_state

from tests.unit.recording import PROJECT, key_id

COMPONENT, USER = "aws-access-keys:index:ProgrammaticAccess", "aws:iam/user:User"


class MadeUpState:
    """One component's resources; `|` puts those of several together."""

    def __init__(self, name: str = "access", parent: str = "pulumi:pulumi:Stack$") -> None:
        self.name = name
        self._types = f"urn:pulumi:dev::{PROJECT}::{parent}{COMPONENT}"
        self.urn = f"{self._types}::{name}"
        self.outputs: dict[str, Any] = {"keys": {}}
        self._plans: dict[str, Any] = {"plans": {}, "idleDays": {}, "retired": {}, "expired": {}, "lost": {}}
        self._resources: dict[str, Any] = {}

    def add(self, kinds: str, name: str, outputs: Mapping[str, Any]) -> None:
        """A resource below the component. kinds: its type below that of the component."""
        kind = kinds.rsplit("$", 1)[-1]
        self._resources[f"{self._types}${kinds}::{name}"] = {"type": kind, "outputs": dict(outputs)}

    def plain(self, kind: str, outputs: Mapping[str, Any]) -> "MadeUpState":
        """A resource of the program that no component made."""
        self._resources[f"urn:pulumi:dev::{PROJECT}::{kind}::mine"] = {"type": kind, "outputs": dict(outputs)}
        return self

    def group(self, group: str, **attached: str) -> "MadeUpState":
        """A group. attached: name of an attachment → ARN of the policy."""
        for name, arn in attached.items():
            kinds = "aws:iam/group:Group$aws:iam/groupPolicyAttachment:GroupPolicyAttachment"
            self.add(kinds, f"{self.name}/{group}/{name}", {"group": group, "policyArn": arn})
        self.add("aws:iam/group:Group", f"{self.name}/{group}", {"name": group})
        return self

    def user(
        self,
        user: str,
        *keys: str,
        handed_over: Sequence[str] | None = None,
        planned: Sequence[str] | None = None,
        inactive: Sequence[str] = (),
        created: str = "2026-11-01",
        idle_days: float = 0,
        retired: str | None = None,
        groups: Sequence[str] = ("g",),
        boundary: str = "",
        expired: str | None = None,
        lost: Sequence[str] = (),
        adopts: str | None = None,
        lost_secrets: Sequence[str] = (),
    ) -> "MadeUpState":
        """A user and the keys with these names, newest first.

        handed_over: the keys that the last finished run registered. planned: those that the last run wanted. Default of
        both: all keys. retired: the key that the settings made inactive. adopts: the id of the key that was adopted.
        lost_secrets: the keys whose secret could not be encrypted.
        """
        self.add(USER, f"{self.name}/{user}", {"name": user, "permissionsBoundary": boundary})
        membership = f"{USER}$aws:iam/userGroupMembership:UserGroupMembership"
        self.add(membership, f"{self.name}/{user}", {"user": user, "groups": list(groups)})
        for key in keys:
            status = "Inactive" if key in inactive else "Active"
            name = f"{self.name}/{user}/{key}"
            outputs = {"id": key_id(name), "status": status, "createDate": f"{created}T00:00:00Z"}
            outputs |= {"pgpKey": "a key"} if key in lost_secrets else {"secret": f"secret-of-{name}"}
            self.add(f"{USER}$aws:iam/accessKey:AccessKey", name, outputs)
        registered = [
            {"id": key_id(f"{user}/{key}"), "name": key, "status": "Inactive" if key in inactive else "Active"}
            for key in (keys if handed_over is None else handed_over)
        ]
        self.outputs["keys"][user] = dict(zip(("current", "previous"), registered, strict=False))
        self._plans["plans"][user] = list(keys if planned is None else planned)
        if retired:
            self._plans["retired"][user] = retired
        if expired:
            self._plans["expired"][user] = expired
        if lost:
            self._plans["lost"][user] = list(lost)
        if adopts:
            self._plans["adopts"] = {user: adopts}
        if idle_days:
            self._plans["idleDays"][user] = idle_days
        return self

    def tried(self, user: str, when: datetime) -> None:
        """The last run that tried the user's current key began then."""
        self._plans["tried"] = {user: when.isoformat()}

    def without_user(self, user: str) -> "MadeUpState":
        """The user and the keys are gone from the state, as after a refresh; what was handed over is remembered."""
        path = f"::{self.name}/{user}"
        kept = {urn: found for urn, found in self._resources.items() if not f"{urn}/".endswith(f"{path}/")}
        self._resources = {urn: found for urn, found in kept.items() if f"{path}/" not in urn}
        return self

    @property
    def resources(self) -> dict[str, Any]:
        """URN → type and outputs."""
        plans = f"{self._types}$aws-access-keys:index:KeyPlans::{self.name}"
        own = {self.urn: {"type": COMPONENT, "outputs": self.outputs}, plans: {"type": "", "outputs": self._plans}}
        return own | self._resources

    @property
    def parsed(self) -> ComponentState:
        """The state as the component reads it."""
        return parse_state(self.urn, self.resources)
