"""Graphs in a remote store: fetched with the package, and used offline from then on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import pairlock
from support.graphs import assert_as_torch, log_graph
from support.peft_adapters import save_by_peft


def test_an_adapter_in_s3_uses_its_base_s_graph(
    prompted: Path, s3_registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packaged on a fetched base, loaded into an empty cache, then again without a network."""
    base = log_graph(s3_registry, prompted, "base")
    uri = log_graph(s3_registry, save_by_peft(prompted, tmp_path / "lora"), "lora", base=base)
    shutil.rmtree(tmp_path / "cache")
    assert_as_torch(uri)
    shutil.rmtree(tmp_path / "cache")
    found = pairlock.load(uri, runtime="onnx", interface="callable", golden=True)
    assert pairlock.receipt(found).bytes_fetched > 10_000
    monkeypatch.setenv("PAIRLOCK_OFFLINE", "1")
    again = pairlock.load(uri, runtime="onnx", interface="callable")
    assert pairlock.receipt(again).bytes_fetched == 0
    assert (again(["card"]) == found(["card"])).all()
