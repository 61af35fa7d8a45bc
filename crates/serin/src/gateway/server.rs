//! The accept loop: connections in, bounded; a graceful end.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
#[cfg(target_os = "linux")]
use serin_core::hash::hash;
use socket2::SockRef;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::limits::Limits;
use super::pace::PacedStream;
use super::refusal::Farewell;
use super::service::Gateway;
use super::tls::Tls;

/// How long to leave accepting alone after it failed: without free file descriptors it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Callers that the kernel keeps until there is room for them.
const BACKLOG: u32 = 4_096;
/// Answers of one HTTP/2 stream that wait for the caller to read, bytes.
const HTTP2_SEND_BYTES: usize = 64 << 10;

/// How long callers have to take their last answers before their connections are closed, and how often it is looked.
const FAREWELL: Duration = Duration::from_millis(250);
const FAREWELL_LOOK: Duration = Duration::from_millis(2);

/// A bound address and what answers there.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    gateway: Arc<Gateway>,
    tls: Option<Arc<Tls>>,
    doors: Doors,
}

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum BindError {
    /// Others could reach the models.
    #[error(
        "listening on {address} would let everyone who reaches it ask the models, and there are no access tokens \
         yet; type `{option} 127.0.0.1:{port}`, with a proxy in front that checks callers",
        port = address.port()
    )]
    NotLoopback { option: &'static str, address: SocketAddr },
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}")]
    Io { address: SocketAddr, source: io::Error },
    /// The same of the address that was not asked for by name, as a rule.
    #[error("cannot listen on {address} for health and metrics; name another address with `--admin-listen`")]
    Admin { address: SocketAddr, source: io::Error },
}

/// How the server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request in hand was answered.
    Drained,
    /// Some connections were cut, by the drain limit or a second request to stop.
    Cut,
}

/// Refuses an address that others can reach.
///
/// # Errors
/// When it is not a loopback address.
pub fn check_loopback(option: &'static str, address: SocketAddr) -> Result<(), BindError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(BindError::NotLoopback { option, address }) }
}

impl Server {
    /// Takes the address, or what a program before this one handed over. Callers are queued by the kernel from here on, and answered once the server runs. Addresses
    /// in `proxies` may hold more connections than others.
    ///
    /// # Errors
    /// When the address is not a loopback address, or cannot be had.
    pub fn bind(
        address: SocketAddr,
        gateway: Arc<Gateway>,
        tls: Option<Arc<Tls>>,
        proxies: &[IpAddr],
        inherited: Option<StdListener>,
    ) -> Result<Self, BindError> {
        check_loopback("--listen", address)?;
        let listener = match inherited {
            Some(listener) => adopt(listener),
            None => listen(address),
        };
        let listener = listener.map_err(|source| BindError::Io { address, source })?;
        let doors = Doors::new(gateway.limits(), proxies);
        Ok(Self { listener, gateway, tls, doors })
    }

