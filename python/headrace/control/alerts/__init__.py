"""Alerts: rules over what an engine or a worker measures, and where it is told that one of them is broken.

::

    state document, metrics ─▶ MEASURES ─▶ Rule of each subject ─▶ AlertService ─▶ log · webhook · command
"""

from headrace.control.alerts.service import AlertService
from headrace.control.alerts.settings import AlertsSettings, RuleSettings, SinkSettings

__all__ = ["AlertService", "AlertsSettings", "RuleSettings", "SinkSettings"]
