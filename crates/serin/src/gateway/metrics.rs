//! What is counted, in Prometheus' text format (OpenMetrics 1.0).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};
use serin_core::domain::Epoch;
use serin_core::names;

use super::problem::Code;
use crate::fleet::Figures;

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of the older text format, for those who read no other.
pub const PLAIN_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the latency histogram, seconds: fine where models answer, coarse up to the deadline.
const LATENCY_SECONDS: [f64; 16] = [
    50e-6, 100e-6, 200e-6, 300e-6, 500e-6, 750e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.5, 2.0, 10.0,
];

/// Every metric of the gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    errors: Family<ErrorLabels, Counter>,
    rows: Family<VariantLabels, Counter>,
    latency: Family<VariantLabels, Histogram, fn() -> Histogram>,
    weights: Family<VariantLabels, Gauge<f64, AtomicU64>>,
    reloads: Family<ReloadLabels, Counter>,
    refused_endpoints: Gauge,
    routes_epoch: Gauge,
    /// All variants together.
    answered: Counter,
    refused: Counter,
    pub refusals_not_captured: Counter,
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    pub in_hand: Gauge,
    pub connections: Gauge,
}

/// What is counted of one variant, at hand without a look-up.
#[derive(Debug, Clone)]
pub struct VariantMetrics {
    answered: Counter,
    client_errors: Counter,
    server_errors: Counter,
    rows: Counter,
    latency: Histogram,
}

/// The state of capture at the moment of a scrape.
#[derive(Debug, Clone, Copy, Default)]
pub struct CaptureFigures {
    pub appended: u64,
    pub loaded: u64,
    pub duplicates: u64,
    pub damaged: u64,
    pub dropped: u64,
    pub refusals_dropped: u64,
    pub not_sampled: u64,
    pub failures: u64,
    pub spool_bytes: u64,
    pub spool_limit_bytes: u64,
    pub lag_seconds: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: String,
    variant: String,
    outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[expect(non_camel_case_types, reason = "the names are the label's values")]
enum Outcome {
    answered,
    client_error,
    server_error,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VariantLabels {
    endpoint: String,
    variant: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

impl Metrics {
    /// All metrics at zero.
    #[must_use]
    pub fn new() -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_SECONDS);
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            errors: Family::default(),
            rows: Family::default(),
            latency: Family::new_with_constructor(latency),
            weights: Family::default(),
            reloads: Family::default(),
            refused_endpoints: Gauge::default(),
            routes_epoch: Gauge::default(),
            answered: Counter::default(),
            refused: Counter::default(),
            refusals_not_captured: Counter::default(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            in_hand: Gauge::default(),
            connections: Gauge::default(),
        };
        for code in Code::ALL {
            let _ = metrics.errors.get_or_create(&ErrorLabels { code: code.as_str() });
        }
        for outcome in ["done", "refused"] {
            let _ = metrics.reloads.get_or_create(&ReloadLabels { outcome });
        }
        let registry = &mut metrics.registry;
        register(registry, names::REQUESTS, metrics.requests.clone());
        register(registry, names::ERRORS, metrics.errors.clone());
        register(registry, names::ROWS, metrics.rows.clone());
        register(registry, names::LATENCY, metrics.latency.clone());
        register(registry, names::VARIANT_WEIGHT, metrics.weights.clone());
        register(registry, names::RELOADS, metrics.reloads.clone());
        register(registry, names::ENDPOINTS_REFUSED, metrics.refused_endpoints.clone());
        register(registry, names::ROUTES_EPOCH, metrics.routes_epoch.clone());
        register(registry, names::RECEIVED_BYTES, metrics.received_bytes.clone());
        register(registry, names::SENT_BYTES, metrics.sent_bytes.clone());
        register(registry, names::IN_HAND, metrics.in_hand.clone());
        register(registry, names::CONNECTIONS, metrics.connections.clone());
        register(registry, names::BUILD, Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        metrics
    }

    /// The metrics of a variant; of requests that reached none with two empty names. They exist at zero from here on.
    #[must_use]
    pub fn of(&self, endpoint: &str, variant: &str) -> VariantMetrics {
        let request = |outcome| {
            let (endpoint, variant) = (endpoint.to_owned(), variant.to_owned());
            self.requests.get_or_create_owned(&RequestLabels { endpoint, variant, outcome })
        };
        let labels = VariantLabels { endpoint: endpoint.to_owned(), variant: variant.to_owned() };
        VariantMetrics {
            answered: request(Outcome::answered),
            client_errors: request(Outcome::client_error),
            server_errors: request(Outcome::server_error),
            rows: self.rows.get_or_create_owned(&labels),
            latency: self.latency.get_or_create_owned(&labels),
        }
    }

    /// The weights in force are these and no others.
    pub fn set_weights<'a>(&self, weights: impl Iterator<Item = (&'a str, &'a str, f64)>) {
        self.weights.clear();
        for (endpoint, variant, weight) in weights {
            let labels = VariantLabels { endpoint: endpoint.to_owned(), variant: variant.to_owned() };
            self.weights.get_or_create(&labels).set(weight);
        }
    }

