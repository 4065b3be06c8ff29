"""Runs `keras-retina` on thousands of hostile inputs and counts what it does with them.

    python benchmarks/hostile/fuzz.py --out OUT [--inputs 20000] [--seed 0] [--workers 2] [--surfaces coco recipe ...]

Without `--surfaces` it takes all but those that train (`fuzz_training`). An input of these costs seconds, so they are
run by name, by the hundred: `--surfaces training training_data resuming compressing`. The same command again goes on
where it stopped. Input `i` is made by surface `i % surfaces` from the numbers of `(seed, i)` alone, so `--only i`
repeats one and shows what it prints. TensorFlow and both packages are imported once; each input is run in a fork of
that process, with what it prints in a file. It counts as

- refused: exit status 2 and one line; accepted: 0, or 1, which is what a failed check exits with;
- traceback: a Python error instead of a line, or another exit status;
- hang: over 10 seconds of processor time, or over 60 in all, since a machine may be busy (those that train: 120, 600);
- blow-up: over 1 GiB of memory more than at its start (those that train: 2); death: a signal ended it;
- raw: a control character or a line of more than 2,500 letters reached the terminal.

What is not refused or accepted is kept in OUT/<outcome>/<surface>-<i>, and the smallest of each kind is named.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import fuzz_files
import fuzz_text
import fuzz_training
import numpy as np
from fuzz_results import GOOD, Limits, Result, read_results, table, told

Surface = Callable[[np.random.Generator, Path], list[str]]

ADDRESSES = 16 << 30  # bytes more than at the start: NumPy's own refusal comes before the machine is full
ENCODINGS = ("utf-8", "utf-8", "utf-8", "cp1252")  # of the terminal


def all_surfaces() -> dict[str, Surface]:
    """Returns every surface by its name, those that train last."""
    return fuzz_text.surfaces() | fuzz_files.surfaces() | fuzz_training.surfaces()


def chosen(names: list[str]) -> dict[str, Surface]:
    """Returns the named surfaces, or all but those that train."""
    named = names or [name for name in all_surfaces() if name not in fuzz_training.surfaces()]
    return {name: one for name, one in all_surfaces().items() if name in named}


def main() -> None:
    """Reads the command line, makes the missing results and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--surfaces", nargs="+", choices=all_surfaces(), default=[])
    parser.add_argument("--only", type=int, help="Repeat one input and show it.")
    options = parser.parse_args()
    surfaces = chosen(options.surfaces)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    _same_settings(out / "settings.json", {"seed": options.seed, "surfaces": list(surfaces)})
    preload()
    if options.only is not None:
        result, shown = run_input(options.only, surfaces, seed=options.seed, out=out)
        print(shown, json.dumps(asdict(result), indent=1), sep="\n")
        return
    done = {result.index for result in read_results(out)}
    missing = [index for index in range(options.inputs) if index not in done]
    children = [
        _fork(lambda worker=worker: _work(missing[worker :: options.workers], surfaces, options.seed, out, worker))
        for worker in range(options.workers)
    ]
    for child in children:
        os.waitpid(child, 0)
    print("\n".join(table(read_results(out), out)))


