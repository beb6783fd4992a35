"""Who still uses an access key: CloudTrail's event history, asked by key id in several regions.

AWS allows two look-ups per second, account and region; all are made at that pace, one after the other.
"""

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import Progress

from aws_access_keys.account import Account, AwsQueryError
from aws_access_keys.cli.rotate import in_project
from aws_access_keys.cli.stack import StackError, name_in_iam, selected_stack, stack_config, stack_keys
from aws_access_keys.iam import format_error, sdk_errors
from aws_access_keys.rules.policies import partition_of
from aws_access_keys.rules.usage import DATA_EVENTS, KEPT_DAYS, Seen, Usage
from aws_access_keys.session import session_for

PAUSE = 0.5  # seconds between two look-ups
MAX_EVENTS = 2500  # read of one key in one region, the newest; 50 in each look-up
MAX_SESSIONS = 20  # whose own events are read
MAX_AGENT = 60  # characters of a user agent that people are shown
MAX_SHOWN = 15  # lines of each list
HOME = {"aws": "us-east-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}
"""Partition → the region whose CloudTrail has IAM's events, and those of STS's global endpoint."""


class Looked(NamedTuple):
    """What CloudTrail answered."""

    usages: list[Usage]
    """Of each key that was asked for, then of the sessions that they got, if that was wanted."""
    regions: list[str]
    problems: list[str]
    """Which regions did not answer."""
    notes: list[str]
    """What was not read, because it is too much."""


def regions_of(session: Any, more: Sequence[str]) -> list[str]:
    """The regions to ask in: that of IAM's events, the stack's, and those that the caller adds."""
    home = HOME[partition_of(session.region_name or "us-east-1")]
    return list(dict.fromkeys(region for region in (home, session.region_name, *more) if region))


def look_up(
    session: Any, key_ids: Collection[str], more_regions: Sequence[str] = (), *, follow: bool = False
) -> Looked:
    """Ask CloudTrail about keys, and with `follow` about the sessions that they got. Raises nothing of the SDK's."""
    regions, usages = regions_of(session, more_regions), list[Usage]()
    problems, notes = list[str](), list[str]()
    waiting, known = list(key_ids), set(key_ids)
    lookups, refused = Lookups(session), set[str]()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("asking CloudTrail", total=len(waiting) * len(regions))
        while waiting:
            usage = Usage(waiting.pop(0))
            usages.append(usage)
            for region in regions:

                def show(region: str = region, usage: Usage = usage) -> None:
                    progress.update(task, description=f"CloudTrail {region}: {usage.total.count} events")

                if region not in refused:
                    try:
                        note = lookups.add_to(usage, region, show)
                        notes += [note] if note else []
                    except sdk_errors() as error:
                        refused.add(region)
                        problem = f"CloudTrail did not answer in {region}: {format_error(error)}."
                        if AwsQueryError(error).is_denied:
                            problem += " The permission cloudtrail:LookupEvents is needed for it."
                        problems.append(problem)
                progress.advance(task)
            new = sorted(usage.sessions - known) if follow else []
            room = max(0, len(key_ids) + MAX_SESSIONS - len(known))
            if len(new) > room:
                notes.append(
                    f"{usage.key_id} got {len(new)} sessions; the events of {len(new) - room} of them were not read. "
                    f"Read those of one with: access-keys report --who {new[-1]}"
                )
            waiting += new[:room]
            known |= set(new[:room])
            progress.update(task, total=(len(usages) + len(waiting)) * len(regions))
    return Looked(usages, regions, problems, notes)


class Lookups:
    """Look-ups with one session, at the pace that AWS allows."""

    def __init__(self, session: Any, wait: Callable[[float], object] = time.sleep) -> None:
        self._session, self._wait = session, wait
        self._clients: dict[str, Any] = {}
        self._last = 0.0

    def add_to(self, usage: Usage, region: str, progress: Callable[[], object] = lambda: None) -> str | None:
        """Add a region's events of a key to its usage. Returns what was not read. Raises what the SDK raises."""
        oldest: datetime | None = None
        count = 0
        for event in self._events(usage.key_id, region):
            if count >= MAX_EVENTS:
                return (
                    f"{usage.key_id} has more than {MAX_EVENTS} events in {region}; those before "
                    f"{oldest:%Y-%m-%d %H:%M} UTC were not read. Sessions last 36 hours at most."
                )
            usage.add(event)
            oldest, count = event["EventTime"], count + 1
            if count % 50 == 1:
                progress()
        return None

    def _events(self, key_id: str, region: str) -> Iterator[Mapping[str, Any]]:
        """Newest first."""
        from botocore.config import Config

        if region not in self._clients:
            retries = {"mode": "standard", "total_max_attempts": 5}
            self._clients[region] = self._session.client(
                "cloudtrail", region_name=region, config=Config(retries=retries)
            )
        asked: dict[str, Any] = {"LookupAttributes": [{"AttributeKey": "AccessKeyId", "AttributeValue": key_id}]}
        while True:
            self._wait(max(0.0, self._last + PAUSE - time.monotonic()))
            self._last = time.monotonic()
            response = self._clients[region].lookup_events(**asked)
            yield from response["Events"]
            if not response.get("NextToken"):
                return
            asked["NextToken"] = response["NextToken"]


def as_data(looked: Looked) -> dict[str, Any]:
    """What CloudTrail answered, for programs."""
    keys = [
        {
            "id": usage.key_id,
            "identities": sorted(usage.identities),
            **_seen(usage.total),
            "sources": [{**source._asdict(), **_seen(seen)} for source, seen in _newest(usage.sources)],
            "actions": [
                {**action._asdict(), **_seen(seen), "refused": usage.refused[action]}
                for action, seen in _newest(usage.actions)
            ],
            "sessions": sorted(usage.sessions),
            "roles": sorted(usage.roles),
        }
        for usage in looked.usages
    ]
    return {
        "regions": looked.regions,
        "days": KEPT_DAYS,
        "problems": looked.problems,
        "notes": looked.notes,
        "keys": keys,
    }


def as_text(looked: Looked) -> str:
    """The same for people."""
    lines = [f"CloudTrail, last {KEPT_DAYS} days, in {', '.join(looked.regions)}"]
    for usage in looked.usages:
        lines += ["", *_lines(usage)]
    lines += ["", *looked.problems, *looked.notes, DATA_EVENTS, "Other regions: --regions REGION,REGION"]
    return "\n".join(lines)


def _lines(usage: Usage) -> Iterator[str]:
    who = f" ({', '.join(sorted(usage.identities))})" if usage.identities else ""
    if not usage.total.count:
        yield f"{usage.key_id}: no events"
        return
    yield f"{usage.key_id}{who}: {_times(usage.total)}"
    yield "  From"
    yield from _some(
        f"    {source.address}  {_times(seen)}  {source.agent[:MAX_AGENT]}" for source, seen in _newest(usage.sources)
    )
    yield "  Called"
    yield from _some(
        f"    {action.service}:{action.name}  {_times(seen)}"
        + (f"  {usage.refused[action]} refused" if usage.refused[action] else "")
        + ("  CHANGES" if action.changes and seen.count > usage.refused[action] else "")
        # What can have changed something comes first.
        for action, seen in sorted(_newest(usage.actions), key=lambda pair: not pair[0].changes)
    )
    if usage.sessions:
        yield f"  Got the sessions {', '.join(sorted(usage.sessions)[:MAX_SHOWN])}"


def _some(lines: Iterator[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:MAX_SHOWN]
    if len(every) > MAX_SHOWN:
        yield f"    and {len(every) - MAX_SHOWN} more; --output json has all"


def _newest(found: Mapping[Any, Seen]) -> list[tuple[Any, Seen]]:
    return sorted(found.items(), key=lambda pair: str(pair[1].last), reverse=True)


def _times(seen: Seen) -> str:
    times = f"{seen.count} event{'' if seen.count == 1 else 's'}"
    if seen.count > 1:
        return f"{times}, {seen.first:%Y-%m-%d %H:%M} to {seen.last:%Y-%m-%d %H:%M} UTC"
    return f"{times}, {seen.last:%Y-%m-%d %H:%M} UTC"


def _seen(seen: Seen) -> dict[str, Any]:
    first, last = (moment and f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (seen.first, seen.last))
    return {"events": seen.count, "first": first, "last": last}


def who(stack: str | None, named: str, regions: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Who uses a key, or the keys of a user, as data and as text. Raises StackError."""
    is_key = re.fullmatch(r"A[KS]IA[A-Z0-9]{12,124}", named)
    stack = stack or (selected_stack() if in_project() or not is_key else None)
    try:
        session = session_for(stack_config(stack, "aws") if stack else {})
        key_ids = [named] if is_key else _keys_of(str(stack), named, Account(lambda: session))
        looked = look_up(session, key_ids, regions)
    except (*sdk_errors(), ValueError) as error:
        raise StackError(f"AWS cannot be asked: {format_error(error)}.") from None
    return as_data(looked), as_text(looked)


def _keys_of(stack: str, user: str, account: Account) -> list[str]:
    """The ids of a user's keys: those of the stack, and others that IAM has."""
    keys: dict[str, Any] = stack_keys(stack)["keys"]
    name = name_in_iam(stack, user, keys)
    found = [keys[name][role]["id"] for role in ("current", "previous") if keys[name].get(role)]
    with suppress(AwsQueryError):  # those of the stack are known
        found += [key.id for key in account.list_access_keys(name.rpartition("/")[2])]
    return list(dict.fromkeys(found))
