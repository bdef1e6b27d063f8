"""What operators see: complete at 80 columns, without colours, and without guessing."""

from __future__ import annotations

from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from mailbridge.checkup.finding import Finding, State
from mailbridge.report import show_check, show_discussion, show_status

AT = "2026-11-23T10:02:33+00:00"


def console(*, colours: bool = False, width: int = 80) -> Console:
    """As the command line makes it."""
    return Console(
        file=StringIO(),
        width=width,
        highlight=False,
        soft_wrap=True,
        force_terminal=colours,
        color_system="standard" if colours else None,
    )


def shown(on: Console) -> str:
    assert isinstance(on.file, StringIO)
    text = on.file.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return "\n".join(line.rstrip() for line in text.splitlines())


def flat(text: str) -> str:
    return " ".join(text.split())


def local(moment: str) -> str:
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M")


# --- check -------------------------------------------------------------------------------------

FINDINGS = [
    Finding(
        "configuration", "accounts.shop.imap.password (line 15)", State.WARN, "is open", "chmod"
    ),
    Finding("shop/mailbox", "sign-in", State.OK, "imap.shop.example, tls, signed in by password"),
    Finding("shop/mailbox", "no IDLE", State.INFO, "replies are noticed within 20 seconds"),
    Finding(
        "shop/replies",
        "evidence of origin",
        State.BAD,
        "none that is trusted in the answer (INBOX): every reply will be held until its one-time "
        "code is given",
        '[accounts.shop.trust] authserv_ids = ["mx.shop.example"], if that is your own provider',
    ),
]


def test_a_check_reads_without_colours() -> None:
    on = console()
    show_check(FINDINGS, on)
    assert (
        shown(on)
        == """
configuration
  warn                       accounts.shop.imap.password (line 15)
                             is open
                             -> chmod

shop/mailbox
  ok     sign-in             imap.shop.example, tls, signed in by password
  info   no IDLE             replies are noticed within 20 seconds

shop/replies
  BAD    evidence of origin  none that is trusted in the answer (INBOX): every
                             reply will be held until its one-time code is given
                             -> [accounts.shop.trust] authserv_ids =
                             ["mx.shop.example"], if that is your own provider

1 thing must be mended, 1 warning"""
    )


@pytest.mark.parametrize(
    ("states", "summary"),
    [
        ([State.OK, State.INFO], "all is well"),
        ([State.OK, State.WARN, State.WARN], "works, with 2 warnings"),
        ([State.BAD, State.BAD, State.OK], "2 things must be mended"),
    ],
)
def test_a_check_is_summed_up(states: list[State], summary: str) -> None:
    on = console()
    show_check([Finding("part", "what", state, "words") for state in states], on)
    assert shown(on).splitlines()[-1] == summary


def test_colours_only_repeat_the_words() -> None:
    plain, coloured = console(), console(colours=True)
    for on in (plain, coloured):
        show_check(FINDINGS, on)
    assert isinstance(coloured.file, StringIO)
    text = coloured.file.getvalue()
    assert "\x1b[" in text
    without = "".join(part.partition("m")[2] for part in ("m" + text).split("\x1b["))
    assert [line.rstrip() for line in without.splitlines()] == shown(plain).splitlines()


def test_a_narrow_terminal_loses_nothing() -> None:
    on = console(width=50)
    show_check(FINDINGS, on)
    assert '"mx.shop.example"' in flat(shown(on))
    assert max(len(line) for line in shown(on).splitlines()) <= 50


# --- status ------------------------------------------------------------------------------------


def account(**changes: Any) -> dict[str, Any]:
    return {
        "account": "shop",
        "replies": True,
        "money": False,
        "paused": None,
        "reply_mode": "plus",
        "reply_mode_proven": True,
        "evidence_of_origin": "clean Sent copy",
        "probe": {},
        "seen_until": {"quick": AT, "wide": None, "full": AT},
        "counts": {
            "discussions": {"open": 12, "closed": 3},
            "filings": {"filed": 40},
            "replies": {},
            "deliveries": {},
            "closings": {},
        },
        "answers_due": {"overdue": 0, "soon": 0, "later": 0, "treated": 0, "next": []},
        "held": [],
        "stuck": [],
        "set_aside": [],
        "unreadable": [],
        "moving": [],
        **changes,
    }


