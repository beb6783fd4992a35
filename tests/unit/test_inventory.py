"""The inventory of an account: who is as strong as an administrator, why to act, and what comes first."""

import json
from datetime import date, datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
from aws_access_keys.account import AccessKeyMetadata, Account
from aws_access_keys.cli import inventory
from aws_access_keys.cli.inventory import questions
from aws_access_keys.cli.inventory.data import Inventory, InventoryRow, inventory_of
from aws_access_keys.cli.inventory.questions import Found
from aws_access_keys.cli.inventory.stacks import Stacks
from aws_access_keys.cli.report.as_html import as_html
from aws_access_keys.cli.report.as_text import as_text, print_listing
from aws_access_keys.cli.report.data import as_csv, as_json
from aws_access_keys.cli.stack import KeyInState, StackError
from aws_access_keys.iam import LastUse
from aws_access_keys.rules.credential_report import ROOT, ReportedKey, ReportedUser
from aws_access_keys.rules.findings import Finding, Limits
from aws_access_keys.rules.inventory import (
    RULES,
    AccountUser,
    administrator_policies,
    parse_authorization,
    risk_findings,
    urgency,
)
from rich.console import Console
from rich.progress import Progress

from tests.unit.fake_aws import FakeAws, aws_error

DAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
AWS, OWN = "arn:aws:iam::aws:policy", "arn:aws:iam::123456789012:policy"
QUARANTINE = "AWSCompromisedKeyQuarantine"


def allow(*actions: str, resource: str = "*") -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
    return {"Version": "2012-10-17", "Statement": [statement]}


def user(
    name: str = "ann",
    *arns: str,
    inline: dict[str, Any] | None = None,
    groups: tuple[str, ...] = (),
    boundary: str | None = None,
) -> dict[str, Any]:
    """A user as GetAccountAuthorizationDetails has it."""
    found: dict[str, Any] = {
        "UserName": name,
        "Arn": f"arn:aws:iam::123456789012:user/{name}",
        "GroupList": list(groups),
        "AttachedManagedPolicies": [{"PolicyName": arn.rpartition("/")[2], "PolicyArn": arn} for arn in arns],
    }
    if inline:
        found["UserPolicyList"] = [{"PolicyName": "inline", "PolicyDocument": inline}]
    return found | ({"PermissionsBoundary": {"PermissionsBoundaryArn": boundary}} if boundary else {})


def policy(name: str, document: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """A managed policy with its default version, and others that do not count."""
    versions = [{"Document": document, "IsDefaultVersion": True}]
    versions += [{"Document": other, "IsDefaultVersion": False} for other in others]
    return {"Arn": f"{OWN}/{name}", "PolicyVersionList": versions}


GROUPS = [
    {
        "GroupName": "admins",
        "AttachedManagedPolicies": [{"PolicyName": "AdministratorAccess", "PolicyArn": f"{AWS}/AdministratorAccess"}],
    },
    {
        "GroupName": "granters",
        "AttachedManagedPolicies": [],
        "GroupPolicyList": [{"PolicyName": "grant", "PolicyDocument": allow("iam:AttachUserPolicy")}],
    },
]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (user(), ()),
        (user("ann", f"{AWS}/AmazonS3FullAccess"), ()),
        (user("ann", f"{AWS}/AdministratorAccess"), ("AdministratorAccess",)),
        (user("ann", f"{AWS}/IAMFullAccess"), ("IAMFullAccess",)),
        (user("ann", f"{OWN}/strong"), ("strong",)),
        (user("ann", f"{OWN}/former"), ()),
        (user("ann", f"{OWN}/AdministratorAccess"), ()),
        (user(inline=allow("*")), ("inline (inline)",)),
        (user(inline=allow("s3:*")), ()),
        (user(groups=("admins",)), ("AdministratorAccess (group admins)",)),
        (user(groups=("granters", "admins")), ("grant (inline, group granters)", "AdministratorAccess (group admins)")),
        (user("ann", f"{AWS}/AdministratorAccess", boundary=f"{OWN}/former"), ()),
        (user("ann", f"{AWS}/AdministratorAccess", boundary=f"{OWN}/strong"), ("AdministratorAccess",)),
        (user("ann", f"{AWS}/AdministratorAccess", boundary=f"{AWS}/AdministratorAccess"), ("AdministratorAccess",)),
        (user("ann", f"{AWS}/AdministratorAccess", boundary=f"{OWN}/unknown"), ("AdministratorAccess",)),
    ],
    ids=str,
)
def test_who_is_as_strong_as_an_administrator(given: dict[str, Any], expected: tuple[str, ...]) -> None:
    """By a document or the name of AWS's policy; a customer's policy can have that name, too."""
    policies = [
        policy("strong", allow("iam:*")),
        policy("former", allow("s3:*"), allow("*")),
        policy("AdministratorAccess", allow("s3:*")),
    ]
    found = parse_authorization([{"GroupDetailList": GROUPS}, {"UserDetailList": [given], "Policies": policies}])
    assert administrator_policies(found.users[0], found.documents) == expected


