"""Rows of an sqlite table as a few long texts, put together by the database in JSON.

To fetch a row costs more than to read it: ten thousand versions have a hundred thousand tags. What
belongs to one registered model comes as one text, and other threads run while it is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.json import decode

_JSON_SINCE = (3, 38)
"""From here on every sqlite has its functions for JSON, unless they were left out on purpose."""


def is_possible(session: Any) -> bool:
    """Whether the database of a session is an sqlite that can do this."""
    dialect = session.get_bind().dialect
    return bool(dialect.name == "sqlite" and dialect.dbapi.sqlite_version_info >= _JSON_SINCE)


def tags_by_version(
    session: Any, tag: Any, where: Iterable[Any], *, beginning: str
) -> Iterator[tuple[str, dict[int, dict[str, str]]]]:
    """The tags of every version that has some: its model's name; its number, and text by key.

    Args:
        session: of MLflow's store.
        tag: the columns of the table of versions' tags.
        where: which tags.
        beginning: how their keys begin.
    """
    from sqlalchemy import func, select

    # with LIKE, sqlite would go through the index by keys, and sort all rows anew by versions
    begins = func.substr(tag.key, 1, len(beginning)) == beginning
    texts = func.json_group_object(tag.key, func.coalesce(tag.value, ""))
    each = (
        select(tag.name, tag.version, texts.label("texts"))
        .where(*where, begins)
        .group_by(tag.name, tag.version)
        .subquery()
    )
    # pairs in one flat array; to nest them as JSON would have sqlite read its own text again
    pairs = func.group_concat(each.c.version.concat(",").concat(each.c.texts))
    found = session.connection().execute(select(each.c.name, pairs).group_by(each.c.name))
    for name, text in found:
        flat = iter(decode(f"[{text}]"))
        yield name, dict(zip(flat, flat, strict=True))


def rows(session: Any, by: Any, *columns: Any, where: Iterable[Any]) -> Iterator[list[Any]]:
    """Rows of some columns, in no order.

    Args:
        session: of MLflow's store.
        by: the column whose value many rows share.
        columns: what is asked for; texts and whole numbers.
        where: which rows.
    """
    from sqlalchemy import func, select

    together = func.json_group_array(func.json_array(*columns))
    for (text,) in session.connection().execute(select(together).where(*where).group_by(by)):
        yield from decode(text)
