"""The walls: what the user's machine says about AWS and Pulumi stays outside the sandbox."""

from collections.abc import Mapping

from sandbox.folder import Folder

_TAKEN_OUT = ("AWS_", "PULUMI_", "BOTO_", "MOTO_")
_LOOPBACK = "127.0.0.1,localhost,::1"


def walled(outside: Mapping[str, str], folder: Folder) -> dict[str, str]:
    """The environment of any process of the sandbox: without the user's settings, and with the sandbox's own files.

    The server gets this much too: boto3 in it would otherwise read the user's profiles and endpoints.
    """
    environment = {name: value for name, value in outside.items() if not name.startswith(_TAKEN_OUT)}
    for name in ("NO_PROXY", "no_proxy"):  # a proxy would carry loopback traffic out of the machine
        environment[name] = ",".join(filter(None, (environment.get(name), _LOOPBACK)))
    return environment | {
        "AWS_CONFIG_FILE": str(folder.aws / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder.aws / "credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
