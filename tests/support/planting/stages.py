"""Defects of what ledger, aliases, holders and policy say of each other."""

from __future__ import annotations

import json

from pairlock.auditing.codes import Code
from pairlock.catalog import HEAD_TAG, LEDGER_TAG
from pairlock.in_force import POLICY_TAG, store_policy
from pairlock.ledger import Act, GateRecord
from pairlock.policy import DEFAULT_POLICY, Policy, StagePolicy, parse_requirement
from pairlock.promotion.rules import notes
from support.planting.case import ALIAS, DEEP, DEFAULT, GOLDEN, STAGES, Case
from support.planting.site import Model, Version

SHALLOW = {DEFAULT, GOLDEN}


def unexplained(case: Case) -> None:
    """Somebody moved, set or removed a stage's alias past the ledger."""
    way = case.way(
        ("moved", "removed", "set", "no ledger"), ("promoted", "other alias", "demoted", "followed")
    )
    client = case.site.client
    stage = case.random.choice(STAGES)
    if way == "no ledger":
        version = case.any()
        case.then(client.set_registered_model_alias, version.name, stage, str(version.number))
        case.finds(version, f"alias {stage}", stage=stage)
        if (base := _base_of(version)) is not None:
            assert base
        return
    version = case.held(stage)
    model = version.model
    other = case.site.version(model.name, case.full())
    if way == "moved":
        case.then(client.set_registered_model_alias, model.name, stage, str(other.number))
        case.finds(other, f"alias {stage}", stage=stage)
    elif way == "removed":
        case.then(client.delete_registered_model_alias, model.name, stage)
        case.finds(version, f"alias {stage}", stage=stage)
    elif way == "set":
        free = STAGES[STAGES.index(stage) - 1]
        case.then(client.set_registered_model_alias, model.name, free, str(other.number))
        case.finds(other, f"alias {free}", stage=free)
    elif way == "other alias":
        model.aliases[ALIAS] = version.number
        case.then(client.set_registered_model_alias, model.name, ALIAS, str(other.number))
    else:
        _act(case, model, stage, other if way != "demoted" else None)
        if way == "demoted":
            case.then(client.delete_registered_model_alias, model.name, stage)
        else:
            case.then(client.set_registered_model_alias, model.name, stage, str(other.number))
        case.then(case.site.set_head, model)


def _base_of(version: Version) -> object:
    return version.own.document["base"]


def _act(case: Case, model: Model, stage: str, version: Version | None) -> None:
    """Write an entry once the registry is there; nothing follows it."""
    act = Act.DEMOTE if version is None else Act.PROMOTE
    case.then(case.site.append, model, act, stage, version)


def behind(case: Case) -> None:
    """An entry is written, and the alias has not followed."""
    way = case.way(("promoted", "demoted", "first", "no head", "noted"), ("followed", "request"))
    site = case.site
    stage = case.random.choice(STAGES)
    place = f"alias {stage}"
    version = case.held(stage)
    model = version.model
    other = site.version(model.name, case.full())
    if way == "promoted":
        _act(case, model, stage, other)
        case.finds(other, place, stage=stage)
    elif way == "demoted":
        _act(case, model, stage, None)
        case.finds(version, place, stage=stage)
    elif way == "first":
        free = STAGES[STAGES.index(stage) - 1]
        _act(case, model, free, other)
        case.finds(other, f"alias {free}", stage=free)
        both = sorted([(stage, version), (free, other)])
        _pair(case, dict(both))
    elif way == "no head":
        case.then(site.client.delete_registered_model_tag, model.name, HEAD_TAG)
        case.finds(model, f"tag {HEAD_TAG}")
    elif way == "noted":
        # a process that was overtaken wrote an alias that is out of date, and noted it before
        text = notes.note_text([(stage, other.number)])
        case.then(site.client.set_registered_model_tag, model.name, notes.new_tag(), text)
        case.then(site.client.set_registered_model_alias, model.name, stage, str(other.number))
        case.finds(version, place, stage=stage)
    else:
        if way == "request":
            case.then(site.append, model, Act.REQUEST, stage, other)
        else:
            _act(case, model, stage, other)
            case.then(site.client.set_registered_model_alias, model.name, stage, str(other.number))
        case.then(site.set_head, model)


