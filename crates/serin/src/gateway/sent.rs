//! The body of an answer, with what is held until it has gone.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::body::Held;
use super::pace::InHand;

/// The bytes of an answer. Its connection's time is given back when the HTTP library has taken them, its place in memory
/// when they are written, or nobody wants them any more.
#[derive(Debug, Default)]
pub struct Sent {
    bytes: Full<Bytes>,
    in_hand: Option<InHand>,
}

/// The bytes of a large answer, which the HTTP library may keep long after it took the body.
struct HeldBytes {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sent {
    /// Bytes that keep their share of memory until the connection has written them.
    #[must_use]
    pub fn holding(bytes: Vec<u8>, held: Held) -> Self {
        if held.is_none() {
            Self::from(bytes)
        } else {
            Self::from(Bytes::from_owner(HeldBytes { bytes, _held: held }))
        }
    }

    /// Keeps the connection waiting for its caller to take the answer; the last one is followed by its end.
    #[must_use]
    pub fn in_hand(mut self, mut in_hand: InHand, is_last: bool) -> Self {
        in_hand.answered(is_last);
        self.in_hand = Some(in_hand);
        self
    }
}

impl<B: Into<Bytes>> From<B> for Sent {
    fn from(bytes: B) -> Self {
        Self { bytes: Full::new(bytes.into()), in_hand: None }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.bytes).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes.size_hint()
    }
}
