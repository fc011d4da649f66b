"""What an audit looks up, proves and mends, on real registries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import pairlock
from pairlock.auditing.auditing import judge_inventory
from pairlock.auditing.codes import Code
from pairlock.auditing.fixing import Remedy, execute_fixes, plan_fixes
from pairlock.auditing.gathering import installed_libraries, located_of
from pairlock.auditing.golden import recompute
from pairlock.catalog import DIGEST_TAG, HEAD_TAG, read_evidence
from pairlock.catalog.registry import registry_unavailable
from pairlock.config import current_settings
from pairlock.errors import ErrorKind, Finding, IntegrityError, InvalidInputError
from pairlock.evaluation.recorded import EVALUATION_TAG
from pairlock.in_force import POLICY_TAG
from pairlock.inventory import Inventory, ModelFacts, PackageState, VersionFacts
from pairlock.inventory.pickles import is_pickle_content, is_pickle_name
from pairlock.inventory.tags import version_tags
from pairlock.ledger import Anchor
from pairlock.packages import read_package_manifest
from pairlock.promotion.facts.opened import open_model
from pairlock.resolution import resolve
from support.copies import replace
from support.forgery import forge
from support.golden import stored_vectors
from support.inventories import (
    adapter,
    full,
    inventory,
    model,
    pin_elsewhere,
    read_model,
    read_package,
    version,
    with_version,
)
from support.registries import Registry, active, new_registry
from support.stage_versions import save_linear


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, registry_template: Path, tiny_model: Path
) -> Registry:
    """`base/1`, adapters `support/1` and `support/2` on it; 1 and then 2 were promoted."""
    folder = tmp_path_factory.mktemp("audited")
    registry = new_registry(folder / "registry", registry_template)
    with active(registry.uri):
        registry.log(tiny_model, "base")
        for seed in (1, 2):
            layer = save_linear(folder / f"layer{seed}", seed)
            registry.log(layer, "support", base="models:/base/1")
            pairlock.promote("support", seed, to="production")
    return registry


@pytest.fixture
def own(made: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """That registry, to be changed."""
    monkeypatch.chdir(tmp_path)  # no policy file lies here or above
    with active(made.uri):
        before = open_model("support").model
        tags = {n: made.client.get_model_version("support", n).tags for n in ("1", "2")}
        try:
            yield made
        finally:  # the registry is shared: what a test changed is put back
            made.client.set_registered_model_alias("support", "production", "2")
            for tag, text in before.tags.items():
                made.client.set_registered_model_tag("support", tag, text)
            made.client.delete_registered_model_tag("support", POLICY_TAG)
            for number, texts in tags.items():
                for tag, text in texts.items():
                    made.client.set_model_version_tag("support", number, tag, text)


def read() -> Inventory:
    """The registry in use."""
    return inventory(read_model("base", 1), read_model("support", 1, 2))


def codes(found: Any) -> set[tuple[Code, str | None, int | None]]:
    """What was found, and where."""
    return {(one.code, one.model, one.version) for one in found}


NOTES = {
    (Code.BASE_NOT_IN_STAGE, "support", 2),
    (Code.NEVER_PROFILED, "support", 2),
}
"""All there is to say of `made`."""


FAULT = Finding(kind=ErrorKind.FILE_SIZE, place="config.json", expected="9", found="8")
NEEDS_NDCG = '{"stages":{"production":{"require":["ndcg@10>=0.7"]}}}'
"""A policy that asks for a metric."""


@pytest.mark.parametrize("uri", ["models:/base/1", "models:/support/1"])
def test_the_tags_that_are_expected_are_those_that_logging_writes(made: Registry, uri: str) -> None:
    """A version that was just logged lacks no tag and has no other, by two pieces of code."""
    from pairlock_flavors._mlflow import facts

    with active(made.uri):
        located = resolve(uri, current_settings())
        manifest, digest = read_package_manifest(located, settings=current_settings())
    expected = version_tags(read_package(manifest, digest))
    assert expected == facts(manifest, digest)
    name, number = uri.removeprefix("models:/").split("/")
    assert expected == made.client.get_model_version(name, number).tags


def test_a_registry_that_was_just_made_is_right(own: Registry) -> None:
    """Logged, promoted and read: two notes, each true, with every byte looked at, too."""
    assert codes(judge_inventory(read(), deep=True)) == NOTES


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", Code.POLICY_UNREADABLE),
        (NEEDS_NDCG, Code.HOLDER_FAILS_GATE),
        ('{"stages":{"staging":{}}}', Code.HOLDER_FAILS_GATE),
    ],
)
def test_the_models_own_policy_is_in_force(own: Registry, text: str, code: Code) -> None:
    """A policy that is stored on the model is what its holders are judged by."""
    own.client.set_registered_model_tag("support", POLICY_TAG, text)
    number = None if code is Code.POLICY_UNREADABLE else 2
    assert codes(judge_inventory(read())) == NOTES | {(code, "support", number)}


def test_metrics_are_judged_by_what_was_measured(own: Registry, tmp_path: Path) -> None:
    """The gate asks the registry for the newest value that was recorded of the package."""
    (tmp_path / "pairlock.toml").write_text('[stages.production]\nrequire = ["ndcg@10>=0.7"]\n')
    evidence = {
        "package_digest": read_model("support", 2).versions[0].tags[DIGEST_TAG],
        "dataset": {"name": "d", "digest": f"sha256:{'0' * 64}"},
        "metrics": {"ndcg@10": 0.8},
        "at": "2026-01-01T00:00:00+00:00",
    }
    tag = f"{EVALUATION_TAG}{'0' * 16}"
    own.client.set_model_version_tag("support", "2", tag, json.dumps(evidence))
    try:
        assert codes(judge_inventory(read())) == NOTES
    finally:
        own.client.delete_model_version_tag("support", "2", tag)
    assert codes(judge_inventory(read())) == NOTES | {(Code.HOLDER_FAILS_GATE, "support", 2)}


def test_metrics_of_another_package_are_not_those_of_the_holder(own: Registry) -> None:
    """What was measured counts for the package that the ledger names, whatever a tag says."""
    own.client.set_registered_model_tag("support", POLICY_TAG, NEEDS_NDCG)
    evidence = {
        "package_digest": "sha256:other",
        "dataset": {"name": "d", "digest": f"sha256:{'0' * 64}"},
        "metrics": {"ndcg@10": 0.8},
        "at": "2026-01-01T00:00:00+00:00",
    }
    tag = f"{EVALUATION_TAG}{'0' * 16}"
    own.client.set_model_version_tag("support", "2", tag, json.dumps(evidence))
    try:
        retagged = with_version(
            read(), "support", 2, lambda one: replace(one, tags={DIGEST_TAG: "sha256:other"})
        )
        found = codes(judge_inventory(retagged))
    finally:
        own.client.delete_model_version_tag("support", "2", tag)
    assert (Code.HOLDER_FAILS_GATE, "support", 2) in found


def test_a_registry_that_is_away_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every holder's metrics are not proved, and nobody waits for each of them."""
    asked = []

    def away(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise registry_unavailable(ConnectionError("gone"))

    monkeypatch.setattr("pairlock.auditing.gathering.recorded_metrics", away)
    wishes = {POLICY_TAG: NEEDS_NDCG}
    models = [
        model(name, [version(name, 1, full(name))], {"production": 1}, tags=wishes)
        for name in ("one", "other")
    ]
    found = codes(judge_inventory(inventory(*models)))
    assert {(Code.NOT_PROVED, "one", 1), (Code.NOT_PROVED, "other", 1)} <= found
    assert len(asked) == 1


def test_a_policy_that_is_named_and_not_there_is_an_error(own: Registry) -> None:
    """Nothing steps in for the policy that somebody named."""
    with pytest.raises(InvalidInputError) as caught:
        judge_inventory(read(), policy=Path("nowhere.toml"))
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_a_base_in_a_folder_is_looked_at(
    own: Registry, tmp_path: Path, tiny_model: Path, tiny_other: Path
) -> None:
    """One that is gone is missed; other files are found by hashing, and only then."""
    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    uri = own.log(save_linear(tmp_path / "layer", 3), "loose", base=str(folder))
    number = int(uri.rpartition("/")[2])
    found = inventory(read_model("loose", number))
    assert codes(judge_inventory(found, deep=True)) == {(Code.BASE_UNREGISTERED, "loose", number)}
    shutil.copyfile(tiny_other / "model.safetensors", folder / "model.safetensors")
    assert codes(judge_inventory(found)) == {(Code.BASE_UNREGISTERED, "loose", number)}
    assert codes(judge_inventory(found, deep=True)) == {(Code.BASE_DIGEST, "loose", number)}
    shutil.rmtree(folder)
    for deep in (False, True):
        assert codes(judge_inventory(found, deep=deep)) == {(Code.BASE_MISSING, "loose", number)}


@pytest.fixture
def loose(own: Registry, tmp_path: Path, tiny_model: Path) -> VersionFacts:
    """An adapter on a base in the folder `base`."""
    shutil.copytree(tiny_model, tmp_path / "base")
    uri = own.log(save_linear(tmp_path / "layer", 3), "loose", base=str(tmp_path / "base"))
    return read_model("loose", int(uri.rpartition("/")[2])).versions[0]


def pinned(one: VersionFacts, **changes: Any) -> VersionFacts:
    """An adapter whose pin was another one when the registry was read."""
    assert one.package is not None and one.package.base is not None
    pin = replace(one.package.base, **changes)
    return replace(one, package=replace(one.package, base=pin))


def deeply(one: VersionFacts, **options: Any) -> set[Code]:
    """What is found of one adapter when every byte is hashed."""
    found = inventory(model(one.name, [one]))
    return {finding.code for finding in judge_inventory(found, deep=True, **options)}


def test_a_base_that_cannot_be_hashed_is_not_proved(loose: VersionFacts) -> None:
    """A store that nobody reads, another manifest or none: no base is taken to be right."""
    assert Code.NOT_PROVED not in deeply(loose)
    assert Code.NOT_PROVED in deeply(pinned(loose, uri="gs://bucket/base"))
    assert Code.NOT_PROVED in deeply(pinned(loose, tree_digest=f"sha256:{'0' * 64}"))
    shutil.rmtree(loose.location)
    assert Code.NOT_PROVED in deeply(loose)
    # what was not there when the registry was read is said of the package, not of its base
    gone = replace(loose, package=None, package_state=PackageState.MISSING)
    assert Code.NOT_PROVED not in deeply(gone)


def test_a_base_that_a_store_has_otherwise_is_another_one(
    loose: VersionFacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Differences that are seen before a byte is fetched are differences, too."""

    def differs(*_: Any, **__: Any) -> Any:
        raise IntegrityError("another", kind=FAULT.kind, findings=(FAULT,), done="", hint="")

    monkeypatch.setattr("pairlock.auditing.gathering.examine_base", differs)
    assert Code.BASE_DIGEST in deeply(loose)


def test_a_stop_hashes_no_base(loose: VersionFacts, tmp_path: Path) -> None:
    """Once it is to stop, a base in a folder is looked at, and no byte of it is read."""
    (tmp_path / "base/model.safetensors").write_bytes(b"other")
    assert Code.BASE_DIGEST in deeply(loose)
    assert Code.BASE_DIGEST not in deeply(loose, stop=lambda: True)


def test_a_base_of_another_flavor_is_hashed(
    own: Registry, tmp_path: Path, tiny_model: Path
) -> None:
    """Nothing else proves the bytes of a registered version that is no package."""
    shutil.copytree(tiny_model, tmp_path / "raw")
    own.client.create_registered_model("raw")
    own.client.create_model_version("raw", str(tmp_path / "raw"))
    uri = own.log(save_linear(tmp_path / "layer", 4), "upon", base="models:/raw/1")
    found = inventory(
        model("raw", [version("raw", 1, None)]),
        read_model("upon", int(uri.rpartition("/")[2])),
    )
    assert (Code.BASE_DIGEST, "upon", 1) not in codes(judge_inventory(found, deep=True))
    (tmp_path / "raw/model.safetensors").write_bytes(b"other")
    assert (Code.BASE_DIGEST, "upon", 1) in codes(judge_inventory(found, deep=True))


def test_libraries_are_those_of_this_process() -> None:
    """What a package was made with is compared with what a load here would use."""
    assert installed_libraries()["torch"] == metadata.version("torch")


def test_a_version_is_looked_up_with_its_digest() -> None:
    """The digest that the registry has is what a store's bytes are proved against."""
    assert located_of(version("one", 1, None)).anchors == {}
    one = version("one", 1, None, tags={DIGEST_TAG: "sha256:tag"})
    assert located_of(one).anchors == {"version tag": "sha256:tag"}


def registered(own: Registry, name: str, folder: Path) -> VersionFacts:
    """A version that was registered by hand from a folder."""
    own.client.create_registered_model(name)
    digest = pairlock.manifest.package_digest((folder / "pairlock.json").read_bytes())
    own.client.create_model_version(name, str(folder), tags={DIGEST_TAG: digest})
    return read_model(name, 1).versions[0]


def test_golden_vectors_are_recomputed_once_for_each_package(
    own: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other vectors are found; one package is loaded once, from a copy that is whole."""
    package = own.folder_of("models:/base/1")
    vectors = stored_vectors(package)
    vectors["query"] = np.roll(vectors["query"], 1, axis=0)
    files = {"golden.safetensors": safetensors.numpy.save(vectors)}
    wrong = registered(own, "wrong", Path(forge(package, tmp_path / "wrong", files)))
    rotten = registered(own, "rotten", Path(forge(package, tmp_path / "rotten", {})))
    weights = Path(rotten.location) / "payload/model/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    gone = registered(
        own, "gone", Path(forge(package, tmp_path / "gone", {}, {"golden": {"texts": 1}}))
    )
    shutil.rmtree(gone.location)

    loads: list[str] = []
    real = pairlock.auditing.golden.verify

    def counted(uri: str, **options: Any) -> Any:
        loads.append(uri)
        return real(uri, **options)

    monkeypatch.setattr("pairlock.auditing.golden.verify", counted)
    base, first = read_model("base", 1).versions[0], read_model("support", 1).versions[0]
    again = replace(first, name="again")  # the same package: it is not even asked for
    foreign = version("other", 1, None)
    found = recompute([rotten, base, first, again, wrong, gone, foreign])
    assert codes(found.findings) == {
        (Code.PACKAGE_TAMPERED, "rotten", 1),
        (Code.GOLDEN, "wrong", 1),
        (Code.NOT_PROVED, "gone", 1),
    }
    assert base.package is not None and first.package is not None
    assert found.proved == {base.package.digest, first.package.digest}
    assert loads == [rotten.uri, base.uri, first.uri, wrong.uri, gone.uri]


def loads_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Every package that is loaded from now on, and how."""
    done: list[tuple[str, dict[str, Any]]] = []
    real = pairlock.auditing.golden.verify

    def noted(uri: str, **options: Any) -> Any:
        done.append((uri, options))
        return real(uri, **options)

    monkeypatch.setattr("pairlock.auditing.golden.verify", noted)
    return done


def test_the_best_copy_is_loaded_first(own: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """One without a known fault and on this machine; the next where that one cannot be loaded."""
    (base,) = read_model("base", 1).versions
    assert base.package is not None
    damaged = replace(base, name="damaged", findings=(FAULT,))
    far = replace(base, name="far", location="s3://bucket/far")
    loads = loads_of(monkeypatch)
    assert recompute([damaged, far, base]).proved == {base.package.digest}
    assert [uri for uri, _ in loads] == [base.uri]
    loads.clear()
    assert recompute([replace(base, name="nobody"), base]).proved == {base.package.digest}
    assert [uri for uri, _ in loads] == ["models:/nobody/1", base.uri]


def test_what_was_computed_is_said_of_the_package_that_was_loaded(own: Registry) -> None:
    """Of another package than the registry was read with nothing is proved, at all its versions."""
    (first,) = read_model("support", 1).versions
    assert first.package is not None
    other = replace(first, package=replace(first.package, digest="sha256:other"))
    found = recompute([other, replace(other, name="nobody")])
    assert found.proved == frozenset()
    assert codes(found.findings) == {
        (Code.NOT_PROVED, "support", 1),
        (Code.NOT_PROVED, "nobody", 1),
    }


def test_vectors_that_differ_are_said_of_every_version(own: Registry, tmp_path: Path) -> None:
    """Versions may share a package: it is loaded once, and each of them is named."""
    package = own.folder_of("models:/support/1")
    vectors = stored_vectors(package)
    vectors["query"] = np.roll(vectors["query"], 1, axis=0)
    files = {"golden.safetensors": safetensors.numpy.save(vectors)}
    other = registered(own, "differs", Path(forge(package, tmp_path / "differs", files)))
    found = inventory(
        model("differs", [other]), model("differs-too", [replace(other, name="differs-too")])
    )
    assert {
        (Code.GOLDEN, "differs", 1),
        (Code.GOLDEN, "differs-too", 1),
    } <= codes(judge_inventory(found, golden=True))


def test_an_audit_recomputes_what_is_asked_for(
    own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wanted versions alone, with the classes that are allowed, on or off the network; vectors that
    agree settle a drift of libraries."""
    drifted = with_version(
        read(),
        "support",
        2,
        lambda one: replace(
            one, package=one.package and replace(one.package, libraries={"torch": "1.0.0"})
        ),
    )
    assert (Code.LIBRARY_DRIFT, "support", 2) in codes(judge_inventory(drifted))
    loads = loads_of(monkeypatch)
    monkeypatch.setenv("PAIRLOCK_OFFLINE", "1")
    monkeypatch.setenv("PAIRLOCK_ALLOW_CLASSES", "acme.modules:Gate")
    found = judge_inventory(
        drifted,
        golden=True,
        wanted=lambda one: one.version == 2,
        allow=["acme.modules:Other"],
    )
    assert (Code.LIBRARY_DRIFT, "support", 2) not in codes(found)
    ((uri, options),) = loads
    assert uri == "models:/support/2"
    assert set(options["allow"]) == {"acme.modules:Gate", "acme.modules:Other"}
    assert options["offline"] is True


def test_a_stop_loads_no_other_package(made: Registry) -> None:
    """What was computed until then is kept, and nothing is said of the rest."""
    with active(made.uri):
        base, first = read_model("base", 1).versions[0], read_model("support", 1).versions[0]
        turns = iter([False, True])
        found = recompute([base, first], stop=lambda: next(turns))
    assert base.package is not None
    assert (found.findings, found.proved) == ((), {base.package.digest})


def test_an_adapter_on_another_base_is_not_proved_by_its_vectors(own: Registry) -> None:
    """Where the base's bytes are wrong nothing is loaded, and the finding names the base."""
    weights = own.folder_of("models:/base/1") / "payload/model/model.safetensors"
    right = weights.read_bytes()
    try:
        weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
        found = recompute(read_model("support", 1).versions)
    finally:
        weights.write_bytes(right)
    assert codes(found.findings) == {
        (Code.BASE_DIGEST, "support", 1),
        (Code.NOT_PROVED, "support", 1),
    }
    assert found.proved == frozenset()


def left_behind(own: Registry) -> None:
    """The registry as a process leaves it that ended before it wrote the alias."""
    first = open_model("support").ledger.read(0)
    own.client.set_registered_model_alias("support", "production", "1")
    own.client.set_registered_model_tag("support", HEAD_TAG, str(Anchor(0, first.digest)))


def test_an_alias_that_is_behind_is_brought_up(own: Registry) -> None:
    """It follows the entry that is there, no entry is written, and the audit is content."""
    left_behind(own)
    found = read()
    findings = judge_inventory(found)
    assert codes(findings) == NOTES | {(Code.ALIAS_BEHIND, "support", 2)}
    plan = plan_fixes(found, findings, settings=current_settings())
    assert [fix.remedy for fix in plan.fixes] == [Remedy.FOLLOW]
    (behind,) = [one for one in findings if one.code is Code.ALIAS_BEHIND]
    assert plan.fixes[0].settles == (behind.fingerprint,)
    assert {one.finding.code for one in plan.left} == {code for code, _, _ in NOTES}
    assert open_model("support").model.aliases == {"production": 1}, "planning changes nothing"
    announced: list[Any] = []
    done = execute_fixes(plan, settings=current_settings(), announce=announced.append)
    assert [one.done for one in done] == [True]
    assert announced == list(plan.fixes)
    opened = open_model("support")
    assert opened.model.aliases == {"production": 2}
    assert opened.head is not None and opened.head.entry.sequence == 1
    assert codes(judge_inventory(read())) == NOTES
    assert [one.done for one in execute_fixes(plan, settings=current_settings())] == [True]


def test_an_alias_that_was_moved_by_hand_is_left(own: Registry) -> None:
    """Which of the two is right a person says: nothing is planned, and a plan does not touch it."""
    left_behind(own)
    behind = read()
    plan = plan_fixes(behind, judge_inventory(behind), settings=current_settings())
    execute_fixes(plan, settings=current_settings())
    own.client.set_registered_model_alias("support", "production", "1")
    found = read()
    findings = judge_inventory(found)
    assert codes(findings) == NOTES | {(Code.ALIAS_UNEXPLAINED, "support", 1)}
    assert plan_fixes(found, findings, settings=current_settings()).fixes == ()
    execute_fixes(plan, settings=current_settings())
    assert open_model("support").model.aliases == {"production": 1}


def untag(own: Registry, number: str) -> dict[str, str]:
    """Take every tag off a version; returns them."""
    tags = dict(own.client.get_model_version("support", number).tags)
    for tag in tags:
        own.client.delete_model_version_tag("support", number, tag)
    return tags


@pytest.fixture
def unvouched(own: Registry, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The logged models have lost their tags of the digest, too."""
    ids = [
        own.client.get_model_version("support", number).source.removeprefix("models:/")
        for number in ("1", "2")
    ]
    tags = {one: own.client.get_logged_model(one).tags[DIGEST_TAG] for one in ids}
    for one in ids:
        own.client.delete_logged_model_tag(one, DIGEST_TAG)
    yield
    for one, text in tags.items():
        own.client.set_logged_model_tags(one, {DIGEST_TAG: text})


def test_missing_tags_are_written_where_somebody_vouches(own: Registry) -> None:
    """What `pairlock log` wrote comes back, word for word, and nothing else."""
    before = untag(own, "1")
    found = read()
    findings = judge_inventory(found)
    assert (Code.TAGS_MISSING, "support", 1) in codes(findings)
    plan = plan_fixes(found, findings, settings=current_settings())
    assert [fix.remedy for fix in plan.fixes] == [Remedy.TAGS]
    own.client.set_model_version_tag("support", "1", "pairlock.kind", "mine")
    done = execute_fixes(plan, settings=current_settings())
    assert [one.done for one in done] == [True]
    # a tag that came meanwhile is somebody's, and is not written over
    assert read_evidence("support", 1, "") == {**before, "pairlock.kind": "mine"}


def test_only_what_is_missing_is_written_and_the_digest_last(
    own: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that has a digest is taken to have its other tags, should the process end."""
    written: list[str] = []
    real = pairlock.auditing.fixing.store_evidence

    def noted(name: str, number: int, tag: str, text: str) -> None:
        written.append(tag)
        real(name, number, tag, text)

    monkeypatch.setattr("pairlock.auditing.fixing.store_evidence", noted)
    gone = {DIGEST_TAG, "pairlock.kind", "pairlock.query_space"}
    for tag in gone:
        own.client.delete_model_version_tag("support", "1", tag)
    found = read()
    plan = plan_fixes(found, judge_inventory(found), settings=current_settings())
    (fix,) = plan.fixes
    assert fix.tags.keys() == gone
    execute_fixes(plan, settings=current_settings())
    assert set(written) == gone
    assert written[-1] == DIGEST_TAG


def test_tags_are_not_written_where_anything_is_in_doubt(own: Registry) -> None:
    """Not for bytes that are wrong, and not where nobody can be asked who vouches."""
    untag(own, "1")
    found = read()
    findings = judge_inventory(found)
    damaged = with_version(found, "support", 1, lambda one: replace(one, findings=(FAULT,)))
    assert plan_fixes(damaged, findings, settings=current_settings()).fixes == ()
    vanished = inventory(
        model("nobody", [replace(damaged.models[1].versions[0], name="nobody", findings=())])
    )
    missing = [replace(one, model="nobody") for one in findings if one.code is Code.TAGS_MISSING]
    plan = plan_fixes(vanished, missing, settings=current_settings())
    assert (plan.fixes, len(plan.left)) == ((), 1)


def test_an_alias_cannot_follow_to_a_version_that_is_gone(own: Registry, tmp_path: Path) -> None:
    """A ledger may name what was deleted: that is said, and is not done."""
    own.log(save_linear(tmp_path / "layer", 5), "brief", base="models:/base/1")
    for stage in ("production", "staging"):
        pairlock.promote("brief", 1, to=stage)
    first = open_model("brief").ledger.read(0)
    own.client.delete_registered_model_alias("brief", "staging")
    own.client.set_registered_model_tag("brief", HEAD_TAG, str(Anchor(0, first.digest)))
    found = inventory(read_model("base", 1), read_model("brief", 1))
    plan = plan_fixes(found, judge_inventory(found), settings=current_settings())
    assert [fix.remedy for fix in plan.fixes] == [Remedy.FOLLOW]
    own.client.delete_model_version("brief", "1")
    assert [one.done for one in execute_fixes(plan, settings=current_settings())] == [False]


def test_the_ledger_vouches_too(own: Registry, unvouched: None) -> None:
    """A holder's digest is in the ledger: that of the holder can be written, no other."""
    untag(own, "1")
    before = untag(own, "2")
    found = read()
    plan = plan_fixes(found, judge_inventory(found), settings=current_settings())
    assert [(fix.remedy, fix.version) for fix in plan.fixes] == [(Remedy.TAGS, 2)]
    assert (Code.TAGS_MISSING, 1) in {(one.finding.code, one.finding.version) for one in plan.left}
    execute_fixes(plan, settings=current_settings())
    assert read_evidence("support", 2, "") == before
    assert read_evidence("support", 1, "") == {}


def test_a_package_that_was_changed_since_is_not_vouched_for(own: Registry) -> None:
    """Tags are written for the bytes that were audited, or not at all."""
    untag(own, "1")
    found = read()
    plan = plan_fixes(found, judge_inventory(found), settings=current_settings())
    manifest = own.folder_of("models:/support/1") / "pairlock.json"
    content = manifest.read_bytes()
    document = json.loads(content)
    document["provenance"]["source"] = "elsewhere"
    try:
        manifest.write_bytes(pairlock.digests.canonical_json(document))
        done = execute_fixes(plan, settings=current_settings())
        changed = read()
        assert (
            plan_fixes(changed, judge_inventory(changed), settings=current_settings()).fixes == ()
        )
    finally:
        manifest.write_bytes(content)
    assert [one.done for one in done] == [False]
    assert read_evidence("support", 1, "") == {}


def test_a_damaged_copy_is_found_and_fetched_again(
    s3_registry: Registry, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A flipped bit in this machine's cache is found by hashing, and mended from the store."""
    monkeypatch.chdir(tmp_path)
    s3_registry.log(tiny_model, "remote")
    pairlock.pull("models:/remote/1")
    found = inventory(read_model("remote", 1))
    settings = current_settings()
    assert codes(judge_inventory(found, deep=True)) == set()
    (weights,) = settings.cache.glob("views/packages/*/files/payload/model/model.safetensors")
    right = weights.read_bytes()
    weights.chmod(0o600)
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    findings = judge_inventory(found, deep=True)
    assert (Code.CACHE_DAMAGED, "remote", 1) in codes(findings)
    assert {one.code for one in findings} == {Code.CACHE_DAMAGED}
    assert judge_inventory(found, deep=True) == findings, "an audit changes nothing"
    plan = plan_fixes(found, findings, settings=settings)
    assert {fix.remedy for fix in plan.fixes} == {Remedy.FETCH}
    assert all(one.done for one in execute_fixes(plan, settings=settings))
    assert weights.read_bytes() == right
    assert codes(judge_inventory(found, deep=True)) == set()


def test_one_fix_that_fails_does_not_stop_the_others(own: Registry) -> None:
    """A model that is gone since it was audited is said so, and the next one is mended."""
    left_behind(own)
    found = read()
    plan = plan_fixes(found, judge_inventory(found), settings=current_settings())
    gone = replace(plan.fixes[0], model="nobody")
    done = execute_fixes(replace(plan, fixes=(gone, *plan.fixes)), settings=current_settings())
    assert [one.done for one in done] == [False, True]
    assert open_model("support").model.aliases == {"production": 2}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("payload/model/pytorch_model-00001-of-00002.bin", True),
        ("adapter_model.bin", True),
        ("optimizer.pt", True),
        ("rng_state.PTH", True),
        ("a/b.joblib", True),
        ("openvino_model.bin", False),
        ("model.safetensors", False),
        ("pt", False),
        ("pickle.json", False),
    ],
)
def test_pickles_have_names(name: str, is_one: bool) -> None:
    """What trainers write is recognised by its name; what only sounds like it is not."""
    assert is_pickle_name(name) is is_one


def test_pickles_have_first_bytes(tmp_path: Path) -> None:
    """What pickle and torch write is recognised under any name; other files are not."""
    import pickle

    import torch

    torch.save({"a": torch.zeros(2)}, tmp_path / "new")
    torch.save({"a": torch.zeros(2)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": 1}))
    found = {path.name: is_pickle_content(path.read_bytes()[:256]) for path in tmp_path.iterdir()}
    assert found == {"new": True, "old": True, "plain": True, "arrays.npz": False}
    assert not is_pickle_content(safetensors.numpy.save({"a": np.zeros(2)}))
    assert not is_pickle_content(b"")


def test_what_cannot_be_looked_up_is_said(own: Registry) -> None:
    """A model that the registry does not know has no metrics: not proved, and no other error."""
    found = read()
    models: list[ModelFacts] = []
    for one in found.models:
        tags = {**one.tags, POLICY_TAG: NEEDS_NDCG}
        versions = tuple(replace(v, name="vanished") for v in one.versions)
        renamed = replace(one, name="vanished", versions=versions, tags=tags)
        models.append(renamed if one.name == "support" else one)
    findings = judge_inventory(replace(found, models=tuple(models)))
    assert (Code.NOT_PROVED, "vanished", 2) in codes(findings)


def test_a_base_in_another_place_is_not_asked_for_over_a_network(own: Registry) -> None:
    """A default audit says of a base in a store only what the pin says."""
    pin = pin_elsewhere("s3://bucket/base")
    found = inventory(
        replace(
            read_model("support", 1),
            versions=(version("support", 1, adapter("s", pin)),),
            ledger=None,
            aliases={},
            tags={},
        )
    )
    assert codes(judge_inventory(found)) == {(Code.BASE_UNREGISTERED, "support", 1)}
