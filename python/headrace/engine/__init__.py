"""Engine: one engine, its parts, its run in each mode, and its report."""
