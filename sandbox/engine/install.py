"""Installs the engine with Pulumi's official installer, through the SDK: pulumi.automation.PulumiCommand.install.

The installer gets a folder of its own and touches neither shell profiles nor ~/.pulumi. It has no time limit and raises
many kinds of errors, so it runs in a process of its own: `python -m sandbox.engine.install FOLDER`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sandbox.engine.locate import VERSION, AttemptError, last_line, version_of
from sandbox.engine.progress import Phase

SITE = "https://get.pulumi.com/install.sh"
REACHED_WITHIN = 5
DONE_WITHIN = 600
"""Seconds for a download of about 100 MB."""


def install(folder: Path) -> None:
    """Puts the official download into `folder`/bin. Raises AttemptError, soon where the site cannot be reached."""
    import urllib.error  # Slow to import, and seldom needed.
    import urllib.request

    try:
        with urllib.request.urlopen(SITE, timeout=REACHED_WITHIN):
            pass
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise AttemptError(f"{SITE} cannot be reached ({reason})") from None
    with Phase(f"Installing Pulumi {VERSION} with its official installer"):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "sandbox.engine.install", str(folder)],
                capture_output=True,
                text=True,
                timeout=DONE_WITHIN,
                stdin=subprocess.DEVNULL,
                cwd=Path(__file__).resolve().parents[2],
            )
        except subprocess.TimeoutExpired:
            raise AttemptError(f"the official installer did not end within {DONE_WITHIN // 60} minutes") from None
    if done.returncode != 0:
        raise AttemptError(f"the official installer failed{last_line(done.stderr)}")
    version, problem = version_of(folder / "bin" / "pulumi")
    if version != VERSION:
        raise AttemptError(f"the engine that was installed {problem or f'says it is version {version}'}")


def main() -> None:
    from pulumi.automation import PulumiCommand
    from semver import VersionInfo

    try:
        PulumiCommand.install(root=sys.argv[1], version=VersionInfo.parse(VERSION))
    except subprocess.CalledProcessError as error:
        sys.exit((error.output or b"").decode(errors="replace").strip() or str(error))


if __name__ == "__main__":
    main()
