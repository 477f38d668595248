"""``every=1`` is a nanosecond: a timer as short as that is refused, as a window is."""

from __future__ import annotations

import pytest

from headrace import Strategy
from headrace.errors import OptionError
from tests.support.engines import engine_over, market


@pytest.mark.parametrize("every", [1, 999_999, "10us"])
def test_a_timer_under_a_millisecond_is_refused(every: int | str) -> None:
    class Short(Strategy):
        def on_start(self) -> None:
            self.set_timer("x", every=every)

        def on_timer(self, timer: object) -> None:
            raise AssertionError(timer)

    with pytest.raises(Exception, match="from 1,000,000 ns on") as caught:
        engine_over(market([100.0] * 3), [Short()]).run()
    causes = [caught.value, caught.value.__cause__]
    assert any(isinstance(cause, OptionError) for cause in causes)
