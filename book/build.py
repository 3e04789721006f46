"""Execute the book and build its site; keep the notebooks' Markdown twins in step.

    python book/build.py            what `make book` runs: execute what changed, then build the site
    python book/build.py --save     execute what changed, and put the outputs into book/*.ipynb
    python book/build.py --stored   build a site in _build/stored from the outputs in book/*.ipynb, execute nothing:
                                    what the site's tests look at
    python book/build.py --sync     bring the notebooks up to their Markdown twins (outputs of cells that did
                                    not change stay); with --from-notebook, the other way round
    python book/build.py --check    exit 1 where the halves of a pair have drifted apart

Every notebook runs in a fresh kernel of its own process (papermill), with a time limit, as a copy: the
notebooks in book/ change only under --save and --sync. What ran is kept in _build/executed and runs again
when its cells, the library's modules that it imports, the weights and records that they read, the data at
hand or the lock have changed.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from depends import state
from filelock import FileLock, Timeout
from pairs import (
    ROOT,
    BookError,
    clean,
    drift,
    machine_paths,
    markdown_of,
    notebook_of,
    notebooks,
    pages,
    read_notebook,
    sync,
    write_notebook,
)

BUILD = ROOT / "_build"
STORED = BUILD / "stored"  # in its html the site of the outputs that the notebooks hold; _build/html is of new ones
SECONDS_A_CHAPTER = 240
SECONDS_A_CELL = 120  # as under nbval
QUIET_SECONDS = 10  # a word on what is running at least this often


def say(text: str) -> None:
    print(text, flush=True)


@dataclass
class Execution:
    """One notebook, executed in a process of its own."""

    name: str
    state: str
    started: float = field(default_factory=time.monotonic)
    process: subprocess.Popen | None = None

    @property
    def executed(self) -> Path:
        return BUILD / "executed" / f"{self.name}.ipynb"

    @property
    def stamp(self) -> Path:
        return self.executed.with_suffix(".json")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def is_fresh(self) -> bool:
        return (
            self.executed.exists() and self.stamp.exists() and json.loads(self.stamp.read_text())["state"] == self.state
        )

    def start(self) -> None:
        folder = BUILD / "run" / self.name  # whatever the chapter writes lands here
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.executed.parent.mkdir(parents=True, exist_ok=True)
        self.stamp.unlink(missing_ok=True)
        environment = {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
        environment |= dict(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", IPYTHONDIR=str(folder / ".ipython"))
        command = [sys.executable, "-m", "oneshot_lib.runs.kernel"]
        command += [str(notebook_of(self.name)), str(self.executed), str(folder), str(SECONDS_A_CELL)]
        self.started = time.monotonic()
        with self.executed.with_suffix(".log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder)

    def stop(self) -> None:
        """End the process and the kernel that it started."""
        try:
            kernel = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            kernel = []
        self.process.kill()
        for child in kernel:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait()

    def finish(self) -> str | None:
        """Keep what came out, or say what went wrong. The exit code is believed, not the notebook."""
        if self.process.poll() is None:
            self.stop()
            return f"{self.name} was stopped after {SECONDS_A_CHAPTER} s, the most that a chapter may take"
        if self.process.returncode:
            log = self.executed.with_suffix(".log").read_text(errors="replace").splitlines()
            return "\n".join([f"{self.name} failed (exit code {self.process.returncode}):", *log[-25:]])
        notebook = clean(read_notebook(self.executed))
        if paths := machine_paths(notebook):
            return f"{self.name} shows paths of this machine: {'; '.join(paths)}"
        write_notebook(notebook, self.executed)
        self.stamp.write_text(json.dumps({"state": self.state, "seconds": round(self.seconds, 1)}))
        return None


def execute(notebooks: list[Execution], at_once: int) -> list[str]:
    """Run notebooks, `at_once` at a time, and say all the time which; return what failed, and why."""
    waiting, running, failures, spoken = list(notebooks), [], [], time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(waiting.pop(0))
                running[-1].start()
                say(f"  {running[-1].name:<36} running")
            for one in [o for o in running if o.process.poll() is not None or o.seconds > SECONDS_A_CHAPTER]:
                failure = one.finish()
                running.remove(one)
                failures += [failure] if failure else []
                say(f"  {one.name:<36} {'FAILED' if failure else 'done'} in {one.seconds:.1f} s")
                spoken = time.monotonic()
            if running and time.monotonic() - spoken > QUIET_SECONDS:
                say("  still running: " + ", ".join(f"{one.name} ({one.seconds:.0f} s)" for one in running))
                spoken = time.monotonic()
            time.sleep(0.1)
    finally:
        for one in running:
            one.stop()
    return failures


def execute_book(names: list[str], everything: bool, at_once: int) -> list[Execution]:
    """Execute the notebooks that changed; raise with every failure where one fails."""
    for name in names:
        if not notebook_of(name).exists():
            raise BookError(f"{name}.ipynb is missing: `python book/build.py --sync` makes it from its twin")
    executions = [Execution(name, state(name)) for name in names]
    stale = [one for one in executions if everything or not one.is_fresh()]
    unchanged = f", {len(executions) - len(stale)} unchanged" if len(stale) < len(executions) else ""
    say(f"book: {len(stale)} of {len(executions)} notebooks to run{unchanged}")
    began = time.monotonic()
    if failures := execute(stale, at_once):
        raise BookError("\n\n".join(failures))
    if stale:
        say(f"book: {len(stale)} notebooks ran in {time.monotonic() - began:.0f} s")
    return executions


def lay_out_source(notebooks: dict[str, Path], source: Path) -> str:
    """Put what Sphinx reads into `source`, each notebook as the file that is given; return a hash of it all."""
    missing = [name for name in pages() if not (notebook_of(name).exists() or markdown_of(name).exists())]
    if missing:
        raise BookError(f"_toc.yml names pages that are not there: {', '.join(missing)}")
    shutil.rmtree(source, ignore_errors=True)
    left_out = shutil.ignore_patterns("*.py", "__pycache__", ".*", "*.ipynb")
    shutil.copytree(ROOT / "book", source / "book", ignore=left_out)
    for name in ("conf.py", "_toc.yml", "references.bib"):
        shutil.copy(ROOT / name, source / name)
    for name, file in notebooks.items():
        shutil.copy(file, source / f"{name}.ipynb")
    everything = hashlib.sha256((ROOT / "requirements.lock").read_bytes())
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        everything.update(path.relative_to(source).as_posix().encode() + b"\0" + path.read_bytes())
    return everything.hexdigest()


def build_site(notebooks: dict[str, Path], place: Path) -> Path:
    """Build the site afresh, a warning being an error, and put it in `place`/html only when it is whole; return that.

    `notebooks` has of each name the file with its outputs.
    """
    source, site, stamp, began = place / "source", place / "html", place / "site.json", time.monotonic()
    wanted = lay_out_source(notebooks, source)
    if stamp.exists() and site.is_dir() and json.loads(stamp.read_text()) == wanted:
        say("site: unchanged")
        return site
    say(f"site: building {len(pages())} pages")
    fresh = place / "html.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-E"]
    finished = subprocess.run([*sphinx, "-d", str(place / "doctrees"), str(source), str(fresh)], check=False)
    if finished.returncode:
        raise BookError(f"the site was not built; what lies in {source.relative_to(ROOT)} is a copy of book/")
    stamp.unlink(missing_ok=True)
    shutil.rmtree(site, ignore_errors=True)
    fresh.rename(site)
    stamp.write_text(json.dumps(wanted))
    say(f"site: built in {time.monotonic() - began:.1f} s")
    return site


def save(executions: list[Execution]) -> None:
    """Put the executed notebooks' outputs into the committed ones."""
    for one in executions:
        committed, executed = notebook_of(one.name), read_notebook(one.executed)
        if committed.read_text(encoding="utf-8") != one.executed.read_text(encoding="utf-8"):
            write_notebook(executed, committed)
            say(f"  {one.name}.ipynb saved with its outputs")


