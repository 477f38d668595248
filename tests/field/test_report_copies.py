"""A report comes back from another process. It could be neither pickled nor copied."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest

import headrace
from headrace import Report
from tests.support.engines import Recorder, engine_over, market
from tests.support.feeding import BTC


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda report: pickle.loads(pickle.dumps(report))])
def test_report_of_a_replay_can_be_copied(copied: Callable[[Report], Report]) -> None:
    report = headrace.replay(market([100] * 3), Recorder(), instruments=[BTC])
    assert copied(report).to_dict() == report.to_dict()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda report: pickle.loads(pickle.dumps(report))])
def test_report_of_an_engine_can_be_copied(copied: Callable[[Report], Report]) -> None:
    report = engine_over(market([100] * 3), [Recorder({1: lambda own: own.buy(BTC, 1)})]).run()
    assert copied(report).to_dict() == report.to_dict()
    assert copied(report).strategies["Recorder"].positions == report.strategies["Recorder"].positions
