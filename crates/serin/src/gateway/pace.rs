//! A connection that must keep up: a caller that sends nothing, or its request's head byte by byte, is let go.
//!
//! The HTTP library has one timer from the end of a request to the end of the next head, so a short limit would close
//! idle connections that callers keep for later, and a long one would let a slow head hold a connection. Here the
//! limit follows the phase: first byte, idle, head. While a request is in hand its own limits hold instead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::limits::Limits;

/// No limit holds.
const NEVER: u64 = u64::MAX;

/// What the stream and the requests on it know of each other.
#[derive(Debug)]
pub struct Pace {
    opened: Instant,
    head: Duration,
    idle: Duration,
    in_hand: AtomicUsize,
    /// Milliseconds after `opened`.
    deadline: AtomicU64,
    /// 1 while waiting for the first byte of a request.
    waiting: AtomicUsize,
}

/// A request in hand; the idle limit begins when it is dropped.
#[derive(Debug)]
pub struct InHand(Arc<Pace>);

/// The stream with its limits.
#[derive(Debug)]
pub struct PacedStream {
    stream: TcpStream,
    pace: Arc<Pace>,
    sleep: Pin<Box<Sleep>>,
    /// The deadline that `sleep` is set to.
    armed: u64,
}

impl Pace {
    fn deadline_after(&self, limit: Duration) -> u64 {
        u64::try_from((self.opened.elapsed() + limit).as_millis()).unwrap_or(NEVER)
    }

    fn set(&self, limit: Duration) {
        self.deadline.store(self.deadline_after(limit), Ordering::Relaxed);
    }

    /// A request's head has been read.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InHand {
        self.in_hand.fetch_add(1, Ordering::Relaxed);
        self.waiting.store(0, Ordering::Relaxed);
        self.deadline.store(NEVER, Ordering::Relaxed);
        InHand(self.clone())
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        if self.0.in_hand.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.set(self.0.idle);
            self.0.waiting.store(1, Ordering::Relaxed);
        }
    }
}

impl PacedStream {
    /// The stream of a connection that was accepted just now.
    #[must_use]
    pub fn new(stream: TcpStream, limits: &Limits) -> Self {
        let pace = Pace {
            opened: Instant::now(),
            head: limits.head,
            idle: limits.idle,
            in_hand: AtomicUsize::new(0),
            deadline: AtomicU64::new(0),
            waiting: AtomicUsize::new(1),
        };
        pace.set(limits.first_byte);
        let armed = pace.deadline.load(Ordering::Relaxed);
        let sleep = Box::pin(tokio::time::sleep_until(pace.opened + limits.first_byte));
        Self { stream, pace: Arc::new(pace), sleep, armed }
    }

    /// For the requests of this connection.
    #[must_use]
    pub fn pace(&self) -> Arc<Pace> {
        self.pace.clone()
    }

    /// An error once the deadline of the phase has passed; else the task is woken then.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        loop {
            let deadline = self.pace.deadline.load(Ordering::Relaxed);
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
            if self.pace.deadline.load(Ordering::Relaxed) == deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the caller did not keep up"));
            }
        }
    }
}

impl AsyncRead for PacedStream {
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
                let pace = &this.pace;
                if buffer.filled().len() > filled && pace.waiting.swap(0, Ordering::Relaxed) == 1 {
                    pace.set(pace.head);
                }
                Poll::Ready(outcome)
            }
        }
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, data);
        this.unless_late(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, data);
        this.unless_late(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl PacedStream {
    /// A caller that does not read its answer is idle.
    fn unless_late(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => match self.poll_deadline(context) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            },
            ready => ready,
        }
    }
}
