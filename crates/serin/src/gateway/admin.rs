//! Health, metrics and the routes in force on an address of their own, served by a thread of their own: they answer while the main port is
//! full, and others need not reach them.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use super::endpoint::Endpoint;
use super::metrics;
use super::problem::{Code, Problem};
use super::refusal::{self, Dialect};
use super::sent::Sent;
use super::server::{BindError, check_loopback};
use super::service::{Gateway, json_response};
use crate::fleet::Unaccepted;
use serin_core::rollout_driver::EVIDENCE;
use serin_core::scale::{COMMAND_SIGNATURE, FLEET_COMMANDS, FLEETS};

/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 256;
/// From accepting a connection, or the end of an answer, to the end of the next head.
const HEAD: Duration = Duration::from_secs(3);
/// Of a command.
const COMMAND_BYTES: usize = 4 << 10;
/// How long to leave accepting alone after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The admin listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Takes the address and begins to answer.
    ///
    /// # Errors
    /// When the address is not a loopback address, or cannot be had.
    pub fn start(address: SocketAddr, gateway: Arc<Gateway>) -> Result<Self, BindError> {
        check_loopback("--admin-listen", address)?;
        let io_error = |source| BindError::Admin { address, source };
        let listener = StdListener::bind(address).map_err(io_error)?;
        listener.set_nonblocking(true).map_err(io_error)?;
        let address = listener.local_addr().map_err(io_error)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    ended = serve(listener, gateway) => {
                        if let Err(error) = ended {
                            tracing::error!(error = &error as &dyn std::error::Error, "no metrics any more");
                        }
                    }
                    // A sender that is gone means the same.
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("admin".to_owned()).spawn(serve).map_err(io_error)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address, with the port that was given when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

async fn serve(listener: StdListener, gateway: Arc<Gateway>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let gateway = gateway.clone();
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let gateway = &gateway;
                async move {
                    Ok::<_, Infallible>(match request.uri().path() {
                        FLEET_COMMANDS => command(gateway, request).await,
                        _ => answer(gateway, &request),
                    })
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "admin connection ended early");
            }
            drop(permit);
        });
    }
}

fn answer(gateway: &Gateway, request: &Request<Incoming>) -> Response<Sent> {
    let path = request.uri().path();
    if !["/metrics", "/health/live", "/health/ready", "/routes", EVIDENCE, FLEETS].contains(&path) {
        let problem = Problem::new(
            Code::NotFound,
            "there is /metrics, /health/live, /health/ready, /routes, /evidence and /replicas",
        );
        return refusal::response(Dialect::Plain, &problem, None, Version::HTTP_11);
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return refusal::method_not_allowed(Dialect::Plain, &["GET"], Version::HTTP_11);
    }
    let mut response = Response::default();
    match path {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
            let (content_type, text) = metrics::as_accepted(accept, gateway.metrics_text());
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            *response.body_mut() = Sent::from(text);
        }
        "/routes" => return json_response(&routes(gateway)),
        EVIDENCE => return json_response(&json!(gateway.evidence_page())),
        FLEETS => return json_response(&json!(gateway.fleets_page())),
        "/health/ready" if !gateway.is_ready() => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        _ => {}
    }
    response
}

/// Carries out what somebody wants of the replicas who may write where routes are kept.
async fn command(gateway: &Gateway, request: Request<Incoming>) -> Response<Sent> {
    if request.method() != Method::POST {
        return refusal::method_not_allowed(Dialect::Plain, &["POST"], Version::HTTP_11);
    }
    let refuse = |code, detail: String| {
        refusal::response(Dialect::Plain, &Problem::new(code, detail), None, Version::HTTP_11)
    };
    let signature = request.headers().get(COMMAND_SIGNATURE).and_then(|value| value.to_str().ok());
    let signature = signature.unwrap_or_default().to_owned();
    let body = Limited::new(request.into_body(), COMMAND_BYTES).collect();
    let Ok(Ok(body)) = tokio::time::timeout(HEAD, body).await else {
        return refuse(Code::BodyTooLarge, format!("a command has at most {COMMAND_BYTES} bytes"));
    };
    let Some(fleets) = gateway.fleets() else {
        return refuse(Code::NotFound, "this gateway has no replicas".to_owned());
    };
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    match fleets.signed_command(&text, &signature) {
        Ok(()) => json_response(&json!({ "done": true })),
        Err(error @ Unaccepted::Nowhere(_)) => refuse(Code::NotFound, error.to_string()),
        Err(error) => refuse(Code::InvalidHeader, error.to_string()),
    }
}

/// What is in force, by which route document, and why another one is not.
fn routes(gateway: &Gateway) -> Value {
    let snapshot = gateway.snapshot();
    let variants = |endpoint: &Endpoint| -> Vec<Value> {
        let each = endpoint.variants().iter();
        each.map(|variant| {
            let (version, run) = (variant.model.version(), variant.model.run());
            json!({ "name": variant.name, "weight": variant.weight, "model_version": version, "run": run })
        })
        .collect()
    };
    let each = snapshot.endpoints().iter();
    let endpoints: Map<String, Value> = each
        .map(|endpoint| (endpoint.name().to_owned(), json!({ "variants": variants(endpoint) })))
        .collect();
    json!({
        "epoch": snapshot.origin().map(|origin| origin.epoch),
        "document": snapshot.origin().map(|origin| origin.document),
        "default": snapshot.default_name(),
        "endpoints": endpoints,
        "refused": gateway.refused().as_deref(),
    })
}
