"""Checks the parameters of requests against botocore's own service models, as AWS does before anything else.

For IAM and STS all violations come in one ValidationError. The words are those seen on AWS in 2025 and 2026: IAM no
longer repeats the offending value, STS does; the patterns of names, paths, documents and access key ids have sentences
of their own. Of the JSON services' requests, the form, the required members and the types are checked.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from botocore.validate import ParamValidator

from pulumi_sandbox.aws.request import JSON, PROTOCOLS, ApiRequest
from pulumi_sandbox.aws.response import AwsError

CHECKED_SERVICES = ("iam", "sts")

_NAME = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
_PATH = "It must begin and end with / and contain only alphanumeric characters and/or / characters."
# IAM's own sentence where a value of this type does not match its pattern.
SENTENCES = {
    "userNameType": _NAME,
    "existingUserNameType": _NAME,
    "groupNameType": _NAME,
    "roleNameType": _NAME,
    "policyNameType": _NAME,
    "instanceProfileNameType": _NAME,
    "pathType": _PATH,
    "policyPathType": _PATH,
    "policyDocumentType": "It must contain only printable ASCII characters.",
    "accessKeyIdType": "It must contain only alphanumeric characters.",
}

# What Java's \p{L}, \p{N}, \p{Z} are in Python's regular expressions: \w (with Unicode) is L, N and "_", which stands
# in the same character class wherever these are used; \p{Z} is the separators, listed.
_SEPARATORS = "\\u0020\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"


def validate(request: ApiRequest) -> None:
    """Raise AwsError in AWS's words for what the service's model does not allow; fill `request.parameters`."""
    if request.service in CHECKED_SERVICES:
        request.parameters = parameters(request.service, request.action or "", request.form)
    elif request.service in PROTOCOLS and request.protocol == JSON:
        request.parameters = json_parameters(request.service, request.action, request.body)


def parameters(service: str, action: str, form: dict[str, str]) -> dict[str, Any]:
    """A query request's parameters by their names in the model. Raises AwsError: ValidationError, or InvalidAction for
    an action that the service does not have."""
    operation = _operation(service, action)
    if operation is None:
        version = form.get("Version", "")
        raise AwsError("InvalidAction", f"Could not find operation {action} for version {version}")
    if operation.input_shape is None:
        return {}
    reader = _Reader(service, form)
    content = reader.structure(operation.input_shape, "", "")
    if reader.violations:
        raise AwsError("ValidationError", _sentence(reader.violations))
    return content


def json_parameters(service: str, action: str | None, body: bytes) -> dict[str, Any]:
    """The same for a JSON service. Raises AwsError: SerializationException, ValidationException or
    UnknownOperationException."""
    operation = _operation(service, action or "")
    if operation is None:
        raise AwsError("UnknownOperationException", f"There is no operation {action or 'named'}.", 400)
    try:
        content: Any = json.loads(body or b"{}")
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise AwsError("SerializationException", "The request body is not a JSON object.", 400)
    shape = operation.input_shape
    if shape is None:
        return content
    absent = [name for name in shape.required_members if content.get(name) is None]
    if absent:
        nulls = [
            f"Value null at '{name[0].lower()}{name[1:]}' failed to satisfy constraint: Member must not be null"
            for name in absent
        ]
        raise AwsError("ValidationException", _sentence(nulls), 400)
    known = {name: value for name, value in content.items() if name in shape.members and value is not None}
    errors = ParamValidator().validate(known, shape)
    if errors.has_errors():
        raise AwsError("SerializationException", errors.generate_report(), 400)
    return content


@lru_cache(maxsize=512)
def _operation(service: str, action: str) -> Any:
    from moto.core.utils import get_service_model

    model: Any = get_service_model(service)
    return model.operation_model(action) if action in model.operation_names else None


def _sentence(violations: list[str]) -> str:
    if len(violations) == 1 and violations[0].startswith("The specified value"):
        return violations[0]
    errors = "error" if len(violations) == 1 else "errors"
    return f"{len(violations)} validation {errors} detected: {'; '.join(violations)}"


@lru_cache(maxsize=256)
def _pattern(java: str) -> re.Pattern[str]:
    if "\\p{" in java:
        python = java.replace("\\p{L}", "\\w").replace("\\p{N}", "\\w").replace("\\p{Z}", _SEPARATORS)
        return re.compile(python)
    # UTF-16 halves in one model pattern; Python counts code points.
    python = java.replace("\\u10000-\\u10FFFF", "\\U00010000-\\U0010FFFF")
    return re.compile(python, re.ASCII)


class _Reader:
    """Reads query parameters (Tags.member.1.Key=…) by the model and notes every violation on the way."""

    def __init__(self, service: str, form: dict[str, str]) -> None:
        self._echo = service == "sts"
        self._form = form
        self._prefixes = {name[:end] for name in form for end in _ends(name)}
        self.violations: list[str] = []

    def structure(self, shape: Any, prefix: str, path: str) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for name, member in shape.members.items():
            key = prefix + member.serialization.get("name", name)
            where = path + name[0].lower() + name[1:]
            if key in self._prefixes:
                content[name] = self._value(member, key, where)
            elif name in shape.required_members:
                self._violation(member, None, where, "Member must not be null")
        return content

    def _value(self, shape: Any, key: str, where: str) -> Any:
        if shape.type_name == "structure":
            return self.structure(shape, f"{key}.", f"{where}.")
        if shape.type_name == "list":
            return self._list(shape, key, where)
        text = self._form.get(key, "")
        if shape.type_name == "integer":
            return self._integer(shape, text, where)
        if shape.type_name == "string":
            for constraint in _broken(shape, text):
                self._violation(shape, text, where, constraint)
        if shape.type_name == "boolean":
            return text.lower() == "true"
        return text

    def _list(self, shape: Any, key: str, where: str) -> list[Any]:
        count = 0
        while f"{key}.member.{count + 1}" in self._prefixes:
            count += 1
        for constraint in _length(shape, count):
            self._violation(shape, "[]", where, constraint)
        keys = [f"{key}.member.{number}" for number in range(1, count + 1)]
        if shape.member.type_name == "string":
            texts = [self._form.get(name, "") for name in keys]
            if any(_broken(shape.member, text) for text in texts):
                everything = ", ".join([*_constraints(shape.member), "Member must not be null"])
                value = f"[{', '.join(texts)}]"
                self._violation(shape, value, where, f"Member must satisfy constraint: [{everything}]")
            return texts
        return [self._value(shape.member, name, f"{where}.{number}.member") for number, name in enumerate(keys, 1)]

    def _integer(self, shape: Any, text: str, where: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", text):
            raise AwsError("MalformedInput", f"The value of {where} is not a whole number.")
        number, low, high = int(text), shape.metadata.get("min"), shape.metadata.get("max")
        if high is not None and number > high:
            self._violation(shape, text, where, f"Member must have value less than or equal to {high}")
        if low is not None and number < low:
            self._violation(shape, text, where, f"Member must have value greater than or equal to {low}")
        return number

    def _violation(self, shape: Any, value: str | None, where: str, constraint: str) -> None:
        own = SENTENCES.get(shape.name) if constraint.startswith("Member must satisfy regular") else None
        if own and not self._echo:
            self.violations.append(f"The specified value for {where} is invalid. {own}")
            return
        shown = " null" if value is None else f" '{value}'"
        shown = shown if self._echo and not shape.metadata.get("sensitive") else ""
        self.violations.append(f"Value{shown} at '{where}' failed to satisfy constraint: {constraint}")


def _ends(name: str) -> list[int]:
    return [index for index, letter in enumerate(name) if letter == "."] + [len(name)]


def _broken(shape: Any, text: str) -> list[str]:
    """The constraints of a string that `text` does not satisfy."""
    broken = _length(shape, len(text))
    pattern = shape.metadata.get("pattern")
    if pattern and not _pattern(pattern).fullmatch(text):
        broken.append(f"Member must satisfy regular expression pattern: {pattern}")
    if "enum" in shape.metadata and text not in shape.metadata["enum"]:
        broken.append("Member must satisfy enum value set")
    return broken


def _length(shape: Any, length: int) -> list[str]:
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if high is not None and length > high:
        return [f"Member must have length less than or equal to {high}"]
    if low is not None and length < low:
        return [f"Member must have length greater than or equal to {low}"]
    return []


def _constraints(shape: Any) -> list[str]:
    """All constraints of a string, in the order in which AWS lists them for the members of a list."""
    known: list[str] = []
    if "max" in shape.metadata:
        known.append(f"Member must have length less than or equal to {shape.metadata['max']}")
    if "min" in shape.metadata:
        known.append(f"Member must have length greater than or equal to {shape.metadata['min']}")
    if "pattern" in shape.metadata:
        known.append(f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}")
    return known
