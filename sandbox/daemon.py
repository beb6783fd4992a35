"""The sandbox's background process: AWS and the stand-in provider, on loopback, until SIGTERM.

Started by sandbox/server.py; `python -m sandbox start` is the command for people.
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

from sandbox import aws
from sandbox.aws import Credentials
from sandbox.aws import options as aws_options
from sandbox.folder import Folder, prepare, write_private
from sandbox.server import Running


def main() -> None:
    """Hold the folder's lock, serve, say where in `server.json`, and take that file away at the end."""
    parser = add_arguments(argparse.ArgumentParser(prog="sandbox.daemon"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    folder = Folder(arguments.folder)
    secrets = prepare(folder)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")

    with folder.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("Another sandbox uses this folder.")
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        signal.signal(signal.SIGINT, lambda *_: stopped.set())
        root = Credentials(secrets.root_access_key_id, secrets.root_secret_access_key)
        try:
            account = aws.start(
                folder.account,
                arguments.port,
                aws_options.from_args(arguments),
                root=root,
                token=secrets.control_token,
                state_key=secrets.account_key,
            )
        except aws_options.OptionError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(f"Port {arguments.port} cannot be used: {error}. Choose another, or none for any free one.")
        try:
            provider_port = 0
            provider = None
            if not arguments.real_plugin:
                from sandbox.provider import serve

                provider = serve(account.endpoint_url, root.access_key_id, root.secret_access_key)
                provider_port = provider.port
            running = Running(
                pid=os.getpid(),
                endpoint_url=account.endpoint_url,
                provider_port=provider_port,
                started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                real_plugin=arguments.real_plugin,
                options=sys.argv[2:],
                notice=account.notice or "",
            )
            write_private(folder.server, json.dumps(vars(running)))
            stopped.wait()
            if provider is not None:
                provider.stop()
        finally:
            folder.server.unlink(missing_ok=True)
            account.stop()


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The settings of a sandbox, for this process and for `python -m sandbox start --help`."""
    parser.add_argument("--port", type=int, default=0, help="port of the AWS endpoint (default: any free one)")
    parser.add_argument(
        "--real-plugin",
        action="store_true",
        help="use the real pulumi-resource-aws plugin, which the engine downloads, instead of the stand-in",
    )
    aws_options.add_arguments(parser)
    return parser


if __name__ == "__main__":
    main()
