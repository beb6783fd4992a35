"""The benchmark of docs/performance.md, with one user."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lifecycle.stack import CHECKOUT


@pytest.mark.long
def test_the_benchmark_measures_each_step_of_each_program_and_draws_the_plots(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    options = ["--users", "1", "--rounds", "1", "--output", str(output), "--plots", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "bench", *options], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(output.read_text())["measurements"]
    calls = {(one["program"], one["step"]): one["aws_calls"] for one in figures}
    for program, asked in (("flat", 0), ("ours", 1)):
        assert calls[program, "preview, no change"] == calls[program, "up, no change"] == asked
        assert calls[program, "one rotation"] >= 2, "a key is created, and one is deleted"
    assert calls["boto3", "first up"] == 6
    assert "| 1     | one rotation " in done.stdout
    for plot in ("steps", "users", "start"):
        assert (tmp_path / f"performance-{plot}.svg").read_text().rstrip().endswith("</svg>")
