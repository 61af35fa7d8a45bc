//! Alert rules for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serin_core::config::Settings;
use serin_core::names;
use serin_core::watch::{StageEndpoint, of_project};

/// The stage in whose name the advice of alarms is looked up.
const STAGE: &str = "prod";

/// One alert.
struct Alert {
    name: &'static str,
    expression: String,
    /// How long it must hold.
    lasts: &'static str,
    severity: &'static str,
    summary: &'static str,
    todo: String,
}

/// All of them as Prometheus reads them.
#[must_use]
pub fn yaml(settings: &Settings) -> String {
    let mut text = format!(
        "# Alert rules for Serin {}, made by `serin export prometheus-rules`: thresholds are the usual ones, yours to change.\n\
         # The first group is about the gateway's /metrics, the second about the control plane's; leave out what you do not scrape.\n\
         groups:\n",
        env!("CARGO_PKG_VERSION")
    );
    for (group, alerts) in [("serin-gateway", of_gateway(settings)), ("serin-control", of_control(settings))]
    {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "  - name: {group}\n    rules:");
        for alert in alerts {
            let Alert { name, expression, lasts, severity, summary, todo } = alert;
            // A string of JSON is one of YAML.
            let quoted = |text: &str| serde_json::Value::from(text).to_string();
            let _ = write!(
                text,
                "      - alert: {name}\n        expr: {}\n        for: {lasts}\n        labels:\n          severity: {severity}\n        \
                 annotations:\n          summary: {}\n          description: {}\n",
                quoted(&expression),
                quoted(summary),
                quoted(&todo),
            );
        }
    }
    text
}

/// What to do about the alarms that every project has.
fn advice(settings: &Settings) -> BTreeMap<String, String> {
    let (stage, endpoint) = (STAGE.to_owned(), STAGE.to_owned());
    let endpoint = StageEndpoint { stage, endpoint, is_last: true, has_replicas: true };
    let alarms = of_project(&[], &[endpoint], &settings.monitor).into_iter();
    let of_stage = format!("{STAGE}-");
    alarms
        .map(|alarm| {
            (alarm.name.strip_prefix(&of_stage).unwrap_or(&alarm.name).to_owned(), alarm.description)
        })
        .collect()
}

