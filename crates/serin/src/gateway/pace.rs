//! A connection that must keep up: a caller that sends nothing, or its request's head byte by byte, is let go.
//!
//! The HTTP library has one timer from the end of a request to the end of the next head, so a short limit would close
//! idle connections that callers keep for later, and a long one would let a slow head hold a connection. Here the
//! limit follows the phase: first byte, idle, head, answer. While a request is in hand its own limits hold instead. The
//! stream also has a look at the heads that pass ([`HeadScan`]).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::framing::{Head, HeadScan};
use super::limits::Limits;

/// No limit holds.
const NEVER: u64 = u64::MAX;
/// For a caller to read why it is let go.
const FAREWELL: Duration = Duration::from_secs(1);
/// A caller that reads slower than this for long is let go.
const SLOWEST_BYTES_PER_SECOND: u64 = 1_024;
/// How a connection of HTTP/2 begins (RFC 9113, section 3.4), as far as it tells it from a request line.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2";

/// What the stream and the requests on it know of each other.
#[derive(Debug)]
pub struct Pace {
    opened: Instant,
    head: Duration,
    idle: Duration,
    answer: Duration,
    /// Requests whose answer has not been taken whole by the connection.
    in_hand: AtomicUsize,
    /// Those of them that have no answer yet.
    in_work: AtomicUsize,
    /// Milliseconds after `opened`.
    deadline: AtomicU64,
    /// The first byte of an HTTP/1 request is waited for.
    is_waiting: AtomicBool,
    /// The caller had its chance: the connection ends when nothing is in hand.
    is_leaving: AtomicBool,
    /// The connection has no heads that could be seen: many requests share it, and callers send other things, too.
    is_http2: AtomicBool,
    /// Locked by the connection's own task alone, for HTTP/1 serves one request at a time.
    head_scan: Mutex<HeadScan>,
}

/// A request in hand, until its answer was taken; the idle limit begins when it is dropped.
#[derive(Debug)]
pub struct InHand {
    pace: Arc<Pace>,
    has_answer: bool,
}

/// The stream with its limits.
#[derive(Debug)]
pub struct PacedStream<S> {
    stream: S,
    pace: Arc<Pace>,
    sleep: Pin<Box<Sleep>>,
    /// The deadline that `sleep` is set to.
    armed: u64,
    stall: Option<Stall>,
}

/// The caller has not read all that was sent.
#[derive(Debug, Clone, Copy)]
struct Stall {
    /// Milliseconds after the connection was opened.
    since: u64,
    bytes_since: u64,
}

impl Pace {
    fn deadline_after(&self, limit: Duration) -> u64 {
        u64::try_from((self.opened.elapsed() + limit).as_millis()).unwrap_or(NEVER)
    }

    fn set(&self, limit: Duration) {
        self.deadline.store(self.deadline_after(limit), Ordering::Relaxed);
    }

    /// A request's head has been read; also what was seen of it.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> (InHand, Head) {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        self.in_work.fetch_add(1, Ordering::Relaxed);
        self.is_waiting.store(false, Ordering::Relaxed);
        self.is_leaving.store(false, Ordering::Relaxed);
        self.deadline.store(NEVER, Ordering::Relaxed);
        (InHand { pace: self.clone(), has_answer: false }, self.head_scan().begin())
    }

    /// Bytes arrived.
    fn read(&self, bytes: &[u8]) {
        if bytes.starts_with(HTTP2_PREFACE) && self.is_waiting.load(Ordering::Relaxed) {
            self.is_http2.store(true, Ordering::Relaxed);
            self.is_waiting.store(false, Ordering::Relaxed);
            self.set(self.idle);
        }
        if self.is_http2.load(Ordering::Relaxed) {
            return;
        }
        let is_idle = self.in_hand.load(Ordering::Relaxed) == 0;
        if self.is_waiting.swap(false, Ordering::Relaxed) {
            self.set(self.head);
        }
        if is_idle {
            self.head_scan().read(bytes);
        } else {
            self.head_scan().read_in_hand();
        }
    }

    fn head_scan(&self) -> MutexGuard<'_, HeadScan> {
        // No code panics while it holds this; if it did, what was seen would not matter.
        self.head_scan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request less has no answer.
    fn answered(&self) {
        if self.in_work.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.set(self.answer);
        }
    }
}

