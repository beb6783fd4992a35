"""The sandbox's background process: AWS and the emulated provider, on loopback, until SIGTERM.

Started by process.py; `pulumi-sandbox start` is the command for people.
"""

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from pulumi_sandbox.aws import settings
from pulumi_sandbox.paths import SandboxPaths, prepare, write_private
from pulumi_sandbox.process import ServerInfo

CHECK_INTERVAL = 2.0  # seconds


def main() -> None:
    """Hold the folder's lock, serve, say where in `server.json`, and take that file away at the end."""
    from pulumi_sandbox.aws.emulator import AwsEmulator
    from pulumi_sandbox.credentials import Credentials  # slow to import, and cli.py imports this module

    parser = add_arguments(argparse.ArgumentParser(prog="pulumi_sandbox.daemon"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    paths = SandboxPaths(arguments.folder)
    secrets = prepare(paths)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")

    with paths.lock.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"Another sandbox uses this folder. To end it: kill {paths.lock.read_text().strip()}")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        root = Credentials(secrets.root_access_key_id, secrets.root_secret_access_key)
        try:
            account = AwsEmulator(
                paths.account,
                arguments.port,
                settings.from_args(arguments),
                root=root,
                token=secrets.control_token,
                state_key=secrets.account_key,
            )
        except settings.SettingError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(f"Port {arguments.port} cannot be used: {error}. Choose another; without --port, any free one is.")
        try:
            provider = None
            if not arguments.real_provider:
                from pulumi_sandbox.provider.server import serve

                provider = serve(account.endpoint_url, root)
            server = ServerInfo(
                pid=os.getpid(),
                endpoint_url=account.endpoint_url,
                plain_endpoint_url=account.plain_endpoint_url,
                provider_port=provider.port if provider else 0,
                started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                options=sys.argv[2:],
                notice=account.notice or "",
            )
            write_private(paths.server, json.dumps(vars(server)))
            while not stopped.wait(CHECK_INTERVAL) and _is_ours(paths.lock, lock):
                pass
            if provider is not None:
                provider.stop()
        finally:
            paths.server.unlink(missing_ok=True)
            account.stop()


def _is_ours(path: Path, lock: IO[str]) -> bool:
    """Whether the folder still exists: if somebody deleted it, nobody could stop this process any more."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except OSError:
        return False


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The settings of a sandbox, for this process and for `pulumi-sandbox start --help`."""
    parser.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="port of the AWS endpoint (default: any free one)"
    )
    parser.add_argument(
        "--real-provider",
        action="store_true",
        help="use the real pulumi-resource-aws, as installed or downloaded, instead of the emulated provider",
    )
    settings.add_arguments(parser)
    return parser


def _port(text: str) -> int:
    port = int(text) if text.isdecimal() else -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port. Choose one from 1 to 65535, or 0 for any free one.")
    return port


if __name__ == "__main__":
    main()
