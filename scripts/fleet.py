"""A project whose stage is answered by replicas, for `prove-replicas` and `bench-replicas`: its gateway and control plane as
two processes on loopback, callers that keep ledgers of their own, and the table of processes.

Version 1 and 2 are bundles that Serin's own replicas serve, version 3 is served by a command of the project (`SERVER` below):
a replica of Serin's behind a proxy that misbehaves as a file says. They are trained once; every plant is a copy."""

import collections
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 60
ROWS = 60
SETTINGS = """
[serve]
data_dir = "data"
[gates]
challenger_margin = -1.0
[pipeline]
stages = ["prod"]
[stages.prod]
approval = false
"""
AT_ONCE = """
[stages.prod.rollout]
preset = "all-at-once"
final_bake = "0s"
probation = "1s"
mirror = "0s"
"""
# Of versions 1, 2 and 3: of each row they say something else.
MODELS = [f'model = {{ family = "logistic", penalty = {penalty} }}' for penalty in (1.0, 0.5, 2.0)]
COMMAND = """
[steps.serve]
command = ["python3", "server.py"]
environment = { SERIN = %s }
"""

SERVER = r'''
"""A serving container's program: `serin container serve` behind a proxy that does what the file `do` says."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

# Beside the data directory of whoever serves.
KNOBS, OWN = pathlib.Path(os.environ["SM_MODEL_DIR"]).parents[3] / "knobs", os.environ["TMPDIR"]
BACKEND = os.path.join(OWN, "backend.sock")
lock, count, in_hand = threading.Lock(), threading.Lock(), 0


def note(what):
    with open(KNOBS / "ledger", "ab", 0) as ledger:
        ledger.write(f"{time.time():.6f} {os.getpid()} {what}\n".encode())


def knob():
    try:
        return json.loads((KNOBS / "do").read_text())
    except (OSError, ValueError):
        return {}


class Backend(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(BACKEND)


def predict(body):
    connection = Backend("replica", timeout=30)
    kinds = {"content-type": "text/csv", "accept": "text/csv; probabilities=true"}
    connection.request("POST", "/invocations", body, kinds)
    answer = connection.getresponse()
    said = answer.status, answer.read()
    connection.close()
    return said


def head(status, length, more=""):
    return f"HTTP/1.1 {status} X\r\ncontent-type: text/csv\r\ncontent-length: {length}\r\n{more}\r\n".encode()


def answer(stream, body):
    do = knob()
    how = do.get("how", "well")
    note("asked")
    time.sleep(do.get("delay", 0))
    if do.get("work"):
        with lock:
            time.sleep(do["work"])
    if how == "dies":
        os._exit(7)
    if how == "closes":
        return False
    if how == "hangs":
        time.sleep(60)
    status, said = predict(body)
    if how == "garbage":
        said = b"\xff\xfe no class\n"
    elif how == "rows":
        said = said * 3
    elif how == "error":
        status, said = 500, b"Traceback (most recent call last)"
    elif how == "refuses":
        status, said = 400, b"these rows are not for me"
    elif how == "cut":
        stream.sendall(head(200, len(said) + 100) + said)
        return False
    elif how == "endless":
        stream.sendall(b"HTTP/1.1 200 X\r\ncontent-type: text/csv\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            stream.sendall(b"10000\r\n" + b"7" * 65536 + b"\r\n")
    elif how == "heads":
        stream.sendall(head(200, len(said), "".join(f"x-{i}: {'h' * 8000}\r\n" for i in range(400))) + said)
        return False
    elif how == "no http":
        stream.sendall(b"220 mail.example.org ESMTP\r\n")
        return False
    stream.sendall(head(status, len(said)) + said)
    note("answered")
    return True


def serve(stream):
    global in_hand
    lines = stream.makefile("rb")
    try:
        while True:
            first = lines.readline().split()
            if not first:
                return
            length = 0
            while (line := lines.readline().strip()):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            body = lines.read(length)
            if first[1] == b"/ping":
                stream.sendall(head(200, 0))
                continue
            with count:
                in_hand += 1
            try:
                if not answer(stream, body):
                    return
            finally:
                with count:
                    in_hand -= 1
    except OSError:
        pass
    finally:
        lines.close()
        stream.close()


def ends(*_):
    note(f"told to end with {in_hand} in hand")
    os._exit(0)


signal.signal(signal.SIGTERM, ends)
note("started")
if knob().get("how") == "never binds":
    time.sleep(3600)
command = [os.environ["SERIN"], "container", "serve", "--model-folder", os.environ["SM_MODEL_DIR"], "--socket", BACKEND]
backend = subprocess.Popen(command)
while not os.path.exists(BACKEND):
    time.sleep(0.005)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])))
listener.listen(256)
while True:
    stream, _ = listener.accept()
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(stream,), daemon=True).start()
'''


