"""The property matrix on the emulated provider and on the real one, as Terraform runs it: same calls, same results.

It needs `terraform` and a folder with Terraform's aws provider, laid out as a filesystem mirror, in the environment
variable SANDBOX_TERRAFORM_PLUGIN_DIR. Elsewhere it is skipped, and the summary of the run reports that.
"""

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_support import ROOT, Strict
from provider_client import Connection, Made, Secret, connected
from pulumi_sandbox.provider import registry
from test_provider_matrix import CHANGES as ALL_CHANGES
from test_provider_matrix import IMPORT_ID, NUMBER, REMOVED, World, applied
from test_provider_matrix import TOKENS as ALL_TOKENS

VERSION = "5.100.0"
MIRROR = "SANDBOX_TERRAFORM_PLUGIN_DIR"
# Without those with nested blocks, which Terraform names otherwise: provider_measured.json and provider_calls.json have
# what the real provider does with them.
TOKENS = {
    kind: token
    for kind, token in ALL_TOKENS.items()
    if not any(prop.kind == "blocks" for prop in registry.RESOURCES[token].inputs().values())
}
CHANGES = [(kind, plan) for kind, plan in ALL_CHANGES if kind in TOKENS]
# What pulumi-aws 7 has beyond the provider of this version, and what each program of Pulumi's has to itself.
NOT_COMPARED = {"region", "bucketRegion", "secretArn", "__defaults"}
# The real provider asks who it is whenever it starts.
UNCOUNTED = {"sts"}

Values = dict[str, dict[str, Any]]
"""Outputs by kind of resource."""


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def type_of(kind: str) -> str:
    """aws_iam_user of User."""
    return f"aws_{ALL_TOKENS[kind].split(':')[1].split('/')[0]}_{snake(kind)}"


class TerraformWorld(World):
    """The same inputs, with references that Terraform resolves."""

    def __init__(self, label: str) -> None:
        self.suffix, self.label = f"-{next(NUMBER)}", label
        self.parents: dict[str, dict[str, Any]] = {}

    def referred_to(self, which: str, kind: str, output: str) -> Any:
        name = f"{self.label}_{which.replace(' ', '_')}"
        if name not in self.parents:
            self.parents[name] = {"kind": kind, "inputs": TerraformWorld(name).inputs(kind)}
        return f"${{{type_of(kind)}.{name}.{snake(output)}}}"


