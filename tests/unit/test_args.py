"""What the package exports, and that the arguments for programs are the settings of stack files in snake_case."""

from typing import Any

import aws_access_keys
import pytest
from aws_access_keys import args, settings
from aws_access_keys.setting_types import Section, settings_of

PAIRS: list[tuple[Any, type[Section]]] = [
    (args.ProgrammaticAccessArgs, settings.ComponentSettings),
    (args.ExpectArgs, settings.ExpectSettings),
    (args.GroupArgs, settings.GroupSettings),
    (args.S3GrantArgs, settings.S3GrantSettings),
    (args.UserArgs, settings.UserSettings),
    (args.KeyArgs, settings.KeySettings),
    (args.KeyDefaultsArgs, settings.KeyDefaults),
    (args.RotationArgs, settings.RotationSettings),
    (args.RetireGuardArgs, settings.RetireGuardSettings),
    (args.AdoptArgs, settings.AdoptSettings),
    (args.DeliverArgs, settings.DeliverSettings),
    (args.StoreArgs, settings.StoreSettings),
]


@pytest.mark.parametrize(("arguments", "model"), PAIRS, ids=[arguments.__name__ for arguments, _ in PAIRS])
def test_every_argument_is_a_setting_and_every_setting_an_argument(arguments: Any, model: type[Section]) -> None:
    assert set(arguments.__annotations__) == set(settings_of(model))


def test_all_types_of_arguments_are_exported() -> None:
    exported = {name for name in vars(args) if name.endswith("Args")} | {"ProgrammaticAccess", "stack_settings"}
    assert exported >= {arguments.__name__ for arguments, _ in PAIRS}
    assert set(aws_access_keys.__all__) == exported
    for name in exported:
        assert getattr(aws_access_keys, name).__doc__, f"{name} is documented"
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        aws_access_keys.Nothing  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
