"""The operator's view of AWS for one run: questions that the Pulumi provider cannot answer, asked with AWS's SDK."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from aws_access_keys.iam import CALLER_ERRORS, LastUse, error_code, format_error, last_use, sdk_errors
from aws_access_keys.rules.leak import deny_name

if TYPE_CHECKING:
    import boto3

SessionFactory = Callable[[], "boto3.Session"]
"""Makes the boto3 session with the operator's credentials. Called only where AWS must be asked."""

MAX_WORKERS = 12  # questions at a time


class AwsQueryError(Exception):
    """AWS did not answer a question; the message has its reason."""

    def __init__(self, error: Exception) -> None:
        from botocore.exceptions import ClientError

        super().__init__(format_error(error))
        self.code = error_code(error) if isinstance(error, ClientError) else ""
        self.is_denied = self.code.startswith("AccessDenied")
        """Whether the identity running Pulumi lacks a permission."""
        self.is_about_caller = not isinstance(error, ClientError) or error_code(error) in CALLER_ERRORS
        """Whether AWS accepts no question at all, for want of credentials or of a connection."""
        self.hint: str | None = None
        """What to do about it, where that is known; else it is a permission."""

    def cure(self, permission: str) -> str:
        """What to do about it. permission: the one that the question needs."""
        if self.is_about_caller:
            return "Check the credentials that Pulumi uses: `aws sts get-caller-identity`."
        return self.hint or f"The identity running Pulumi needs {permission}."


class AccessKeyMetadata(NamedTuple):
    """An access key as ListAccessKeys describes it."""

    id: str
    active: bool
    created: datetime


