"""`make session`: a terminal session in a sandbox of its own, as docs/session.svg: a key, its rotation, the report.

What each command prints is real; lines about work under way are left out.
"""

import os
import pty
import re
import shlex
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from pulumi_sandbox.environment import enter
from pulumi_sandbox.paths import SandboxPaths
from pulumi_sandbox.process import stop
from rich.console import Console
from rich.text import Text

CHECKOUT = Path(__file__).resolve().parents[1]
COMMANDS = (
    "pulumi stack init dev",
    "pulumi up --yes --skip-preview --suppress-outputs",
    "access-keys rotate test-user",
    "pulumi up --yes --skip-preview --suppress-outputs",
    "access-keys report",
)
UNDER_WAY = re.compile(r"(creating|updating|deleting) \(\d+s\)$|^@ |^Updating|^\s*$|^Duration")
WIDTH = 118


def main() -> None:
    """Run the commands and write the picture."""
    console = Console(record=True, width=WIDTH, force_terminal=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "__main__.py"):
            (folder / name).write_bytes((CHECKOUT / name).read_bytes())
        (folder / ".venv").symlink_to(CHECKOUT / ".venv")
        paths = SandboxPaths(folder / ".sandbox")
        environment = enter(paths) | {"COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
        try:
            for command in COMMANDS:
                console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
                for line in _printed(command, folder, environment).splitlines():
                    text = Text.from_ansi(line)
                    if not UNDER_WAY.search(text.plain.rstrip()):
                        console.print(text, no_wrap=True, overflow="ellipsis")
                console.print()
        finally:
            stop(paths)
    console.save_svg(str(CHECKOUT / "docs" / "session.svg"), title="AWS access keys as code", unique_id="session")


def _printed(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command prints on a terminal."""
    ours, its = pty.openpty()
    options = ["--non-interactive", "--color", "always"] if command.startswith("pulumi") else []
    process = subprocess.Popen([*shlex.split(command), *options], cwd=folder, env=environment, stdout=its, stderr=its)
    os.close(its)
    output = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last holder of the terminal has ended
            break
        if not part:
            break
        output += part
    os.close(ours)
    if process.wait():
        raise SystemExit(output.decode())
    return output.decode()


if __name__ == "__main__":
    main()
