"""The servers that `scripts/bench-serving` compares, each as the commands that start it."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

import live

HERE = pathlib.Path(__file__).resolve().parent
CONSTANT = b"0\n"


def serin(**settings):
    environment = {f"SERIN_CAPTURE_{key.upper()}": value for key, value in settings.items()} | {
        "SERIN_LOG": "warn"
    }

    def commands(port, model, folder):
        command = [
            live.program(),
            "serve",
            model,
            "--listen",
            f"127.0.0.1:{port}",
            "--data-dir",
            folder / "data",
        ]
        return [(command, environment)]

    return commands


def fastapi_tuned(port, model, folder):
    uvicorn = [
        sys.executable,
        "-m",
        "uvicorn",
        "fastapi_tuned:app",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return [
        (
            [*uvicorn, "--workers", "2", "--log-level", "warning", "--app-dir", HERE],
            {"MODEL": model, "OMP_NUM_THREADS": "1"},
        )
    ]


def flask_stack(port, model, folder):
    upstream = f"unix:{folder}/gunicorn.sock"
    gunicorn = [sys.executable, "-m", "gunicorn", "--chdir", HERE, "-k", "sync", "-w", "2", "-b", upstream]
    return [
        (
            [*gunicorn, "--log-level", "warning", "--no-control-socket", "flask_pandas:app"],
            {"MODEL": model, "OMP_NUM_THREADS": "1"},
        ),
        nginx(port, folder, f"proxy_pass http://{upstream}:;"),
    ]


def nginx_constant(port, model, folder):
    return [nginx(port, folder, 'return 200 "0\\n";')]


def nginx(port, folder, answer):
    text = (HERE / "nginx.conf.in").read_text()
    for key, value in {"port": port, "folder": folder, "answer": answer}.items():
        text = text.replace(f"@{key}@", str(value))
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-e", folder / "nginx-error.log", "-c", folder / "nginx.conf"], {}


def bare_hyper(port, model, folder):
    """The library under Serin by itself: it reads the body and answers a constant."""
    return [([os.environ.get("BARE_HYPER", "bare_hyper"), f"127.0.0.1:{port}"], {})]


PEERS = {
    "serin": serin(mode="process"),
    # One answer in a million is as good as none.
    "serin-off": serin(mode="off"),
    "serin-strict": serin(mode="strict"),
    "fastapi-tuned": fastapi_tuned,
    "flask-stack": flask_stack,
    "bare-hyper": bare_hyper,
    "nginx-constant": nginx_constant,
}
# These answer the same whatever they are asked.
CONSTANTS = {"bare-hyper", "nginx-constant"}


class Peer:
    """A server that runs until the `with` ends; `folder` is its own."""

    def __init__(self, name, model, folder, body):
        self.name, self.folder, self.body = name, folder, body
        folder.mkdir(parents=True)
        self.port = live.free_ports()
        self.url = f"http://127.0.0.1:{self.port}/invocations"
        self.commands = PEERS[name](self.port, model, folder)

    def __enter__(self):
        self.log = (self.folder / "log").open("wb")
        start = time.perf_counter()
        self.processes = [
            subprocess.Popen(command, env=os.environ | environment, stdout=self.log, stderr=self.log)
            for command, environment in self.commands
        ]
        while self.ask(self.body) is None:
            if time.perf_counter() - start > 60 or any(
                process.poll() is not None for process in self.processes
            ):
                self.__exit__()
                sys.exit(f"{self.name} did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.002)
        self.start_seconds = time.perf_counter() - start
        return self

    def __exit__(self, *_):
        members = self.members()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(45)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        self.log.close()

    def ask(self, body):
        """The answer to a CSV body, or nothing."""
        request = urllib.request.Request(self.url, body, {"Content-Type": "text/csv"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.read()
        except OSError:
            return None

    def members(self):
        """Process ids: what was started, and what that started."""
        parents = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parents[int(entry.parent.name)] = int(entry.read_text().rsplit(")", 1)[1].split()[1])
        found = [process.pid for process in self.processes]
        for member in found:
            found += [pid for pid, parent in parents.items() if parent == member and pid not in found]
        return found

    def memory(self):
        """Proportional set size of all members, MiB."""
        total = 0
        for member in self.members():
            with contextlib.suppress(OSError):
                text = pathlib.Path(f"/proc/{member}/smaps_rollup").read_text()
                total += int(text.split("\nPss:")[1].split()[0])
        return total / 1024

    def cpu_seconds(self):
        total = 0
        for member in self.members():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")
