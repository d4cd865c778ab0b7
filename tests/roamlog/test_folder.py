"""A data folder: held by one process, and its tables judged by how they were left."""

import json
import os
import socket
from pathlib import Path

import pytest

from roamlog import admin, folder
from roamlog.errors import Unusable
from roamlog.folder import FolderInUse, boot_id, held


def left(path: Path, **run: object) -> None:
    """Leave a folder as a process would, with tables in it."""
    (path / "clickhouse").mkdir(parents=True)
    (path / "clickhouse" / "data").write_text("rows")
    (path / "run.json").write_text(json.dumps({"format": 1, "clean": False, "boot_id": boot_id(), **run}))


def test_a_second_holder_is_told_who_the_first_one_is(tmp_path: Path) -> None:
    with (
        held(tmp_path, "serve"),
        pytest.raises(FolderInUse, match=rf"is in use by process {os.getpid()} \(serve\)"),
        held(tmp_path, "load"),
    ):
        pass


def test_a_folder_can_be_held_again_once_it_was_let_go(tmp_path: Path) -> None:
    for _ in range(2):
        with held(tmp_path / "new", "serve") as mine:
            assert mine.run.pid == os.getpid()


def test_only_its_owner_can_look_into_a_new_folder(tmp_path: Path) -> None:
    with held(tmp_path / "new", "serve") as mine:
        assert mine.path.stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(Unusable, match=r"cannot be a data folder \(.*\); name another folder with --data$"),
        held(tmp_path / "file", "serve"),
    ):
        pass


def test_a_folder_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    left(tmp_path, format=2)
    with pytest.raises(Unusable, match="was written by a newer roamlog"), held(tmp_path, "serve"):
        pass
    assert json.loads((tmp_path / "run.json").read_text())["format"] == 2


def test_tables_that_were_closed_are_trusted(tmp_path: Path) -> None:
    left(tmp_path, clean=True)
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "none"
    assert mine.tables.exists()


def test_tables_of_a_killed_process_are_looked_at(tmp_path: Path) -> None:
    left(tmp_path)
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "crash"
    assert mine.tables.exists()


def test_tables_that_were_open_when_the_machine_went_down_are_thrown_away(tmp_path: Path) -> None:
    left(tmp_path, boot_id="another boot")
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "power"
    assert not mine.tables.exists()


def test_tables_that_kill_whoever_opens_them_are_set_aside(tmp_path: Path) -> None:
    left(tmp_path, opening=folder.DEATHS)
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "fatal"
    assert not mine.tables.exists()
    assert (tmp_path / "clickhouse.broken-1" / "data").read_text() == "rows"


def test_a_process_that_dies_between_opening_and_closing_leaves_a_doubt(tmp_path: Path) -> None:
    with held(tmp_path, "serve") as mine:
        mine.begin_tables()
        mine.tables_opened()
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "crash"
        mine.tables_closed()
    with held(tmp_path, "serve") as mine:
        assert mine.begin_tables() == "none"


def test_a_socket_that_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / admin.SOCKET))
    with admin.listening(tmp_path) as listener:
        assert Path(listener.getsockname()).stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / admin.SOCKET).exists()


def test_a_folder_too_deep_for_a_socket_address_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with admin.listening(deep) as listener:
        path = Path(listener.getsockname())
        assert len(os.fsencode(path)) <= admin.PATH_BYTES
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.parent.exists()
