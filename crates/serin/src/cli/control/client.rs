//! The control interface, asked over HTTP: one request at a time, bounded in time and size.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use serin_core::clock::SystemClock;
use serin_core::ids::InferenceIds;
use thiserror::Error;
use ureq::Agent;
use ureq::http::header::{ACCEPT, CONTENT_TYPE};
use ureq::http::{Method, Request, Response};

use super::args::ServerArgs;
use super::login;
use crate::cli::settings::Overrides;
use crate::control::ControlNote;

/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Time for an answer, which may be held back for 30 s when there is nothing new.
const ANSWER: Duration = Duration::from_secs(45);
/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;
/// Where the answer goes on: see [`LogPart`].
const NEXT_OFFSET: &str = "x-serin-next-offset";
const LOG_END: &str = "x-serin-log-end";

/// A control plane that can be asked.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    /// Without a slash at the end.
    base: String,
    keys: InferenceIds,
}

/// Part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPart {
    /// Whole lines.
    pub text: String,
    /// What to send for the part behind it.
    pub next: Option<String>,
    /// Nothing more follows.
    pub is_end: bool,
}

/// Why there is no answer, or none of use.
#[derive(Debug, Error)]
pub enum ControlError {
    #[error(
        "no control plane was started here: there is no {}. Type `serin up`, or name one that runs with --url, SERIN_URL or \
         --data-dir", note.display()
    )]
    NotStarted { note: PathBuf },
    #[error("nobody answers at {url}: type `serin up`, or name another address with --url or SERIN_URL")]
    Unreachable { url: String, source: Box<ureq::Error> },
    #[error("{url} is no address of a control interface: write it as http://127.0.0.1:8090")]
    Address { url: String },
    #[error("{url} did not answer in {} s: try again, or look at its log", ANSWER.as_secs())]
    Slow { url: String },
    #[error("the connection to {url} broke")]
    Broken { url: String, source: Box<ureq::Error> },
    #[error("{url} answered {status} with something that is not of Serin's control interface")]
    Foreign { url: String, status: u16 },
    #[error("{0}")]
    Refused(Refusal),
}

/// A problem that the control interface told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    /// Stable.
    pub code: String,
    pub detail: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (detail, code) = (super::words::line(&self.detail), super::words::line(&self.code));
        write!(f, "{detail} ({code})")?;
        fix(&self.code).map_or(Ok(()), |fix| write!(f, "; {fix}"))
    }
}

/// What to do about a problem, where the server's words do not say it.
fn fix(code: &str) -> Option<&'static str> {
    Some(match code {
        "approval_closed" => "`serin approvals` lists what is open",
        "approval_expired" => "`serin run retry RUN` asks again",
        "approval_changed" => "read it again with `serin approval show`, then decide",
        "four_eyes" => "ask a colleague to approve",
        "incomplete" => "give --reason, and --by when there is no login name",
        "version_not_approved" => "approve it first: `serin version approve VERSION --reason ...`",
        "version_rejected" => "`serin version approve VERSION --reason ...` takes the rejection back",
        "nothing_before" => "name a version with --to; `serin versions` lists them",
        "invalid_query" | "invalid_body" => {
            "this program and the server may be of different versions: compare `serin --version`"
        }
        "overloaded" => "try again soon",
        _ => return None,
    })
}

impl ControlError {
    /// Whether the server may come back by itself, as after a restart.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Slow { .. } | Self::Broken { .. } => true,
            Self::Refused(refusal) => refusal.status == 503,
            Self::NotStarted { .. } | Self::Address { .. } | Self::Foreign { .. } => false,
        }
    }
}

impl Client {
    /// The control plane that options, the environment or the data directory name.
    ///
    /// # Errors
    /// When none is named, or settings cannot be used.
    pub fn find(server: &ServerArgs) -> anyhow::Result<Self> {
        if let Some(url) = &server.url {
            return Ok(Self::new(url)?);
        }
        let data_directory = data_directory(server)?;
        let note = ControlNote::read(&data_directory)
            .with_context(|| format!("{}: cannot be read", ControlNote::path(&data_directory).display()))?;
        match note {
            Some(note) => Ok(Self::new(&note.url)?),
            None => Err(ControlError::NotStarted { note: ControlNote::path(&data_directory) }.into()),
        }
    }

