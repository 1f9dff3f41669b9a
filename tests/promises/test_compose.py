"""docker-compose.yml agrees with the code: its commands and settings exist, its parts fit together."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from errata.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
GPU = yaml.safe_load((ROOT / "compose.gpu.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("errata")}


def settings_of(service: dict[str, Any]) -> Settings:
    environ = {name: interpolate(str(value)) for name, value in service["environment"].items()}
    return load_settings(None, environ)


def interpolate(text: str) -> str:
    """What Compose makes of `${NAME:-default}`, and of `${NAME:?complaint}` when NAME is `given`."""
    return re.sub(r"\$\{\w+:(?:-([^}]*)|\?[^}]*)\}", lambda match: match[1] or "given", text)


def test_every_process_of_errata_is_there() -> None:
    assert set(OURS) == {"migrate", "worker", "trainer", "intake", "dashboard"}


@pytest.mark.parametrize("name", OURS)
def test_its_command_exists(name: str) -> None:
    command = [sys.executable, "-m", "errata.command", *OURS[name]["command"], "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert f"errata {name}" in " ".join(answer.stdout.split())


@pytest.mark.parametrize("name", OURS)
def test_its_settings_exist_and_reach_the_other_containers(name: str) -> None:
    settings = settings_of(OURS[name])
    assert settings.broker.bootstrap == "kafka:19092"
    assert settings.database.url == "postgresql+psycopg://errata:given@postgres/errata"
    assert f"artifacts:{settings.artifacts.directory}" in OURS[name]["volumes"]


def test_the_settings_of_the_gpu_override_exist() -> None:
    assert set(GPU["services"]) == {"trainer"}
    assert settings_of(GPU["services"]["trainer"]).trainer.device == "cuda"
    reserved = GPU["services"]["trainer"]["deploy"]["resources"]["reservations"]["devices"]
    assert [device["capabilities"] for device in reserved] == [["gpu"]]


def test_the_settings_file_that_is_mounted_unless_another_is_given_can_be_loaded() -> None:
    source, target, mode = interpolate(COMPOSE["x-errata"]["volumes"][0]).split(":")
    assert load_settings(ROOT / source, {}).models
    assert (target, mode) == ("/srv/errata/errata.toml", "ro")


def test_what_is_mounted_from_here_is_here() -> None:
    sources = {
        interpolate(volume).split(":")[0] for service in SERVICES.values() for volume in service["volumes"]
    }
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])
    missing = {source for source in sources if source.startswith(".") and not (ROOT / source).is_file()}
    assert not missing


def test_ports_are_open_to_this_host_alone() -> None:
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_a_port_leads_to_the_process_that_listens_on_it() -> None:
    for name, listening in {"intake": "intake", "dashboard": "dashboard"}.items():
        listener = getattr(settings_of(OURS[name]), listening)
        assert listener.host == "0.0.0.0"
        assert OURS[name]["ports"] == [f"127.0.0.1:{listener.port}:{listener.port}"]


def test_prometheus_asks_workers_and_intakes_where_they_answer() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text(encoding="utf-8"))
    asked = [found for job in scraped["scrape_configs"] for found in job["dns_sd_configs"]]
    for name, found in zip(("worker", "intake"), asked, strict=True):
        answering = getattr(settings_of(OURS[name]), name)
        assert answering.metrics_host == "0.0.0.0"
        assert (found["names"], found["port"]) == ([name], answering.metrics_port)
    port = settings_of(OURS["worker"]).worker.metrics_port
    assert f"localhost:{port}/healthz" in OURS["worker"]["healthcheck"]["test"][-1]


def test_a_service_waits_only_for_services_that_can_become_ready() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed]
            else:
                assert needed == "migrate"


def test_every_image_from_elsewhere_is_pinned() -> None:
    elsewhere = [service["image"] for name, service in SERVICES.items() if name not in OURS]
    assert all(re.search(r":v?\d", image) for image in elsewhere)


def test_what_the_image_copies_is_here() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE):
        assert all((ROOT / source).exists() for source in sources.split()), sources


def test_a_healthcheck_asks_the_port_that_its_process_listens_on() -> None:
    for name in ("intake", "dashboard"):
        port = getattr(settings_of(OURS[name]), name).port
        assert f"localhost:{port}/" in OURS[name]["healthcheck"]["test"][-1]


def test_the_image_has_every_room_that_is_installed() -> None:
    copied = set(
        re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    packages = re.search(r"packages = \[(.*?)\]", pyproject, re.DOTALL)
    assert packages is not None
    assert copied == {name.split(".")[0] for name in re.findall(r'"([\w.]+)"', packages[1])}
