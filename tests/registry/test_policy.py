"""Policies: what is read, what is refused with its place, and what two of them come to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import (
    _validate_metric_name,
    _validate_model_alias_name,
    _validate_model_alias_name_reserved,
)
from policies import POLICIES, RULES, passes, policies_of, promotions

from pairlock.config import Settings, read_settings
from pairlock.digests import digest_bytes
from pairlock.errors import ErrorKind, FormatError, InvalidInputError, StorageError
from pairlock.metrics import mlflow_metric_name, same_metric
from pairlock.policy import (
    BYPASSABLE,
    DEFAULT_POLICY,
    Acknowledgement,
    Gate,
    NoRegression,
    Policy,
    Requirement,
    StagePolicy,
    find_policy_file,
    parse_requirement,
    policy_data,
    policy_digest,
    policy_text,
    read_policy,
    read_policy_file,
    read_stored_policy,
    stage_problem,
    stricter,
)

WHOLE = """
[stages.staging]

[stages.production]
from = ["staging"]
require = ["ndcg@10>=0.70", "mrr@10 > 0.5", "map@100<=1", "accuracy@1 < 1.0"]
no_regression = [{ metric = "ndcg@10", tolerance = 0.005 }, { metric = "mrr@10" }]
base_stages = ["production"]
min_age_hours = 24
approvals = 1
signature = false
reindex = "done"
bypass = ["metrics", "age"]
"""


def problems(text: str) -> dict[str, str]:
    """What is found at which place when a text is refused."""
    with pytest.raises(FormatError) as caught:
        read_policy(text, where="pairlock.toml")
    assert caught.value.kind is ErrorKind.POLICY_INVALID
    assert caught.value.findings
    assert {finding.kind for finding in caught.value.findings} == {ErrorKind.POLICY_INVALID}
    return {finding.place: finding.found for finding in caught.value.findings}


def stage(line: str) -> str:
    """A policy with one line in the stage `s`, beside the stage `t`."""
    return f"[stages.t]\n[stages.s]\n{line}\n"


def test_every_key_is_read() -> None:
    """The whole form gives the rules that stand in it."""
    policy = read_policy(WHOLE, where="w")
    assert policy.stages["staging"] == StagePolicy()
    assert policy.stages["production"] == StagePolicy(
        from_stages=(frozenset({"staging"}),),
        require=(
            Requirement("ndcg@10", ">=", 0.7),
            Requirement("mrr@10", ">", 0.5),
            Requirement("map@100", "<=", 1.0),
            Requirement("accuracy@1", "<", 1.0),
        ),
        no_regression=(NoRegression("ndcg@10", 0.005), NoRegression("mrr@10", 0.0)),
        base_stages=(frozenset({"production"}),),
        min_age_hours=24.0,
        approvals=1,
        signature=False,
        reindex=Acknowledgement.DONE,
        bypass=frozenset({Gate.METRICS, Gate.AGE}),
    )


def test_the_default_has_two_stages_without_rules() -> None:
    """Where nobody wrote a policy there are staging and production, and a re-index is asked for."""
    assert dict(DEFAULT_POLICY.stages) == {"staging": StagePolicy(), "production": StagePolicy()}
    assert StagePolicy().reindex is Acknowledgement.PLANNED
    assert StagePolicy().bypass == frozenset()


def test_lists_in_a_list_ask_for_one_of_each() -> None:
    """A conjunction is written as lists in a list, and one that asks for less is dropped."""
    policy = read_policy(
        '[stages.a]\n[stages.b]\n[stages.s]\nfrom = [["a"], ["a", "b"]]\n'
        'base_stages = [["x", "y"], ["z"]]',
        where="w",
    )
    assert policy.stages["s"].from_stages == (frozenset({"a"}),)
    assert policy.stages["s"].base_stages == (frozenset({"x", "y"}), frozenset({"z"}))


def test_all_problems_are_listed_at_once_with_their_places() -> None:
    """A file with many mistakes names each of them, and where it is."""
    found = problems(
        """
        stage = 1
        [stages.latest]
        [stages.production]
        from = ["stagging", 3]
        require = ["ndcg@10>=0.7", "ndcg@10 => 0.7", "ndcg_10>=0.8", 5]
        no_regression = [{ metric = "ndcg@10", tolerance = -1 }, { metrik = "x" }, "mrr"]
        minimum_age_hours = 3
        approvals = 1.5
        signature = "no"
        reindex = "maybe"
        bypass = ["golden", "integrity", "metric", "age", "age"]
        """
    )
    place = "stages.production"
    assert set(found) == {
        "stage",
        "stages.latest",
        f"{place}.from",
        f"{place}.from[1]",
        f"{place}.require[1]",
        f"{place}.require[2]",
        f"{place}.require[3]",
        f"{place}.no_regression[0].tolerance",
        f"{place}.no_regression[1].metrik",
        f"{place}.no_regression[1].metric",
        f"{place}.no_regression[2]",
        f"{place}.no_regression[2].metric",
        f"{place}.minimum_age_hours",
        f"{place}.approvals",
        f"{place}.signature",
        f"{place}.reindex",
        f"{place}.bypass[0]",
        f"{place}.bypass[1]",
        f"{place}.bypass[2]",
        f"{place}.bypass[4]",
    }
    assert found[f"{place}.from"] == "stagging"


@pytest.mark.parametrize(
    ("text", "near"),
    [
        (stage("aprovals = 1"), "approvals"),
        (stage("form = ['t']"), "from"),
        (stage("from = ['tt']"), "did you mean t"),
        (stage("bypass = ['metric']"), "did you mean metrics"),
        ("[stage.s]", "stages"),
        (stage("no_regression = [{ metric = 'm', tolerence = 1 }]"), "tolerance"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_known_word(text: str, near: str) -> None:
    """An unknown key, stage or gate names the known one that is nearest to it."""
    with pytest.raises(FormatError) as caught:
        read_policy(text, where="w")
    assert any(near in finding.expected for finding in caught.value.findings)


@pytest.mark.parametrize(
    "line",
    [
        "min_age_hours = -1",
        "min_age_hours = nan",
        "min_age_hours = inf",
        "min_age_hours = true",
        "min_age_hours = '24'",
        f"min_age_hours = 1{'0' * 400}",
        "min_age_hours = 2026-01-01",
        "approvals = -1",
        "approvals = true",
        "approvals = 1000000",
        "signature = 1",
        "signature = 'true'",
        "reindex = 'no'",
        "reindex = true",
        "require = 'ndcg@10>=0.7'",
        "require = ['ndcg@10>=nan']",
        "require = ['ndcg@10>=inf']",
        "require = ['ndcg@10>=1e999']",
        "require = ['ndcg@10==0.7']",
        "require = ['>=0.7']",
        "require = ['ndcg@10>=']",
        "require = ['ndcg@10>=0.7', 'ndcg@10>=0.8']",
        "require = [['ndcg@10>=0.7']]",
        "require = ['ndcg#10>=0.7']",
        "no_regression = 'ndcg@10'",
        "no_regression = [{ tolerance = 0.1 }]",
        "no_regression = [{ metric = '' }]",
        "no_regression = [{ metric = 'm' }, { metric = 'm', tolerance = 1 }]",
        "no_regression = [{ metric = 'm@1' }, { metric = 'm_1' }]",
        "no_regression = [{ metric = 'm', tolerance = nan }]",
        "from = []",
        "from = [[]]",
        "from = 't'",
        "from = ['s']",
        "from = ['t', 't']",
        "from = ['t', ['t']]",
        "from = ['nowhere']",
        "from = ['v3']",
        "base_stages = []",
        "base_stages = ['no stage']",
        "base_stages = [1]",
        "bypass = 'age'",
        "bypass = [['age']]",
        "bypass = [{}]",
        "bypass = [1]",
        "bypass = ['nothing']",
        "S = 1",
    ],
)
def test_a_wrong_value_is_refused_at_its_place(line: str) -> None:
    """Wrong types, numbers, names and duplicates are each one problem under their key."""
    found = problems(stage(line))
    key = line.partition(" ")[0]
    assert all(place.startswith(f"stages.s.{key}") for place in found)


@pytest.mark.parametrize("gate", sorted(set(Gate) - BYPASSABLE))
def test_what_proves_the_bytes_is_never_bypassed(gate: Gate) -> None:
    """A policy that names such a gate in `bypass` is refused when it is read."""
    assert list(problems(stage(f"bypass = ['{gate}']"))) == ["stages.s.bypass[0]"]
    assert {Gate.INTEGRITY, Gate.GOLDEN} <= set(Gate) - BYPASSABLE


@pytest.mark.parametrize("gate", sorted(BYPASSABLE))
def test_every_other_gate_may_be_named(gate: Gate) -> None:
    """Gates about figures and people can be bypassed where the policy says so."""
    policy = read_policy(stage(f"bypass = ['{gate}']"), where="w")
    assert policy.stages["s"].bypass == {gate}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stages = 1",
        "[stages]",
        "stages = []",
        "[stages",
        "a = \x00",
        "a = " + "[" * 5000,
        "[stages.s]\napprovals = 1\n[stages.s]",
        "[stages.s]\napprovals = 1\napprovals = 0",
    ],
)
def test_a_text_without_stages_is_refused(text: str) -> None:
    """What is no TOML, or names no stage, is refused and never means that nothing is asked for."""
    assert problems(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    """A file in another encoding is a problem of the file; a byte order mark is none."""
    with pytest.raises(FormatError) as caught:
        read_policy(b"[stages.s]\n# \xff", where="w")
    assert caught.value.kind is ErrorKind.POLICY_INVALID
    assert list(read_policy(b"\xef\xbb\xbf[stages.s]", where="w").stages) == ["s"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "[" * 100_000,
        '{"stages": {"s": 1}}',
        '{"stages": {"s": {"approvals": 1}, "s": {}}}',
        '{"stages": {"s": {"approvals": 1, "approvals": 0}}}',
    ],
)
def test_a_stored_text_that_is_no_policy_is_refused(text: str) -> None:
    """Anybody may write a tag: what is no policy is an error, never no policy."""
    with pytest.raises(FormatError) as caught:
        read_stored_policy(text, where="the tag")
    assert caught.value.kind is ErrorKind.POLICY_INVALID


@given(st.text(max_size=6))
@example("a" * 255)
@example("a" * 256)
@example("v1\n")
@example("v1")
@example("V٣")
@example("Latest")
@example("a\n")
@example("é")
@example("v1a")
@example("")
def test_a_stage_is_what_mlflow_takes_as_an_alias(name: str) -> None:
    """Every name that is taken is one that MLflow takes, and the reverse, but for a line's end."""
    try:
        _validate_model_alias_name(name)
        _validate_model_alias_name_reserved(name)
        taken = not name.endswith("\n")  # MLflow's pattern lets one pass
    except MlflowException:
        taken = False
    assert (stage_problem(name) is None) == taken


