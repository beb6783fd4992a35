"""The fault matrix: what happens at each point (scenarios.py), and what must be true after it.

A point is one scenario with one fault at one of its API calls. Its course: the scenario's set-up is restored, the
command under test runs with the fault, an operator goes on until a run succeeds, and a preview is to be empty.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pysequoia
from botocore.exceptions import ClientError
from pulumi_sandbox.aws.settings import Failure, Faults

from tests.faults.scenarios import Call, Config, Point, Scenario, ScenarioContext, config
from tests.lifecycle.helpers import by_hand, in_days, works
from tests.lifecycle.stack import Done, Sandbox, Stack

ROUNDS = 6
"""Runs in which an operator who does what the messages say must have succeeded."""


@dataclass(frozen=True)
class Known:
    """A key that was handed over by the set-up."""

    user: str
    serial: int
    key: tuple[str, str]


class PointError(AssertionError):
    """What is not true after a point."""


@dataclass
class Prepared:
    """A scenario that is set up, and the calls of its command without faults."""

    scenario: Scenario
    stack: Stack
    copy: Path
    """Of the backend's folder after the set-up."""
    known: list[Known]
    stored: set[str] = field(default_factory=set[str])
    """What the stores hold after the set-up, by name."""
    calls: list[Call] = field(default_factory=list[Call])
    context: "ScenarioContext | None" = None

    def restore(self) -> None:
        sandbox = self.stack.sandbox
        sandbox.control.clear_faults()
        sandbox.control.restore_snapshot(self.scenario.name)
        shutil.rmtree(sandbox.folder.state)
        shutil.copytree(self.copy, sandbox.folder.state)
        self.stack.environment.pop("ACCESS_KEYS_TODAY", None)

    def write(self, wanted: Config) -> None:
        assert self.context
        text = json.dumps(wanted).replace('"ADOPTED"', json.dumps(self.context.adopted))
        self.stack.write(json.loads(text.replace('"CERTIFICATE"', json.dumps(self.context.certificate))))

    def command(self, *arguments: str, check: bool = True) -> Done:
        return self.stack.run(*arguments, "--yes", "--skip-preview", "--json", check=check)


def prepare(scenario: Scenario, sandbox: Sandbox, folder: Path) -> Prepared:
    """Set a scenario up, remember everything, and run its command without faults."""
    sandbox.control.clear_faults()
    sandbox.control.reset()
    shutil.rmtree(sandbox.folder.state)
    sandbox.folder.state.mkdir()
    (folder / "project").mkdir()
    stack = Stack(sandbox, folder / "project", name="dev")
    iam = sandbox.client("iam")
    known: list[Known] = []
    adopted = ""
    if scenario.name == "adopted":
        iam.create_user(UserName="eve")
        made = iam.create_access_key(UserName="eve")["AccessKey"]
        adopted = made["AccessKeyId"]
        known.append(Known("eve", 1, (adopted, made["SecretAccessKey"])))
    prepared = Prepared(scenario, stack, folder / "state", known)
    certificate = str(pysequoia.Tsk.generate("ann <ann@example.org>").extract_certificate())
    prepared.context = ScenarioContext(adopted, certificate)
    for earlier in scenario.before:
        prepared.write(earlier)
        prepared.command("up")
        outputs = stack.outputs()
        for user, status in outputs["keys"].items():
            key_id: str = status["current"]["id"]
            secret: str | None = outputs["secretAccessKeys"].get(user)
            key = (key_id, secret or dict(stored_keys(sandbox).values())[key_id])
            if key[0] not in {other.key[0] for other in known}:
                known.append(Known(user, status["current"]["serial"], key))
    for one in known:
        if scenario.name != "adopted" or one.user != "eve":
            assert works(sandbox, one.key)
    prepared.stored = set(stored(sandbox))
    shutil.copytree(sandbox.folder.state, prepared.copy)
    sandbox.control.take_snapshot(scenario.name)
    prepared.restore()
    _begin(prepared)
    sandbox.control.clear_calls()
    done = prepared.command(*scenario.command, check=False)
    assert (done.code != 0) is scenario.is_refused, done.text
    counts: Counter[str] = Counter()
    for call in sandbox.control.calls():
        action = f"{call.service}:{call.action}"
        counts[action] += 1
        prepared.calls.append(Call(action, counts[action]))
    return prepared


