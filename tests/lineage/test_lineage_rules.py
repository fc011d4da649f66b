"""What stands on what, what breaks, and how it is drawn; all of inventories written by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from pairlock.errors import ErrorKind, Finding, InvalidInputError, NotFoundError
from pairlock.index import StampedIndex
from pairlock.inventory import Inventory, PackageState
from pairlock.manifest import BaseOrigin
from pairlock.plain_text import columns_of, printable, wrapped
from pairlock.standing.building import build_graph
from pairlock.standing.drawing import draw_down, draw_up
from pairlock.standing.graph import By, Condition, EdgeKind, Graph
from pairlock.standing.losing import Loss, what_breaks
from pairlock.standing.mermaid import escaped, flowchart
from pairlock.standing.targets import find_roots
from pairlock.standing.walking import Branch, what_it_stands_on, what_stands_on, worst
from support.lineages import index, inventory, lost, pin, sha, version

BASE = version("models:/base/1", "base")
ON_BASE = pin("models:/base/1", "base")
ONE = version("models:/one/1", "one", ON_BASE)
TWO = version("models:/two/1", "two", ON_BASE)
STAGES = {"models:/one@production": (1, "one"), "models:/base@staging": (1, "base")}
HOSTILE = (
    'a"]; click b "javascript:alert(1)"\n  end\n<img src=x onerror=alert(1)> `x` #quot; %%{init}%%'
)


def graph(found: Inventory, *indexes: StampedIndex, gone: Sequence[str] = ()) -> Graph:
    """The graph of an inventory."""
    return build_graph(found, indexes, gone=gone)


def tree(branch: Branch) -> Any:
    """A tree as nested lists of ids."""
    return [branch.node.id, *[tree(one) for one in branch.branches]]


def ups(found: Graph, root: str) -> Any:
    """What a node stands on."""
    return tree(what_it_stands_on(found, root))


def downs(found: Graph, root: str) -> Any:
    """What stands on a node."""
    return tree(what_stands_on(found, root))


def loss(found: Graph, *roots: str) -> Loss:
    """What breaks without some nodes."""
    return what_breaks(found, roots)


def test_everything_that_stands_on_a_base_hangs_on_it() -> None:
    """Adapters, their stages and their indexes hang on the base, and the base's own beside them."""
    found = graph(
        inventory(BASE, ONE, TWO, stages=STAGES, aliases={"models:/two@blue": 1}),
        index("storage", "models:/one/1", "one", "models:/base/1"),
        index("plain", "models:/base/1", "base"),
    )
    assert downs(found, "models:/base/1") == [
        "models:/base/1",
        ["models:/base@staging"],
        ["index:plain"],
        ["models:/one/1", ["models:/one@production"], ["index:storage"]],
        ["models:/two/1", ["models:/two@blue"]],
    ]
    assert ups(found, "index:storage") == ["index:storage", ["models:/one/1", ["models:/base/1"]]]


def test_a_copy_of_the_base_is_the_base() -> None:
    """What is pinned to one name of a package stands on every version that is this package."""
    copy = version("models:/other/7", "base")
    found = graph(inventory(BASE, copy, ONE, stages=STAGES))
    assert downs(found, "models:/other/7") == [
        "models:/other/7",
        ["models:/one/1", ["models:/one@production"]],
    ]
    assert found.same("models:/other/7") == ("models:/base/1", "models:/other/7")


def test_a_base_that_is_gone_by_name_is_found_by_its_content() -> None:
    """The tree leads to the copy and says so; nothing is missing, as a load finds it, too."""
    copy = version("models:/other/7", "base")
    found = graph(inventory(copy, ONE))
    above = what_it_stands_on(found, "models:/one/1")
    (step,) = above.branches
    assert (step.node.id, step.edge and step.edge.by) == ("models:/other/7", By.CONTENT)
    assert worst(above) is Condition.SOUND
    words = draw_up(found, [above])
    assert "models:/base/1 is gone" in words
    assert "found by its content" in words


@pytest.mark.parametrize(
    "taken",
    [version("models:/base/1", "something else"), lost("models:/base/1", "base")],
    ids=["another package", "bytes gone"],
)
def test_a_name_that_leads_elsewhere_is_passed_over_for_a_copy(taken: Any) -> None:
    """A pinned name that holds other bytes, or none, is no base while a copy is there."""
    copy = version("models:/other/7", "base")
    found = graph(inventory(taken, copy, ONE))
    assert ups(found, "models:/one/1") == ["models:/one/1", ["models:/other/7"]]
    without = graph(inventory(taken, ONE))
    assert worst(what_it_stands_on(without, "models:/one/1")).is_bad


