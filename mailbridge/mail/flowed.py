"""format=flowed (RFC 3676): paragraphs that a mailer cut into lines are made whole again.

A line that begins as a command does is never joined to another. A blank behind it, which some
editors leave, would else make the next line part of the command.
"""

from __future__ import annotations

from mailbridge.domain.command import command_lines

__all__ = ["unflow"]


def unflow(text: str, *, delsp: bool = False) -> str:
    """`text` (line ends `\\n`) with its flowed lines joined and its space-stuffing taken out.

    Quote marks stay: a quoted paragraph is one line behind `> `. `delsp` is the parameter
    DelSp=yes (section 4.2): the blank that marks a flowed line is no part of the text.
    """
    out: list[str] = []
    open_depth: int | None = None
    parts: list[str] = []

    def flush() -> None:
        nonlocal open_depth
        if open_depth is not None:
            body = "".join(parts)
            out.append(f"{'>' * open_depth} {body}" if open_depth else body)
        parts.clear()
        open_depth = None

    for line in text.split("\n"):
        content = line.lstrip(">")
        depth = len(line) - len(content)
        content = content.removeprefix(" ")
        signature = content == "-- "
        if depth != open_depth or signature or command_lines(content):
            # Section 4.5: a flowed line before a change of depth is taken as fixed.
            flush()
        flowed = content.endswith(" ") and not signature
        first = open_depth is None
        parts.append(content[:-1] if flowed and delsp else content)
        open_depth = depth
        if not flowed or (first and command_lines(content)):
            flush()
    flush()
    return "\n".join(out)
