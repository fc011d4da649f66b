"""What an installation with the serve extra does, in processes from which torch is taken away.

scripts/check_wheel does the same in an environment that never had it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pairlock

GONE = (
    "torch",
    "transformers",
    "sentence_transformers",
    "mlflow",
    "peft",
    "onnx",
    "onnx_ir",
    "onnxscript",
    "huggingface_hub",
)


@pytest.fixture(scope="module")
def packages(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, linear_adapter: Path
) -> Path:
    """`full` and `linear` with graphs, `bare` without one."""
    import pairlock_flavors.embedding as flavor

    folder = tmp_path_factory.mktemp("packages")
    base = str(folder / "full")
    flavor.save_model(str(tiny_model), base, runtimes=("torch", "onnx"))
    flavor.save_model(str(linear_adapter), folder / "linear", base=base, runtimes=("torch", "onnx"))
    flavor.save_model(str(tiny_model), folder / "bare", runtimes=("torch",))
    return folder


def without(program: str, folder: Path, *gone: str) -> str:
    """Run a program in a process that finds none of some packages; what it prints."""
    lines = [
        "import sys",
        f"sys.modules.update(dict.fromkeys({gone or GONE!r}))",
        "import pairlock",
        program,
    ]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
    }
    found = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


def refused(call: str, folder: Path, *gone: str) -> list[str]:
    """The kind and the hint of the error that a call ends in."""
    program = (
        f"try: {call}\n"
        "except pairlock.PairlockError as error: print(error.kind.value, error.hint, sep='\\n')"
    )
    return without(program, folder, *gone).splitlines()


@pytest.mark.parametrize("interface", ["callable", "llama_index"])
def test_auto_means_onnx_where_torch_is_not(packages: Path, interface: str) -> None:
    """Where torch is not installed a load computes by onnxruntime, and the golden vectors agree."""
    program = (
        f"for name, base in (('full', None), ('linear', 'full')):\n"
        f"    found = pairlock.load(name, interface={interface!r}, base=base, golden=True)\n"
        f"    print(pairlock.receipt(found).runtime)"
    )
    assert without(program, packages).split() == ["onnx", "onnx"]


def test_verify_recomputes_golden_vectors_by_the_graph(packages: Path) -> None:
    """Without torch verify computes the golden vectors by onnxruntime, and passes."""
    program = (
        "found = pairlock.verify('linear', base='full')\n"
        "print(found.passed, *[f'{one.name}:{one.outcome.value}' for one in found.checks], sep=',')"
    )
    assert without(program, packages) == "True,package:passed,base:passed,golden vectors:passed"


@pytest.mark.parametrize(
    "call",
    [
        "pairlock.load('bare')",
        "pairlock.verify('bare')",
        "pairlock.log_model('bare', registered_model_name='x')",
        "pairlock.promote('x', 1, to='production')",
        "pairlock.rollback('x', stage='production')",
        "pairlock.history('x')",
        "pairlock.audit()",
        "pairlock.lineage('models:/x/1')",
        "pairlock.profile('full')",
        "pairlock.load('linear', base='hf://a/b@' + '0' * 40)",
    ],
)
def test_what_needs_the_torch_extra_says_so(packages: Path, call: str) -> None:
    """Whatever the serve extra cannot do is refused, and the hint installs what can."""
    kind, hint = refused(call, packages)
    assert kind == pairlock.ErrorKind.LIBRARY_MISSING
    assert "pip install 'pairlock[torch]'" in hint


def test_a_plain_installation_loads_nothing_and_says_why(packages: Path) -> None:
    """Without either extra a load names the one that brings what the wished runtime needs."""
    gone = (*GONE, "onnxruntime", "tokenizers", "llama_index")
    for wished, extra in ((None, "torch"), ("onnx", "serve")):
        kind, hint = refused(f"pairlock.load('full', runtime={wished!r})", packages, *gone)
        assert kind == pairlock.ErrorKind.LIBRARY_MISSING
        assert f"pairlock[{extra}]" in hint


def test_a_plain_installation_proves_bytes(packages: Path) -> None:
    """Without either extra the bytes of a package are proved all the same."""
    gone = (*GONE, "onnxruntime", "tokenizers", "llama_index")
    program = "print(pairlock.verify('full', golden=False).passed)"
    assert without(program, packages, *gone) == "True"


def test_the_command_line_says_it_too(packages: Path) -> None:
    """A command that meets a missing library ends with exit status 3, and with no traceback."""
    program = (
        "import sys; sys.argv = ['pairlock', 'policy', 'show', 'x']\n"
        "from pairlock.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)"
    )
    assert without(program, packages) == "3"