def test_two_stages_that_differ_in_case_only_are_refused() -> None:
    """Some of MLflow's databases would take them for one alias."""
    assert list(problems("[stages.Production]\n[stages.production]")) == ["stages.production"]


@pytest.mark.parametrize(
    ("text", "below", "at", "above"),
    [
        ("m>=0.5", False, True, True),
        ("m>0.5", False, False, True),
        ("m<=0.5", True, True, False),
        ("m < 0.5", True, False, False),
    ],
)
def test_a_requirement_holds_on_its_side_of_the_bound(
    text: str, below: bool, at: bool, above: bool
) -> None:
    """Each operator means what it says to the last bit, and what is no number reaches nothing."""
    item = parse_requirement(text)
    step = math.ulp(0.5)
    assert [item.holds(x) for x in (0.5 - step, 0.5, 0.5 + step)] == [below, at, above]
    assert not any(item.holds(x) for x in (math.nan, math.inf, -math.inf))


def test_no_regression_holds_up_to_its_tolerance() -> None:
    """A value may be less than the holder's by the tolerance and no more, and both are numbers."""
    rule = NoRegression("m", 0.25)
    assert [rule.holds(x, 0.75) for x in (0.5, 0.75, 1.0)] == [True, True, True]
    assert not rule.holds(math.nextafter(0.5, 0), 0.75)
    for strange in (math.nan, math.inf, -math.inf):
        assert not rule.holds(strange, 0.75)
        assert not rule.holds(0.75, strange)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_requirement_is_written_as_it_is_read(bound: float) -> None:
    """The text of a requirement gives the same requirement again."""
    item = parse_requirement(f" ndcg@10 >= {bound!r} ")
    assert item.bound == bound
    assert parse_requirement(str(item)) == item


