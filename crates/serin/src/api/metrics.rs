//! What the control plane knows, in Prometheus' text format (OpenMetrics 1.0).
//!
//! Written here and not by a library: names of features are free text, and the library does not escape labels.

use std::fmt::Write as _;

use serin_core::clock::Timestamp;
use serin_core::domain::{AlarmState, RunState};
use serin_core::monitor::{MonitorReport, MonitorState, QualityReport};
use serin_core::names::{self, FEATURES_LIMIT, Metric};
use serin_core::store::AlarmRecord;
use serin_ml::drift::ColumnReport;

/// Everything that is told of, as the store had it.
#[derive(Debug, Default)]
pub struct Facts {
    pub is_ready: bool,
    pub projects: Vec<String>,
    /// Project, state, how many.
    pub runs: Vec<(String, String, u64)>,
    /// The project of each that is open.
    pub open_approvals: Vec<String>,
    pub open_rollouts: Vec<String>,
    pub alarms: Vec<AlarmRecord>,
    pub watched: Vec<Watched>,
}

/// An endpoint whose live rows are looked at.
#[derive(Debug)]
pub struct Watched {
    pub endpoint: String,
    /// Seconds; `None` when the settings cannot be read.
    pub window: Option<f64>,
    /// Since when it is looked at.
    pub since: Timestamp,
    /// The end of the last window and what was seen in it.
    pub last: Option<(Timestamp, Option<MonitorReport>)>,
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

struct Page(String);

/// Everything as text.
#[must_use]
pub fn text(facts: &Facts, now: Timestamp) -> String {
    let mut page = Page(String::new());
    page.gauge(names::ENGINE_READY, [(vec![], truth(facts.is_ready))]);
    let projects = || facts.projects.iter().map(String::as_str);
    page.gauge(
        names::RUNS,
        projects().flat_map(|project| {
            RunState::NAMES.iter().map(move |state| {
                let count = facts.runs.iter().find(|found| found.0 == project && found.1 == *state);
                let count = count.map_or(0, |found| found.2);
                (vec![("project", project), ("state", *state)], count as f64)
            })
        }),
    );
    for (metric, open) in
        [(names::OPEN_APPROVALS, &facts.open_approvals), (names::OPEN_ROLLOUTS, &facts.open_rollouts)]
    {
        page.gauge(
            metric,
            projects().map(|project| {
                let count = open.iter().filter(|found| *found == project).count();
                (vec![("project", project)], count as f64)
            }),
        );
    }
    let alarms = |value: fn(&AlarmRecord) -> bool| {
        facts.alarms.iter().map(move |alarm| {
            let labels = vec![("project", alarm.project.as_str()), ("alarm", alarm.name.as_str())];
            (labels, truth(value(alarm)))
        })
    };
    page.gauge(names::ALARM_ON, alarms(|alarm| alarm.state == AlarmState::Alarm));
    page.gauge(names::ALARM_KNOWN, alarms(|alarm| alarm.state != AlarmState::InsufficientData));
    page.gauge(names::ALARM_SILENCED, alarms(|alarm| alarm.silence.is_some()));
    page.looks(&facts.watched, now);
    let version = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
    page.family(names::BUILD, "info", "_info", version);
    page.0.push_str("# EOF\n");
    page.0
}

fn truth(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

impl Page {
    /// What the last look at each endpoint said.
    fn looks(&mut self, watched: &[Watched], now: Timestamp) {
        let each = |value: &dyn Fn(&Watched) -> Option<f64>| -> Vec<(Labels<'_>, f64)> {
            let of = |one| Some((vec![("endpoint", endpoint(one))], value(one)?));
            watched.iter().filter_map(of).collect()
        };
        let states = watched.iter().filter_map(|one| Some((one, report(one)?.state)));
        let states = states.flat_map(|(one, found)| {
            MonitorState::ALL.map(|state| {
                (vec![("endpoint", endpoint(one)), ("state", state.name())], truth(state == found))
            })
        });
        self.gauge(names::MONITOR_STATE, states);
        let age = |one: &Watched| {
            let until = one.last.as_ref().map_or(one.since, |last| last.0.max(one.since));
            Some(now.0.saturating_sub(until.0).max(0) as f64 / 1e6)
        };
        self.gauge(names::MONITOR_AGE_SECONDS, each(&age));
        self.gauge(names::MONITOR_WINDOW_SECONDS, each(&|one| one.window));
        self.gauge(names::WINDOW_ROWS, each(&|one| Some(report(one)?.rows as f64)));
        let findings = watched.iter().filter_map(measured).flat_map(|(name, report)| {
            let quality = report.confirmed.iter().filter(|found| found.is_quality()).count();
            let drift = report.confirmed.len() - quality;
            [("quality", quality), ("drift", drift)]
                .map(|(severity, count)| (vec![("endpoint", name), ("severity", severity)], count as f64))
        });
        self.gauge(names::FINDINGS, findings);
        for (metric, value) in [
            (names::DRIFT_KS, (|column| column.distances.ks) as fn(&ColumnReport) -> f64),
            (names::FEATURE_PRESENT, |column| 1.0 - column.missing.1),
        ] {
            let features = watched.iter().filter_map(measured).flat_map(|(name, report)| {
                columns(report).iter().take(FEATURES_LIMIT).map(move |column| {
                    (vec![("endpoint", name), ("feature", column.name.as_str())], value(column))
                })
            });
            self.gauge(metric, features);
        }
        let of_measured =
            |value: &dyn Fn(&MonitorReport) -> Option<f64>| each(&|one| value(measured(one)?.1));
        let omitted =
            |report: &MonitorReport| Some(columns(report).len().saturating_sub(FEATURES_LIMIT) as f64);
        self.gauge(names::FEATURES_OMITTED, of_measured(&omitted));
        let predictions = |report: &MonitorReport| report.comparison.as_ref()?.predictions.clone();
        self.gauge(names::CLASS_MIX_SHIFT, of_measured(&|report| Some(predictions(report)?.class_mix_shift)));
        self.gauge(
            names::ESTIMATED_ACCURACY,
            of_measured(&|report| {
                let estimated = predictions(report)?.estimated?;
                estimated.doubt.is_none().then_some(estimated.accuracy)
            }),
        );
        self.gauge(names::LABELLED_ROWS, each(&|one| Some(quality(one)?.labelled as f64)));
        self.gauge(names::ACCURACY, each(&|one| quality(one)?.accuracy));
        self.gauge(names::MACRO_F1, each(&|one| quality(one)?.macro_f1));
        self.gauge(names::EXPECTED_ACCURACY, each(&|one| report(one)?.expected.0));
        self.gauge(names::EXPECTED_MACRO_F1, each(&|one| report(one)?.expected.1));
    }

    fn gauge<'a>(&mut self, metric: Metric, series: impl IntoIterator<Item = (Labels<'a>, f64)>) {
        self.family(metric, "gauge", "", series);
    }

