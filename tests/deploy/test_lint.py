"""Each file of deploy/ as its linter sees it; and each linter sees a file that was broken on purpose."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from manifests import COMPOSE, DOCKERFILE, INSTALLED, KUBERNETES, UNITS

BIN = Path(sys.executable).parent
MANIFESTS = sorted(KUBERNETES.glob("*.yaml"))
SERVICE_MONITOR = KUBERNETES / "servicemonitor.yaml"
SERVICE_MONITOR_SCHEMA = Path(__file__).with_name("servicemonitor.schema.json")
UNIT_FILES = sorted(UNITS.glob("*.service"))
WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.yml"))

KUBERNETES_VERSIONS = ("1.31", "1.37")
"""The oldest that the manifests are for, and the newest that the linter knows."""

EXPOSURE = 20
"""Tenths: `systemd-analyze security` calls less than 2 safe enough, and 9.6 is a unit that says nothing."""


def _run(*words: str | Path) -> tuple[int, str]:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def lint_dockerfile(file: Path) -> tuple[int, str]:
    return _run(BIN / "hadolint", "--failure-threshold", "style", file)


def lint_compose(file: Path) -> tuple[int, str]:
    return _run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def lint_kubernetes(file: Path, version: str = KUBERNETES_VERSIONS[-1]) -> tuple[int, str]:
    code, said = _run(BIN / "kubernetes-validate", "--strict", "-k", version, file)
    # A kind that it has no schema of is a warning to it: unchecked is not right.
    return (code or int("WARN" in said)), said


def lint_service_monitor(file: Path) -> tuple[int, str]:
    return _run(BIN / "check-jsonschema", "--schemafile", SERVICE_MONITOR_SCHEMA, file)


def lint_unit(file: Path) -> tuple[int, str]:
    """`file` must stand in a folder of its own: the others there are read too."""
    code, said = _run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file)
    # Older ones warn of an unknown setting and end with 0.
    return (code or int(file.name in said)), said


def lint_hardening(file: Path) -> tuple[int, str]:
    return _run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", file)


def broken(file: Path, folder: Path, old: str, new: str) -> Path:
    """A copy in which one thing is wrong."""
    text = file.read_text()
    assert old in text
    copy = folder / file.name
    copy.write_text(text.replace(old, new, 1))
    return copy


def test_the_dockerfile() -> None:
    assert lint_dockerfile(DOCKERFILE) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("WORKDIR /source", "WORKDIR source", "DL3000"),
        ("python:3.13-slim AS", "python:latest AS", "DL3007"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ('ENTRYPOINT ["scheduler"]', "ENTRYPOINT scheduler", "DL3025"),
        ("WORKDIR /app", "WORKDIRR /app", "missing whitespace"),
    ],
)
def test_a_wrong_dockerfile_is_found(tmp_path: Path, old: str, new: str, rule: str) -> None:
    code, said = lint_dockerfile(broken(DOCKERFILE, tmp_path, old, new))
    assert code != 0
    assert rule in said


def test_the_compose_file() -> None:
    code, said = lint_compose(COMPOSE)
    assert code == 0, said


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("read_only: true", "readonly: true"),
        ("deploy: {replicas: 3}", "deploy: {replicas: [3]}"),
        ("    image:", "    imag:"),
    ],
)
def test_a_wrong_compose_file_is_found(tmp_path: Path, old: str, new: str) -> None:
    assert lint_compose(broken(COMPOSE, tmp_path, old, new))[0] != 0


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("file", [f for f in MANIFESTS if f != SERVICE_MONITOR], ids=lambda file: file.name)
def test_the_manifests(file: Path, version: str) -> None:
    code, said = lint_kubernetes(file, version)
    assert code == 0, said
    assert "passed" in said


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("deployment.yaml", "runAsNonRoot:", "runAsNoRoot:"),
        ("deployment.yaml", "containerPort: 8080", "containerPort: http"),
        ("deployment.yaml", "startupProbe:", "startUpProbe:"),
        ("migrate.yaml", "backoffLimit: 4", "backoffLimit: four"),
        ("poddisruptionbudget.yaml", "minAvailable", "minAvailabel"),
        ("services.yaml", "kind: Service", "kind: Servise"),
        ("configmap.yaml", '"9100"', "9100"),
    ],
)
def test_a_wrong_manifest_is_found(tmp_path: Path, name: str, old: str, new: str) -> None:
    assert lint_kubernetes(broken(KUBERNETES / name, tmp_path, old, new))[0] != 0


def test_the_service_monitor() -> None:
    code, said = lint_service_monitor(SERVICE_MONITOR)
    assert code == 0, said


@pytest.mark.parametrize(
    ("old", "new"), [("interval: 15s", "interval: 15"), ("path:", "metricsPath:"), ("port:", "ports:")]
)
def test_a_wrong_service_monitor_is_found(tmp_path: Path, old: str, new: str) -> None:
    assert lint_service_monitor(broken(SERVICE_MONITOR, tmp_path, old, new))[0] != 0


systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="SYSTEMD-ANALYZE IS MISSING, so no unit is linted: Debian's package systemd",
)


def installed_here(file: Path, folder: Path) -> Path:
    """A copy whose command is the one of this environment: systemd minds a command that is not there."""
    copy = folder / file.name
    copy.write_text(file.read_text().replace(INSTALLED, str(BIN / "scheduler")))
    return copy


@systemd
@pytest.mark.parametrize("file", UNIT_FILES, ids=lambda file: file.name)
def test_the_units(file: Path, tmp_path: Path) -> None:
    unit = installed_here(file, tmp_path)
    assert lint_unit(unit) == (0, "")
    code, said = lint_hardening(unit)
    assert code == 0, said


@systemd
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RestartSec=2", "RestartSecs=2"),
        ("Type=exec", "Type=exact"),
        ("TimeoutStopSec=45", "TimeoutStopSec=soon"),
        (str(BIN / "scheduler"), "/nowhere/scheduler"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@no-such-set"),
    ],
)
def test_a_wrong_unit_is_found(tmp_path: Path, old: str, new: str) -> None:
    unit = installed_here(UNITS / "scheduler@.service", tmp_path)
    assert lint_unit(broken(unit, tmp_path, old, new))[0] != 0


@systemd
def test_a_unit_that_is_not_hardened_is_found(tmp_path: Path) -> None:
    unit = installed_here(UNITS / "scheduler@.service", tmp_path)
    assert lint_hardening(broken(unit, tmp_path, "CapabilityBoundingSet=\n", ""))[0] != 0


def test_each_file_has_a_linter() -> None:
    """A file that comes later is not overlooked."""
    linted = {DOCKERFILE, COMPOSE, *MANIFESTS, *UNIT_FILES}
    for folder in ("docker", "compose", "kubernetes", "systemd"):
        for file in (KUBERNETES.parent / folder).rglob("*"):
            python_or_list = file.suffix in {".py", ".dockerignore", ".pyc"}
            assert file.is_dir() or python_or_list or file in linted, file


def test_none_names_a_host_of_images_or_packages() -> None:
    compose = yaml.safe_load(COMPOSE.read_text())["services"].values()
    pods = [
        yaml.safe_load((KUBERNETES / n).read_text())["spec"]["template"]["spec"]
        for n in ("deployment.yaml", "migrate.yaml")
    ]
    images = [service["image"] for service in compose]
    images += [container["image"] for pod in pods for container in pod["containers"]]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), flags=re.MULTILINE)
    assert len(images) >= 8
    for image in images:
        assert re.fullmatch(r"[a-z-]+:[0-9][0-9.a-z-]*", image), image
    assert "://" not in re.sub(r"(postgresql|redis)://", "", COMPOSE.read_text() + DOCKERFILE.read_text())


def lint_workflow(file: Path) -> tuple[int, str]:
    return _run(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", file)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_the_workflows(file: Path) -> None:
    code, said = lint_workflow(file)
    assert code == 0, said
    held = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert held["permissions"] == {"contents": "read"}
    for job in held["jobs"].values():
        assert "timeout-minutes" in job, "each job is bounded"


@pytest.mark.parametrize(
    ("old", "new"), [("runs-on:", "run-on:"), ("- uses:", "- use:"), ("fail-fast: false", "fail-fast: [no]")]
)
def test_a_wrong_workflow_is_found(tmp_path: Path, old: str, new: str) -> None:
    assert lint_workflow(broken(WORKFLOWS[0], tmp_path, old, new))[0] != 0
