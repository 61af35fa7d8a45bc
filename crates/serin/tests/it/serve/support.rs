//! A server for the tests, in this process or in one of its own, and a client that hides nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;
use serin::gateway::endpoint::{Endpoint, Snapshot};
use serin::gateway::lifecycle::{Ready, ServeOptions, Served, Signals, serve};
use serin::gateway::limits::Limits;
use serin::gateway::model::{Classifier, ServedModel};
use serin::gateway::server::Ended;
use serin::gateway::supply::Endpoints;
use serin_core::capture::CaptureOptions;
use serin_core::clock::SystemClock;
use serin_ml::dataset::{ColumnKind, Field, Schema};
use serin_ml::train::{CannotExplain, Explanation, ScoreUnit};
use tokio::sync::mpsc;

pub const CSV: (&str, &str) = ("content-type", "text/csv");
pub const JSON: (&str, &str) = ("content-type", "application/json");
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// Three features, two classes, a number at which the answer is spoilt, and one at which it takes its time.
pub struct Sigmoid;

impl Classifier for Sigmoid {
    fn classify(&self, rows: &[f64], probabilities: &mut [f64], chosen: &mut [usize]) {
        for (i, row) in rows.chunks_exact(3).enumerate() {
            if row[0] == 777.0 {
                thread::sleep(Duration::from_millis(400));
            }
            let big = if row[0] == 666.0 { f64::NAN } else { 1.0 / (1.0 + (-row[0]).exp()) };
            probabilities[2 * i..2 * i + 2].copy_from_slice(&[1.0 - big, big]);
            chosen[i] = usize::from(big > 0.5);
        }
    }

    fn explain(&self, row: &[f64], class: usize) -> Result<Explanation, CannotExplain> {
        if row[0] == 555.0 {
            return Err(CannotExplain::Class { class });
        }
        let sign = if class == 1 { 1.0 } else { -1.0 };
        Ok(Explanation {
            base: 0.0,
            contributions: vec![sign * row[0], 0.5, -0.25],
            unit: ScoreUnit::LogOdds,
        })
    }
}

/// The model of the tests, as one of its versions.
pub fn model(version: &str) -> ServedModel {
    let field =
        |name: &str, kind, has_missing| Field { name: name.to_owned(), kind, range: None, has_missing };
    let fields = vec![
        field("width", ColumnKind::Number, false),
        field("height", ColumnKind::Integer, true),
        field("flag", ColumnKind::Boolean, false),
    ];
    let classes = ["small, or \"none\"".to_owned(), "big".to_owned()];
    let missing = serin_ml::dataset::MISSING_TOKENS.map(str::to_owned);
    ServedModel::new(version, &Schema { fields }, &missing, &classes, Box::new(Sigmoid))
}

/// One endpoint with that model.
pub fn one_endpoint() -> Endpoints {
    Endpoints::new(|_| Ok(Snapshot::new(vec![Endpoint::of_one("test", model("0123456789ab"))?], None)?))
}

/// Everything at its default, on free ports.
pub fn options(folder: &Path) -> ServeOptions {
    ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        proxies: vec!["127.0.0.1".parse().unwrap()],
        capture: CaptureOptions::new(folder),
        limits: Limits::default(),
        inherited: None,
    }
}

