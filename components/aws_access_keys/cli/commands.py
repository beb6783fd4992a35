"""The command line: subcommands, options and their help. What they do is imported once one of them runs."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from aws_access_keys.cli.stack import selected_stack
from aws_access_keys.rules.inventory import RULES
from aws_access_keys.rules.operator_rows import COMMANDS, Command

ENDINGS = {".html": "html", ".htm": "html", ".json": "json", ".csv": "csv"}
OVERDUE = ACT = 3  # exit code


all_stacks_option = click.option(
    "--all-stacks", is_flag=True, help="Cover all stacks of the project in this folder, each with its own aws: config."
)
stack_option = click.option("-s", "--stack", metavar="STACK", help="Default: the stack that is selected in Pulumi.")
output_option = click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Format of the result.",
)

regions_option = click.option(
    "--regions",
    metavar="REGION,...",
    default="",
    help="Regions in which to ask CloudTrail, besides us-east-1 and the stack's region.",
)


def listing_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of the report and of the inventory."""
    options = (
        click.option(
            "-o",
            "--output",
            type=click.Choice(["text", "json", "html", "csv"]),
            help="Format. Default: from the extension of --file (.json, .html, .csv), else text.",
        ),
        click.option(
            "--file", metavar="FILE", type=click.Path(path_type=Path), help="Write to this file instead of printing."
        ),
        click.option(
            "--max-age-days",
            metavar="DAYS",
            type=click.IntRange(1),
            default=90,
            show_default=True,
            help="An active key is overdue if it is older than this.",
        ),
        click.option(
            "--idle-days",
            metavar="DAYS",
            type=click.IntRange(1),
            default=45,
            show_default=True,
            help="An active key is overdue if it has not been used for this long.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _require_one_scope(stack: str | None, all_stacks: bool) -> None:
    if stack and all_stacks:
        raise click.UsageError("--stack and --all-stacks cannot be combined.")


def _format_of(file: Path | None) -> str:
    return ENDINGS.get(file.suffix.lower(), "text") if file else "text"


class _Command(click.Command):
    """A command that takes no empty values: one comes from a variable that is not set, and would count as not given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for before, value in zip(("", *args), args if not ctx.resilient_parsing else (), strict=False):
            if not value or (value.startswith("--") and value.endswith("=")):
                name = value.rstrip("=") or (before if before.startswith("-") else "an argument")
                raise click.UsageError(f"{name} is empty. Give a value, or leave it out.", ctx)
        return super().parse_args(ctx, args)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    \b
    Examples:
      access-keys report --stack prod              list every key, and what is overdue
      access-keys inventory                        list every user and key of the account
      access-keys credentials ann --stack prod     put Ann's key into the AWS profile 'ann'
      access-keys rotate ann --stack prod          request a new key for Ann; `pulumi up` issues it
      access-keys move ann --to team-b             move Ann and her key to another stack
      access-keys permissions --check              check what keys may and may not do
      access-keys leak AKIA...                     stop a key that has leaked, and its sessions
      access-keys takeover --account --user ann    take over what the account has already

    \b
    Exit codes:
      0    success
      1    error, and the message explains what to do; permissions: one is missing, or a test failed;
           leak: a step could not be done, or something could not be read; --all-stacks: a stack could not be read
      2    usage error
      3    report --fail-on-overdue: a key is overdue; inventory --fail-on: such a reason was found
      130  interrupted with Ctrl-C

    \b
    Tab completion: add the line for your shell to its startup file.
      bash  eval "$(_ACCESS_KEYS_COMPLETE=bash_source access-keys)"
      zsh   eval "$(_ACCESS_KEYS_COMPLETE=zsh_source access-keys)"
      fish  _ACCESS_KEYS_COMPLETE=fish_source access-keys | source
    """,
)
@click.version_option(package_name="aws-access-keys")
def access_keys() -> None:
    """Report, hand over, rotate and check the AWS access keys of a Pulumi stack.

    Run it in the folder of the Pulumi program, in an environment in which `pulumi up` works: it runs `pulumi` to
    read the stack. It never shows a secret on a terminal, and only `leak` changes anything in AWS.
    """


access_keys.command_class = _Command


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys report --stack prod --file keys.html
      access-keys report --stack prod --fail-on-overdue --max-age-days 60
      access-keys report --output json | jq '.keys[] | select(.overdue != [])'
      ACCESS_KEYS_TODAY=2027-06-20 access-keys report
      access-keys report --all-stacks                  every stack of the project
      access-keys report --who ann                     who uses Ann's keys, according to CloudTrail
    """
)
@stack_option
@all_stacks_option
@click.option("--who", metavar="USER|KEYID", help="Instead, show who uses a key, or all keys of a user.")
@regions_option
@listing_options
@click.option(
    "--fail-on-overdue", is_flag=True, help="Exit with 3 if a key is overdue, with 1 if that cannot be determined."
)
@click.pass_context
def report(
    context: click.Context,
    stack: str | None,
    all_stacks: bool,
    who: str | None,
    regions: str,
    output: str | None,
    file: Path | None,
    max_age_days: int,
    idle_days: int,
    fail_on_overdue: bool,
) -> None:
    """List every access key, and what is overdue.

    A key is overdue if it is active and older than --max-age-days (AWS Security Hub control IAM.3), active and unused
    for --idle-days (IAM.22), or if its rotation date has passed. Keys of the stack's users that the stack does not
    manage are listed, too. AWS is asked for these keys and for last uses, which needs the permissions
    iam:ListAccessKeys and iam:GetAccessKeyLastUsed. ACCESS_KEYS_TODAY=YYYY-MM-DD makes the report as of another day.

    --who asks CloudTrail about the last 90 days: addresses, user agents and calls. This needs the permission
    cloudtrail:LookupEvents; the exit code is 1 if something could not be read.
    """
    _require_one_scope(stack, all_stacks)
    if who is not None:
        from aws_access_keys.cli.usage import who as who_uses

        if all_stacks:
            raise click.UsageError("--who cannot be combined with --all-stacks.")
        if output in ("html", "csv") or file or fail_on_overdue:
            raise click.UsageError("--who prints text or JSON: --output text or --output json.")
        data, text = who_uses(stack, who, _regions(regions))
        _print(output or "text", data, text)
        context.exit(1 if data["problems"] else 0)
    from aws_access_keys.cli.report import make_report, put_listing
    from aws_access_keys.rules.findings import Limits

    limits = Limits(max_age_days=max_age_days, idle_days=idle_days)
    if all_stacks:
        from aws_access_keys.cli.report.all_stacks import report_all

        made, unread = (everything := report_all(limits)), everything.unread
    else:
        made, unread = make_report(stack or selected_stack(), limits), ()
    put_listing(made, output or _format_of(file), file)
    if fail_on_overdue and made.to_act_on:
        context.exit(OVERDUE)
    if unread:
        context.exit(1)
    if fail_on_overdue and made.summary.unknown:
        raise click.ClickException("AWS did not report the last use of a key that may be overdue.")


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys inventory --file account.html
      access-keys inventory --all-stacks               the accounts of all stacks of the project
      access-keys inventory --all-projects --output csv --file account.csv
      access-keys inventory --fail-on root --fail-on quarantine --fail-on unused
      access-keys inventory --output json | jq '.items[] | select(.role == "unmanaged")'
    """
)
@click.option(
    "-s", "--stack", metavar="STACK", help="Ask AWS as this stack does. Default: the selected stack, if there is one."
)
@all_stacks_option
@click.option("--all-projects", is_flag=True, help="Look for keys in the stacks of all projects of the backend.")
@listing_options
@click.option(
    "--fail-on",
    type=click.Choice([*RULES, "any"]),
    multiple=True,
    help="Exit with 3 if there is a reason of this kind, with 1 if AWS did not answer everything. Can be repeated.",
)
@click.pass_context
def inventory(
    context: click.Context,
    stack: str | None,
    all_stacks: bool,
    all_projects: bool,
    output: str | None,
    file: Path | None,
    max_age_days: int,
    idle_days: int,
    fail_on: tuple[str, ...],
) -> None:
    """List every user and access key of the AWS account, and what to act on first.

    Root's keys come first, then the keys and users with reasons to act. Keys are matched to stacks
    by their ids. Works without any stack, too.

    \b
    Reasons:
      root           the root user has an access key
      quarantine     AWS found a key of the user exposed
      administrator  the user is as strong as an administrator
      unused, age    as in `access-keys report`
      reactivated    active in IAM, although the stack left it inactive
      rotation       the rotation date in the stack has passed
      second         the user has another active key, and it is not part of a rotation
      mfa            console password without MFA

    `access-keys permissions --for inventory` prints the permissions that it needs. It changes nothing, except that AWS
    generates a credential report if the last one is older than four hours.
    """
    from aws_access_keys.cli.inventory import make_inventory
    from aws_access_keys.cli.report import put_listing
    from aws_access_keys.rules.findings import Limits

    _require_one_scope(stack, all_stacks)
    limits = Limits(max_age_days=max_age_days, idle_days=idle_days)
    if all_stacks:
        from aws_access_keys.cli.inventory.accounts import inventory_all

        made, unread = (everything := inventory_all(all_projects, limits)), everything.unread
    else:
        made, unread = make_inventory(stack, all_projects, limits), ()
    put_listing(made, output or _format_of(file), file)
    if any(finding.rule in fail_on or "any" in fail_on for row in made.rows for finding in row.reasons):
        context.exit(ACT)
    if unread:
        context.exit(1)
    if fail_on and (made.summary.unknown or not made.complete):
        raise click.ClickException("AWS did not answer everything, so there may be reasons to act.")


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys credentials ann                     into the profile 'ann'
      access-keys credentials ann --profile s3-dev    then: aws s3 ls --profile s3-dev
      access-keys credentials ann --csv ann.csv       for `aws configure import` of AWS CLI 2
      credential_process = access-keys credentials ann --process --from ssm
      credential_process = access-keys credentials ann --process --from secretsManager:team/key
                                                      in a profile of ~/.aws/config: no secret in any file
    """
)
@click.argument("user")
@stack_option
@click.option("--profile", metavar="NAME", help="Name of the profile. Default: the user's name.")
@click.option(
    "--file",
    metavar="FILE",
    help="The credentials file. Default: $AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials.",
)
@click.option("--csv", "csv_file", metavar="FILE", help="Write a CSV file instead of a profile.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace a key that this stack did not issue, or an existing CSV file, and keep a backup.",
)
@click.option("--process", is_flag=True, help="Print the key in the format of credential_process.")
@click.option(
    "--from",
    "source",
    metavar="STORE[:NAME]",
    default="stack",
    show_default=True,
    help="With --process: where to read the key: stack, secretsManager or ssm, optionally with its name there.",
)
@click.option("--with-profile", metavar="NAME", help="With --from: the AWS profile that may read the store.")
@click.option("--region", metavar="REGION", help="With --from: the region of the store.")
@click.option(
    "--minutes",
    type=click.IntRange(1, 720),
    default=30,
    show_default=True,
    help="With --process: how long AWS's tools cache the key.",
)
@output_option
def credentials(
    user: str,
    stack: str | None,
    profile: str | None,
    file: str | None,
    csv_file: str | None,
    force: bool,
    process: bool,
    source: str,
    with_profile: str | None,
    region: str | None,
    minutes: int,
    output: str,
) -> None:
    """Put a user's key into an AWS profile.

    The secret is not shown. The credentials file gets mode 600; other profiles, settings and comments in it stay as
    they are. With --process, nothing is written: the key is printed for the tool that runs this command.
    """
    from aws_access_keys.cli.credentials import write_csv, write_profile

    if process:
        from aws_access_keys.cli.process import STORES, as_process_output, from_stack, from_store

        store, _, name = source.partition(":")
        if profile is not None or file or csv_file:
            raise click.UsageError("--process cannot be combined with --profile, --file or --csv.")
        if store not in ("stack", *STORES) or (store == "stack" and name):
            raise click.UsageError(f"--from is stack, secretsManager[:NAME] or ssm[:NAME], not '{source}'.")
        if sys.stdout.isatty():
            raise click.UsageError("--process would show the secret. It is for credential_process in ~/.aws/config.")
        if store == "stack":
            key = from_stack(stack or selected_stack(), user)
        else:
            key = from_store(user, store, name or None, with_profile, region)
        click.echo(as_process_output(key, minutes))
        return
    if csv_file and (profile is not None or file):
        raise click.UsageError("--csv cannot be combined with --profile or --file.")
    stack = stack or selected_stack()
    if csv_file:
        result = write_csv(stack, user, csv_file, force)
    else:
        result = write_profile(stack, user, user if profile is None else profile, file, force)
    _print(output, *result)


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys rotate ann --dry-run           show what would change in the stack file
      access-keys rotate ann && pulumi up        change it, and issue the new key
    """
)
@click.argument("user")
@stack_option
@click.option("--dry-run", is_flag=True, help="Only show the difference.")
@output_option
def rotate(user: str, stack: str | None, dry_run: bool, output: str) -> None:
    """Request a new key for a user.

    Raises the serial of the user's key in the stack file, Pulumi.STACK.yaml, and shows the difference; everything else
    in the file stays as it is. The next `pulumi up` issues the new key.
    """
    from aws_access_keys.cli.rotate import rotate as raise_serial

    _print(output, *raise_serial(stack or selected_stack(), user, dry_run))


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys move ann bob --to team-b --dry-run
      access-keys move ann bob --stack team-a --to team-b
    """
)
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@stack_option
@click.option("--to", "target", required=True, metavar="STACK", help="The stack of the same project to move them to.")
@click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
@output_option
def move(users: tuple[str, ...], stack: str | None, target: str, dry_run: bool, output: str) -> None:
    """Move users to another stack, without touching their keys.

    Their groups and policies move with them, so these must not be used by anybody who stays. First move their settings
    from one stack file to the other. Nobody may run `pulumi` in either stack in the meantime. AWS is not
    called, so nothing there changes.
    """
    from aws_access_keys.cli.move import move as move_users

    _print(output, *move_users(users, stack or selected_stack(), target, dry_run))


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys permissions > operator.json
      aws iam create-policy --policy-name pulumi-operator --policy-document file://operator.json
      access-keys permissions --for report --stack prod
      access-keys permissions --check                 check every expectation of the stack
      access-keys permissions --check --output json | jq '.expectations[] | select(.problem)'
    """
)
@stack_option
@click.option(
    "--for",
    "command",
    type=click.Choice(COMMANDS),
    default="up",
    show_default=True,
    help="The command to run with the policy: report, inventory, leak or takeover, or one of Pulumi's.",
)
@click.option("--check", is_flag=True, help="Run the stack's permission tests instead; exit with 1 if one fails.")
@output_option
@click.pass_context
def permissions(context: click.Context, stack: str | None, command: Command, check: bool, output: str) -> None:
    """Print a least-privilege IAM policy for the operator.

    It covers everything in the stack file and the state: creating, changing and removing it, and rotating its keys.
    Print it again after adding to the file. If the identity that runs this command lacks some of the permissions, they
    are listed on standard error, and the exit code is 1. For this, it needs iam:SimulatePrincipalPolicy.

    With --check, asks IAM's simulator instead whether the permission tests (expect) that passed in the last `pulumi up`
    still pass with all policies that each group and user has now.
    """
    if not check:
        from aws_access_keys.cli.operator import print_needed

        if print_needed(stack if command == "inventory" else stack or selected_stack(), command):
            context.exit(1)
        return
    from aws_access_keys.cli.permissions import as_data, as_text, check_expectations

    stack = stack or selected_stack()
    results = check_expectations(stack)
    _print(output, as_data(stack, results), as_text(results))
    if any(result.problem for result in results):
        context.exit(1)


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys leak AKIA... --dry-run                  show what would be done
      access-keys leak AKIA...                            do it
      access-keys leak AKIA... --new-key && pulumi up     and give the user another key
      access-keys leak AKIA... --undo                     false alarm: activate it again
    """
)
@click.argument("key_id", metavar="KEYID")
@stack_option
@click.option("--user", metavar="NAME", help="The IAM user who has the key. Default: looked up in IAM.")
@click.option("--dry-run", is_flag=True, help="Only show whose key it is and what would be done.")
@click.option("--undo", is_flag=True, help="Activate the key and allow the user's sessions again.")
@click.option("--new-key", is_flag=True, help="Also request a new key for the user in the stack file.")
@regions_option
@output_option
@click.pass_context
def leak(
    context: click.Context,
    key_id: str,
    stack: str | None,
    user: str | None,
    dry_run: bool,
    undo: bool,
    new_key: bool,
    regions: str,
    output: str,
) -> None:
    """Stop an access key that has leaked.

    Denies all sessions that its user has, which would outlive the key, and deactivates the key in IAM. In the folder of
    a Pulumi project, edits the stack file, so that no update makes the key active again. Then shows what the key
    did, and the roles that it assumed. Needs no stack. Every step can be undone, and run again.
    """
    from aws_access_keys.cli.leak import Request
    from aws_access_keys.cli.leak import leak as stop

    if undo and new_key:
        raise click.UsageError("--undo cannot be combined with --new-key.")
    unwritten: list[OSError] = []

    def say(line: str) -> None:
        try:
            click.echo(line)
        except OSError as error:  # nobody reads the output, or the disk is full: the key is stopped nevertheless
            unwritten.append(error)

    request = Request(key_id, user, dry_run, undo, new_key, _regions(regions))
    data, is_done = stop(request, stack, say if output == "text" else lambda _: None)
    if output == "json":
        say(json.dumps(data, indent=2))
    if unwritten:
        raise unwritten[0]
    if not is_done:
        context.exit(1)


@access_keys.command(
    epilog="""
    \b
    Examples:
      access-keys takeover --account --user ann               show what would be done
      access-keys takeover --account --user ann --yes         do it
      access-keys takeover --account --all --yes              take over every group and user
      access-keys takeover --account --path /apps/ --tag team=data
      access-keys takeover --tfstate terraform.tfstate --yes  everything in the state, with the secrets
    """
)
@stack_option
@click.option(
    "--account", is_flag=True, help="Take over what is in the account, without secrets, which AWS never shows."
)
@click.option(
    "--tfstate",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Take over what is in a Terraform state, with the secrets that it holds.",
)
@click.option("--user", "users", metavar="NAME", multiple=True, help="This user, and the groups that it is in.")
@click.option("--group", "groups", metavar="NAME", multiple=True, help="This group, and the users in it.")
@click.option(
    "--path", "paths", metavar="PATH", multiple=True, help="Groups and users whose IAM path begins with this."
)
@click.option("--tag", "tags", metavar="NAME=VALUE", multiple=True, help="Users with this tag.")
@click.option("--all", "everything", is_flag=True, help="All groups and users.")
@click.option("--yes", is_flag=True, help="Write the stack file and import. Default: only show what would be done.")
@output_option
def takeover(
    stack: str | None,
    account: bool,
    tfstate: Path | None,
    users: tuple[str, ...],
    groups: tuple[str, ...],
    paths: tuple[str, ...],
    tags: tuple[str, ...],
    everything: bool,
    yes: bool,
    output: str,
) -> None:
    """Take over existing groups, users and keys.

    Describes them in the stack file, Pulumi.STACK.yaml, and imports them into the state of the stack. Nothing in AWS
    is changed, and every key stays. What no setting can express is listed and left alone. --user, --group, --path
    and --tag can be repeated; whatever any of them chooses is taken over, with the groups of chosen users.

    For a single group or user that you write into the stack file yourself, set adopt: true there instead.
    """
    from aws_access_keys.cli.takeover import takeover as take_over
    from aws_access_keys.cli.takeover.terraform import read_terraform
    from aws_access_keys.rules.takeover import Choice

    if account == (tfstate is not None):
        raise click.UsageError("choose --account or --tfstate FILE.")
    pairs = tuple((name, value) for name, found, value in (tag.partition("=") for tag in tags) if found)
    if len(pairs) < len(tags):
        raise click.UsageError("--tag must be NAME=VALUE, for example --tag team=data.")
    choice = Choice(users, groups, paths, pairs, everything)
    if account == (choice == Choice()):
        wanted = "choose what to take over: --user, --group, --path, --tag or --all."
        raise click.UsageError(
            wanted if account else "--tfstate takes over everything in FILE: remove the other choices."
        )
    terraform = read_terraform(tfstate) if tfstate else None
    _print(output, *take_over(stack or selected_stack(), choice, terraform, yes))


def _regions(given: str) -> list[str]:
    return [region for region in given.replace(",", " ").split() if region]


def _print(output: str, data: dict[str, Any], text: str) -> None:
    click.echo(json.dumps(data, indent=2) if output == "json" else text)
