"""The report as JSON, for other programs.

{
  "version": 1,                     raised when a member changes its meaning or goes; new members do not raise it
  "stack": "dev",
  "day": "2026-11-23",              the day the report is made for, in UTC
  "limits": {"ageDays": 90, "idleDays": 45},
  "summary": {"users": 1, "keys": 2, "inactive": 0, "overdue": 1, "undecided": 0},
  "problem": null,                  or why the last use of some or all keys is unknown
  "keys": [                         in order of users; a user's current key before the previous one
    {
      "user": "test-user", "id": "AKIA...", "role": "current" | "previous", "serial": 3, "slot": "a" | "b",
      "status": "Active" | "Inactive",
      "created": "2026-08-01T09:00:00Z" | null,
      "ageDays": 114 | null,
      "lastUsed": {"at": "2026-11-20T12:00:00Z", "daysAgo": 3, "service": "s3", "region": "eu-west-1" | null}
                  | {"at": null, "daysAgo": null, "service": null, "region": null}      never used
                  | null,                                                                unknown
      "nextRotation": "2027-02-21" | null,      of the current key, under a calendar
      "activeUntil": "2026-11-30" | null,       of the previous key: the end of its overlap
      "overdue": [{"rule": "age" | "unused" | "rotation", "text": "..."}],
      "undecided": false                        true where the unknown last use decides whether it is overdue
    }
  ]
}
"""

import json
from datetime import datetime
from typing import Any

from aws_access_keys.cli.report.keys import Report, Row
from aws_access_keys.rules.audit import IDLE_DAYS, MAX_AGE_DAYS


def as_json(report: Report) -> str:
    """The report as a JSON document with a final newline."""
    document = {
        "version": 1,
        "stack": report.stack,
        "day": report.day.isoformat(),
        "limits": {"ageDays": MAX_AGE_DAYS, "idleDays": IDLE_DAYS},
        "summary": {
            "users": len({row.key.user for row in report.rows}),
            "keys": len(report.rows),
            "inactive": sum(row.key.status != "Active" for row in report.rows),
            "overdue": len(report.overdue),
            "undecided": len(report.undecided),
        },
        "problem": report.problem,
        "keys": [_key(row) for row in report.rows],
    }
    return json.dumps(document, indent=2) + "\n"


def _key(row: Row) -> dict[str, Any]:
    key, use = row.key, row.last_use
    return {
        "user": key.user,
        "id": key.id,
        "role": key.role,
        "serial": key.serial,
        "slot": key.slot,
        "status": key.status,
        "created": _instant(key.created),
        "ageDays": row.age_days,
        "lastUsed": use
        and {"at": _instant(use.at), "daysAgo": row.idle_days, "service": use.service, "region": use.region},
        "nextRotation": key.next_rotation and key.next_rotation.isoformat(),
        "activeUntil": key.active_until and key.active_until.isoformat(),
        "overdue": [{"rule": found.rule, "text": found.text} for found in row.overdue],
        "undecided": row.undecided,
    }


def _instant(at: datetime | None) -> str | None:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
