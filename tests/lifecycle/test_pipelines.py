"""The pipelines of GitHub and GitLab, as they stand in their files: every command of theirs, in the sandbox."""

import json
import os
import re
import shutil
import stat
import subprocess
import textwrap
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.lifecycle.helpers import NewStack, keys_in_iam
from tests.lifecycle.stack import CHECKOUT, Sandbox, Stack

WORKFLOWS = CHECKOUT / ".github" / "workflows"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.9"
ROOT_HAS_A_KEY = 3
"""The exit code of the inventory: the sandbox's commands sign with root's key, for which the job is to fail."""
# An imitation of `gh` and `curl` writes down what it was given.
IMITATION = """#!/bin/sh
{ printf '%s\\n' "$0" "$@"; [ -t 0 ] || cat; } >> "$RECORD"
"""
# `pulumi install` would install into the environment that all tests use.
PULUMI = """#!/bin/sh
[ "$1" = install ] || exec {pulumi} "$@"
"""


@pytest.fixture
def project(new_stack: NewStack) -> Stack:
    """A clone of the repository, as far as the pipelines need one, with the example for prod."""
    stack = new_stack()
    stack.write(yaml.safe_load((CHECKOUT / "Pulumi.prod.yaml").read_text())["config"])
    (stack.folder / "scripts").symlink_to(CHECKOUT / "scripts")
    (pack := stack.folder / "policy").mkdir()
    for file in (CHECKOUT / "policy").iterdir():
        (pack / file.name).symlink_to(file)
    (pack / f"{stack.name}.json").symlink_to(CHECKOUT / "policy" / "prod.json")
    (stack.folder / ".venv").symlink_to(CHECKOUT / ".venv")
    imitations = stack.folder / "imitations"
    imitations.mkdir()
    for name in ("gh", "curl", "git"):
        (imitations / name).write_text(IMITATION)
        (imitations / name).chmod(stat.S_IRWXU)
    pulumi = shutil.which("pulumi", path=stack.sandbox.environment["PATH"])
    (imitations / "pulumi").write_text(PULUMI.format(pulumi=pulumi))
    (imitations / "pulumi").chmod(stat.S_IRWXU)
    return stack


