"""What should be done about an access key by now: limits of age and use, and how they are worded. Days are whole."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

Rule = Literal["root", "quarantine", "administrator", "reactivated", "unused", "age", "rotation", "second", "mfa"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When an active key is overdue. The defaults are those of AWS Security Hub and the CIS AWS Foundations Benchmark.

    Source: https://docs.aws.amazon.com/securityhub/latest/userguide/iam-controls.html
    """

    max_age_days: int = 90
    """Overdue from the day after (IAM.3, "rotated every 90 days or less")."""
    idle_days: int = 45
    """Overdue from this day on (IAM.22, "unused for 45 days"); a key never used counts from its creation."""

    @property
    def warn_age_days(self) -> int:
        """The age above which the bar warns."""
        return self.max_age_days * 2 // 3


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason to act on a key or user."""

    rule: Rule
    text: str


def overdue_findings(
    limits: Limits,
    *,
    age_days: int | None,
    unused_days: int | None,
    was_used: bool,
    due: date | None,
    day: date,
    expires: date | None = None,
    is_reactivated: bool = False,
) -> list[Finding]:
    """What is overdue with an active key.

    age_days: None where it is not to be judged by its age. unused_days: since its last use, or since its creation if it
    was never used; None where that is not known. due: when its schedule replaces it. expires: when it is to stop
    working. is_reactivated: whether the stack left it inactive.
    """
    found: list[Finding] = []
    if is_reactivated:
        text = (
            "active in IAM, although the stack left it inactive. If it has leaked, run `access-keys leak`; else set "
            "status (of a previous key: previous) to inactive, and run `pulumi refresh` and `pulumi up`"
        )
        found.append(Finding(rule="reactivated", text=text))
    if age_days is not None and age_days > limits.max_age_days:
        found.append(Finding(rule="age", text=f"{age_days} days old; the limit is {limits.max_age_days}"))
    if unused_days is not None and unused_days >= limits.idle_days:
        text = (
            f"unused for {unused_days} days" if was_used else f"never used since it was created {unused_days} days ago"
        )
        found.append(Finding(rule="unused", text=f"{text}; the limit is {limits.idle_days}"))
    if due and due < day:
        found.append(Finding(rule="rotation", text=f"its rotation was due on {due}: run `pulumi up`"))
    if expires and expires < day and not is_reactivated:
        found.append(Finding(rule="rotation", text=f"it expired on {expires}, but is active: run `pulumi up`"))
    return found
