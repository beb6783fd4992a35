"""Isolation: what the user's machine is configured to do with AWS and Pulumi does not reach into the sandbox."""

from collections.abc import Mapping

from pulumi_sandbox.paths import SandboxPaths

_REMOVED = ("AWS_", "PULUMI_", "BOTO_", "MOTO_")
_LOOPBACK = "127.0.0.1,localhost,::1"


def isolated_environment(host: Mapping[str, str], paths: SandboxPaths) -> dict[str, str]:
    """The environment of any process of the sandbox: the host's without its settings, and with the sandbox's own files.

    The server runs in it too: boto3 in it would otherwise read the user's profiles and endpoints.
    """
    environment = {name: value for name, value in host.items() if not name.startswith(_REMOVED)}
    for name in ("NO_PROXY", "no_proxy"):  # a proxy would carry loopback traffic out of the machine
        environment[name] = ",".join(filter(None, (environment.get(name), _LOOPBACK)))
    return environment | {
        "AWS_CONFIG_FILE": str(paths.aws / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(paths.aws / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONDONTWRITEBYTECODE": "",  # where it is set, as in many containers, each run compiles all modules
    }
