"""Makes a registry that can be copied anywhere, and that says nothing of where it was made.

MLflow writes absolute paths into its database and into each `MLmodel`. Here they become relative
to the folder of the database, which is what Pairlock resolves them against; MLflow resolves them
against the working directory.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

DATABASE = "mlflow.db"
PAGE_BYTES = 1024
"""SQLite gives each of MLflow's many empty tables a page; its default of 4096 trebles the file."""


def make_portable(folder: Path) -> None:
    """Make every path below a folder relative to it, and pack the database.

    Args:
        folder: holds `mlflow.db` and all that its paths name. Nobody may be writing to it.
    """
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        with database:
            for table, column in text_columns(database):
                for prefix in (f"file://{folder}/", f"{folder}/"):
                    database.execute(
                        f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                        f'WHERE instr("{column}", ?)',
                        (prefix, "", prefix),
                    )
        # pages are given a new size by VACUUM, and only while there is no write-ahead log
        database.execute("PRAGMA journal_mode = DELETE")
        database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        database.execute("VACUUM")
    for file in folder.rglob("MLmodel"):
        text = file.read_text(encoding="utf-8")
        for prefix in (f"file://{folder}/", f"{folder}/"):
            text = text.replace(prefix, "")
        file.write_text(text, encoding="utf-8")


def traces(folder: Path, words: list[str]) -> list[str]:
    """Files whose bytes, or whose own paths, hold one of some words, as `file: word`."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        place = str(file.relative_to(folder))
        found += [f"{place}: {word}" for word in words if word.encode() in content or word in place]
    return found


def names_of_this_machine(*folders: Path) -> list[str]:
    """What nothing in the folder may say: absolute paths, the machine, the user."""
    paths = ["/tmp/", "/home/", "/root/", "/Users/", *(f"{folder}/" for folder in folders)]
    # short names, such as `vm`, stand in any file of weights by chance
    names = [
        name for name in (socket.gethostname(), pwd.getpwuid(os.getuid()).pw_name) if len(name) > 4
    ]
    return list(dict.fromkeys([*paths, *names]))


def text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every column that can hold text, as (table, column)."""
    tables = [
        name
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if not name.startswith("sqlite_")
    ]
    return [
        (table, column)
        for table in tables
        for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")')
        if re.search("CHAR|TEXT|JSON", kind, re.IGNORECASE)
    ]
