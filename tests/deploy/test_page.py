"""docs/deployment.md, whose commands want a daemon or a cluster: what they name is there, and what they give to
`scheduler` it understands.
"""

from __future__ import annotations

import re
from pathlib import Path

import manifests
from commands import scheduler
from manifests import ROOT, UNITS
from pages import blocks_of
from test_lint import lint_dockerfile

PAGE = ROOT / "docs" / "deployment.md"
COMMANDS = "".join(block.text for block in blocks_of(PAGE) if block.language == "sh")


def test_the_image_of_a_user_passes_the_linter(tmp_path: Path) -> None:
    (block,) = [block for block in blocks_of(PAGE) if block.language == "dockerfile"]
    (tmp_path / "Dockerfile").write_text(block.text)
    assert lint_dockerfile(tmp_path / "Dockerfile") == (0, "")
    assert block.text.startswith(f"FROM {manifests.services()['replica']['image']}\n")


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"\bdeploy/[\w./*-]+", COMMANDS)
    assert len(named) >= 4
    for pattern in named:
        assert list(ROOT.glob(pattern)), pattern
    applied = re.findall(r"-f (\S+\.yaml)", COMMANDS)
    assert sorted(applied) == sorted(file.name for file in manifests.KUBERNETES.glob("*.yaml"))


def test_every_name_is_one_of_the_manifests() -> None:
    (job,) = set(re.findall(r"job[ /](scheduler-\S+)", COMMANDS))
    assert manifests.resource("Job", job)
    (secret,) = re.findall(r"create secret generic (\S+)", COMMANDS)
    container = manifests.resource("Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert {"secretRef": {"name": secret}} in container["envFrom"]
    units = re.findall(r"\bscheduler(?:@\d|-migrate)", COMMANDS)
    assert {re.sub(r"@\d", "@", unit) + ".service" for unit in units} - {"scheduler-migrate.service"} <= {
        unit.name for unit in UNITS.iterdir()
    }
    passwords = set(re.findall(r"\$\{(\w+):\?", manifests.COMPOSE.read_text()))
    (names,) = re.findall(r"for name in ([A-Z ]+);", COMMANDS)
    assert passwords == {f"{name}_PASSWORD" for name in names.split()}


def test_the_scheduler_understands_what_it_is_told(environment: dict[str, str], tmp_path: Path) -> None:
    ((service, words),) = re.findall(r"docker compose exec (\w+) scheduler (.+)", COMMANDS)
    assert service in manifests.services()
    assert scheduler("migrate", environment=environment, folder=tmp_path).returncode == 0
    done = scheduler(*words.split(), environment=environment, folder=tmp_path)
    assert done.returncode == 0, done.stderr
