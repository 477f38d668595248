"""Report: a result as one HTML file that needs nothing else."""

from headrace.research.report.page import page_of, write_report

__all__ = ["page_of", "write_report"]