def test_only_policies_that_are_not_known_are_asked_about() -> None:
    given = user("ann", f"{AWS}/AdministratorAccess", f"{AWS}/{QUARANTINE}V2", f"{AWS}/AmazonS3FullAccess")
    given["AttachedManagedPolicies"] += user("", f"{OWN}/own")["AttachedManagedPolicies"]
    bounded = user("bob", boundary=f"{AWS}/ReadOnlyAccess")
    found = parse_authorization([{"UserDetailList": [given, bounded], "Policies": [policy("own", allow("s3:*"))]}])
    assert found.unknown_policies == {f"{AWS}/AmazonS3FullAccess", f"{AWS}/ReadOnlyAccess"}


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        (f"{AWS}/{QUARANTINE}", QUARANTINE),
        (f"{AWS}/{QUARANTINE}V3", f"{QUARANTINE}V3"),
        (f"{OWN}/{QUARANTINE}V3", None),
        (f"{AWS}/AWSDenyAll", None),
    ],
)
def test_a_quarantine_is_awss_own_policy(arn: str, expected: str | None) -> None:
    assert parse_authorization([{"UserDetailList": [user("ann", arn)]}]).users[0].quarantine == expected


def risks(**facts: Any) -> list[str]:
    given: dict[str, Any] = {
        "is_root": False,
        "active": True,
        "quarantine": None,
        "administrator": (),
        "has_second": False,
        "password": False,
        "mfa": False,
    }
    return [finding.rule for finding in risk_findings(**{**given, **facts})]


def test_the_reasons_to_act() -> None:
    assert risks() == []
    assert risks(is_root=True, active=False) == ["root"], "also an inactive key of root"
    strong: dict[str, Any] = {"quarantine": f"{QUARANTINE}V3", "administrator": ("own",), "has_second": True}
    assert risks(**strong) == ["quarantine", "administrator", "second"]
    assert risks(**strong, active=False) == [], "nobody can use an inactive key"
    assert risks(password=True) == ["mfa"]
    assert risks(password=True, mfa=True) == risks(password=True, mfa=None) == risks(password=None) == []


def test_rows_are_in_order_of_their_most_urgent_reason() -> None:
    def place(*rules: Any, age: int | None = 0, name: str = "a") -> tuple[Any, ...]:
        return urgency([Finding(rule=rule, text="") for rule in rules], age, name)

    ordered = [
        place("root"),
        place("quarantine", "second"),
        place("quarantine"),
        place("administrator", "unused"),
        place("administrator", "age", "second", "mfa"),
        place("administrator", age=9),
        place("administrator", age=None),
        place("unused"),
        place("age"),
        place(age=3),
        place(name="a"),
        place(name="b"),
    ]
    shuffled = ordered[::-1]
    assert sorted(shuffled) == ordered
    strongest = ("root", "quarantine", "administrator", "reactivated", "unused", "age", "rotation", "second", "mfa")
    assert strongest == RULES


def key(key_id: str, days: int = 0, active: bool = True) -> AccessKeyMetadata:
    return AccessKeyMetadata(key_id, active, NOW - timedelta(days=days))


def reported(name: str, *keys: ReportedKey, password: bool | None = False, mfa: bool = False) -> ReportedUser:
    return ReportedUser(name, f"arn:aws:iam::123456789012:user/{name}", password, mfa, keys)


