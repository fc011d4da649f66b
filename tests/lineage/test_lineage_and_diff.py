"""`pairlock lineage` and `pairlock diff` on a small real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import pairlock
from pairlock.catalog import Located
from pairlock.cli.app import app
from pairlock.comparing.diffing import diff
from pairlock.comparing.rules import Golden, Side, compare
from pairlock.comparing.sides import golden_at_hand, read_side
from pairlock.comparing.table import table_of
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, IntegrityError, InvalidInputError, NotFoundError
from pairlock.evaluation.recorded import Measured
from pairlock.manifest import LayerFacts
from pairlock.plain_text import columns_of
from pairlock.progress import SILENT
from support.indexes import build
from support.registries import Registry, active, new_registry
from support.stage_versions import save_linear


@dataclass(frozen=True)
class Shop:
    """A registry with bases, adapters, stages and an index."""

    registry: Registry
    index: Path
    folder: Path
    """A base that is no version."""

    def copy(self, folder: Path) -> Registry:
        """One to be changed; packages stay where they are."""
        folder.mkdir(parents=True)
        shutil.copyfile(self.registry.folder / "mlflow.db", folder / "mlflow.db")
        shutil.copytree(self.registry.folder / "pairlock-ledger", folder / "pairlock-ledger")
        return Registry(folder)


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory,
    registry_template: Path,
    tiny_model: Path,
    tiny_other: Path,
) -> Shop:
    """models:/base/1 and /2, three adapters, one of them staged and indexed, and a copy."""
    root = tmp_path_factory.mktemp("shop")
    made = new_registry(root / "registry", registry_template)
    folder = Path(shutil.copytree(tiny_other, root / "folder"))
    with pytest.MonkeyPatch.context() as patch, active(made.uri):
        patch.setenv("PAIRLOCK_CACHE", str(root / "cache"))
        made.log(tiny_model, "base")
        made.log(tiny_other, "base")
        for seed in (1, 2):
            made.log(save_linear(root / f"linear{seed}", seed), "support", base="models:/base/1")
        made.log(save_linear(root / "linear3", 3), "search", base=str(folder))
        made.client.copy_model_version("models:/base/1", "kept")
        pairlock.promote("support", 2, to="staging")
        embedding = pairlock.load("models:/support/2")
        index = build(embedding)
        pairlock.index.stamp(index, embedding)
        index.storage_context.persist(str(root / "storage"))
    return Shop(registry=made, index=root / "storage", folder=folder)


@pytest.fixture
def here(shop: Shop) -> Iterator[Shop]:
    """The registry in use; nothing changes it."""
    with active(shop.registry.uri):
        yield shop


@pytest.fixture
def mine(shop: Shop, tmp_path: Path) -> Iterator[Registry]:
    """A copy of the registry, in use."""
    copied = shop.copy(tmp_path / "mine")
    with active(copied.uri):
        yield copied


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def document(*arguments: object) -> tuple[int, Any]:
    """Exit status and JSON of a command."""
    found = run(*arguments, "--format", "json")
    return found.exit_code, json.loads(found.stdout)


def test_an_audit_compares_the_indexes_that_are_named(here: Shop) -> None:
    """They are in the JSON and on the page; one whose version is in a stage is nothing to find."""
    code, data = document("audit", "--index", here.index, "--code", "index-unknown-version")
    assert (code, data["findings"]) == (0, [])
    (found,) = data["indexes"]
    assert (found["place"], found["stamp"]["uri"]) == (str(here.index), "models:/support/2")
    assert data["options"]["indexes"] == [str(here.index)]
    page = run("audit", "--index", here.index, "--format", "html").stdout
    assert 'class="node index' in page
    assert str(here.index) in page
    assert "1 stamp compared" in run("audit", "--index", here.index).stdout


def test_an_audit_misses_what_an_index_was_built_with(shop: Shop, mine: Registry) -> None:
    """Deleted, it is said of the index, in its place; the base is in its space, and can ask it."""
    mine.client.delete_model_version("support", "2")
    found = pairlock.audit(indexes=[shop.index], codes=["index-unknown-version"])
    (one,) = found.findings
    assert (one.model, one.place, one.severity.value) == ("support", str(shop.index), "warning")
    assert "models:/base/1" in one.found


def test_an_index_that_is_not_there_is_no_clean_audit(here: Shop, tmp_path: Path) -> None:
    """It ends with 3 before anything is audited."""
    found = run("audit", "--index", tmp_path / "nothing")
    assert (found.exit_code, found.stdout) == (3, "")


def test_lineage_of_a_real_base_reaches_its_indexes(here: Shop) -> None:
    """From a base down to the stage and the index of the adapter on it, in all three formats."""
    arguments = ("lineage", "models:/base/1", "--index", here.index)
    code, data = document(*arguments)
    assert code == 0
    assert data["schema"] == "pairlock.lineage/1"
    assert data["complete"]
    assert {node["id"] for node in data["nodes"]} == {
        "models:/base/1",
        "models:/kept/1",
        "models:/support/1",
        "models:/support/2",
        "models:/support@staging",
        f"index:{here.index}",
    }
    assert data["loss"]["kept"] == ["models:/support/1", "models:/support/2"]
    assert data["loss"]["instead"] == ["models:/kept/1"]
    human = run(*arguments)
    assert human.exit_code == 0
    for words in ("stage staging", f"index {here.index}"[:50], "models:/kept/1"):
        assert words in human.stdout
    assert max(map(columns_of, human.stdout.splitlines())) <= 80
    chart = run(*arguments, "--format", "mermaid")
    assert chart.exit_code == 0
    assert chart.stdout.startswith("flowchart TD\n")
    assert chart.stdout.count("|stands on|") == 2


def test_lineage_of_an_alias_and_a_folder(here: Shop) -> None:
    """What an alias points to stands on its base, and a folder is a base of its own."""
    assert document("lineage", "models:/support@staging")[1]["above"] == [
        {
            "node": "models:/support/2",
            "relation": None,
            "by": None,
            "cut": 0,
            "cycle": False,
            "branches": [
                {
                    "node": "models:/base/1",
                    "relation": "stands-on",
                    "by": "name",
                    "cut": 0,
                    "cycle": False,
                    "branches": [],
                }
            ],
        }
    ]
    code, data = document("lineage", here.folder)
    assert code == 0
    # the folder holds the same files as no version that something is pinned to
    assert data["loss"]["versions"] == ["models:/search/1"]


def test_a_base_that_was_deleted_can_be_asked_about(mine: Registry) -> None:
    """By name gone and by content there is no failure; gone by both is, and says what it took."""
    mine.client.delete_model_version("base", "1")
    code, data = document("lineage", "models:/support/2")
    assert code == 0
    assert data["above"][0]["branches"][0] | {"branches": []} == {
        "node": "models:/kept/1",
        "relation": "stands-on",
        "by": "content",
        "cut": 0,
        "cycle": False,
        "branches": [],
    }
    mine.client.delete_model_version("kept", "1")
    assert run("lineage", "models:/support/2").exit_code == 1
    code, data = document("lineage", "models:/base/1")
    assert code == 1
    assert data["condition"] == "missing"
    assert data["loss"]["already"]
    assert data["loss"]["versions"] == ["models:/support/1", "models:/support/2"]
    assert data["loss"]["stages"] == ["models:/support@staging"]


def test_a_pinned_folder_that_is_gone_is_missing(here: Shop, tmp_path: Path) -> None:
    """A base's folder is looked for."""
    assert run("lineage", "models:/search/1").exit_code == 0
    here.folder.rename(tmp_path / "away")
    try:
        assert run("lineage", "models:/search/1").exit_code == 1
    finally:
        (tmp_path / "away").rename(here.folder)


