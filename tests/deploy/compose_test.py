"""Goal: compose, scrape configuration, Dockerfile and documents speak of programs as they are.
Method: reads the files and asks each program's --help for its flags; starts no container.
"""

import re
import subprocess

import pytest
import yaml

from repository import BINARIES, DEPLOY, ROOT

COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROGRAMS = {"server": "longlora-server", "worker": "longlora-worker"}


def flags_of(program: str) -> set[str]:
    help_text = subprocess.run([BINARIES / program, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"--[a-z][a-z0-9-]+", help_text.stdout + help_text.stderr))


def flags_in(words) -> set[str]:
    return {word.split("=")[0] for word in words if str(word).startswith("--")}


def value_after(words: list, flag: str) -> str:
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("service", PROGRAMS)
def test_compose_uses_flags_that_exist(service):
    assert flags_in(COMPOSE["services"][service]["command"]) <= flags_of(PROGRAMS[service])


def test_gpu_compose_differs_in_devices_only():
    plain = list(COMPOSE["services"]["worker"]["command"])
    gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())["services"]["worker"]
    plain[plain.index("--devices") + 1] = "cuda"
    assert gpu["command"] == plain
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["driver"] == "nvidia"


def test_dockerfile_uses_flags_that_exist():
    words = re.findall(r'"([^"]*)"', (ROOT / "Dockerfile").read_text().split("AS worker")[0].rsplit("CMD", 1)[1])
    assert flags_in(words) <= flags_of("longlora-server")


def test_prometheus_scrapes_what_compose_starts():
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    found = {config["static_configs"][0]["targets"][0] for config in scraped}
    expected = set()
    for service in PROGRAMS:
        port = value_after(COMPOSE["services"][service]["command"], "--metrics-listen").rsplit(":", 1)[1]
        expected.add(f"{service}:{port}")
    assert found == expected


def test_worker_dials_the_server_where_it_listens():
    services = COMPOSE["services"]
    port = value_after(services["server"]["command"], "--listen").rsplit(":", 1)[1]
    assert value_after(services["worker"]["command"], "--server") == f"server:{port}"
    assert services["client"]["environment"]["LONGLORA_SERVER"] == f"server:{port}"


def test_ports_are_published_on_loopback_only():
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} publishes {port}"


def test_our_services_are_built_from_their_targets_and_carry_the_version():
    version = re.search(r"project\(longlora VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text())[1]
    stages = set(re.findall(r"^FROM \S+ AS (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for name in ("server", "worker", "client"):
        service = COMPOSE["services"][name]
        assert service["image"] == f"longlora-{name}:{version}"
        assert service["build"]["target"] in stages
        assert service["cap_drop"] == ["ALL"] and service["read_only"] is True


@pytest.mark.parametrize("stage", ["server", "worker", "client"])
def test_images_run_as_a_numeric_user_that_is_not_root(stage):
    text = (ROOT / "Dockerfile").read_text().split(f" AS {stage}\n")[1].split("\nFROM ")[0]
    users = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    assert users and all(int(user) > 0 and int(group) > 0 for user, group in users)


@pytest.mark.parametrize("program", ["longlora-server", "longlora-worker"])
def test_operating_page_names_flags_that_exist_and_leaves_none_out(program):
    page = (ROOT / "docs" / "OPERATING.md").read_text()
    table = page.split(f"### `{program}`\n")[1].split("\n#")[0]
    documented = {flag for row in table.splitlines() if row.startswith("| `--") for flag in re.findall(r"`(--[a-z-]+)", row.split("|")[1])}
    assert documented == flags_of(program) - {"--help"}


def test_compose_client_uses_flags_that_exist():
    assert flags_in(COMPOSE["services"]["client"]["entrypoint"]) <= flags_of("longlora")
