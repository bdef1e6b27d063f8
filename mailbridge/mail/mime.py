"""MIME bodies, 7-bit and the same octets every time: text, alternatives, files.

The boundary comes from the caller's seed, so that a mail made again after a crash is the same
mail. Lines end in CRLF and stay below 78 octets whatever the text is (RFC 5322 2.1.1).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from collections.abc import Sequence
from urllib.parse import quote

__all__ = ["file_part", "multipart", "text_part"]

_ASCII = bytes(range(0x80))
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}")


def text_part(text: str, subtype: str = "plain") -> bytes:
    """A text part with its own header lines; `text` has `\\n` line ends.

    7bit where it fits, else quoted-printable, or base64 where most of it is not Latin.
    """
    octets = text.rstrip("\n").encode("utf-8", "replace") + b"\n"
    if text.isascii() and all(len(line) <= 76 for line in octets.split(b"\n")):
        encoding, body = "7bit", octets.replace(b"\n", b"\r\n")
    elif len(octets.translate(None, _ASCII)) * 2 > len(octets):
        encoding, body = "base64", _base64(octets.replace(b"\n", b"\r\n"))
    else:
        printable = binascii.b2a_qp(octets, quotetabs=False, istext=True)
        encoding, body = "quoted-printable", printable.replace(b"\n", b"\r\n")
    charset = "us-ascii" if encoding == "7bit" else "utf-8"
    head = (
        f"Content-Type: text/{subtype}; charset={charset}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("ascii") + body


def file_part(name: str, media_type: str, data: bytes) -> bytes:
    """An attachment; its name in RFC 2231 form with an ASCII fallback, its type checked."""
    kind = media_type.lower()
    if not _TYPE.fullmatch(kind) or kind.startswith(("multipart/", "message/")):
        kind = "application/octet-stream"
    base = re.split(r"[/\\]", name)[-1]
    shown = "".join(c for c in base if unicodedata.category(c)[0] != "C").strip(" .")[:80]
    shown = shown or "fichier"
    folded = unicodedata.normalize("NFKD", shown).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ._()+-]", "_", folded).strip(" .") or "fichier"
    # The exact name stands once, where RFC 2231 puts it; parsers differ on which of `filename`
    # and `filename*` wins, so the ASCII form goes into the older `name` of Content-Type.
    exact = f'filename="{shown}"' if plain == shown else f"filename*=UTF-8''{quote(shown, safe='')}"
    head = (
        f'Content-Type: {kind};\r\n name="{plain}"\r\nContent-Transfer-Encoding: base64\r\n'
        f"Content-Disposition: attachment;\r\n {exact}\r\n\r\n"
    )
    return head.encode("ascii") + _base64(data)


def multipart(kind: str, parts: Sequence[bytes], *, seed: str) -> bytes:
    """`parts` joined as `multipart/<kind>`, with header lines; `seed` fixes the boundary."""
    boundary = "=_" + hashlib.sha256(f"{kind} {seed}".encode()).hexdigest()[:32]
    head = f'Content-Type: multipart/{kind};\r\n boundary="{boundary}"\r\n\r\n'
    mark = f"--{boundary}".encode("ascii")
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts)
    return head.encode("ascii") + body + mark + b"--\r\n"


def _base64(data: bytes) -> bytes:
    encoded = base64.b64encode(data)
    return b"\r\n".join(encoded[i : i + 76] for i in range(0, len(encoded), 76)) + b"\r\n"
