"""The real Pulumi engine: found on this machine, installed, or built once.

- `find() -> Engine | None` only looks
- `ensure() -> Engine` finds, installs or builds; raises EngineError
- `diagnose() -> list[Check]` is for `pulumi-sandbox doctor`
"""

from pulumi_sandbox.engine.locate import VERSION, Engine, EngineError, find
from pulumi_sandbox.engine.provision import Check, diagnose, ensure

__all__ = ["VERSION", "Check", "Engine", "EngineError", "diagnose", "ensure", "find"]
