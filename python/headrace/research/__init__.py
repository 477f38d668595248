"""Research: backtests on the engine's replay mode, and what is made of their results."""