def part(state: str, error: str = "") -> dict[str, Any]:
    retry = AT if state == "waiting" else None
    return {"name": "shop/filing", "state": state, "since": AT, "error": error, "retry_at": retry}


UNREADABLE = {
    "kind": "order",
    "id": "26112",
    "discussion": "",
    "since": AT,
    "tried_at": AT,
    "words": "createdAt: not a date",
    "lasts": True,
}


def status(*parts: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"accounts": [account(**changes)], "parts": list(parts)}


HELD = [{"discussion": "CD-7F3K2", "reply": "a1b2c3", "reason": "not_proven"}]
STUCK = [{"discussion": "CD-7F3K2", "reply": "a1b2c3", "state": "uncertain", "words": "lost"}]
MONEY = {
    "movement": 3,
    "reply": None,
    "state": "uncertain",
    "kind": "refund",
    "order": "2411231100AB1CD",
    "amount": "49.90",
    "moved": "0",
    "unshown": False,
    "asked_at": AT,
    "words": "silence",
}
ASIDE = [{"discussion": "CD-7F3K2", "mail": "message:1", "error": "[ALERT] too big"}]


def test_a_quiet_status() -> None:
    on = console()
    assert show_status(status(part("running")), on, quiet=False) is False
    text = shown(on)
    for line in (
        "  replies             on",
        "  reply mode          plus, proven",
        "  evidence of origin  clean Sent copy",
        f"  marketplace read    quick {local(AT)}, full {local(AT)}",
        "  discussions         3 closed, 12 open",
        "  closings            none",
        f"  running   shop/filing  since {local(AT)}",
        "nothing needs attention",
    ):
        assert line in text.splitlines(), text


def test_money_that_waits_is_named_and_needs_no_operator() -> None:
    on = console()
    waiting = {**MONEY, "state": "waiting", "kind": "gesture"}
    assert show_status(status(part("running"), moving=[waiting]), on, quiet=False) is False
    assert "  2411231100AB1CD  49.90 EUR  gesture, waiting" in shown(on).splitlines()


def test_money_that_a_person_is_asked_about_needs_one() -> None:
    on = console()
    unshown = {**MONEY, "state": "granted", "kind": "gesture", "unshown": True}
    assert show_status(status(part("running"), moving=[unshown]), on, quiet=False) is True
    text = shown(on)
    assert "the thread asks a person whether it was paid" in flat(text)
    assert "  2411231100AB1CD  49.90 EUR  gesture, granted" in text.splitlines()
    assert "under way" not in text


def test_answers_that_are_due_are_named_and_need_no_operator() -> None:
    on = console()
    late = [{"discussion": "CD-7F3K2", "due": AT, "urgency": "overdue"}]
    due = {"overdue": 1, "soon": 0, "later": 7, "treated": 2, "next": late}
    assert show_status(status(part("running"), answers_due=due), on, quiet=False) is False
    lines = shown(on).splitlines()
    assert "  answers due         1 overdue, 0 soon, 7 later" in lines
    assert "  treated             2 open, marked as treated at the marketplace" in lines
    assert f"  {local(AT)}  CD-7F3K2    overdue" in lines


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (status(paused="nights off"), "PAUSED: nights off -> mailbridge resume shop"),
        (status(held=HELD), "CD-7F3K2 a1b2c3 not proven"),
        (status(stuck=STUCK), "CD-7F3K2 a1b2c3 uncertain: lost"),
        (status(moving=[MONEY]), "2411231100AB1CD 49.90 EUR refund, uncertain"),
        (status(set_aside=ASIDE), "CD-7F3K2 message:1 [ALERT] too big"),
        (status(unreadable=[UNREADABLE]), f"order 26112 {local(AT)} createdAt: not a date"),
        (status(part("failed", "no such right")), f"since {local(AT)}: no such right"),
        (
            status(part("waiting", "the server is away")),
            f"the server is away; next try {local(AT)}",
        ),
    ],
    ids=["paused", "held", "stuck", "money", "set aside", "unreadable", "failed", "waiting"],
)
def test_what_needs_a_person(answer: dict[str, Any], words: str) -> None:
    on = console()
    assert show_status(answer, on, quiet=False) is True
    assert words in flat(shown(on))
    assert shown(on).splitlines()[-1] == "something needs attention"

    silent = console()
    assert show_status(answer, silent, quiet=True) is True
    assert shown(silent) == ""