class Account:
    """One client, made when first needed, and each question asked once. May be used from several threads.

    Every method raises AwsQueryError where AWS does not answer.
    """

    def __init__(self, session: SessionFactory) -> None:
        self._make_session = session
        self._session: Any = None
        self._lock = Lock()
        self._clients: dict[str, Any] = {}
        self._last_uses: dict[str, Any] = {}
        """Access key id → response of GetAccessKeyLastUsed."""
        self._users: dict[str, Any] = {}
        self._policies: dict[str, Any] = {}
        self._documents: dict[str, Any] = {}
        """ARN of a managed policy → its document, once it is known."""
        self._holders: dict[str, set[tuple[str, str]]] = {}
        self._keys: dict[str, list[AccessKeyMetadata]] = {}
        self._entities: dict[str, Mapping[str, str]] = {}
        self._no_users: set[str] = set()
        self._caller_lock = Lock()
        self._caller: str | None = None
        self.regions: Mapping[str, str] = {}
        """Service → region, where that is not the session's."""

    @property
    def region(self) -> str:
        """The region of parameters. Raises AwsQueryError."""
        return self.client("ssm").meta.region_name

    @property
    def session_region(self) -> str | None:
        """The region of the session; None where there is no session."""
        with suppress(AwsQueryError):
            return self.client("sts").meta.region_name
        return None

    def region_option(self, service: str) -> str:
        """What a command of the AWS CLI needs for a secret or parameter: the shell may be set to another region."""
        region = self.regions.get(service) or self.session_region
        return f" --region {region}" if region else ""

    def client(self, service: str, region: str | None = None) -> Any:
        """A boto3 client of a service, made once. region: None for the one in `regions`, or of the session."""
        region = region or self.regions.get(service)
        with self._lock:
            if service not in self._clients:
                retries = {"mode": "adaptive", "total_max_attempts": 8}
                self._clients[service] = self._new_client(service, retries, {}, region)
            return self._clients[service]

    def sts_client_of(self, key_id: str, secret: str) -> Any:
        """An STS client that signs with another access key.

        A session of its own would load botocore's data again, for every key.
        """
        key = {"aws_access_key_id": key_id, "aws_secret_access_key": secret}
        with self._lock:
            return self._new_client("sts", {"total_max_attempts": 3}, key)

    def _new_client(
        self, service: str, retries: Mapping[str, Any], credentials: Mapping[str, str], region: str | None = None
    ) -> Any:
        """A client of the operator's session, which is made once. To be called with the lock held."""
        from botocore.config import Config

        try:
            self._session = self._session or self._make_session()
            config = Config(max_pool_connections=MAX_WORKERS, retries=dict(retries))
            region = region or self._session.region_name or "us-east-1"
            return self._session.client(service, region_name=region, config=config, **credentials)
        except (*sdk_errors(), ValueError) as error:
            raise AwsQueryError(error) from None

    def last_use(self, key_id: str) -> LastUse | None:
        """When a key was last used; None for one that was never used or is gone."""
        response = self._last_used(key_id)
        return last_use(response) if response else None

    def owner(self, key_id: str) -> str | None:
        """The user whose key this is; None where AWS does not tell, as for a key that is gone."""
        with suppress(AwsQueryError):
            return self.certain_owner(key_id)
        return None

    def certain_owner(self, key_id: str) -> str | None:
        """The same; None also where the caller may not ask, as for a key of another account. Raises AwsQueryError for
        anything that a retry might answer."""
        try:
            response = self._last_used(key_id)
        except AwsQueryError as error:
            if error.is_denied or error.code == "ValidationError":  # what looks like a key's id is none
                return None
            raise
        return response and response.get("UserName")

    def _last_used(self, key_id: str) -> Any:
        if key_id not in self._last_uses:
            self._last_uses[key_id] = self.ask("iam", "get_access_key_last_used", AccessKeyId=key_id)
        return self._last_uses[key_id]

    def list_access_keys(self, user: str) -> list[AccessKeyMetadata]:
        """The access keys that IAM has of a user; none where there is no such user."""
        if user not in self._keys:
            self._keys[user] = self.list_access_keys_now(user)
        return self._keys[user]

    def is_active(self, user: str, key_id: str) -> bool:
        """Whether IAM has an access key of a user, and it is active."""
        return any(key.id == key_id and key.active for key in self.list_access_keys(user))

    def is_unlisted(self, user: str, key_id: str) -> bool:
        """Whether IAM has a key of a user that it does not list: ListAccessKeys can be some seconds behind.

        What AWS answers of a key that is gone cannot be told from a missing permission. Raises AwsQueryError otherwise.
        """
        if any(key.id == key_id for key in self.list_access_keys(user)):
            return False
        try:
            response = self._last_used(key_id)
        except AwsQueryError as error:
            if error.is_denied:
                return False
            raise
        return bool(response) and response.get("UserName") == user

    def has_user(self, user: str) -> bool:
        """Whether IAM has a user."""
        self.list_access_keys(user)
        return user not in self._no_users

    def list_access_keys_now(self, user: str | None) -> list[AccessKeyMetadata]:
        """The same, asked again: this run has created a key. user: None for the caller's own, as root has them."""
        of_user = {"UserName": user} if user else {}
        response: dict[str, Any] | None = self.ask("iam", "list_access_keys", **of_user)
        if user and response is None:
            self._no_users.add(user)
        listed: list[dict[str, Any]] = response["AccessKeyMetadata"] if response else []
        return [
            AccessKeyMetadata(found["AccessKeyId"], found["Status"] == "Active", found["CreateDate"])
            for found in listed
        ]

    def entities(self, kind: str) -> Mapping[str, str]:
        """Name → ARN of all users (`kind` is `user`), groups (`group`) or customer managed policies (`policy`)."""
        if kind not in self._entities:
            self._entities[kind] = self._list_entities(kind)
        return self._entities[kind]

    def _list_entities(self, kind: str) -> dict[str, str]:
        kinds, scope = ("policies", {"Scope": "Local"}) if kind == "policy" else (f"{kind}s", {})
        pages = self._pages(f"list_{kinds}", **scope)
        listed = [entity for page in pages for entity in page[kinds.capitalize()]]
        return {entity[f"{kind.capitalize()}Name"]: entity["Arn"] for entity in listed}

    def _pages(self, operation: str, **parameters: str) -> Iterator[dict[str, Any]]:
        """The pages of a list that IAM has; none where it has no such entity."""
        marker: dict[str, str] = {}
        while response := self.ask("iam", operation, MaxItems=1000, **parameters, **marker):
            yield response
            if not response.get("IsTruncated"):
                return
            marker = {"Marker": response["Marker"]}

    def policy_document(self, arn: str) -> Mapping[str, Any] | None:
        """The document of a managed policy's default version; None where there is no such policy."""
        if arn not in self._documents:
            policy = self.policy(arn)
            version = policy and policy["DefaultVersionId"]
            found = version and self.ask("iam", "get_policy_version", PolicyArn=arn, VersionId=version)
            self._documents[arn] = found["PolicyVersion"]["Document"] if found else None
        return self._documents[arn]

    def has_leaked(self, user: str, key_id: str) -> bool:
        """Whether `access-keys leak` recorded that a key has leaked."""
        return self.ask("iam", "get_user_policy", UserName=user, PolicyName=deny_name(key_id)) is not None

    def policy(self, arn: str) -> Mapping[str, Any] | None:
        """A managed policy as GetPolicy describes it; None where there is no such policy."""
        if arn not in self._policies:
            response: dict[str, Any] | None = self.ask("iam", "get_policy", PolicyArn=arn)
            self._policies[arn] = response and response["Policy"]
        return self._policies[arn]

    def holders(self, policy: str) -> set[tuple[str, str]]:
        """`user` or `group`, and the name, of each user and group to which a managed policy (ARN) is attached."""
        if policy not in self._holders:
            pages = list(self._pages("list_entities_for_policy", PolicyArn=policy))
            users = {("user", str(one["UserName"])) for page in pages for one in page["PolicyUsers"]}
            self._holders[policy] = users | {
                ("group", str(one["GroupName"])) for page in pages for one in page["PolicyGroups"]
            }
        return self._holders[policy]

    def user(self, name: str) -> Mapping[str, Any] | None:
        """A user as GetUser describes it; None where there is no such user."""
        if name not in self._users:
            response: dict[str, Any] | None = self.ask("iam", "get_user", UserName=name)
            self._users[name] = response and response["User"]
        return self._users[name]

    def parameters(self, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Those of the parameters that there are, as DescribeParameters describes them. It takes up to 50 names."""
        found: list[Mapping[str, Any]] = []
        for some in range(0, len(names), 50):
            named = [{"Key": "Name", "Option": "Equals", "Values": list(names[some : some + 50])}]
            more: dict[str, Any] = {}
            while page := self.ask("ssm", "describe_parameters", ParameterFilters=named, MaxResults=50, **more):
                found += page["Parameters"]
                if not (token := page.get("NextToken")):  # a page can be empty and not the last one
                    break
                more = {"NextToken": token}
        return {one["Name"]: one for one in found}

    def groups_of(self, user: str) -> set[str]:
        """The names of all groups that a user is in; none where there is no such user."""
        pages = self._pages("list_groups_for_user", UserName=user)
        return {str(group["GroupName"]) for page in pages for group in page["Groups"]}

    def attached_policies(self, kind: str, name: str) -> list[str]:
        """The ARNs of the managed policies of a `user` or `group`; none where there is no such one."""
        pages = self._pages(f"list_attached_{kind}_policies", **{f"{kind.capitalize()}Name": name})
        return [str(policy["PolicyArn"]) for page in pages for policy in page["AttachedPolicies"]]

    def publish(self, topic: str, subject: str, message: str, attributes: Mapping[str, str]) -> None:
        """Publish a message to an SNS topic (ARN), in the topic's region."""
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        service, region = topic.split(":")[2:4]
        self.ask(service, "publish", region, TopicArn=topic, Subject=subject, Message=message, MessageAttributes=typed)

    def tag_user(self, user: str, tags: Mapping[str, str], remove: Sequence[str]) -> None:
        """Put tags on a user, and remove others."""
        if remove:
            self.ask("iam", "untag_user", UserName=user, TagKeys=remove)
        if tags:
            self.ask("iam", "tag_user", UserName=user, Tags=[{"Key": key, "Value": tags[key]} for key in tags])

    def ask(self, service: str, operation: str, region: str | None = None, /, **parameters: Any) -> Any:
        """The response of an operation; None where AWS has no such entity."""
        from botocore.exceptions import ClientError

        try:
            return getattr(self.client(service, region), operation)(**parameters)
        except sdk_errors() as error:
            if isinstance(error, ClientError) and error_code(error) == "NoSuchEntity":
                return None
            raise AwsQueryError(error) from None

    @property
    def caller_account(self) -> str | None:
        """The account of the credentials, asked once; None if STS, which needs no permission, does not answer."""
        with self._caller_lock:
            if self._caller is None:
                with suppress(AwsQueryError):
                    self._caller = self.ask("sts", "get_caller_identity")["Account"]
            return self._caller

    def check_account(self, expected: str) -> None:
        """Raise RunError if the credentials are for another account than that of the stack's users. There, IAM has none
        of them, which counts as deleted, and the provider would change what has the same names.

        If STS does not answer, nothing is raised.
        """
        if self.caller_account not in (None, expected):
            import pulumi  # not needed, and slow to load, for the operators' commands

            raise pulumi.RunError(
                f"the users of this stack are in the AWS account {expected}, but the credentials are for "
                f"{self._caller}. Use credentials for {expected}, or, for a component with a provider of its own, "
                "give it a session for that account. With these, `pulumi refresh` would drop every user and key from "
                "the state. aws:allowedAccountIds in the stack file refuses other accounts."
            )
