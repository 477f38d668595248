"""Stream: what an operator sees of a running engine, as one document that clients follow.

::

    engine ─▶ EngineState ─▶ Board ─▶ Follower ─▶ server-sent events          once a second ─▶ History
"""
