"""Loop: how an engine goes on, one driver class per mode.

::

    one step at time T:   timers and bar closes due by T, by (due, creation), each drained ─▶ ticks ─▶ drain

    live     new input schedules a turn; a turn dispatches for 200 µs, then the event loop continues
    replay   the pump stops at each T at which something other than ticks is due; T is resolved before T + 1
    repeat   the dispatch log of a live run says which call comes next
"""

from headrace.engine.loop.driver import Driver, Steps
from headrace.engine.loop.live import LiveDriver
from headrace.engine.loop.repeat import RepeatDriver
from headrace.engine.loop.replay import ReplayDriver

__all__ = ["Driver", "LiveDriver", "RepeatDriver", "ReplayDriver", "Steps"]
