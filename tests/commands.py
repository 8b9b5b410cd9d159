"""Commands as processes of their own that need not import torch: they are forked from one that has.

Such a process has its own id, folder, environment, standard streams and signals, as one that was started by
`python -m`. What it does not show is that the command starts from nothing; tests of that start an interpreter.
"""

from __future__ import annotations

import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent
PRELOADED = (
    "torch",
    "torch._dynamo",
    "pandas",
    "sklearn.datasets",
    "seaborn",
    "hydra.main",
    "jinja2",
    "pyarrow.parquet",
)
OURS = ("bench.execution.cell", "bench.cli.main")
MESSAGE_BYTES = 2**20


class Command:
    """`python -m MODULE ARGUMENTS` in a forked process, with as much of `subprocess.Popen` as tests need.

    Args:
        arguments: The module and its arguments.
        cwd: The current folder of the process.
        stderr: File descriptor that takes standard error; by default a pipe.
        file_size: Limit in bytes on files that the process writes.
        root: The checkout whose code runs.
    """

    def __init__(
        self, *arguments: str, cwd: Path, stderr: int | None = None, file_size: int | None = None, root: Path = ROOT
    ) -> None:
        environment = {**os.environ, "PYTHONPATH": str(root)}
        request = {"arguments": arguments, "cwd": str(cwd), "environment": environment, "file_size": file_size}
        self._line, theirs = socket.socketpair()
        out, out_write = os.pipe()
        error, error_write = (None, stderr) if stderr is not None else os.pipe()
        with theirs, Path(os.devnull).open() as nothing:
            handed = [nothing.fileno(), out_write, error_write, theirs.fileno()]
            socket.send_fds(_server(root), [json.dumps(request).encode()], handed)
        os.close(out_write)
        if stderr is None:
            os.close(error_write)
        self.stdout = os.fdopen(out)
        self.stderr = None if error is None else os.fdopen(error)
        self.pid = int(self._line.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit status if the process has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process; return its exit status, or minus the signal that ended it."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self.returncode = int(self._line.recv(32))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("command", timeout or 0) from None
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read both streams to their ends and wait; return what was read."""
        read = {"out": "", "err": ""}

        def drain(name: str, stream: Any) -> None:
            with stream:
                read[name] = stream.read()

        streams = {"out": self.stdout, "err": self.stderr}
        threads = [threading.Thread(target=drain, args=item, daemon=True) for item in streams.items() if item[1]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired("command", timeout or 0)
        self.wait(timeout)
        return read["out"], read["err"]


def run(
    *arguments: str, cwd: Path, root: Path = ROOT, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Carry out `python -m MODULE ARGUMENTS` to its end, as `subprocess.run` would."""
    process = Command(*arguments, cwd=cwd, root=root)
    out, err = process.communicate(timeout)
    return subprocess.CompletedProcess(arguments, process.wait(), out, err)


@functools.cache
def _server(root: Path) -> socket.socket:
    """Start the process that commands of a checkout are forked from; it ends when this one does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno()), str(root)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return ours


def _serve(requests: socket.socket) -> None:
    """Fork a process for every request, and report its id and how it ended."""
    lines: dict[int, socket.socket] = {}
    wake_read, wake_write = socket.socketpair()
    for end in (wake_read, wake_write):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_write.fileno())
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is wake_read:
                wake_read.recv(MESSAGE_BYTES)
                _report_ended(lines)
                continue
            request, handed, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 4)
            if not request:
                return
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (selector, requests, wake_read, wake_write, *lines.values()):
                    other.close()
                _carry_out(json.loads(request), handed)
            line = socket.socket(fileno=handed.pop())
            for number in handed:
                os.close(number)
            line.send(str(pid).encode())
            lines[pid] = line


def _report_ended(lines: dict[int, socket.socket]) -> None:
    while lines:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with lines.pop(pid) as line:
            try:
                line.send(str(os.waitstatus_to_exitcode(status)).encode())
            except BrokenPipeError:  # nobody waits for it
                continue


def _carry_out(request: dict[str, Any], handed: list[int]) -> NoReturn:
    """Become what `python -m` would have started, and end as it would."""
    import resource
    import runpy

    for standard, number in enumerate(handed[:3]):
        os.dup2(number, standard)
    for number in handed:
        os.close(number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    if request["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_size"], request["file_size"]))
    module, *arguments = request["arguments"]
    sys.path[0] = request["cwd"]
    sys.argv = ["-m", *arguments]
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__"))
    status = _status(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))
    threading._shutdown()  # type: ignore[attr-defined]
    import atexit

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _status(call: Callable[[], object]) -> int:
    try:
        call()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


if __name__ == "__main__":
    from importlib import import_module

    root = sys.argv[2]
    sys.path[0] = root  # not the folder of the tests
    for preloaded in (*PRELOADED, *(OURS if Path(root) == ROOT else ())):  # what a copy holds may change before it runs
        import_module(preloaded)
    _serve(socket.socket(fileno=int(sys.argv[1])))
    os._exit(0)
