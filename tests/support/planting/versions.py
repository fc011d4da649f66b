"""Defects of versions beside their bytes, bases and stages, and of what is stored."""

from __future__ import annotations

from pairlock.auditing.gathering import installed_libraries
from pairlock.auditing.rules.versions import COMPARED
from pairlock.ledger import Act
from pairlock.profiling import PROFILE_TAG
from support.planting.case import ALIAS, STAGES, Case
from support.planting.packages import Document, Files
from support.planting.site import profile


def not_ready(case: Case) -> None:
    """MLflow's status of a version is not READY."""
    version = case.any()
    if case.planted:
        status = case.random.choice(["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
        case.then(
            case.site.sql,
            "UPDATE model_versions SET status = ? WHERE name = ? AND version = ?",
            status,
            version.name,
            version.number,
        )
    else:
        stage = case.random.choice(["Archived", "Staging"])
        number = str(version.number)
        case.then(case.site.client.transition_model_version_stage, version.name, number, stage)
    case.finds(version, "status")


def drift(case: Case) -> None:
    """A version in use was packaged with other releases of the libraries."""
    way = case.way(("minor", "major", "several"), ("patch", "not in use", "other library"))
    stage = case.random.choice(STAGES)
    installed = installed_libraries()
    names = [name for name in COMPARED if name in installed]
    count = 2 if way == "several" else 1

    def change(document: Document, _files: Files) -> None:
        libraries = document["provenance"]["libraries"]
        if way == "other library":
            libraries["tokenizers"] = "0.1.0"
            return
        for name in case.random.sample(names, count):
            major, minor, *rest = libraries[name].split("+")[0].split(".")
            if way == "patch":
                rest = ["99"]
            elif way == "major":
                major = str(int(major) + case.random.choice([-1, 1]))
            else:
                minor = str(int(minor) + case.random.choice([1, 2]))
            libraries[name] = ".".join([major, minor, *rest])

    package = (case.full() if case.either() else case.adapter_package()).changed(change)
    version = case.site.version(case.name, package)
    how = case.random.choice(["ledger", "alias", "legacy"])
    if way == "not in use":
        pass
    elif how == "ledger":
        version.model.promote(stage, version)
    elif how == "alias":
        version.model.aliases[ALIAS] = version.number
    else:
        case.then(
            case.site.client.transition_model_version_stage, version.name, "1", stage.capitalize()
        )
    case.finds(version, "libraries")


def identical(case: Case) -> None:
    """A version is the same package as an earlier one."""
    first = case.any()
    way = case.way(("copied bytes", "same logged model", "other name"), ("near", "deleted"))
    if way == "copied bytes":
        again = case.site.version(first.name, first.own)
        case.finds(again, first.uri)
    elif way == "other name":
        again = case.site.version(f"{case.name}-other", first.own)
        case.finds(again, first.uri)
    elif way == "same logged model":

        def register() -> None:
            case.site.client.copy_model_version(first.uri, f"{case.name}-copy")

        case.then(register)
        case.finds((f"{case.name}-copy", 1), first.uri)
    elif way == "deleted":
        again = case.site.version(f"{case.name}-other", first.own)
        case.delete(again)
    else:

        def change(document: Document, _files: Files) -> None:
            document["provenance"]["source"] += "."

        case.site.version(f"{case.name}-other", first.own.changed(change))


def superseded(case: Case) -> None:
    """A newer version took the place that this one could have had."""
    way = case.way(("never", "overtaken"), ("held once", "asked for", "alias", "base", "same"))
    make = case.full if way == "base" or case.either() else case.adapter_package
    site = case.site
    old = site.version(case.name, make())
    model = old.model
    stage = case.random.choice(STAGES)
    if way in {"overtaken", "same"}:
        base = case.stock()
        new = old
        if way == "overtaken":
            # both embed documents into one space
            model.versions.clear()
            site.logged.remove(old.logged)
            old, new = (site.version(case.name, case.adapter_package(base)) for _ in range(2))
        model.promote("staging", old)
        model.promote("production", new)
        case.finds(old, "staging to production", stage="staging")
        return
    new = site.version(case.name, make())
    if way == "held once":
        model.promote(stage, old)
    elif way == "alias":
        model.aliases[ALIAS] = old.number
    elif way == "base":
        site.version(f"{case.name}-adapter", case.adapter_package(old))
    model.promote(stage, new)
    if way == "asked for":
        model.acts.append((Act.REQUEST, stage, old, ()))
    case.finds(old, "versions")


def unprofiled(case: Case) -> None:
    """A version holds a stage, and was never measured on a device."""
    stages = case.random.sample(STAGES, case.random.randint(1, 2))
    version = case.held(*stages, before=case.random.randint(0, 1))
    tag = next(name for name in version.tags if name.startswith(PROFILE_TAG))
    way = case.way(("none", "other package", "garbage"), ("profile", "other device", "no stage"))
    if way == "none":
        del version.tags[tag]
    elif way == "other package":
        version.tags |= profile(case.full())
    elif way == "garbage":
        version.tags[tag] = case.random.choice(["", "[]", "{", '{"package_digest": 3}'])
    elif way == "other device":
        version.tags[f"{PROFILE_TAG}cuda.bfloat16"] = version.tags.pop(tag)
    elif way == "no stage":
        del version.tags[tag]
        for stage in stages:
            version.model.demote(stage)
    case.finds(version, f"{PROFILE_TAG}*")


def doomed(case: Case) -> None:
    """The bytes belong to something that is deleted in MLflow."""
    way = case.way(("logged model", "run"), ("run of a logged model", "restored", "other run"))
    site, client = case.site, case.site.client
    version = case.any()
    if way == "logged model":
        case.then(client.delete_logged_model, version.logged.model_id)
        case.finds(version, version.location)
        return
    if way == "run of a logged model":

        def source() -> None:
            run = client.create_run(site.experiment)
            site.sql(
                "UPDATE logged_models SET source_run_id = ? WHERE model_id = ?",
                run.info.run_id,
                version.logged.model_id,
            )
            client.delete_run(run.info.run_id)

        case.then(source)
        return
    run = client.create_run(site.experiment)
    place = f"{run.info.artifact_uri}/model"
    moved = site.version(f"{case.name}-run", case.adapter_package())
    if case.either():
        moved.model.aliases[ALIAS] = 1
    moved.location = moved.logged.location = place
    # registered from a run, as before MLflow 3
    site.logged.remove(moved.logged)

    def act() -> None:
        for path, content in moved.own.everything.items():
            site.write(place, path, content)
        site.sql(
            "UPDATE model_versions SET source = ?, run_id = ? WHERE name = ?",
            place,
            run.info.run_id,
            moved.name,
        )
        if way == "other run":
            client.delete_run(client.create_run(site.experiment).info.run_id)
            return
        client.delete_run(run.info.run_id)
        if way == "restored":
            client.restore_run(run.info.run_id)

    case.then(act)
    case.finds(moved, place)


def orphaned(case: Case) -> None:
    """A package was stored that no version was registered from."""
    way = case.way(("logged", "deleted version"), ("deleted", "foreign", "pending", "registered"))
    site = case.site
    package = case.full() if case.either() else case.adapter_package()
    if way == "deleted version":
        version = case.any()
        case.then(site.client.delete_model_version, version.name, str(version.number))
        case.finds((None, None), version.logged.model_id)
        return
    logged = site.log(package.everything, None if way == "foreign" else package.digest)
    if way == "deleted":
        case.then(site.client.delete_logged_model, logged.model_id)
    elif way == "pending":
        logged.status = 1
    elif way == "registered":

        def register() -> None:
            site.client.create_registered_model(case.name)
            site.client.create_model_version(
                case.name, logged.location, tags=package.tags, model_id=logged.model_id
            )

        case.then(register)
    case.finds((None, None), logged.model_id)
