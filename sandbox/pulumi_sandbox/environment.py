"""The environment in which a command runs in the sandbox.

Nothing is written outside the sandbox's folder, and nothing outside it points here.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from pulumi_sandbox.engine import Engine, find
from pulumi_sandbox.isolation import isolated_environment
from pulumi_sandbox.paths import FOLDER, IN_SANDBOX, SandboxPaths, Secrets, prepare
from pulumi_sandbox.process import ServerInfo, start

ENGINE = "PULUMI_SANDBOX_ENGINE"
"""The engine that `bin/pulumi` starts."""

PYTHON = "PULUMI_SANDBOX_PYTHON"
"""The Python that has this package, for `bin/pulumi` and the language host."""

BIN = Path(__file__).resolve().parent / "bin"
DEFAULT_REGION = "us-east-1"


def enter(paths: SandboxPaths) -> dict[str, str]:
    """The environment of a command in this sandbox, which is started if need be."""
    secrets, server = prepare(paths), start(paths)
    if not server.provider_port:
        link_real_provider(os.environ, paths)
    return sandbox_environment(os.environ, paths, secrets, server, find())


def link_real_provider(host: Mapping[str, str], paths: SandboxPaths) -> None:
    """Let the engine find the versions of pulumi-resource-aws that the host has, where it would download one."""
    plugins = paths.pulumi_home / "plugins"
    for link in plugins.glob("resource-aws-v*/pulumi-resource-*"):
        if not link.exists():  # the host has it no longer
            shutil.rmtree(link.parent)
    home = Path(host.get("PULUMI_HOME") or Path(host.get("HOME") or Path.home()) / ".pulumi")
    for plugin in home.glob("plugins/resource-aws-v*/pulumi-resource-aws"):
        link = plugins / plugin.parent.name / plugin.name
        # The engine leaves a file of this name beside a plugin that it has not finished to install.
        if not plugin.parent.with_name(f"{plugin.parent.name}.partial").exists() and not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(plugin)


def sandbox_environment(
    host: Mapping[str, str], paths: SandboxPaths, secrets: Secrets, server: ServerInfo, pulumi: Engine | None
) -> dict[str, str]:
    """The environment of a command in the sandbox, made from the host's.

    pulumi: the engine that `pulumi` starts in the sandbox; None leaves the command without one.
    """
    environment = isolated_environment(host, paths) | {
        FOLDER: str(paths.root),
        IN_SANDBOX: "1",
        PYTHON: sys.executable,
        "VIRTUAL_ENV": sys.prefix,
        "AWS_ENDPOINT_URL": server.endpoint_url,
        "AWS_ACCESS_KEY_ID": secrets.root_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secrets.root_secret_access_key,
        "AWS_REGION": DEFAULT_REGION,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_PAGER": "",
        "PULUMI_HOME": str(paths.pulumi_home),
        # The engine writes a state whole or not at all, but its companion file with gocloud's metadata in place: who
        # reads or is killed in between finds "failed to load checkpoint: EOF".
        "PULUMI_BACKEND_URL": f"{paths.state.as_uri()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(paths.passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # Each update would leave a copy of the state for good; this account can be made again.
        "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
    }
    if server.provider_port:
        environment["PULUMI_DEBUG_PROVIDERS"] = f"aws:{server.provider_port}"
        environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    if pulumi is not None:
        environment[ENGINE] = str(pulumi.pulumi)
    path = [str(BIN), *(pulumi.path if pulumi else []), os.path.dirname(sys.executable), host.get("PATH", os.defpath)]
    return environment | {"PATH": os.pathsep.join(path)}
