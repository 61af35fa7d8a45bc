//! Connections to one replica, kept for the next question.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serin_core::runtime::ReplicaAddress;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::health::Trouble;
use super::wire::Dialect;

/// For how long somebody waits for the answer, milliseconds: a program that knows may spare itself the rest.
pub const PATIENCE: HeaderName = HeaderName::from_static("x-serin-patience-milliseconds");
/// Connections that are kept while nobody asks.
const IDLE: usize = 64;
/// Most bytes of what a replica says is wrong.
const REASON_BYTES: usize = 2_048;

/// The way to one replica.
pub struct Connections {
    address: ReplicaAddress,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// What a replica says.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub content_type: String,
    pub body: Bytes,
}

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoReply {
    pub trouble: Trouble,
    /// Nobody took a connection: the question was not asked.
    pub is_absent: bool,
    pub reason: String,
}

impl Connections {
    /// The way to `address`; nothing is connected yet.
    #[must_use]
    pub fn new(address: ReplicaAddress) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// Asks whether it is healthy: anything but 200 is not.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn ping(&self) -> Result<(), NoReply> {
        let reply = self.send(|| request(Method::GET, "/ping", Bytes::new()), REASON_BYTES).await?;
        match reply.status {
            StatusCode::OK => Ok(()),
            status => Err(garbage(format!("/ping answers {status}"))),
        }
    }

    /// Asks for answers of at most `limit` bytes, which nobody waits for after `patience`.
    ///
    /// # Errors
    /// When the connection fails, or what comes is no HTTP or too long.
    pub async fn invoke(
        &self,
        dialect: Dialect,
        body: Bytes,
        limit: usize,
        patience: Duration,
    ) -> Result<Reply, NoReply> {
        let milliseconds = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let (content_type, accept) = dialect.content_types();
        let request = || {
            let mut request = request(Method::POST, "/invocations", body.clone());
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
            request.headers_mut().insert(PATIENCE, milliseconds.into());
            request
        };
        self.send(request, limit.max(REASON_BYTES)).await
    }

    /// One that was kept may be closed by the other side just now, which says nothing about it: then another is made. That
    /// asks twice at worst, and what is asked here changes nothing.
    async fn send(&self, request: impl Fn() -> Request<Full<Bytes>>, limit: usize) -> Result<Reply, NoReply> {
        if let Some(mut kept) = self.kept()
            && kept.ready().await.is_ok()
            && let Ok(response) = kept.send_request(request()).await
        {
            return self.read(kept, response, limit).await;
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request()).await.map_err(|error| gone(&error))?;
        self.read(sender, response, limit).await
    }

    async fn read(
        &self,
        sender: SendRequest<Full<Bytes>>,
        response: hyper::Response<hyper::body::Incoming>,
        limit: usize,
    ) -> Result<Reply, NoReply> {
        let (head, body) = response.into_parts();
        let content_type =
            head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let content_type = content_type.to_owned();
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            match error.downcast_ref::<hyper::Error>() {
                Some(error) => gone(error),
                None => garbage(format!("the answer is longer than {limit} bytes")),
            }
        })?;
        self.keep(sender);
        Ok(Reply { status: head.status, content_type, body: body.to_bytes() })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, NoReply> {
        let refused = |error: std::io::Error| NoReply {
            trouble: Trouble::Gone,
            is_absent: true,
            reason: format!("{} takes no connection: {error}", self.address),
        };
        match &self.address {
            ReplicaAddress::Unix(path) => handshake(UnixStream::connect(path).await.map_err(refused)?).await,
            ReplicaAddress::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(refused)?;
                let _ = stream.set_nodelay(true);
                handshake(stream).await
            }
        }
    }

    fn kept(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(sender) = idle.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE && !sender.is_closed() {
            // The freshest is used next: the others may be closed by whoever is idle too long.
            idle.push(sender);
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<SendRequest<Full<Bytes>>, NoReply> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| gone(&error))?;
    // It ends when the sender is dropped or the other side closes; what failed is told to whoever sent.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

fn request(method: Method, path: &'static str, body: Bytes) -> Request<Full<Bytes>> {
    let length = body.len();
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request.headers_mut().insert(HOST, HeaderValue::from_static("replica"));
    request.headers_mut().insert(CONTENT_LENGTH, length.into());
    request
}

fn gone(error: &hyper::Error) -> NoReply {
    let is_garbage = error.is_parse() || error.is_user();
    let trouble = if is_garbage { Trouble::Garbage } else { Trouble::Gone };
    NoReply { trouble, is_absent: false, reason: serin_core::causes::in_one_line(error) }
}

fn garbage(reason: String) -> NoReply {
    NoReply { trouble: Trouble::Garbage, is_absent: false, reason }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("address", &self.address).finish_non_exhaustive()
    }
}
