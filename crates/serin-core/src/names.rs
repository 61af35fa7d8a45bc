//! The name of every metric, with its help text: `docs/operations.md` lists them, and a test compares.
//!
//! Names follow Prometheus' rules: a base unit last; counters get `_total` when they are written. Labels come from
//! closed sets: endpoint, variant and outcome, or the code of a problem; never an id. Features are the one set that data
//! chooses: the control plane tells of [`FEATURES_LIMIT`] an endpoint.

/// A metric's name as registered, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Without `_total`.
    pub name: &'static str,
    /// One sentence without a full stop, which the text format adds.
    pub help: &'static str,
}

/// Features of one endpoint that the control plane tells of; those left out are counted.
pub const FEATURES_LIMIT: usize = 2_000;

impl Metric {
    /// The series of a counter.
    #[must_use]
    pub fn total(&self) -> String {
        format!("{}_total", self.name)
    }

    /// The buckets of a histogram.
    #[must_use]
    pub fn bucket(&self) -> String {
        format!("{}_bucket", self.name)
    }

    /// How many values a histogram has counted.
    #[must_use]
    pub fn count(&self) -> String {
        format!("{}_count", self.name)
    }
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

// Replicas, by endpoint: all versions of it together.

pub const REPLICAS_READY: Metric = metric("serin_replicas_ready", "Replicas that answer and are to stay");
pub const REPLICAS_DESIRED: Metric = metric("serin_replicas_desired", "Replicas that are to be there");
pub const REPLICAS_MISSING: Metric =
    metric("serin_replicas_missing", "Replicas that are to be there and do not answer, of each version");
pub const REPLICAS_EJECTED: Metric =
    metric("serin_replicas_ejected", "Ready replicas that are left alone for a while because they failed");
pub const REPLICAS_WAITING: Metric =
    metric("serin_replicas_waiting", "Requests that wait for a first replica");
pub const REPLICA_FAILURES: Metric = metric(
    "serin_replica_failures",
    "Attempts to ask a replica that failed, by kind: gone, hang, garbage; retried ones too",
);
pub const REPLICA_RETRIES: Metric =
    metric("serin_replica_retries", "Requests that were given to a second replica");
pub const REPLICA_EJECTIONS: Metric =
    metric("serin_replica_ejections", "Times that a replica was left alone for a while");
pub const REPLICA_STARTS: Metric = metric("serin_replica_starts", "Replicas that were started");
pub const REPLICA_ENDS: Metric = metric("serin_replica_ends", "Replicas that ended without being asked to");

pub const BUILD: Metric = metric("serin_build", "The version of serin");

// What the control plane tells.

pub const ENGINE_READY: Metric =
    metric("serin_engine_ready", "1 while the engine of the control plane carries runs on, else 0");
pub const RUNS: Metric = metric("serin_runs", "Runs by project and state, those that ended included");
pub const OPEN_APPROVALS: Metric = metric("serin_open_approvals", "Questions that wait for a person");
pub const OPEN_ROLLOUTS: Metric = metric("serin_open_rollouts", "Rollouts under way");
pub const ALARM_ON: Metric = metric("serin_alarm_on", "1 while the alarm is on, else 0");
pub const ALARM_KNOWN: Metric =
    metric("serin_alarm_known", "1 while the alarm has enough data to say anything, else 0");
pub const ALARM_SILENCED: Metric =
    metric("serin_alarm_silenced", "1 while nobody is told of the alarm, else 0");
pub const MONITOR_STATE: Metric = metric(
    "serin_monitor_state",
    "1 for what the last look at live rows said: stable, changed, insufficient, error; 0 for the others",
);
pub const MONITOR_AGE_SECONDS: Metric = metric(
    "serin_monitor_age_seconds",
    "Since the end of the last window of live rows that was looked at, or since looking began",
);
pub const MONITOR_WINDOW_SECONDS: Metric =
    metric("serin_monitor_window_seconds", "Length of the windows that are looked at");
pub const WINDOW_ROWS: Metric =
    metric("serin_window_rows", "Rows answered in the last window, like the following of the last look");
pub const FINDINGS: Metric = metric(
    "serin_findings",
    "What was found in enough of the last windows to be told, by severity: quality, drift",
);
pub const DRIFT_KS: Metric = metric(
    "serin_drift_ks",
    "Largest difference of the distribution functions of the feature in the baseline and now, 0 to 1",
);
pub const FEATURE_PRESENT: Metric =
    metric("serin_feature_present", "Share of rows in which the feature has a value");
pub const FEATURES_OMITTED: Metric =
    metric("serin_features_omitted", "Features that are not told because the endpoint has too many");
pub const CLASS_MIX_SHIFT: Metric = metric(
    "serin_class_mix_shift",
    "Share of predictions that would have to be of another class to be as on the hold-out",
);
pub const LABELLED_ROWS: Metric =
    metric("serin_labelled_rows", "Rows whose true class is known, of those that quality is judged by");
pub const ACCURACY: Metric = metric("serin_accuracy", "Share of right answers among labelled rows");
pub const MACRO_F1: Metric = metric("serin_macro_f1", "Macro-averaged F1 of labelled rows");
pub const EXPECTED_ACCURACY: Metric =
    metric("serin_expected_accuracy", "Share of right answers on the hold-out");
pub const EXPECTED_MACRO_F1: Metric = metric("serin_expected_macro_f1", "Macro-averaged F1 on the hold-out");
pub const ESTIMATED_ACCURACY: Metric = metric(
    "serin_estimated_accuracy",
    "Share of right answers as the probabilities let expect it, while nothing speaks against that",
);
