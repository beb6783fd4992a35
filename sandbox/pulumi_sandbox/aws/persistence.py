"""Keeps the account over a stop: saved encrypted in one file, a moment after every change and at the stop.

What survives: IAM (users, groups, roles, policies, keys with their last use, tags), S3 buckets and, as long as all
objects together are at most 32 MiB, their objects, Secrets Manager, SSM parameters, KMS keys, SNS topics, assumed
roles.
What does not: all other services, unfinished multipart uploads, and above 32 MiB the objects; nothing else of the
account is written to disk.

The file holds key secrets, so it is encrypted and authenticated (Fernet); only a file that this sandbox's own key
opens is ever unpickled. It is bound to moto's version, whose classes it holds.
"""

from __future__ import annotations

import io
import logging
import pickle
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pulumi_sandbox.aws import account
from pulumi_sandbox.paths import write_private

log = logging.getLogger(__name__)

FILE_NAME = "aws-account.bin"
FORMAT = 1
SERVICES = ("iam", "sts", "s3", "secretsmanager", "ssm", "kms", "sns")
OBJECTS_LIMIT = 32 * 1024 * 1024  # bytes of all S3 objects together
DELAY = 0.4  # seconds from a change to the save, so that a burst of changes is saved once


class StateStore:
    """Saves the account in `folder` while it changes; `lock` is held while requests change it."""

    def __init__(self, folder: Path, key: bytes | str, lock: threading.RLock) -> None:
        self._path = folder / FILE_NAME
        self._fernet = Fernet(key)
        self._lock = lock
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="sandbox-aws-state", daemon=True)

    def start(self) -> None:
        """Begin to save changes in the background."""
        self._thread.start()

    def changed(self) -> None:
        """Note that the account changed."""
        self._changed.set()

    def stop(self) -> None:
        """Save what has changed and end."""
        self._stopping.set()
        self._changed.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.save()

    def dump(self) -> bytes:
        """The account, not encrypted."""
        with self._lock:
            return _dump()

    def restore(self, content: bytes) -> None:
        """Fill the empty account from what `dump` returned in this process."""
        with self._lock:
            _restore(pickle.loads(content)["stores"])

    def save(self) -> None:
        """Write the account now. Raises OSError, for instance where the disk is full; the old file stays then."""
        with self._writing:
            content = self.dump()
            write_private(self._path, self._fernet.encrypt(content))

    def load(self) -> str | None:
        """Fill the empty account from the file, if there is one. Returns what the operator should know: that the file
        could not be used and where it was moved to."""
        if not self._path.exists():
            return None
        try:
            content: Any = pickle.loads(self._fernet.decrypt(self._path.read_bytes()))
            if (content["format"], content["moto"]) != (FORMAT, version("moto")):
                reason = f"it was written with moto {content['moto']}, this is moto {version('moto')}"
            else:
                _restore(content["stores"])
                return None
        except InvalidToken:
            reason = "it is damaged, or was encrypted with another key"
        except Exception as error:  # whatever other content makes pickle and moto's classes raise
            reason = f"its content does not fit ({type(error).__name__})"
        unusable = self._path.with_name(f"{FILE_NAME}.unusable-{int(time.time())}")
        self._path.replace(unusable)
        account.reset()
        text = (
            f"the saved AWS account could not be used: {reason}. It was moved to {unusable}; the account is empty now."
        )
        log.warning("%s", text)
        return text

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._stopping.wait(DELAY)
            self._changed.clear()
            if self._stopping.is_set():
                return
            began = time.monotonic()
            try:
                self.save()
            except OSError as error:
                log.error("cannot save the AWS account to %s: %s", self._path, error)
                self._changed.set()
                self._stopping.wait(5)
            # A large account is saved less often, so that saving takes a tenth of the time at most.
            self._stopping.wait(9 * (time.monotonic() - began))


# ---- pickling moto's stores


def _backends(service: str) -> Any:
    return getattr(import_module(f"moto.{service}.models"), f"{service}_backends")


