"""Calls to AWS: boto3 clients that reach the given endpoint and nothing else, and AWS's errors in one line."""

import threading
from dataclasses import dataclass, replace
from typing import Any

import boto3
import botocore
import botocore.session
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError

from pulumi_sandbox.credentials import Credentials
from pulumi_sandbox.provider.tags import TagSettings
from pulumi_sandbox.provider.values import ProviderError

# What AWS's services say when a thing is not there.
NOT_FOUND_CODES = frozenset(
    {
        "NoSuchEntity",
        "ResourceNotFoundException",
        "NotFoundException",
        "ParameterNotFound",
        "NoSuchBucket",
        "404",
        # of settings of a bucket
        "NoSuchPublicAccessBlockConfiguration",
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)

_CONFIG = Config(
    proxies={},  # never the proxies of the environment
    max_pool_connections=64,
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 8},  # half a minute at worst
    s3={"addressing_style": "path"},
    parameter_validation=False,  # AWS judges, in its own words
)


@dataclass(frozen=True)
class RegionInfo:
    """A region's partition (aws, aws-cn...), the partition's domain and the region's name in words."""

    partition: str
    dns_suffix: str
    description: str


class Endpoint:
    """The one address all calls go to, with the clients made so far. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, Credentials], Any] = {}
        # Every session variable keeps its default: neither environment nor config files are asked.
        isolated = {
            name: (None, None, default, convert)
            for name, (_, _, default, convert) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()
        }
        isolated |= dict.fromkeys(("config_file", "credentials_file"), (None, None, "", None))
        session = botocore.session.Session(session_vars=isolated)
        self._partitions = session.get_data("endpoints")["partitions"]
        self._session = boto3.Session(botocore_session=session)

    def client(self, service: str, region: str, credentials: Credentials) -> Any:
        """The boto3 client for a service; boto3 clients are thread-safe, making them is not."""
        key = (service, region, credentials)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._session.client(
                    service,
                    region_name=region,
                    endpoint_url=self.url,
                    config=_CONFIG,
                    aws_access_key_id=credentials.access_key_id,
                    aws_secret_access_key=credentials.secret_access_key,
                    aws_session_token=credentials.session_token,
                )
            return self._clients[key]

    def region_info(self, region: str) -> RegionInfo:
        """Where a region lies, from botocore's own list; ProviderError if AWS has no such region."""
        for partition in self._partitions:
            if found := partition["regions"].get(region):
                return RegionInfo(partition["partition"], partition["dnsSuffix"], found["description"])
        raise ProviderError(f"AWS has no region {region!r}, as far as botocore {botocore.__version__} knows")


@dataclass(frozen=True)
class Aws:
    """AWS as one configured provider sees it: an endpoint, a key, a region and the settings for tags."""

    endpoint: Endpoint
    credentials: Credentials
    region: str
    tagging: TagSettings

    def in_region(self, region: str | None) -> "Aws":
        """The same in another region, for resources that choose their own; None changes nothing."""
        return self if region in (None, self.region) else replace(self, region=region)

    def client(self, service: str) -> Any:
        return self.endpoint.client(service, self.region, self.credentials)

    @property
    def iam(self) -> Any:
        return self.client("iam")

    @property
    def sts(self) -> Any:
        return self.client("sts")

    @property
    def partition(self) -> str:
        return self.endpoint.region_info(self.region).partition


def is_gone(error: ClientError) -> bool:
    """Whether AWS responds that the thing asked for does not exist."""
    return error.response["Error"]["Code"] in NOT_FOUND_CODES


def format_error(error: ClientError | BotoCoreError, endpoint: str) -> str:
    """One line: the operation, AWS's error code and its message."""
    if isinstance(error, ClientError):
        details = error.response["Error"]
        message = " ".join(details.get("Message", "").split())
        return f"{error.operation_name} failed: {details['Code']}: {message or 'no message'}"
    if isinstance(error, ConnectionError | HTTPClientError):
        return (
            f"nothing responds at {endpoint}, where the sandbox's AWS should be ({type(error).__name__}); "
            "start it with `pulumi-sandbox start`"
        )
    return f"the AWS SDK refused the request: {error}"


def all_pages(client: Any, operation: str, key: str, **arguments: Any) -> list[Any]:
    """The items under ``key`` of every page of a listing."""
    return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page.get(key, [])]
