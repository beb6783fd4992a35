"""The AWS accounts that moto keeps in memory: moto's WSGI application and its IAM and STS stores.

moto keeps everything in module globals, and its settings are environment variables. The sandbox's account is the
management account of an organization in which every other account id is a member. A member account is empty, and is
entered by a role that AWS Organizations creates in each one.
Source: https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_access-cross-account-role.html
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection
from contextvars import ContextVar
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import botocore.session

from pulumi_sandbox.aws import clock
from pulumi_sandbox.aws.http_server import WsgiApplication

if TYPE_CHECKING:
    from moto.iam.models import IAMBackend
    from moto.sts.models import STSBackend

ACCOUNT_ID = "123456789012"
MEMBER_ROLE = "OrganizationAccountAccessRole"

_current = ContextVar("account", default=ACCOUNT_ID)

SETTINGS = {
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
}

COMMON = ("iam", "sts", "s3", "ec2", "secretsmanager", "ssm", "kms", "sns")
S3_CONTROL_PATH = "/v20180820/"  # another service of moto's under S3's name

# Paths that moto keeps for itself (its own API, the EC2 metadata service): not part of AWS's API.
MOTO_PATHS = ("/moto-api", "/favicon.ico", "/latest/meta-data", "/latest/api")


class Moto:
    """moto's WSGI applications, one per service, made when the service is first called."""

    def __init__(self) -> None:
        os.environ.update(SETTINGS)
        os.environ.pop("MOTO_ACCOUNT_ID", None)  # it would hold for every request, whosever key signed it
        import moto.iam.models
        from moto.iam.access_control import PermissionResult
        from moto.moto_server import werkzeug_app
        from moto.s3.models import FakeBucket

        # moto notes the use of a key too, but under other names of service and region; `note_use` is in its place.
        moto.iam.models.mark_account_as_visited = _ignore
        # moto ignores the conditions of a bucket policy; authorization.py has decided on it by then.
        FakeBucket.get_permission = lambda self, action, resource: PermissionResult.NEUTRAL
        werkzeug_app.DISABLE_GLOBAL_CORS = True  # no web page has business here
        self._dispatcher = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)

    def application(self, service: str, path: str) -> WsgiApplication:
        """The application that serves `service`. moto's own dispatcher finds it for any service, by trying a hundred
        patterns on each call; for those that matter here the name is enough."""
        if service not in COMMON or path.startswith(S3_CONTROL_PATH):
            return self._dispatcher
        with self._dispatcher.lock:
            if service not in self._dispatcher.app_instances:
                self._dispatcher.app_instances[service] = self._dispatcher.create_app(service)
            return self._dispatcher.app_instances[service]


def _ignore(**_: object) -> None:
    """In place of moto's own bookkeeping."""


def current() -> str:
    """The id of the account that the request of this thread is for."""
    return _current.get()


def enter(key_id: str | None) -> None:
    """Serve the request of this thread in the account that a key belongs to, as moto does for itself."""
    from moto.iam.models import get_account_id_from

    _current.set(get_account_id_from(key_id) if key_id else ACCOUNT_ID)


def iam(region: str, account_id: str | None = None) -> IAMBackend:
    """The IAM store of the partition (aws, aws-cn, aws-us-gov) that `region` lies in; of another account if named."""
    from moto.iam.models import iam_backends

    return iam_backends[account_id or current()][partition(region)]


def sts(region: str) -> STSBackend:
    """The STS store of the partition that `region` lies in."""
    from moto.sts.models import sts_backends

    return sts_backends[current()][partition(region)]


def role(region: str, arn: str) -> Any:
    """The role with an ARN, in whichever account it is; None where there is none."""
    match = re.fullmatch(r"arn:[\w-]+:iam::(\d{12}):role/(.+)", arn)
    if match is None:
        return None
    store = iam(region, match[1])
    if (
        match[1] != ACCOUNT_ID
        and match[2] == MEMBER_ROLE
        and not any(found.arn == arn for found in store.roles.values())
    ):
        _create_member_role(store)
    return next((found for found in store.roles.values() if found.arn == arn), None)


def _create_member_role(store: IAMBackend) -> None:
    """The role by which the management account administers a member account."""
    principal = {"AWS": f"arn:{store.partition}:iam::{ACCOUNT_ID}:root"}
    trust = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    store.create_role(
        role_name=MEMBER_ROLE,
        assume_role_policy_document=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
        path="/",
        permissions_boundary=None,
        description="",
        tags=[],
        max_session_duration="3600",
    )
    store.attach_role_policy(f"arn:{store.partition}:iam::aws:policy/AdministratorAccess", MEMBER_ROLE)


def partition(region: str) -> str:
    """aws, aws-cn or aws-us-gov."""
    from moto.utilities.utils import get_partition

    return get_partition(region)


@cache
def regions() -> frozenset[str]:
    """All regions of AWS, by botocore's list for EC2."""
    session = botocore.session.Session()
    return frozenset(
        region
        for partition_name in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name)
    )


@lru_cache(maxsize=256)
def serves(service: str) -> bool:
    """Whether moto knows a service by this signing name."""
    from moto.backend_index import backend_url_patterns
    from moto.moto_server.werkzeug_app import SIGNING_ALIASES

    host = f"http://{SIGNING_ALIASES.get(service, service)}.us-east-1.amazonaws.com"
    plain = f"http://{service}.amazonaws.com"
    return any(pattern.match(host) or pattern.match(plain) for _, pattern in backend_url_patterns)


def reset() -> None:
    """Empty the account: every service forgets everything."""
    from moto.core.base_backend import BackendDict, backend_lock
    from moto.core.model_instances import reset_model_data

    instances: list[Any] = vars(BackendDict)["_instances"]
    with backend_lock:
        for stores in instances:
            if stores.service_name != "iam":  # its own reset only reads the registry of AWS's policies once more
                for store in stores.values():
                    store.reset()
            stores.clear()
        instances.clear()
    reset_model_data()


def note_use(key_id: str, service: str, region: str) -> None:
    """Record that a user's access key was used just now."""
    iam(region).access_keys[key_id].last_used = _use_now(service, region)


def note_root_use(service: str, region: str) -> None:
    """The same for root's key, which moto does not have."""
    vars(iam(region))["root_last_used"] = _use_now(service, region)


def root_last_used(region: str) -> Any:
    """When root's key was last used; None if never."""
    return getattr(iam(region), "root_last_used", None)


def _use_now(service: str, region: str) -> Any:
    """A use at this moment. IAM has no regions: AWS names its home region."""
    from moto.iam.models import AccessKeyLastUsed

    home = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
    where = home.get(partition(region), region) if service == "iam" else region
    return AccessKeyLastUsed(clock.utcnow(), service, where)


def reset_last_used(key_ids: Collection[str]) -> None:
    """Make access keys count as never used."""
    from moto.iam.models import iam_backends

    for store in iam_backends[ACCOUNT_ID].values():
        for key_id in store.access_keys.keys() & set(key_ids):
            store.access_keys[key_id].last_used = None


def warm_up() -> None:
    """Load what every first request needs, so that the first one is as fast as the others."""
    from moto.core.utils import get_service_model

    regions()
    iam("us-east-1")
    for service in ("iam", "sts"):
        get_service_model(service)