pub fn clock() -> Arc<SystemClock> {
    Arc::new(SystemClock::new())
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server within the test's own process.
pub struct Server {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub admin_address: SocketAddr,
    stop: mpsc::Sender<()>,
    pub reload: mpsc::Sender<()>,
    thread: JoinHandle<Served>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut ServeOptions)) -> Self {
        Self::start_of(one_endpoint(), change)
    }

    pub fn start_of(endpoints: Endpoints, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (stop, stopped) = mpsc::channel(2);
        let (reload, reloaded) = mpsc::channel(1);
        let signals = Signals { stop: stopped, reload: reloaded, hands_over: Arc::default() };
        let (tell, told) = channel();
        let mut options = options(folder.path());
        change(&mut options);
        let thread = thread::spawn(move || {
            let ready = |ready: &Ready| tell.send((ready.address, ready.admin_address)).unwrap();
            runtime().block_on(serve(options, endpoints, clock(), signals, ready)).unwrap()
        });
        let (address, admin_address) = told.recv_timeout(PATIENCE).unwrap();
        Self { folder, address, admin_address, stop, reload, thread }
    }

    pub fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        Answer::read(&mut stream)
    }

    /// What the metrics say of `series`, which is a name with its labels.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }

    /// All metrics.
    pub fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin_address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        Answer::read(&mut stream).text().to_owned()
    }

    pub fn post(&self, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.exchange(&request(headers, body))
    }

    /// Posts to any address.
    pub fn post_to(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.exchange(&request_to(path, headers, body))
    }

    pub fn get(&self, path: &str) -> Answer {
        self.exchange(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
    }

    /// The status of a plain request, if it is answered at all.
    pub fn get_plain(&self) -> Option<u16> {
        let mut stream = self.connect();
        stream.write_all(b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n").ok()?;
        Answer::try_read(&mut stream).map(|answer| answer.status)
    }

    pub fn database(&self) -> PathBuf {
        self.folder.path().join("inferences.db")
    }

    /// Stops and waits for the table.
    pub fn stop(self) -> Stopped {
        self.stop.blocking_send(()).unwrap();
        let served = self.thread.join().unwrap();
        assert_eq!(served.ended, Ended::Drained);
        Stopped { served, folder: self.folder }
    }
}

/// What a server left.
pub struct Stopped {
    pub served: Served,
    pub folder: tempfile::TempDir,
}

impl Stopped {
    pub fn count(&self, sql: &str) -> u64 {
        count(&self.folder.path().join("inferences.db"), sql)
    }
}

/// A server in a process of its own, to be killed.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve::capture::serving_process", "--ignored", "--nocapture"])
            .env("SERIN_TEST_FOLDER", folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut addresses = lines.filter_map(|line| Some(line.strip_prefix("address=")?.parse().unwrap()));
        let address = addresses.next().unwrap();
        // The pipe must stay open, or the process would fail to print its end.
        thread::spawn(move || addresses.count());
        Self { child, address }
    }
}

/// Asks row after row on one connection until the server is gone; the ids that were answered.
pub fn ask_until_gone(address: SocketAddr, name: &str) -> Vec<String> {
    let mut answered = Vec::new();
    let Ok(mut stream) = TcpStream::connect(address) else { return answered };
    for n in 0.. {
        let id = format!("{name}-{n}");
        let headers = [CSV, ("x-amzn-sagemaker-inference-id", id.as_str())];
        if stream.write_all(&request(&headers, b"1,2,0")).is_err() {
            break;
        }
        match Answer::try_read(&mut stream) {
            Some(answer) if answer.status == 200 => answered.push(id),
            _ => break,
        }
    }
    answered
}

/// A connection on which nothing takes for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub fn request(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request_to("/invocations", headers, body)
}

pub fn request_to(path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("POST {path} HTTP/1.1\r\nhost: x\r\n").into_bytes();
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    write!(bytes, "content-length: {}\r\n\r\n", body.len()).unwrap();
    bytes.extend_from_slice(body);
    bytes
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn read(stream: &mut TcpStream) -> Self {
        Self::try_read(stream).expect("a whole answer")
    }

    pub fn try_read(stream: &mut TcpStream) -> Option<Self> {
        Self::try_parse(&mut BufReader::new(stream))
    }

    pub fn try_parse(reader: &mut impl BufRead) -> Option<Self> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
        let mut body = vec![0; length.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        Some(Self { status, headers, body })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The code of the problem, empty when it is none.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn count(database: &Path, sql: &str) -> u64 {
    let table = Connection::open(database).unwrap();
    let rows: i64 = table.query_row(sql, [], |row| row.get(0)).unwrap();
    rows.unsigned_abs()
}
