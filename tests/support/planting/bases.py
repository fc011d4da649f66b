"""Defects of what adapters stand on."""

from __future__ import annotations

import shutil

from pairlock.auditing.codes import Code
from pairlock.catalog import DIGEST_TAG
from support.planting import packages
from support.planting.case import ALIAS, DEEP, DEFAULT, GOLDEN, Case
from support.planting.packages import Package, Pinned
from support.planting.site import Version

SHALLOW = {DEFAULT, GOLDEN}


def missing(case: Case) -> None:
    """The pinned base is gone."""
    way = case.way(
        ("version", "model", "status", "bytes", "manifest", "folder"),
        ("sibling", "copy", "sent", "folder", "again"),
    )
    if way == "folder":
        folder, pin = case.folder_base()
        adapter = case.adapter(pin, alone=True)
        adapter.model.aliases.clear()
        if case.planted:
            case.then(shutil.rmtree, folder)
        else:
            case.beside(Code.BASE_UNREGISTERED, adapter, pin.uri, why="it is in a folder")
        case.finds(adapter, pin.uri)
        return
    base = case.base()
    if way == "sibling":
        other = case.site.version(base.name, case.full())
        case.delete(other)
    adapter = case.adapter(base)
    for one in _on(case, adapter, way):
        case.finds(one, base.uri)
    if way == "version":
        case.delete(base)
    elif way == "model":
        case.then(case.site.client.delete_registered_model, base.name)
        case.leave_behind(base)
    elif way == "status":
        _set_status(case, base, "FAILED_REGISTRATION")
        case.beside(Code.NOT_READY, base, "status", why="the base is a version too")
    elif way in {"bytes", "manifest"}:
        if way == "bytes":
            case.then(case.site.remove_all, base.location)
        else:
            case.then(case.site.remove, base.location, "pairlock.json")
        why = "the base's own row says so too"
        case.beside(Code.PACKAGE_MISSING, base, base.location, why=why)
    elif way in {"copy", "sent"}:
        copy = case.base(package=base.own, name="copy")
        case.delete(base)
        if way == "sent":
            for one in adapter.model.versions:
                one.tags["pairlock.origin.model"] = base.name
        else:
            for one in adapter.model.versions:
                why = "another version is the same package, so the adapter loads"
                case.beside(Code.BASE_RETIRED, one, base.uri, why=why)
        assert copy.own.digest == base.own.digest
    elif way == "again":
        _remake(case, base, base.own)


def _on(case: Case, adapter: Version, way: str) -> list[Version]:
    """Every version of the adapter's model stands on the base, so each has the defect."""
    return adapter.model.versions if case.planted and way else []


def _set_status(case: Case, version: Version, status: str) -> None:
    case.then(
        case.site.sql,
        "UPDATE model_versions SET status = ? WHERE name = ? AND version = ?",
        status,
        version.name,
        version.number,
    )


def _remake(case: Case, base: Version, package: Package | None) -> None:
    """Delete a registered model, and make it again under its name with another version 1."""
    client = case.site.client
    if package is base.package:
        logged = base.logged
    else:
        files = (
            package.everything
            if package is not None
            else packages.foreign_files("sentence_transformers", {"modules.json": b"[]"})
        )
        logged = case.site.log(files, package.digest if package is not None else None)
        case.leave_behind(base)

    def act() -> None:
        client.delete_registered_model(base.name)
        client.create_registered_model(base.name)
        tags = {} if package is None else package.tags
        client.create_model_version(base.name, logged.location, tags=tags, model_id=logged.model_id)
        case.site.sql(
            "UPDATE model_versions SET source = ? WHERE name = ?",
            f"models:/{logged.model_id}",
            base.name,
        )
        client.set_registered_model_alias(base.name, ALIAS, "1")

    case.then(act)
    if package is None:
        why = "a model of another flavor is there now"
        case.beside(Code.FOREIGN_FLAVOR, (base.name, 1), logged.location, why=why)


