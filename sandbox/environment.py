"""The environment in which a command runs inside the sandbox.

Nothing is written outside the sandbox's folder, and nothing outside it points here.
"""

import os
import sys
from collections.abc import Mapping

from sandbox import engine
from sandbox.folder import CHECKOUT, INSIDE, VARIABLE, Folder, Secrets
from sandbox.server import Running
from sandbox.walls import walled

PYTHON = "ACCESS_KEYS_SANDBOX_PYTHON"
ENGINE = "ACCESS_KEYS_SANDBOX_ENGINE"
DEFAULT_REGION = "us-east-1"


def inside(
    outside: Mapping[str, str], folder: Folder, secrets: Secrets, running: Running, pulumi: engine.Engine | None
) -> dict[str, str]:
    """The environment of a command in the sandbox, made from the one outside.

    pulumi: the engine that `pulumi` means inside; None leaves the command without one.
    """
    environment = walled(outside, folder) | {
        VARIABLE: str(folder.root),
        INSIDE: "1",
        PYTHON: sys.executable,
        "VIRTUAL_ENV": sys.prefix,
        "AWS_ENDPOINT_URL": running.endpoint_url,
        "AWS_ACCESS_KEY_ID": secrets.root_access_key_id,
        "AWS_SECRET_ACCESS_KEY": secrets.root_secret_access_key,
        "AWS_REGION": DEFAULT_REGION,
        "AWS_DEFAULT_REGION": DEFAULT_REGION,
        "AWS_PAGER": "",
        "PULUMI_HOME": str(folder.pulumi_home),
        "PULUMI_BACKEND_URL": folder.state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder.passphrase),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # Each update would leave a copy of the state for good; this account can be made again.
        "PULUMI_DIY_BACKEND_DISABLE_CHECKPOINT_BACKUPS": "true",
    }
    if not running.real_plugin:
        environment["PULUMI_DEBUG_PROVIDERS"] = f"aws:{running.provider_port}"
        environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] = "true"
    path = [str(CHECKOUT / "sandbox" / "bin"), os.path.dirname(sys.executable), outside.get("PATH", os.defpath)]
    if pulumi is not None:
        environment |= engine.environment(pulumi)
        environment[ENGINE] = str(pulumi.pulumi)
        if pulumi.language_host:
            path.insert(1, str(pulumi.language_host))
    environment["PATH"] = os.pathsep.join(path)
    return environment