def preload() -> None:
    """Imports what every verb needs, once for all inputs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for package in ("keras_retina", "edge"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            with contextlib.suppress(ImportError):  # of an extra that is not installed
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
    gc.collect()
    gc.freeze()  # a fork would copy what the collector touches


def run_input(index: int, surfaces: dict[str, Surface], *, seed: int, out: Path) -> tuple[Result, str]:
    """Makes an input, runs it, and keeps it where it was neither refused nor accepted."""
    surface = list(surfaces)[index % len(surfaces)]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        words = [word.replace("\0", "") for word in surfaces[surface](np.random.default_rng([seed, index]), folder)]
        limits = fuzz_training.LIMITS.get(surface, Limits())
        result, shown = judged(index, surface, words, folder=folder, limits=limits)
        if result.outcome not in GOOD:
            kept = out / result.outcome / f"{surface}-{index}"
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            (kept / "output.txt").write_text(shown, encoding="utf-8", errors="backslashreplace")
            (kept / "words.json").write_text(json.dumps(words))
            os.rename(folder, kept / "input") if _same_disk(folder, kept) else shutil.move(folder, kept / "input")
        return result, shown
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judged(index: int, surface: str, words: list[str], *, folder: Path, limits: Limits) -> tuple[Result, str]:
    """Runs one command line in a fork and says what became of it."""
    size = sum(os.lstat(os.path.join(root, name)).st_size for root, _, names in os.walk(folder) for name in names)
    with tempfile.NamedTemporaryFile("rb") as file:
        started = time.monotonic()
        encoding = ENCODINGS[index % len(ENCODINGS)]
        child = _fork(lambda: (_alone(file.name, encoding), _command(words, folder)))
        before, ended, most = _memory(child), "", 0.0
        while True:
            done, status, _ = os.wait4(child, os.WNOHANG)
            seconds = time.monotonic() - started
            if done:
                break
            most = max(most, _memory(child) - before)
            is_busy = seconds > limits.seconds and _processor_seconds(child) > limits.seconds
            slow = seconds > limits.most_seconds or is_busy
            ended = "hang" if slow else "blow-up" if most > limits.mebibytes else ""
            if ended:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
            time.sleep(0.002 if seconds < 0.5 else 0.05)
        shown = file.read(1 << 20).decode("utf-8", "surrogateescape")
    code = 0 if ended else os.waitstatus_to_exitcode(status)
    outcome, place = told(ended, code, shown=shown)
    result = Result(index, surface, outcome, round(seconds, 2), round(most, 1), place, words, size)
    return result, shown.encode("utf-8", "backslashreplace").decode()


def _work(indices: list[int], surfaces: dict[str, Surface], seed: int, out: Path, worker: int) -> None:
    with (out / f"results-{os.getpid()}-{worker}.jsonl").open("a", encoding="utf-8") as file:
        for count, index in enumerate(indices, start=1):
            result, _ = run_input(index, surfaces, seed=seed, out=out)
            file.write(json.dumps(asdict(result)) + "\n")
            file.flush()
            if worker == 0 and count % 100 == 0:
                print(f"{count} of {len(indices)} inputs of this worker", flush=True)


def _alone(output: str, encoding: str) -> None:
    """Gives a fork its limits, a group of its own to be ended with, and a file for what it prints."""
    os.setsid()
    address_space = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (address_space + _address_space(), resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target, null = os.open(output, os.O_WRONLY | os.O_APPEND), os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, null), (1, target), (2, target)):
        os.dup2(source, number)
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False))
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding=encoding, write_through=True)
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def _command(words: list[str], folder: Path) -> None:
    """Is the program, in a fork, with a folder to work in."""
    (folder / "here").mkdir(exist_ok=True)
    os.chdir(folder / "here")  # where a verb writes what no option names
    sys.argv = ["keras-retina", *words]
    from keras_retina.cli.app import main as program

    program()


@contextlib.contextmanager
def _exiting() -> Iterator[None]:
    """Ends a fork as the interpreter would, without what the parent still has to do."""
    code = 1
    try:
        yield
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 99
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code)


def _fork(function: Callable[[], object]) -> int:
    child = os.fork()
    if not child:
        with _exiting():
            function()
    return child


def _memory(process: int) -> float:
    """Returns the resident mebibytes of a process, 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (OSError, IndexError):
        return 0.0


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _same_settings(file: Path, settings: dict) -> None:
    """Refuses to go on in a folder of another seed or other surfaces: its inputs would be others."""
    if file.exists() and json.loads(file.read_text()) != settings:
        sys.exit(f"--out: {file.parent} holds inputs of other settings: {file.read_text()}. Choose another folder.")
    file.write_text(json.dumps(settings))


if __name__ == "__main__":
    main()