def test_a_copy_that_a_load_does_not_find_is_none() -> None:
    """A copy without its digest tag, or whose bytes changed, does not stand in for a base."""
    damaged = Finding(kind=ErrorKind.FILE_SIZE, place="w", expected="1", found="2")
    for copy in (
        version("models:/other/7", "base", tags={}),
        version("models:/other/7", "base", findings=(damaged,)),
        version("models:/other/7", "base", state="failed_registration"),
    ):
        above = what_it_stands_on(graph(inventory(copy, ONE)), "models:/one/1")
        assert worst(above) is Condition.MISSING, copy


@pytest.mark.parametrize(
    ("there", "condition"),
    [
        (None, Condition.MISSING),
        (lost("models:/base/1", "base"), Condition.MISSING),
        (version("models:/base/1", "new"), Condition.CHANGED),
        (version("models:/base/1", "new", tags=BASE.tags), Condition.CHANGED),
        (lost("models:/base/1", "base", PackageState.UNREACHABLE), Condition.UNKNOWN),
        (lost("models:/base/1", "base", PackageState.UNREADABLE), Condition.UNKNOWN),
        (version("models:/base/1", "base", state="archived"), Condition.SOUND),
        (BASE, Condition.SOUND),
    ],
)
def test_what_is_wrong_with_a_base_is_said(there: Any, condition: Condition) -> None:
    """Missing, changed and unknown are three things, and whatever else is sound."""
    found = graph(inventory(*filter(None, [there]), ONE))
    above = what_it_stands_on(found, "models:/one/1")
    assert worst(above) is condition
    assert (condition.value.upper() in draw_up(found, [above])) is (
        condition is not Condition.SOUND
    )


def test_what_was_not_read_is_not_missing() -> None:
    """A registry that was not read to its end says nothing of a base that was not met."""
    for base in (ON_BASE, pin("models:/base/1", "base", BaseOrigin.MLFLOW)):
        part = inventory(version("models:/one/1", "one", base), complete=False, problem="stopped")
        assert worst(what_it_stands_on(graph(part), "models:/one/1")) is Condition.UNKNOWN


def test_bases_outside_are_nodes_by_their_content() -> None:
    """Two folders of the same files are one base, and a folder that is gone is so by its name."""
    first, second = (pin(f"/data/{name}", "x", BaseOrigin.FOLDER) for name in ("a", "b"))
    versions = [version("models:/one/1", "one", first), version("models:/two/1", "two", second)]
    node = f"base:{sha('tree of x')}"
    found = graph(inventory(*versions), gone=["/data/a"])
    assert downs(found, node) == [node, ["models:/one/1"], ["models:/two/1"]]
    assert worst(what_it_stands_on(found, "models:/one/1")) is Condition.MISSING
    assert worst(what_it_stands_on(found, "models:/two/1")) is Condition.SOUND
    both = graph(inventory(*versions), gone=["/data/a", "/data/b"])
    assert both.nodes[node].condition is Condition.MISSING
    neither = graph(inventory(*versions))
    assert neither.nodes[node].condition is Condition.OUTSIDE


def test_a_folder_of_the_same_files_hangs_on_the_version() -> None:
    """Asked about a version, what is pinned to a folder with its files is there, too."""
    folder = pin("/data/a", "base", BaseOrigin.FOLDER)
    found = graph(inventory(BASE, ONE, version("models:/two/1", "two", folder)))
    assert downs(found, "models:/base/1") == [
        "models:/base/1",
        ["models:/one/1"],
        ["models:/two/1"],
    ]
    assert loss(found, "models:/base/1").versions == ("models:/one/1",)


def test_a_base_of_another_flavor_is_found_by_its_name() -> None:
    """A version without a package digest is a base by its name, or is missing."""
    pinned = version("models:/one/1", "one", pin("models:/raw/2", "raw", BaseOrigin.MLFLOW))
    raw = version("models:/raw/2", "raw", package=None, package_state=PackageState.FOREIGN, tags={})
    assert ups(graph(inventory(raw, pinned)), "models:/one/1") == [
        "models:/one/1",
        ["models:/raw/2"],
    ]
    alone = graph(inventory(pinned))
    assert worst(what_it_stands_on(alone, "models:/one/1")) is Condition.MISSING
    assert find_roots(alone, inventory(pinned), "models:/raw/2")


