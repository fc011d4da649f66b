"""Defects of what lies where a version's bytes should lie."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

from pairlock.auditing.codes import Code
from pairlock.cache import CacheFolder, View, ViewKey, ViewKind
from pairlock.catalog import DIGEST_TAG
from pairlock.config import current_settings
from pairlock.digests import canonical_json
from support.planting import packages
from support.planting.case import DEEP, GOLDEN, STAGES, Case
from support.planting.packages import Document, Files, foreign_files, records
from support.planting.site import Version

GATED = "faq_adapters:Gated"
"""The class of the example's custom adapter."""


def missing(case: Case) -> None:
    """Nothing lies there."""
    way = case.way(("all", "manifest", "elsewhere", "foreign"), ("sibling", "moved", "page"))
    site = case.site
    if way == "foreign":
        version = case.adapter()
        foreign = site.version(case.name, None, files=foreign_files("sklearn", {}))
        case.then(site.remove, foreign.location, "MLmodel")
        case.finds(foreign, foreign.location)
        return
    version = case.any()
    place = version.location
    if way == "all":
        case.then(site.remove_all, place)
    elif way == "manifest":
        case.then(site.remove, place, "pairlock.json")
    elif way in {"elsewhere", "moved"}:
        there = f"{site.root}/{'moved' if way == 'moved' else 'nowhere'}/{case.name}"
        if way == "elsewhere" and site.is_remote and case.either():
            there = f"s3://no-such-bucket-{case.random.randrange(10**9)}/{case.name}"
        if way == "moved":
            for path, content in version.own.everything.items():
                case.then(site.write, there, path, content)
            case.then(site.remove_all, place)
        _point(case, version, there)
        place = there
    elif way == "sibling":
        # bytes that no version needs
        logged = site.log(version.own.everything, None)
        case.then(site.remove_all, logged.location)
    else:
        case.then(site.remove, place, case.random.choice(["PAIRING.md", "MLmodel"]))
    case.finds(version, place)


def _point(case: Case, version: Version, location: str) -> None:
    """Let the registry say that a version lies somewhere else."""
    case.then(
        case.site.sql,
        "UPDATE model_versions SET storage_location = ? WHERE name = ? AND version = ?",
        location,
        version.name,
        version.number,
    )


def incomplete(case: Case) -> None:
    """A file that the manifest lists is not there."""
    version = case.any()
    if case.planted:
        gone = case.random.sample(
            version.own.payload, case.random.randint(1, len(version.own.payload))
        )
    else:
        gone = ["PAIRING.md"]
    for path in gone:
        case.then(case.site.remove, version.location, path)
        if case.planted and case.number % 4 == 0 and not case.site.is_remote:
            case.then(Path(version.location, path).mkdir)
        case.finds(version, path)


def tampered(case: Case) -> None:
    """Bytes are not those that were registered."""
    ways = ["byte", "longer", "shorter", "empty", "manifest", "held manifest"]
    if not case.site.is_remote:
        ways += ["link"]
    way = case.way(ways, ("same bytes", "touched", "other model"))
    site = case.site
    version = case.held(case.random.choice(STAGES)) if way == "held manifest" else case.any()
    path = case.file(version)
    content = version.own.files[path]
    place = version.location
    if "manifest" in way:
        other = version.own.changed(_say_something_else)
        stage = None
        if way == "held manifest":
            stage = version.model.acts[-1][1]
            if case.either():
                # who changes both is found by the ledger
                case.then(
                    site.client.set_model_version_tag, version.name, str(version.number),
                    DIGEST_TAG, other.digest,
                )  # fmt: skip
                why = "the ledger knows the digest better"
                case.beside(Code.TAGS_WRONG, version, DIGEST_TAG, stage=stage, why=why)
                why = "the profile is of the package that neither of them names"
                case.beside(Code.NEVER_PROFILED, version, "pairlock.profile.*", why=why)
        case.then(site.write, place, "pairlock.json", other.content)
        case.finds(version, "the manifest", stage=stage)
    elif way == "byte":
        case.then(site.write, place, path, case.flipped(content))
        case.finds(version, path, audits={DEEP})
    elif way == "link":

        def replace() -> None:
            aside = site.folder / "aside" / case.name
            aside.parent.mkdir(exist_ok=True)
            aside.write_bytes(content)
            target = Path(place, path)
            target.unlink()
            target.symlink_to(aside)

        case.then(replace)
        case.finds(version, path)
    elif way == "touched" and not site.is_remote:
        case.then(os.utime, Path(place, path))
    elif way == "other model":
        _say_to_other(case)
    else:
        text = {
            "longer": content + case.random.randbytes(case.random.randint(1, 9)),
            "shorter": content[: case.random.randrange(1, len(content))],
            "empty": b"",
        }.get(way, content)
        case.then(site.write, place, path, text)
        case.finds(version, path)


def _say_something_else(document: Document, _files: Files) -> None:
    document["provenance"]["source"] += ", or so"


