"""A shop's working time in the configuration: until when it answers, and its daily digest."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from mailbridge.config.kinds import (
    Between,
    DigestDays,
    Duration,
    Flag,
    TimeOfDay,
    Weekly,
    YearDay,
)
from mailbridge.config.section import Model
from mailbridge.domain.workdays import Holidays

__all__ = ["Clock", "Digest"]


class Clock(Model):
    """Until when customers are answered: shown in the threads, in `status`, and by a flag."""

    answer_within: Annotated[Duration, Between("15m", "30d")] = timedelta(hours=9)
    """Questions: working time from the customer's words to the answer."""
    claims_within: Annotated[Duration, Between("1h", "30d")] = timedelta(days=2)
    """Claims: time by the calendar, as the marketplace counts it."""
    soon: Annotated[Duration, Between("0s", "7d")] = timedelta(hours=3)
    """How long before its limit an answer counts as due soon."""
    hours: Weekly = "mon-fri 09:00-18:00"
    """When somebody answers, in the account's time zone.

    Several spans of a day are parted by blanks, days by commas:
    `mon-fri 09:00-12:30 13:30-18:00, sat 09:00-12:00`.
    """
    holidays: Holidays = Holidays.FRANCE
    """Public holidays without work: `france`, `alsace` (two more), or `none`."""
    closed_on: tuple[YearDay, ...] = ()
    """Further days without work."""
    flag: Flag = "flagged"
    """Put on the customer's newest mail while its answer is due soon or late; empty for none.

    `flagged` is the star or flag that every client has; else a keyword, such as `$label1`.
    """


class Digest(Model):
    """One mail a day on what waits and what happened; without this table there is none."""

    at: TimeOfDay = "08:00"
    """When it is filed, in the account's time zone."""
    days: DigestDays = "working"
    """On which days.

    `working`: those of `clock.hours`; weekdays such as `mon-sat`; both without the holidays and
    `closed_on` of `clock`. `daily`: on each.
    """
