"""The YAML language host: built once from its published Go module, where the engine has none.

The official download of Pulumi carries one. go.mod and go.sum beside this file pin what goes into ours.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from pulumi_sandbox.engine import Engine
from pulumi_sandbox.engine.build import Go, find_go
from pulumi_sandbox.engine.locate import EngineError, ProvisionAttemptError, cache_folder
from pulumi_sandbox.engine.progress import Phase
from pulumi_sandbox.engine.provision import file_lock

HERE = Path(__file__).resolve().parent
HOST = "pulumi-language-yaml"
MODULE = "github.com/pulumi/pulumi-yaml"
FLAGS = ["-mod=readonly", "-trimpath", "-gcflags=all=-dwarf=false", "-ldflags=-s -w"]


def ensure(engine: Engine) -> Path:
    """The folder to put on PATH so that the engine finds a YAML language host. Raises EngineError."""
    there = shutil.which(HOST)
    beside = engine.pulumi.resolve().with_name(HOST)
    if there or os.access(beside, os.X_OK):
        return Path(there or beside).parent
    version = re.search(rf"{MODULE} (\S+)", (HERE / "go.mod").read_text())
    assert version, "go.mod names the module"
    folder = cache_folder() / f"yaml-{version[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock(folder / "lock"):
        if not os.access(folder / HOST, os.X_OK):
            try:
                with Phase(f"Building the YAML language host {version[1]}, once"):
                    Go(find_go(), HERE).output("build", *FLAGS, "-o", str(folder / "new"), f"{MODULE}/cmd/{HOST}")
            except ProvisionAttemptError as failure:
                raise EngineError(f"There is no {HOST}, and none can be built: {failure}") from None
            os.replace(folder / "new", folder / HOST)
    return folder
