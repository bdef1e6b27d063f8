"""How a person hears of trouble when the mailbox itself is what broke.

Two ways, neither of which needs the broken part: a mail to a second address by a submission
server of its own, and a heartbeat URL that is asked while all is well and whose silence is the
alert (for the day when this machine is what broke).

The rule: one mail for one trouble, one when it is over. A part that comes and goes is one
trouble: it is over only after a while of calm. What fails here is logged and never raised: an
alert that can't be sent must not become a trouble of its own. What counts as trouble is decided
by those who call `trouble` and `well`, the supervisor's states above all.
"""

from __future__ import annotations

import asyncio
import email.policy
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

import httpx
import structlog

from mailbridge.domain.wording import clean_line
from mailbridge.mail.port import Accepted, Deferred, Refused, Submission, Uncertain
from mailbridge.ops.supervisor import Alive, PartState, PartStatus

__all__ = ["AlertSettings", "Alerts"]

log = structlog.get_logger(__name__)

_LOOK_EVERY = 15.0  # seconds between two looks at what there is to tell
_MAIL_PAUSES = (60.0, 300.0, 900.0, 3600.0)  # after so many failures to send, at most an hour
_HEARTBEAT_LIMIT = 10.0
_HEARTBEAT_RETRY = 30.0


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """To whom, in which words and when. Times are in seconds; raises ValueError."""

    host: str
    """What this machine is called in the mail."""
    sender: str = ""
    recipient: str = ""
    """Empty: no mail."""
    heartbeat_url: str = ""
    """Empty: no heartbeat. Never logged: whoever knows it can keep the heart beating."""
    heartbeat_every: float = 300.0
    after: float = 900.0
    """How long something must be wrong before it is told, and the heartbeat stops."""
    calm: float = 120.0
    """How long it must be well before it counts as over."""
    language: str = "fr"
    timezone: tzinfo = UTC

    def __post_init__(self) -> None:
        if self.language not in _WORDS:
            raise ValueError(f"alerts speak {' and '.join(_WORDS)}, not {self.language!r}")
        if self.recipient and not self.sender:
            raise ValueError("alert mails need a sender")
        if self.heartbeat_every <= 0 or self.after < 0 or self.calm < 0:
            raise ValueError("times of alerts must be above 0 s")


@dataclass(frozen=True, slots=True)
class _Told:
    """A trouble as a mail shows it."""

    name: str
    words: str
    since: datetime


@dataclass(slots=True)
class _Trouble:
    words: str
    since: datetime
    begun: float
    well_at: float | None = None
    told: bool = False
    heart_stops: bool = True
    """While it lasts the heart does not beat."""


class Alerts:
    """Keeps what is wrong, and tells it. `observe` is a `Supervisor`'s listener; `run` a part."""

    def __init__(
        self,
        settings: AlertSettings,
        *,
        submission: Submission | None = None,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_id: Callable[[str], str] = lambda domain: make_msgid(domain=domain),
    ) -> None:
        """`submission` is needed for mails, `http` for the heartbeat; their owner closes them.

        `new_id` makes a Message-ID with this right side.
        """
        self._settings = settings
        self._submission = submission if settings.recipient else None
        self._http = http if settings.heartbeat_url else None
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._new_id = new_id
        self._troubles: dict[str, _Trouble] = {}
        self._over: list[_Told] = []
        self._mail_failures = 0
        self._mail_not_before = 0.0

    def observe(self, state: PartState) -> None:
        """Take note of how a part stands; one that never comes up is in trouble too."""
        if state.state is PartStatus.RUNNING:
            self.well(state.name)
        else:
            self.trouble(state.name, state.error)

    def trouble(
        self, name: str, words: str, *, since: datetime | None = None, heart_stops: bool = True
    ) -> None:
        """Something is wrong with `name`; repeated calls are one trouble with newer words.

        `since` when it began, if that was before the first call. Not `heart_stops`: all works, and
        the silence of the heart is kept for what does not.
        """
        known = self._troubles.get(name)
        if known is None:
            begun = self._monotonic()
            self._troubles[name] = _Trouble(
                words, since or self._clock(), begun, heart_stops=heart_stops
            )
        else:
            known.words = words or known.words
            known.well_at = None

    def well(self, name: str) -> None:
        """All is well with `name` just now; safe to repeat."""
        known = self._troubles.get(name)
        if known is not None and known.well_at is None:
            known.well_at = self._monotonic()

    @property
    def all_well(self) -> bool:
        """Nothing that stops the heart has been wrong for as long as `after`."""
        now = self._monotonic()
        return not any(t.heart_stops and self._is_due(t, now) for t in self._troubles.values())

    async def run(self, alive: Alive) -> None:
        """Tell and beat for ever; never raises but when cancelled."""
        async with asyncio.TaskGroup() as group:
            # Apart, for a mail server that hangs must not stop the heart.
            group.create_task(self._repeat(self.tell, alive))
            if self._http is not None:
                group.create_task(self._beat_for_ever(alive))

    async def tell(self) -> None:
        """Send the mails that are due now, if any."""
        now = self._monotonic()
        self._settle(now)
        submission = self._submission
        if submission is None or now < self._mail_not_before:
            return
        due = {name: t for name, t in self._troubles.items() if not t.told and self._is_due(t, now)}
        if due and await self._mail(submission, "trouble", [_told(n, t) for n, t in due.items()]):
            for trouble in due.values():
                trouble.told = True
        over = list(self._over)
        if over and await self._mail(submission, "over", over):
            del self._over[: len(over)]

    async def beat(self) -> bool:
        """Ask the heartbeat URL if all is well; False if it was due and not heard."""
        if self._http is None or not self.all_well:
            return True
        try:
            async with asyncio.timeout(_HEARTBEAT_LIMIT):
                answer = await self._http.get(self._settings.heartbeat_url)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            log.warning("heartbeat not heard", error=type(error).__name__)
            return False
        if answer.is_success:
            return True
        log.warning("heartbeat not heard", http_status=answer.status_code)
        return False

    def _settle(self, now: float) -> None:
        """Troubles after which it has been calm for long enough are over."""
        for name, trouble in list(self._troubles.items()):
            if trouble.well_at is not None and now - trouble.well_at >= self._settings.calm:
                del self._troubles[name]
                if trouble.told:
                    self._over.append(_told(name, trouble))

    def _is_due(self, trouble: _Trouble, now: float) -> bool:
        return trouble.well_at is None and now - trouble.begun >= self._settings.after

    async def _repeat(self, work: Callable[[], Awaitable[None]], alive: Alive) -> None:
        while True:
            try:
                await work()
            except Exception:
                log.exception("alert failed")
            alive()
            await self._sleep(_LOOK_EVERY)

    async def _beat_for_ever(self, alive: Alive) -> None:
        every = self._settings.heartbeat_every
        while True:
            heard = True
            try:
                heard = await self.beat()
            except Exception:
                log.exception("heartbeat failed")
            alive()
            await self._sleep(every if heard else min(every, _HEARTBEAT_RETRY))

    async def _mail(self, submission: Submission, kind: str, told: Sequence[_Told]) -> bool:
        """Send one mail; True if it need not be sent again."""
        names = [entry.name for entry in told]
        mail = _compose(self._settings, kind, told, self._clock(), self._new_id)
        outcome = await submission.submit(self._settings.sender, self._settings.recipient, mail)
        match outcome:
            case Accepted() | Uncertain():  # twice would be a storm, and the log has it
                log.info("alert sent", kind=kind, parts=names, outcome=type(outcome).__name__)
                self._mail_failures = 0
                return True
            case Deferred(code, reply) | Refused(code, reply):
                pause = _MAIL_PAUSES[min(self._mail_failures, len(_MAIL_PAUSES) - 1)]
                self._mail_failures += 1
                self._mail_not_before = self._monotonic() + pause
                log.error("alert not sent", kind=kind, parts=names, code=code, reply=reply)
                return False


