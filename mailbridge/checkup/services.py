"""The marketplace, the submission servers and the templates: each tried with its real adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from mailbridge.adapters import (
    composer_for,
    identity_for,
    language_of,
    marketplace_for,
    submission_for,
)
from mailbridge.bridge.acknowledging import Unfit, acknowledgement_text
from mailbridge.checkup.finding import Notes
from mailbridge.config.models import Account, Config, Server
from mailbridge.config.secret import SecretError
from mailbridge.domain.attachment import AttachmentLimits
from mailbridge.domain.discussion import Author, AuthorKind, DiscussionKind
from mailbridge.mail.frame import frame_for, shop_name
from mailbridge.mail.port import SubmissionUnavailable
from mailbridge.mail.rendering import TemplateBroken, shipped_folder
from mailbridge.mail.reply_catalogue import Catalogue
from mailbridge.mail.reply_samples import sample_case, try_replies
from mailbridge.mail.samples import SAMPLE_MESSAGE, SAMPLE_ORDER, SAMPLE_THREAD, sample_notices
from mailbridge.marketplace.port import Capabilities, MarketplaceError, ReplyChannel
from mailbridge.ops.redaction import Redactor

__all__ = ["marketplace", "submission", "templates"]


async def marketplace(
    notes: Notes, account: Account, redactor: Redactor, clock: Callable[[], datetime]
) -> None:
    """Sign in, read something small, and say what this marketplace can do."""
    async with aclosing(marketplace_for(account, redactor, clock)) as market:
        try:
            notes.ok("service", await market.check())
        except (MarketplaceError, SecretError) as error:
            notes.bad("service", str(error))
        notes.info("abilities", _abilities(market.capabilities))
    if account.shop_names:
        notes.ok("shop names", ", ".join(account.shop_names))


def _abilities(able: Capabilities) -> str:
    return "; ".join(
        (
            "answers go out by mail"
            if able.reply_channel is ReplyChannel.RELAY_MAIL
            else "answers go out through the service",
            _files(able.outgoing_attachments),
            "customers' files arrive in the thread"
            if able.incoming_attachments
            else "customers' photos are on the seller's web page only",
            "a closed discussion can be reopened"
            if able.can_reopen
            else "a closed discussion cannot be reopened",
        )
    )


def _files(limits: AttachmentLimits) -> str:
    if limits.max_files == 0:
        return "without files"
    count = "any number of files" if limits.max_files is None else f"up to {limits.max_files} files"
    most = limits.max_total_bytes
    return f"with {count}" + (f", {most // 1_000_000} MB together" if most is not None else "")


async def submission(notes: Notes, server: Server, address: str, redactor: Redactor) -> None:
    """Connect, secure and sign in at a submission server; nothing is sent."""
    try:
        adapter = submission_for(server, address, redactor)
    except (SecretError, ValueError) as error:
        notes.bad("sign-in", str(error))
        return
    async with aclosing(adapter):
        try:
            notes.ok("sign-in", await adapter.check())
        except SubmissionUnavailable as error:
            notes.bad("sign-in", str(error))


async def templates(notes: Notes, config: Config, name: str, account: Account) -> None:
    """Render every mail there is with the shop's own templates and frame."""
    await asyncio.to_thread(_templates, notes, config, name, account)


def _templates(notes: Notes, config: Config, name: str, account: Account) -> None:
    faults: dict[str, TemplateBroken] = {}
    count = 0
    for problem in _rendered(config, name, account):
        count += 1
        if problem is not None:
            faults.setdefault(str(problem), problem)
    identity = identity_for(name, account, (b"a key for samples that are never filed",))
    catalogue = composer_for(config, name, account, identity).catalogue
    for broken in try_replies(catalogue, identity, ZoneInfo(account.timezone)):
        notes.bad(broken.name, str(broken), "mend it; until then replies that use it are held")
    _acknowledgement(notes, name, account, catalogue)
    for words, fault in faults.items():
        of_frame = not fault.name.endswith(".j2")
        notes.bad(
            fault.name,
            words,
            f"mend accounts.{name}.{fault.name}; until then answers are held"
            if of_frame
            else f"mend it in {config.templates_dir}; until then the one of mailbridge is used",
        )
    if not faults:
        language = language_of(config, account)
        replies = len(catalogue.listed().templates)
        done = f"{count} sample mails rendered in {_LANGUAGES[language]}"
        notes.ok("templates", f"{done}; {replies} reply templates")
    if config.templates_dir is not None:
        for file in _unused(config.templates_dir):
            notes.warn(
                file,
                "replaces no template of mailbridge's",
                "if no other template includes it, its name is misspelt",
            )


def _acknowledgement(notes: Notes, name: str, account: Account, catalogue: Catalogue) -> None:
    """Fill in the template of acknowledgements, for a customer with an order and for one without:
    who asks about an offer has none."""
    wanted = account.acknowledgement
    if wanted is None:
        return
    key = f"accounts.{name}.acknowledgement"
    kinds = wanted.kinds or tuple(DiscussionKind)
    zone, shop = ZoneInfo(account.timezone), shop_name(account)
    for with_order in (True, False):
        asking = DiscussionKind.OFFER_QUESTION
        if not any((kind is not asking) == with_order for kind in kinds):
            continue
        case = sample_case(shop, with_order=with_order)
        try:
            acknowledgement_text(catalogue, zone, wanted, case, has_order=with_order)
        except Unfit as unfit:
            about = "" if with_order else " (for a question about an offer)"
            notes.bad(
                f"{key}.template",
                f"{wanted.template!r}: {unfit}{about}",
                f"mend it, or change {key}.template, .values or .kinds; until then these customers "
                "are not acknowledged",
            )
            return
    notes.ok("acknowledgement", f"customers are acknowledged by {wanted.template!r}")


_LANGUAGES = {"fr": "French", "en": "English"}


def _rendered(config: Config, name: str, account: Account) -> Iterator[TemplateBroken | None]:
    """Every sample in turn: what is wrong with its template, or None."""
    # The key only signs ids, which nobody keeps here.
    identity = identity_for(name, account, (b"a key for samples that are never filed",))
    composer = composer_for(config, name, account, identity)
    date = datetime(2026, 11, 21, 11, 5, tzinfo=UTC)
    for kind in AuthorKind:
        message = replace(SAMPLE_MESSAGE, author=Author(kind, SAMPLE_MESSAGE.author.name))
        for order in (SAMPLE_ORDER, None):
            yield composer.message_mail(
                SAMPLE_THREAD,
                message,
                key="1",
                date=date,
                order=order,
                attachments_missing=order is None,
            ).problem
    for notice in sample_notices():
        yield composer.notice_mail(SAMPLE_THREAD, notice, key="1", date=date).problem
    for sender in ("", *(person.address for person in account.staff)):
        frame = frame_for(account, sender)
        try:
            composer.frame(SAMPLE_MESSAGE.text, frame, customer=SAMPLE_THREAD.customer)
        except TemplateBroken as broken:
            yield broken
        else:
            yield None


def _unused(own: Path) -> list[str]:
    """Files among the shop's mail templates that stand in for none of ours."""
    shipped = shipped_folder()
    there = {path.relative_to(shipped) for path in shipped.rglob("*.j2")}
    return sorted(
        str(path.relative_to(own))
        for path in (own / "mail").rglob("*")
        if path.is_file() and path.relative_to(own) not in there
    )
