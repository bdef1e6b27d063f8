"""Dovecot as the mailbox of the sandbox's world, for scenarios that also run without it.

Mail comes by LMTP and is tried again while the server is away, as a mail server's queue does; a
delivery whose answer was lost is repeated, so that it may lie there twice.
"""

from __future__ import annotations

import asyncio
import imaplib
import secrets
import smtplib
import time
from typing import Any

from mailbridge.sandbox.mailserver import Incoming, lmtp_delivery
from tests.dovecot import PASSWORD, Dovecot

__all__ = ["a_domain", "on_dovecot"]

_PATIENCE = 30.0
"""Seconds a queued mail waits for the server."""


def a_domain() -> str:
    """A shop's domain that nobody else on the server has."""
    return f"brindille-{secrets.token_hex(4)}.example"


def on_dovecot(server: Dovecot, address: str) -> dict[str, Any]:
    """Parameters of `World`: the mailbox of `address` lies on this server.

    The world's clock should show the machine's time then, for Dovecot's does.
    """
    by_lmtp = lmtp_delivery("127.0.0.1", server.lmtp)

    async def deliver(incoming: Incoming) -> None:
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    return await by_lmtp(incoming)
                except (OSError, smtplib.SMTPException):
                    await asyncio.sleep(0.2)

    async def save_sent(mailbox: str, data: bytes) -> None:
        def work() -> None:
            with imaplib.IMAP4("127.0.0.1", server.imap, timeout=10) as box:
                box.login(mailbox, PASSWORD)
                box.append("Sent", "(\\Seen)", imaplib.Time2Internaldate(time.time()), data)

        await asyncio.to_thread(work)

    return {
        "address": address,
        "password": PASSWORD,
        "deliver": deliver,
        "save_sent": save_sent,
        "imap": ("127.0.0.1", server.imap),
    }
