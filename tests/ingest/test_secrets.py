"""The pepper and the operator's token in their file."""

import asyncio
import json
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


def test_a_file_from_before_gets_a_key_and_keeps_the_rest(tmp_path: Path) -> None:
    first = secrets.of_folder(tmp_path)
    path = tmp_path / "secrets.json"
    fields = json.loads(path.read_text())
    del fields["key"]
    path.write_text(json.dumps(fields))
    found = secrets.of_folder(tmp_path)
    assert (found.pepper, found.operator_token) == (first.pepper, first.operator_token)
    assert len(found.key) == 32
    assert found.key != first.key
    assert secrets.of_folder(tmp_path) == found
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["secrets.json"]


def test_a_partners_token_opens_with_its_key_and_under_its_name_only() -> None:
    sealer = secrets.Sealer(b"pepper", b"key")
    sealed = sealer.seal("tnm", "t0psecret")
    assert b"t0psecret" not in sealed
    assert sealed != sealer.seal("tnm", "t0psecret")
    assert secrets.Sealer(b"other", b"key").open("tnm", sealed) == "t0psecret"
    for other, name, text in ((sealer, "slb", sealed), (secrets.Sealer(b"pepper"), "tnm", sealed), (sealer, "tnm", sealed[:-1])):
        with pytest.raises(UnsafeSecrets, match="was encrypted with another key"):
            other.open(name, text)
