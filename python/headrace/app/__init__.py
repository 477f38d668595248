"""App: from a configuration to an engine: ``config``, ``check``, ``objects``, ``build``."""