def test_tags_say_what_an_unread_version_is_pinned_to() -> None:
    """The base of a version whose package cannot be read is known by its tags."""
    tags = {
        "pairlock.base.uri": "models:/base/1",
        "pairlock.base.origin": "package",
        "pairlock.base.tree_digest": ON_BASE.tree_digest,
        "pairlock.base.package_digest": sha("base"),
    }
    unread = version(
        "models:/one/1", "one", package=None, package_state=PackageState.UNREACHABLE, tags=tags
    )
    found = graph(inventory(BASE, unread))
    assert ups(found, "models:/one/1") == ["models:/one/1", ["models:/base/1"]]
    broken = version(
        "models:/one/1",
        "one",
        package=None,
        package_state=PackageState.UNREACHABLE,
        tags={**tags, "pairlock.base.origin": "the moon"},
    )
    assert ups(graph(inventory(BASE, broken)), "models:/one/1") == ["models:/one/1"]


def test_a_circle_ends_and_is_said() -> None:
    """Versions that were made to stand on each other end a walk, and nobody's vectors are right."""
    around = inventory(
        version("models:/one/1", "one", pin("models:/two/1", "two")),
        version("models:/two/1", "two", pin("models:/one/1", "one")),
        version("models:/own/1", "own", pin("models:/own/1", "own")),
    )
    found = graph(around)
    for root in ("models:/one/1", "models:/own/1"):
        above, below = what_it_stands_on(found, root), what_stands_on(found, root)
        assert any(one.cycle for one in above.walk())
        assert any(one.cycle for one in below.walk())
        assert worst(above) is Condition.CHANGED
        assert "stands on itself" in draw_down(found, below)


def test_what_stands_on_itself_is_lost_once() -> None:
    """What breaks without one of two versions that stand on each other is the other."""
    found = graph(
        inventory(
            version("models:/one/1", "one", pin("models:/two/1", "two")),
            version("models:/two/1", "two", pin("models:/one/1", "one")),
        )
    )
    assert loss(found, "models:/one/1").versions == ("models:/two/1",)


def test_a_chain_without_end_is_walked_to_a_depth() -> None:
    """Three thousand versions that each stand on the one before end neither the walk nor Python."""
    chain = [BASE, version("models:/c/1", "c1", ON_BASE)]
    chain += [
        version(f"models:/c/{n}", f"c{n}", pin(f"models:/c/{n - 1}", f"c{n - 1}"))
        for n in range(2, 3000)
    ]
    found = graph(inventory(*chain))
    deep = list(what_stands_on(found, "models:/base/1").walk())
    assert len(deep) == 51
    assert deep[-1].cut == 1
    assert len(loss(found, "models:/base/1").versions) == 2999


def test_the_depth_leaves_out_and_counts() -> None:
    """One step shows what hangs on the root, and how much more hangs on that."""
    found = graph(inventory(BASE, ONE, TWO, stages=STAGES))
    one = what_stands_on(found, "models:/base/1", depth=1)
    assert [(branch.node.id, branch.cut) for branch in one.branches] == [
        ("models:/base@staging", 0),
        ("models:/one/1", 1),
        ("models:/two/1", 0),
    ]
    assert "1 more" in draw_down(found, one)


def test_a_stage_whose_version_is_gone_is_there() -> None:
    """What holds a stage by the ledger is a node, also when it was deleted or made again."""
    for there in ((), (version("models:/one/2", "another"),)):
        found = graph(inventory(BASE, TWO, version("models:/one/3", "three"), *there, stages={
            "models:/one@production": (2, "lost")}))  # fmt: skip
        (held,) = [edge.target for edge in found.edges if edge.source == "models:/one@production"]
        wanted = Condition.CHANGED if there else Condition.MISSING
        assert found.nodes[held].condition is wanted
        assert found.nodes[held].title == "models:/one/2"


def test_an_alias_that_was_moved_is_noted_on_the_stage() -> None:
    """The stage is the ledger's, with a note of what MLflow's alias says."""
    found = graph(
        inventory(
            ONE,
            version("models:/one/2", "2"),
            stages={"models:/one@production": (1, "one")},
            aliases={"models:/one@production": 2},
        )
    )
    assert found.nodes["models:/one@production"].notes
    assert downs(found, "models:/one/1") == ["models:/one/1", ["models:/one@production"]]