def account(**changes: Any) -> Found:
    """Ann with a current and a previous key in a stack and one besides, Bob without keys, and root's key."""
    names = ("ann", "bob")
    users = {name: AccountUser(name, f"arn:aws:iam::123456789012:user/{name}", (), None) for name in names}
    root = reported(ROOT, ReportedKey(True, NOW - timedelta(days=1000), None), password=None, mfa=True)
    keys = {"ann": [key("AKIANEW", 10), key("AKIAOLD", 120)]}
    given: dict[str, Any] = {
        "users": users,
        "reported": {ROOT: root, **{name: reported(name) for name in names}},
        "reported_on": NOW,
        "keys": keys,
        "used": {"AKIANEW": LastUse(NOW, "s3", "us-east-1"), "AKIAOLD": None},
    }
    return Found(**{**given, **changes})


RECORD: dict[str, Any] = {
    "current": {"id": "AKIANEW", "status": "Active", "created": None, "name": "2", "serial": 2},
    "previous": {"id": "AKIAOLD", "status": "Active", "created": None, "name": "1", "serial": 1},
    "nextRotation": "2026-12-01",
    "previousUntil": "2026-11-24",
}
STACKS = Stacks(
    {k: KeyInState("dev", "ann", r, RECORD) for k, r in {"AKIANEW": "current", "AKIAOLD": "previous"}.items()}, []
)


def made(found: Found | None = None, stacks: Stacks = STACKS) -> Inventory:
    return inventory_of("123456789012", found or account(), stacks, DAY, Limits())


def rows(inventory: Inventory) -> dict[str, InventoryRow]:
    return {row.id or row.user: row for row in inventory.items}


def reasons(row: InventoryRow) -> list[str]:
    return [finding.rule for finding in row.reasons]


def test_a_key_of_a_stack_has_what_the_stack_knows_and_what_aws_has() -> None:
    found = rows(made())
    new, old = found["AKIANEW"], found["AKIAOLD"]
    assert (new.stack, new.role, new.serial, str(new.next_rotation)) == ("dev", "current", 2, "2026-12-01")
    assert (new.age_days, new.last_used_service, new.second_key) == (10, "s3", True)
    assert (old.role, str(old.active_until), reasons(old)) == ("previous", "2026-11-24", []), "its overlap is not over"
    late = {"AKIAOLD": KeyInState("dev", "ann", "previous", RECORD | {"previousUntil": None})}
    assert reasons(rows(made(stacks=Stacks(late, [])))["AKIAOLD"]) == ["unused", "age"]


def test_root_comes_first_without_an_id_and_users_without_keys_are_there() -> None:
    inventory = made()
    root = inventory.items[0]
    assert (root.user, root.id, root.stack_known, reasons(root)) == (ROOT, None, False, ["root", "unused", "age"])
    bob = rows(inventory)["bob"]
    assert (bob.id, bob.status, bob.role, bob.place, reasons(bob)) == (None, None, None, "", [])
    assert inventory.summary.text == "2 users, 3 access keys, 1 to act on"


def test_a_key_that_no_stack_has_is_only_named_so_if_all_stacks_were_read() -> None:
    alone = rows(made(stacks=Stacks({}, [])))["AKIAOLD"]
    assert (alone.stack, alone.role, alone.place) == (None, "unmanaged", "none")
    assert reasons(alone) == ["unused", "age", "second"]
    inventory = made(stacks=Stacks({}, ["Stack 'prod' could not be read: no."]))
    alone = rows(inventory)["AKIAOLD"]
    assert (alone.stack, alone.role, alone.place) == (None, None, "unknown")
    assert (inventory.problem, inventory.complete) == ("Stack 'prod' could not be read: no.", True)


def test_what_aws_did_not_tell_is_unknown_and_not_taken_for_in_order() -> None:
    inventory = made(account(users=None, reported=None, reported_on=None, used={}, problems=["No."]))
    assert not inventory.complete
    assert inventory.headline.endswith(" (incomplete)")
    old = rows(inventory)["AKIAOLD"]
    assert (old.administrator, old.console_password, old.mfa, old.quarantine) == (None, None, None, None)
    assert (old.last_used_known, old.unknown, reasons(old)) == (False, True, [])
    assert inventory.summary.unknown == 1, "the other one is too young to be overdue"