    /// An inference request was answered.
    pub fn answered(&self, variant: Option<&VariantMetrics>, rows: u64, latency: Duration) {
        self.answered.inc();
        if let Some(variant) = variant {
            variant.answered.inc();
            variant.rows.inc_by(rows);
            variant.latency.observe(latency.as_secs_f64());
        }
    }

    /// An inference request was refused.
    pub fn refused_inference(&self, variant: &VariantMetrics, code: Code) {
        self.refused.inc();
        if code.is_callers() {
            variant.client_errors.inc()
        } else {
            variant.server_errors.inc()
        };
        self.refused(code);
    }

    /// Inference requests answered, and refused, since the start.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.answered.get(), self.refused.get())
    }

    /// A request was refused.
    pub fn refused(&self, code: Code) {
        self.errors.get_or_create(&ErrorLabels { code: code.as_str() }).inc();
    }

    /// Settings were read again.
    pub fn reloaded(&self, done: bool) {
        let outcome = if done { "done" } else { "refused" };
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    /// Endpoints of this route document are in force, and others are refused or not.
    pub fn set_routes(&self, epoch: Option<Epoch>, refused: bool) {
        self.routes_epoch.set(epoch.map_or(0, |epoch| i64::try_from(epoch.0).unwrap_or(i64::MAX)));
        self.refused_endpoints.set(i64::from(refused));
    }

    /// Everything as text.
    #[must_use]
    pub fn text(&self, capture: &CaptureFigures, replicas: &BTreeMap<String, Figures>) -> String {
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = encode(&mut text, &self.registry);
        let end = text.strip_suffix("# EOF\n").map_or(text.len(), str::len);
        text.truncate(end);
        for (metric, value) in [
            (names::CAPTURE_APPENDED, capture.appended),
            (names::CAPTURE_LOADED, capture.loaded),
            (names::CAPTURE_DUPLICATES, capture.duplicates),
            (names::CAPTURE_DAMAGED, capture.damaged),
            (names::CAPTURE_DROPPED, capture.dropped),
            (names::CAPTURE_REFUSALS_DROPPED, capture.refusals_dropped),
            (names::CAPTURE_NOT_SAMPLED, capture.not_sampled),
            (names::CAPTURE_FAILURES, capture.failures),
        ] {
            let names::Metric { name, help } = metric;
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} counter\n{name}_total {value}");
        }
        for (metric, value) in [
            (names::CAPTURE_SPOOL_BYTES, capture.spool_bytes as f64),
            (names::CAPTURE_SPOOL_LIMIT_BYTES, capture.spool_limit_bytes as f64),
            (names::CAPTURE_LAG_SECONDS, capture.lag_seconds),
        ] {
            let names::Metric { name, help } = metric;
            let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
        }
        write_replicas(&mut text, replicas);
        text.push_str("# EOF\n");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// OpenMetrics text as this caller reads it, with its content type: those who name plain text and not OpenMetrics in
/// their `Accept` header get Prometheus' older form.
#[must_use]
pub fn as_accepted(accept: Option<&str>, text: String) -> (&'static str, String) {
    let accepts = |what| accept.is_some_and(|accept| accept.contains(what));
    if accepts("text/plain") && !accepts("application/openmetrics-text") {
        (PLAIN_CONTENT_TYPE, plain(&text))
    } else {
        (CONTENT_TYPE, text)
    }
}

/// OpenMetrics text in the form that Prometheus had before it (0.0.4): counters are described under the name that they
/// are written by, an info is a gauge, and nothing says where the end is.
fn plain(text: &str) -> String {
    // The description of a metric names its kind behind its help.
    let kinds: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let described = ["# HELP ", "# TYPE "].iter().find_map(|head| {
            let (name, rest) = line.strip_prefix(head)?.split_once(' ')?;
            Some((*head, name, rest))
        });
        let Some((head, name, rest)) = described else {
            let _ = writeln!(plain, "{line}");
            continue;
        };
        let (end, kind) = match kinds.get(name) {
            Some(&"counter") => ("_total", "counter"),
            Some(&"info") => ("_info", "gauge"),
            kind => ("", kind.copied().unwrap_or("untyped")),
        };
        let rest = if head == "# TYPE " { kind } else { rest };
        let _ = writeln!(plain, "{head}{name}{end} {rest}");
    }
    plain
}

/// Figures of replicas, by endpoint.
fn write_replicas(text: &mut String, replicas: &BTreeMap<String, Figures>) {
    type Figure = (names::Metric, &'static str, fn(&Figures) -> u64);
    let gauges: [Figure; 5] = [
        (names::REPLICAS_READY, "gauge", |figures| figures.ready),
        (names::REPLICAS_DESIRED, "gauge", |figures| figures.desired),
        (names::REPLICAS_MISSING, "gauge", |figures| figures.missing),
        (names::REPLICAS_EJECTED, "gauge", |figures| figures.ejected),
        (names::REPLICAS_WAITING, "gauge", |figures| figures.waiting),
    ];
    let counters: [Figure; 4] = [
        (names::REPLICA_RETRIES, "counter", |figures| figures.retries),
        (names::REPLICA_EJECTIONS, "counter", |figures| figures.ejections),
        (names::REPLICA_STARTS, "counter", |figures| figures.starts),
        (names::REPLICA_ENDS, "counter", |figures| figures.ends),
    ];
    // Writing to memory cannot fail.
    for (names::Metric { name, help }, kind, figure) in gauges.into_iter().chain(counters) {
        let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        let end = if kind == "counter" { "_total" } else { "" };
        for (endpoint, figures) in replicas {
            let _ = writeln!(text, "{name}{end}{{endpoint=\"{}\"}} {}", escaped(endpoint), figure(figures));
        }
    }
    let names::Metric { name, help } = names::REPLICA_FAILURES;
    let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} counter");
    for (endpoint, figures) in replicas {
        for (kind, count) in &figures.troubles {
            let endpoint = escaped(endpoint);
            let _ = writeln!(text, "{name}_total{{endpoint=\"{endpoint}\",kind=\"{kind}\"}} {count}");
        }
    }
}

/// A label's value, as the text format takes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn register(registry: &mut Registry, metric: names::Metric, what: impl Metric) {
    registry.register(metric.name, metric.help, what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_reads_no_open_metrics_gets_the_older_form() {
        let text = "# HELP a A, # TYPE or not.\n# TYPE a counter\na_total{x=\"# EOF\"} 1\n# HELP b B.\n# TYPE b info\n\
                    b_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n# EOF\n";
        let older = "# HELP a_total A, # TYPE or not.\n# TYPE a_total counter\na_total{x=\"# EOF\"} 1\n\
                     # HELP b_info B.\n# TYPE b_info gauge\nb_info{version=\"1\"} 1\n# HELP c C.\n# TYPE c gauge\nc 2\n";
        assert_eq!(as_accepted(Some("text/plain"), text.to_owned()), (PLAIN_CONTENT_TYPE, older.to_owned()));
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for accept in [None, Some("*/*"), Some(prometheus)] {
            assert_eq!(as_accepted(accept, text.to_owned()), (CONTENT_TYPE, text.to_owned()), "{accept:?}");
        }
    }
}
