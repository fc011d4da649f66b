"""A program that fetches a made-up view in forked processes: many at once, crippled, or killed.

    python pullers.py < job.json

It prints what came of each process, as a JSON list. A job says:

    cache, uri, records, key   what to fetch, and to where
    processes                  how many processes do it at once; 1
    times                      how often each of them does it; 1
    locking                    whether they wait for each other; true
    flock_lies                 the operating system's lock does nothing
    hanging_after_s            when a holder that does nothing is no longer waited for
    open_files, file_bytes     limits of the operating system
    look                       only look into the cache
    user                       another user's number
    kills                      how many processes are killed while they fetch, before the last one
                               is left alone; `wrong` and `unfinished` say what was found after each
    pause_s                    how long they wait between two times; 0
    rehash                     believe no seal
    die_at_each                die before the first change of the cache; in a new cache before the
                               second; and so on until one is not killed
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import pairlock.cache.locks as locks
from pairlock.cache import ViewKey, ViewKind
from pairlock.config import Settings
from pairlock.digests import FileRecord, hash_file
from pairlock.errors import PairlockError
from pairlock.fetching import Source, fetch, look_up
from pairlock.progress import SILENT
from pairlock.stores.opening import open_store
from support.cached import unfinished, wrong_in

Job = dict[str, Any]
_CHANGES = {
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "os.utime",
    "open",
}


def _work(job: Job) -> dict[str, Any]:
    """Fetch, and look at every byte that came."""
    records = [FileRecord(**record) for record in job["records"]]
    key = ViewKey(ViewKind.MODEL, job["key"])
    settings = Settings(
        cache=Path(job["cache"]), locking=job.get("locking", True), rehash=job.get("rehash", False)
    )
    if job.get("look"):
        proved = look_up(key, records, settings, progress=SILENT)
        return {"hashed_bytes": None if proved is None else proved.hashed_bytes}
    fetched_bytes = 0
    for _ in range(job.get("times", 1)):
        time.sleep(job.get("pause_s", 0))
        source = Source(store=open_store(job["uri"]))
        try:
            found = fetch(key, records, source, settings, progress=SILENT)
        except PairlockError as error:
            return {"error": error.kind, "category": type(error).__name__, "text": str(error)}
        assert found is not None
        fetched_bytes += found.fetched_bytes
        for record in records:
            try:
                sha256 = hash_file(found.proved.store.local_path(record.path))
            except FileNotFoundError:
                continue  # pruned or replaced meanwhile
            if sha256 != record.sha256:
                return {"error": "other-bytes", "text": record.path}
    return {"fetched_bytes": fetched_bytes}


def _cripple(job: Job) -> None:
    """Make this process as the job says."""
    if job.get("flock_lies"):
        fcntl.flock = lambda *_: None
    if "hanging_after_s" in job:
        locks.HANGING_AFTER_S = job["hanging_after_s"]
    if "open_files" in job:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (job["open_files"], hard))
    if "file_bytes" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_bytes"], job["file_bytes"]))
    if "user" in job:
        os.setgroups([])
        os.setegid(job["user"])
        os.seteuid(job["user"])
    if "die_at" in job:
        _die_at(job["die_at"], job["cache"])


def _die_at(number: int, cache: str) -> None:
    left = number

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _CHANGES or not any(str(one).startswith(cache) for one in arguments):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _fork(job: Job) -> tuple[int, int]:
    """Start a process; returns its number, and where its answer will be."""
    reader, writer = os.pipe()
    number = os.fork()
    if number:
        os.close(writer)
        return number, reader
    os.close(reader)
    try:
        _cripple(job)
        answer = _work(job)
    except BaseException as error:  # noqa: BLE001 - a forked process must not return
        answer = {"error": "defect", "text": f"{type(error).__name__}: {error}"}
    os.write(writer, json.dumps(answer).encode())
    os._exit(0)


def _answer(number: int, reader: int) -> dict[str, Any]:
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
    return json.loads(said) if said else {"error": "killed", "status": status}


def _kill_many(job: Job) -> list[dict[str, Any]]:
    """Kill processes at moments that are spread over a whole fetch, and look at what they leave."""
    cache = Path(job["cache"])
    moments = random.Random(7)
    began = time.monotonic()
    # how long one takes that is left alone, in another cache
    _answer(*_fork({**job, "cache": f"{cache}-undisturbed"}))
    longest = time.monotonic() - began
    found = []
    for number in range(job["kills"]):
        process, reader = _fork(job)
        # every one has the same chance to be killed late, when most is there
        time.sleep(moments.random() * longest)
        os.kill(process, signal.SIGKILL)
        answer = _answer(process, reader)
        done = "error" not in answer
        found.append({"done": done, "wrong": wrong_in(cache), "unfinished": len(unfinished(cache))})
        if done or number % 10 == 9:
            _forget(cache, job)
    _answer(*_fork(job))
    found.append(_answer(*_fork(job)))
    found[-1] |= {"wrong": wrong_in(cache), "unfinished": len(unfinished(cache))}
    return found


def _die_at_each(job: Job) -> list[dict[str, Any]]:
    """Kill processes before every single change of the cache, and look at what they leave."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["killed"]:
        cache = Path(f"{job['cache']}-{len(found)}")
        here = {**job, "cache": str(cache)}
        answer = _answer(*_fork({**here, "die_at": len(found) + 1}))
        one = {"killed": "error" in answer, "wrong": wrong_in(cache)}
        one["next"] = _answer(*_fork(here))
        one["wrong"] += wrong_in(cache)
        left = [path for path in unfinished(cache) if path.name.endswith(".partial")]
        # a second name of a blob takes no space
        sizes = [path.stat().st_size for path in left if path.stat().st_nlink == 1]
        one |= {"left": len(left), "left_bytes": sum(sizes)}
        found.append(one)
    return found


def _forget(cache: Path, job: Job) -> None:
    """Take away what a fetch brought, and leave what others left unfinished."""
    import shutil

    shutil.rmtree(cache / "views", ignore_errors=True)
    shutil.rmtree(cache / "blobs", ignore_errors=True)
    for name in ("views", "blobs"):
        (cache / name).mkdir(exist_ok=True)


def main() -> None:
    """Do a job."""
    job: Job = json.load(sys.stdin)
    import boto3  # noqa: F401 - before forking, so that the processes meet where they work
    import filelock  # noqa: F401

    if "kills" in job:
        print(json.dumps(_kill_many(job)))
        return
    if "die_at_each" in job:
        print(json.dumps(_die_at_each(job)))
        return
    started = [_fork(job) for _ in range(job.get("processes", 1))]
    print(json.dumps([_answer(*one) for one in started]))


if __name__ == "__main__":
    main()
