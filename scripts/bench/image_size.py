"""What an image with torch weighs against one without: site-packages of both installations.

Builds the wheel, installs `pairlock[torch]` and `pairlock[serve]` into two fresh environments, and
counts what lies there, as `du` does. The first takes the torch build that constraints.txt and your
pip choose: a CUDA build is several times as large as a CPU one.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK_BYTES = 512
"""The unit of `st_blocks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What lies in an environment."""

    distributions: int
    files: int
    apparent_bytes: int
    disk_bytes: int
    largest: tuple[tuple[str, int], ...]
    """The folders that take most, with their bytes on the disk."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--constraints", type=Path, default=ROOT / "constraints.txt")
    constraints: Path = parser.parse_args().constraints
    with tempfile.TemporaryDirectory(prefix="pairlock-size-") as name:
        work = Path(name)
        run(["-m", "build", "--wheel", "--outdir", str(work), str(ROOT)])
        (wheel,) = work.glob("*.whl")
        found = {
            extra: measured(work / extra, f"{wheel}[{extra}]", constraints)
            for extra in ("torch", "serve")
        }
        report(found, torch_build(work / "torch"))


def measured(environment: Path, requirement: str, constraints: Path) -> Size:
    """Install something into a fresh environment, and look at what is there."""
    run(["-m", "venv", str(environment)])
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*command, "--constraint", str(constraints), requirement], python_of(environment))
    return size_of(packages_of(environment))


def size_of(folder: Path) -> Size:
    """Count a folder's files; one that has several names counts once."""
    seen: set[tuple[int, int]] = set()
    parts: dict[str, int] = {}
    files = apparent_bytes = 0
    for path in folder.rglob("*"):
        status = path.lstat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        part = path.relative_to(folder).parts[0].removesuffix(".libs")
        parts[part] = parts.get(part, 0) + status.st_blocks * BLOCK_BYTES
        if path.is_file():
            files += 1
            apparent_bytes += status.st_size
    return Size(
        distributions=len(list(folder.glob("*.dist-info"))),
        files=files,
        apparent_bytes=apparent_bytes,
        disk_bytes=sum(parts.values()),
        largest=tuple(sorted(parts.items(), key=lambda item: -item[1])[:6]),
    )


def report(found: dict[str, Size], torch: str) -> None:
    """Print a table, and what takes most."""
    with_torch, without = found["torch"], found["serve"]
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch}")
    print(f"{'':<24}  {'pairlock[torch]':>15}  {'pairlock[serve]':>15}  {'ratio':>6}")
    rows = (
        ("on disk, MB", with_torch.disk_bytes / 1e6, without.disk_bytes / 1e6),
        ("bytes of files, MB", with_torch.apparent_bytes / 1e6, without.apparent_bytes / 1e6),
        ("files", with_torch.files, without.files),
        ("distributions", with_torch.distributions, without.distributions),
    )
    for name, a, b in rows:
        print(f"{name:<24}  {a:>15,.0f}  {b:>15,.0f}  {b / a:>6.2f}")
    for extra, size in found.items():
        parts = ", ".join(f"{name} {count / 1e6:,.0f}" for name, count in size.largest)
        print(f"largest in pairlock[{extra}], MB: {parts}")


def torch_build(environment: Path) -> str:
    """The version of torch, with its build."""
    program = "from importlib.metadata import version; print(version('torch'))"
    return run(["-c", program], python_of(environment)).strip()


def packages_of(environment: Path) -> Path:
    """Where an environment keeps what is installed."""
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(["-c", program], python_of(environment)).strip())


def python_of(environment: Path) -> str:
    """The interpreter of an environment."""
    return str(environment / "bin" / "python")


def run(arguments: Sequence[str], python: str = sys.executable) -> str:
    """Run Python; what it prints."""
    found = subprocess.run([python, *arguments], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        sys.exit(found.stdout + found.stderr)
    return found.stdout


if __name__ == "__main__":
    main()