fn of_gateway(settings: &Settings) -> Vec<Alert> {
    let advice = advice(settings);
    let told = |name: &str| advice.get(name).cloned().unwrap_or_default();
    let requests = names::REQUESTS.total();
    let (bucket, count) = (names::LATENCY.bucket(), names::LATENCY.count());
    let (dropped, damaged) = (names::CAPTURE_DROPPED.total(), names::CAPTURE_DAMAGED.total());
    let failures = names::CAPTURE_FAILURES.total();
    vec![
        Alert {
            name: "SerinGatewayDown",
            expression: format!("absent({})", names::IN_HAND.name),
            lasts: "2m",
            severity: "critical",
            summary: "no gateway of Serin is scraped",
            todo: told("gateway"),
        },
        Alert {
            name: "SerinErrors",
            expression: format!(
                "sum by (endpoint) (rate({requests}{{outcome=\"server_error\"}}[5m])) / \
                 sum by (endpoint) (rate({requests}[5m])) > 0.01"
            ),
            lasts: "2m",
            severity: "critical",
            summary: "{{ $value | humanizePercentage }} of the requests to {{ $labels.endpoint }} fail",
            todo: told("errors"),
        },
        Alert {
            name: "SerinSlow",
            expression: format!(
                "histogram_quantile(0.99, sum by (endpoint, le) (rate({bucket}[5m]))) > 0.5 \
                 and on (endpoint) sum by (endpoint) (increase({count}[5m])) >= 100"
            ),
            lasts: "3m",
            severity: "warning",
            summary: "1 of 100 answers of {{ $labels.endpoint }} takes longer than {{ $value | humanizeDuration }}",
            todo: told("latency"),
        },
        Alert {
            name: "SerinOverloaded",
            expression: format!("rate({}{{code=\"overloaded\"}}[5m]) > 0", names::ERRORS.total()),
            lasts: "2m",
            severity: "critical",
            summary: "requests are turned away because too many are in hand",
            todo: format!(
                "see {} and the latency; give the gateway more processors, or send it fewer requests",
                names::IN_HAND.name
            ),
        },
        Alert {
            name: "SerinNoTraffic",
            expression: format!(
                "sum by (endpoint) (increase({requests}{{endpoint!=\"\"}}[1h])) == 0 \
                 and on (endpoint) sum by (endpoint) (increase({requests}{{endpoint!=\"\"}}[1d] offset 1h)) > 0"
            ),
            lasts: "5m",
            severity: "warning",
            summary: "nobody asks {{ $labels.endpoint }} any more",
            todo: told("no-traffic"),
        },
        Alert {
            name: "SerinEndpointsRefused",
            expression: format!("{} == 1", names::ENDPOINTS_REFUSED.name),
            lasts: "1m",
            severity: "critical",
            summary: "settings, models or routes are there that the gateway cannot serve",
            todo: "`GET /routes` on the admin port says why; what served before serves on".to_owned(),
        },
        Alert {
            name: "SerinReplicasMissing",
            expression: format!("{} > 0", names::REPLICAS_MISSING.name),
            lasts: "5m",
            severity: "warning",
            summary: "{{ $value }} replicas of {{ $labels.endpoint }} are not there",
            todo: told("replicas"),
        },
        Alert {
            name: "SerinReplicaFailures",
            expression: format!(
                "sum by (endpoint, kind) (rate({}[5m])) > 0.1",
                names::REPLICA_FAILURES.total()
            ),
            lasts: "5m",
            severity: "warning",
            summary: "replicas of {{ $labels.endpoint }} fail ({{ $labels.kind }}); callers are answered by others as long as there are",
            todo: "`serin replicas` has the last trouble of each; `serin replica drain NAME` replaces one".to_owned(),
        },
        Alert {
            name: "SerinCaptureLag",
            expression: format!("{} > 60", names::CAPTURE_LAG_SECONDS.name),
            lasts: "3m",
            severity: "warning",
            summary: "the oldest answer that is no row yet is {{ $value | humanizeDuration }} old",
            todo: told("capture-lag"),
        },
        Alert {
            name: "SerinCaptureSpool",
            expression: format!(
                "{} / {} > 0.5",
                names::CAPTURE_SPOOL_BYTES.name,
                names::CAPTURE_SPOOL_LIMIT_BYTES.name
            ),
            lasts: "5m",
            severity: "critical",
            summary: "the capture journal is {{ $value | humanizePercentage }} full",
            todo: "when it is full requests get 503: see the gateway's log for why the inference table takes no rows, \
                   and make room on the disk"
                .to_owned(),
        },
        Alert {
            name: "SerinCaptureLoss",
            expression: format!(
                "increase({dropped}[10m]) + increase({damaged}[10m]) + increase({failures}[10m]) > 0"
            ),
            lasts: "0s",
            severity: "critical",
            summary: "answers were not kept, or the inference table refused them",
            todo: "the gateway's log says which and why; look at the disk".to_owned(),
        },
    ]
}

