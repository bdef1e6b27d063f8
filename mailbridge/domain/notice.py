"""What mailbridge says to staff inside a thread: holds, receipts and the like, as values.

The journal stores a notice as this value (JSON) and `templates/mail/` puts it into words, so a
notice can be filed again in the same words after a crash, in either language. A code and a
command that takes it are never printed together (see `codes` in docs/trust.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

__all__ = ["MONEY_REASONS", "Done", "DoneKind", "HoldReason", "Notice", "NoticeKind"]


class NoticeKind(StrEnum):
    """What a notice is for."""

    HOLD = "hold"
    """Nothing was sent or done: `reason` says why, `code` may release it. Unread."""
    RECEIPT = "receipt"
    """All that a reply asked for is settled: `done` lists each thing, `text` as sent. Read."""
    TROUBLE = "trouble"
    """A reply or close under way needs a person's eye: `reason` says why. Unread."""
    CONFIRM = "confirm"
    """Asks whether this money is to move: `facts` say what will be done, `code` confirms it."""
    HELP = "help"
    """The commands, in answer to a request for help. Read."""
    PROBE = "probe"
    """Asks an agent to answer « test » once, to prove the reply address. Unread."""
    NEWS = "news"
    """Something about the discussion itself (twin thread, reopened …): `done`. Read."""


_ASKING = frozenset({NoticeKind.HOLD, NoticeKind.TROUBLE, NoticeKind.CONFIRM, NoticeKind.PROBE})


class HoldReason(StrEnum):
    """Why something is held or needs a person; the comment names the `facts` each one carries."""

    NOT_PROVEN = "not_proven"  # sender: origin of the mail could not be proven; code
    NOT_STAFF = "not_staff"  # sender: From is no configured staff identity; code
    OTHER_RECIPIENTS = "other_recipients"  # addresses: further recipients beside the reply address
    NO_THREAD = "no_thread"  # reply address right, but not an answer to a mail of this thread
    TWO_DISCUSSIONS = "two_discussions"  # ids: addresses and In-Reply-To name two discussions
    UNKNOWN_COMMAND = "unknown_command"  # line
    NEAR_COMMAND = "near_command"  # line, meant: nearly a command
    BAD_ARGUMENT = "bad_argument"  # line
    MISPLACED_COMMAND = "misplaced_command"  # line: not where this command is obeyed
    CONTRADICTION = "contradiction"  # line, other: two commands that exclude each other
    ECHOED_COMMAND = "echoed_command"  # line: the same line stands in the customer's words
    PARTS_DIFFER = "parts_differ"  # text and HTML part of the mail hold different commands
    TEXT_IN_QUOTE = "text_in_quote"  # line: words stand between the lines of the quoted mail
    ORDER_IN_THREAD = "order_in_thread"  # line: names an order, in a thread that has its own
    FIRST_MAIL = "first_mail"  # line: not in a mail that writes first about an order
    NO_DISCUSSION = "no_discussion"  # line: the marketplace has none yet that it could be done to
    BAD_ORDER = "bad_order"  # number: as it was given; no order could have it
    UNKNOWN_ORDER = "unknown_order"  # order: the marketplace shows none of this number
    ORDER_UNREACHABLE = "order_unreachable"  # order, words: it gives no address any more
    MONEY_OFF = "money_off"  # line: refunds by mail are switched off
    COLLEAGUE_ANSWERED = "colleague_answered"  # who, at: a colleague answered this mail already
    NEAR_DUPLICATE = "near_duplicate"  # at: nearly the same reply minutes ago
    TOO_OLD = "too_old"  # date, days: written before the limit
    FOUND_IN_SENT = "found_in_sent"  # date: already lay in Sent at a first start or recovery
    NO_TEXT = "no_text"  # nothing left once quotes and signature are removed
    UNREADABLE = "unreadable"  # what: the mail could not be parsed
    TWO_FROM = "two_from"  # several From headers or authors
    TOO_BIG = "too_big"  # size, limit: in octets as text
    ATTACHMENTS = "attachments"  # names, limit: against the channel's limits, in words
    TEXT_LENGTH = "text_length"  # length, min, max: in characters
    MAYBE_AUTOMATIC = "maybe_automatic"  # sign: looks like an absence message
    LEAK = "leak"  # what: the text holds something that must not reach the customer
    REPLIES_OFF = "replies_off"  # replies are switched off for this account
    PAUSED = "paused"  # the operator paused this account
    NO_ADDRESS = "no_address"  # answer: the marketplace gives no relay address
    ADDRESS_EXPIRED = "address_expired"  # confirmed: older than four weeks and not confirmed again
    SUBMISSION_REFUSED = "submission_refused"  # reply: the shop's own server refused, in its words
    SUBMISSION_DELAYED = "submission_delayed"  # reply, since: not through yet, still trying
    SUBMISSION_GAVE_UP = "submission_gave_up"  # reply, since
    SUBMISSION_UNCERTAIN = "submission_uncertain"  # detail: may have gone out; waiting for evidence
    UNRECORDED = "unrecorded"  # since: the marketplace does not show the reply yet
    BOUNCED = "bounced"  # words: the relay sent it back
    CLOSE_LAST_ANSWER = "close_last_answer"  # the marketplace says the last word is not the shop's
    CLOSE_CANCEL_PENDING = "close_cancel_pending"  # a cancellation request is pending; still trying
    CLOSE_NOT_FOUND = "close_not_found"  # the marketplace does not know the discussion
    CLOSE_UNCLEAR = "close_unclear"  # answer: an answer we have no name for
    CLOSE_GAVE_UP = "close_gave_up"  # since
    MARKETPLACE_REFUSED = "marketplace_refused"  # words
    BAD_CODE = "bad_code"  # tries: code wrong, used or too old
    NOTHING_HELD = "nothing_held"  # line: a command about a held reply, and none is held
    NOTHING_TO_RESEND = "nothing_to_resend"  # the reply is recorded, or was never sent
    CANNOT_REOPEN = "cannot_reopen"  # this marketplace cannot reopen
    UNKNOWN_MOTIVE = "unknown_motive"  # line: a gesture for a motive there is none of
    CONFIRMATION_TEXT = "confirmation_text"  # words in answer to a question about money
    NOTHING_TO_CONFIRM = "nothing_to_confirm"  # line: no money waits for a confirmation
    # The following carry what was asked for (movement, order, amount, items, by, motive or cause,
    # shipping, whole) and `held`, "yes" where the text of the reply is held with it.
    MONEY_IMPOSSIBLE = "money_impossible"  # obstacle (see domain/money) and its facts
    MONEY_REFUSED = "money_refused"  # words: the marketplace said no, nothing moved
    MONEY_UNCERTAIN = "money_uncertain"  # it may have moved; the order is being watched
    MONEY_ABSENT = "money_absent"  # two readings show that it did not move; code
    MONEY_PARTLY = "money_partly"  # missing, moved, words: only some lines
    MONEY_LATE = "money_late"  # said not to have moved, and it has after all
    MONEY_LAPSED = "money_lapsed"  # nobody confirmed it in time
    MONEY_DELAYED = "money_delayed"  # words: cannot be asked for yet
    MONEY_UNSHOWN = "money_unshown"  # since: by a former API, a person is to say; code
    MONEY_UNPROVEN = "money_unproven"  # since, unsure: granted (or it may be), not shown yet
    MONEY_OTHER_FAILED = "money_other_failed"  # who: asked the same, in vain
    TEMPLATE_BROKEN = "template_broken"  # name, what: a template of the shop's own fails
    UNKNOWN_TEMPLATE = "unknown_template"  # line, near: names that may have been meant
    TEMPLATE_NEEDS = "template_needs"  # line, title, what: order, details, parcel or discussion
    TEMPLATE_VALUES = "template_values"  # line, title, missing, unknown, completed


