//! The control interface as programs meet it: a real control plane and gateway, asked over HTTP.

mod gate;
mod metrics;
mod pushes;
mod runs;
mod story;
mod uploads;

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin::api::app::app;
use serin::api::handlers;
use serin::api::limits::Limits;
use serin::api::origin::Hosts;
use serin::api::routes::ROUTES;
use serin::api::server::ApiServer;
use serin::control::{Control, ControlOptions};
use serin_core::capture::Serving;
use serin_core::clock::Clock as _;
use serin_core::config::NotifySettings;
use serin_core::pipeline::project_settings;

use crate::serve::support::{Answer, clock, connect};

const PATIENCE: Duration = Duration::from_secs(90);

/// A control plane with its interface on a data directory of its own. Fields go in this order.
pub struct Plant {
    server: ApiServer,
    _control: Arc<Control>,
    gateway: Option<Child>,
    folder: tempfile::TempDir,
}

impl Plant {
    /// With the project `wine`, whose settings end with `settings`.
    pub fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_project(&folder.path().join("wine"), settings);
        Self::start_in(folder)
    }

    pub fn start_in(folder: tempfile::TempDir) -> Self {
        let data = folder.path().join("data");
        fs::create_dir_all(&data).unwrap();
        let control = Control::start(ControlOptions {
            data_directory: data,
            program: PathBuf::from(env!("CARGO_BIN_EXE_serin")),
            clock: clock(),
            notify: notify(&folder.path().join("wine")),
        });
        let control = Arc::new(control.unwrap());
        control.add_project(&folder.path().join("wine")).unwrap();
        let limits = Limits::default();
        let app = app(&ROUTES, handlers(control.clone()), Hosts::default(), limits, clock());
        let server =
            ApiServer::start("--control-listen", "127.0.0.1:0".parse().unwrap(), app, limits).unwrap();
        Self { server, _control: control, gateway: None, folder }
    }

    pub fn with_gateway(mut self) -> Self {
        let data = self.folder.path().join("data");
        let gateway = Command::new(env!("CARGO_BIN_EXE_serin"))
            .args(["gateway", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"])
            .arg(&data)
            .stderr(Stdio::null())
            .spawn();
        self.gateway = Some(gateway.unwrap());
        self.wait("the gateway", || Serving::read(&data).unwrap());
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("wine")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        exchange(self.address(), method, path, headers, body)
    }

    /// The answer to a question that has one.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "GET {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        told(&self.ask(method, path, &[JSON], body.to_string().as_bytes()))
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send("POST", path, body)
    }

    /// Asks for a run of the project.
    pub fn run(&self, body: &Value) -> u64 {
        let (status, outcome) = self.post("/projects/wine/runs", body);
        assert_eq!((status, outcome["outcome"].as_str()), (201, Some("run")), "{outcome}");
        outcome["run"].as_u64().unwrap()
    }

    pub fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let clock = clock();
        let until = clock.monotonic() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(clock.monotonic() < until, "{what} did not come: {:#}", self.get("/events?last=40"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The run once nothing more happens by itself.
    pub fn ended(&self, run: u64) -> Value {
        self.wait("the end of the run", || {
            let run = self.get(&format!("/runs/{run}"));
            run["ended"].is_string().then_some(run)
        })
    }

    pub fn succeeded(&self, run: u64) -> Value {
        let run = self.ended(run);
        assert_eq!(run["state"], json!({ "name": "succeeded" }), "{run:#}");
        run
    }

    /// The approval that is open.
    pub fn approval(&self) -> u64 {
        self.wait("an approval", || self.get("/approvals?open=true")["items"][0]["number"].as_u64())
    }

    pub fn approve(&self, number: u64, by: &str) -> (u16, Value) {
        let body = json!({ "verdict": "approve", "by": by, "reason": "looks right" });
        self.post(&format!("/approvals/{number}/decision"), &body)
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            let _ = gateway.kill();
            let _ = gateway.wait();
        }
    }
}

pub const JSON: (&str, &str) = ("content-type", "application/json");

/// Paths are below the interface's root; those that begin with two slashes are not.
pub fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let path = path
        .strip_prefix('/')
        .filter(|path| path.starts_with('/'))
        .map_or(format!("/api/v1{path}"), str::to_owned);
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        head.push_str("host: localhost\r\n");
    }
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    if !body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    let mut stream = connect(address);
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    // A refusal may come before the body is read.
    let _ = stream.write_all(body);
    Answer::read(&mut stream)
}

pub fn told(answer: &Answer) -> (u16, Value) {
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Status and code of a problem.
pub fn problem((status, said): (u16, Value)) -> (u16, String) {
    (status, said["code"].as_str().unwrap_or_default().to_owned())
}

pub fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn notify(folder: &Path) -> NotifySettings {
    project_settings(folder).unwrap().notify
}

/// Three classes in two features.
pub fn rows(shift: u32) -> String {
    let mut rows = "a,b,label\n".to_owned();
    for i in 0..300_u32 {
        let class = i % 3;
        let noise =
            |salt: u32| f64::from(i.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 12 & 0xff) / 128.0;
        rows.push_str(&format!(
            "{},{},c{class}\n",
            f64::from(class * shift) + 2.0 * noise(0),
            noise(977 << 12)
        ));
    }
    rows
}

pub fn write_project(folder: &Path, settings: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("train.csv"), rows(2)).unwrap();
    fs::write(
        folder.join("serin.toml"),
        format!(
            "[project]\nname = \"wine\"\n[data]\ntrain = \"train.csv\"\ntarget = \"label\"\n[train]\ntrials = 3\n\
             families = [\"logistic\"]\nfolds = 3\n[stages.prod.rollout]\npreset = \"all-at-once\"\n[gates]\nchallenger_margin = -1.0\n{settings}"
        ),
    )
    .unwrap();
}
