"""What no schema says: how the values of the manifests relate to each other and to the scheduler's own."""

from __future__ import annotations

import re
from typing import Any

import manifests
import pytest
from manifests import COMPOSE, KUBERNETES, UNITS, on_compose, on_kubernetes, on_systemd

from scheduler_core.settings import Settings

POD = manifests.resource("Deployment")["spec"]["template"]["spec"]
PODS = [POD, manifests.resource("Job", "scheduler-migrate")["spec"]["template"]["spec"]]


@pytest.mark.parametrize(
    "replica",
    [on_kubernetes("Deployment"), on_compose("replica"), on_systemd("scheduler@.service")],
    ids=["k8s", "compose", "systemd"],
)
def test_a_replica_has_time_to_drain_and_leaves_the_schema_alone(replica: manifests.Deployed) -> None:
    assert replica.grace_seconds >= float(replica.environment["SCHEDULER_DRAIN_TIMEOUT"]) + 10
    assert replica.environment["SCHEDULER_AUTO_MIGRATE"] == "false"
    ours = {name.removeprefix("SCHEDULER_").lower() for name in replica.environment if name.startswith("SCHEDULER_")}
    assert ours - {"app"} <= set(Settings.model_fields)


def test_two_of_three_replicas_stay() -> None:
    deployment = manifests.resource("Deployment")["spec"]
    assert deployment["replicas"] == manifests.services()["replica"]["deploy"]["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 1
    assert manifests.resource("PodDisruptionBudget")["spec"]["minAvailable"] == 2
    assert {c["topologyKey"] for c in POD["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }


def test_every_selector_finds_its_pods() -> None:
    deployment = manifests.resource("Deployment")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    selectors: list[dict[str, Any]] = [
        deployment["selector"]["matchLabels"],
        manifests.resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        manifests.resource("Service")["spec"]["selector"],
        manifests.resource("Service", "scheduler-metrics")["spec"]["selector"],
        *(c["labelSelector"]["matchLabels"] for c in POD["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        # The migration is no replica: it is neither served to nor counted.
        assert not selector.items() <= PODS[1].get("labels", {}).items()
    monitor = manifests.resource("ServiceMonitor")["spec"]
    scraped = manifests.resource("Service", "scheduler-metrics")
    assert monitor["selector"]["matchLabels"].items() <= scraped["metadata"]["labels"].items()
    # ... and finds no other Service, or each replica would be scraped twice.
    assert not monitor["selector"]["matchLabels"].items() <= manifests.resource("Service")["metadata"]["labels"].items()
    assert {e["port"] for e in monitor["endpoints"]} == {p["name"] for p in scraped["spec"]["ports"]}


def test_every_port_that_is_named_is_one_that_the_replica_listens_on() -> None:
    (container,) = POD["containers"]
    settings = manifests.resource("ConfigMap")["data"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"api": int(settings["SCHEDULER_API_PORT"]), "metrics": int(settings["SCHEDULER_METRICS_PORT"])}
    for service in ("scheduler", "scheduler-metrics"):
        assert {p["targetPort"] for p in manifests.resource("Service", service)["spec"]["ports"]} <= set(ports)
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    assert {probe["port"] for probe in probes.values()} == {"metrics"}


@pytest.mark.parametrize("pod", PODS, ids=["replica", "migrate"])
def test_a_pod_may_do_nothing_that_it_need_not(pod: dict[str, Any]) -> None:
    assert pod["enableServiceLinks"] is False
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = manifests.image().last("USER").split(":")
    assert [pod["securityContext"][key] for key in ("runAsUser", "runAsGroup")] == [int(number) for number in user]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_replicas_and_migration_are_of_one_image() -> None:
    assert len({pod["containers"][0]["image"] for pod in PODS}) == 1


def test_compose_publishes_on_loopback_only_and_starts_in_order() -> None:
    services = manifests.services()
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {need["condition"] for need in services["migrate"]["depends_on"].values()} == {"service_healthy"}
    for name in ("replica", "web"):
        assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
        assert services[name]["read_only"] is True
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert f"{setting}=on" in services["postgres"]["command"]
    for server in ("postgres", "redis"):
        assert services[server]["healthcheck"]["test"]


def test_no_secret_stands_in_a_file() -> None:
    for file in (COMPOSE, *KUBERNETES.glob("*.yaml"), *UNITS.iterdir()):
        text = file.read_text()
        # A password is a variable that must be given, or is not there.
        for password in re.findall(r"^\s*\w*(?:PASSWORD|SECRET|TOKEN)\w*[:=]\s*(\S+)", text, flags=re.MULTILINE):
            assert password.startswith("${"), (file.name, password)
        for address in re.findall(r"\w+://[^@\s]*@", text):
            assert re.fullmatch(r"\w+://\w*:\$\{\w+:\?[^}]*\}@", address), (file.name, address)
    assert all(pod["containers"][0]["envFrom"][-1] == {"secretRef": {"name": "scheduler"}} for pod in PODS)
    assert "Secret" not in {resource["kind"] for resource in manifests.resources()}


def test_the_units_try_again_for_ever_but_not_with_wrong_settings() -> None:
    unit = manifests.unit("scheduler@.service")
    assert unit["Restart"] == ["always"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    for name in ("scheduler@.service", "scheduler-migrate.service"):
        made = manifests.unit(name)
        assert made["DynamicUser"] == made["NoNewPrivileges"] == ["yes"]
        assert made["ProtectSystem"] == ["strict"]
        assert "/etc/scheduler/scheduler.env" in made["EnvironmentFile"]
