//! Every limit of the control interface, with its name and unit.

use std::time::Duration;

/// What the control interface takes, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A body of JSON.
    pub body_bytes: usize,
    /// For a body of JSON to arrive.
    pub body: Duration,
    /// Path and query.
    pub uri_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Request line and header fields together.
    pub head_bytes: usize,
    /// Open connections; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Requests in hand; further ones are turned away.
    pub in_hand: usize,
    /// Threads for work that waits for the store or a file.
    pub working_threads: usize,
    /// From accepting a connection, or the end of an answer, to the end of the next head.
    pub head: Duration,
    /// From the end of the head to the beginning of the answer. Work that takes longer ends unseen.
    pub request: Duration,
    /// The same, of requests that bring a file.
    pub file_request: Duration,
    /// For the requests in hand, once told to stop.
    pub drain: Duration,
    /// How long the answer to an idempotency key is kept.
    pub answers_kept: Duration,
    /// Answers kept; the oldest go first.
    pub answers: usize,
    /// The largest answer kept. Handlers that take keys answer with less.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            body: Duration::from_secs(10),
            uri_bytes: 8 << 10,
            header_count: 64,
            head_bytes: 40 << 10,
            connections: 256,
            in_hand: 64,
            working_threads: 8,
            head: Duration::from_secs(30),
            request: Duration::from_secs(30),
            file_request: Duration::from_secs(600),
            drain: Duration::from_secs(5),
            answers_kept: Duration::from_secs(24 * 3_600),
            answers: 2_048,
            answer_bytes: 8 << 10,
        }
    }
}