def test_one_metric_has_one_name_for_the_rules() -> None:
    """`ndcg@10` and what MLflow makes of it are one metric; other metrics are others."""
    assert same_metric("ndcg@10", "ndcg_10")
    assert not same_metric("ndcg@10", "ndcg@1")
    assert not same_metric("ndcg@10", "cosine_ndcg@10")
    for name in ("ndcg@10", "a b", "x/y:z.w-v_u", "é#", "a\nb"):
        _validate_metric_name(mlflow_metric_name(name))


@given(POLICIES)
def test_a_policy_that_is_written_is_read_again(policy: Policy) -> None:
    """Writing and reading gives an equal policy, with the digest of its text.

    A merged policy may name stages in `from` that it has no more, so all are put in here.
    """
    named = {name for rules in policy.stages.values() for one in rules.from_stages for name in one}
    whole = Policy({**dict.fromkeys(named, StagePolicy()), **policy.stages})
    if any(one == {name} for name, rules in whole.stages.items() for one in rules.from_stages):
        return
    again = read_stored_policy(policy_text(whole), where="w")
    assert again == whole
    assert policy_digest(again) == policy_digest(whole) == digest_bytes(policy_text(whole).encode())
    assert json.loads(policy_text(whole)) == policy_data(whole)


def test_the_digest_is_of_the_meaning_not_of_the_writing() -> None:
    """Order, comments and notation do not change the digest; a rule does."""
    turned = """
    # the same
    [stages.production]
    bypass = ["age", "metrics"]
    reindex = "done"
    approvals = 1
    min_age_hours = 24.0
    base_stages = [["production"]]
    no_regression = [{ metric = "mrr@10", tolerance = 0 }, { metric = "ndcg@10", tolerance = 5e-3 }]
    require = ["accuracy@1<1", "map@100<=1.0", "ndcg@10>=0.7", "mrr@10>0.50"]
    from = ["staging"]
    [stages.staging]
    """
    whole = policy_digest(read_policy(WHOLE, where="w"))
    assert policy_digest(read_policy(turned, where="w")) == whole
    assert policy_digest(read_policy(WHOLE.replace("0.70", "0.71"), where="w")) != whole


