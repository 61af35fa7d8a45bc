//! The listener of the control interface: a thread of its own, bounded, with a graceful end.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::limits::Limits;

/// How long to leave accepting alone after it failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The control interface; it ends when this is dropped, after the requests in hand.
#[derive(Debug)]
pub struct ApiServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the control interface did not start.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Others could reach it.
    #[error(
        "listening on {address} would let everyone who reaches it deploy and approve, and there are no access tokens \
         yet; type `{option} 127.0.0.1:{port}`, with a proxy in front that checks callers",
        port = address.port()
    )]
    NotLoopback { option: &'static str, address: SocketAddr },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address} for the control interface; name another address with `{option}`")]
    Io { option: &'static str, address: SocketAddr, source: io::Error },
}

impl ApiServer {
    /// Takes the address (port 0 takes a free one) and begins to answer with `app`. `option` is what the address was
    /// given with.
    ///
    /// # Errors
    /// When the address is not a loopback address, or cannot be had.
    pub fn start(
        option: &'static str,
        address: SocketAddr,
        app: Router,
        limits: Limits,
    ) -> Result<Self, ListenError> {
        if !address.ip().is_loopback() {
            return Err(ListenError::NotLoopback { option, address });
        }
        let io_error = |source| ListenError::Io { option, address, source };
        let listener = StdListener::bind(address).map_err(io_error)?;
        listener.set_nonblocking(true).map_err(io_error)?;
        let address = listener.local_addr().map_err(io_error)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(limits.working_threads)
            .build()
            .map_err(io_error)?;
        let (stop, stopped) = oneshot::channel();
        let serve = move || {
            runtime.block_on(async {
                if let Err(error) = serve(listener, app, limits, stopped).await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "no control interface any more"
                    );
                }
            });
            // Work that nobody waits for any more does not hold up the end.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(serve).map_err(io_error)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// The address, with the port that was given when 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Answers until `stopped` is told, or its sender is gone.
async fn serve(
    listener: StdListener,
    app: Router,
    limits: Limits,
    mut stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(limits.header_count)
        .max_buf_size(limits.head_bytes);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stopped => break,
            accepted = accept(&listener, room.clone()) => accepted,
        };
        let Ok((stream, permit)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = TowerToHyperService::new(app.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // Callers leave and send nonsense: their connection's end is not news.
            if let Err(error) = connection.await {
                tracing::debug!(error = %error, "control connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(limits.drain, graceful.shutdown()).await;
    Ok(())
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    room: Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = room.acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    let _ = stream.set_nodelay(true);
    Ok((stream, permit))
}
