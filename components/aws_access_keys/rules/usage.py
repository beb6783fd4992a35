"""Who uses an access key, by the events that CloudTrail recorded. Pure: nothing here asks AWS.

Source: CloudTrail user guide, "CloudTrail record contents" and "CloudTrail userIdentity element".
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, NamedTuple

from aws_access_keys.rules.untyped import mapping

KEPT_DAYS = 90  # for which LookupEvents finds an event
DATA_EVENTS = (
    "Calls on objects in S3, of Lambda functions and on items in DynamoDB are data events: CloudTrail's event history "
    "does not have them, only a trail or an event data store that records them."
)


class Source(NamedTuple):
    """Where calls came from."""

    address: str
    """An IP address, or the AWS service that called."""
    agent: str
    """The user agent, without the list of used features (`m/E,b`), which differs from call to call of one program."""


class Action(NamedTuple):
    """What was called."""

    service: str
    name: str
    changes: bool
    """Whether it can change something."""


@dataclass
class Seen:
    """How often, and when."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, moment: datetime) -> None:
        self.count += 1
        self.first = min(self.first or moment, moment)
        self.last = max(self.last or moment, moment)


@dataclass
class Usage:
    """All events of one key id, of an access key or of temporary credentials."""

    key_id: str
    total: Seen = field(default_factory=Seen)
    sources: dict[Source, Seen] = field(default_factory=dict[Source, Seen])
    actions: dict[Action, Seen] = field(default_factory=dict[Action, Seen])
    refused: Counter[Action] = field(default_factory=Counter[Action])
    """How many of the calls AWS refused."""
    identities: set[str] = field(default_factory=set[str])
    """ARNs of the user, role session or federated user behind the key."""
    sessions: set[str] = field(default_factory=set[str])
    """Key ids of the temporary credentials that it got."""
    roles: set[str] = field(default_factory=set[str])
    """ARNs of the roles that it assumed."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event of LookupEvents."""
        record = mapping(json.loads(event["CloudTrailEvent"]))
        moment = event["EventTime"].astimezone(timezone.utc)
        agent = re.sub(r" m/[\w,+-]+", "", str(record.get("userAgent") or "unknown"))
        source = Source(str(record.get("sourceIPAddress") or "unknown"), agent)
        service = str(event.get("EventSource") or "unknown").removesuffix(".amazonaws.com")
        action = Action(service, str(event["EventName"]), record.get("readOnly") is not True)
        self.total.add(moment)
        self.sources.setdefault(source, Seen()).add(moment)
        self.actions.setdefault(action, Seen()).add(moment)
        if record.get("errorCode"):
            self.refused[action] += 1
        if arn := mapping(record.get("userIdentity")).get("arn"):
            self.identities.add(str(arn))
        issued = mapping(mapping(record.get("responseElements")).get("credentials")).get("accessKeyId")
        if issued:
            self.sessions.add(str(issued))
            if role := mapping(record.get("requestParameters")).get("roleArn"):
                self.roles.add(str(role))