@given(POLICIES, POLICIES)
def test_merging_is_the_same_in_either_order(one: Policy, other: Policy) -> None:
    """It does not matter which policy is the file's and which is the model's."""
    assert stricter(one, other) == stricter(other, one)
    assert policy_digest(stricter(one, other)) == policy_digest(stricter(other, one))


@given(POLICIES)
def test_merging_a_policy_with_itself_changes_nothing(policy: Policy) -> None:
    """A policy that is both in the file and on the model holds as it is."""
    assert stricter(policy, policy) == policy


@given(POLICIES, POLICIES, POLICIES)
def test_merging_three_is_the_same_in_any_grouping(one: Policy, two: Policy, three: Policy) -> None:
    """Merging can go on with further sources without an order."""
    assert stricter(stricter(one, two), three) == stricter(one, stricter(two, three))


@pytest.mark.parametrize("key", RULES)
@settings(max_examples=60)
@given(st.data())
def test_merging_asks_for_what_both_ask_for(key: str, data: st.DataObject) -> None:
    """A promotion gets through the merged policy if, and only if, it gets through both."""
    one, other = data.draw(policies_of(key)), data.draw(policies_of(key))
    made = data.draw(promotions(key))
    assert passes(stricter(one, other), made) == (passes(one, made) and passes(other, made))


