"""Strategies: what a user writes (``strategy``), what it is given (``context``), and how it is run (``runner``)."""
