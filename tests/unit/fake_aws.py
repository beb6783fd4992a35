"""AWS as the component's own questions see it, without a network: boto3's session and every client in one."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

CREATED = datetime(2026, 11, 1, tzinfo=timezone.utc)
USED = datetime(2026, 11, 23, 8, 0, tzinfo=timezone.utc)


def aws_error(code: str, operation: str = "Operation") -> ClientError:
    """AWS's answer to a request that it refuses."""
    return ClientError({"Error": {"Code": code, "Message": f"{code} it is"}}, operation)


class FakeAws:
    """Answers from what a test puts into it, and counts the questions."""

    region_name = "ap-northeast-2"
    meta = SimpleNamespace(region_name=region_name)

    def __init__(self) -> None:
        self.keys: dict[str, list[str]] = {}
        """User → ids of the access keys that IAM has; those in `inactive` are inactive."""
        self.inactive: set[str] = set()
        self.unlisted: set[str] = set()
        """Those of the keys that ListAccessKeys does not have yet."""
        self.created = CREATED
        self.created_on: dict[str, datetime] = {}
        """Access key id → when it was created, if not then."""
        self.used: dict[str, datetime] = {}
        """Access key id → last use, of the service `service`."""
        self.service = "s3"
        self.groups: list[str] = []
        self.policies: list[str] = []
        self.missing_policies: set[str] = set()
        """ARNs."""
        self.buckets: set[str] = set()
        self.users: dict[str, Mapping[str, Any]] = {}
        """User → what GetUser adds to the path `/`."""
        self.kms_keys: dict[str, str] = {}
        """KMS key → its state."""
        self.attached: dict[str, Any] = {}
        """Operation about one user → its response; no such entity for those that are not here."""
        self.caller = "arn:aws:iam::123456789012:root"
        self.role: str | None = None
        """ARN of the role that GetRole finds."""
        self.denied: set[str] = set()
        """Actions that the simulator denies."""
        self.errors: dict[str, Exception] = {}
        """Operation, as boto3 names it → what it raises."""
        self.asked: Counter[str] = Counter()

    def client(self, _service: str, **_: Any) -> "FakeAws":
        return self

    def _count(self, operation: str) -> None:
        self.asked[operation] += 1
        if operation in self.errors:
            raise self.errors[operation]

    def get_caller_identity(self) -> dict[str, Any]:
        self._count("get_caller_identity")
        return {"Arn": self.caller, "Account": "123456789012"}

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803
        self._count("get_role")
        return {"Role": {"RoleName": RoleName, "Arn": self.role}}

    def simulate_principal_policy(self, **given: Any) -> dict[str, Any]:
        """Decides by the action alone, and gives one result a page."""
        self._count("simulate_principal_policy")
        number = int(given.get("Marker", 0))
        action = given["ActionNames"][number]
        decision = "implicitDeny" if action in self.denied else "allowed"
        result: dict[str, Any] = {"EvalActionName": action, "EvalResourceName": "*", "EvalDecision": decision}
        if given["ResourceArns"] != ["*"]:
            result["ResourceSpecificResults"] = [
                {"EvalResourceName": arn, "EvalResourceDecision": decision} for arn in given["ResourceArns"]
            ]
        more = {"IsTruncated": True, "Marker": str(number + 1)} if number + 1 < len(given["ActionNames"]) else {}
        return {"EvaluationResults": [result], **more}

    def list_access_keys(self, UserName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("list_access_keys")
        if UserName not in self.keys:
            raise aws_error("NoSuchEntity")
        return {
            "AccessKeyMetadata": [
                {
                    "AccessKeyId": key,
                    "Status": "Inactive" if key in self.inactive else "Active",
                    "CreateDate": self.created_on.get(key, self.created),
                }
                for key in self.keys[UserName]
                if key not in self.unlisted
            ]
        }

    def get_access_key_last_used(self, AccessKeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("get_access_key_last_used")
        on = self.used.get(AccessKeyId)
        return {
            "UserName": next((user for user, keys in self.keys.items() if AccessKeyId in keys), None),
            "AccessKeyLastUsed": {"LastUsedDate": on, "ServiceName": self.service, "Region": "us-east-1"} if on else {},
        }

    def list_users(self, **_: Any) -> dict[str, Any]:
        self._count("list_users")
        return {
            "Users": [
                {"UserName": name, "Arn": f"arn:aws:iam::123456789012:user/{name}"}
                for name in {**self.users, **self.keys}
            ]
        }

    def list_groups(self, **_: Any) -> dict[str, Any]:
        self._count("list_groups")
        return {
            "Groups": [{"GroupName": name, "Arn": f"arn:aws:iam::123456789012:group/{name}"} for name in self.groups]
        }

    def list_policies(self, Scope: str, **_: Any) -> dict[str, Any]:  # noqa: N803 - boto3's name
        assert Scope == "Local", "AWS's own policies are of no interest, and there are more than a thousand"
        self._count("list_policies")
        return {
            "Policies": [
                {"PolicyName": name, "Arn": f"arn:aws:iam::123456789012:policy/{name}"} for name in self.policies
            ]
        }

    def get_user(self, UserName: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("get_user")
        if UserName not in self.users:
            raise aws_error("NoSuchEntity")
        return {"User": {"UserName": UserName, "Path": "/", **self.users[UserName]}}

    def get_policy(self, PolicyArn: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("get_policy")
        if PolicyArn in self.missing_policies:
            raise aws_error("NoSuchEntity")
        return {"Policy": {"Arn": PolicyArn, "DefaultVersionId": "v1"}}

    def head_bucket(self, Bucket: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("head_bucket")
        if Bucket not in self.buckets:
            raise aws_error("404")
        return {}

    def describe_key(self, KeyId: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self._count("describe_key")
        if KeyId not in self.kms_keys:
            raise aws_error("NotFoundException")
        return {"KeyMetadata": {"KeyState": self.kms_keys[KeyId]}}

    def describe_parameters(self, **_: Any) -> dict[str, Any]:
        self._count("describe_parameters")
        return {"Parameters": []}

    def __getattr__(self, operation: str) -> Any:
        def answer(**_: Any) -> Any:
            self._count(operation)
            if operation not in self.attached:
                raise aws_error("NoSuchEntity")
            return self.attached[operation]

        if not operation.startswith(("get_", "list_")):
            raise AttributeError(operation)
        return answer
