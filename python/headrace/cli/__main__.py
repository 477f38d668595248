"""``python -m headrace.cli`` is the ``headrace`` command."""

from headrace.cli.app import main

main()
