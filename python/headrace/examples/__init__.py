"""Small strategies, one per file; each runs without changes, by the command in its header."""
