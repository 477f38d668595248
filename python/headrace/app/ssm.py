"""The settings of execution in AWS: one SSM parameter, a JSON object of the keys of ``[execution]`` (``[aws]``).

When it is read
    A parameter that is named (``ssm_parameter``) must be there. Without a name the default one is read where boto3 and
    an AWS region are configured, and may be missing. ``ssm_parameter = ""`` reads none.

Guarantees: a key or value that is wrong names the parameter, as one of a file names the file.
Does not: keep a value; it is read at the begin of each run.
"""

from __future__ import annotations

import json
import logging
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec

from headrace.app.config.overrides import Override
from headrace.errors import ConfigError, MissingExtraError
from headrace.execution.settings import SSM_PARAMETER
from headrace.limits import SSM_TIMEOUT_S

if TYPE_CHECKING:
    from headrace.execution.settings import ExecutionSettings

__all__ = ["ssm_layer"]

log = logging.getLogger(__name__)

REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")


def ssm_layer(settings: ExecutionSettings) -> list[Override]:
    """Return the values of the parameter that these settings mean; none where there is none to read.

    Raises ConfigError for one that cannot be read or is no JSON object, MissingExtraError without boto3.
    """
    name = settings.ssm_parameter
    if name is None:
        if find_spec("boto3") is None or not any(os.environ.get(region) for region in REGIONS):
            return []
        text = _value(SSM_PARAMETER, may_miss=True)
        return [] if text is None else _overrides(SSM_PARAMETER, text)
    return [] if not name else _overrides(name, _value(name, may_miss=False) or "")


def _overrides(name: str, text: str) -> list[Override]:
    origin = f"SSM parameter {name}"
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{origin}: $ is no JSON: {error}; write an object like {_EXAMPLE}", path="$") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: $ is no JSON object: write one like {_EXAMPLE}", path="$")
    return [Override(origin, ["execution", key], _text(value), ignores_case=False) for key, value in document.items()]


_EXAMPLE = '{"confidence_min": 0.75}'


def _text(value: Any) -> str:
    """Return a value as --set takes it."""
    return value if isinstance(value, str) else json.dumps(value)


def _value(name: str, *, may_miss: bool) -> str | None:
    """Return a parameter's text; None where it is missing and may be. Raises ConfigError, MissingExtraError."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        msg = 'an SSM parameter needs boto3: pip install "headrace[aws]"'
        raise MissingExtraError(msg) from None
    waits = Config(connect_timeout=SSM_TIMEOUT_S, read_timeout=SSM_TIMEOUT_S, retries={"max_attempts": 2})
    try:
        client = boto3.client("ssm", config=waits)
        found = client.get_parameter(Name=name, WithDecryption=True)
        client.close()
    except (BotoCoreError, ClientError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__
        if may_miss and code == "ParameterNotFound":
            log.info("there is no SSM parameter %s: the settings are those of the file", name)
            return None
        advice = 'create it, or write ssm_parameter = "" to read none'
        msg = f"SSM parameter {name} cannot be read ({code}): {advice}"
        raise ConfigError(msg, path="$.execution.ssm_parameter") from error
    return str(found["Parameter"]["Value"])
