//! One model behind `/ping` and `/invocations`: what a replica of Serin's own is, in a process or a container.
//!
//! It serves whoever stands before it, a gateway or SageMaker's: it captures nothing, splits nothing and knows no versions.
//! It takes rows as the gateway has them in memory, and everything that the gateway's `/invocations` takes.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle, BundleError};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::fleet::wire;
use crate::gateway::judge::served_model;
use crate::gateway::limits::Limits;
use crate::gateway::media::{Encoding, Form, Input, text_of};
use crate::gateway::model::{Predictions, ServedModel};
use crate::gateway::problem::{Code, Problem};
use crate::gateway::rows::{RowBuilder, Rows};
use crate::gateway::{answer, csv_rows, json_rows};

/// Where SageMaker's containers find their model.
pub const MODEL_FOLDER: &str = "/opt/ml/model";
/// The port of SageMaker's containers.
pub const PORT: u16 = 8080;
/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1_024;
/// From accepting a connection, or the end of an answer, to the end of the next head.
const HEAD: Duration = Duration::from_secs(75);
/// For the requests in hand, once told to stop.
const DRAIN: Duration = Duration::from_secs(25);

/// Where a replica listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Why a replica does not serve.
#[derive(Debug, Error)]
pub enum ReplicaError {
    #[error("{}: cannot be read", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{}: holds no bundle (*.serin)", path.display())]
    NoModel { path: PathBuf },
    #[error("{}: holds several bundles; leave one", path.display())]
    SeveralModels { path: PathBuf },
    #[error("{}: is no usable bundle", path.display())]
    Bundle { path: PathBuf, source: BundleError },
    #[error("cannot listen on {at}")]
    Listen { at: String, source: io::Error },
}

/// The one bundle in `folder`.
///
/// # Errors
/// When there is none or several, or it is not usable.
pub fn model(folder: &Path) -> Result<ServedModel, ReplicaError> {
    let unreadable = |source| ReplicaError::Folder { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "serin") {
            found.push(path);
        }
    }
    let path = match found.len() {
        0 => return Err(ReplicaError::NoModel { path: folder.to_owned() }),
        1 => found.remove(0),
        _ => return Err(ReplicaError::SeveralModels { path: folder.to_owned() }),
    };
    let bytes = serin_core::files::read_limited(&path, BUNDLE_LIMIT_BYTES)
        .map_err(|source| ReplicaError::Folder { path: path.clone(), source })?;
    let bundle = Bundle::decode(&bytes).map_err(|source| ReplicaError::Bundle { path, source })?;
    Ok(served_model(bundle))
}

/// Answers until `stop` changes; then what is in hand is answered, and it ends.
///
/// # Errors
/// When it cannot listen.
pub async fn serve(
    model: ServedModel,
    listen: &Listen,
    mut stop: watch::Receiver<bool>,
) -> Result<(), ReplicaError> {
    let cannot = |source| {
        let at = match listen {
            Listen::Unix(path) => path.display().to_string(),
            Listen::Tcp(address) => address.to_string(),
        };
        ReplicaError::Listen { at, source }
    };
    let model = Arc::new(model);
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let listener = match listen {
        Listen::Unix(path) => Listener::Unix(UnixListener::bind(path).map_err(cannot)?),
        Listen::Tcp(address) => Listener::Tcp(TcpListener::bind(address).await.map_err(cannot)?),
    };
    loop {
        let permit = tokio::select! {
            permit = room.clone().acquire_owned() => permit,
            _ = stop.changed() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let Ok(stream) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (model, stop) = (model.clone(), stop.clone());
        connections.spawn(async move {
            connection(stream, model, stop).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, all).await;
    Ok(())
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

async fn connection(stream: Box<dyn Stream>, model: Arc<ServedModel>, mut stop: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let model = model.clone();
        async move { Ok::<_, Infallible>(respond(&model, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.changed() => connection.as_mut().graceful_shutdown(),
    }
    // What was asked is answered; then it closes.
    let _ = connection.await;
}

async fn respond(model: &ServedModel, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/ping") => {
            said(StatusCode::OK, "application/json", Bytes::from_static(b"\n"))
        }
        (&Method::POST, "/invocations") => invoke(model, request).await,
        (_, "/ping" | "/invocations") => {
            let mut response = said(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
            response
        }
        _ => said(StatusCode::NOT_FOUND, "application/json", Bytes::from_static(b"{}")),
    }
}

async fn invoke(model: &ServedModel, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let limits = Limits::default();
    let (head, body) = request.into_parts();
    // Numbers in memory take eight bytes each, which as text may have been two.
    let Ok(body) = Limited::new(body, limits.body_bytes * 4).collect().await else {
        return said(
            StatusCode::PAYLOAD_TOO_LARGE,
            "text/plain",
            Bytes::from_static(b"the body is too large"),
        );
    };
    let body = body.to_bytes();
    let is_rows = head.headers.get(CONTENT_TYPE).is_some_and(|value| value == wire::ROWS);
    let answered =
        if is_rows { judged(model, &body) } else { answered(model, &head.headers, &body, &limits) };
    match answered {
        Ok((content_type, bytes)) => said(StatusCode::OK, content_type, bytes.into()),
        Err(problem) => said(problem.code.status(), "application/problem+json", problem.to_json(None).into()),
    }
}

/// Rows that a gateway has checked.
fn judged(model: &ServedModel, body: &[u8]) -> Result<(&'static str, Vec<u8>), Problem> {
    let width = model.guard().names().len().max(1);
    let values = wire::values(body).filter(|values| !values.is_empty() && values.len().is_multiple_of(width));
    let Some(values) = values else {
        return Err(Problem::new(Code::WrongColumnCount, format!("rows of {width} values were expected")));
    };
    let (mut rows, mut predictions) = (Rows::default(), Predictions::default());
    rows.set(values, width);
    model.classify(&rows, &mut predictions);
    Ok((wire::JUDGEMENTS, wire::judgements(&predictions.chosen, &predictions.probabilities)))
}

fn answered(
    model: &ServedModel,
    headers: &hyper::HeaderMap,
    body: &[u8],
    limits: &Limits,
) -> Result<(&'static str, Vec<u8>), Problem> {
    let input = Input::of(headers)?;
    let form = Form::of(headers, input)?;
    let body = Encoding::of(headers)?.unpack(body, limits.body_bytes)?;
    let text = text_of(&body)?;
    let (mut rows, mut predictions) = (Rows::default(), Predictions::default());
    let mut builder = RowBuilder::new(model.guard(), limits, &mut rows);
    match input {
        Input::Csv(header) => csv_rows::read(text, header, &mut builder)?,
        Input::Json => json_rows::read(text, &mut builder)?,
        Input::JsonLines => json_rows::read_lines(text, &mut builder)?,
    }
    builder.finish()?;
    model.predict(&rows, &mut predictions)?;
    Ok((form.content_type(), answer::encode(form, model, "", &predictions, None)))
}

fn said(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