class Terraform:
    """A folder in which Terraform keeps its state."""

    def __init__(self, folder: Path, url: str) -> None:
        folder.mkdir()
        (folder / "rc").write_text(
            f'provider_installation {{\n  filesystem_mirror {{\n    path = "{os.environ[MIRROR]}"\n  }}\n}}\n'
        )
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        self.environment |= {
            "AWS_ACCESS_KEY_ID": ROOT.access_key_id,
            "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key,
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
            "TF_CLI_CONFIG_FILE": str(folder / "rc"),
        }
        self.ready = False

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["terraform", *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"terraform {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def write(self, resources: dict[str, dict[str, Any]], imports: dict[str, str] | None = None) -> None:
        """The configuration. resources: by label, kind and inputs. imports: ids by label."""
        content: dict[str, Any] = {
            "terraform": {"required_providers": {"aws": {"source": "hashicorp/aws", "version": VERSION}}},
            "provider": {"aws": {}},
            "resource": {},
        }
        for label, one in resources.items():
            inputs = {snake(key): value for key, value in one["inputs"].items()}
            content["resource"].setdefault(type_of(one["kind"]), {})[label] = inputs
        if imports:
            content["import"] = [
                {"to": f"{type_of(resources[label]['kind'])}.{label}", "id": imported}
                for label, imported in imports.items()
            ]
        (self.folder / "main.tf.json").write_text(json.dumps(content))
        if not self.ready:
            self("init", "-input=false")
            self.ready = True

    def apply(self) -> Values:
        self("apply", "-auto-approve", "-input=false", "-refresh=false")
        return self.state()

    def state(self) -> Values:
        return _values(json.loads(self("show", "-json")))

    def plan(self, *options: str) -> dict[str, Any]:
        self("plan", "-input=false", "-out=plan", *options)
        return json.loads(self("show", "-json", "plan"))


def _values(shown: dict[str, Any]) -> Values:
    """The values of the resources under test."""
    resources = shown.get("values", {}).get("root_module", {}).get("resources", [])
    return {one["name"]: one["values"] for one in resources if one["name"] in TOKENS}


class Comparison:
    """Collects what differs."""

    def __init__(self, strict: Strict) -> None:
        self.strict = strict
        self.points = 0
        self.differences: list[str] = []

    def same(self, what: str, emulated: Any, real: Any) -> None:
        self.points += 1
        if emulated != real:
            self.differences.append(f"{what}: emulated provider {emulated}, real one {real}")

    def calls(self, what: str, emulated: Callable[[], Any], real: Callable[[], Any]) -> tuple[Any, Any]:
        """Do both; compare which calls of AWS they made, and how often."""
        results: list[Any] = []
        counted: list[Counter[str]] = []
        for do in (emulated, real):
            self.strict.control.clear_calls()
            results.append(do())
            calls = [call for call in self.strict.control.calls() if call.service not in UNCOUNTED]
            counted.append(Counter(f"{call.service}:{call.action} {call.outcome}" for call in calls))
        for call in sorted(counted[0].keys() | counted[1].keys()):
            self.same(f"{what}: {call}", counted[0][call], counted[1][call])
        return results[0], results[1]

    def outputs(self, what: str, emulated: Values, real: Values) -> None:
        self.same(f"{what}: what there is", sorted(emulated), sorted(real))
        for kind in emulated.keys() & real.keys():
            for name, prop in registry.RESOURCES[TOKENS[kind]].properties.items():
                if name in NOT_COMPARED or prop.kind == "blocks" or snake(name) not in real[kind]:
                    continue
                mine, theirs = emulated[kind].get(name), real[kind][snake(name)]
                if isinstance(mine, Secret):
                    mine, theirs = bool(mine.value), bool(theirs)
                self.same(f"{what}: {kind}.{name}", _plain(mine), _plain(theirs))


_RANDOM = (
    r"\d{18}[0-9a-f]{8}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[A-Z0-9]{20,21}\b"
    r"|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ|-\d+-[A-Za-z0-9]{6}\b|-\d+\b"
)


def _plain(value: Any) -> Any:
    """Without what differs from run to run, and with absent and empty as the same."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()} or None
    if isinstance(value, list):
        return [_plain(part) for part in value] or None
    if isinstance(value, str) and value.startswith("{"):
        return json.loads(value)
    return re.sub(_RANDOM, "*", value) if isinstance(value, str) else value or None


def outputs_of(made: dict[str, Made]) -> Values:
    return {kind: one.outputs for kind, one in made.items()}


@pytest.mark.long
def test_terraforms_provider_makes_the_same_calls_with_the_same_results(
    strict: Strict, connection: Connection, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if not os.environ.get(MIRROR) or not shutil.which("terraform"):
        pytest.skip(f"{MIRROR} is not set or there is no terraform: not compared with the real provider")
    compare = Comparison(strict)
    with connected(connection.port, region="us-east-1") as engine:
        _live(compare, engine, tmp_path)
        _vanish(compare, engine, tmp_path)
    record_property("compared", compare.points)
    assert not compare.differences, "\n".join(compare.differences)


def _live(compare: Comparison, engine: Connection, folder: Path) -> None:
    """Create, preview, refresh, update, plan replacements, import, destroy."""
    terraform = Terraform(folder / "life", compare.strict.url)
    worlds = {kind: World(engine) for kind in TOKENS}
    theirs = {kind: TerraformWorld(kind) for kind in TOKENS}
    made: dict[str, Made] = {}

    def configuration(change: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """All resources under test, some of them changed, and what they refer to."""
        subjects = {kind: {"kind": kind, "inputs": theirs[kind].inputs(kind, change.get(kind))} for kind in TOKENS}
        return subjects | {label: one for world in theirs.values() for label, one in world.parents.items()}

    def create() -> Values:
        for kind, plan in CHANGES:
            worlds[kind].inputs(kind, applied(kind, plan))  # makes all that is ever referred to
        made.update({kind: worlds[kind].make(kind) for kind in TOKENS})
        return outputs_of(made)

    def update(change: dict[str, dict[str, Any]]) -> Values:
        for kind, one in made.items():
            new = worlds[kind].inputs(kind, change.get(kind))
            if one.diff(new).diffs:
                one.update(new)
        return outputs_of(made)

    def refresh() -> Values:
        for world in worlds.values():
            world.refresh_others()
        return outputs_of({kind: one for kind, one in made.items() if one.refresh()})

    def terraform_refresh() -> Values:
        terraform("apply", "-refresh-only", "-auto-approve", "-input=false")
        return terraform.state()

    for kind, plan in CHANGES:
        theirs[kind].inputs(kind, applied(kind, plan))
    terraform.write(configuration({}))
    compare.outputs("create", *compare.calls("create", create, terraform.apply))

    changes = {kind: list(one.diff(worlds[kind].inputs(kind)).diffs) for kind, one in made.items()}
    planned = terraform.plan("-refresh=false")["resource_changes"]
    real = {one["name"]: [] for one in planned if one["change"]["actions"] == ["no-op"] and one["name"] in TOKENS}
    compare.same("second preview", changes, {kind: real.get(kind, "a change") for kind in TOKENS})
    compare.outputs("refresh", *compare.calls("refresh", refresh, terraform_refresh))

    for replacing in (False, True):
        plans = {kind: [p for k, p in CHANGES if k == kind and bool(p["replaces"]) == replacing] for kind in TOKENS}
        for turn in range(max(map(len, plans.values()))):
            change = {kind: applied(kind, some[turn]) for kind, some in plans.items() if turn < len(some)}
            terraform.write(configuration(change))
            if not replacing:
                both = compare.calls(f"update {turn}", lambda: update(change), terraform.apply)  # noqa: B023
                compare.outputs(f"update {turn}", *both)
                continue
            planned = {one["name"]: one for one in terraform.plan("-refresh=false")["resource_changes"]}
            for kind in change:
                paths = planned[kind]["change"].get("replace_paths", [])
                mine = made[kind].diff(worlds[kind].inputs(kind, change[kind])).replaces
                compare.same(f"replace {kind} {change[kind]}", sorted(map(snake, mine)), sorted(p[0] for p in paths))
        update({})
        terraform.write(configuration({}))
        terraform.apply()

    imports = {kind: IMPORT_ID.get(kind, lambda it: it.id) for kind in TOKENS}
    state = terraform.state()

    def found() -> Values:
        ones = {kind: engine.find(one.token, imports[kind](one)) for kind, one in made.items()}
        return outputs_of({kind: one for kind, one in ones.items() if one is not None})

    def terraform_import() -> Values:
        again = Terraform(folder / "import", compare.strict.url)
        ids = {
            kind: imports[kind](Made(engine, TOKENS[kind], kind, values["id"], _camel(values), {}))
            for kind, values in state.items()
        }
        subjects = {
            kind: {"kind": kind, "inputs": {key: state[kind][snake(key)] for key in theirs[kind].inputs(kind)}}
            for kind in TOKENS
        }
        again.write(subjects, ids)
        return _values({"values": again.plan()["prior_state"]["values"]})

    compare.outputs("import", *compare.calls("import", found, terraform_import))

    def destroy() -> None:
        for one in made.values():
            one.delete()
        for world in worlds.values():
            for one in world.others.values():
                one.delete()

    compare.calls("destroy", destroy, lambda: terraform("destroy", "-auto-approve", "-refresh=false"))


def _camel(values: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"_(.)", lambda letter: letter[1].upper(), key): value for key, value in values.items()}


def _vanish(compare: Comparison, engine: Connection, folder: Path) -> None:
    """Somebody removes them; a refresh takes them out of the state."""
    terraform = Terraform(folder / "vanish", compare.strict.url)
    theirs = {kind: TerraformWorld(kind) for kind in TOKENS}
    subjects = {kind: {"kind": kind, "inputs": theirs[kind].inputs(kind)} for kind in TOKENS}
    terraform.write(subjects | {label: one for world in theirs.values() for label, one in world.parents.items()})
    real = {
        kind: Made(engine, TOKENS[kind], kind, values["id"], _camel(values), {})
        for kind, values in terraform.apply().items()
    }
    worlds = {kind: World(engine) for kind in TOKENS}
    made = {kind: worlds[kind].make(kind) for kind in TOKENS}
    for kind in TOKENS:
        service, operation, arguments = REMOVED[kind]
        for one in (made[kind], real[kind]):
            getattr(compare.strict.client(service, region="us-east-1"), operation)(**arguments(one))

    def terraform_refresh() -> list[str]:
        terraform("apply", "-refresh-only", "-auto-approve", "-input=false")
        return sorted(terraform.state())

    def refresh() -> list[str]:
        for world in worlds.values():
            world.refresh_others()
        return sorted(kind for kind in TOKENS if made[kind].refresh())

    both = compare.calls("vanished", refresh, terraform_refresh)
    compare.same("vanished: what is left", *both)
