"""What the tests of the sandbox's AWS share: a strict AWS in this process, a plain moto beside it, signed requests."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import botocore.session
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as SigningCredentials
from botocore.exceptions import ClientError
from cryptography.fernet import Fernet
from pulumi_sandbox.aws.control import Control
from pulumi_sandbox.aws.emulator import AwsEmulator
from pulumi_sandbox.aws.settings import Settings
from pulumi_sandbox.credentials import Credentials

REGION = "ap-northeast-2"
ROOT = Credentials("AKIAROOTROOTROOTROOT", "root-secret/" + "r" * 28)
TOKEN = "a-token-for-tests"
STATE_KEY = Fernet.generate_key()

ALLOW_ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'

# One botocore session for all clients: it reads each service's model once.
_SESSION = botocore.session.Session()


def client(endpoint_url: str, service: str, key: Credentials = ROOT, region: str = REGION, **config: Any) -> Any:
    """A boto3-like client that checks no parameters itself and does not retry, unless told otherwise."""
    settings: dict[str, Any] = {"parameter_validation": False, "retries": {"total_max_attempts": 1}, **config}
    return _SESSION.create_client(
        service,
        region_name=region,
        endpoint_url=endpoint_url,
        aws_access_key_id=key.access_key_id,
        aws_secret_access_key=key.secret_access_key,
        config=Config(**settings),
    )


@dataclass
class Strict:
    """A running strict AWS."""

    server: AwsEmulator
    folder: Path
    clients: dict[tuple[str, str, str], Any] = field(default_factory=dict[tuple[str, str, str], Any])

    @property
    def url(self) -> str:
        return self.server.endpoint_url

    @property
    def control(self) -> Control:
        return Control(self.url, TOKEN)

    def client(self, service: str, key: Credentials = ROOT, **config: Any) -> Any:
        if config:
            return client(self.url, service, key, **config)
        name = (service, key.access_key_id, key.secret_access_key)
        if name not in self.clients:
            self.clients[name] = client(self.url, service, key)
        return self.clients[name]

    def user_with_key(self, name: str, *policies: str) -> Credentials:
        """A new user with AWS managed policies attached, and an access key of its own."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        for policy in policies:
            iam.attach_user_policy(UserName=name, PolicyArn=f"arn:aws:iam::aws:policy/{policy}")
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


@contextmanager
def strict_aws(folder: Path, settings: Settings | None = None) -> Generator[Strict]:
    """A strict AWS that keeps its account in `folder`."""
    server = AwsEmulator(folder, 0, settings or Settings(), root=ROOT, token=TOKEN, state_key=STATE_KEY)
    try:
        yield Strict(server, folder)
    finally:
        server.stop()


@contextmanager
def plain_moto() -> Generator[str]:
    """A moto server as it comes, in a process of its own: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "plain moto starts within 30 seconds"
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def code_of(error: ClientError) -> str:
    """AWS's error code in an SDK's exception."""
    answer: Any = error.response
    return answer["Error"]["Code"]


def refusal(call: Any, **parameters: Any) -> tuple[str, str, int]:
    """AWS's error code, message and HTTP status of a call that it refuses; fails the test where it does not."""
    try:
        call(**parameters)
    except ClientError as error:
        answer: Any = error.response
        return answer["Error"]["Code"], answer["Error"].get("Message", ""), answer["ResponseMetadata"]["HTTPStatusCode"]
    raise AssertionError(f"AWS refuses {getattr(call, '__name__', call)} with {parameters}")


@dataclass(frozen=True)
class RawAnswer:
    """An HTTP answer."""

    status: int
    body: bytes
    headers: dict[str, str]


def send(
    url: str,
    method: str = "POST",
    path: str = "/",
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    sign: str | None = None,
    key: Credentials = ROOT,
    region: str = REGION,
    source: str = "127.0.0.1",
) -> RawAnswer:
    """One HTTP request, signed for the service that `sign` names, or unsigned. source: the address it comes from."""
    host = url.removeprefix("http://")
    given = {"Host": host, **(headers or {})}
    if sign:
        request = AWSRequest(method=method, url=f"{url}{path}", data=body, headers=given)
        kind = S3SigV4Auth if sign == "s3" else SigV4Auth
        kind(SigningCredentials(key.access_key_id, key.secret_access_key), sign, region).add_auth(request)
        given = dict(request.headers.items())
    connection = http.client.HTTPConnection(host, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return RawAnswer(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})
    finally:
        connection.close()


FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
