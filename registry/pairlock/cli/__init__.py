"""The command line: one module a command; `app` puts them together."""

from pairlock.cli.app import main

__all__ = ["main"]