def test_an_index_of_a_version_that_is_gone_still_stands_on_its_base() -> None:
    """A stamp alone says what was built with what, when the version is deleted."""
    found = graph(inventory(BASE), index("storage", "models:/one/1", "one", "models:/base/1"))
    assert [one.node.kind for one in what_stands_on(found, "models:/base/1").walk()] == [
        "version",
        "version",
        "index",
    ]
    assert loss(found, "models:/base/1").indexes == ("storage",)


def test_what_breaks_is_counted_and_named() -> None:
    """Adapters, versions, stages and indexes that go with a base, and no others."""
    found = graph(
        inventory(
            BASE,
            ONE,
            version("models:/one/2", "one-2", ON_BASE),
            TWO,
            version("models:/far/1", "far", pin("/data/x", "x", BaseOrigin.FOLDER)),
            stages={**STAGES, "models:/far@production": (1, "far")},
            aliases={"models:/two@blue": 1},
        ),
        index("storage", "models:/one/1", "one"),
        index("elsewhere", "models:/far/1", "far"),
    )
    broken = loss(found, "models:/base/1")
    assert broken.versions == ("models:/one/1", "models:/one/2", "models:/two/1")
    assert broken.adapters == ("one", "two")
    assert broken.stages == ("models:/one@production",)
    assert broken.aliases == ("models:/two@blue",)
    assert broken.own_stages == ("models:/base@staging",)
    assert broken.indexes == ("storage",)
    assert (broken.kept, broken.instead) == ((), ())
    sentence = broken.sentence()
    for words in ("2 adapters (3 versions)", "1 of these in stages (one@production)",
                  "two@blue", "base@staging", "1 index was built"):  # fmt: skip
        assert words in sentence


def test_what_is_kept_by_a_copy_does_not_break() -> None:
    """Without one of two copies nothing breaks, and the sentence names the other."""
    copy = version("models:/other/7", "base")
    found = graph(inventory(BASE, copy, ONE))
    kept = loss(found, "models:/base/1")
    assert (kept.versions, kept.kept) == ((), ("models:/one/1",))
    assert "models:/other/7" in kept.sentence()
    both = loss(found, "models:/base/1", "models:/other/7")
    assert (both.versions, both.kept) == (("models:/one/1",), ())


def test_a_name_that_is_gone_breaks_nothing_while_its_content_is_there() -> None:
    """Asked about by its old name, a base is gone, and what stood on it is found to be kept."""
    everything = inventory(
        version("models:/other/7", "base"), ONE, stages={"models:/one@production": (1, "one")}
    )
    found = graph(everything, index("storage", "models:/base/1", "base"))
    (root,) = find_roots(found, everything, "models:/base/1")
    assert found.nodes[root].condition is Condition.MISSING
    assert [one.node.id for one in what_stands_on(found, root).walk()] == [
        root,
        "index:storage",
        "models:/one/1",
        "models:/one@production",
    ]
    kept = loss(found, root)
    assert (kept.versions, kept.kept, kept.instead) == (
        (),
        ("models:/one/1",),
        ("models:/other/7",),
    )
    assert kept.already


def test_what_broke_already_is_said_so() -> None:
    """A base that is gone can be asked about, and the sentence is of what was."""
    everything = inventory(ONE, TWO, stages={"models:/one@production": (1, "one")})
    found = graph(everything)
    roots = find_roots(found, everything, "models:/base/1")
    broken = loss(found, *roots)
    assert broken.already
    assert broken.versions == ("models:/one/1", "models:/two/1")
    assert broken.sentence().startswith("models:/base/1 is gone")


M_ID = "m-" + "a" * 32


@pytest.mark.parametrize(
    ("target", "roots"),
    [
        ("models:/one", ["models:/one/1", "models:/one/2"]),
        ("models:/one/2", ["models:/one/2"]),
        ("models:/one@production", ["models:/one/1"]),
        ("models:/one/Staging", ["models:/one/2"]),
        (f"models:/{M_ID}", ["models:/one/2"]),
        (sha("base")[:15], ["models:/base/1"]),
        (sha("base").removeprefix("sha256:")[:10], ["models:/base/1"]),
        (f"hf://org/name@{'a' * 40}", [f"base:{sha('tree of hub')}"]),
        (sha("tree of hub"), [f"base:{sha('tree of hub')}"]),
        ("models:/old/3", [f"package:models:/old/3@{sha('base')}"]),
    ],
)
def test_everything_can_be_named(target: str, roots: list[str]) -> None:
    """Names, versions, aliases, stages, logged models, bases, digests, and names of the past."""
    hub = pin(f"hf://org/name@{'a' * 40}", "hub", BaseOrigin.HUB)
    everything = inventory(
        BASE,
        ONE,
        version("models:/one/2", "one-2", hub, legacy_stage="staging", model_id=M_ID),
        version("models:/two/1", "two", pin("models:/old/3", "base")),
        stages=STAGES,
    )
    assert list(find_roots(graph(everything), everything, target)) == roots


