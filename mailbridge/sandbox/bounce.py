"""Delivery status notifications (RFC 3464), as a mail server writes them."""

from __future__ import annotations

from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import SMTP
from email.utils import format_datetime

__all__ = ["failure_report"]


def failure_report(
    *,
    host: str,
    sender: str,
    recipient: str,
    diagnostic: str,
    data: bytes,
    at: datetime,
    ident: str,
) -> bytes:
    """The report that `data`, sent by `sender`, will not reach `recipient`.

    `diagnostic` is the refusing server's line, such as `550 5.1.1 unknown user`; `ident` makes
    the report's Message-ID.
    """
    status = next(
        (word for word in diagnostic.split()[:2] if word.count(".") == 2 and word[0] in "45"),
        "5.0.0",
    )
    report = MIMEMultipart("report")
    report.set_param("report-type", "delivery-status")
    report["Date"] = format_datetime(at)
    report["From"] = f"Mail Delivery System <MAILER-DAEMON@{host}>"
    report["To"] = sender
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report["Message-ID"] = f"<{ident}@{host}>"
    report["Auto-Submitted"] = "auto-replied"
    report.attach(
        MIMEText(
            f"This is the mail system at host {host}.\n\n"
            "I'm sorry to have to inform you that your message could not\n"
            "be delivered to one or more recipients.\n\n"
            f"<{recipient}>: {diagnostic}\n",
            "plain",
            "us-ascii" if diagnostic.isascii() else "utf-8",
        )
    )
    status_part = MIMEBase("message", "delivery-status")
    whole, single = Message(), Message()
    whole["Reporting-MTA"] = f"dns; {host}"
    whole["Arrival-Date"] = format_datetime(at)
    single["Final-Recipient"] = f"rfc822; {recipient}"
    single["Action"] = "failed"
    single["Status"] = status
    single["Diagnostic-Code"] = f"smtp; {diagnostic}"
    status_part.set_payload([whole, single])
    report.attach(status_part)
    headers = MIMEBase("text", "rfc822-headers")
    original = message_from_bytes(data)
    original.set_payload("")
    headers.set_payload(original.as_string())
    report.attach(headers)
    return report.as_bytes(policy=SMTP)
