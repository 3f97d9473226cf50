"""The host's time zone, asked of processes of their own: TZ and /etc/localtime belong to a process and its machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ZONES = Path("/usr/share/zoneinfo")

ASK = """
import sys
from scheduler_core.domain.errors import InvalidSettingsError
from scheduler_core.runtime.host_zone import host_zone
from scheduler_core.settings import load_settings
try:
    print(load_settings().default_timezone, host_zone().source, sep=chr(10))
except InvalidSettingsError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""


def ask(folder: Path, *before: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "TZ" and "SCHEDULER" not in name}
    return subprocess.run(
        [*before, sys.executable, "-c", ASK], env=inherited | environment, cwd=folder, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Asia/Tokyo", "Asia/Tokyo"),
        (":Asia/Tokyo", "Asia/Tokyo"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        (":/usr/share/zoneinfo/America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("EST5EDT", "EST5EDT"),
        ("Etc/GMT+3", "Etc/GMT+3"),
        ("", "UTC"),
        # Changed by law in a release that hosts need not have: the name is right nevertheless.
        ("America/Vancouver", "America/Vancouver"),
    ],
)
def test_a_zone_that_tz_names(given: str, name: str, tmp_path: Path) -> None:
    done = ask(tmp_path, TZ=given)
    assert done.stdout.splitlines() == [name, f"TZ={given!r}"], done.stderr


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("EST5EDT,M3.2.0,M11.1.0", "'America/New_York'"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "'Europe/Berlin'"),
        ("EST5EDT4,M3.2.0,M11.1.0", "name a place"),
        ("UTC+3", "for 3 h behind UTC give 'Etc/GMT+3'"),
        ("<+0330>-3:30", "'Asia/Tehran'"),
        ("JST-9", "for 9 h ahead of UTC give 'Etc/GMT-9'"),
        ("Mars/Olympus", "give an IANA name"),
        ("asia/tokyo", "did you mean 'Asia/Tokyo'"),
        ("/usr/share/zoneinfo/right/Asia/Tokyo", "the clock of this process shows"),
    ],
)
def test_what_describes_clocks_and_names_no_zone_is_refused(given: str, hint: str, tmp_path: Path) -> None:
    """tzlocal #123: never UTC, silently, for a host whose clock shows something else."""
    if "/right/" in given and not Path(given).is_file():
        pytest.skip("this host has no zones with leap seconds")
    done = ask(tmp_path, TZ=given)
    assert done.returncode == 2, done.stdout
    assert hint in done.stderr
    assert "set the setting timezone" in done.stderr


def test_the_setting_says_it_whatever_the_host_says(tmp_path: Path) -> None:
    done = ask(tmp_path, TZ="EST5EDT,M3.2.0,M11.1.0", SCHEDULER_TIMEZONE="Asia/Seoul")
    assert done.stdout.splitlines()[0] == "Asia/Seoul"


def test_the_host_as_it_is(tmp_path: Path) -> None:
    """Whatever this host is set to, its name agrees with its clock, or a person is asked."""
    done = ask(tmp_path)
    if done.returncode == 0:
        name, source = done.stdout.splitlines()
        assert source
        again = ask(tmp_path, TZ=name)
        assert again.stdout.splitlines()[0] == name
    else:
        assert "set the setting timezone" in done.stderr


@pytest.mark.parametrize("is_link", [True, False], ids=["over a link", "in place of it"])
def test_a_file_mounted_over_etc_localtime_is_not_taken_for_utc(is_link: bool, tmp_path: Path) -> None:
    """tzlocal #124, `docker run -v /etc/localtime:/etc/localtime`: what the link leads to has another zone's rules."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0 or not (ZONES / "Asia/Tokyo").is_file():
        pytest.skip("needs root, unshare and the host's zones")
    etc = tmp_path / "etc"
    etc.mkdir()
    for name in ("passwd", "ld.so.cache", "ssl"):
        if Path("/etc", name).exists():
            (etc / name).symlink_to(Path("/proc/1/root/etc", name))
    if is_link:
        (etc / "localtime").symlink_to("/usr/share/zoneinfo/Etc/UTC")
        mount = "mount --bind /usr/share/zoneinfo/Asia/Tokyo /usr/share/zoneinfo/Etc/UTC"
    else:
        shutil.copy(ZONES / "Asia/Tokyo", etc / "localtime")
        mount = "true"
    (etc / "timezone").write_text("Etc/UTC\n")
    script = f'{mount} && mount --bind {etc} /etc && exec "$@"'
    done = ask(tmp_path, unshare, "--mount", "sh", "-c", script, "sh")
    if "mount" in done.stderr:
        pytest.skip(f"this machine does not let us mount: {done.stderr}")
    assert done.returncode == 2, done.stdout
    assert "shows +9 h from UTC" in done.stderr
    assert "set the setting timezone" in done.stderr
