"""AWS on this machine: moto behind a layer that refuses what AWS refuses."""

from __future__ import annotations

from pathlib import Path

from sandbox.aws.authentication import Credentials
from sandbox.aws.gate import Gate
from sandbox.aws.server import HttpServer


def start(folder: Path, port: int = 0, *, root: Credentials) -> HttpServer:
    return HttpServer(Gate(root), port)
