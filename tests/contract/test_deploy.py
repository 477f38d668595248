"""The files of deploy/: their commands run, their units are valid, and no image or secret is left open."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.support.command import Run

UNITS = (
    *("headrace-execute.service", "headrace-execute.timer", "headrace-pipeline.service"),
    *("headrace-archive.service", "headrace-archive.timer"),
)
BINARY = "/opt/headrace/bin/headrace"


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "deploy/compose.yaml").read_text())
    return found


def commands(root: Path, compose: dict[str, Any]) -> list[list[str]]:
    """Every command of the units, the services and the image, without the program's name."""
    units = (root / "deploy/systemd" / unit for unit in UNITS if unit.endswith(".service"))
    lines = [line for unit in units for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)]
    assert all(shlex.split(line)[0] == BINARY for line in lines)
    services = [own["command"] for own in compose["services"].values() if "command" in own]
    [image] = re.findall(r"^CMD (\[.*\])$", (root / "deploy/Dockerfile").read_text(), re.MULTILINE)
    return [*(shlex.split(line)[1:] for line in lines), *services, yaml.safe_load(image)]


@pytest.mark.timeout(180)
def test_every_command_of_the_files_runs(
    root: Path, compose: dict[str, Any], headrace_run: Run, tmp_path: Path
) -> None:
    environment = {"HEADRACE_DB": f"sqlite:///{tmp_path}/own.sqlite", "HEADRACE_STATE": str(tmp_path / "state")}
    assert headrace_run("db", "migrate", **environment).returncode == 0
    config = str(root / "deploy/headrace.toml")
    found = {
        tuple(
            {"/etc/headrace/headrace.toml": config, "/var/lib/headrace/archive": "archive"}.get(own, own)
            for own in line
        )
        for line in commands(root, compose)
    }
    assert {line[0] for line in found} == {"execute", "pipeline", "db"}
    for line in found:
        # One run says as much as one each minute; a free port as much as that of the file.
        once = [own for own in line if own not in ("--every", "60s")]
        once = ["telemetry.prometheus_port=0" if own.startswith("telemetry.prometheus_port") else own for own in once]
        ended = headrace_run(*once, **environment)
        assert ended.returncode == 0, (line, ended.stderr)
    # Options that were taken out are known, too.
    for verb in ("execute", "pipeline"):
        assert "--every" in headrace_run(verb, "--help").stdout


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_valid(root: Path, tmp_path: Path, unit: str) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze: install systemd")
    for name in UNITS:
        text = (root / "deploy/systemd" / name).read_text()
        # It looks whether the program is there.
        (tmp_path / name).write_text(text.replace(BINARY, sys.executable).replace("User=headrace", "User=root"))
    ended = subprocess.run(
        [verify, "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, check=False, timeout=60
    )
    said = [line for line in ended.stderr.splitlines() if unit in line]
    assert said == []


def test_services_have_no_secret_and_no_open_image(compose: dict[str, Any], root: Path) -> None:
    services = compose["services"]
    assert set(services) == {"db", "migrate", "pipeline", "worker"}
    text = (root / "deploy/compose.yaml").read_text()
    assert set(re.findall(r"PASSWORD: (.*)", text)) == {"${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD}"}
    assert not re.search(r"://[^@\s]*:[^@\s]*@", text)
    assert all("ports" not in own for own in services.values())
    named = r"(?:^FROM |--from=)(\S+)"
    images = set(re.findall(named, (root / "deploy/Dockerfile").read_text(), re.MULTILINE)) - {"build"}
    assert images
    assert all(re.search(r":\d", image) for image in images)
    for own in ("migrate", "pipeline", "worker"):
        assert services[own]["depends_on"]


def test_image_copies_what_its_build_needs(root: Path) -> None:
    text = (root / "deploy/Dockerfile").read_text()
    copied = [own for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE) for own in line.split()[:-1]]
    assert all((root / own).exists() for own in copied)
    assert {"Cargo.toml", "Cargo.lock", "pyproject.toml", "rust", "python"} <= set(copied)
    extras = re.search(r"\[([a-z,]+)\]\"", text)
    assert extras is not None
    known = (root / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", known, re.MULTILINE) for extra in extras[1].split(","))
    assert 'ENTRYPOINT ["headrace"]' in text
