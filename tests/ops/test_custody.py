"""Root gives its files to the folder's owner, and nothing that the owner has slipped in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailbridge.ops.custody import handed_over
from tests.requirements import need_root

NOBODY = 65534


@pytest.fixture(autouse=True)
def root() -> None:
    need_root()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    return folder


def owner(path: Path) -> int:
    return path.lstat().st_uid


def test_it_gives_its_own_files_whatever_happens(home: Path) -> None:
    def break_off() -> None:
        with handed_over(home, ["lock", "journal*"]):
            for name in ("lock", "journal-wal", "other"):
                (home / name).touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert [owner(home / name) for name in ("lock", "journal-wal", "other")] == [NOBODY, NOBODY, 0]


def test_links_pipes_and_second_names_are_left_alone(home: Path, tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.touch()
    (home / "lock").symlink_to(shadow)
    os.link(shadow, home / "journal")
    os.mkfifo(home / "journal-pipe")
    with handed_over(home, ["lock", "journal*"]):
        pass
    assert [owner(path) for path in (shadow, home / "journal", home / "journal-pipe")] == [0] * 3


def test_a_folder_of_roots_own_stays_so(tmp_path: Path) -> None:
    with handed_over(tmp_path, ["lock"]):
        (tmp_path / "lock").touch()
    assert owner(tmp_path / "lock") == 0
    with handed_over(tmp_path / "nowhere", ["lock"]):
        pass
