"""The order in which a browser is looked for and fetched; no browser is started here."""

import os
import stat
from pathlib import Path

import pytest

from tests import browser, ensure_browser


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any browser; its PATH is the folder returned."""
    monkeypatch.delenv("DSCWB_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(browser, "USUAL_PLACES", ())
    monkeypatch.setattr(browser, "playwrights_own", lambda: tmp_path / "not-fetched")
    return tmp_path


def put_browser(path: Path, exit_status: int = 0) -> Path:
    path.write_text(f"#!/bin/sh\nexit {exit_status}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_nothing_is_found_on_a_bare_machine(bare: Path) -> None:
    assert browser.find_chromium() is None


def test_names_on_path_come_in_their_order(bare: Path) -> None:
    for name in reversed(browser.NAMES_ON_PATH):
        newest = put_browser(bare / name)
        assert browser.find_chromium() == newest


def test_path_comes_before_playwright_and_playwright_before_usual_places(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = put_browser(bare / "usual")
    monkeypatch.setattr(browser, "USUAL_PLACES", (str(usual),))
    assert browser.find_chromium() == usual

    own = put_browser(bare / "own")
    monkeypatch.setattr(browser, "playwrights_own", lambda: own)
    assert browser.find_chromium() == own

    on_path = put_browser(bare / "google-chrome")
    assert browser.find_chromium() == on_path


def test_the_users_choice_comes_first_and_has_no_substitute(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_browser(bare / "chromium")
    chosen = bare / "chosen"
    monkeypatch.setenv("DSCWB_CHROMIUM", str(chosen))
    assert browser.find_chromium() is None

    put_browser(chosen)
    assert browser.find_chromium() == chosen


def test_a_browser_that_does_not_start_is_passed_over(bare: Path) -> None:
    put_browser(bare / "chromium", exit_status=1)
    works = put_browser(bare / "google-chrome")
    assert browser.find_chromium() == works


@pytest.fixture
def commands(bare: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that fetching a browser would run; none of them does anything."""
    ran: list[list[str]] = []
    monkeypatch.setattr(ensure_browser, "run", lambda command: ran.append(command) or True)
    return ran


def as_user(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid, raising=False)


def test_nothing_is_fetched_where_one_is_found(bare: Path, commands: list[list[str]]) -> None:
    found = put_browser(bare / "chromium")
    assert ensure_browser.ensure_chromium() == found
    assert commands == []


def test_a_user_gets_playwrights_build_or_a_sentence(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    with pytest.raises(SystemExit) as stop:
        ensure_browser.ensure_chromium()
    assert [command[1:4] for command in commands] == [["-m", "playwright", "install"]]
    assert stop.value.code == browser.HOW_TO_GET_ONE
    assert "playwright install --with-deps chromium" in browser.HOW_TO_GET_ONE
    assert "DSCWB_CHROMIUM" in browser.HOW_TO_GET_ONE


def test_root_on_debian_gets_the_systems_package_after_playwright_failed(
    bare: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    put_browser(bare / "apt-get")
    with pytest.raises(SystemExit):
        ensure_browser.ensure_chromium()
    playwright, update, install = commands
    assert playwright[1:4] == ["-m", "playwright", "install"]
    assert update == ["apt-get", "update"]
    assert install[:2] == ["apt-get", "install"]
    assert "chromium" in install


def test_fetching_stops_at_the_first_way_that_works(
    bare: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    put_browser(bare / "apt-get")

    def fetch(command: list[str]) -> bool:
        commands.append(command)
        put_browser(bare / "chromium")
        return True

    monkeypatch.setattr(ensure_browser, "run", fetch)
    assert ensure_browser.ensure_chromium() == bare / "chromium"
    assert len(commands) == 1


def test_a_wrong_choice_is_reported_and_nothing_fetched(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSCWB_CHROMIUM", "no-such-browser")
    with pytest.raises(SystemExit, match="DSCWB_CHROMIUM"):
        ensure_browser.ensure_chromium()
    assert commands == []
