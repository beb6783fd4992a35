"""The emulated provider makes the API calls that the real one was seen to make: provider_calls.json has them."""

import json
from pathlib import Path
from typing import Any

from aws_support import Strict
from provider_client import Connection, Made, connected

STEPS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("provider_calls.json").read_text())["steps"]


def test_the_calls_are_those_of_the_real_provider(strict: Strict, connection: Connection) -> None:
    made: dict[str, Made] = {}

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(part) for key, part in value.items()}
        return made[value[2:].split(".")[0]].id if isinstance(value, str) and value.startswith("${") else value

    differences: list[str] = []
    with connected(connection.port, region="us-east-1") as engine:
        for step in STEPS:
            inputs = filled(step.get("inputs"))
            strict.control.clear_calls()
            match step["do"]:
                case "create":
                    made[step["as"]] = engine.make(step["token"], inputs)
                case "update":
                    made[step["as"]].update(inputs)
                case "refresh":
                    made[step["as"]].refresh()
                case "import":
                    engine.find(step["token"], filled(step["id"]))
                case _:
                    made[step["as"]].delete()
            calls = [
                f"{call.service}:{call.action} {call.outcome}".removesuffix(" ok") for call in strict.control.calls()
            ]
            if calls != step.get("calls", calls):
                differences.append(f"{step} makes {calls}")
    assert not differences, "\n".join(differences)
    assert len(STEPS) > 100
