"""Which Python runs a program, and what installs its requirements, by the runtime options of its Pulumi.yaml.

Options and defaults are those of the official host: https://www.pulumi.com/docs/iac/languages-sdks/python/
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class OptionError(Exception):
    """A runtime option of Pulumi.yaml, PulumiPolicy.yaml or PulumiPlugin.yaml cannot be followed."""


@dataclass(frozen=True)
class Interpreter:
    virtualenv: Path | None
    """The virtual environment named by the options; None stands for the Python found on PATH."""

    @property
    def python(self) -> str:
        """The Python to start. OptionError if there is none."""
        if self.virtualenv:
            python = self.virtualenv / "bin" / "python"
            if python.is_file():
                return str(python)
            raise OptionError(
                f"the virtual environment {self.virtualenv}, named by the runtime option `virtualenv`, does not exist;"
                " `pulumi install` makes it"
            )
        return python_on_path()

    @property
    def variables(self) -> dict[str, str]:
        """What activating the virtual environment sets."""
        if not self.virtualenv:
            return {}
        path = os.pathsep.join([str(self.virtualenv / "bin"), os.environ.get("PATH", os.defpath)])
        return {"VIRTUAL_ENV": str(self.virtualenv), "PATH": path}

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a new process. A PYTHONHOME would take the virtual environment's place."""
        kept = {key: value for key, value in os.environ.items() if not (self.virtualenv and key == "PYTHONHOME")}
        return kept | self.variables

    def installation(self, folder: Path, is_plugin: bool) -> list[list[str]]:
        """The commands that make the virtual environment, install a component package that can be built, and the
        requirements of what is in `folder`."""
        python = str(self.virtualenv / "bin" / "python") if self.virtualenv else python_on_path()
        commands: list[list[str]] = []
        if self.virtualenv and not Path(python).is_file():
            commands.append([python_on_path(), "-m", "venv", str(self.virtualenv)])
        if is_plugin and distribution_name(folder):
            commands.append([python, "-m", "pip", "install", str(folder)])
        if (folder / "requirements.txt").is_file():
            commands.append([python, "-m", "pip", "install", "-r", "requirements.txt"])
        return commands


def choose(root: str, options: Mapping[str, Any], default: str = "") -> Interpreter:
    """The interpreter that the runtime options ask for; relative paths start at `root`.

    `default` is the virtualenv of a component package that names none. Raises OptionError.
    """
    toolchain = options.get("toolchain", "pip")
    if toolchain != "pip":
        raise OptionError(
            f"runtime option `toolchain` is {toolchain!r}; the sandbox's language host supports 'pip' only (the"
            " official download of Pulumi supports more)"
        )
    virtualenv = options.get("virtualenv", default)
    if not isinstance(virtualenv, str):
        raise OptionError(f"runtime option `virtualenv` is {virtualenv!r}; it must be the path of a folder")
    return Interpreter(Path(root, virtualenv) if virtualenv else None)


def python_on_path() -> str:
    """PULUMI_PYTHON_CMD, else `python3`, else `python` on PATH. OptionError if there is none."""
    names = [os.environ["PULUMI_PYTHON_CMD"]] if os.environ.get("PULUMI_PYTHON_CMD") else ["python3", "python"]
    found = next((path for name in names if (path := shutil.which(name))), None)
    if not found:
        raise OptionError(f"no {' or '.join(names)} on PATH; name a virtual environment with the option `virtualenv`")
    return found


def distribution_name(folder: Path) -> str | None:
    """The name of a component package that can be built, from its pyproject.toml; None if it cannot."""
    file = folder / "pyproject.toml"
    text = file.read_text() if file.is_file() else ""
    project = re.search(r"^\[project\]\s*$(.*?)(?=^\[|\Z)", text, re.MULTILINE | re.DOTALL)
    name = re.search(r"""^name\s*=\s*["']([^"']+)["']""", project[1], re.MULTILINE) if project else None
    return name[1] if name and re.search(r"^build-backend\s*=", text, re.MULTILINE) else None
