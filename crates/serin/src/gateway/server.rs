//! The accept loop: connections in, bounded; a graceful end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::invocation::Gateway;
use super::limits::Limits;
use super::pace::PacedStream;

/// How long to leave accepting alone after it failed: without free file descriptors it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound address and what answers there.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    gateway: Arc<Gateway>,
}

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum BindError {
    /// Others could reach the models.
    #[error(
        "listening on {address} would let everyone who reaches it ask the models, and there are no access tokens \
         yet; type `--listen 127.0.0.1:{port}`, with a proxy in front that checks callers",
        port = address.port()
    )]
    NotLoopback { address: SocketAddr },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Io { address: SocketAddr, source: io::Error },
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request in hand was answered.
    Drained,
    /// Some connections were cut, by the drain limit or a second request to stop.
    Cut,
}

impl Server {
    /// Takes the address. Callers are queued by the kernel from here on, and answered once the server runs.
    ///
    /// # Errors
    /// When the address is not a loopback address, or cannot be had.
    pub async fn bind(address: SocketAddr, gateway: Arc<Gateway>) -> Result<Self, BindError> {
        if !address.ip().is_loopback() {
            return Err(BindError::NotLoopback { address });
        }
        let listener =
            TcpListener::bind(address).await.map_err(|source| BindError::Io { address, source })?;
        Ok(Self { listener, gateway })
    }

    /// The address, with the port that was given when 0 was asked for.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until a message arrives on `stop` (or its sender is gone), then answers the requests in hand; a second
    /// message cuts them.
    pub async fn run(self, mut stop: mpsc::Receiver<()>) -> Ended {
        let limits = *self.gateway.limits();
        let builder = Arc::new(builder(&limits));
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.recv() => break,
                accepted = accept(&self.listener, connections.clone()) => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let serving = serve_connection(stream, &builder, &self.gateway, &graceful);
                    tokio::spawn(async move {
                        serving.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let second = async {
            // A sender that is gone cannot ask again.
            if stop.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = graceful.shutdown() => Ended::Drained,
            () = second => Ended::Cut,
            () = tokio::time::sleep(limits.drain) => Ended::Cut,
        }
    }
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    connections: Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = connections.acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Answers are written whole: waiting to fill a packet would only add delay.
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// The connection being served, and watched so that it ends after the request in hand once the server stops.
fn serve_connection(
    stream: TcpStream,
    builder: &auto::Builder<TokioExecutor>,
    gateway: &Arc<Gateway>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let stream = PacedStream::new(stream, gateway.limits());
    let (pace, gateway) = (stream.pace(), gateway.clone());
    let service = service_fn(move |request| {
        let in_hand = pace.begin();
        let answering = gateway.clone().handle(request);
        async move {
            let response = answering.await;
            drop(in_hand);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    let watched = graceful.watch(connection);
    async move {
        // Callers leave, time out and send nonsense: their connection's end is not news.
        if let Err(error) = watched.await {
            tracing::debug!(error = %error, "connection ended early");
        }
    }
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `pace` has the finer limits; this one also covers what it cannot see.
        .header_read_timeout(limits.idle + limits.head)
        .max_headers(limits.header_count)
        .max_buf_size(limits.head_bytes)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.head);
    builder
}
