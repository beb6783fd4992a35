"""The recipes of docs/delivery.md, each with an imitation of the program that it uses."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml
from aws_access_keys.command import CommandError, run_command

KEY = {
    "user": "backup-tool",
    "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "a/b+c/" * 6 + "wxyz",
}
DOC = Path(__file__).parents[2] / "docs" / "delivery.md"
RECIPES: dict[str, list[str]] = {
    re.findall(r"\b(gh|glab|vault|kubectl|op)\b", " ".join(command))[0]: command
    for text in re.findall(r"```yaml\n(deliver:.*?)```", DOC.read_text(), re.DOTALL)
    for command in [yaml.safe_load(text)["deliver"]["command"]]
}
IMITATION = '''#!{python} -I
"""What gh, glab, vault, kubectl and op take, as their manuals have it. Refuses a secret in arguments or environment."""
import json, os, pathlib, re, sys
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
store = pathlib.Path({folder!r})
if {secret!r} in "".join([*arguments, *os.environ.values()]):
    sys.exit("the secret is on the command line or in the environment")
if (store / "refuse").exists():
    sys.exit("permission denied")
given = "" if arguments[:2] == ["item", "get"] else sys.stdin.read()
keep = lambda file, content: (store / file).write_text(json.dumps(content))
if name == "gh":
    assert arguments == ["secret", "set", "--repo", "acme/app", "--env-file", "-"], arguments
    keep("found", dict(re.fullmatch(r"([A-Z_]+)=(\\S+)", line).groups() for line in given.splitlines()))
elif name == "glab":
    assert arguments[:2] == ["variable", "update"] and arguments[3:6] == ["--repo", "acme/app", "--raw"], arguments
    assert ("--masked" in arguments) == (arguments[2] == "AWS_SECRET_ACCESS_KEY"), arguments
    before = json.loads((store / "found").read_text()) if (store / "found").exists() else {{}}
    keep("found", {{**before, arguments[2]: given}})
elif name == "vault":
    assert arguments == ["kv", "put", "-mount=secret", "aws/backup-tool", "-"], arguments
    keep("found", json.loads(given))
elif name == "kubectl":
    assert arguments == ["apply", "--namespace", "backup", "--server-side", "--filename", "-"], arguments
    manifest = json.loads(given)
    data = manifest.pop("stringData")
    assert manifest == {{"apiVersion": "v1", "kind": "Secret", "metadata": {{"name": "aws-backup-tool"}}}}, manifest
    keep("found", data)
elif arguments[:2] == ["item", "get"]:
    assert arguments[2:] == ["AWS backup-tool", "--vault", "Servers", "--format", "json"], arguments
    fields = [{{"label": one, "value": "old"}} for one in ("notes", "access key id", "secret access key")]
    print(json.dumps({{"title": "AWS backup-tool", "fields": fields}}))
else:
    assert arguments == ["item", "edit", "AWS backup-tool", "--vault", "Servers"], arguments
    print(given)  # as op does
    keep("found", {{field["label"]: field["value"] for field in json.loads(given)["fields"]}})
'''


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the imitations, first on PATH, in which they keep what they get."""
    text = IMITATION.format(python=sys.executable, folder=str(tmp_path), secret=KEY["aws_secret_access_key"])
    for name in RECIPES:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_there_is_a_recipe_for_each_store() -> None:
    assert sorted(RECIPES) == ["gh", "glab", "kubectl", "op", "vault"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_delivers_the_key_and_fails_if_the_store_refuses(name: str, store: Path) -> None:
    shown = run_command(RECIPES[name], KEY, store, 20)
    assert shown == "", "nothing is printed that would have to be hidden"
    found: dict[str, str] = json.loads((store / "found").read_text())
    assert {KEY["aws_access_key_id"], KEY["aws_secret_access_key"]} <= set(found.values())
    names = {"vault": KEY.keys(), "op": ["access key id", "notes", "secret access key"]}
    assert sorted(found) == sorted(names.get(name, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]))
    (store / "refuse").touch()
    with pytest.raises(CommandError, match="permission denied"):
        run_command(RECIPES[name], KEY, store, 20)


def test_the_imitation_refuses_a_secret_on_the_command_line(store: Path) -> None:
    careless = ["sh", "-c", "vault kv put -mount=secret aws/backup-tool secret=$(jq -r .aws_secret_access_key)"]
    with pytest.raises(CommandError, match="the secret is on the command line"):
        run_command(careless, KEY, store, 20)
