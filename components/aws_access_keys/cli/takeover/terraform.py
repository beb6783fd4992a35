"""A Terraform state in a file, and how Terraform forgets what this program has taken over."""

from collections.abc import Collection, Iterator
from pathlib import Path
from shlex import quote

from aws_access_keys.cli.stack import StackError
from aws_access_keys.rules.takeover import Entity
from aws_access_keys.rules.terraform import TerraformError, TerraformState, parse_terraform


def read_terraform(path: Path) -> TerraformState:
    """The Terraform state in a file. Raises StackError."""
    try:
        return parse_terraform(path.read_text("utf-8-sig"))
    except OSError as error:
        raise StackError(f"The Terraform state {path} cannot be read: {error.strerror}. Nothing was changed.") from None
    except (TerraformError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, TerraformError) else "it is not text"
        raise StackError(f"The Terraform state {path} cannot be used: {why}. Nothing was changed.") from None


def require_account(state: TerraformState, account: str) -> None:
    """Raises StackError where the state is of another account."""
    if others := sorted(state.accounts - {account}):
        raise StackError(
            f"The Terraform state is from account {', '.join(others)}, but the credentials are for account {account}. "
            "Use credentials for the account that has these users. Nothing was changed."
        )


def forget_commands(state: TerraformState, entities: Collection[Entity]) -> Iterator[str]:
    """How Terraform forgets groups and users, in lines."""
    addresses = state.addresses_of(entities)
    yield "Terraform still manages these resources, and deletes any removed from its configuration. To prevent that:"
    yield f"  terraform state rm {' '.join(map(quote, addresses))}"
    yield "Or put this into its configuration in place of each resource: removed { from = ADDRESS ... }, with"
    yield "lifecycle { destroy = false }; ADDRESS has no index. Then run terraform plan: it must destroy nothing."
