"""Settings: where they come from, and that a wrong one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.settings import load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "REDIS_URL", "SCHEMA", "LEASE_TTL"):
        monkeypatch.delenv(f"SCHEDULER_{name}", raising=False)
    return tmp_path


def test_keyword_wins_over_environment_over_file(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (empty_folder / "scheduler.toml").write_text("lease_ttl = 5\nschema = 'from_file'\nstall_timeout = 60\n")
    monkeypatch.setenv("SCHEDULER_LEASE_TTL", "7")
    assert load_settings().lease_ttl == 7
    assert load_settings(lease_ttl=9).lease_ttl == 9
    assert load_settings().schema == "from_file"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lease_ttl": 0}, "lease_ttl"),
        ({"lease_ttl": 20, "stall_timeout": 10}, "stall_timeout"),
        ({"timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"schema": 'x"; drop'}, "schema"),
        ({"redis_outage": "maybe"}, "redis_outage"),
        ({"max_concurrent_runs": 0}, "max_concurrent_runs"),
        ({"lease_tll": 3}, "lease_ttl"),
        ({"control_database_url": "postgresql://h/d"}, "database_url"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettingsError, match=words):
        load_settings(**given)


def test_an_unknown_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_LEASE_TTTL", "3")
    with pytest.raises(InvalidSettingsError, match="lease_ttl"):
        load_settings()


def test_broken_toml_is_one_clear_error(empty_folder: Path) -> None:
    (empty_folder / "scheduler.toml").write_text("lease_ttl = = 5")
    with pytest.raises(InvalidSettingsError, match=r"scheduler\.toml"):
        load_settings()


def test_no_password_in_what_is_printed() -> None:
    settings = load_settings(database_url="postgresql://u:secret@h/d", redis_url="redis://:secret@h/0")
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)


def test_no_password_in_an_error() -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(database_url=["postgresql://u:secret@h/d"])
    assert "secret" not in str(caught.value)
