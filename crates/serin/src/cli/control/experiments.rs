//! `serin experiments` and `experiments compare`.

use serde_json::Value;

use super::args::{ExperimentsArgs, ExperimentsCommand};
use super::client::{Client, query};
use super::versions::metric_of;
use super::words::{brief, cell, entries, items, line, listed, moment, or_dash, pairs, plain};
use super::{page, say_more, show};
use crate::cli::exit::Exit;
use crate::cli::printer;

/// Metrics that have a column of their own.
const COLUMNS: [&str; 3] = ["macro-f1", "accuracy", "log-loss"];

/// Lists trials, or shows some side by side.
pub fn run(args: &ExperimentsArgs) -> anyhow::Result<Exit> {
    if let Some(ExperimentsCommand::Compare { runs, look }) = &args.command {
        let runs: Vec<String> = runs.iter().map(u64::to_string).collect();
        // The commas are part of the address.
        let path = format!("/experiments/compare?runs={}", runs.join(","));
        let answer = Client::find(&look.server)?.get(&path)?;
        return show(look, &answer, side_by_side);
    }
    let look = &args.list.look;
    let client = Client::find(&look.server)?;
    let answer = client.get(&format!("/experiments{}", query(&page(&args.list.page))))?;
    show(look, &answer, |answer| table(items(answer)))?;
    say_more(look, &answer);
    Ok(Exit::Done)
}

fn table(trials: &[Value]) -> String {
    let rows = trials.iter().map(|trial| {
        let mut row = vec![cell(trial, "run"), cell(trial, "experiment"), moment(trial, "created")];
        row.extend(COLUMNS.map(|metric| metric_of(trial, metric)));
        row.push(pairs(&trial["parameters"]));
        row
    });
    let head: Vec<&str> =
        ["run", "experiment", "time"].into_iter().chain(COLUMNS).chain(["parameters"]).collect();
    listed(&head, rows.collect(), "no trial yet; `serin run` makes one")
}

fn side_by_side(answer: &Value) -> String {
    let runs: Vec<String> = entries(answer, "runs").iter().map(plain).collect();
    let part = |what: &str, key: &str| {
        let rows = answer[key].as_object().into_iter().flatten().map(|(name, values)| {
            let cells = runs.iter().map(|run| or_dash(brief(&values[run.as_str()])));
            std::iter::once(line(name)).chain(cells).collect::<Vec<String>>()
        });
        let heads: Vec<String> = runs.iter().map(|run| format!("run {run}")).collect();
        let head: Vec<&str> = std::iter::once(what).chain(heads.iter().map(String::as_str)).collect();
        printer::table(&head, rows)
    };
    format!("{}\n\n{}", part("metric", "metrics"), part("parameter", "parameters"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn trials_are_listed_and_compared() {
        let trial = json!({"experiment": "wine", "run": 3, "created": "2026-11-22T10:00:00Z",
            "parameters": {"seed": "17"}, "metrics": {"accuracy": 0.75}, "artifacts": {}});
        let listing = table(&[trial]);
        assert!(listing.contains("0.7500") && listing.contains("seed=17"), "{listing}");
        let answer = json!({"runs": [1, 2], "metrics": {"accuracy": {"1": 0.75, "2": 0.8}},
            "parameters": {"seed": {"1": "17"}}});
        let text = side_by_side(&answer);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert!(rows.contains(&vec!["accuracy", "0.7500", "0.8000"]), "{text}");
        assert!(rows.contains(&vec!["seed", "17", "-"]), "{text}");
    }
}
