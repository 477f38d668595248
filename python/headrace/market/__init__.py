"""Market: what is traded (``instrument``), what happens to it (``tick``, ``bars``, ``events``), when (``clock``)."""
