"""What MLflow writes down as the place of artifacts, as a path."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairlock.catalog.in_use import local_path


@given(st.text(alphabet="/.a: ~%\n\té", max_size=12))
def test_an_absolute_path_is_as_pathlib_writes_it(rest: str) -> None:
    """Whichever way it is read, slashes and dots come out as `pathlib` has them."""
    assert local_path(f"/{rest}") == str(Path(f"/{rest}"))


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("file:///data/a%20b", "/data/a b"),
        ("s3://bucket/a%20b", "s3://bucket/a%20b"),
        ("mlflow-artifacts:/1/models", "mlflow-artifacts:/1/models"),
    ],
)
def test_a_uri_keeps_its_scheme_unless_it_is_a_file(location: str, wanted: str) -> None:
    """Only a `file:` URI becomes a path."""
    assert local_path(location) == wanted
