"""Whatever happened to a registry, an inventory that remembers says what one says that does not."""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pairlock.auditing.rules import bases, judge
from pairlock.auditing.rules.known import Known
from pairlock.auditing.rules.view import View
from pairlock.catalog import DIGEST_TAG
from pairlock.inventory import Inventory, ahead, take
from pairlock.inventory import packages as packages_module
from support.copies import replace
from support.registries import active

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "bench"))

from synthetic_registry import make_registry

VERSIONS = 60
ROUNDS = 8


class Meddler:
    """Somebody who changes a registry and its packages in every way that there is.

    Args:
        uri: the registry's.
        seed: of what is changed.
    """

    def __init__(self, uri: str, seed: int) -> None:
        self.client = MlflowClient(uri, uri)
        self.draw = random.Random(seed)
        self.packages = Path(uri.removeprefix("sqlite:///")).parent / "mlruns/0/models"
        self.deeds: list[Callable[[], object]] = [
            self.set_a_tag,
            self.take_a_tag_away,
            self.set_an_alias,
            self.archive,
            self.delete_a_version,
            self.register_again,
            self.delete_a_logged_model,
            self.write_over_a_file,
            self.take_a_file_away,
            self.put_a_file_there,
            self.put_another_manifest_there,
            self.tear_a_manifest,
            self.move_a_package_away,
        ]

    def meddle(self) -> str:
        """Do something, and say what."""
        deed = self.draw.choice(self.deeds)
        # there may be nothing left to do it to
        with suppress(MlflowException, IndexError, OSError):
            deed()
        return deed.__name__

    def version(self) -> Any:
        """Any version; one time in three that which all others stand on."""
        found = list(self.client.search_model_versions(max_results=1000))
        bases = [one for one in found if one.name.startswith("base-")]
        return self.draw.choice(bases if bases and self.draw.random() < 1 / 3 else found)

    def package(self) -> Path:
        """Where the package of any version lies."""
        return self.packages / self.version().source.removeprefix("models:/") / "artifacts"

    def file(self) -> Path:
        """Any file of a payload."""
        return self.draw.choice(
            sorted(path for path in self.package().rglob("payload/**/*") if path.is_file())
        )

    def set_a_tag(self) -> None:
        one = self.version()
        tag = self.draw.choice([*one.tags, "pairlock.kind", "pairlock.note", "mine"])
        text = self.draw.choice([*self.version().tags.values(), "nobody's"])
        self.client.set_model_version_tag(one.name, one.version, tag, text)

    def take_a_tag_away(self) -> None:
        one = self.version()
        self.client.delete_model_version_tag(
            one.name, one.version, self.draw.choice([*one.tags, DIGEST_TAG])
        )

    def set_an_alias(self) -> None:
        one = self.version()
        alias = self.draw.choice(["production", "staging"])
        self.client.set_registered_model_alias(one.name, alias, one.version)

    def archive(self) -> None:
        one = self.version()
        stage = self.draw.choice(["Archived", "Production", "None"])
        self.client.transition_model_version_stage(one.name, one.version, stage)

    def delete_a_version(self) -> None:
        one = self.version()
        self.client.delete_model_version(one.name, one.version)

    def register_again(self) -> None:
        one, other = self.version(), self.version()
        tags = self.draw.choice([one.tags, {}])
        model_id = one.source.removeprefix("models:/")
        self.client.create_model_version(other.name, one.source, model_id=model_id, tags=tags)

    def delete_a_logged_model(self) -> None:
        self.client.delete_logged_model(self.package().parent.name)

    def write_over_a_file(self) -> None:
        self.file().write_bytes(b"x" * self.draw.randrange(1, 300))

    def take_a_file_away(self) -> None:
        self.file().unlink()

    def put_a_file_there(self) -> None:
        inside = self.draw.choice(["", "payload", "payload/new"])
        folder = self.package() / inside
        folder.mkdir(exist_ok=True)
        (folder / self.draw.choice(["notes.txt", "model.pkl"])).write_text("x")

    def put_another_manifest_there(self) -> None:
        shutil.copy(self.package() / "pairlock.json", self.package() / "pairlock.json")

    def tear_a_manifest(self) -> None:
        manifest = self.package() / "pairlock.json"
        manifest.write_bytes(manifest.read_bytes()[: self.draw.randrange(1000)])

    def move_a_package_away(self) -> None:
        package = self.package()
        package.rename(package.with_name("artifacts-" + str(self.draw.random())))


@pytest.fixture(params=["in-turn", "ahead"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether another process looks ahead, and that everything is remembered at once."""
    monkeypatch.setattr(packages_module, "_JUST_NOW_NS", -1)
    monkeypatch.setattr(ahead, "_CORES", 2)
    monkeypatch.setattr(ahead, "_WORTH_BYTES", 0 if request.param == "ahead" else 1 << 40)


@pytest.fixture(params=range(6))
def meddler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Meddler]:
    """Somebody in a registry, which is in use."""
    uri = make_registry(tmp_path / "registry", VERSIONS)
    with active(uri):
        take()
        yield Meddler(uri, request.param)


def judged_slowly(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> object:
    """What the rules find that go past nothing that seems to be well."""
    models = [
        replace(one, versions=tuple(replace(v, tags_agree=False) for v in one.versions))
        for one in inventory.models
    ]
    with monkeypatch.context() as patch:
        patch.setattr(bases, "_is_well", lambda *_: False)
        return judge(View(replace(inventory, models=tuple(models))), Known())


def test_what_is_remembered_is_what_is_there(
    meddler: Meddler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time after some changes: one inventory, and findings by every rule to every version."""
    found = 0
    for _ in range(ROUNDS):
        done = [meddler.meddle() for _ in range(meddler.draw.randrange(1, 6))]

        remembered, fresh = take(), take(remembered=False)

        assert remembered.models == fresh.models, done
        in_order = [(one.name, one.version) for one in fresh.versions()]
        assert in_order == sorted(in_order)
        assert remembered.orphan_locations == fresh.orphan_locations, done
        findings = judge(View(remembered), Known())
        assert findings == judged_slowly(fresh, monkeypatch), done
        found = max(found, len({one.code for one in findings}))
    assert found > 4
