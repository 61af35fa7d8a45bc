//! A dashboard for Grafana.

use serde_json::{Value, json};
use serin_core::names;

/// Width of the whole, Grafana's own.
const COLUMNS: u64 = 24;
/// Height of a panel.
const ROWS: u64 = 8;
/// Endpoints that were chosen.
const CHOSEN: &str = "endpoint=~\"$endpoint\"";

/// What a panel looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Lines,
    Table,
    Numbers,
    /// A cell a series and moment, coloured by its value.
    Cells,
}

struct Panel {
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    width: u64,
    /// Expression and legend.
    queries: Vec<(String, &'static str)>,
}

/// The dashboard, to be imported as it is.
#[must_use]
pub fn dashboard() -> Value {
    let (mut x, mut y, mut placed) = (0, 0, Vec::new());
    for (number, panel) in panels().into_iter().enumerate() {
        if x + panel.width > COLUMNS {
            (x, y) = (0, y + ROWS);
        }
        placed.push(panel.json(number + 1, x, y));
        x += panel.width;
    }
    json!({
        "title": "Serin",
        "uid": "serin",
        "tags": ["serin"],
        "schemaVersion": 38,
        "version": 1,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-6h", "to": "now" },
        "templating": { "list": [
            { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
            {
                "name": "endpoint",
                "label": "Endpoint",
                "type": "query",
                "datasource": source(),
                "query": { "query": format!("label_values({}, endpoint)", names::REQUESTS.total()), "refId": "endpoint" },
                "refresh": 2,
                "multi": true,
                "includeAll": true,
                "allValue": ".*",
                "current": { "text": "All", "value": "$__all" },
            },
        ] },
        "annotations": { "list": [] },
        "panels": placed,
    })
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

impl Panel {
    fn json(&self, id: usize, x: u64, y: u64) -> Value {
        let is_table = self.look == Look::Table;
        let targets: Vec<Value> = self
            .queries
            .iter()
            .zip('A'..='Z')
            .map(|((expression, legend), letter)| {
                json!({
                    "refId": letter.to_string(),
                    "datasource": source(),
                    "expr": expression,
                    "legendFormat": legend,
                    "instant": is_table || self.look == Look::Numbers,
                    "range": !is_table && self.look != Look::Numbers,
                    "format": if is_table { "table" } else { "time_series" },
                })
            })
            .collect();
        let kind = match self.look {
            Look::Lines => "timeseries",
            Look::Table => "table",
            Look::Numbers => "stat",
            Look::Cells => "status-history",
        };
        let mut panel = json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "datasource": source(),
            "gridPos": { "x": x, "y": y, "w": self.width, "h": ROWS },
            "fieldConfig": { "defaults": { "unit": self.unit, "min": 0 }, "overrides": [] },
            "targets": targets,
        });
        if self.look == Look::Cells {
            panel["maxDataPoints"] = json!(60);
            panel["options"] = json!({ "showValue": "never", "legend": { "showLegend": false } });
            panel["fieldConfig"]["defaults"]["max"] = json!(1);
            panel["fieldConfig"]["defaults"]["color"] = json!({ "mode": "continuous-GrYlRd" });
        }
        if is_table {
            panel["transformations"] = json!([
                { "id": "organize", "options": { "excludeByName": { "Time": true, "job": true, "instance": true, "__name__": true } } },
                { "id": "sortBy", "options": { "sort": [{ "field": "Value", "desc": true }] } },
            ]);
        }
        panel
    }
}

fn panels() -> Vec<Panel> {
    let (requests, errors) = (names::REQUESTS.total(), names::ERRORS.total());
    let quantile = |q: f64| {
        let bucket = names::LATENCY.bucket();
        format!(
            "histogram_quantile({q}, sum by (endpoint, le) (rate({bucket}{{{CHOSEN}}}[$__rate_interval])))"
        )
    };
    let chosen = |metric: names::Metric| format!("{}{{{CHOSEN}}}", metric.name);
    let rate = |series: &str, labels: &str, by: &str| {
        format!("sum by ({by}) (rate({series}{{{labels}}}[$__rate_interval]))")
    };
    let lines = |title, description, unit, queries| Panel {
        title,
        description,
        look: Look::Lines,
        unit,
        width: 8,
        queries,
    };
    let numbers = |title, description, queries| Panel {
        look: Look::Numbers,
        width: 6,
        ..lines(title, description, "short", queries)
    };
    vec![
        numbers(
            "Alarms that are on",
            "Silenced ones included.",
            vec![(format!("sum({}) or vector(0)", names::ALARM_ON.name), "on")],
        ),
        numbers(
            "Waiting for a person",
            "`serin approvals` lists them.",
            vec![(format!("sum({}) or vector(0)", names::OPEN_APPROVALS.name), "approvals")],
        ),
        numbers(
            "Rollouts under way",
            "`serin rollout status` shows them.",
            vec![(format!("sum({}) or vector(0)", names::OPEN_ROLLOUTS.name), "rollouts")],
        ),
        numbers(
            "Versions of Serin",
            "By what is scraped.",
            vec![(format!("count by (version) ({}_info)", names::BUILD.name), "{{version}}")],
        ),
        lines(
            "Requests",
            "Inference requests a second, by endpoint and variant.",
            "reqps",
            vec![(rate(&requests, CHOSEN, "endpoint, variant"), "{{endpoint}} {{variant}}")],
        ),
        lines(
            "Errors",
            "Share of requests that the server failed, and refusals a second by code.",
            "short",
            vec![
                (
                    format!(
                        "{} / {}",
                        rate(&requests, &format!("outcome=\"server_error\",{CHOSEN}"), "endpoint"),
                        rate(&requests, CHOSEN, "endpoint")
                    ),
                    "{{endpoint}}: share failed",
                ),
                (format!("{} > 0", rate(&errors, "", "code")), "{{code}} a second"),
            ],
        ),
        lines(
            "Latency",
            "From the request's head to the answer, of answered requests.",
            "s",
            vec![
                (quantile(0.5), "{{endpoint}} median"),
                (quantile(0.95), "{{endpoint}} 95 %"),
                (quantile(0.99), "{{endpoint}} 99 %"),
            ],
        ),
        lines(
            "In hand",
            "Requests being worked on, and open connections.",
            "short",
            vec![
                (names::IN_HAND.name.to_owned(), "requests {{instance}}"),
                (names::CONNECTIONS.name.to_owned(), "connections {{instance}}"),
            ],
        ),
        lines(
            "Capture: lag",
            "Age of the oldest answer that is no row yet.",
            "s",
            vec![(names::CAPTURE_LAG_SECONDS.name.to_owned(), "{{instance}}")],
        ),
        lines(
            "Capture: journal",
            "When it is full requests get 503.",
            "bytes",
            vec![
                (names::CAPTURE_SPOOL_BYTES.name.to_owned(), "waiting {{instance}}"),
                (names::CAPTURE_SPOOL_LIMIT_BYTES.name.to_owned(), "limit {{instance}}"),
            ],
        ),
        Panel {
            look: Look::Table,
            width: 12,
            ..lines(
                "Drift now, by feature",
                "Largest difference of the distribution functions at training and now; the 50 largest.",
                "none",
                vec![(format!("topk(50, {})", chosen(names::DRIFT_KS)), "")],
            )
        },
        Panel {
            look: Look::Cells,
            width: 12,
            ..lines(
                "Drift over time, by feature",
                "The 30 features that moved most.",
                "none",
                vec![(format!("topk(30, {})", chosen(names::DRIFT_KS)), "{{endpoint}} {{feature}}")],
            )
        },
        lines(
            "Findings",
            "What was found in enough windows to be told.",
            "short",
            vec![(chosen(names::FINDINGS), "{{endpoint}} {{severity}}")],
        ),
        lines(
            "Features with least values",
            "Share of rows in which a feature has a value; the 20 least.",
            "percentunit",
            vec![(format!("bottomk(20, {})", chosen(names::FEATURE_PRESENT)), "{{endpoint}} {{feature}}")],
        ),
        lines(
            "Looks at live rows",
            "Since the end of the last window, and how long windows are.",
            "s",
            vec![
                (chosen(names::MONITOR_AGE_SECONDS), "{{endpoint}} age"),
                (chosen(names::MONITOR_WINDOW_SECONDS), "{{endpoint}} window"),
            ],
        ),
        lines(
            "Quality: macro-F1",
            "Of labelled rows, beside the hold-out's.",
            "none",
            vec![
                (chosen(names::MACRO_F1), "{{endpoint}}"),
                (chosen(names::EXPECTED_MACRO_F1), "{{endpoint}} hold-out"),
            ],
        ),
        lines(
            "Quality: accuracy",
            "Of labelled rows, as probabilities let expect it, and on the hold-out.",
            "percentunit",
            vec![
                (chosen(names::ACCURACY), "{{endpoint}} labelled"),
                (chosen(names::ESTIMATED_ACCURACY), "{{endpoint}} estimated"),
                (chosen(names::EXPECTED_ACCURACY), "{{endpoint}} hold-out"),
            ],
        ),
        lines(
            "Labelled rows and class mix",
            "Rows whose truth is known, and share of predictions that changed class.",
            "short",
            vec![
                (chosen(names::LABELLED_ROWS), "{{endpoint}} labelled rows"),
                (chosen(names::CLASS_MIX_SHIFT), "{{endpoint}} class mix shift"),
            ],
        ),
        Panel {
            look: Look::Table,
            width: 12,
            ..lines(
                "Alarms",
                "1: on. Those that know nothing are 0.",
                "none",
                vec![(names::ALARM_ON.name.to_owned(), "")],
            )
        },
        Panel {
            width: 12,
            ..lines(
                "Runs",
                "By project and state.",
                "short",
                vec![(format!("{} > 0", names::RUNS.name), "{{project}} {{state}}")],
            )
        },
    ]
}