def _told(name: str, trouble: _Trouble) -> _Told:
    return _Told(clean_line(name), clean_line(trouble.words, 300), trouble.since)


_WORDS: Mapping[str, Mapping[str, str]] = {
    "fr": {
        "trouble subject": "[mailbridge] {host}\u00a0: {what} en panne",
        "over subject": "[mailbridge] {host}\u00a0: {what} de nouveau en marche",
        "several": "{count} parties",
        "trouble": "Sur {host}, mailbridge a besoin d'un coup d'œil\u00a0:",
        "over": "Sur {host}, ceci marche de nouveau\u00a0:",
        "entry": "- {name}\u00a0: {words}\n  depuis le {since}",
        "no words": "ne démarre pas",
        "time": "%d/%m/%Y à %H:%M (%Z)",
        "trouble then": (
            "Tant que cela dure, des messages de clients peuvent manquer dans la boîte, et des\n"
            "réponses peuvent ne pas partir.\n\n"
            "Pour en savoir plus, sur le serveur\u00a0:\n\n"
            "    mailbridge status\n"
            "    journalctl -u mailbridge\n\n"
            "Ce message ne part qu'une fois par panne\u00a0; un autre suivra à la fin de celle-ci."
        ),
        "over then": "Il n'y a rien à faire.",
    },
    "en": {
        "trouble subject": "[mailbridge] {host}: {what} down",
        "over subject": "[mailbridge] {host}: {what} up again",
        "several": "{count} parts",
        "trouble": "On {host}, mailbridge needs a look:",
        "over": "On {host}, this works again:",
        "entry": "- {name}: {words}\n  since {since}",
        "no words": "does not come up",
        "time": "%Y-%m-%d %H:%M (%Z)",
        "trouble then": (
            "While this lasts, customers' messages may be missing from the mailbox, and replies\n"
            "may not go out.\n\n"
            "To learn more, on the server:\n\n"
            "    mailbridge status\n"
            "    journalctl -u mailbridge\n\n"
            "This mail is sent once for each trouble; another will follow when it is over."
        ),
        "over then": "There is nothing to do.",
    },
}


def _compose(
    settings: AlertSettings,
    kind: str,
    told: Sequence[_Told],
    now: datetime,
    new_id: Callable[[str], str],
) -> bytes:
    """The mail, with CRLF line ends and 7-bit content."""
    words = _WORDS[settings.language]
    host = clean_line(settings.host)
    what = told[0].name if len(told) == 1 else words["several"].format(count=len(told))
    entries = [
        words["entry"].format(
            name=entry.name,
            words=entry.words or words["no words"],
            since=entry.since.astimezone(settings.timezone).strftime(words["time"]),
        )
        for entry in told
    ]
    text = "\n\n".join([words[kind].format(host=host), *entries, words[f"{kind} then"]]) + "\n"
    mail = EmailMessage(policy=email.policy.SMTP)
    mail["From"] = settings.sender
    mail["To"] = settings.recipient
    mail["Subject"] = words[f"{kind} subject"].format(host=host, what=what)
    mail["Date"] = format_datetime(now)
    mail["Message-ID"] = new_id(settings.sender.rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no absence message in answer
    mail.set_content(text, cte="quoted-printable")
    return mail.as_bytes()