def run(stack: Stack, script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A script as a runner starts it."""
    path = f"{stack.folder / 'imitations'}{os.pathsep}{stack.sandbox.environment['PATH']}"
    kept = stack.sandbox.environment | {"PATH": path, "RECORD": str(stack.folder / "record")}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=stack.folder,
        env=kept | environment,
        capture_output=True,
        text=True,
    )
    print(done.stdout, done.stderr)
    return done


def steps(workflow: str, contexts: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """The commands of a workflow's only job, each with its environment. contexts: `vars.NAME` and the like → value."""
    (job,) = yaml.safe_load((WORKFLOWS / f"{workflow}.yml").read_text())["jobs"].values()

    def environment(part: Mapping[str, Any]) -> dict[str, str]:
        expression = re.compile(r"\$\{\{ (\S+) \}\}")
        values = {name: expression.sub(lambda found: contexts[found[1]], text) for name, text in part.items()}
        return {name: value for name, value in values.items() if not name.startswith("PULUMI")}  # the sandbox's own

    always = environment(job.get("env", {}))
    return [(step["run"], always | environment(step.get("env", {}))) for step in job["steps"] if "run" in step]


def of_stack(stack: Stack) -> dict[str, str]:
    """The contexts of a run on GitHub."""
    return {
        "vars.PULUMI_BACKEND": "",
        "secrets.PULUMI_ACCESS_TOKEN": "",
        "secrets.PULUMI_CONFIG_PASSPHRASE": "",
        "matrix.stack": stack.name,
        "github.token": "ghs_token",
        "github.event.pull_request.number": "7",
    }


def named_as_prod(stack: Stack, environment: Mapping[str, str]) -> dict[str, str]:
    """The files name the stack prod, which in the sandbox has another name."""
    return {name: stack.name if value == "prod" else value for name, value in environment.items()}


@pytest.mark.long
def test_github_previews_updates_and_takes_the_inventory(project: Stack, sandbox: Sandbox) -> None:
    contexts = of_stack(project)
    for workflow in ("preview", "up", "inventory"):
        for script, environment in steps(workflow, contexts):
            done = run(project, script, **named_as_prod(project, environment))
            expected = ROOT_HAS_A_KEY if "inventory" in script else 0
            assert done.returncode == expected, f"{workflow}.yml: {script}\n{done.stdout}{done.stderr}"
        if workflow == "preview":
            comment = (project.folder / "preview.md").read_text()
            assert comment.startswith(f"### Preview of stack `{project.name}`\n\n~~~~text\nPreviewing update")
            assert "✅ aws-access-keys" in comment, "the guardrails were checked"
            record = (project.folder / "record").read_text()
            assert "pr\ncomment\n7\n--edit-last\n--create-if-none\n--body-file\npreview.md\n" in record
    assert len(keys_in_iam(sandbox, "data-loader")) == 1
    assert "data-loader" in (project.folder / "inventory.html").read_text()
    project.write({"users": {"ann": {"groups": ["nowhere"]}}})
    (script,) = (script for script, _ in steps("preview", contexts) if "preview.sh" in script)
    assert run(project, script, STACKS=project.name).returncode == 1, "a preview that fails fails the job"
    assert f"### Preview of stack `{project.name}`: failed" in (project.folder / "preview.md").read_text()


@pytest.mark.long
def test_gitlab_does_the_same(project: Stack, sandbox: Sandbox) -> None:
    pipeline = yaml.safe_load((CHECKOUT / ".gitlab-ci.yml").read_text())
    token = project.folder / "aws-token"
    given = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_TOKEN": "header.claims.signature",
        "STACK": project.name,
        "GITLAB_TOKEN": "glpat-secret",
        "CI_API_V4_URL": "https://gitlab.example/api/v4",
        "CI_PROJECT_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_DEFAULT_BRANCH": "main",
    }
    for name in ("preview", "up", "inventory"):
        job = pipeline[name]
        assert job["variables"]["AWS_ROLE_ARN"].startswith("$AWS_"), "each job has its own role"
        script = "\n".join([*pipeline["default"]["before_script"], *job["script"], *job.get("after_script", [])])
        done = run(project, script, **given)
        assert done.returncode == (ROOT_HAS_A_KEY if name == "inventory" else 0), f"{name}:\n{done.stdout}{done.stderr}"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    name, *record = (project.folder / "record").read_text().splitlines()
    assert name.endswith("/curl")
    assert "https://gitlab.example/api/v4/projects/3/merge_requests/7/notes" in record
    text = "\n".join(record)
    assert text.index('header = "PRIVATE-TOKEN:glpat-secret"') > text.index("\n--config\n"), "on standard input"
    assert "\nfetch\norigin\nmain\n" in text, "an update takes the newest commit"
    assert len(keys_in_iam(sandbox, "data-loader")) == 1
    assert "data-loader" in (project.folder / "inventory.html").read_text()


@pytest.mark.long
def test_actionlint_finds_nothing_in_the_workflows() -> None:
    if not (go := shutil.which("go")):
        pytest.skip("there is no Go: the workflows are not checked by actionlint")
    done = subprocess.run(
        [go, "run", ACTIONLINT, "-shellcheck="], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_iam_accepts_the_documented_roles_with_what_is_printed_for_them(project: Stack, sandbox: Sandbox) -> None:
    text = (CHECKOUT / "docs" / "pipelines.md").read_text()
    github, gitlab = (textwrap.dedent(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL))
    (project.folder / "trust.json").write_text(github)
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        commands = re.sub(r"^ *\$ ", "", block, flags=re.MULTILINE)
        done = run(project, commands.replace("--stack prod", f"--stack {project.name}"))
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    iam = sandbox.client("iam")
    trust = iam.get_role(RoleName="access-keys-up")["Role"]["AssumeRolePolicyDocument"]
    assert trust == json.loads(github)
    trust["Statement"][0]["Condition"] = json.loads(gitlab)
    iam.update_assume_role_policy(RoleName="access-keys-up", PolicyDocument=json.dumps(trust))
    assert len(iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]) == 2
