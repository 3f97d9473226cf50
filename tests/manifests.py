"""What is shipped under deploy/, read as those read it who run it: which command, with which variables, stopped how."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = DEPLOY / "systemd"

INSTALLED = "/opt/scheduler/venv/bin/scheduler"
"""Where the units expect the command."""


@dataclass(frozen=True)
class Deployed:
    """One process as it is deployed: its words, its variables, the check of its health, seconds until it is killed."""

    words: list[str]
    environment: dict[str, str]
    health: list[str] | None = None
    grace_seconds: float = 0


@dataclass(frozen=True)
class Image:
    """What the last stage of the Dockerfile declares."""

    instructions: list[tuple[str, str]]

    def last(self, name: str) -> str:
        return [rest for instruction, rest in self.instructions if instruction == name][-1]

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for word in shlex.split(self.last("ENV")))

    @property
    def health(self) -> list[str]:
        words: list[str] = json.loads(self.last("HEALTHCHECK").partition(" CMD ")[2])
        return words

    def run(self, arguments: list[str] | None) -> list[str]:
        """The words that a container starts: the entry point, and the arguments given or else the image's."""
        return [*json.loads(self.last("ENTRYPOINT")), *(arguments or json.loads(self.last("CMD")))]


def stages(dockerfile: Path = DOCKERFILE) -> list[list[tuple[str, str]]]:
    """The instructions of each stage."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.startswith("#"))
    found: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if line.strip():
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append((name, re.sub(r" +(?=CMD \[)", " ", rest.strip())))
    return found


def image() -> Image:
    return Image(stages()[-1])


def resources() -> Iterator[dict[str, Any]]:
    """Every resource of the Kubernetes manifests."""
    for file in sorted(KUBERNETES.glob("*.yaml")):
        yield from yaml.safe_load_all(file.read_text())


def resource(kind: str, name: str = "scheduler") -> dict[str, Any]:
    (found,) = [r for r in resources() if r["kind"] == kind and r["metadata"]["name"] == name]
    return found


def services() -> dict[str, Any]:
    """The services of the Compose file."""
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit's [Service], each with all its values."""
    parser = configparser.RawConfigParser(strict=False, dict_type=_Repeated, empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]
    parser.read(UNITS / name)
    return {key: value.split("\n") for key, value in parser["Service"].items()}


class _Repeated(dict[str, Any]):
    """Keeps each value of a key that stands there several times."""

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(value, list) and isinstance(self.get(key), list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def on_kubernetes(kind: str, name: str = "scheduler") -> Deployed:
    """The one container of a Deployment or a Job; its Secret is what the caller adds."""
    pod = resource(kind, name)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    variables = dict(image().environment)
    for source in container["envFrom"]:
        if "configMapRef" in source:
            variables |= resource("ConfigMap", source["configMapRef"]["name"])["data"]
    return Deployed(
        image().run(container["args"]),
        variables,
        image().health,
        pod.get("terminationGracePeriodSeconds", 30),
    )


def on_compose(service: str) -> Deployed:
    """A service of the Compose file."""
    found = services()[service]
    health = found["healthcheck"].get("test")
    return Deployed(
        image().run(found["command"]),
        image().environment | found["environment"],
        health[1:] if health else None,
        float(found.get("stop_grace_period", "10s").removesuffix("s")),
    )


def on_systemd(name: str, instance: str = "1") -> Deployed:
    """A unit, its specifiers filled in; its EnvironmentFile is what the caller adds."""
    found = unit(name)
    (command,) = found["ExecStart"]
    variables = {}
    for line in found["Environment"]:
        filled = line.replace("%i", instance).replace("%H", "host")
        variables |= dict(word.split("=", 1) for word in shlex.split(filled))
    assert command.startswith(INSTALLED)
    (grace,) = found.get("TimeoutStopSec", ["90"])
    return Deployed(["scheduler", *shlex.split(command)[1:]], variables, None, float(grace))