    /// The address, with the port that was given when 0 was asked for.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The same socket once more: callers are queued there also while nobody accepts them.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn socket(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Serves until a message arrives on `stop` (or its sender is gone), then answers the requests in hand; a second
    /// message cuts them.
    pub async fn run(self, stop: &mut mpsc::Receiver<()>) -> Ended {
        let Self { listener, gateway, tls, doors } = self;
        let limits = *gateway.limits();
        let builder = Arc::new(builder(&limits));
        let graceful = GracefulShutdown::new();
        let room = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.recv() => break,
                accepted = accept(&listener, room.clone(), limits.answer) => accepted,
            };
            match accepted {
                Ok((stream, from, permit)) => {
                    let Some(door) = doors.open(from.ip()) else { continue };
                    let (gateway, builder) = (gateway.clone(), builder.clone());
                    let (watcher, tls) = (graceful.watcher(), tls.clone());
                    tokio::spawn(async move {
                        let open = Open::begin(&gateway);
                        serve_connection(stream, from.ip(), &tls, &builder, &gateway, watcher).await;
                        drop((open, door, permit));
                    });
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        gateway.drain();
        drop(listener);
        // From here on every answer says that it is the last of its connection. Whoever is about to ask on one that is open
        // still asks in time; whoever only keeps one open is cut off after a while.
        let farewell = async {
            while room.available_permits() < limits.connections {
                tokio::time::sleep(FAREWELL_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
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

/// A socket that listens already.
fn adopt(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // The port is ours again at once after a restart.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    room: Arc<Semaphore>,
    patience: Duration,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.acquire_owned().await.map_err(io::Error::other)?;
    let (stream, from) = listener.accept().await?;
    // Answers are written whole: waiting to fill a packet would only add delay. A connection that refuses the options
    // is one that has ended already.
    let _ = stream.set_nodelay(true);
    // What the kernel took from us, and the caller does not take from it, is out of our sight but not of its own.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
    Ok((stream, from, permit))
}

/// The connection being served, and watched so that it ends after the request in hand once the server stops.
async fn serve_connection(
    stream: TcpStream,
    from: IpAddr,
    tls: &Option<Arc<Tls>>,
    builder: &auto::Builder<TokioExecutor>,
    gateway: &Arc<Gateway>,
    watcher: Watcher,
) {
    match tls {
        None => serve_stream(stream, from, builder, gateway, watcher).await,
        Some(tls) => match tokio::time::timeout(gateway.limits().first_byte, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve_stream(stream, from, builder, gateway, watcher).await,
            Ok(Err(error)) => tracing::debug!(error = %error, "no TLS connection"),
            Err(_) => tracing::debug!("no TLS connection in time"),
        },
    }
}

async fn serve_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: IpAddr,
    builder: &auto::Builder<TokioExecutor>,
    gateway: &Arc<Gateway>,
    watcher: Watcher,
) {
    let stream = PacedStream::new(stream, gateway.limits());
    let (pace, gateway) = (stream.pace(), gateway.clone());
    let caller = caller(from);
    let service = service_fn(move |request| {
        let (in_hand, head) = pace.begin();
        let answering = gateway.clone().handle(request, head, caller);
        async move {
            let response = answering.await;
            let is_last = response.extensions().get::<Farewell>().is_some();
            let response = response.map(|sent| sent.in_hand(in_hand, is_last));
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    // Callers leave, time out and send nonsense: their connection's end is not news.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error = %error, "connection ended early");
    }
}

/// A number that tells callers apart without being their address.
fn caller(from: IpAddr) -> u64 {
    match from {
        IpAddr::V4(address) => hash(address.octets()),
        // A network of one owner has as many addresses as it likes.
        IpAddr::V6(address) => hash(address.octets().into_iter().take(8)),
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
        // A caller that has said all may still listen.
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.http2_streams)
        .max_pending_accept_reset_streams(limits.http2_resets)
        .max_local_error_reset_streams(limits.http2_resets)
        .max_send_buf_size(HTTP2_SEND_BYTES)
        .max_frame_size(16 << 10)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        .keep_alive_interval(limits.idle)
        .keep_alive_timeout(limits.head);
    builder
}

/// An open connection, counted.
struct Open<'a>(&'a Gateway);

impl<'a> Open<'a> {
    fn begin(gateway: &'a Gateway) -> Self {
        gateway.metrics().connections.inc();
        Self(gateway)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics().connections.dec();
    }
}

/// How many connections each address has open.
#[derive(Debug, Clone)]
struct Doors {
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most: usize,
    proxies: Arc<[IpAddr]>,
}

/// One connection of an address; closed when dropped.
struct Door {
    doors: Doors,
    from: IpAddr,
}

impl Doors {
    fn new(limits: &Limits, proxies: &[IpAddr]) -> Self {
        Self { open: Arc::default(), most: limits.connections_per_address, proxies: proxies.into() }
    }

    /// `None` when the address has as many as it may have.
    fn open(&self, from: IpAddr) -> Option<Door> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(from).or_default();
        if *count >= self.most && !self.proxies.contains(&from) {
            return None;
        }
        *count += 1;
        Some(Door { doors: self.clone(), from })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let mut open = self.doors.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.from);
            }
        }
    }
}
