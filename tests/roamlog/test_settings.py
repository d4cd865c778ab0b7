"""Settings: read once, and every mistake is one sentence that says what to change."""

from pathlib import Path

import pytest

from roamlog import settings
from roamlog.errors import UNUSABLE, Unusable


def every_row() -> list[settings.Setting]:
    return [*settings.table(), *settings.table(scale=True)]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the shell that runs the tests counts here."""
    for row in every_row():
        monkeypatch.delenv(row.variable, raising=False)


def test_without_any_setting_we_are_cpo_and_emsp_of_a_made_up_party() -> None:
    assert [(role.party, role.role) for role in settings.read().roles] == [("ZZ*RML", "CPO"), ("ZZ*RML", "EMSP")]


def test_an_option_goes_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAMLOG_PORT", "9000")
    assert settings.read().port == 9000
    assert settings.read(port=9001).port == 9001
    assert settings.read(port=None).port == 9000


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAMLOG_PORT", "")
    assert settings.read().port == 8080


def test_roles_are_a_list_of_party_and_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROAMLOG_ROLES", "nl*tnm:cpo, DE*ABC:HUB")
    assert [(role.party, role.role) for role in settings.read().roles] == [("NL*TNM", "CPO"), ("DE*ABC", "HUB")]


def test_a_hub_is_one_party(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.read().hub_party_id == ""
    monkeypatch.setenv("ROAMLOG_HUB_PARTY_ID", "nl*hub")
    assert settings.read().hub_party_id == "NL*HUB"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ROAMLOG_PORT", "http", "ROAMLOG_PORT is 'http', but takes a whole number from 0 to 65535"),
        ("ROAMLOG_PORT", "70000", "ROAMLOG_PORT is '70000', but takes a whole number from 0 to 65535"),
        ("ROAMLOG_ROLES", "TNM:CPO", "ROAMLOG_ROLES is 'TNM:CPO', but takes a list such as NL*TNM:CPO,NL*TNM:EMSP"),
        (
            "ROAMLOG_PUBLIC_URL",
            "ocpi.example.com",
            "ROAMLOG_PUBLIC_URL is 'ocpi.example.com', but takes a URL such as https://ocpi.example.com",
        ),
        ("ROAMLOG_HUB_PARTY_ID", "HUB", "ROAMLOG_HUB_PARTY_ID is 'HUB', but takes a party such as NL*HUB"),
        ("ROAMLOG_PROJECTOR", "off", "ROAMLOG_PROJECTOR is 'off', but takes running or paused"),
        ("ROAMLOG_BODY_LIMIT_BYTES", "4MB", "ROAMLOG_BODY_LIMIT_BYTES is '4MB', but takes bytes, from 1024 to 10485760"),
        ("ROAMLOG_PUBLICURL", "https://x", "ROAMLOG_PUBLICURL is no setting; did you mean ROAMLOG_PUBLIC_URL?"),
    ],
)
def test_a_mistake_is_one_sentence_that_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Unusable) as caught:
        settings.read()
    assert (str(caught.value), caught.value.exit_code) == (sentence, UNUSABLE)


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(Unusable, match=r"^--port is '70000', but takes a whole number from 0 to 65535$"):
        settings.read(port=70000)


def test_every_setting_has_a_meaning_and_says_what_it_takes() -> None:
    assert all(row.meaning for row in every_row())
    assert all(field.examples for field in settings.Scale.model_fields.values())


def test_readme_lists_every_setting_with_its_default() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    missing = [row.variable for row in every_row() if f"| `{row.variable}` | `{row.default}` | {row.meaning} |" not in readme]
    assert missing == []


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ROAMLOG_CLICKHOUSE", "clickhouse:8123", "ROAMLOG_CLICKHOUSE is 'clickhouse:8123', but takes a URL such as"),
        ("ROAMLOG_CLICKHOUSE_DATABASE", "My DB", "ROAMLOG_CLICKHOUSE_DATABASE is 'My DB', but takes small letters, digits and"),
        ("ROAMLOG_KAFKA_SECURITY", "TLS", "ROAMLOG_KAFKA_SECURITY is 'TLS', but takes PLAINTEXT, SSL, SASL_PLAINTEXT or"),
        ("ROAMLOG_PEPPER", "short", "ROAMLOG_PEPPER cannot be used; it takes at least 32 characters that nobody guesses"),
        ("ROAMLOG_PEPPER", "", "ROAMLOG_PEPPER is not set, but takes at least 32 characters that nobody guesses"),
        ("ROAMLOG_OPERATOR_TOKEN", "", "ROAMLOG_OPERATOR_TOKEN is not set, but takes at least 32 characters that nobody"),
    ],
)
def test_a_mistake_at_scale_is_a_sentence_without_secrets(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv("ROAMLOG_PEPPER", "p" * 32)
    monkeypatch.setenv("ROAMLOG_OPERATOR_TOKEN", "o" * 32)
    settings.read_scale()
    monkeypatch.setenv(variable, value)
    with pytest.raises(Unusable) as caught:
        settings.read_scale()
    assert str(caught.value).startswith(sentence)
    assert "short" not in str(caught.value)
