"""Notices by SNS and by a command through the life of a key, on the real engine with a moved clock."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.helpers import GROUPS, NewStack, in_days, keys_in_iam, works
from tests.lifecycle.stack import Sandbox

NOTIFY = """
import os, sys
folder = sys.argv[1]
if os.path.exists(folder + "/broken"):
    sys.exit("the mail server is down")
assert not any(name.startswith("PULUMI_CONFIG") for name in os.environ)
with open(folder + "/notices", "a") as file:
    file.write(sys.stdin.read() + "\\n")
"""


class Inbox:
    """What a topic and a command got."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.folder = folder
        sns, self.sqs = sandbox.client("sns"), sandbox.client("sqs")
        self.queue = self.sqs.create_queue(QueueName="inbox")["QueueUrl"]
        self.topic = sns.create_topic(Name="access-keys")["TopicArn"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn)
        (folder / "notify.py").write_text(NOTIFY)
        self.command = [sys.executable, str(folder / "notify.py"), str(folder)]

    def by_sns(self) -> list[str]:
        """Event and owner of each message since the last time."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        (self.folder / "sns").write_text(json.dumps(found))  # for the search for secrets
        return [
            f"{one['MessageAttributes']['event']['Value']} {one['MessageAttributes']['owner']['Value']}"
            for one in found
        ]

    def by_command(self) -> list[dict[str, Any]]:
        """The notices since the last time."""
        file = self.folder / "notices"
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@pytest.mark.long
def test_each_notice_of_a_life_goes_out_once_on_both_channels(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, inbox = new_stack(), Inbox(sandbox, tmp_path)
    settings: dict[str, Any] = {
        "groups": GROUPS,
        "users": {"ann": {"groups": ["test"], "tags": {"owner": "data team"}}},
        "keyDefaults": {
            "rotation": {"start": in_days(0), "everyDays": 90, "overlapDays": 7},
            "previous": "whenIdle",
            "retireGuard": {"idleDays": 3},
        },
        "deliver": {"secretsManager": {}},
        "notify": {"sns": inbox.topic, "command": inbox.command, "beforeDays": 14},
    }
    stack.write(settings)

    def day(number: int, *events: str) -> list[dict[str, Any]]:
        """An update on a day after the first; the same events go out on both channels, and none in its preview."""
        sandbox.control.change_faults(clock=number * 86400)
        stack.environment["ACCESS_KEYS_TODAY"] = in_days(number)
        preview = stack.preview().text
        assert preview.count("`pulumi up` will send a notice (sns, command)") == len(events), preview
        assert inbox.by_command() == []
        stack.up()
        found = inbox.by_command()
        assert [notice["event"] for notice in found] == list(events), f"on day {number}"
        assert sorted(inbox.by_sns()) == sorted(f"{event} data team" for event in events)
        return found

    (issued,) = day(0, "issued")
    first = stack.key("ann")
    assert issued == {
        "event": "issued",
        "user": "ann",
        "owner": "data team",
        "accessKeyId": first[0],
        "date": None,
        "text": f"ann has a new access key, {first[0]}.",
        "fetch": ["aws secretsmanager get-secret-value --secret-id access-keys/ann --region ap-northeast-2"],
        "stack": f"aws-access-keys/{stack.name}",
    }
    day(1)
    (rotation,) = day(76, "rotation")
    assert (rotation["accessKeyId"], rotation["date"]) == (first[0], in_days(90))
    day(77)
    day(90, "issued")
    second = stack.key("ann")
    (held,) = day(97, "held")
    assert held["accessKeyId"] == first[0]
    assert "stays active for now: the new key has not been used yet." in held["text"]
    day(98)
    assert works(sandbox, second)
    (retired,) = day(102, "retired")
    assert retired["accessKeyId"] == first[0]
    assert keys_in_iam(sandbox, "ann") == {first[0]: "Inactive", second[0]: "Active"}
    day(103)
    settings["users"] = {"bob": {"groups": ["test"], "tags": {"owner": "data team"}}}
    stack.write(settings)
    found = day(104, "issued", "retired")
    assert [notice["user"] for notice in found] == ["bob", "ann"]
    day(105)


def test_a_notice_that_fails_costs_no_key_and_goes_out_with_the_next_update(
    new_stack: NewStack, sandbox: Sandbox, tmp_path: Path
) -> None:
    stack, inbox = new_stack(), Inbox(sandbox, tmp_path)
    user = {"groups": ["test"], "tags": {"owner": "it"}}
    notify = {"sns": inbox.topic, "command": inbox.command}
    stack.write({"groups": GROUPS, "users": {"ann": user, "bob": user}, "notify": notify})
    (tmp_path / "broken").touch()
    done = stack.up(check=False)
    assert done.code != 0, "a scheduler notices"
    assert "notify.command: this notice was not sent" in done.text
    assert "it exited with code 1; it printed: the mail server is down" in done.text
    assert "Traceback" not in done.text
    assert works(sandbox, stack.key("ann"))
    assert inbox.by_sns() == ["issued it"] * 2

    (tmp_path / "broken").unlink()
    sandbox.control.fail("sns:Publish", "InternalError", times=20)
    assert stack.up().changes == {"update": 1}, "the record that it acts"
    sandbox.control.clear_faults()
    assert sorted(notice["user"] for notice in inbox.by_command()) == ["ann", "bob"]
    assert inbox.by_sns() == [], "what a channel has got, it does not get again"
    assert stack.up().changes == {}
    assert inbox.by_command() == []


@pytest.mark.long
def test_a_command_that_does_not_exist_or_fails_is_named(new_stack: NewStack, sandbox: Sandbox) -> None:
    stack = new_stack()
    for command, reason in (
        (["./nowhere"], "./nowhere: it cannot be run: No such file or directory"),
        (["false"], "it exited with code 1"),
    ):
        settings = {"groups": GROUPS, "users": {"ann": {"groups": ["test"]}}, "notify": {"command": command}}
        stack.write(settings)
        done = stack.up(check=False)
        assert done.code != 0
        assert f"notify.command: this notice was not sent ({command[0]}" in done.text
        assert reason in done.text
        assert list(keys_in_iam(sandbox, "ann").values()) == ["Active"]


@pytest.mark.long
def test_a_run_that_fails_forgets_no_notice(new_stack: NewStack, sandbox: Sandbox, tmp_path: Path) -> None:
    stack, inbox = new_stack(), Inbox(sandbox, tmp_path)
    users = {name: {"groups": ["test"], "tags": {"owner": name}} for name in ("ann", "bob")}
    stack.write({"groups": GROUPS, "users": users, "notify": {"sns": inbox.topic}})
    sandbox.control.fail("iam:CreateAccessKey", "LimitExceeded", times=1)
    assert stack.up(check=False).code != 0
    sandbox.control.clear_faults()
    assert inbox.by_sns() == []
    stack.up()
    assert sorted(inbox.by_sns()) == ["issued ann", "issued bob"]