@contextlib.contextmanager
def alone():
    """One build at a time in a checkout: two would empty each other's folders."""
    BUILD.mkdir(exist_ok=True)
    lock = FileLock(BUILD / ".lock")
    try:
        lock.acquire(timeout=0.1)
    except Timeout:
        say("another build is at work in this checkout: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="notebooks (book/hidden-canvas); all of them where none is named")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--save", action="store_true", help="put the outputs into book/*.ipynb, build no site")
    mode.add_argument("--stored", action="store_true", help="build the site of the stored outputs, execute nothing")
    mode.add_argument("--sync", action="store_true", help="write notebooks from their Markdown twins, execute nothing")
    mode.add_argument("--check", action="store_true", help="only compare the halves of each pair")
    parser.add_argument("--from-notebook", action="store_true", help="with --sync: write the Markdown instead")
    parser.add_argument("--force", action="store_true", help="execute what has not changed, too")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="notebooks at a time")
    options = parser.parse_args(arguments)
    names = [name.removesuffix(".ipynb").removesuffix(".md") for name in options.names] or notebooks()
    if unknown := set(names) - set(notebooks()):
        raise BookError(f"no notebook of this book: {', '.join(sorted(unknown))} (it has {', '.join(notebooks())})")
    if options.sync:
        for change in filter(None, (sync(name, options.from_notebook) for name in names)):
            say(f"  {change}")
    elif options.check:
        if differences := [line for name in names for line in drift(name)]:
            raise BookError("\n".join(differences))
        say(f"{len(names)} pairs agree")
    elif options.stored:
        with alone():
            build_site({name: notebook_of(name) for name in notebooks()}, STORED)
    else:
        with alone():
            executions = execute_book(names, options.force, options.jobs)
            if options.save:
                save(executions)
            elif not options.names:
                site = build_site({one.name: one.executed for one in executions}, BUILD)
                say(f"Open {(site / 'index.html').as_uri()}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way, no kernel is left behind
    try:
        main()
    except BookError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("stopped; what already ran is kept")
