"""How commands ask AWS about an account: all users and groups in few calls, and one question about many of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rich.progress import Progress

from aws_access_keys.account import MAX_WORKERS, Account, AwsQueryError
from aws_access_keys.rules.credential_report import ReportError

PAGE = 1000  # AWS's most
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def authorization_details(account: Account, kinds: Sequence[str], progress: Progress) -> list[Mapping[str, Any]]:
    """The pages of GetAccountAuthorizationDetails. Raises AwsQueryError."""
    task = progress.add_task("reading users and policies", total=None)
    pages: list[Mapping[str, Any]] = []
    marker: dict[str, str] = {}
    try:
        while not pages or pages[-1].get("IsTruncated"):
            pages.append(account.ask("iam", "get_account_authorization_details", Filter=kinds, MaxItems=PAGE, **marker))
            marker = {"Marker": pages[-1].get("Marker", "")}
            progress.update(task, completed=sum(len(page["UserDetailList"]) for page in pages))
    finally:
        progress.update(task, total=1, completed=1)
    return pages


def reason_for(error: AwsQueryError | ReportError, permission: str) -> str:
    """The reason, and what to do where that is known."""
    if isinstance(error, AwsQueryError) and (error.is_denied or error.is_about_caller):
        return f": {error}. {error.cure(permission)}"
    return f": {error}."


def each(items: Sequence[Item], ask: Callable[[Item], Answer]) -> Iterable[tuple[Item, Answer | AwsQueryError]]:
    """Each item with its answer, or with why there is none. The first is asked alone: whoever may not ask for it may
    ask for none, mostly, and is not to be refused a thousand times.
    """

    def tried(item: Item) -> Answer | AwsQueryError:
        try:
            return ask(item)
        except AwsQueryError as error:
            return error

    if not items:
        return
    first = tried(items[0])
    yield items[0], first
    if isinstance(first, AwsQueryError) and (first.is_denied or first.is_about_caller):
        yield from ((item, first) for item in items[1:])
        return
    pool = ThreadPoolExecutor(MAX_WORKERS)
    try:
        yield from zip(items[1:], pool.map(tried, items[1:]), strict=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C does not wait for what is under way