def test_what_was_unreadable_just_now_is_shown_and_needs_nobody_yet() -> None:
    on = console()
    ones = [
        {**UNREADABLE, "kind": "discussion", "id": ident, "discussion": short, "lasts": False}
        for ident, short in (("", ""), ("?", ""), ("77", ""), ("78", "CD-7F3K2"))
    ]
    assert show_status(status(unreadable=ones * 30), on, quiet=False) is False
    text = shown(on)
    for name in ("a whole list", "discussion without an id", "discussion 77", "CD-7F3K2"):
        assert f"  {name} " in text
    assert "120 unreadable" in text and "and 100 more" in text
    assert "-> tried again by itself" in text


@pytest.mark.parametrize("state", ["starting", "running"])
def test_a_part_at_work_needs_nobody(state: str) -> None:
    assert show_status(status(part(state)), console(), quiet=True) is False


def test_a_status_without_a_daemon_says_so() -> None:
    on = console()
    show_status(status(), on, quiet=False)
    assert "the daemon is not running" in shown(on)
    with_daemon = console()
    show_status(status(part("running")), with_daemon, quiet=False)
    assert "not running" not in shown(with_daemon)


def test_many_held_replies_and_long_words_stay_in_their_columns() -> None:
    long = "550 5.7.1 the server has said very much indeed, " * 5
    on = console()
    answer = status(
        held=HELD * 30,
        stuck=[{**STUCK[0], "reply": "f" * 32, "words": long}],
        set_aside=[{**ASIDE[0], "mail": "message:" + "9" * 80}],
    )
    show_status(answer, on, quiet=False)
    text = flat(shown(on))
    assert "30 held" in text
    assert "[ALERT]" in text


# --- show --------------------------------------------------------------------------------------


def discussion(**changes: Any) -> dict[str, Any]:
    return {
        "account": "shop",
        "discussion": "CD-7F3K2",
        "id": "48211937",
        "kind": "order_question",
        "status": "open",
        "treatment": "treated",
        "order": "2611201A8ZQ4",
        "folder": "INBOX",
        "mails": 3,
        "lease": "sure",
        "lease_confirmed_at": AT,
        "waiting_since": None,
        "answer_due": None,
        "messages": [{"at": AT, "author": "customer", "key": "2026-11-23T10:02:33#0"}],
        "replies": [
            {
                "reply": "a1b2c3",
                "from": "paul@shop.example",
                "at": AT,
                "state": "held",
                "reason": "not_proven",
                "evidence": "",
                "commands": ["close"],
            }
        ],
        "deliveries": [
            {
                "reply": "a1b2c3",
                "number": 1,
                "state": "recorded",
                "attempts": 1,
                "submitted_at": AT,
                "recorded_at": AT,
                "words": "250 [ok] queued",
            }
        ],
        "money": [MONEY],
        "closings": [{"state": "waiting", "answer": "last_answer_not_ours", "attempts": 2}],
        "events": [{"at": AT, "what": "filing stored", "subject": "message:1", "detail": ""}],
        **changes,
    }


def test_a_discussion_is_shown_whole() -> None:
    on = console()
    show_discussion(discussion(), on)
    text = shown(on)
    assert "CD-7F3K2 (shop)" in text.splitlines()
    assert "  marketplace number  48211937" in text
    assert "  kind                order question" in text
    assert "  marked there as     treated" in text
    assert f"  relay address       sure, confirmed {local(AT)}" in text
    for words in (
        f"{local(AT)} customer 2026-11-23T10:02:33#0",
        f"{local(AT)} a1b2c3 held: not proven paul@shop.example; commands: close",
        f"{local(AT)} a1b2c3 #1 recorded recorded {local(AT)}; 1 try; 250 [ok] queued",
        "waiting 2 last answer not ours",
        f"{local(AT)} filing stored message:1",
    ):
        assert words in flat(text), text


def test_what_there_is_none_of_has_no_heading() -> None:
    on = console()
    show_discussion(
        discussion(
            order=None,
            lease_confirmed_at=None,
            replies=[],
            money=[],
            deliveries=[],
            closings=[],
            events=[],
        ),
        on,
    )
    text = shown(on)
    assert "  order               none" in text
    for heading in ("replies", "money", "deliveries", "closings", "events"):
        assert heading not in text.splitlines()