    /// The control plane at this address.
    ///
    /// # Errors
    /// When it is no address.
    pub fn new(url: &str) -> Result<Self, ControlError> {
        let base = base(url).ok_or_else(|| ControlError::Address { url: super::words::line(url) })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .user_agent(concat!("serin/", env!("CARGO_PKG_VERSION")))
            .build();
        let keys = InferenceIds::from_entropy(Arc::new(SystemClock::new()));
        Ok(Self { agent: config.new_agent(), base, keys })
    }

    /// The address that is asked.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Looks at `path`, whose parameters were made with [`query`].
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn get(&self, path: &str) -> Result<Value, ControlError> {
        self.json(&Method::GET, path, None)
    }

    /// Does something.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, ControlError> {
        self.json(&Method::POST, path, Some(body))
    }

    /// Sets something.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, ControlError> {
        self.json(&Method::PUT, path, Some(body))
    }

    /// Removes something.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn delete(&self, path: &str) -> Result<Value, ControlError> {
        self.json(&Method::DELETE, path, None)
    }

    /// Reads a part of a log.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub fn log(&self, path: &str) -> Result<LogPart, ControlError> {
        let mut response = self.send(&Method::GET, path, None)?;
        let header = |name| {
            let value = response.headers().get(name).and_then(|value| value.to_str().ok());
            value.map(str::to_owned)
        };
        let (next, is_end) = (header(NEXT_OFFSET), header(LOG_END).is_some_and(|value| value == "true"));
        let body = self.body(&mut response)?;
        Ok(LogPart { text: String::from_utf8_lossy(&body).into_owned(), next, is_end })
    }

    fn json(&self, method: &Method, path: &str, body: Option<&Value>) -> Result<Value, ControlError> {
        let mut response = self.send(method, path, body)?;
        let status = response.status().as_u16();
        let body = self.body(&mut response)?;
        let foreign = |_| ControlError::Foreign { url: self.base.clone(), status };
        serde_json::from_slice(&body).map_err(foreign)
    }

    /// Sends a request, once more when the connection broke: its key makes sure that it is done once.
    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response<ureq::Body>, ControlError> {
        let url = format!("{}/api/v1{path}", self.base);
        let key = (*method != Method::GET).then(|| self.keys.next());
        // A value always serialises.
        let bytes = body.map(|body| serde_json::to_vec(body).unwrap_or_default());
        let once = || {
            let mut request = Request::builder().method(method.clone()).uri(&url);
            request = request.header(ACCEPT, "application/json, text/plain, application/problem+json");
            if let Some(key) = &key {
                request = request.header("idempotency-key", key.as_str());
            }
            match &bytes {
                Some(bytes) => {
                    let request = request.header(CONTENT_TYPE, "application/json").body(bytes.clone())?;
                    self.agent.run(request)
                }
                None => self.agent.run(request.body(())?),
            }
        };
        let answered = match once() {
            Err(error) if is_cut(&error) => once(),
            answered => answered,
        };
        let mut response = answered.map_err(|error| self.failed(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = self.body(&mut response)?;
        Err(refusal(status, &body)
            .map_or_else(|| ControlError::Foreign { url: self.base.clone(), status }, ControlError::Refused))
    }

    fn body(&self, response: &mut Response<ureq::Body>) -> Result<Vec<u8>, ControlError> {
        let body = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_vec();
        body.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ureq::Error) -> ControlError {
        let url = self.base.clone();
        match error {
            ureq::Error::Http(_) | ureq::Error::BadUri(_) => ControlError::Address { url },
            ureq::Error::Timeout(ureq::Timeout::Connect)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed => ControlError::Unreachable { url, source: Box::new(error) },
            ureq::Error::Timeout(_) => ControlError::Slow { url },
            ureq::Error::Io(ref cause) if is_nobody(cause) => {
                ControlError::Unreachable { url, source: Box::new(error) }
            }
            _ => ControlError::Broken { url, source: Box::new(error) },
        }
    }
}

/// The data directory that options, settings or defaults name.
///
/// # Errors
/// When the settings cannot be used.
pub fn data_directory(server: &ServerArgs) -> anyhow::Result<PathBuf> {
    // Settings that are broken just now do not stand in the way of whoever says where.
    if let Some(given) = &server.data_dir {
        return Ok(given.clone());
    }
    let here = Path::new("serin.toml");
    let config = server.config.as_deref().or_else(|| here.is_file().then_some(here));
    let settings = Overrides::new().load(config)?;
    Ok(settings.serve.data_dir)
}

/// The project that a command means: the one named, the one in this folder, or the only one.
///
/// # Errors
/// When that is not one.
pub fn project(client: &Client, named: Option<&str>) -> anyhow::Result<String> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let known = client.get("/projects")?;
    let names: Vec<String> =
        super::words::items(&known).iter().map(|one| super::words::text(one, "name")).collect();
    let here = || {
        let folder = Path::new(".").canonicalize().ok()?.display().to_string();
        let here = super::words::items(&known).iter().find(|one| one["folder"] == *folder)?;
        Some(super::words::text(here, "name"))
    };
    match names.as_slice() {
        [] => anyhow::bail!("the control plane has no project: type `serin up FOLDER`"),
        [only] => Ok(only.clone()),
        several => here().with_context(|| {
            format!("there are several projects; name one with --project: {}", several.join(", "))
        }),
    }
}

