"""The AWS SDK for Go gets whole answers, which a Go client needs in one piece: see _OneSend in aws/http_server.py, and
test_aws_http.py for a test without Go, whose SDK takes long to build."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from aws_support import ROOT, Strict

SOURCES = Path(__file__).with_name("go_client")


@pytest.fixture(scope="module")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in go_client/, built."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed: whether its SDK gets whole answers was not tried")
    built = tmp_path_factory.mktemp("go") / "goclient"
    modules = subprocess.run([go, "mod", "download"], cwd=SOURCES, capture_output=True, text=True)
    if modules.returncode != 0:
        pytest.skip(f"the AWS SDK for Go cannot be downloaded: {modules.stderr.strip()}")
    subprocess.run([go, "build", "-o", str(built), "."], cwd=SOURCES, check=True)
    return built


@pytest.mark.long
@pytest.mark.parametrize(("calls", "at_once"), [(10_000, 1), (10_000, 8)])
def test_no_call_of_a_go_client_is_broken(go_client: Path, strict: Strict, calls: int, at_once: int) -> None:
    key = {"AWS_ACCESS_KEY_ID": ROOT.access_key_id, "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key}
    done = subprocess.run(
        [str(go_client), strict.url, str(calls), str(at_once)],
        env=os.environ | key,
        capture_output=True,
        text=True,
    )
    made, _, broken, _ = done.stdout.split()
    assert int(made) >= calls, done.stderr
    assert int(broken) == 0, f"{done.stdout}{done.stderr}"
