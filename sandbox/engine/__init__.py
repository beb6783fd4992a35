"""The real Pulumi engine: found on this machine, installed, or built once.

- `find() -> Engine | None` looks only
- `ensure() -> Engine` finds, installs or builds; raises EngineError
- `environment(engine) -> dict[str, str]` is what makes `pulumi` be that engine in a child process
- `examine() -> list[Finding]` is for `make doctor`
"""

from sandbox.engine.locate import MINIMUM_VERSION, VERSION, Engine, EngineError, environment, find
from sandbox.engine.obtain import Finding, ensure, examine

__all__ = ["MINIMUM_VERSION", "VERSION", "Engine", "EngineError", "Finding", "ensure", "environment", "examine", "find"]