def test_a_folder_can_be_named_by_a_relative_path(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder is the one that the working directory makes of it."""
    monkeypatch.chdir(tmp_path)
    folder = pin(str(tmp_path / "base"), "x", BaseOrigin.FOLDER)
    everything = inventory(version("models:/one/1", "one", folder))
    assert find_roots(graph(everything), everything, "base") == (f"base:{sha('tree of x')}",)


def test_a_name_that_led_to_other_bytes_is_both() -> None:
    """Asked about a name that was taken again, what it was is there beside what it is."""
    everything = inventory(version("models:/base/1", "new"), ONE)
    found = graph(everything)
    roots = find_roots(found, everything, "models:/base/1")
    assert [found.nodes[root].condition for root in roots] == [
        Condition.SOUND,
        Condition.CHANGED,
    ]
    assert loss(found, *roots).versions == ("models:/one/1",)


@pytest.mark.parametrize(
    ("target", "category", "kind"),
    [
        ("models:/nobody", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("models:/one/9", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("models:/one@nothing", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("models:/one/Archived", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("sha256:0000", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("/data/nowhere", NotFoundError, ErrorKind.MODEL_NOT_FOUND),
        ("models:", InvalidInputError, ErrorKind.REFERENCE_INVALID),
        ("models:/one@latest", InvalidInputError, ErrorKind.REFERENCE_INVALID),
        ("", InvalidInputError, ErrorKind.REFERENCE_INVALID),
        ("sha256:12", InvalidInputError, ErrorKind.REFERENCE_INVALID),
    ],
)
def test_what_is_nowhere_is_an_error(target: str, category: Any, kind: ErrorKind) -> None:
    """What nobody registered or stands on is not found, and nonsense is refused."""
    everything = inventory(BASE, ONE)
    with pytest.raises(category) as caught:
        find_roots(graph(everything), everything, target)
    assert caught.value.kind is kind


def test_the_beginning_of_several_digests_is_refused() -> None:
    """A digest has to be written as far as it is only one."""
    many = inventory(*(version(f"models:/m/{n}", f"content {n}") for n in range(1, 1000)))
    starts: dict[str, int] = {}
    for one in many.versions():
        assert one.package is not None
        starts[one.package.digest[:11]] = starts.get(one.package.digest[:11], 0) + 1
    target = next((start for start, count in starts.items() if count > 1), None)
    assert target is not None
    with pytest.raises(InvalidInputError) as caught:
        find_roots(graph(many), many, target)
    assert caught.value.kind is ErrorKind.ARGUMENT_INVALID


def test_the_tree_is_drawn_in_words() -> None:
    """The whole drawing of a small registry, to the letter."""
    found = graph(
        inventory(BASE, ONE, lost("models:/one/2", "one-2"), TWO, stages=STAGES,
                  aliases={"models:/two@blue": 1}),
        index("storage", "models:/one/1", "one"),
    )  # fmt: skip
    assert draw_down(found, what_stands_on(found, "models:/base/1")) == (
        "├── stage staging\n"
        "├── one: 1 version\n"
        "│   └── version 1  linear\n"
        "│       ├── stage production\n"
        "│       └── index storage  stamped 2026-01-02T03:04:05+00:00\n"
        "└── two: 1 version\n"
        "    └── version 1  linear\n"
        "        └── blue, an alias, no stage"
    )
    assert draw_up(found, [what_it_stands_on(found, "models:/one/1")]) == (
        "models:/one/1  linear\n└── models:/base/1  full; in staging"
    )


def test_no_line_is_wider_than_80_columns_and_no_name_acts_on_the_terminal() -> None:
    """Names with control characters, of any width and length, stay within their lines."""
    name = "\x1b[2J" + "漢字" * 60 + "\u202e" + "x" * 100
    found = graph(
        inventory(
            BASE,
            version(f"models:/{name}/1", "one", ON_BASE),
            version("models:/far/1", "far", pin(f"models:/{'y' * 150}/1", "gone")),
            aliases={f"models:/{name}@{name}": 1},
        ),
        index(name, f"models:/{name}/1", "one"),
    )
    drawn = draw_down(found, what_stands_on(found, "models:/base/1"))
    drawn += "\n" + draw_up(found, [what_it_stands_on(found, "models:/far/1")])
    assert max(map(columns_of, drawn.split("\n"))) <= 80
    assert all(line.isprintable() for line in drawn.split("\n"))
    assert "漢字" in drawn


def test_the_graph_is_the_same_whatever_the_order() -> None:
    """Nodes, edges and trees do not depend on the order in which indexes are named."""
    everything = inventory(BASE, version("models:/b/1", "base"), ONE, TWO, stages=STAGES)
    pair = [index("a", "models:/one/1", "one"), index("b", "models:/two/1", "two")]
    one, other = graph(everything, *pair), graph(everything, *reversed(pair))
    assert one.edges == other.edges
    assert list(one.nodes) == list(other.nodes)


def test_edges_are_as_many_as_what_they_link() -> None:
    """A hundred copies of a base and a hundred adapters give two hundred edges."""
    copies = [version(f"models:/base/{n}", "base") for n in range(1, 101)]
    adapters = [version(f"models:/a/{n}", f"a{n}", ON_BASE) for n in range(1, 101)]
    found = graph(inventory(*copies, *adapters))
    kinds = [edge.kind for edge in found.edges]
    assert kinds.count(EdgeKind.STANDS_ON) == 100
    assert kinds.count(EdgeKind.SAME_PACKAGE) == 99
    assert len(what_stands_on(found, "models:/base/77").branches) == 100


def chart(found: Graph) -> str:
    """The flowchart of a whole graph."""
    return flowchart(list(found.nodes.values()), found.edges)


def test_the_flowchart_has_every_node_and_edge_once() -> None:
    """One line for each node and edge, and what is bad has a class and words."""
    found = graph(
        inventory(BASE, ONE, version("models:/two/1", "two", pin("models:/lost/1", "lost")),
                  stages=STAGES),
        index("storage", "models:/one/1", "one"),
    )  # fmt: skip
    lines = chart(found).splitlines()
    assert lines[0] == "flowchart TD"
    assert len(lines) == 2 + len(found.nodes) + len(found.edges)
    (bad,) = [line for line in lines if line.endswith(":::bad")]
    assert "MISSING" in bad
    assert sum("-->|stands on|" in line for line in lines) == 2
    assert sum("-.->|built with|" in line for line in lines) == 1


_ID = r"  n[0-9a-f]{12}"
_LABEL = r'''"[^"<>`\[\]{}()|\\\n%;&]*"'''
_NODE = rf"{_ID}(\[{_LABEL}\]|\[\({_LABEL}\)\]|\(\[{_LABEL}\]\)|\[\[{_LABEL}\]\])(:::bad)?"
_EDGE = rf"{_ID} (--(>|-)|-\.->)\|(stands on|holds|built with|same package)\|{_ID[1:]}"
_LINE = re.compile(rf"flowchart TD|  classDef bad [\w:#,-]+|{_NODE}|{_EDGE}")


@pytest.mark.parametrize("name", [HOSTILE, "end", "\u2028\x85a\r\nb", "🎉\u202e", "a\ud800"])
def test_no_name_breaks_out_of_its_label(name: str) -> None:
    """Whatever a name is, every line is one node or one edge, and holds no markup."""
    found = graph(
        inventory(
            BASE,
            version(f"models:/{name}/1", "one", ON_BASE),
            version("models:/two/1", "two", pin(name, "x", BaseOrigin.FOLDER)),
            aliases={f"models:/{name}@{name}": 1},
        ),
        index(name, f"models:/{name}/1", "one"),
    )
    text = chart(found)
    lines = text.split("\n")
    assert len(lines) == 2 + len(found.nodes) + len(found.edges)
    for line in lines:
        assert _LINE.fullmatch(re.sub(r"#\d+;", "", line)), line


def test_escapes_are_the_numbers_of_the_characters() -> None:
    """A label says the name when Mermaid has read the numbers back."""
    text = escaped(HOSTILE)
    back = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)
    assert back == " ".join(HOSTILE.split())
    assert escaped("models:/münchen/3 @v") == "models:/münchen/3 @v"


def test_plain_text_is_measured_as_it_looks() -> None:
    """Wide characters take two columns, combining ones none; words break where they must."""
    assert columns_of("漢a\u0301") == 3
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("漢字漢字", 5) == ["漢字", "漢字"]
    assert printable("a\x1b\n") == "a\\x1b\\n"