    /// All series of a metric, as they belong together. What is no number is left out: it was not measured.
    fn family<'a>(
        &mut self,
        Metric { name, help }: Metric,
        kind: &str,
        end: &str,
        series: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        // Writing to memory cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        for (labels, value) in series.into_iter().filter(|(_, value)| value.is_finite()) {
            let _ = write!(self.0, "{name}{end}");
            for (place, (label, value)) in labels.iter().enumerate() {
                let _ = write!(self.0, "{}{label}=\"", if place == 0 { '{' } else { ',' });
                self.escaped(value);
                self.0.push('"');
            }
            let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
        }
    }

    /// A label's value. Readers stop at other control characters than a line break, so those are shown as unknown.
    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                other if other.is_control() => self.0.push(char::REPLACEMENT_CHARACTER),
                other => self.0.push(other),
            }
        }
    }
}

fn endpoint(watched: &Watched) -> &str {
    &watched.endpoint
}

fn report(watched: &Watched) -> Option<&MonitorReport> {
    watched.last.as_ref()?.1.as_ref()
}

/// The report of a window that had enough rows to say something.
fn measured(watched: &Watched) -> Option<(&str, &MonitorReport)> {
    let report = report(watched)?;
    matches!(report.state, MonitorState::Stable | MonitorState::Changed)
        .then_some((endpoint(watched), report))
}

/// Of the version that was looked at.
fn quality(watched: &Watched) -> Option<&QualityReport> {
    let report = report(watched)?;
    report.quality.iter().find(|quality| quality.model_version == report.model_version)
}

fn columns(report: &MonitorReport) -> &[ColumnReport] {
    report.comparison.as_ref().map(|comparison| comparison.columns.as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serin_core::clock::Steady;

    use super::*;

    fn alarm(name: &str, state: AlarmState) -> AlarmRecord {
        AlarmRecord {
            project: "wine".into(),
            name: name.into(),
            state,
            reason: String::new(),
            time: Timestamp(0),
            steady: Steady(0),
            since: Timestamp(0),
            silence: None,
        }
    }

    #[test]
    fn labels_are_escaped_and_what_was_not_measured_is_not_there() {
        let mut page = Page(String::new());
        let series = [
            (vec![("endpoint", "dev"), ("feature", "a\"b\\c\nd\0e {é}")], 0.5),
            (vec![("endpoint", "dev"), ("feature", "nothing")], f64::NAN),
            (vec![("endpoint", "dev"), ("feature", "all")], f64::INFINITY),
        ];
        page.gauge(names::DRIFT_KS, series);
        let last = page.0.lines().last();
        assert_eq!(
            last,
            Some("serin_drift_ks{endpoint=\"dev\",feature=\"a\\\"b\\\\c\\nd\u{fffd}e {é}\"} 0.5")
        );
        assert_eq!(page.0.lines().count(), 3);
    }

    #[test]
    fn states_are_told_at_zero_and_an_age_begins_with_the_looking() {
        let facts = Facts {
            is_ready: true,
            projects: vec!["wine".into()],
            runs: vec![("wine".into(), "failed".into(), 3), ("gone".into(), "failed".into(), 1)],
            open_approvals: vec!["wine".into(), "wine".into()],
            alarms: vec![alarm("disk", AlarmState::Alarm), alarm("quality", AlarmState::InsufficientData)],
            watched: vec![Watched {
                endpoint: "dev".into(),
                window: Some(60.0),
                since: Timestamp(5_000_000),
                last: Some((Timestamp(4_000_000), None)),
            }],
            ..Facts::default()
        };
        let text = text(&facts, Timestamp(65_500_000));
        for line in [
            "serin_engine_ready 1",
            "serin_runs{project=\"wine\",state=\"failed\"} 3",
            "serin_runs{project=\"wine\",state=\"needs-operator\"} 0",
            "serin_open_approvals{project=\"wine\"} 2",
            "serin_open_rollouts{project=\"wine\"} 0",
            "serin_alarm_on{project=\"wine\",alarm=\"disk\"} 1",
            "serin_alarm_known{project=\"wine\",alarm=\"disk\"} 1",
            "serin_alarm_on{project=\"wine\",alarm=\"quality\"} 0",
            "serin_alarm_known{project=\"wine\",alarm=\"quality\"} 0",
            "serin_monitor_age_seconds{endpoint=\"dev\"} 60.5",
            "serin_monitor_window_seconds{endpoint=\"dev\"} 60",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("gone") && !text.contains("serin_monitor_state{"), "{text}");
        assert!(text.ends_with("\n# EOF\n"), "{text}");
    }
}
