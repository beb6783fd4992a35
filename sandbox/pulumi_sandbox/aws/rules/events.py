"""CloudTrail's LookupEvents, answered from the call log: the calls since the sandbox's start, 20,000 at most.

Sources: LookupEvents and Event in the CloudTrail API reference; CloudTrail user guide, "CloudTrail record contents".
AWS needs some minutes until an event is found; here it is found at once.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pulumi_sandbox.aws import account
from pulumi_sandbox.aws.call_log import LoggedCall
from pulumi_sandbox.aws.request import READING
from pulumi_sandbox.aws.response import ApiResponse, AwsError
from pulumi_sandbox.aws.rules.rule import Context, rule

RATE = 2  # calls per second, account and region
PAGE = 50  # events at most
KEPT = 90 * 86400  # seconds
TYPES = {"user": "IAMUser", "assumed-role": "AssumedRole", "federated-user": "FederatedUser"}
"""The kind of a principal in its ARN → userIdentity.type."""


@rule("LookupEvents", service="cloudtrail")
def lookup_events(context: Context) -> ApiResponse:
    """The region's management events, newest first. Calls on objects in S3 are data events, which are not here."""
    given, region = context.given, context.request.region
    if not context.faults.take_token(f"LookupEvents in {region}", RATE):
        raise AwsError("ThrottlingException", "Rate exceeded", 400)
    asked: list[dict[str, str]] = given.get("LookupAttributes", [])
    if len(asked) > 1:
        raise AwsError("InvalidLookupAttributesException", "You can use only one lookup attribute.", 400)
    if not 1 <= (size := given.get("MaxResults", PAGE)) <= PAGE:
        raise AwsError("InvalidMaxResultsException", "A maximum results value between 1 and 50 is required.", 400)
    now = _seconds(context.calls.latest()[-1].time) if context.calls.latest() else 0
    begin, end = max(given.get("StartTime", 0), now - KEPT), given.get("EndTime", float("inf"))
    found = [
        event
        for number, call in enumerate(context.calls.latest())
        if (event := _event(number, call))
        and json.loads(event["CloudTrailEvent"])["awsRegion"] == region
        and begin <= event["EventTime"] <= end
        and all(event.get(one["AttributeKey"]) == one["AttributeValue"] for one in asked)
    ]
    found.reverse()
    try:
        # Newer events do not move the older ones: a token counts from the oldest.
        first = len(found) - int(given["NextToken"]) if "NextToken" in given else 0
    except ValueError:
        raise AwsError("InvalidNextTokenException", "The token is invalid or expired.", 400) from None
    page, rest = found[first : first + size], len(found) - first - size
    content = {"Events": page} | ({"NextToken": str(rest)} if rest > 0 else {})
    return ApiResponse(200, [("Content-Type", "application/x-amz-json-1.1")], json.dumps(content).encode())


def _event(number: int, call: LoggedCall) -> dict[str, Any] | None:
    """A call as CloudTrail records it; None for one that it does not: a data event, or a caller unknown to AWS."""
    if call.caller is None or call.key is None or (call.service == "s3" and not _is_of_bucket(call.action)):
        return None
    source = f"{call.service}.amazonaws.com"
    # IAM's events are in one region of a partition.
    home = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
    region = home.get(account.partition(call.region), call.region) if call.service == "iam" else call.region
    name = call.caller.rpartition("/")[2] if "/" in call.caller else "root"
    event_id = str(uuid5(NAMESPACE_URL, f"{call.time} {number}"))
    record: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": TYPES.get(call.caller.split(":")[5].partition("/")[0], "Root"),
            "arn": call.caller,
            "accountId": account.current(),
            "accessKeyId": call.key,
        },
        "eventTime": f"{call.time[:19]}Z",
        "eventSource": source,
        "eventName": call.action,
        "awsRegion": region,
        "sourceIPAddress": call.address,
        "userAgent": call.agent,
        "requestParameters": {"roleArn": call.role} if call.role else None,
        "responseElements": {"credentials": {"accessKeyId": call.session}} if call.session else None,
        "eventID": event_id,
        "readOnly": call.service == "sts" or call.action.startswith(READING),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account.current(),
        "eventCategory": "Management",
    }
    if call.code:
        record["errorCode"] = call.code
    return {
        "EventId": event_id,
        "EventName": call.action,
        "ReadOnly": str(record["readOnly"]).lower(),
        "AccessKeyId": call.key,
        "EventTime": _seconds(record["eventTime"]),
        "EventSource": source,
        "Username": name,
        "Resources": [],
        "CloudTrailEvent": json.dumps(record),
    }


def _is_of_bucket(action: str) -> bool:
    """Whether a call of S3 is about buckets, not objects. Source: S3 user guide, "Amazon S3 CloudTrail events"."""
    return "Bucket" in action or action.endswith("PublicAccessBlock")


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