def moved(case: Case) -> None:
    """The pin's URI names other bytes now."""
    way = case.way(
        ("package", "foreign", "late", "replaced"), ("same package", "newer version", "alias")
    )
    base = case.base()
    if way == "late":
        # another flavor's model was pinned, and a Pairlock package is there now
        records = case.pin(base).records
        pin = Pinned(uri=base.uri, origin="mlflow.sentence_transformers", records=records)
        adapter = case.adapter(pin)
    else:
        adapter = case.adapter(base)
    for one in _on(case, adapter, way):
        case.finds(one, base.uri)
    if way == "package":
        _remake(case, base, case.full())
    elif way == "foreign":
        _remake(case, base, None)
    elif way == "replaced":
        other = case.full()

        def replace() -> None:
            case.site.remove_all(base.location)
            for path, content in other.everything.items():
                case.site.write(base.location, path, content)
            for name, text in other.tags.items():
                case.site.client.set_model_version_tag(base.name, "1", name, text)

        case.then(replace)
    elif way == "same package":
        _remake(case, base, base.own)
    else:
        newer = case.site.version(base.name, case.full())
        if way == "alias":
            case.then(
                case.site.client.set_registered_model_alias, base.name, "stable", str(newer.number)
            )


def digest(case: Case) -> None:
    """The base's bytes are not those that were pinned."""
    way = case.way(
        ("size", "file", "extra", "manifest", "tag", "byte", "folder"),
        ("rewritten", "beside", "sibling", "folder"),
    )
    if way == "folder":
        folder, pin = case.folder_base()
        adapter = case.adapter(pin, alone=True)
        record = case.random.choice(pin.records)
        content = (folder / record.path).read_bytes()
        why = "it is in a folder, and a look at names does not show more"
        if case.planted:
            case.then((folder / record.path).write_bytes, case.flipped(content))
            audits = SHALLOW
        else:
            case.then((folder / record.path).write_bytes, content)
            audits = SHALLOW | {DEEP}
        case.beside(Code.BASE_UNREGISTERED, adapter, pin.uri, why=why, audits=audits)
        case.finds(adapter, pin.uri, audits={DEEP})
        return
    base = case.base()
    adapter = case.adapter(base)
    for one in _on(case, adapter, way):
        case.finds(one, base.uri, audits={DEEP} if way == "byte" else SHALLOW | {DEEP})
    site, path = case.site, case.file(base)
    content = base.own.files[path]
    why = "the base's own row says which file"
    if way == "size":
        case.then(site.write, base.location, path, content + b"\0" * case.random.randint(1, 9))
        case.beside(Code.PACKAGE_TAMPERED, base, path, why=why)
    elif way == "file":
        case.then(site.remove, base.location, path)
        case.beside(Code.PACKAGE_INCOMPLETE, base, path, why=why)
    elif way == "extra":
        case.then(site.write, base.location, "payload/model/more.txt", b"more")
        case.beside(Code.FOREIGN_FILES, base, "payload/model/more.txt", why=why)
    elif way == "manifest":
        case.then(site.write, base.location, "pairlock.json", base.own.content[:-20])
        case.beside(Code.PACKAGE_UNREADABLE, base, base.location, why=why)
    elif way == "tag":
        other = f"sha256:{case.random.randbytes(32).hex()}"
        case.then(site.client.set_model_version_tag, base.name, "1", DIGEST_TAG, other)
        why = "tag and manifest of the base contradict each other"
        case.beside(Code.PACKAGE_TAMPERED, base, "the manifest", why=why)
    elif way == "byte":
        case.then(site.write, base.location, path, case.flipped(content))
        case.beside(Code.PACKAGE_TAMPERED, base, path, why=why, audits={DEEP})
    elif way == "rewritten":
        case.then(site.write, base.location, path, content)
    elif way == "beside":
        case.then(site.write, base.location, "notes.txt", b"beside the payload")
    else:
        other_version = case.site.version(base.name, case.full())
        gone = case.file(other_version)
        case.then(site.remove, other_version.location, gone)
        why = "the base's other version is incomplete, on which nobody stands"
        case.beside(Code.PACKAGE_INCOMPLETE, other_version, gone, why=why)


def dimension(case: Case) -> None:
    """The base gives vectors of another dimension than the adapter takes."""
    base = case.base()
    wrong = case.random.choice([16, 48, 384, 768])
    kind = case.random.choice(packages.ADAPTERS)

    def change(document: packages.Document, _files: packages.Files) -> None:
        if case.planted:
            document["base"]["dimension"] = wrong
            if kind != "peft":
                document["adapter"]["in_features"] = wrong
            else:
                document["dimension"] = wrong
        elif kind != "peft":
            document["dimension"] = document["adapter"]["out_features"] = wrong
        if kind == "custom":
            document["adapter"]["config"] = {}
        if "add_residual" in document["adapter"]:
            document["adapter"]["add_residual"] = False

    adapter = case.versions(lambda: case.adapter_package(base, kind=kind).changed(change))
    for one in _on(case, adapter, "planted"):
        case.finds(one, base.uri)