def test_without_ids_the_keys_of_the_report_are_shown() -> None:
    keys = (ReportedKey(True, NOW - timedelta(days=100), LastUse(NOW, "s3", None)), ReportedKey(False, NOW, None))
    inventory = made(account(keys={}, used={}, reported={"ann": reported("ann", *keys)}))
    first, second = (row for row in inventory.items if row.user == "ann")
    assert (first.id, first.status, first.age_days, first.last_used_service) == (None, "Active", 100, "s3")
    assert (reasons(first), second.status, second.stack_known) == (["age"], "Inactive", False)


def test_a_user_of_the_report_who_is_gone_by_now_is_not_listed() -> None:
    gone = {"gone": reported("gone", ReportedKey(True, NOW, None))}
    assert {row.user for row in made(account(reported=gone)).items} == {"ann", "bob"}
    assert "gone" in rows(made(account(users=None, keys={}, reported=gone))), "unless only the report is there"


def test_the_age_of_the_report_is_shown() -> None:
    ago = datetime.now(timezone.utc) - timedelta(hours=2, minutes=5, seconds=10)
    (note,) = made(account(reported_on=ago)).notes
    assert f"of {ago:%Y-%m-%d %H:%M} UTC, 2 h 5 min ago" in note
    assert made(account(reported_on=None)).notes == []


def test_every_format_shows_it() -> None:
    inventory = made()
    document = json.loads(as_json(inventory))
    assert list(document)[-2:] == ["summary", "items"]
    item = next(item for item in document["items"] if item["id"] == "AKIANEW")
    assert (item["stack"], item["consolePassword"], item["administrator"], item["risks"]) == ("dev", False, [], [])
    assert "ann,AKIANEW,current,2,2,Active," in as_csv(inventory)
    page = as_html(inventory)
    assert "&lt;root_account&gt;" in page
    assert "not managed by this stack" not in page
    lines = as_text(inventory).splitlines()
    assert any(line.startswith("ann") and "dev" in line and "second key" in line for line in lines)
    assert "To act on first" in lines


@pytest.mark.parametrize("width", [80, 100, 149, 200])
def test_text_fits_the_terminal(width: int) -> None:
    text = StringIO()
    print_listing(made(), Console(file=text, width=width, highlight=False))
    assert max(map(len, text.getvalue().splitlines())) <= width
    assert "AKIANEW" in text.getvalue()


class BusyAws:
    """An account of which AWS makes no report; `state` is what it answers, or the code of the error."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked: list[str] = []

    def client(self, _service: str, **_: Any) -> "BusyAws":
        return self

    region_name = "us-east-1"

    def generate_credential_report(self) -> dict[str, str]:
        self.asked.append("generate_credential_report")
        if self.state != "INPROGRESS":
            raise aws_error(self.state)
        return {"State": self.state}

    def get_account_authorization_details(self, **_: Any) -> dict[str, Any]:
        return {"UserDetailList": [user()]}

    def list_access_keys(self, UserName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.asked.append(f"list_access_keys {UserName}")
        raise aws_error("ServiceFailure")


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("INPROGRESS", "AWS has not made a credential report in 0 seconds (INPROGRESS); try later."),
        ("LimitExceeded", "(LimitExceeded: LimitExceeded it is); try later."),
        ("AccessDenied", "needs iam:GenerateCredentialReport and iam:GetCredentialReport."),
        ("ServiceFailure", "are not known: ServiceFailure: ServiceFailure it is."),
    ],
)
def test_a_report_that_does_not_come_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, state: str, text: str
) -> None:
    monkeypatch.setattr(questions, "REPORT_TIMEOUT", 0)
    aws: Any = BusyAws(state)
    with Progress(disable=True) as progress:
        found = questions.ask_account(Account(lambda: aws), "arn:aws:iam::1:user/me", lambda: STACKS, progress)
    assert found.problems[0].endswith(text)
    assert found.problems[1:] == ["The ids of the keys of ann are not known: ServiceFailure: ServiceFailure it is."]
    assert aws.asked == ["generate_credential_report", "list_access_keys ann"], "any user may have keys"


def test_a_caller_whom_aws_does_not_answer_is_told_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = FakeAws()
    monkeypatch.setattr(inventory, "session_for", lambda _: aws)  # pyright: ignore[reportUnknownLambdaType]
    aws.errors["get_caller_identity"] = aws_error("Throttling")
    with pytest.raises(StackError, match=r"^AWS does not answer: Throttling: Throttling it is\.$"):
        inventory.caller_of({})