impl InHand {
    /// The request has its answer, which the caller is to take; after the last one it is let go.
    pub fn answered(&mut self, is_last: bool) {
        if is_last {
            self.pace.is_leaving.store(true, Ordering::Relaxed);
        }
        if !std::mem::replace(&mut self.has_answer, true) {
            self.pace.answered();
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.answered(false);
        let pace = &self.pace;
        if pace.in_hand.fetch_sub(1, Ordering::Relaxed) == 1 {
            pace.set(if pace.is_leaving.load(Ordering::Relaxed) { FAREWELL } else { pace.idle });
            pace.is_waiting.store(true, Ordering::Relaxed);
        }
    }
}

impl<S> PacedStream<S> {
    /// The stream of a connection that was accepted just now.
    #[must_use]
    pub fn new(stream: S, limits: &Limits) -> Self {
        let pace = Pace {
            opened: Instant::now(),
            head: limits.head,
            idle: limits.idle,
            answer: limits.answer,
            in_hand: AtomicUsize::new(0),
            in_work: AtomicUsize::new(0),
            deadline: AtomicU64::new(0),
            is_waiting: AtomicBool::new(true),
            is_leaving: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            head_scan: Mutex::default(),
        };
        pace.set(limits.first_byte);
        let armed = pace.deadline.load(Ordering::Relaxed);
        let sleep = Box::pin(tokio::time::sleep_until(pace.opened + limits.first_byte));
        Self { stream, pace: Arc::new(pace), sleep, armed, stall: None }
    }

    /// For the requests of this connection.
    #[must_use]
    pub fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// The deadline of the phase, or of a caller that does not read.
    fn deadline(&self) -> u64 {
        let deadline = self.pace.deadline.load(Ordering::Relaxed);
        match self.stall {
            None => deadline,
            Some(Stall { since, bytes_since }) => {
                let earned = bytes_since.saturating_mul(1_000) / SLOWEST_BYTES_PER_SECOND;
                let patience = u64::try_from(self.pace.answer.as_millis()).unwrap_or(NEVER);
                deadline.min(since.saturating_add(patience).saturating_add(earned))
            }
        }
    }

    /// An error once the deadline has passed; else the task is woken then.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let deadline = self.deadline();
            if deadline == NEVER {
                return Ok(());
            }
            if deadline != self.armed {
                self.armed = deadline;
                self.sleep.as_mut().reset(self.pace.opened + Duration::from_millis(deadline));
            }
            if self.sleep.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            if self.deadline() == deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the caller did not keep up"));
            }
        }
    }

    /// A caller that does not read what it is sent has a limit of its own, which reading extends.
    fn unless_stalled<T>(
        &mut self,
        context: &mut Context<'_>,
        sent: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if sent.is_ready() {
            return sent;
        }
        let since = self.pace.deadline_after(Duration::ZERO);
        self.stall.get_or_insert(Stall { since, bytes_since: 0 });
        match self.poll_deadline(context) {
            Ok(()) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// So many bytes were taken.
    fn count(&mut self, written: &Poll<io::Result<usize>>) {
        if let (Some(stall), Poll::Ready(Ok(bytes))) = (&mut self.stall, written) {
            stall.bytes_since += *bytes as u64;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Pending => match this.poll_deadline(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            Poll::Ready(outcome) => {
                let read = &buffer.filled()[filled..];
                if !read.is_empty() {
                    this.pace.read(read);
                }
                Poll::Ready(outcome)
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, data);
        this.count(&written);
        this.unless_stalled(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, data);
        this.count(&written);
        this.unless_stalled(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Asked for when everything was written: nothing is stalled any more.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.stall = None;
        }
        this.unless_stalled(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.unless_stalled(context, shut)
    }
}