def _pair(case: Case, held: dict[str, Version]) -> None:
    """What follows from who holds staging and production."""
    staging, production = held["staging"], held["production"]
    place = "staging to production"
    if staging.number < production.number:
        why = "production has a newer version"
        case.beside(Code.SUPERSEDED, staging, place, stage="staging", why=why)
    spaces = {one.own.document["spaces"]["document"] for one in (staging, production)}
    if len(spaces) > 1:
        why = "they embed documents into different spaces"
        case.beside(Code.SPACE_CHANGES, staging, place, stage="staging", why=why)


def _entry(number: int) -> str:
    return f"entries/{number:012}.json"


def _named(number: int) -> str:
    return f"entry {number} ({_entry(number)})"


def broken(case: Case) -> None:
    """The ledger is not what was written."""
    way = case.way(
        (
            "last gone",
            "one gone",
            "all gone",
            "byte",
            "cut",
            "swapped",
            "head",
            "stranger",
            "place",
        ),
        ("more", "beside", "rewritten"),
    )
    site = case.site
    stage = case.random.choice(STAGES)
    version = case.held(stage, before=case.random.randint(2, 4))
    model = version.model
    last = len(model.acts) - 1
    place = site.ledger_location(model)
    number = case.random.randint(0, last)
    if way == "more":
        other = site.version(model.name, case.full())
        _act(case, model, stage, other)
        case.then(site.client.set_registered_model_alias, model.name, stage, str(other.number))
        case.then(site.set_head, model)
        return
    if way == "beside":
        case.then(site.write, place, "entries/notes.txt", b"no entry")
        return
    if way == "rewritten":
        case.then(lambda: site.write(place, _entry(number), site.read(place, _entry(number))))
        return
    case.beside(
        Code.NOT_PROVED,
        model,
        f"tag {LEDGER_TAG}" if way == "place" else place,
        why="what the ledger says of holders cannot be believed",
    )
    if way == "last gone":
        case.then(site.remove, place, _entry(last))
        case.finds(model, _named(last))
    elif way == "one gone":
        number = case.random.randint(0, last - 1)
        case.then(site.remove, place, _entry(number))
        case.finds(model, _named(number))
    elif way == "all gone":
        for one in range(last + 1):
            case.then(site.remove, place, _entry(one))
        case.finds(model, f"entries 0 to {last}")
    elif way in {"byte", "cut"}:

        def damage() -> None:
            content = site.read(place, _entry(number))
            if way == "cut":
                content = content[: len(content) // 2]
            else:
                content = content.replace(b'"actor":"kim"', b'"actor":"tim"')
            site.write(place, _entry(number), content)

        case.then(damage)
        case.finds(model, f"{_named(number)} $" if way == "cut" else _named(number))
    elif way == "swapped":
        number = case.random.randint(0, last - 1)

        def swap() -> None:
            one, other = site.read(place, _entry(number)), site.read(place, _entry(number + 1))
            site.write(place, _entry(number), other)
            site.write(place, _entry(number + 1), one)

        case.then(swap)
        # from the newest entry back, the first that is wrong ends the reading
        case.finds(model, _named(number + 1))
        case.finds(model, _named(number), audits={DEEP})
        if number + 2 <= last:
            case.finds(model, _named(number + 2), audits={DEEP})  # it names another before it
    elif way == "head":
        digest = f"sha256:{case.random.randbytes(32).hex()}"
        case.then(site.client.set_registered_model_tag, model.name, HEAD_TAG, f"{last}:{digest}")
        case.finds(model, _named(last))
    elif way == "stranger":
        # the ledger of another model
        other_name = f"{case.name}-other"
        stranger = site.version(other_name, case.full())
        stranger.model.promote(stage, stranger)

        def take() -> None:
            text = site.read(site.ledger_location(stranger.model), _entry(0))
            site.write(place, _entry(0), text)

        case.then(take)
        case.finds(model, _named(0))
        case.finds(model, _named(1), audits={DEEP})  # it names another before it
    else:
        case.then(site.client.delete_registered_model_tag, model.name, LEDGER_TAG)
        case.finds(model, f"tag {LEDGER_TAG}")


def gone(case: Case) -> None:
    """The version that holds a stage is not in the registry."""
    stage = case.random.choice(STAGES)
    version = case.held(stage, before=case.random.randint(1, 2))
    if case.planted:
        case.delete(version)
    else:
        case.delete(version.model.versions[0])
    case.finds(version, f"stage {stage}", stage=stage)


def archived(case: Case) -> None:
    """The version that holds a stage is archived."""
    stage = case.random.choice(STAGES)
    version = case.held(stage, before=1)
    client = case.site.client
    number = str(version.number)
    if case.planted:
        case.then(client.transition_model_version_stage, version.name, number, "Archived")
    elif case.either():
        case.then(client.transition_model_version_stage, version.name, "1", "Archived")
    else:
        case.then(client.transition_model_version_stage, version.name, number, "Production")
    case.finds(version, f"stage {stage}", stage=stage)


def gate(case: Case) -> None:
    """The version that holds a stage would not pass a gate of the policy in force today."""
    way = case.way(
        ("base", "not measured", "too low", "signature", "stage", "bypassed"),
        ("base", "measured", "other stage", "later measured"),
    )
    stage = case.random.choice(STAGES)
    other = STAGES[STAGES.index(stage) - 1]
    base = None
    if way in {"base", "bypassed"}:
        base = case.site.version(f"{case.name}-base", case.full())
        base.model.promote(other, base)
    gates = (
        [GateRecord(gate="pairing", outcome="bypassed", detail="we know")]
        if way == "bypassed"
        else []
    )
    make = case.full if base is None else lambda: case.adapter_package(base)
    version = case.site.version(case.name, make())
    version.model.promote(stage, version, gates=gates)
    wanted = {"staging": StagePolicy(), "production": StagePolicy()}
    place = "gate metrics"
    if way in {"base", "bypassed"}:
        asked = stage if case.planted else other
        wanted[stage] = StagePolicy(base_stages=(frozenset({asked}),))
        place = "gate pairing"
    elif way == "signature":
        wanted[stage] = StagePolicy(signature=True)
        place = "gate signature"
    elif way == "other stage":
        wanted[other] = StagePolicy(signature=True)
    elif way == "stage":
        del wanted[stage]
        place = "policy"
    else:
        bound = case.random.uniform(0.2, 0.8)
        wanted[stage] = StagePolicy(require=(parse_requirement(f"ndcg@10>={bound:.3f}"),))
        # the newest counts
        values = {
            "not measured": [],
            "too low": [bound + 0.1, bound - 0.1],
            "measured": [bound + 0.1],
            "later measured": [bound - 0.1, bound + 0.1],
        }[way]
        for number, value in enumerate(values):
            _measure(version, value, number)
    case.then(store_policy, version.name, Policy(wanted))
    case.finds(version, place, stage=stage)


def _measure(version: Version, value: float, number: int) -> None:
    """Evidence as `pairlock evaluate` leaves it on a version."""
    digest = f"sha256:{number:064x}"
    version.tags[f"pairlock.evaluation.{number:016x}"] = json.dumps(
        {
            "package_digest": version.own.digest,
            "dataset": {"name": "questions", "digest": digest},
            "metrics": {"ndcg@10": value},
            "at": f"2026-01-{number + 1:02}T12:00:00+00:00",
        }
    )


def spaces(case: Case) -> None:
    """What comes next into a stage embeds documents into another space."""
    with_policy = case.either()
    base = case.stock()
    make = case.full if case.planted and case.either() else lambda: case.adapter_package(base)
    production = case.site.version(case.name, case.adapter_package(base))
    staging = case.site.version(case.name, make())
    if case.planted and make != case.full:
        # an adapter on another base
        package = case.adapter_package(case.base(), kind="linear")
        staging.model.versions.remove(staging)
        case.site.logged.remove(staging.logged)
        staging = case.site.version(case.name, package)
    before, after = STAGES
    if with_policy:
        before, after = "canary", "live"
        wanted = {
            before: StagePolicy(),
            after: StagePolicy(from_stages=(frozenset({before}),)),
        }
        case.then(store_policy, case.name, Policy(wanted))
    production.model.promote(after, production)
    staging.model.promote(before, staging)
    case.finds(staging, f"{before} to {after}", stage=before)


def policy(case: Case) -> None:
    """The policy that is kept on a model cannot be read."""
    version = case.held(case.random.choice(STAGES)) if case.either() else case.any()
    if case.planted:
        text = case.random.choice(
            [
                "",
                "no policy",
                "{}x",
                "[]",
                '{"stages":{"production":{"approvals":-1}}}',
                '{"stages":{"production":{"require":["ndcg"]}}}',
                '{"stages":{"production":{"unknown":1}}}',
                '{"stages":3}',
            ]
        )
        case.then(case.site.client.set_registered_model_tag, version.name, POLICY_TAG, text)
    else:
        stages = dict(DEFAULT_POLICY.stages)
        stages["production"] = StagePolicy(approvals=case.random.randint(0, 3), min_age_hours=2.5)
        case.then(store_policy, version.name, Policy(stages))
    case.finds(version.model, "the policy in force")