def _begin(prepared: Prepared) -> None:
    """Everything as it is when the command under test starts."""
    prepared.write(prepared.scenario.after)
    if prepared.scenario.in_days:
        prepared.stack.environment["ACCESS_KEYS_TODAY"] = in_days(prepared.scenario.in_days)


def try_point(prepared: Prepared, point: Point) -> bool:
    """Try one point. Returns whether its fault came; the calls of a run may come in another order, and fewer of them.
    Raises PointError where something is not as it must be."""
    attempt = _Attempt(prepared, point)
    attempt.run()
    return attempt.came


@dataclass
class _Attempt:
    prepared: Prepared
    point: Point
    said: list[str] = field(default_factory=list[str])
    """The output of each command."""
    finished: bool = False
    """Whether the run with the fault succeeded, for instance because the provider tried again."""
    reverted: bool = False
    came: bool = True
    """Whether the fault came."""

    @property
    def scenario(self) -> Scenario:
        return self.prepared.scenario

    @property
    def stack(self) -> Stack:
        return self.prepared.stack

    @property
    def sandbox(self) -> Sandbox:
        return self.stack.sandbox

    def run(self) -> None:
        self.prepared.restore()
        _begin(self.prepared)
        self._faulty_run()
        self._check("after the run with the fault")
        left = self._ids()
        command = self.scenario.command
        if self.point.then == "reverted":
            self.reverted = True
            self.prepared.write(self.scenario.before[-1] if self.scenario.before else config(None))
            self.stack.environment.pop("ACCESS_KEYS_TODAY", None)
            command = ("up",)
        elif self.scenario.is_refused:
            command = ("up",)
        self._converge(command)
        if command[0] == "up":
            preview = self.stack.preview("--expect-no-changes", check=False)
            self._need(preview.code == 0, f"a further preview is empty:\n{preview.text}")
            self.said.append(preview.text)
        else:  # every other command loads the state
            exported = self.stack.run("stack", "export", check=False)
            self._need(exported.code == 0, f"the state loads:\n{exported.text}")
        self._check("in the end")
        self._check_end(left)

    # ---- the course

    def _faulty_run(self) -> None:
        """Run the command under test with the fault."""
        control, call = self.sandbox.control, self.point.call
        control.clear_calls()
        control.set_faults(Faults(failures=self.point.failures()))
        command = self.scenario.command
        if not self.point.fault.startswith("kill"):
            done = self.prepared.command(*command, check=False)
            self.said.append(done.text)
            self.finished = done.code == 0
            control.clear_faults()
            actions = [f"{found.service}:{found.action}" for found in control.calls()]
            self.came = actions.count(call.action) >= call.number
        elif (output := run_until_held(self.stack, *command)) is not None:
            self.said.append(output)
            self.came = False

    def _converge(self, command: tuple[str, ...]) -> None:
        """Run again, and do what the messages say, until a run succeeds."""
        for _ in range(ROUNDS):
            done = self.prepared.command(*command, check=False)
            self.said.append(done.text)
            if done.code == 0:
                return
            self._check("after another run")
            self._follow(done.text)
        raise PointError(f"the runs converge, but {ROUNDS} did not:\n{self.said[-1]}")

    def _follow(self, text: str) -> None:
        """Do what a message advises."""
        if "currently locked by" in text:
            self._run("cancel", "--yes")
            self._run("refresh", "--yes", "--skip-preview")
        for pending in re.findall(r"(urn:pulumi:\S+?)[,']? *(?:interrupted while )?creating", text):
            kind = pending.split("::")[2]
            if "accessKey" in kind:
                self._run("refresh", "--yes", "--skip-preview", "--clear-pending-creates")
        for line in re.findall(r"pulumi (import .*?'component=[^']*')", text):
            self._run(*shlex.split(line), "--yes", "--generate-code=false", "--protect=false")
        named = re.findall(r"aws iam delete-access-key --user-name (\S+) --access-key-id (\w+)", text)
        # A key that a killed run created for a user who is removed.
        named += re.findall(r"users\.(\S+): the user cannot be removed, because .*? the access key (\w+)", text)
        for user, key_id in named:
            self._need(all(one.key[0] != key_id for one in self._kept()), f"nobody is told to delete {key_id}:\n{text}")
            with suppress(ClientError):
                self.sandbox.client("iam").delete_access_key(UserName=user, AccessKeyId=key_id)
        for name in created_unanswered(text):
            self._delete_stored(name)
        for line in re.findall(r"pulumi (state delete '[^']*' --target-dependents)", text):
            self._run(*shlex.split(line), "--yes")
        for command in re.findall(r"Run `(aws [^`]+)`, then this command again", text):
            with suppress(self.sandbox.client("ssm").exceptions.ParameterNotFound):  # deleted just above
                by_hand(self.sandbox, command)
        gone = "failed: ResourceNotFoundException" in text  # as docs/troubleshooting.md advises
        if gone or "pulumi refresh" in text:
            self._run("refresh", "--yes", "--skip-preview")

    def _delete_stored(self, name: str) -> None:
        """Delete what was created while AWS's response got lost, as docs/troubleshooting.md advises."""
        with suppress(ClientError):
            self.sandbox.client("ssm").delete_parameter(Name=f"/{name}")
        with suppress(ClientError):
            manager = self.sandbox.client("secretsmanager")
            manager.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)

    def _run(self, *arguments: str) -> None:
        self.said.append(self.stack.run(*arguments, check=False).text)

    # ---- what must be true

    def _need(self, condition: bool, what: str) -> None:
        if not condition:
            raise PointError(what)

    def _known(self) -> list[Known]:
        """The keys of the set-up, without that of a user who was adopted and then removed."""
        removed = "eve" if self.scenario.name == "adopted" and self.finished and self.reverted else None
        return [one for one in self.prepared.known if one.user != removed]

    def _kept(self) -> list[Known]:
        """The keys of the set-up that may not stop working."""
        keys = [one for one in self._known() if one.user not in self.scenario.retires]
        if self.scenario.takes_slot:
            keys = [one for one in keys if (one.user, one.serial) != ("ann", 1)]
        return keys

    def _check(self, when: str) -> None:
        """What is true at every moment."""
        active = self._active()
        for one in self._kept():
            self._need(one.key[0] in active, f"{when} the key {one.serial} of {one.user} still works")
        if not self.scenario.removes and not self.scenario.suspends:
            current, holds = self._output_ids(), stored(self.sandbox)
            for user in {one.user for one in self._known()}:
                ids = {one.key[0] for one in self.prepared.known if one.user == user} | {current.get(user)}
                ids |= {key_id for name, key_id in holds.items() if name.endswith(f"/{user}")}
                self._need(bool(ids & active), f"{when} {user} has a key that works")
        if not self.scenario.suspends:
            found = stored(self.sandbox)
            for name in self.prepared.stored - found.keys():
                user = name.rpartition("/")[2]
                self._need(user in self.scenario.retires, f"{when} {user} still finds a key in {name}")
            for name, key_id in found.items():
                if name.lstrip("/") not in created_unanswered("\n".join(self.said)):
                    self._need(key_id in active, f"{when} {name} holds a key that works, but it holds {key_id}")
        for text in self.said:
            self._need("Traceback" not in text, f"{when} no output has a traceback:\n{text}")

    def _check_end(self, left: set[str]) -> None:
        """What is true when everything has succeeded."""
        ids, state_ids = self._ids(), self._state_ids()
        everything = "\n".join(self.said)
        # With the config reverted, a key that was to be adopted is somebody else's again.
        foreign = {self.prepared.context.adopted} if self.prepared.context and self.point.then == "reverted" else set()
        for key_id in ids - state_ids - foreign:
            self._need(key_id in everything, f"the key {key_id}, which the stack does not know, is named")
        self._need(state_ids <= ids, f"the state has only keys that IAM has: {state_ids - ids}")
        if self.point.then == "reverted" and not self.scenario.removes and self.scenario.before:
            self._need(ids <= left, "no key is issued that nobody asked for")
        for one in self._kept():
            if self.scenario.name != "adopted" or one.user != "eve":
                self._need(works(self.sandbox, one.key), f"the key {one.serial} of {one.user} opens S3")
        managed = {str(one.get("id")) for one in self._resources()}
        current = self._output_ids()
        for name, key_id in stored(self.sandbox).items():
            if any(name in one for one in managed):
                self._need(key_id in current.values(), f"{name} holds a current key")

    # ---- what is there

    def _ids(self) -> set[str]:
        return {key["AccessKeyId"] for key in self._listed()}

    def _active(self) -> set[str]:
        return {key["AccessKeyId"] for key in self._listed() if key["Status"] == "Active"}

    def _listed(self) -> list[dict[str, Any]]:
        iam = self.sandbox.client("iam")
        users = [user["UserName"] for user in iam.list_users()["Users"]]
        return [key for user in users for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]

    def _resources(self) -> list[dict[str, Any]]:
        (file,) = self.sandbox.folder.state.glob(".pulumi/stacks/*/dev.json")
        latest = json.loads(file.read_text())["checkpoint"].get("latest") or {}
        return latest.get("resources") or []

    def _state_ids(self) -> set[str]:
        return {
            one["id"] for one in self._resources() if one["type"] == "aws:iam/accessKey:AccessKey" and one.get("id")
        }

    def _output_ids(self) -> dict[str, str]:
        """User → id of the current key in the stack's outputs."""
        for resource in self._resources():
            if resource["type"] == "pulumi:pulumi:Stack":
                ids = resource.get("outputs", {}).get("accessKeyIds")
                return ids if isinstance(ids, dict) else {}
        return {}