MONEY_REASONS = frozenset(r for r in HoldReason if r.startswith("money_")) - {HoldReason.MONEY_OFF}
"""Reasons that concern one movement of money."""


class DoneKind(StrEnum):
    """One settled thing in a receipt; the comment names its `facts`."""

    WRITTEN_FIRST = "written_first"  # order, by: a text about an order is on its way
    GOES_ON = "goes_on"  # other: what is said about it now stands in that thread
    JOINED = "joined"  # other: a text of ours that stands in that thread belongs here
    SENT = "sent"  # at, to (words, no address): accepted by the shop's server
    RECORDED = "recorded"  # at: the marketplace shows it
    CLOSED = "closed"  # at
    ALREADY_CLOSED = "already_closed"  # at
    CLOSE_CANCELLED = "close_cancelled"  # the customer wrote again meanwhile
    CLOSE_WITHDRAWN = (
        "close_withdrawn"  # an agent undid the close; why: "money" if that did not move
    )
    REOPENED = "reopened"  # at
    NOTED = "noted"  # kept inside
    CANCELLED = "cancelled"  # an agent stopped it before it left
    REPLACED = "replaced"  # a newer reply took its place
    RELEASED = "released"  # by, at: sent after a hold
    NOT_SENT = "not_sent"  # nothing to send: commands only
    REFUNDED = "refunded"  # order, amount, items, at: shown by the order
    ORDER_CANCELLED = "order_cancelled"  # order, amount, items, at
    GESTURE_GIVEN = "gesture_given"  # order, amount, motive, at
    SAME_MONEY = "same_money"  # movement, order, amount, who, at: a colleague's request did it
    MONEY_WITHDRAWN = "money_withdrawn"
    """movement, order, amount, unsent (the text beside it): dropped before it was asked for."""
    TEMPLATE_CLOSES = "template_closes"  # title: the close was asked for by the template used
    TWIN = "twin"  # other: the same exchange has another number
    ORDER_CHANGED = "order_changed"  # topics (words of `showing.Topic`): since the last card
    ESCALATED = "escalated"  # level: the marketplace takes the case further
    CUSTOMER_AGAIN = "customer_again"  # unread words in a closed discussion
    ACKNOWLEDGED = "acknowledged"  # at: an automatic acknowledgement went out
    NOT_ACKNOWLEDGED = "not_acknowledged"  # why (words of `acknowledgement.Failure`), words


@dataclass(frozen=True, slots=True)
class Done:
    """One line of a receipt."""

    kind: DoneKind
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail of ours to staff, before it is put into words.

    `facts` are words for the template, already cleaned; `text` is the reply concerned, as
    written or as sent; `code` the one-time code that releases it, empty for none.
    """

    kind: NoticeKind
    reason: HoldReason | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    done: tuple[Done, ...] = ()
    text: str = ""
    code: str = ""

    @property
    def unread(self) -> bool:
        """Whether it asks for a person's eye."""
        escalated = any(done.kind is DoneKind.ESCALATED for done in self.done)
        return escalated or self.kind in _ASKING

    def to_json(self) -> str:
        """For the journal; `from_json` gives an equal value back."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, data: str) -> Notice:
        """Raises ValueError or KeyError for what `to_json` never wrote."""
        raw = json.loads(data)
        if not isinstance(raw, dict):
            raise ValueError("not a notice")
        return cls(
            kind=NoticeKind(raw["kind"]),
            reason=HoldReason(raw["reason"]) if raw["reason"] else None,
            facts=raw["facts"],
            done=tuple(Done(DoneKind(d["kind"]), d["facts"]) for d in raw["done"]),
            text=raw["text"],
            code=raw["code"],
        )
