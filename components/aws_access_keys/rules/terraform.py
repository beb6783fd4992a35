"""What a Terraform state has of IAM groups, users and access keys.

Sources: the state of version 4, https://developer.hashicorp.com/terraform/internals/json-format for `terraform show
-json`, and the attributes of each resource in the aws provider's documentation.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from aws_access_keys.rules.takeover import Entity, Inventory

VERSION = 4
_OUTPUTS = {
    "secret": "secret",
    "ses_smtp_password_v4": "sesSmtpPasswordV4",
    "encrypted_secret": "encryptedSecret",
    "key_fingerprint": "keyFingerprint",
    "pgp_key": "pgpKey",
}
"""Attribute of an access key → output of the resource in Pulumi."""


_EXCLUSIVE = re.compile(r"aws_iam_(group|user)_(?:policies|policy_attachments)_exclusive")


class TerraformError(ValueError):
    """A file that is no Terraform state which can be read; the text explains why and what to do."""


class Resource(NamedTuple):
    """One instance of a managed resource."""

    address: str
    type: str
    values: Mapping[str, Any]


@dataclass
class TerraformState:
    """The groups, users and keys of a Terraform state."""

    entities: set[Entity] = field(default_factory=set[Entity])
    held: set[tuple[str, ...]] = field(default_factory=set[tuple[str, ...]])
    """Policies, memberships and keys; see `takeover.only`."""
    keys: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Key id → outputs of the resource in Pulumi that only the state has, such as the secret."""
    addresses: list[tuple[str, frozenset[Entity]]] = field(default_factory=list[tuple[str, frozenset[Entity]]])
    """Each resource's address, and whose it is."""
    accounts: set[str] = field(default_factory=set[str])
    """The ids of the accounts of its groups and users."""

    def with_secrets(self, account: Inventory) -> Inventory:
        """The account with what the state has of keys."""
        users = {
            name: replace(user, keys=tuple(key._replace(known=self.keys.get(key.id)) for key in user.keys))
            for name, user in account.users.items()
        }
        return Inventory(account.groups, users)

    def addresses_of(self, entities: Collection[Entity]) -> list[str]:
        """The addresses of all that belongs to some groups and users."""
        return [address for address, owners in self.addresses if owners & set(entities)]


def parse_terraform(text: str) -> TerraformState:
    """A Terraform state. Raises TerraformError."""
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise TerraformError(f"it is not valid JSON ({error}). Get a complete one: terraform state pull") from None
    if not isinstance(document, dict):
        raise TerraformError("it is not a Terraform state. Get one: terraform state pull")
    state = TerraformState()
    try:
        for resource in _resources(cast("dict[str, Any]", document)):
            _add(state, resource)
    except KeyError as error:
        raise TerraformError(f"it is damaged or in an unknown format (a resource has no {error})") from None
    except (TypeError, AttributeError) as error:
        raise TerraformError(f"it is damaged or in an unknown format ({error!r:.80})") from None
    if not state.entities:
        raise TerraformError("it has no aws_iam_user and no aws_iam_group, so there is nothing to take over")
    return state


def _resources(document: Mapping[str, Any]) -> Iterator[Resource]:
    if "encrypted_data" in document:
        raise TerraformError("it is encrypted. Decrypt it first: tofu state pull")
    if backend := document.get("backend"):
        kind = f" '{backend['type']}'" if isinstance(backend, dict) and "type" in backend else ""
        raise TerraformError(f"it only points to the backend{kind} that has the state. Get that: terraform state pull")
    if "format_version" in document:
        if "planned_values" in document:
            raise TerraformError("it is a plan. Use the state: terraform show -json")
        values: dict[str, Any] = document.get("values") or {}
        yield from _of_module(values.get("root_module") or {})
        return
    if (version := document.get("version")) != VERSION:
        raise TerraformError(
            f"it has version {version}, but only version {VERSION} can be read, which Terraform 0.12 and newer and "
            "OpenTofu write. Have one of these write it: terraform state pull"
        )
    for found in document["resources"]:
        if found["mode"] != "managed":
            continue
        module = f"{found['module']}." if found.get("module") else ""
        for instance in found["instances"]:
            if "deposed" not in instance:
                index = f"[{json.dumps(instance['index_key'])}]" if "index_key" in instance else ""
                address = f"{module}{found['type']}.{found['name']}{index}"
                yield Resource(address, found["type"], instance["attributes"])


def _of_module(module: Mapping[str, Any]) -> Iterator[Resource]:
    """Of `terraform show -json`."""
    for found in module.get("resources") or ():
        if found["mode"] == "managed" and "deposed_key" not in found:
            yield Resource(found["address"], found["type"], found["values"])
    for child in module.get("child_modules") or ():
        yield from _of_module(child)


def _add(state: TerraformState, resource: Resource) -> None:
    values = resource.values
    held: list[tuple[str, str, str]] = []
    match resource.type.removeprefix("aws_iam_"):
        case "group" | "user" as kind:
            state.entities.add((kind, values["name"]))
            state.addresses.append((resource.address, frozenset({(kind, values["name"])})))
            if found := re.match(r"arn:[\w-]+:iam::(\d{12}):", str(values.get("arn"))):
                state.accounts.add(found[1])
        case "group_policy_attachment":
            held = [("group", values["group"], values["policy_arn"])]
        case "user_policy_attachment":
            held = [("user", values["user"], values["policy_arn"])]
        case "policy_attachment":
            held = [
                (kind, name, values["policy_arn"]) for kind in ("group", "user") for name in values[f"{kind}s"] or ()
            ]
        case "group_policy":
            held = [("group", values["group"], values["name"])]
        case "user_policy":
            held = [("user", values["user"], values["name"])]
        case "user_group_membership":
            held = [("user", values["user"], group) for group in values["groups"]]
        case "group_membership":
            held = [("user", user, values["group"]) for user in values["users"]]
        case _ if found := _EXCLUSIVE.fullmatch(resource.type):
            state.addresses.append((resource.address, frozenset({(found[1], values[f"{found[1]}_name"])})))
        case "access_key":
            held = [("user", values["user"], values["id"])]
            known = {name: values[attribute] for attribute, name in _OUTPUTS.items() if values.get(attribute)}
            state.keys[values["id"]] = known
        case _:
            return
    state.held |= set(held)
    if held:
        state.addresses.append((resource.address, frozenset((kind, name) for kind, name, _ in held)))
