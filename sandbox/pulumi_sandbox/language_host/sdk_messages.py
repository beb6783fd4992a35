"""The protobuf modules of the Pulumi SDK, without the SDK around them.

Importing `pulumi` takes a second, and every `pulumi` command waits for its language host. The protobuf modules alone
take a third of that: they are reached through empty modules in place of the packages around them. A process that
imports this module cannot use the SDK itself.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi.runtime.proto import analyzer_pb2 as analyzer
    from pulumi.runtime.proto import language_pb2 as language
    from pulumi.runtime.proto import language_pb2_grpc as services
    from pulumi.runtime.proto.plugin_pb2 import PluginInfo
else:
    folder = Path(str(importlib.metadata.distribution("pulumi").locate_file("pulumi")))
    for name in ("pulumi", "pulumi.runtime", "pulumi.runtime.proto"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
    analyzer = importlib.import_module("pulumi.runtime.proto.analyzer_pb2")
    language = importlib.import_module("pulumi.runtime.proto.language_pb2")
    services = importlib.import_module("pulumi.runtime.proto.language_pb2_grpc")
    PluginInfo = importlib.import_module("pulumi.runtime.proto.plugin_pb2").PluginInfo

__all__ = ["PluginInfo", "analyzer", "language", "services"]