/// The name of who does something.
///
/// # Errors
/// When nobody is named, and the system does not say.
pub fn by(given: Option<&str>) -> anyhow::Result<String> {
    given.map(str::to_owned).or_else(login::name).context("there is no login name: give one with --by")
}

/// `?a=b&c=d` of the parameters that have a value; nothing without any.
#[must_use]
pub fn query(parameters: &[(&str, Option<String>)]) -> String {
    let given = parameters.iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let pairs: Vec<String> = given.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Text as one segment of a path, or as a value of a query (RFC 3986: all but the unreserved characters).
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn base(url: &str) -> Option<String> {
    let rest = match url.trim().split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => url.trim(),
    };
    let rest = rest.trim_end_matches('/');
    let is_authority =
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
    is_authority.then(|| format!("http://{rest}"))
}

fn refusal(status: u16, body: &[u8]) -> Option<Refusal> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let code = document["code"].as_str()?.to_owned();
    let detail = document["detail"].as_str().or_else(|| document["title"].as_str())?.to_owned();
    Some(Refusal { status, code, detail })
}

fn is_nobody(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    [ConnectionRefused, AddrNotAvailable, HostUnreachable, NetworkUnreachable].contains(&error.kind())
}

fn is_cut(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error, ureq::Error::Io(error)
        if [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_http_with_nothing_behind_them() {
        for (url, expected) in [
            ("http://127.0.0.1:8090/", Some("http://127.0.0.1:8090")),
            ("127.0.0.1:8090", Some("http://127.0.0.1:8090")),
            ("http://[::1]:8090", Some("http://[::1]:8090")),
            (" localhost:1 ", Some("http://localhost:1")),
            ("https://127.0.0.1:8090", None),
            ("http://127.0.0.1:8090/api/v1", None),
            ("http://user@host", None),
            ("http://", None),
            ("", None),
        ] {
            assert_eq!(base(url).as_deref(), expected, "{url:?}");
        }
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(query(&[("a", None), ("b", None)]), "");
        assert_eq!(
            query(&[("a", Some("x y&z=ä".into())), ("b", Some("1".into()))]),
            "?a=x%20y%26z%3D%C3%A4&b=1"
        );
        assert_eq!(escaped("../x"), "..%2Fx");
    }

    #[test]
    fn problems_are_told_with_their_code_and_what_to_do() {
        let body = br#"{"type": "/errors/four_eyes", "title": "t", "status": 409, "code": "four_eyes",
            "detail": "ann asked for the run of approval 2: another person must approve it", "request_id": "r"}"#;
        let refusal = refusal(409, body).unwrap();
        assert_eq!(
            refusal.to_string(),
            "ann asked for the run of approval 2: another person must approve it (four_eyes); ask a colleague to \
             approve"
        );
        assert_eq!(super::refusal(502, b"<html>"), None);
        assert_eq!(super::refusal(500, b"{\"error\": 1}"), None);
        let steering = Refusal { status: 409, code: "conflict".into(), detail: "a\u{1b}[2Jb".into() };
        assert_eq!(steering.to_string(), "a\u{fffd}[2Jb (conflict)");
    }
}