class Failure(Exception):
    """What is not as it was promised."""


def expect(condition, what):
    if not condition:
        raise Failure(what)


def quiet(look):
    try:
        return look()
    except (OSError, http.client.HTTPException, Failure, json.JSONDecodeError):
        return None


def until(look, what, patience=PATIENCE_SECONDS, pause=0.02):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        found = quiet(look)
        if found:
            return found
        time.sleep(pause)
    raise Failure(f"{what}: not within {patience} s")


given = set()


def free_port():
    """A port that nobody has, and that this program was not given before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in given:
            given.add(port)
            return port


Process = collections.namedtuple("Process", "pid parent state started command")


def processes():
    """Every process there is, by its id."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            fields = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
            command = pathlib.Path("/proc", entry, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found[int(entry)] = Process(int(entry), int(fields[1]), fields[0], fields[19], [os.fsdecode(word) for word in command[:-1]])
    return found


def below(pid):
    """The processes below one, in the order of the tree."""
    children = collections.defaultdict(list)
    for process in processes().values():
        children[process.parent].append(process)
    found = list(children[pid])
    for process in found:
        found += children[process.pid]
    return found


def is_alive(process):
    """Whether this very process runs; one that only waits to be asked for its end does not."""
    try:
        fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return False
    return fields[19] == process.started and fields[0] not in "ZX"


class Template:
    """The project and its versions, trained once for all plants of a run."""

    def __init__(self, program, with_command=True):
        self.program, self.folder = program, tempfile.TemporaryDirectory(prefix="serin-fleet-")
        self.root = pathlib.Path(self.folder.name)
        shutil.copytree(ROOT / "examples/digits", self.root / "digits")
        lines = (self.root / "digits/holdout.csv").read_text().splitlines()
        # The class stands first.
        self.header, *self.rows = [line.split(",", 1)[1] for line in lines[: ROWS + 1]]
        (self.root / "digits/server.py").write_text(SERVER)
        self.base = (self.root / "digits/serin.toml").read_text()
        with Plant(self, self.root / "digits") as plant:
            for version, model in enumerate(MODELS[: 2 + with_command], 1):
                served = COMMAND % json.dumps(program) if version == 3 else ""
                plant.train(self.settings(model) + served, version)
            # No replica starts in a copy before it says so.
            plant.write(self.settings(MODELS[0]) + AT_ONCE)
            plant.deploy(1)
            self.artifacts = {version: plant.ask("GET", f"/versions/{version}")["artifact"]
                              for version in range(1, 3 + with_command)}
        self.expected = {version: self.predict(artifact) for version, artifact in self.artifacts.items()}

    def settings(self, model):
        return self.base.replace('budget = "30s"', f"trials = 2\n{model}") + SETTINGS

    def predict(self, artifact):
        """What a bundle says of the rows, asked without any server."""
        path = next(path for path in (self.root / "digits/data/artifacts").rglob("*")
                    if path.is_file() and artifact in "".join(path.parts))
        bundle, data, out = (self.root / name for name in ("asked.serin", "asked.csv", "answers.csv"))
        shutil.copyfile(path, bundle)
        data.write_text("\n".join([self.header, *self.rows]) + "\n")
        subprocess.run([self.program, "predict", "--model", bundle, "--data", data, "--proba", "--out", out], check=True,
                       capture_output=True)
        lines = out.read_text().splitlines()
        names = lines[0].split(",")
        first = names.index(next(name for name in names if name.startswith("p_")))
        return [[float(cell) for cell in line.split(",")[first:]] for line in lines[1:]]

    def plant(self, **settings):
        return Plant(self, None, **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.folder.cleanup()


class Plant:
    """A copy of the project with its control plane and its gateway."""

    def __init__(self, template, project, replicas=None, rollout=AT_ONCE, version=1, environment=None):
        self.template, self.program = template, template.program
        self.folder = tempfile.TemporaryDirectory(prefix="serin-plant-")
        self.project = project or pathlib.Path(self.folder.name, "digits")
        self.is_copy = project is None
        self.data, self.knobs = self.project / "data", self.project / "knobs"
        self.port, self.admin, self.api = free_port(), free_port(), free_port()
        self.replicas, self.rollout, self.version = replicas, rollout, version
        self.environment = os.environ | (environment or {})
        self.gateway = self.control = None

    def __enter__(self):
        try:
            if self.is_copy:
                shutil.copytree(self.template.root / "digits", self.project)
                with contextlib.closing(sqlite3.connect(self.data / "control.db")) as store, store:
                    store.execute("UPDATE projects SET folder = ?", (str(self.project),))
            else:
                self.write(self.template.settings(MODELS[0]) + AT_ONCE)
            self.knobs.mkdir(exist_ok=True)
            self.start_gateway()
            self.start_control()
            if self.is_copy:
                self.serve(self.version, self.replicas)
                self.set(self.replicas, self.rollout)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in (self.control, self.gateway):
            if process and process.poll() is None:
                process.terminate()
        for process in (self.control, self.gateway):
            if process and process.poll() is None:
                try:
                    process.wait(45)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.folder.cleanup()

    def write(self, text):
        draft = self.project / "serin.toml.draft"
        draft.write_text(text)
        draft.rename(self.project / "serin.toml")

    def set(self, replicas, rollout=AT_ONCE):
        """Settings for deployments from now on."""
        text = self.template.settings(MODELS[0]) + rollout
        self.write(text + (f"[stages.prod.replicas]\n{replicas}\n" if replicas else ""))

    def serve(self, version, replicas):
        """The version serves, by replicas with these settings."""
        self.set(replicas)
        self.deploy(version)

    def start(self, name, *arguments):
        log = open(pathlib.Path(self.folder.name, f"{name}.log"), "ab")
        return subprocess.Popen([self.program, *arguments], cwd=self.project, env=self.environment, stdout=log, stderr=log)

    def log(self):
        return pathlib.Path(self.folder.name, "gateway.log").read_text()

    def start_gateway(self, waits=True):
        self.gateway = self.start(
            "gateway", "gateway", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin}",
            "--data-dir", str(self.data))
        if waits:
            until(lambda: self.tell("/routes"), "the gateway")

    def start_control(self):
        self.control = self.start("control", "control", str(self.project), "--data-dir", str(self.data),
                                  "--control-listen", f"127.0.0.1:{self.api}")
        until(lambda: self.ask("GET", "/status"), "the control plane")

    def ask(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/api/v1{path}", method=method,
            data=None if body is None else json.dumps(body).encode(), headers={"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"{method} {path}: {error.code} {error.read()[:300]}") from error

    def tell(self, path):
        """What the gateway says on its admin port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
            return json.load(answer)

    def command(self, **command):
        """A signed command about replicas."""
        text = json.dumps(command | {"by": "prover", "at": time.time_ns() // 1000})
        key = (self.data / "keys/routes.key").read_bytes()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        request = urllib.request.Request(f"http://127.0.0.1:{self.admin}/replicas/commands", text.encode(),
                                         {"x-serin-signature": signature}, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Failure(f"{command}: {error.code} {error.read()[:300]}") from error

    def do(self, **what):
        """What servers of version 3 do from now on."""
        draft = self.knobs / "draft"
        draft.write_text(json.dumps(what))
        draft.rename(self.knobs / "do")

    def server_ledger(self):
        """What servers of version 3 noted: time, process, words."""
        try:
            lines = (self.knobs / "ledger").read_text().splitlines()
        except FileNotFoundError:
            return []
        split = (line.split(" ", 2) for line in lines)
        return [(float(when), int(pid), what) for when, pid, what in split]

    def train(self, settings, version):
        self.write(settings + AT_ONCE)
        run = self.ask("POST", "/projects/digits/runs", {"by": "prover"})["run"]
        self.wait_for_run(run)
        expect(self.ask("GET", f"/versions/{version}"), "the version")

    def wait_for_run(self, run):
        def is_over():
            state = self.ask("GET", f"/runs/{run}")["state"]
            return state if state["name"] not in ("running", "waiting") else None

        state = until(is_over, f"run {run}", 180)
        expect(state["name"] == "succeeded", f"run {run}: {json.dumps(state)}")

    def deploy(self, version):
        """Deploys and waits until that is over."""
        self.wait_for_run(self.begin(version))

    def begin(self, version):
        """Deploys; the run."""
        return self.ask("POST", "/projects/digits/stages/prod/deploy", {"version": version, "by": "prover"})["run"]

    def last_rollout(self):
        items = self.ask("GET", "/rollouts?limit=1")["items"]
        return items[0] if items else None

    def fleet(self, version):
        return next((fleet for fleet in self.tell("/replicas")["fleets"] if fleet["version"] == str(version)), None)

    def ready(self, version, states=("ready",)):
        """Names of the replicas of a version that answer, as the gateway says."""
        fleet = self.fleet(version)
        return [replica["name"] for replica in fleet["replicas"] if replica["state"] in states] if fleet else []

    def processes(self):
        """The processes of replicas, by the replica's name: what answers, not who supervises it."""
        found = {}
        for process in below(self.gateway.pid):
            if process.command[1:3] == ["container", "serve"] and process.state not in "ZX":
                name = pathlib.Path(process.command[process.command.index("--socket") + 1]).stem
                found.setdefault(name, process)
        return found

    def servers(self):
        """Processes of version 3's command."""
        return [process for process in below(self.gateway.pid)
                if process.command[1:2] == ["server.py"] and process.state not in "ZX"]

    def memory(self):
        """MiB of the gateway."""
        text = pathlib.Path(f"/proc/{self.gateway.pid}/status").read_text()
        return int(text.split("VmRSS:")[1].split()[0]) / 1024

    def files(self):
        return len(os.listdir(f"/proc/{self.gateway.pid}/fd"))

    def once(self, body=None, **headers):
        """One request on a connection of its own."""
        caller = Caller(self.port, 10)
        body = body or self.template.rows[0]
        return caller.ask(body, {name.replace("_", "-"): value for name, value in headers.items()})


Entry = collections.namedtuple("Entry", "due began ended status code retry version rows body")


class Caller:
    """One connection, made anew when it ended."""

    def __init__(self, port, patience=10, source=None):
        self.port, self.patience, self.source, self.connection = port, patience, source, None

    def ask(self, body, headers=None, due=None, rows=(0,)):
        headers = {"content-type": "text/csv", "accept": "application/json"} | (headers or {})
        began = time.time()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.patience, source_address=self.source)
            self.connection.request("POST", "/invocations", body, headers)
            answer = self.connection.getresponse()
            said = answer.read()
            found = answer.getheader
            entry = Entry(due or began, began, time.time(), answer.status, found("x-serin-error-code"), found("retry-after"),
                          found("x-serin-model-version"), rows, said)
            if found("connection") == "close":
                self.close()
            return entry
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Entry(due or began, began, time.time(), type(error).__name__, None, None, None, rows, str(error).encode())

    def close(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Traffic:
    """Callers on connections of their own, each on a schedule, one in ten with three rows."""

    def __init__(self, plant, rate, callers=16, seed=17, patience=5):
        self.plant, self.rate, self.callers, self.seed, self.patience = plant, rate, callers, seed, patience
        self.stops, self.ledgers, self.threads = threading.Event(), [], []

    def __enter__(self):
        for i in range(self.callers):
            self.ledgers.append([])
            self.threads.append(threading.Thread(target=self.ask, args=(i, self.ledgers[-1])))
            self.threads[-1].start()
        return self

    def __exit__(self, *_):
        self.stops.set()
        for thread in self.threads:
            thread.join()

    def ask(self, i, ledger):
        draw, rows = random.Random(self.seed + i), self.plant.template.rows
        caller = Caller(self.plant.port, self.patience, (f"127.0.1.{10 + i}", 0))
        due = time.time() + draw.random() * self.callers / self.rate
        while not self.stops.is_set():
            time.sleep(max(0.0, due - time.time()))
            asked = tuple(draw.randrange(len(rows)) for _ in range(3 if draw.random() < 0.1 else 1))
            ledger.append(caller.ask("\n".join(rows[row] for row in asked), due=due, rows=asked))
            # The rate may change; whoever is late by more than a second lets go of what was missed.
            due = max(due + self.callers / self.rate, time.time() - 1.0)
        caller.close()

    def entries(self, since=0.0):
        return sorted((entry for ledger in self.ledgers for entry in list(ledger) if entry.began >= since),
                      key=lambda entry: entry.began)

    def problem(self, entry):
        """What is wrong with an answer to a good request; nothing when it is as promised."""
        if entry.status != 200:
            return f"{entry.status} {entry.code}"
        if entry.ended - entry.began > 2.0:
            return f"took {entry.ended - entry.began:.2f} s"
        return wrong(entry, self.plant.template.expected)

    def failed(self, since=0.0):
        return [(entry, problem) for entry in self.entries(since) if (problem := self.problem(entry))]


def wrong(entry, expected):
    """Whether every row of an answer is what the version that it names says of that row."""
    said = json.loads(entry.body)
    if str(said["model_version"]) != entry.version:
        return f"two versions: {said['model_version']} and {entry.version}"
    rows = said["predictions"]
    if len(rows) != len(entry.rows):
        return f"{len(rows)} rows were answered, and {len(entry.rows)} asked"
    for row, answer in zip(entry.rows, rows):
        then = expected[int(entry.version)][row]
        if any(abs(now - then) > 1e-9 for now, then in zip(answer["probabilities"].values(), then, strict=True)):
            return f"row {row} is not answered as version {entry.version} answers it"
    return None


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def told(failed, most=4):
    """The first of what failed, in words."""
    kinds = collections.Counter(problem for _, problem in failed)
    first = [f"{entry.began:.3f}+{(entry.ended - entry.began) * 1e3:.0f} ms {problem} {entry.body[:160]!r}" for entry, problem in failed[:most]]
    return f"{len(failed)} failed: {dict(kinds)}; " + "; ".join(first)


def idle_share(seconds=1.0):
    """The share of the machine's processors that is idle."""
    def ticks():
        fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    idle, total = ticks()
    time.sleep(seconds)
    idle_now, total_now = ticks()
    return (idle_now - idle) / max(1, total_now - total)


def stop(process):
    os.kill(process.pid, signal.SIGSTOP)


def kill(process):
    if is_alive(process):
        os.kill(process.pid, signal.SIGKILL)


def program():
    if os.environ.get("SERIN"):
        return os.environ["SERIN"]
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return str(pathlib.Path(target, "release/serin"))
