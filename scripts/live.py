"""A running `serin serve` for the scripts beside this file, a small model to serve, and Python packages to call it with.

SERIN names the program; without it, cargo builds it in release mode. SERIN_SCRIPTS_VENV names the virtual environment
that packages are installed into, else there is one under the cache folder."""

import csv
import os
import pathlib
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
FEATURES = ["length", "width", "height", "weight"]
CLASSES = ["large", "medium", "small"]
ROW = "4.1,2.0,1.5,0.3\n"


def cache(name):
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / name


def with_packages(*packages, venv="serin-check-venv"):
    """Goes on only in an interpreter that has `packages`: makes one and runs the calling script again there."""
    venv = pathlib.Path(os.environ.get("SERIN_SCRIPTS_VENV") or cache(venv)).absolute()
    if pathlib.Path(sys.prefix).resolve() == venv.resolve():
        return
    python, installed = venv / "bin" / "python", venv / "installed.txt"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    have = installed.read_text().split() if installed.exists() else []
    if missing := [package for package in packages if package not in have]:
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *missing], check=True
        )
        installed.write_text("\n".join([*have, *missing]))
    os.execv(python, [str(python), *sys.argv])


def program():
    """The `serin` to run."""
    if os.environ.get("SERIN"):
        return os.environ["SERIN"]
    subprocess.run(["cargo", "build", "--release", "--locked", "--quiet"], cwd=ROOT, check=True)
    return str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "serin")


def values(numbers):
    """A row of four features, of which `weight` may be missing, and its class."""
    kind = numbers.randrange(3)
    row = [f"{numbers.gauss(3 - kind, 0.4) * scale:.3f}" for scale in (2, 1, 1, 0.2)]
    if numbers.random() < 0.1:
        row[3] = ""
    return row, CLASSES[kind]


def write_rows(data, seed, features=FEATURES, count=200):
    """Labelled rows, the class in column `size`."""
    numbers = random.Random(seed)
    with data.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*features, "size"])
        for _ in range(count):
            row, kind = values(numbers)
            rows.writerow([*row, kind])


def train(folder, name):
    """A bundle of three classes and four features in a second."""
    data = folder / f"{name}.csv"
    write_rows(data, name)
    command = [program(), "train", "--data", data, "--target", "size", "--trials", "4", "--threads", "2"]
    done = subprocess.run([*command, "--out", folder / name], capture_output=True, text=True)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    bundle = folder / f"{name}.serin"
    (folder / name / "model.serin").rename(bundle)
    return bundle


def free_ports():
    """A port, such that the next one is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
                return port
            except OSError:
                continue


class Server:
    """`serin serve MODEL...` on a free port, with its data in `folder`, until the `with` ends.

    `before` stands in front of the command; with `tls`, a pair of a certificate file and its key, the port speaks TLS."""

    def __init__(self, models, folder, *, before=(), options=(), tls=None):
        self.port = free_ports()
        self.admin_url = f"http://127.0.0.1:{self.port + 1}"
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=tls[0]) if tls else None
        self.folder = pathlib.Path(folder)
        self.log = self.folder / f"serve-{self.port}.log"
        self.command = [*before, program(), "serve", *models, "--listen", f"127.0.0.1:{self.port}"]
        self.command += ["--data-dir", self.folder / "data", *options]
        if tls:
            self.command += ["--tls-certificate", tls[0], "--tls-key", tls[1]]

    def __enter__(self):
        start = time.perf_counter()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        while self.answer("GET", "/ping")[0] != 200:
            if self.process.poll() is not None or time.perf_counter() - start > 20:
                self.__exit__()
                raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.01)
        return self

    def __exit__(self, *_):
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def answer(self, method, path, body=None, headers=None, timeout=10):
        """Status (0 when there was none), headers, body."""
        request = urllib.request.Request(self.url + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self.trust) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()
        except OSError:
            return 0, {}, b""

    def memory(self, field="VmRSS"):
        """MiB of a field of /proc/PID/status, or of smaps_rollup for `Pss`."""
        file = "smaps_rollup" if field == "Pss" else "status"
        text = pathlib.Path(f"/proc/{self.process.pid}/{file}").read_text()
        return int(text.split(f"{field}:")[1].split()[0]) / 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