@settings(max_examples=60)
@given(st.data())
def test_a_bypass_that_one_policy_forbids_is_forbidden(data: st.DataObject) -> None:
    """Rules of both with bypasses of both: what passes them merged passes each of them."""
    keys = st.sampled_from(["min_age_hours", "approvals", "from_stages"])
    key = data.draw(keys)

    def policy() -> Policy:
        rules = {key: data.draw(RULES[key]), "bypass": data.draw(RULES["bypass"])}
        return Policy({"production": StagePolicy(**rules)})

    one, other, made = policy(), policy(), data.draw(promotions(key))
    made = replace(made, bypassed=data.draw(RULES["bypass"]))
    if passes(stricter(one, other), made):
        assert passes(one, made)
        assert passes(other, made)


def test_a_stage_that_one_policy_does_not_know_is_no_stage() -> None:
    """Nothing is promoted to a stage that the file or the model does not name."""
    one = Policy({"staging": StagePolicy(), "production": StagePolicy()})
    other = Policy({"canary": StagePolicy(), "production": StagePolicy()})
    assert list(stricter(one, other).stages) == ["production"]


def test_two_different_bounds_leave_the_harder_one() -> None:
    """Of two bounds on one metric, under either of its names, one remains for each operator."""
    one = Policy(
        {"s": StagePolicy(require=(Requirement("m@1", ">=", 0.5), Requirement("m@1", "<", 0.8)))}
    )
    other = Policy(
        {"s": StagePolicy(require=(Requirement("m_1", ">=", 0.6), Requirement("m@1", "<", 0.9)))}
    )
    kept = stricter(one, other).stages["s"].require
    assert sorted(map(str, kept)) == ["m@1<0.8", "m_1>=0.6"]
    spelled = [
        Policy({"s": StagePolicy(require=(Requirement(m, ">", 1.0),))}) for m in ("m@1", "m_1")
    ]
    assert stricter(*spelled) == stricter(*reversed(spelled))
    rules = [
        Policy({"s": StagePolicy(no_regression=(NoRegression(m, 1.0),))}) for m in ("m@1", "m_1")
    ]
    assert stricter(*rules) == stricter(*reversed(rules))


def test_the_nearest_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A named file comes before the variable, that before the folder, and near before far."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    named, variable = tmp_path / "named.toml", tmp_path / "variable.toml"
    monkeypatch.chdir(inner)
    plain = read_settings({})
    (tmp_path / "pairlock.toml").write_text("[stages.far]")
    assert find_policy_file(plain) == tmp_path / "pairlock.toml"
    (tmp_path / "a" / "pairlock.toml").mkdir()  # a folder is no policy
    assert find_policy_file(plain) == tmp_path / "pairlock.toml"
    (inner / "pairlock.toml").write_text("[stages.near]")
    assert find_policy_file(plain) == inner / "pairlock.toml"
    settings = read_settings({"PAIRLOCK_POLICY": str(variable)})
    assert settings.policy == variable
    assert find_policy_file(settings) == variable
    assert find_policy_file(settings, file=named) == named


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A policy that was named and is not there never means the default."""
    settings = Settings(cache=tmp_path, policy=tmp_path / "gone.toml")
    path = find_policy_file(settings)
    assert path is not None
    with pytest.raises(InvalidInputError) as caught:
        read_policy_file(path)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID
    with pytest.raises(InvalidInputError):
        read_policy_file(tmp_path)


def test_a_link_to_nowhere_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pairlock.toml that leads nowhere is an error, and no other policy is taken for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairlock.toml").symlink_to(tmp_path / "gone")
    path = find_policy_file(read_settings({}))
    assert path == tmp_path / "pairlock.toml"
    with pytest.raises(InvalidInputError):
        read_policy_file(path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A policy behind a loop of links cannot be read, which is said, and is not the default."""
    for one, other in pairwise(["pairlock.toml", "b", "pairlock.toml"]):
        (tmp_path / one).symlink_to(tmp_path / other)
    with pytest.raises(StorageError) as caught:
        read_policy_file(tmp_path / "pairlock.toml")
    assert caught.value.kind is ErrorKind.STORAGE_FAILED


def test_reading_a_policy_imports_no_framework(tmp_path: Path) -> None:
    """`policy check` stays quick: neither MLflow nor torch is imported for it."""
    (tmp_path / "pairlock.toml").write_text(WHOLE)
    script = (
        "import sys; from pairlock.cli.app import app\n"
        "app(['policy', 'check'], standalone_mode=False)\n"
        "print(sorted({'mlflow', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