def _say_to_other(case: Case) -> None:
    """A logged model of nobody is changed: no version has its bytes."""
    logged = case.site.log({"payload/a.txt": b"a"}, None)
    case.then(case.site.write, logged.location, "payload/a.txt", b"b")


def unreadable(case: Case) -> None:
    """This release cannot read the manifest."""
    way = case.way(
        ("cut", "empty", "newer", "no object", "kind", "key", "bytes"), ("more keys", "same")
    )
    version = case.any()
    document = dict(version.own.document)
    content = version.own.content
    if way == "more keys":
        changed = version.own.changed(lambda doc, _files: doc.update(signed_by="nobody"))
        last = case.site.version(case.name, changed)
        assert last.own.document["signed_by"]
        return
    if way == "newer":
        document["format_version"] = case.random.randint(2, 99)
    elif way == "kind":
        document["kind"] = "another"
    elif way == "key":
        del document[case.random.choice(["files", "encode", "spaces", "golden", "provenance"])]
    if way in {"newer", "kind", "key"}:
        content = canonical_json(document)
    elif way == "cut":
        content = content[: case.random.randrange(1, len(content))]
    elif way == "bytes":
        content = case.random.randbytes(200)
    elif way in {"empty", "no object"}:
        content = b"" if way == "empty" else b'["pairlock"]'
    case.then(case.site.write, version.location, "pairlock.json", content)
    case.finds(version, version.location)


def unreachable(case: Case) -> None:
    """The store does not answer."""
    site = case.site
    version = case.any()
    ways = ["scheme"]
    if site.is_remote:
        ways += ["host"]
    else:
        ways += ["loop", "long"]
    way = case.way(ways, ("link", "as it is") if not site.is_remote else ("slash", "as it is"))
    place = version.location
    if way == "scheme":
        place = f"gs://acme-models/{case.name}"
    elif way == "host":
        place = f"mlflow-artifacts://127.0.0.1:1/api/2.0/mlflow-artifacts/artifacts/{case.name}"
    elif way == "loop":
        place = f"{site.root}/loops/{case.name}"

        def loop() -> None:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).symlink_to(place)

        case.then(loop)
    elif way == "long":
        place = f"{site.root}/{'n' * 300}"
    elif way == "slash":
        place += "/"
    elif way == "link":
        place = f"{site.root}/links/{case.name}"

        def link() -> None:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).symlink_to(version.location)

        case.then(link)
    if place != version.location:
        _point(case, version, place)
    case.finds(version, place)


def foreign(case: Case) -> None:
    """A file lies in the payload that the manifest does not list."""
    version = case.any()
    folders = ["payload/", "payload/new/", "payload/a/b/", f"{Path(case.file(version)).parent}/"]
    name = case.random.choice(["notes.txt", "model2.safetensors", ".hidden", "a b.json", "x.pt"])
    path = case.random.choice(folders) + name
    if case.planted:
        case.then(case.site.write, version.location, path, case.random.randbytes(20))
        case.finds(version, path)
        if name == "x.pt":
            case.beside(Code.PICKLE, version, path, why="it is named as pickles are")
    elif case.number % 3 == 0 and not case.site.is_remote:
        case.then(Path(version.location, "payload/empty").mkdir)
    else:
        outside = case.random.choice(["notes.txt", "extra/notes.txt", "payload.txt"])
        case.then(case.site.write, version.location, outside, b"beside the payload")


def flavor(case: Case) -> None:
    """An embedding model that another flavor logged."""
    if case.planted:
        name = "sentence_transformers"
        if case.either():
            case.any()
            name = case.random.choice(["sklearn", "python_function", "sentence_transformers"])
        files = foreign_files(name, {"modules.json": b"[]", "model.safetensors": b"x" * 9})
        version = case.site.version(case.name, None, files=files)
        case.finds(version, version.location)
    elif case.either():
        flavor_name = case.random.choice(["sklearn", "xgboost", "transformers"])
        case.site.version(case.name, None, files=foreign_files(flavor_name, {"model.pkl": b"x"}))
    else:
        case.any()


def pickles(case: Case) -> None:
    """A file is a pickle."""
    way = case.way(("beside", "foreign", "listed", "extra"), ("named", "other library", "listed"))
    site = case.site
    text = pickle.dumps({"a": 1}, protocol=case.random.randint(2, 5))
    name = case.random.choice(["model.pkl", "optimizer.pt", "w.PTH", "a.bin", "x.joblib", "e.ckpt"])
    if way in {"foreign", "other library"}:
        flavor_name = "sentence_transformers" if case.planted else "sklearn"
        version = site.version(case.name, None, files=foreign_files(flavor_name, {name: text}))
        if case.planted:
            why = "another flavor logged it"
            case.beside(Code.FOREIGN_FLAVOR, version, version.location, why=why)
        case.finds(version, name)
        return
    if way == "listed":
        path = "payload/state.dat"
        content = text if case.planted else b"\x81" + text

        def change(_document: Document, files: Files) -> None:
            files[path] = content

        version = site.version(case.name, case.adapter_package().changed(change))
        case.finds(version, path, audits={DEEP})
        return
    version = case.any()
    path = case.random.choice(["", "checkpoints/"]) + name
    if way == "extra":
        path = f"payload/{path}"
        why = "the manifest does not list it"
        case.beside(Code.FOREIGN_FILES, version, path, why=why)
    elif way == "named":
        path = case.random.choice(["openvino_model.bin", "pickle.json", "pkl.txt", "pt"])
    case.then(site.write, version.location, path, text)
    case.finds(version, path)


