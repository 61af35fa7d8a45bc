//! The name of every metric, with its help text: `docs/operations.md` lists them, and a test compares.
//!
//! Names follow Prometheus' rules: a base unit last; counters get `_total` when they are written. Labels come from
//! closed sets: endpoint, variant and outcome, or the code of a problem; never an id.

/// A metric's name as registered, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Without `_total`.
    pub name: &'static str,
    /// One sentence without a full stop, which the text format adds.
    pub help: &'static str,
}

const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

pub const REQUESTS: Metric = metric(
    "serin_requests",
    "Inference requests by endpoint, variant and outcome: answered, client_error, server_error",
);
pub const ERRORS: Metric =
    metric("serin_errors", "Requests refused, by the code of the problem; shed ones have overloaded");
pub const ROWS: Metric = metric("serin_rows", "Rows answered");
pub const LATENCY: Metric =
    metric("serin_request_duration_seconds", "From the request's head to the answer, of answered requests");
pub const RECEIVED_BYTES: Metric = metric("serin_received_bytes", "Bytes of request bodies, as sent");
pub const SENT_BYTES: Metric = metric("serin_sent_bytes", "Bytes of answers, as sent");
pub const IN_HAND: Metric = metric("serin_requests_in_hand", "Inference requests being worked on now");
pub const CONNECTIONS: Metric = metric("serin_connections", "Open connections");
pub const VARIANT_WEIGHT: Metric = metric("serin_variant_weight", "The weight of each variant in force");
pub const RELOADS: Metric =
    metric("serin_reloads", "Reloads of settings and models by outcome: done, refused");
pub const ENDPOINTS_REFUSED: Metric = metric(
    "serin_endpoints_refused",
    "1 while settings, models or routes are there that cannot be served, else 0",
);
pub const ROUTES_EPOCH: Metric =
    metric("serin_routes_epoch", "Epoch of the route document in force; 0 without one");
pub const CAPTURE_APPENDED: Metric =
    metric("serin_capture_records", "Records appended to the capture journal");
pub const CAPTURE_LOADED: Metric = metric("serin_capture_loaded_rows", "Rows moved into the inference table");
pub const CAPTURE_DUPLICATES: Metric =
    metric("serin_capture_duplicate_rows", "Rows not kept because their id was there before");
pub const CAPTURE_DAMAGED: Metric =
    metric("serin_capture_damaged", "Journal segments with damage in their middle");
pub const CAPTURE_DROPPED: Metric =
    metric("serin_capture_dropped", "Answers given without a record, exactly");
pub const CAPTURE_REFUSALS_DROPPED: Metric = metric(
    "serin_capture_refusals_dropped",
    "Refusals given without a record, because the journal could not take it",
);
pub const CAPTURE_NOT_SAMPLED: Metric =
    metric("serin_capture_not_sampled", "Answers given without a record because they are not of the sample");
pub const CAPTURE_FAILURES: Metric =
    metric("serin_capture_failures", "Times that the inference table or a file refused");
pub const CAPTURE_SPOOL_LIMIT_BYTES: Metric =
    metric("serin_capture_spool_limit_bytes", "Most bytes that the journal may take");
pub const CAPTURE_SPOOL_BYTES: Metric =
    metric("serin_capture_spool_bytes", "Bytes in the journal that are not in the inference table yet");
pub const CAPTURE_LAG_SECONDS: Metric =
    metric("serin_capture_lag_seconds", "Age of the oldest record that is not in the inference table yet");
pub const BUILD: Metric = metric("serin_build", "The version of serin");
