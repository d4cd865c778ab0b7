"""The pepper and the operator's token in their file."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from ingest import secrets
from ingest.errors import UnsafeSecrets


def test_a_folder_gets_its_secrets_once(tmp_path: Path) -> None:
    first = secrets.of_folder(tmp_path)
    assert len(first.pepper) == 32
    assert secrets.of_folder(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    secrets.of_folder(tmp_path)
    path = tmp_path / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(UnsafeSecrets, match=r"open to others \(mode 0640\)"):
        secrets.of_folder(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b'{"pepper": "!!", "operator_token": "t0psecret"}', b"\xff", b"[]"])
def test_a_damaged_file_is_refused_without_quoting_it(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "secrets.json"
    path.write_bytes(text)
    path.chmod(0o600)
    with pytest.raises(UnsafeSecrets) as refused:
        secrets.of_folder(tmp_path)
    assert "t0psecret" not in str(refused.value)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnsafeSecrets, match="cannot be used: No such file or directory"):
        secrets.of_folder(tmp_path / "nowhere")


async def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    found = await asyncio.gather(*(asyncio.to_thread(secrets.of_folder, tmp_path) for _ in range(16)))
    assert len({made.operator_token for made in found}) == 1
    assert os.listdir(tmp_path) == ["secrets.json"]


def test_secrets_show_nothing_of_themselves() -> None:
    made = secrets.new()
    assert repr(made) == str(made) == f"{made}" == "Secrets(…)"


def test_the_operator_is_known_by_the_whole_token() -> None:
    made = secrets.new()
    assert made.is_operator(made.operator_token)
    assert not made.is_operator(made.operator_token[:-1])
    assert not made.is_operator("")
    assert not made.is_operator("tökén")
