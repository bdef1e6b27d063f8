"""What a channel takes along with a reply, and what of a reply's files it would not take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["AttachmentLimits", "attachment_fault"]


@dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """What one reply may carry; `None` means the marketplace states no limit."""

    max_files: int | None = None
    max_total_bytes: int | None = None
    extensions: frozenset[str] | None = None
    """Lower-case file name endings without the dot."""


def attachment_fault(
    files: Sequence[tuple[str, int]], limits: AttachmentLimits
) -> tuple[str, str] | None:
    """(names, limit in figures) of what the channel would not take; files are (name, octets)."""
    allowed = limits.extensions
    if allowed is not None:
        wrong = [n for n, _ in files if _ending(n) not in allowed]
        if wrong:
            return ", ".join(wrong), ", ".join(sorted(allowed))
    if limits.max_files is not None and len(files) > limits.max_files:
        return ", ".join(n for n, _ in files), f"max. {limits.max_files}"
    total = sum(size for _, size in files)
    if limits.max_total_bytes is not None and total > limits.max_total_bytes:
        mega = limits.max_total_bytes / 1_000_000
        return ", ".join(n for n, _ in files), f"{total / 1_000_000:.1f} > {mega:.1f} Mo"
    return None


def _ending(name: str) -> str:
    _, dot, ending = name.lower().rpartition(".")
    return ending if dot else ""
