"""A folder on which the n-th system call fails, commands to try on it, and checks after each."""

import errno
import hashlib
import json
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ESTALE, errno.EACCES)
# In the order of shim.c.
KINDS = ("open", "read", "write", "change", "close", "look", "list")
HEADER, CALL, NAME = struct.Struct("<12i"), 32, 4096
# Files with times, derived files, and files that grow: they differ between runs.
CHANGING = re.compile(
    r"(^|/)(run|versions|index|sources)\.json|(steps|p)\.(csv|jsonl)|resume\.pt|\.tmp|failures\.jsonl|\.h5"
)


class FaultRun(NamedTuple):
    """A run with a fault: exit status, output, the failed call and its file, and the problems found."""

    status: int
    output: str
    call: str
    problems: list[str]


class Command(NamedTuple):
    """A command, and the name of the folder's state before it."""

    state: str
    name: str
    arguments: tuple[str, ...]


class FaultyDisk:
    """Runs commands on `folder`, below which system calls fail; see `run_with_fault`.

    Parameters
    ----------
    top
        A folder for all files of this class.
    """

    errors, kinds = ERRORS, KINDS

    def __init__(self, top: Path) -> None:
        self.top, self.folder = top, top / "work"
        self.folder.mkdir()
        shim, control = top / "shim.so", top / "control"
        compiler = shutil.which("cc") or "cc"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(shim), str(HERE / "shim.c"), "-ldl"], check=True)
        control.write_bytes(bytes(HEADER.size + CALL + 2 * NAME))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)
        settings = {"LD_PRELOAD": str(shim), "FAULTS_CONTROL": str(control), "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parents[1],
            env={**os.environ, **settings, "PYTHONPATH": str(HERE.parents[1]), "HF_HUB_OFFLINE": "1", "COLUMNS": "200"},
        )
        self._ready = False
        self.commands = self._commands()
        self._whole: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        """End the server."""
        with self._server as server:
            server.kill()
        self._control.close()

    def _commands(self) -> dict[str, Command]:
        place = self.folder
        table, store, head = (str(place / name) for name in ("m.csv", "s.zarr", "h"))
        tiny = ("--preset", "tiny", "--layers", "2", "--augment", "0", "--readers", "0", "--receipt", f"{place}/r.json")
        train = ("train", "--manifest", table, "--store", store, "--track", "2", "--size", "small", "--epochs", "1")
        scored = ("predict", "--checkpoint", head, "--store", store, "--csv", f"{place}/p/scores.csv")
        songs = ("demo", "--out", f"{place}/songs", "--songs", "4", "--seconds", "1", "--manifest", table)
        return {
            "demo": Command("empty", "data", songs),
            "folder": Command("songs", "data", ("folder", "--audio", f"{place}/songs", "--manifest", f"{place}/2.csv")),
            "extract": Command("songs", "extract", ("--manifest", table, "--store", store, *tiny)),
            "again": Command("stored", "extract", ("--manifest", table, "--store", store, *tiny)),
            "verify": Command("stored", "store", ("verify", store, "--repair")),
            "merge": Command("stored", "store", ("merge", store, f"{place}/2.zarr")),
            "export": Command("stored", "store", ("export", store, f"{place}/s.h5")),
            "import": Command("exported", "store", ("import", f"{place}/s.h5", f"{place}/2.zarr")),
            "index": Command("stored", "store", ("index", store, "--summaries")),
            "train": Command("stored", "head", (*train, "--out", head)),
            "stream": Command("stored", "head", (*train, "--out", head, "--memory", "0", "--workers", "0")),
            "score": Command("trained", "head", (*scored, "--manifest", table, "--scp", f"{place}/p/scores.scp")),
            "hear": Command(
                "trained", "head", ("predict", "--checkpoint", head, f"{place}/songs", "--jsonl", f"{place}/p.jsonl")
            ),
        }

    def prepare(self) -> None:
        """Make the states that the commands start from."""
        self._keep("empty")
        for command, state in (("demo", "songs"), ("extract", "stored"), ("export", "exported"), ("train", "trained")):
            status, output = self.run(command)
            assert status == 0, output
            self._keep(state)

    def _keep(self, state: str) -> None:
        shutil.copytree(self.folder, self.top / state)

    def _restore(self, state: str) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self.top / state, self.folder)

    def run(self, command: str, kind: str = "open", nth: int = 0, last: int = 0, error: int = 0) -> tuple[int, str]:
        """Run a command; calls of one kind from the `nth` to the `last` fail with `error`."""
        if not self._ready:
            assert self._server.stdout is not None
            assert self._server.stdout.readline() == "ready\n"
            self._ready = True
        place = str(self.folder).encode()
        header = HEADER.pack(KINDS.index(kind), nth, last, error, *[0] * 8)
        self._control[:] = header + bytes(CALL + NAME) + place.ljust(NAME, b"\0")
        output = self.top / "output"
        _, name, arguments = self.commands[command]
        request = {"command": name, "arguments": arguments, "output": str(output), "seconds": 60}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline()), output.read_text(errors="replace")

    def calls(self, command: str) -> dict[str, int]:
        """The number of calls of each kind that a command makes without a fault."""
        self._restore(self.commands[command].state)
        status, output = self.run(command)
        assert status == 0, output
        self._whole[command] = self.files()
        return dict(zip(KINDS, HEADER.unpack_from(self._control)[5:], strict=True))

    def files(self) -> dict[str, str]:
        """Digests of the files that are the same after each run."""
        found = {str(path.relative_to(self.folder)): path for path in self.folder.rglob("*") if path.is_file()}
        return {
            name: hashlib.sha256(path.read_bytes()).hexdigest()
            for name, path in found.items()
            if not CHANGING.search(name)
        }

    def run_with_fault(self, command: str, kind: str, nth: int, error: int, *, last: int = 0) -> FaultRun:
        """Run a command with a fault in the calls from the `nth` to the `last`, then again without one."""
        self._restore(self.commands[command].state)
        before, whole = self.files(), self._whole[command]
        status, output = self.run(command, kind, nth, last or nth, error)
        call, file = (self._control[at : at + size].split(b"\0")[0].decode() for at, size in self._texts())
        after = self.files()
        same_again = [] if status == 0 else self._again(command, whole)
        checks: list[tuple[str, Any]] = [
            ("a traceback", "Traceback" in output or "Exception ignored" in output),
            ("an unexpected exit status", status not in (0, 1, 2)),
            ("an error without a message", status == 1 and not self._reports_error(command, output)),
            ("different files than without a fault", status == 0 and after != whole),
            ("a file was lost", any(after.get(name) != before[name] for name in self._kept(command))),
            *same_again,
        ]
        return FaultRun(status, output, f"{call} {file}", [problem for problem, found in checks if found])

    def _texts(self) -> list[tuple[int, int]]:
        return [(HEADER.size, CALL), (HEADER.size + CALL, NAME)]

    def _reports_error(self, command: str, output: str) -> bool:
        """Whether one line reports the error: the command's own, or one about failed songs."""
        lines = output.splitlines()
        ours = [line for line in lines if line.startswith(f"hear-{self.commands[command].name}: ")]
        return bool(ours) or any(re.search(r"[1-9]\d* failed|[1-9]\d* problem", line) for line in lines)

    def _kept(self, command: str) -> list[str]:
        """Files that the command leaves unchanged when nothing fails."""
        before = self._state(self.commands[command].state)
        return [name for name, digest in before.items() if self._whole[command].get(name) == digest]

    def _state(self, state: str) -> dict[str, str]:
        folder, self.folder = self.folder, self.top / state
        try:
            return self.files()
        finally:
            self.folder = folder

    def _again(self, command: str, whole: dict[str, str]) -> list[tuple[str, Any]]:
        """Problems after the same command without a fault; litter that could not be removed may remain."""
        status, output = self.run(command)
        found = {name: digest for name, digest in self.files().items() if not name.split("/")[-1].startswith(".")}
        return [
            (f"the next run fails: {output[-300:]}", status),
            ("the next run makes different files", found != whole),
        ]
