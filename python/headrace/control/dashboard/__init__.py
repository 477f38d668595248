"""Dashboard: the page that shows an engine and steers it, as files that need no build.

The files are in ``page``: ES modules, two style sheets, one document. The control API serves them; their data come over
its stream, their commands go over its routes.
"""

from headrace.control.dashboard.files import PageFile, PageFiles, page_files, page_policy

__all__ = ["PageFile", "PageFiles", "page_files", "page_policy"]
