//! Bodies as they arrive: bounded in size, in pace, and together in memory.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use tokio::time::Instant;

use super::limits::Limits;
use super::problem::{Code, Problem};

/// How long to take the rest of a refused body, so that the caller has read the answer before the connection closes.
const DISCARD_TIME: Duration = Duration::from_secs(2);
/// A caller that sends slower than this for long is let go.
const SLOWEST_BYTES_PER_SECOND: f64 = 1_024.0;
/// Up to this size a body is not counted: the limit on requests in hand bounds their sum.
const UNCOUNTED_BYTES: usize = 16 << 10;

/// The memory that all bodies in hand may take together.
#[derive(Debug)]
pub struct BodyMemory {
    free_bytes: AtomicUsize,
}

/// The part that one body has; given back when dropped.
#[derive(Debug)]
pub struct Held {
    memory: Arc<BodyMemory>,
    bytes: usize,
}

impl BodyMemory {
    /// Room for `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { free_bytes: AtomicUsize::new(bytes) })
    }

    /// Nothing held yet.
    #[must_use]
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { memory: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Whether nothing is held.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.bytes == 0
    }

    /// Holds `bytes` in all.
    ///
    /// # Errors
    /// When there is no room for them now.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        if bytes <= UNCOUNTED_BYTES.max(self.bytes) {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let taken = self
            .memory
            .free_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(more));
        if taken.is_err() {
            return Err(Problem::new(Code::Overloaded, "too many large bodies at once; try again later"));
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.free_bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// The whole body of a request, as sent.
///
/// # Errors
/// When it is too large, comes too slowly, ends early, or there is no room for it.
pub async fn read(body: &mut Incoming, limits: &Limits, held: &mut Held) -> Result<Bytes, Problem> {
    let limit_bytes = limits.body_bytes;
    let started = Instant::now();
    let mut whole = Bytes::new();
    let mut parts: Vec<u8> = Vec::new();
    let mut is_too_large = body.size_hint().lower() > limit_bytes as u64;
    while !is_too_large {
        let received = whole.len() + parts.len();
        // Nearly every body is there already: no timer is set for it.
        let frame = match next_if_there(body).await {
            Some(frame) => frame,
            None => {
                let patience = slowest(received).min(limits.request);
                tokio::time::timeout_at(started + patience, body.frame()).await.map_err(|_| {
                    let detail =
                        format!("{received} bytes of the body were there after {} s", patience.as_secs());
                    Problem::new(Code::RequestTimeout, detail)
                })?
            }
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| ended_early(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        is_too_large = received + data.len() > limit_bytes;
        held.grow_to(received + data.len())?;
        // Nearly every body comes in one piece: that one is not copied.
        if received == 0 {
            whole = data;
        } else {
            if parts.is_empty() {
                parts = std::mem::take(&mut whole).into();
            }
            parts.extend_from_slice(&data);
        }
    }
    if is_too_large {
        let detail = format!("a body has at most {limit_bytes} bytes; send fewer rows at a time");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    Ok(if parts.is_empty() { whole } else { parts.into() })
}

/// How long the first bytes of a body may take, when `received` of them are there.
fn slowest(received: usize) -> Duration {
    Duration::from_secs(5) + Duration::from_secs_f64(received as f64 / SLOWEST_BYTES_PER_SECOND)
}

/// The next frame if it is there without waiting: `Some(None)` at the end of the body.
async fn next_if_there(
    body: &mut Incoming,
) -> Option<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
    use std::future::{Future, poll_fn};
    use std::pin::Pin;
    use std::task::Poll;
    let mut frame = body.frame();
    poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut frame).poll(context) {
            Poll::Ready(frame) => Some(frame),
            Poll::Pending => None,
        })
    })
    .await
}

/// The library says the same of a body that stops and of one that cannot be read; what it wraps tells them apart.
fn ended_early(error: &hyper::Error) -> Problem {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<io::Error>()
            && matches!(inner.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData)
        {
            return Problem::new(Code::BadEncoding, "the framing of the body is wrong");
        }
        source = inner.source();
    }
    Problem::new(Code::ClientGone, "the body ended early")
}

/// Takes the rest of a body that is refused anyway, up to a limit: closing with bytes unread would reset the connection, and the
/// caller might never see why.
pub async fn discard(body: &mut Incoming, limit_bytes: usize) {
    let rest = async {
        let mut taken = 0;
        while taken <= limit_bytes
            && let Some(Ok(frame)) = body.frame().await
        {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
}
