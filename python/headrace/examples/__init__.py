"""Small strategies, one per file; each runs as it stands, by the command in its header."""
