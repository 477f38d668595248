"""Strategies: the base class (``strategy``), its link to an engine (``context``), and its driver (``runner``)."""
