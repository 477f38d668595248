"""The SSM parameter: over the file, under the environment and --set; what is wrong in it names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws

from headrace.app.executing import ExecutionParts
from headrace.errors import ConfigError
from headrace.execution.settings import SSM_PARAMETER

# Imports of boto3 and moto warn of what later versions change.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def ssm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import boto3

    for name, value in {
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("ssm")
        yield client
        client.close()


def put(ssm: Any, text: str, name: str = SSM_PARAMETER) -> None:
    ssm.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)


def parts(tmp_path: Path, text: str = "", *overrides: str) -> ExecutionParts:
    file = tmp_path / "own.toml"
    file.write_text(f"[execution]\n{text}\n")
    return ExecutionParts(file, overrides, f"sqlite:///{tmp_path}/x.sqlite")


def test_parameter_is_over_the_file_and_under_the_environment_and_set(
    ssm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(ssm, '{"confidence_min": 0.75, "max_attempts": 7, "max_hold_minutes": 100, "fill_model": "close+slip"}')
    monkeypatch.setenv("HEADRACE__EXECUTION__MAX_ATTEMPTS", "8")
    text = "confidence_min = 0.5\nmax_bar_age_seconds = 60"
    found = parts(tmp_path, text, "max_hold_minutes=50").settings()
    used = (found.confidence_min, found.max_attempts, found.max_hold_minutes, found.max_bar_age_seconds)
    assert tuple(map(str, used)) == ("0.75", "8", "50", "60")


def test_parameter_is_read_anew_at_each_run(ssm: Any, tmp_path: Path) -> None:
    own = parts(tmp_path)
    assert str(own.settings().confidence_min) == "0.70"
    put(ssm, '{"confidence_min": 0.8}')
    assert str(own.settings().confidence_min) == "0.8"


def test_another_name_is_read_in_its_place(ssm: Any, tmp_path: Path) -> None:
    put(ssm, '{"max_attempts": 3}', "/mine")
    assert parts(tmp_path, 'ssm_parameter = "/mine"').settings().max_attempts == 3
    with pytest.raises(ConfigError, match=r"/other cannot be read \(ParameterNotFound\)"):
        parts(tmp_path, 'ssm_parameter = "/other"')
    put(ssm, "{}")
    assert parts(tmp_path, 'ssm_parameter = ""').settings().max_attempts == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"confidence_min": 0}', "confidence_min is 0.*write confidence_min = 0.70"),
        ('{"confidence_min": null}', "confidence_min is wrong.*write confidence_min = 0.70"),
        ('{"max_attempts": -1}', "write max_attempts = 5"),
        ('{"confidence_mn": 1}', "did you mean confidence_min"),
        ('{"confidence_min": NaN}', "is no JSON"),
        ("[1]", "is no JSON object"),
    ],
)
def test_a_wrong_value_names_the_parameter_and_the_line(ssm: Any, tmp_path: Path, text: str, said: str) -> None:
    put(ssm, text)
    with pytest.raises(ConfigError, match=f"SSM parameter {SSM_PARAMETER}.*{said}"):
        parts(tmp_path)


def test_without_a_region_no_parameter_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert parts(tmp_path).settings().max_attempts == 5
