"""Which release of the zone data counts, and that the whole process goes by it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zoneinfo
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import tzdata

from scheduler_core.domain.errors import UnknownZoneError
from scheduler_core.domain.schedule.zone import find_zone
from scheduler_core.support.zone_data import UNKNOWN, ZoneFiles, choose, is_zone_name, read_files, zone_data

PACKAGE = Path(str(files("tzdata"))) / "zoneinfo"
OLDER, NEWER = "2019c", "2099a"

ASK = """
from datetime import UTC, datetime, timedelta
from scheduler_core import ScheduleJob, next_fires
from scheduler_core.support.zone_data import zone_data
from zoneinfo import ZoneInfo
job = ScheduleJob("j", "J", "daily", "09:00", "app:f", timezone="America/Vancouver")
print(zone_data().release, next_fires(job, datetime(2027, 1, 10, tzinfo=UTC), 1)[0].isoformat(),
      ZoneInfo("America/Vancouver").utcoffset(datetime(2027, 1, 10)))
"""


def host(folder: Path, release: str, zones: dict[str, str], release_file: str = "tzdata.zi") -> Path:
    """A host's zones: each name with the file of another zone, from the package."""
    for name, source in {"UTC": "UTC", **zones}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / source, folder / name)
    (folder / release_file).write_text(f"# version {release}\n" if release_file == "tzdata.zi" else f"{release}\n")
    return folder


def ask(folder: Path, code: str = ASK) -> list[str]:
    """A process whose host has these zones."""
    environment = os.environ | {"PYTHONTZPATH": str(folder), "TZ": "UTC"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    return done.stdout.split()


def test_the_package_counts_where_the_host_is_older(tmp_path: Path) -> None:
    """As on a host with 2025b: British Columbia keeps UTC-7 since 2026, and 09:00 is 16:00 UTC also in January.

    What user code asks of zoneinfo by itself is not touched.
    """
    older = host(tmp_path, OLDER, {"America/Vancouver": "America/Los_Angeles"})
    assert ask(older) == [tzdata.IANA_VERSION, "2027-01-10T16:00:00+00:00", "-1", "day,", "16:00:00"]


def test_the_host_counts_where_it_is_newer(tmp_path: Path) -> None:
    """And what it lacks, as hosts without the legacy names do, is taken from the package."""
    newer = host(tmp_path, NEWER, {"America/Vancouver": "Asia/Tokyo"})
    assert ask(newer)[:2] == [NEWER, "2027-01-11T00:00:00+00:00"]
    code = "from scheduler_core.domain.schedule.zone import find_zone; print(find_zone('US/Pacific').name)"
    assert ask(newer, code) == ["US/Pacific"]


@pytest.mark.parametrize(
    ("releases", "first"),
    [
        (["2025b", "2026f"], "2026f"),
        (["2026f", "2025b"], "2026f"),
        (["2026z", "2026za"], "2026za"),
        (["2026za", "2027a"], "2027a"),
        ([UNKNOWN, "2016j"], "2016j"),
        (["2025b-14-gabcdef", "2025a"], "2025b"),
        (["nonsense", "2016j"], "2016j"),
    ],
)
def test_the_newer_release_is_found_by_its_name(releases: list[str], first: str, tmp_path: Path) -> None:
    found = [read_files(host(tmp_path / release, release, {})) for release in releases]
    assert choose(found).release == first


def test_of_one_release_the_package_counts() -> None:
    """Replicas with the same packages then go by the same files."""
    package, hosts = ZoneFiles(PACKAGE, "2026f", is_package=True), ZoneFiles(Path("/host"), "2026f", is_package=False)
    assert choose([hosts, package]).files[0] is choose([package, hosts]).files[0] is package


def test_releases_of_other_systems(tmp_path: Path) -> None:
    assert read_files(host(tmp_path / "mac", "2026c", {}, "+VERSION")).release == "2026c"
    assert read_files(tmp_path).release == UNKNOWN
    assert read_files(PACKAGE, is_package=True).release == tzdata.IANA_VERSION


def test_names() -> None:
    names = zone_data().names()
    assert {"Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+3", "UTC", "NZ-CHAT", "W-SU"} <= names
    assert names <= {*(PACKAGE.parent / "zones").read_text().split(), *zoneinfo.available_timezones()}
    assert all(find_zone(name).name == name for name in names)


NO_NAMES = [
    *("../UTC", "/UTC", "UTC/", "Europe//Berlin", "Europe/Berlin\n", "", "é"),
    *("right/UTC", "posix/UTC", "posixrules", "localtime"),
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_never_looked_for(name: str) -> None:
    assert not is_zone_name(name)
    with pytest.raises(UnknownZoneError, match="There is no time zone"):
        find_zone(name)


def test_a_zone_for_people_is_of_the_same_data() -> None:
    """Sentences and tables show the local time by which the job fires, and know its zone's name."""
    info = find_zone("America/Vancouver").info
    assert isinstance(info, ZoneInfo)
    assert info.key == "America/Vancouver"


def test_without_any_data_a_person_is_told_what_to_install() -> None:
    assert str(choose([])) == "none: install the package tzdata"
    assert choose([]).load("UTC") is None
