"""Installs the engine with Pulumi's official installer, through the SDK: pulumi.automation.PulumiCommand.install.

The installer gets a folder of its own and touches neither shell profiles nor ~/.pulumi. It has no time limit and raises
many kinds of errors, so it runs in a process of its own: `python -m pulumi_sandbox.engine.install FOLDER`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pulumi_sandbox.engine.locate import VERSION, ProvisionAttemptError, last_line, version_of
from pulumi_sandbox.engine.progress import Phase

SITE = "https://get.pulumi.com/install.sh"
CONNECT_TIMEOUT = 5
INSTALL_TIMEOUT = 600
"""Seconds for a download of about 100 MB."""


def install(folder: Path) -> None:
    """Puts the official download into `folder`/bin. Raises ProvisionAttemptError, soon if the site is out of reach."""
    import urllib.error  # Slow to import, and seldom needed.
    import urllib.request

    try:
        with urllib.request.urlopen(SITE, timeout=CONNECT_TIMEOUT):
            pass
    except (OSError, urllib.error.URLError) as error:
        reason = getattr(error, "reason", error)
        raise ProvisionAttemptError(f"{SITE} cannot be reached ({reason})") from None
    with Phase(f"Installing Pulumi {VERSION} with its official installer"):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pulumi_sandbox.engine.install", str(folder)],
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise ProvisionAttemptError(
                f"the official installer did not finish within {INSTALL_TIMEOUT // 60} minutes"
            ) from None
    if done.returncode != 0:
        raise ProvisionAttemptError(f"the official installer failed{last_line(done.stderr)}")
    version, problem = version_of(folder / "bin" / "pulumi")
    if version != VERSION:
        raise ProvisionAttemptError(f"the engine that was installed {problem or f'reports version {version}'}")


def main() -> None:
    from pulumi.automation import PulumiCommand
    from semver import VersionInfo

    try:
        PulumiCommand.install(root=sys.argv[1], version=VersionInfo.parse(VERSION))
    except subprocess.CalledProcessError as error:
        sys.exit((error.output or b"").decode(errors="replace").strip() or str(error))


if __name__ == "__main__":
    main()