def retired(case: Case) -> None:
    """The base is archived, or gone and there is a copy of it."""
    way = case.way(("archived", "copy", "archived copy"), ("staging", "sibling", "two"))
    base = case.base()
    adapter = case.adapter(base)
    for one in _on(case, adapter, way):
        case.finds(one, base.uri)
    stage = "Archived"
    if way in {"copy", "archived copy", "two"}:
        copy = case.base(package=base.own, name="copy")
        if way == "two":
            why = "the base is registered under two names"
            case.beside(Code.IDENTICAL, copy, base.uri, why=why)
            return
        case.delete(base)
        if way == "archived copy":
            case.then(_transition, case, copy, stage)
        return
    version = base
    if way == "sibling":
        version = case.site.version(base.name, case.full())
    elif way == "staging":
        stage = "Staging"
    case.then(_transition, case, version, stage)


def _transition(case: Case, version: Version, stage: str) -> None:
    case.site.client.transition_model_version_stage(version.name, str(version.number), stage)


def not_in_stage(case: Case) -> None:
    """An adapter is in a stage, and its base in none."""
    way = case.way(("ledger", "legacy", "alias"), ("ledger", "legacy", "alias", "idle"))
    base = case.site.version(f"{case.name}-base", case.full())
    stage = case.random.choice(["staging", "production"])

    def bring(version: Version, how: str) -> None:
        if how == "ledger":
            version.model.promote(stage, version)
        elif how == "legacy":
            case.then(_transition, case, version, stage.capitalize())
        else:
            version.model.aliases[ALIAS] = version.number

    adapter = case.site.version(case.name, case.adapter_package(base))
    if way != "idle":
        bring(adapter, way)
        if not case.planted:
            bring(base, case.random.choice(["ledger", "legacy", "alias"]))
    case.finds(adapter, base.uri)


def unpinned(case: Case) -> None:
    """A PEFT adapter that another flavor logged."""
    flavor = case.random.choice(
        ["transformers", "peft", "python_function", "sentence_transformers"]
    )
    inner = case.random.choice(["", "peft/", "model/adapter/"])
    config = b'{"base_model_name_or_path": "acme/minilm", "peft_type": "LORA"}'
    if case.planted:
        files = {f"{inner}adapter_config.json": config, f"{inner}adapter.safetensors": b"x" * 40}
        if case.either():
            case.adapter(alone=True).model.aliases.clear()
        version = case.site.version(case.name, None, files=packages.foreign_files(flavor, files))
        case.finds(version, "adapter_config.json")
    elif case.either():
        case.adapter(kind="peft")
    else:
        files = {f"{inner}config.json": config}
        case.site.version(case.name, None, files=packages.foreign_files("sklearn", files))


def unregistered(case: Case) -> None:
    """The base is in a folder, a store, or a logged model that nobody registered."""
    way = case.way(("folder", "logged"), ("registered", "copy", "hub"))
    if way == "folder":
        _, pin = case.folder_base()
        case.finds(case.adapter(pin, alone=True), pin.uri)
        return
    if way == "logged":
        package = case.full()
        logged = case.site.log(package.everything, package.digest)
        pin = packages.pinned(f"models:/{logged.model_id}", package)
        case.finds(case.adapter(pin, alone=True), pin.uri)
        why = "the base is a logged model without a version"
        case.beside(Code.ORPHANED, (None, None), logged.model_id, why=why)
        return
    if way == "registered":
        case.adapter(case.base())
    elif way == "copy":
        # pinned as a logged model, which was registered later
        base = case.base()
        case.adapter(packages.pinned(f"models:/{base.logged.model_id}", base.own))
    else:
        base_package = case.full()
        records = packages.pinned("models:/x/1", base_package).records
        commit = case.random.randbytes(20).hex()
        pin = Pinned(
            uri=f"hf://acme/planted@{commit}", origin="hub", records=records, revision=commit
        )
        adapter = case.adapter(pin, alone=True)
        why = "every byte is asked for, and the snapshot is not on this machine"
        case.beside(Code.BASE_MISSING, adapter, pin.uri, why=why, audits={DEEP})
