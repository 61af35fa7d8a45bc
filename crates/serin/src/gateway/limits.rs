//! Every limit of the gateway, with its name and unit.

use std::time::Duration;

/// What the gateway takes, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A body, as sent and again when decoded. SageMaker's own limit is the same 6 MiB.
    pub body_bytes: usize,
    /// Rows in one request.
    pub rows: usize,
    /// Rows of a request that are explained: each takes as long as a thousand answers.
    pub explained_rows: usize,
    /// Arrays and objects within each other.
    pub json_depth: usize,
    /// One CSV cell or JSON string.
    pub cell_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Request line and header fields together.
    pub head_bytes: usize,
    /// Path and query.
    pub uri_bytes: usize,
    /// Open connections; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Open connections from one address that is not a listed proxy.
    pub connections_per_address: usize,
    /// Requests in hand, whatever they wait for; further ones are turned away.
    pub in_hand: usize,
    /// Bodies above 16 KiB that are in memory, together.
    pub bodies_bytes: usize,
    /// Batches that wait for a processor; further ones are turned away.
    pub waiting_batches: usize,
    /// Longest that a batch waits for a processor.
    pub batch_wait: Duration,
    /// Streams of one HTTP/2 connection.
    pub http2_streams: u32,
    /// Streams of one HTTP/2 connection that were reset before they were looked at; more close it.
    pub http2_resets: usize,
    /// From accepting a connection to its first byte.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// For a caller to take its answer, plus a second for each KiB.
    pub answer: Duration,
    /// From the end of the head to the answer.
    pub request: Duration,
    /// For the requests in hand, once told to stop.
    pub drain: Duration,
    /// For loading the last captured rows, once stopped.
    pub settle: Duration,
    /// A body up to this size is parsed on the thread that read it.
    pub inline_body_bytes: usize,
    /// Up to so many rows are predicted on the thread that read them; more would hold up its other connections.
    pub inline_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 6 << 20,
            rows: 10_000,
            explained_rows: 100,
            json_depth: 32,
            cell_bytes: 64 << 10,
            header_count: 64,
            head_bytes: 40 << 10,
            uri_bytes: 8 << 10,
            connections: 4_096,
            connections_per_address: 64,
            in_hand: 1_024,
            bodies_bytes: 64 << 20,
            waiting_batches: 64,
            batch_wait: Duration::from_secs(1),
            http2_streams: 100,
            http2_resets: 20,
            first_byte: Duration::from_secs(5),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            answer: Duration::from_secs(10),
            request: Duration::from_secs(30),
            drain: Duration::from_secs(30),
            settle: Duration::from_secs(5),
            inline_body_bytes: 64 << 10,
            inline_rows: 32,
        }
    }
}