def _dump() -> bytes:
    """All stores in use, as bytes. Services that were never called are left unloaded."""
    from moto.core.base_backend import BackendDict

    instances: list[Any] = vars(BackendDict)["_instances"]
    used = {item.service_name for item in instances}
    stores: dict[tuple[str, ...], bytes] = {}
    for service in SERVICES:
        if service not in used:
            continue
        for account_id, backends in _backends(service).items():
            member = () if account_id == account.ACCOUNT_ID else (account_id,)
            for region, backend in backends.items():
                stores[(service, region, *member)] = _pickled(_content(backend))
    return pickle.dumps({"format": FORMAT, "moto": version("moto"), "stores": stores})


def _content(backend: Any) -> dict[str, Any]:
    content = dict(vars(backend))
    content.pop("aws_managed_policies", None)
    if "managed_policies" in content:
        own = content["managed_policies"]
        content["managed_policies"] = {arn: policy for arn, policy in own.items() if ":iam::aws:" not in arn}
    for name, value in content.items():
        if isinstance(value, defaultdict):
            content[name] = dict(value)  # its factory cannot be pickled; the new store brings its own
    return content


def _restore(stores: dict[tuple[str, ...], bytes]) -> None:
    """Fill the stores. Their names: service, region or partition, and for a member account its id."""
    for (service, region, *member), pickled in stores.items():
        account_id = member[0] if member else account.ACCOUNT_ID
        backend = _backends(service)[account_id][region]
        content: dict[str, Any] = _Unpickler(io.BytesIO(pickled), account_id).load()
        for name, value in content.items():
            present: Any = getattr(backend, name, None)
            if isinstance(present, defaultdict) or name == "managed_policies":
                present.update(value)
            else:
                setattr(backend, name, value)
        if service == "iam":
            _count_attachments(backend)
        if service == "s3":
            for bucket in backend.buckets.values():
                bucket.multiparts = {upload: parts for upload, parts in bucket.multiparts.items() if parts is not None}


def _count_attachments(backend: Any) -> None:
    """AWS's own policies come fresh from moto; count again who uses them."""
    for holder in (*backend.users.values(), *backend.groups.values(), *backend.roles.values()):
        for policy in holder.managed_policies.values():
            if ":iam::aws:" in policy.arn:
                policy.attachment_count += 1


def _pickled(content: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    keep_objects = sum(_object_sizes(content)) <= OBJECTS_LIMIT
    if not keep_objects:
        log.warning("the S3 objects are more than %d MiB together and are not saved", OBJECTS_LIMIT // 2**20)
    _Pickler(buffer, keep_objects).dump(content)
    return buffer.getvalue()


def _object_sizes(content: dict[str, Any]) -> Iterator[int]:
    for bucket in content.get("buckets", {}).values():
        for _, versions in bucket.keys.iterlists():
            yield from (getattr(key, "contentsize", 0) for key in versions)


def _private_key(der: bytes) -> PrivateKeyTypes:
    return serialization.load_der_private_key(der, None)


class _Pickler(pickle.Pickler):
    """Writes AWS's own policies and the stores themselves as names, KMS's private keys as PKCS 8."""

    def __init__(self, file: io.BytesIO, keep_objects: bool) -> None:
        super().__init__(file, protocol=5)
        self._keep_objects = keep_objects

    def persistent_id(self, obj: Any) -> tuple[str, ...] | None:
        from moto.core.base_backend import BaseBackend
        from moto.iam.models import AWSManagedPolicy

        if isinstance(obj, AWSManagedPolicy):
            return ("policy", obj.partition, obj.arn)
        if isinstance(obj, BaseBackend):
            return ("store", type(obj).__module__.split(".")[1], obj.region_name)
        if type(obj).__name__ == "FakeMultipart":
            return ("nothing",)
        return None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, PrivateKeyTypes):
            der = obj.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            return _private_key, (der,)
        if type(obj).__name__ == "_VersionedKeyStore" and not self._keep_objects:
            return type(obj), ()
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Reads a store of one account, whose other stores it refers to."""

    def __init__(self, file: io.BytesIO, account_id: str) -> None:
        super().__init__(file)
        self._account_id = account_id

    def persistent_load(self, pid: tuple[str, ...]) -> Any:
        if pid[0] == "policy":
            return _backends("iam")[self._account_id][pid[1]].managed_policies[pid[2]]
        if pid[0] == "store":
            return _backends(pid[1])[self._account_id][pid[2]]
        return None
