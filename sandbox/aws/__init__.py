"""AWS on this machine: moto behind a layer that refuses what AWS refuses.

`start` runs it, `options` are its settings, `control.Control` steers it while it runs, `calls` reads its call log.
"""

from __future__ import annotations

from sandbox.aws.authentication import Credentials
from sandbox.aws.options import Options
from sandbox.aws.server import AwsServer, start

__all__ = ["AwsServer", "Credentials", "Options", "start"]
