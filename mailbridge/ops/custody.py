"""What a command makes as root in the daemon's folder is handed to the folder's owner.

A journal, key or lock of root's in it would keep the daemon from its own folder. The folder is
its owner's to fill, so nothing in it is trusted: only plain files under the names given, with no
other link to them, are given away, by descriptor and never by path.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["handed_over"]


@contextlib.contextmanager
def handed_over(directory: Path, names: Sequence[str]) -> Iterator[None]:
    """Files of root's with these names (patterns as shells have them) are the owner's afterwards,
    whatever happens inside. Does nothing for anybody but root, and in a folder of root's."""
    try:
        yield
    finally:
        if os.geteuid() == 0 and directory.is_dir():
            _hand_over(directory, names)


def _hand_over(directory: Path, names: Sequence[str]) -> None:
    owner = directory.stat()
    if owner.st_uid == 0:
        return
    for path in sorted(directory.iterdir()):
        if not any(fnmatch.fnmatchcase(path.name, pattern) for pattern in names):
            continue
        try:
            # Non-blocking, for a pipe would wait for its other end.
            file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # a link, or gone by now (SQLite takes its log away at the end)
        try:
            found = os.fstat(file)
            if stat.S_ISREG(found.st_mode) and found.st_uid == 0 and found.st_nlink == 1:
                os.fchown(file, owner.st_uid, owner.st_gid)
        finally:
            os.close(file)