def golden(case: Case) -> None:
    """The package computes other vectors than were recorded."""
    kind = ("full", "linear", "two_layer", "peft", "custom")[case.number % 5]
    case.allow.add(GATED)

    def change(_document: Document, files: Files) -> None:
        if case.planted:
            path = "payload/golden.safetensors"
            head = int.from_bytes(files[path][:8], "little") + 8
            count = (len(files[path]) - head) // 4
            # the two highest bits of some float's exponent: the number is another by far
            at = head + 4 * case.random.randrange(count) + 3
            text = bytearray(files[path])
            text[at] ^= 0x40
            files[path] = bytes(text)
        else:
            files["PAIRING.md"] = b"another page"

    if kind == "full":
        package = case.full(whole=True)
    else:
        package = case.adapter_package(_whole_base(case), kind=kind, whole=True)
    version = case.site.version(case.name, package.changed(change))
    case.finds(version, "golden vectors", audits={GOLDEN})


def _whole_base(case: Case) -> Version:
    """A base that loads, on which all of these stand."""
    name = "stock-whole"
    if name not in case.site.models:
        made = case.site.version(name, packages.package("full", name, whole=True))
        for stage in STAGES:
            made.model.promote(stage, made)
    return case.site.models[name].versions[0]


def not_proved(case: Case) -> None:
    """Something that was asked for could not be checked."""
    way = case.way(("class", "incomplete", "base"), ("class", "full"))
    place = "golden vectors"
    kind = "custom" if way == "class" else case.random.choice(["linear", "two_layer", "peft"])
    base = _whole_base(case)
    if way == "base":
        base = case.base(package=case.full(whole=True).changed(_own_file("payload/model/own.txt")))
    if way == "full":
        package = case.full(whole=True)
    else:
        package = case.adapter_package(base, kind=kind, whole=True)
    if way == "class" and case.planted:

        def rename(document: Document, _files: Files) -> None:
            document["adapter"]["class_path"] = "acme.modules:Gate"

        package = package.changed(rename)
    else:
        case.allow.add(GATED)
    gone = "payload/own.txt"
    if way == "incomplete":
        package = package.changed(_own_file(gone))
    version = case.site.version(case.name, package)
    if way == "incomplete":
        case.then(case.site.remove, version.location, gone)
        why = "it cannot be loaded without the file"
        case.beside(Code.PACKAGE_INCOMPLETE, version, gone, why=why)
    elif way == "base":
        case.delete(base)
        case.beside(Code.BASE_MISSING, version, base.uri, why="it cannot be loaded without it")
    case.finds(version, place, audits={GOLDEN})


def _own_file(path: str) -> Callable[[Document, Files], None]:
    """Puts a file into a package that no other has: a cache cannot have it from elsewhere."""

    def change(document: Document, files: Files) -> None:
        files[path] = document["provenance"]["source"].encode()

    return change


def cached(case: Case) -> None:
    """This machine's copy of a file is damaged."""
    version = case.any()
    package = version.own
    folder = CacheFolder(current_settings().cache)
    path = case.file(version)
    files = {one: package.everything[one] for one in [*package.payload, "pairlock.json"]}
    by_path = {one.path: one for one in records(files)}
    view = View(folder, ViewKey(ViewKind.PACKAGE, package.digest))
    blob = folder.blob(by_path[path].sha256)
    target = view.files / path

    def keep() -> None:
        folder.prepare()
        for one, record in by_path.items():
            place = folder.blob(record.sha256)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(files[one])
        assert view.make(list(by_path.values()), {}, damaged=None)

    case.then(keep)
    way = case.way(("blob", "view", "gone"), ("whole", "touched", "no view"))

    def damage() -> None:
        if way == "blob":
            blob.chmod(0o644)
            blob.write_bytes(case.flipped(blob.read_bytes()))
        elif way == "view":
            text = case.flipped(target.read_bytes())
            target.unlink()  # another file, and no change of the blob
            target.write_bytes(text)
        elif way == "gone":
            target.unlink()
        elif way == "touched":
            os.utime(blob)
        elif way == "no view":
            shutil.rmtree(view.root)

    case.then(damage)
    if way == "blob":
        case.finds((None, None), str(blob), audits={DEEP})
    case.finds(version, str(target), audits={DEEP})
