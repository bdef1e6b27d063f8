"""One sample of everything the templates may be given: for `mailbridge check` and for tests.

A shop's own template is tried on all of these before a customer's message depends on it. The
facts follow the comments in `domain.notice`, one entry for each reason and each settled thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from mailbridge.domain.deadline import Urgency
from mailbridge.domain.digest import (
    Answer,
    Digest,
    Figures,
    Movement,
    MovementNeed,
    Sums,
    Trouble,
    arrange,
)
from mailbridge.domain.discussion import Author, AuthorKind, DiscussionKind, Message
from mailbridge.domain.money import MovementKind, Obstacle
from mailbridge.domain.notice import Done, DoneKind, HoldReason, Notice, NoticeKind
from mailbridge.domain.order import LineStage, Order, OrderLine, OrderStage, Parcel, Voucher
from mailbridge.domain.thread import Thread
from mailbridge.mail.compose import Composer
from mailbridge.mail.digest import digest_mail
from mailbridge.mail.rendering import TemplateBroken

__all__ = [
    "DONE_FACTS",
    "HOLD_FACTS",
    "SAMPLE_MESSAGE",
    "SAMPLE_ORDER",
    "SAMPLE_THREAD",
    "TROUBLES",
    "sample_digests",
    "sample_notices",
    "try_templates",
]

_NOON = datetime(2026, 11, 21, 11, 2, tzinfo=UTC)

SAMPLE_THREAD = Thread(
    discussion_id="48211937",
    reference="48211937",
    short="cd-1dzb1h",
    kind=DiscussionKind.CLAIM,
    subject="Colis non reçu – commande 2611201A8ZQ4 (CD-1DZB1H)",
    customer="Marie Dupré",
    reply_address="support+mb-cd-1dzb1h-abcdefghijklmnop@boutique.example",
    started_at=_NOON - timedelta(days=1),
    first_message_id="<m.cd-1dzb1h.0.abcdefghijklmnop@mb.boutique.example>",
    order_number="2611201A8ZQ4",
    relay_address="c.0123456789abcdef0123456789abcdef@clemarche.example",
    relay_confirmed_at=_NOON - timedelta(hours=2),
    claim_type="PackageNotReceived",
)

SAMPLE_MESSAGE = Message(
    raw_time="2026-11-21T12:02:00",
    sent_at=_NOON,
    author=Author(AuthorKind.CUSTOMER, "Marie Dupré"),
    text=(
        "Bonjour,\n\nle suivi indique que mon colis a été livré mardi, mais je n'ai rien reçu.\n"
        "Le gardien non plus. Pouvez-vous vérifier auprès du transporteur ?\n\n"
        "Merci d'avance,\nMarie Dupré"
    ),
)

SAMPLE_ORDER = Order(
    number="2611201A8ZQ4",
    state="Shipped",
    stage=OrderStage.SHIPPED,
    created_at=_NOON - timedelta(days=6),
    customer_name="Marie Dupré",
    lines=(
        OrderLine(
            row=1,
            reference="COQ-IP15-NOIR",
            name="Coque souple pour iPhone 15, noire, avec protection d'écran",
            quantity=2,
            unit_price=Decimal("12.45"),
            state="ShippedBySeller",
            stage=LineStage.SHIPPED,
            condition="New",
            has_claim=True,
        ),
        OrderLine(
            row=2,
            reference="CAB-USBC-2M",
            name="Câble USB-C tressé 2 m",
            quantity=1,
            unit_price=Decimal("9.90"),
            state="RefundedAfterShipping",
            stage=LineStage.REFUNDED,
            condition="Refurbished",
        ),
    ),
    parcels=(
        Parcel(
            number="8R41233456789",
            carrier="Colissimo",
            tracking_url="https://www.laposte.fr/outils/suivre-vos-envois?code=8R41233456789",
            status="Delivered",
        ),
    ),
    vouchers=(Voucher(Decimal("9.90"), 132, _NOON - timedelta(days=2), "Seller"),),
    total=Decimal("38.70"),
    shipping_total=Decimal("3.90"),
    ship_by=_NOON - timedelta(days=4),
    deliver_by=_NOON + timedelta(days=1),
    has_claims=True,
)

_R = HoldReason
_AT = "2026-11-21T10:02:00+01:00"

_REFUND = {
    "movement": "refund",
    "order": "2610191043CLE8Z",
    "amount": "34.90",
    "items": "VASE-BLEU (Vase bleu en grès)",
    "by": "Paul Martin",
    "cause": "claim",
    "shipping": "yes",
    "whole": "",
    "held": "yes",
}
_CANCELLATION = {**_REFUND, "movement": "cancellation", "whole": "yes"}
_OBSTACLE = {
    "number": "2610191043CLE8Z",
    "reference": "TASSE",
    "known": "VASE-BLEU, LAMPE-2",
    "state": "Shipped",
    "others": "LAMPE-2",
    "motive": "131",
    "allowed": "135, 139",
    "left": "10.00",
    "limit": "20.00",
    "spent": "15.00",
}
"""Every fact that one obstacle or another carries."""
_GESTURE = {
    "movement": "gesture",
    "order": "2610191043CLE8Z",
    "amount": "12.50",
    "items": "",
    "by": "Paul Martin",
    "motive": "135",
}

HOLD_FACTS: Mapping[HoldReason, Mapping[str, str]] = {
    _R.NOT_PROVEN: {"sender": "paul@boutique.example"},
    _R.NOT_STAFF: {"sender": "paul@ailleurs.example"},
    _R.OTHER_RECIPIENTS: {"addresses": "compta@boutique.example, marie@example.org"},
    _R.NO_THREAD: {},
    _R.TWO_DISCUSSIONS: {"ids": "CD-1DZB1H, CD-7F3K2"},
    _R.UNKNOWN_COMMAND: {"line": "!colos"},
    _R.NEAR_COMMAND: {"line": "#resoluu", "meant": "!résolu"},
    _R.BAD_ARGUMENT: {"line": "!clos demain"},
    _R.MISPLACED_COMMAND: {"line": "!note"},
    _R.CONTRADICTION: {"line": "!clos", "other": "!rouvrir"},
    _R.ECHOED_COMMAND: {"line": "!clos"},
    _R.PARTS_DIFFER: {},
    _R.TEXT_IN_QUOTE: {"line": "Oui, il est parti hier."},
    _R.ORDER_IN_THREAD: {"line": "!commande 2611201A8ZQ4"},
    _R.FIRST_MAIL: {"line": "!rembourser total"},
    _R.NO_DISCUSSION: {"line": "!clos"},
    _R.BAD_ORDER: {"number": "26/11"},
    _R.UNKNOWN_ORDER: {"order": "2611201A8ZQ4"},
    _R.ORDER_UNREACHABLE: {"order": "2611201A8ZQ4", "words": "alias expiré"},
    _R.MONEY_OFF: {"line": "!rembourser total"},
    _R.COLLEAGUE_ANSWERED: {"who": "Paul Martin", "at": _AT},
    _R.NEAR_DUPLICATE: {"at": _AT},
    _R.TOO_OLD: {"date": "08/11/2026", "days": "7"},
    _R.FOUND_IN_SENT: {"date": "20/11/2026"},
    _R.NO_TEXT: {},
    _R.UNREADABLE: {"what": "jeu de caractères inconnu « x-mac-klingon »"},
    _R.TWO_FROM: {},
    _R.TOO_BIG: {"size": "20 Mo", "limit": "15 Mo"},
    _R.ATTACHMENTS: {"names": "facture.exe", "limit": "jpg, pdf, png"},
    _R.TEXT_LENGTH: {"length": "4210", "min": "1", "max": "4000"},
    _R.MAYBE_AUTOMATIC: {"sign": "Absence du bureau : de retour lundi"},
    _R.LEAK: {"what": "reply_address"},
    _R.REPLIES_OFF: {},
    _R.PAUSED: {},
    _R.NO_ADDRESS: {"answer": "NotFound"},
    _R.ADDRESS_EXPIRED: {"confirmed": "2026-10-20T09:00:00+02:00"},
    _R.SUBMISSION_REFUSED: {"reply": "550 5.7.1 daily sending quota exceeded"},
    _R.SUBMISSION_DELAYED: {"reply": "451 4.3.0 try again later", "since": _AT},
    _R.SUBMISSION_GAVE_UP: {"reply": "451 4.3.0 try again later", "since": _AT},
    _R.SUBMISSION_UNCERTAIN: {"detail": "connexion perdue après le point final"},
    _R.UNRECORDED: {"since": _AT},
    _R.BOUNCED: {"words": "550 5.1.1 mailbox unavailable"},
    _R.CLOSE_LAST_ANSWER: {},
    _R.CLOSE_CANCEL_PENDING: {},
    _R.CLOSE_NOT_FOUND: {},
    _R.CLOSE_UNCLEAR: {"answer": "SomethingNew"},
    _R.CLOSE_GAVE_UP: {"since": _AT},
    _R.MARKETPLACE_REFUSED: {"words": "UnexpectedException"},
    _R.BAD_CODE: {"tries": "2"},
    _R.NOTHING_HELD: {"line": "!envoyer"},
    _R.NOTHING_TO_RESEND: {},
    _R.CANNOT_REOPEN: {},
    _R.UNKNOWN_MOTIVE: {"line": "!geste 5 € caprice"},
    _R.CONFIRMATION_TEXT: {"doubt": ""},
    _R.NOTHING_TO_CONFIRM: {"line": "!confirmer 123 456"},
    _R.MONEY_IMPOSSIBLE: {**_REFUND, "obstacle": "already_refunded"},
    _R.MONEY_REFUSED: {**_REFUND, "words": "La ligne n'est pas dans un état remboursable."},
    _R.MONEY_UNCERTAIN: _REFUND,
    _R.MONEY_ABSENT: {**_REFUND, "seen_by": ""},
    _R.MONEY_UNSHOWN: {**_GESTURE, "since": _AT},
    _R.MONEY_PARTLY: {**_REFUND, "missing": "LAMPE-2", "moved": "19.90", "words": ""},
    _R.MONEY_LATE: _REFUND,
    _R.MONEY_LAPSED: _REFUND,
    _R.MONEY_DELAYED: {**_REFUND, "words": "the service is not available (HTTP 503)"},
    _R.MONEY_UNPROVEN: {**_REFUND, "since": _AT, "unsure": ""},
    _R.MONEY_OTHER_FAILED: {**_REFUND, "who": "Paul Martin"},
    _R.TEMPLATE_BROKEN: {"name": "replies/excuses.txt.j2", "what": "'nom' is undefined"},
    _R.UNKNOWN_TEMPLATE: {"line": "!modèle coli", "near": "colis, enquete"},
    _R.TEMPLATE_NEEDS: {
        "line": "!modèle colis",
        "title": "Où est mon colis ?",
        "what": "parcel",
    },
    _R.TEMPLATE_VALUES: {
        "line": "!modèle colis delais=3",
        "title": "Où est mon colis ?",
        "missing": "transporteur (le nom du transporteur), suivi (le numéro de suivi)",
        "unknown": "delais (delai ?)",
        "completed": '!modèle colis transporteur="…" suivi="…"',
    },
}

WITH_CODE = frozenset(
    {
        _R.NOT_PROVEN,
        _R.NOT_STAFF,
        _R.COLLEAGUE_ANSWERED,
        _R.NEAR_DUPLICATE,
        _R.TOO_OLD,
        _R.FOUND_IN_SENT,
        _R.MAYBE_AUTOMATIC,
        _R.MONEY_ABSENT,
        _R.MONEY_UNSHOWN,
    }
)

TROUBLES = frozenset(
    {
        _R.SUBMISSION_DELAYED,
        _R.SUBMISSION_UNCERTAIN,
        _R.UNRECORDED,
        _R.BOUNCED,
        _R.CLOSE_LAST_ANSWER,
        _R.CLOSE_CANCEL_PENDING,
        _R.CLOSE_NOT_FOUND,
        _R.CLOSE_UNCLEAR,
        _R.CLOSE_GAVE_UP,
    }
)

_D = DoneKind

DONE_FACTS: Mapping[DoneKind, Mapping[str, str]] = {
    _D.WRITTEN_FIRST: {"order": "2611201A8ZQ4", "by": "Paul Martin"},
    _D.GOES_ON: {"other": "CD-7F3K2"},
    _D.JOINED: {"other": "CD-X7F3K2"},
    _D.SENT: {"at": _AT, "to": "Marie Dupré"},
    _D.RECORDED: {"at": _AT},
    _D.CLOSED: {"at": _AT},
    _D.ALREADY_CLOSED: {"at": _AT},
    _D.CLOSE_CANCELLED: {},
    _D.CLOSE_WITHDRAWN: {},
    _D.REOPENED: {"at": _AT},
    _D.NOTED: {},
    _D.CANCELLED: {},
    _D.REPLACED: {},
    _D.RELEASED: {"by": "Paul Martin", "at": _AT},
    _D.NOT_SENT: {},
    _D.REFUNDED: {**_REFUND, "at": _AT, "seen_by": ""},
    _D.ORDER_CANCELLED: {**_CANCELLATION, "at": _AT, "seen_by": ""},
    _D.GESTURE_GIVEN: {**_GESTURE, "at": _AT, "seen_by": ""},
    _D.SAME_MONEY: {**_REFUND, "who": "Paul Martin", "at": _AT},
    _D.MONEY_WITHDRAWN: {**_REFUND, "unsent": "yes"},
    _D.TEMPLATE_CLOSES: {"title": "Remerciements et clôture"},
    _D.TWIN: {"other": "CD-7F3K2"},
    _D.ESCALATED: {"level": "Level_1"},
    _D.CUSTOMER_AGAIN: {},
    _D.ACKNOWLEDGED: {"at": _AT},
    _D.NOT_ACKNOWLEDGED: {"why": "refused", "words": "554 5.7.1 Message refused"},
    _D.ORDER_CHANGED: {"topics": "state parcels"},
}

_NEWS = frozenset(
    {
        _D.WRITTEN_FIRST,
        _D.GOES_ON,
        _D.JOINED,
        _D.TWIN,
        _D.ESCALATED,
        _D.CUSTOMER_AGAIN,
        _D.ACKNOWLEDGED,
        _D.NOT_ACKNOWLEDGED,
        _D.REOPENED,
        _D.ORDER_CHANGED,
    }
)

_WITH_TEXT = frozenset({_D.WRITTEN_FIRST, _D.JOINED, _D.ACKNOWLEDGED})

_REPLY = "Bonjour Marie,\n\nnous ouvrons une enquête auprès du transporteur.\n\nPaul"


def sample_notices() -> Iterator[Notice]:
    """Every kind of notice, with every reason and every settled thing, with and without code."""
    for reason, facts in HOLD_FACTS.items():
        kind = NoticeKind.TROUBLE if reason in TROUBLES else NoticeKind.HOLD
        yield Notice(kind, reason, facts, text=_REPLY)
        if reason in WITH_CODE:
            yield Notice(kind, reason, facts, text=_REPLY, code="482913")
    for done, facts in DONE_FACTS.items():
        news = done in _NEWS
        yield Notice(
            NoticeKind.NEWS if news else NoticeKind.RECEIPT,
            done=(Done(done, facts),),
            text=_REPLY if not news or done in _WITH_TEXT else "",
        )
    yield Notice(
        NoticeKind.RECEIPT,
        done=tuple(Done(d, DONE_FACTS[d]) for d in (_D.SENT, _D.RECORDED, _D.CLOSED)),
        text=_REPLY,
    )
    for facts in (_REFUND, _CANCELLATION, _GESTURE, {**_GESTURE, "same_at": _AT}):
        yield Notice(
            NoticeKind.CONFIRM, facts={**facts, "until": _AT, "with_text": "yes"}, code="482913"
        )
    for obstacle in Obstacle:
        about = {**_REFUND, **_OBSTACLE, "obstacle": obstacle}
        yield Notice(NoticeKind.HOLD, HoldReason.MONEY_IMPOSSIBLE, about, text=_REPLY)
    yield Notice(NoticeKind.HELP)
    yield Notice(NoticeKind.PROBE)


def sample_digests() -> Iterator[Digest]:
    """A digest with everything in it that there can be, and one of a quiet day."""
    name, day = SAMPLE_THREAD.discussion_id, _NOON.date()
    held = [
        Trouble(name if known else None, reason, _NOON, HOLD_FACTS[reason], "Paul")
        for reason in (HoldReason.NOT_PROVEN, HoldReason.MONEY_REFUSED)
        for known in (True, False)
    ]
    yield arrange(
        day,
        _NOON,
        _NOON - timedelta(days=1),
        figures=Figures(
            31, 28, 9, 11, Sums(2, Decimal("84.80")), Sums(1, Decimal(5)), timedelta(minutes=190)
        ),
        answers=[
            Answer(name, _NOON + timedelta(hours=number), urgency)
            for urgency in Urgency
            for number in range(12)
        ],
        held=[*held, *held[:1] * 20],
        money=[
            Movement(name, "2611201A8ZQ4", kind, Decimal("12.50"), need, _NOON, "Paul")
            for kind in (*MovementKind, None)
            for need in (*MovementNeed, *MovementNeed)
        ],
        failed=[*held, Trouble(None, "", _NOON)],
        unfiled=2,
        read_until=_NOON - timedelta(hours=3),
    )
    yield arrange(day, _NOON, _NOON - timedelta(days=1), figures=Figures())


def _shown(notice: Notice) -> Order | None:
    carded = (DoneKind.ORDER_CHANGED, DoneKind.WRITTEN_FIRST)
    return SAMPLE_ORDER if any(done.kind in carded for done in notice.done) else None


def try_templates(composer: Composer) -> list[TemplateBroken]:
    """Compose every sample; what of the shop's own templates does not work, each fault once."""
    made = [
        composer.message_mail(
            SAMPLE_THREAD,
            SAMPLE_MESSAGE,
            key="1",
            date=_NOON,
            order=order,
            answer_by=_NOON + timedelta(days=2) if order else None,
            attachments_missing=True,
        )
        for order in (SAMPLE_ORDER, None)
    ]
    made += [
        composer.notice_mail(SAMPLE_THREAD, notice, key="1", date=_NOON, order=_shown(notice))
        for notice in sample_notices()
    ]
    made += [
        digest_mail(
            composer,
            digest,
            {SAMPLE_THREAD.discussion_id: SAMPLE_THREAD},
            shop="Maison Brindille",
            key="1",
            date=_NOON,
            message_id=SAMPLE_THREAD.first_message_id or "",
        )
        for digest in sample_digests()
    ]
    faults = {str(mail.problem): mail.problem for mail in made if mail.problem is not None}
    return list(faults.values())
