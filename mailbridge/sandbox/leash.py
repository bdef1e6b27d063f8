"""Children that end when we do, however that is: by the end of a block, or by SIGKILL.

A child holds the reading end of a pipe whose other end is ours alone. The system closes ours when
we are gone, and a shell beside the child, which waits for nothing else, then kills the child's
whole process group. That needs no signal handler of ours, no thread, and nothing but a shell.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Leash"]

# The program takes the shell's place, so that its process number, signals and exit code are its
# own. The group is named by that number and not by 0: if the child was given none of its own,
# nothing is killed rather than us.
_SCRIPT = """\
exec 3<&0 </dev/null
{ read -r _ <&3; kill -s KILL -- "-$$"; } >/dev/null 2>&1 &
exec "$@" 3<&-
"""


class Leash:
    """Holds one child. Start it as `command(…)` with `stdin`, and in a session of its own."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.stdin, self._end = os.pipe()

    def command(self, *words: str | os.PathLike[str]) -> tuple[str, ...]:
        """The command line that runs these words held; its own standard input is empty."""
        return ("/bin/sh", "-c", _SCRIPT, "sh", *(os.fspath(word) for word in words))

    def let_go(self) -> None:
        """Kill what is left of the child's group. To be called once the child is done with."""
        for end in (self.stdin, self._end):
            with contextlib.suppress(OSError):
                os.close(end)
