"""Config: one typed tree, read from TOML or YAML, the environment and overrides.

::

    load_config(FILE, overrides=["engine.wait=spin"]) ─▶ EngineConfig ─▶ config_text · config_digest · config_schema

Guarantees: a wrong key or value is one ConfigError with its place and what is allowed there.
Does not: make an engine; ``headrace.app.build`` does.
"""

from headrace.app.config.reading import Reading, load_config, logged_config, read_config
from headrace.app.config.template import template_text
from headrace.app.config.tree import EngineConfig
from headrace.app.config.writing import ConfigKey, config_digest, config_keys, config_schema, config_text, masked

__all__ = [
    "ConfigKey",
    "EngineConfig",
    "Reading",
    "config_digest",
    "config_keys",
    "config_schema",
    "config_text",
    "load_config",
    "logged_config",
    "masked",
    "read_config",
    "template_text",
]
