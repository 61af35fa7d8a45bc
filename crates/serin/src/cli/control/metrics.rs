//! `serin metrics`.

use serde_json::Value;
use serin_core::metrics::sparkline;

use super::args::{LookArgs, MetricsCommand, MetricsQueryArgs};
use super::client::{Client, query};
use super::show;
use super::words::{entries, items, moment, text};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Width of a line of values, characters.
const LINE: usize = 60;

/// Lists series, or answers a question.
pub fn run(command: &MetricsCommand) -> anyhow::Result<Exit> {
    match command {
        MetricsCommand::List(look) => list(look),
        MetricsCommand::Query(args) => ask(args),
    }
}

fn list(look: &LookArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&look.server)?;
    let answer = client.get("/metrics")?;
    show(look, &answer, |answer| {
        let rows = items(answer).iter().map(|series| {
            let labels = series["labels"].as_object().into_iter().flatten();
            let labels = labels.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
            vec![text(series, "name"), printer::visible(&labels.join(" "))]
        });
        printer::table(&["metric", "labels"], rows)
    })
}

fn ask(args: &MetricsQueryArgs) -> anyhow::Result<Exit> {
    let client = Client::find(&args.look.server)?;
    let answer = client.get(&format!("/metrics/query{}", query(&[("q", Some(args.query.clone()))])))?;
    show(&args.look, &answer, |answer| {
        let line: Vec<Option<f64>> = entries(answer, "line").iter().map(Value::as_f64).collect();
        let value = answer["value"].as_f64().map_or_else(|| "nothing was measured".to_owned(), number);
        let measured: Vec<f64> = line.iter().copied().flatten().collect();
        let range =
            match measured.iter().copied().reduce(f64::min).zip(measured.iter().copied().reduce(f64::max)) {
                Some((low, high)) => format!("  from {} to {}", number(low), number(high)),
                None => String::new(),
            };
        let every = answer["period_seconds"].as_u64().unwrap_or_default();
        format!(
            "{value}\n{}{range}\nsince {}, a value every {every} s\n",
            sparkline(&line, LINE),
            moment(answer, "from")
        )
    })
}

fn number(value: f64) -> String {
    let text = if value.abs() >= 1e6 || (value != 0.0 && value.abs() < 1e-4) {
        format!("{value:.4e}")
    } else {
        format!("{value:.6}")
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