def test_what_was_not_read_to_the_end_could_not_be_checked(
    here: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry that went away half-way gives status 3 and what was found."""
    from pairlock.standing import tracing

    whole = tracing.take()
    part = replace(whole, complete=False, problem="the server is gone")
    monkeypatch.setattr(tracing, "take", lambda **_: part)
    code, data = document("lineage", "models:/support/2")
    assert code == 3
    assert not data["complete"]
    assert "the server is gone" in run("lineage", "models:/support/2").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["models:/nobody/1"], 3, ErrorKind.MODEL_NOT_FOUND),
        (["models:/base/1", "--index", "nowhere"], 3, ErrorKind.FOLDER_MISSING),
        (["models:/base@latest"], 2, ErrorKind.REFERENCE_INVALID),
    ],
)
def test_lineage_fails_with_words(
    here: Shop, arguments: list[str], code: int, kind: ErrorKind
) -> None:
    """What is not there has status 3, nonsense 2, and JSON says which."""
    found, data = document("lineage", *arguments)
    assert (found, data["error"]["kind"]) == (code, kind.value)
    # a format of the command's own is no reason not to write an error in words
    chart = run("lineage", *arguments, "--format", "mermaid")
    assert chart.exit_code == code


def test_lineage_refuses_a_depth_of_nothing(here: Shop) -> None:
    """No steps at all is nothing to ask for."""
    with pytest.raises(InvalidInputError) as caught:
        pairlock.lineage("models:/base/1", depth=0)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    assert pairlock.lineage("models:/base/1", depth=1).below[0].branches[0].cut == 0


def rows(found: Any, *, differing: bool = True) -> set[str]:
    """Sections and names of rows."""
    return {
        f"{row['section']}.{row['name']}" for row in found["rows"] if row["same"] is not differing
    }


def test_two_adapters_on_one_base_differ_in_weights_and_queries(here: Shop) -> None:
    """Their documents' space is the same, so no index is made again, and the vectors show it."""
    code, data = document("diff", "models:/support/1", "models:/support/2")
    assert code == 1
    assert not data["same"]
    assert {"package.digest", "spaces.query", "golden.adapter_shift", "stages.stages"} <= rows(data)
    assert {"base.uri", "spaces.document", "encode.pooling"} <= rows(data, differing=False)
    changed = {file["path"]: file for file in data["files"] if file["change"] == "changed"}
    assert {file["role"] for file in changed.values()} == {"weights", "golden vectors"}
    assert data["space"]["verdict"] == "none"
    figures = data["golden"]["figures"]
    assert figures["query"]["one_minus_cosine"] > 1e-3
    assert figures["text"]["one_minus_cosine"] == 0.0


def test_two_models_need_an_index_of_their_own(here: Shop) -> None:
    """Other weights are another space for documents, which golden vectors prove."""
    code, data = document("diff", "models:/base/1", "models:/base/2")
    assert code == 1
    assert data["space"]["verdict"] == "needed"
    assert data["golden"]["figures"]["text"]["one_minus_cosine"] > 1e-3
    (weights,) = [file for file in data["files"] if file["role"] == "weights"]
    assert weights["change"] == "changed"
    assert weights["size_before"] == weights["size_after"] > 0


def test_an_adapter_and_its_base_differ_by_the_adapter(here: Shop) -> None:
    """Facts that one of the two has not are there, and files are added and removed."""
    code, data = document("diff", "models:/support/1", "models:/base/1")
    assert code == 1
    assert {"package.kind", "base.uri", "adapter.class_name"} <= rows(data)
    changes = {file["change"] for file in data["files"]}
    assert {"added", "removed"} <= changes


def test_one_package_under_two_names_is_the_same(here: Shop) -> None:
    """Status 0, also where the registry knows other things of the two."""
    code, data = document("diff", "models:/base/1", "models:/kept/1")
    assert code == 0
    assert data["same"]
    assert {name for name in rows(data) if not name.startswith("stages.")} == set()
    folder = here.registry.folder_of("models:/support/2")
    code, data = document("diff", "models:/support/2", folder)
    assert code == 0
    assert "stages.stages" in rows(data)


def test_the_table_shows_what_differs_and_all_shows_everything(here: Shop) -> None:
    """Names of what is the same are left out, and counted, unless they are asked for."""
    short = run("diff", "models:/support/1", "models:/support/2")
    whole = run("diff", "models:/support/1", "models:/support/2", "--all")
    assert short.exit_code == whole.exit_code == 1
    assert "max seq length" not in short.stdout
    assert "max seq length" in whole.stdout
    assert "the same: " in short.stdout
    assert "re-index: none" in short.stdout
    assert "(weights)" in short.stdout
    lines = (short.stdout + whole.stdout).splitlines()
    assert max(map(columns_of, lines)) <= 100


def test_a_diff_of_nothing_or_of_what_was_changed_fails(here: Shop, tmp_path: Path) -> None:
    """No such version, a folder that is none, and golden vectors that are not the recorded ones."""
    assert run("diff", "models:/base/1", "models:/base/9").exit_code == 3
    assert run("diff", "models:/base", "models:/base/1").exit_code == 2
    with pytest.raises(NotFoundError):
        diff("models:/base/1", str(tmp_path / "nothing"))
    folder = Path(shutil.copytree(here.registry.folder_of("models:/base/1"), tmp_path / "copy"))
    golden = folder / "payload" / "golden.safetensors"
    golden.chmod(0o644)
    golden.write_bytes(golden.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    with pytest.raises(IntegrityError) as caught:
        diff("models:/base/1", str(folder))
    assert caught.value.kind is ErrorKind.FILE_DIGEST


@pytest.fixture
def side(here: Shop) -> Side:
    """models:/support/1 as it is compared."""
    return read_side("models:/support/1", offline=None, progress=SILENT)


def differing(before: Side, after: Side) -> set[str]:
    """Rows in which two sides differ."""
    return rows(compare(before, after).to_dict())


def test_every_fact_of_a_manifest_is_compared(side: Side) -> None:
    """Whatever is another in a manifest, known to this release or not, is a row that differs."""
    one, trial = side.manifest, side.manifest.devices.trial
    assert isinstance(one.adapter, LayerFacts)
    assert one.base is not None
    for changed, row in (
        (replace(one, encode=replace(one.encode, normalize=True)), "encode.normalize"),
        (replace(one, encode=replace(one.encode, unknown={"x": 1})), "encode.x"),
        (replace(one, adapter=replace(one.adapter, bias=True)), "adapter.bias"),
        (replace(one, base=replace(one.base, uri="models:/base/7")), "base.uri"),
        (replace(one, base=replace(one.base, revision="a" * 40)), "base.revision"),
        (replace(one, devices=replace(one.devices, order=("cpu",))), "devices.order"),
        (
            replace(one, devices=replace(one.devices, trial=replace(trial, max_length=1))),
            "devices.trial.max_length",
        ),
        (
            replace(one, provenance=replace(one.provenance, libraries={
                **one.provenance.libraries, "torch": "1"})),
            "libraries.torch",
        ),
        (replace(one, unknown={"later": {"deep": True}}), "package.later"),
        (replace(one, dimension=7), "package.dimension"),
    ):  # fmt: skip
        assert differing(side, replace(side, manifest=changed)) == {row}
    assert differing(side, side) == set()


def measured(value: float, dataset: str | None = "sha256:" + "a" * 64, **changes: Any) -> Measured:
    """A recorded value."""
    found = Measured(
        metric="ndcg@10",
        value=value,
        dataset_name="faq",
        dataset_digest=dataset,
        at_ms=1,
        source="",
    )
    return replace(found, **changes)


def test_metrics_are_compared_on_one_dataset_only(side: Side) -> None:
    """The newest values of one metric on one dataset are a row; any others are none."""
    before = replace(side, measured=(measured(0.1), measured(0.5), measured(0.9, None)))
    after = replace(
        side,
        measured=(
            measured(0.75, "a" * 32, metric="ndcg_10"),
            measured(0.8, "sha256:" + "b" * 64),
            measured(0.3, metric="mrr@10"),
            measured(0.9, None),
        ),
    )
    found = [row for row in compare(before, after).rows if row.section == "metrics"]
    assert [(row.before, row.after) for row in found] == [(0.5, 0.75)]
    assert not found[0].inside


def test_what_is_not_at_hand_is_said(side: Side) -> None:
    """Without golden vectors there is no deviation and no evidence, and the reason is there."""
    other = replace(side.manifest, spaces=replace(side.manifest.spaces, document="sha256:0"))
    found = compare(side, replace(side, manifest=other, golden=Golden(reason="it is far away")))
    assert found.golden.figures == {}
    assert found.space.verdict == "needed"
    assert "it is far away" in table_of(found)


def test_what_is_in_the_cache_is_at_hand_and_nothing_is_fetched(
    here: Shop, tmp_path: Path, registry_template: Path
) -> None:
    """Imported packages are compared offline, vectors too, and what is not known there is said."""
    uris = ["models:/support/1", "models:/support/2"]
    pairlock.export_packages(uris, tmp_path / "export")
    pairlock.import_packages(tmp_path / "export")
    with active(new_registry(tmp_path / "empty", registry_template).uri):
        found = diff(*uris, offline=True)
    assert found.golden.figures["query"]["one_minus_cosine"] > 1e-3
    assert len(found.unknown) == 2
    settings = current_settings()
    side = read_side(uris[0], offline=None, progress=SILENT)
    far = Located(requested=uris[0], uri=uris[0], location="s3://no-such-bucket/package")
    cached = golden_at_hand(far, side.manifest, side.digest, settings, SILENT)
    assert cached.texts == side.golden.texts
    elsewhere = replace(settings, cache=tmp_path / "another")
    missing = golden_at_hand(far, side.manifest, side.digest, elsewhere, SILENT)
    assert "pairlock pull" in missing.reason


def test_vectors_of_other_dimensions_are_not_compared(side: Side) -> None:
    """Dimensions that differ are the answer."""
    short = {role: vectors[:, :8] for role, vectors in side.golden.vectors.items()}
    found = compare(side, replace(side, golden=replace(side.golden, vectors=short)))
    assert found.golden.figures == {}
    assert "8 and 32" in found.golden.reason


def test_the_same_vectors_in_another_space_are_equivalent(side: Side) -> None:
    """As for a promotion: another id and equal golden vectors need no new index."""
    other = replace(side.manifest, spaces=replace(side.manifest.spaces, document="sha256:0"))
    assert compare(side, replace(side, manifest=other)).space.verdict == "equivalent"


def test_profiles_and_hostile_values_are_written_in_words(side: Side) -> None:
    """A profile is one line, and what a manifest says cannot act on the terminal."""
    evil = replace(side.manifest.encode, query_instruction="\x1b[2Jquery: ")
    profile = {
        "longest_per_s": 10.0,
        "short_per_s": 100.0,
        "query_median_s": 0.001,
        "one_minus_cosine": 1e-9,
        "within_bars": True,
        "card": "card",
        "taken_at": "today",
    }
    after = replace(
        side, manifest=replace(side.manifest, encode=evil), profiles={"cpu.float32": profile}
    )
    text = table_of(compare(side, after))
    assert "\x1b" not in text
    assert "profiles: cpu.float32" in text
    assert "texts/s" in text


def test_what_stands_on_a_package_is_shown_once(here: Shop) -> None:
    """Asked about a content that two versions have, adapters hang on the first of them."""
    digest = pairlock.lineage("models:/base/1").roots[0].digest
    assert digest is not None
    found = pairlock.lineage(digest)
    assert [root.id for root in found.roots] == ["models:/base/1", "models:/kept/1"]
    assert [len(tree.branches) for tree in found.below] == [2, 0]
    assert found.loss.versions == ("models:/support/1", "models:/support/2")