def stored(sandbox: Sandbox) -> dict[str, str]:
    """Name in a store → id of the key that it holds."""
    return {name: key_id for name, (key_id, _) in stored_keys(sandbox).items()}


def stored_keys(sandbox: Sandbox) -> dict[str, tuple[str, str]]:
    """Name in a store → id and secret of the key that it holds."""
    found: dict[str, str] = {}
    ssm, manager = sandbox.client("ssm"), sandbox.client("secretsmanager")
    for parameter in ssm.describe_parameters()["Parameters"]:
        value = ssm.get_parameter(Name=parameter["Name"], WithDecryption=True)["Parameter"]["Value"]
        found[parameter["Name"]] = value
    for secret in manager.list_secrets()["SecretList"]:
        with suppress(ClientError):  # one without a value yet
            found[secret["Name"]] = manager.get_secret_value(SecretId=secret["Name"])["SecretString"]
    keys = {name: json.loads(value) for name, value in found.items()}
    sandbox.issued |= {key["aws_secret_access_key"] for key in keys.values()}
    return {name: (key["aws_access_key_id"], key["aws_secret_access_key"]) for name, key in keys.items()}


def created_unanswered(text: str) -> list[str]:
    """Names of secrets and parameters of which an output tells that they may exist without being in the state."""
    exists = re.findall(r'"access/(\S+?)": (?:PutParameter|CreateSecret) failed: \w+Exists', text)
    return exists + re.findall(r"(?:Secret|Parameter)::access/(\S+?),? interrupted while creating", text)


def run_until_held(stack: Stack, *command: str) -> str | None:
    """Run a command, and kill the engine at the call that is held (Failure.hold). The output if no call was."""
    control = stack.sandbox.control
    process = stack.start(*command, "--yes", "--skip-preview", "--json")
    with ThreadPoolExecutor() as pool:
        output = pool.submit(process.communicate)
        while not output.done() and not control.held():
            time.sleep(0.02)
        was_held = not output.done()
        if was_held:
            kill_with_descendants(process.pid)
        # What the provider had under way ends, too, as it does when it dies with the engine.
        control.set_faults(Faults(failures=(Failure("*", times=10_000, code="AccessDenied"),)))
        out, err = output.result()
    while control.held():
        time.sleep(0.02)
    time.sleep(0.2)
    control.clear_faults()
    return None if was_held else out + err


def kill_with_descendants(pid: int) -> None:
    """Kill a process and everything that it started, at once: also plugins, which have process groups of their own."""
    listed = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    doomed = [pid]
    for parent in doomed:
        doomed += [child for child, its_parent in parents if its_parent == parent]
    for each in doomed:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