fn of_control(settings: &Settings) -> Vec<Alert> {
    let advice = advice(settings);
    let told = |name: &str| advice.get(name).cloned().unwrap_or_default();
    let found = |severity| format!("{}{{severity=\"{severity}\"}} > 0", names::FINDINGS.name);
    let (drop, labels) = (settings.monitor.quality_drop, settings.monitor.quality_min_labels);
    vec![
        Alert {
            name: "SerinControlDown",
            expression: format!("absent({})", names::ENGINE_READY.name),
            lasts: "5m",
            severity: "warning",
            summary: "no control plane of Serin is scraped",
            todo: "start it, and see its log; what is deployed serves on meanwhile".to_owned(),
        },
        Alert {
            name: "SerinEngineStopped",
            expression: format!("{} == 0", names::ENGINE_READY.name),
            lasts: "2m",
            severity: "critical",
            summary: "no runs are carried on",
            todo: "`GET /api/v1/health/ready` of the control interface says why; free space on the disk".to_owned(),
        },
        Alert {
            name: "SerinAlarm",
            expression: format!(
                "{} == 1 unless on (instance, project, alarm) {} == 1",
                names::ALARM_ON.name,
                names::ALARM_SILENCED.name
            ),
            lasts: "0s",
            severity: "warning",
            summary: "alarm {{ $labels.alarm }} of {{ $labels.project }} is on",
            todo: "`serin alarm show {{ $labels.alarm }} --project {{ $labels.project }}` says why and what to do"
                .to_owned(),
        },
        Alert {
            name: "SerinDrift",
            expression: found("drift"),
            lasts: "1m",
            severity: "warning",
            summary: "{{ $value }} features or predictions of {{ $labels.endpoint }} are not as they were",
            todo: told("drift"),
        },
        Alert {
            name: "SerinDataQuality",
            expression: found("quality"),
            lasts: "1m",
            severity: "warning",
            summary: "{{ $value }} features of {{ $labels.endpoint }} are broken upstream",
            todo: told("data-quality"),
        },
        Alert {
            name: "SerinMonitorFailed",
            expression: format!("{}{{state=\"error\"}} == 1", names::MONITOR_STATE.name),
            lasts: "1m",
            severity: "warning",
            summary: "live rows of {{ $labels.endpoint }} could not be looked at",
            todo: told("monitor-failed"),
        },
        Alert {
            name: "SerinMonitorLate",
            expression: format!(
                "{} > 3 * {} + 60",
                names::MONITOR_AGE_SECONDS.name,
                names::MONITOR_WINDOW_SECONDS.name
            ),
            lasts: "5m",
            severity: "warning",
            summary: "nobody has looked at live rows of {{ $labels.endpoint }} for {{ $value | humanizeDuration }}",
            todo: "see the control plane's log; nothing is known about drift".to_owned(),
        },
        Alert {
            name: "SerinQuality",
            expression: format!(
                "{} - {} > {drop} and {} >= {labels}",
                names::EXPECTED_MACRO_F1.name,
                names::MACRO_F1.name,
                names::LABELLED_ROWS.name
            ),
            lasts: "1m",
            severity: "warning",
            summary: "macro-F1 of {{ $labels.endpoint }} is {{ $value }} below the hold-out's",
            todo: told("quality"),
        },
        Alert {
            name: "SerinRunFailed",
            expression: format!("delta({}{{state=\"failed\"}}[15m]) > 0", names::RUNS.name),
            lasts: "0s",
            severity: "warning",
            summary: "a run of {{ $labels.project }} failed",
            todo: "`serin runs`, then `serin run show N`: each step has its reason; `serin run retry N` goes on".to_owned(),
        },
        Alert {
            name: "SerinRunNeedsOperator",
            expression: format!("{}{{state=\"needs-operator\"}} > 0", names::RUNS.name),
            lasts: "1m",
            severity: "warning",
            summary: "a run of {{ $labels.project }} cannot go on by itself",
            todo: "finish it with the version of Serin that began it, or `serin run cancel N`".to_owned(),
        },
        Alert {
            name: "SerinApprovalWaits",
            expression: format!("{} > 0", names::OPEN_APPROVALS.name),
            lasts: "4h",
            severity: "info",
            summary: "{{ $value }} questions of {{ $labels.project }} wait for a person",
            todo: "`serin approvals`, then `serin approval show N`".to_owned(),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serin_core::config::Layers;

    use super::*;

    #[test]
    fn every_alert_says_what_to_do_and_has_a_name_of_its_own() {
        let settings = Settings::load(&Layers::default()).unwrap();
        let alerts: Vec<Alert> = of_gateway(&settings).into_iter().chain(of_control(&settings)).collect();
        for alert in &alerts {
            assert!(!alert.todo.is_empty() && !alert.summary.is_empty(), "{}", alert.name);
            assert_eq!(alerts.iter().filter(|other| other.name == alert.name).count(), 1, "{}", alert.name);
        }
    }
}
