//! The first thing a reader sees: may this model go on, and how good is it?

use super::{
    glossary,
    page::{Cell, Figure, Heading, Row, Table, quoted, words},
    view::{
        ChampionView, EvaluationSource, EvaluationView, GateFindingView, GateView, MetricView, ReportView,
        RequirementView, Unit,
    },
};
use crate::web::{
    chart::{self, IntervalRow, Intervals, Tone},
    number,
};

#[derive(Debug)]
pub struct Verdict {
    /// `passed`, `refused` or `open`: a class of the style sheet.
    pub state: &'static str,
    pub title: String,
    pub summary: String,
    /// Refused ones first.
    pub findings: Vec<Finding>,
    pub champion: Option<String>,
}

#[derive(Debug)]
pub struct Finding {
    pub passed: bool,
    pub rule: Cell,
    pub measured: String,
    pub required: String,
    pub explanation: String,
}

#[derive(Debug)]
pub struct Headline {
    pub title: String,
    pub term: Option<&'static glossary::Term>,
    pub value: String,
    pub interval: Option<String>,
    pub dummy: Option<String>,
    pub source: String,
    pub figure: Option<Figure>,
    pub table: Table,
}

pub fn verdict(view: &ReportView) -> Verdict {
    let Some(gate) = &view.gate else {
        return Verdict {
            state: "open",
            title: "No gate".to_owned(),
            summary: "No rules were configured, so nothing was asked of this model.".to_owned(),
            findings: Vec::new(),
            champion: None,
        };
    };
    let n = gate.findings.len() as u64;
    let n_refused = gate.findings.iter().filter(|finding| !finding.passed).count() as u64;
    let summary = match (gate.passed, n_refused) {
        (true, 0) if n == 0 => "The gate has no rules.".to_owned(),
        (true, 0) if n == 1 => "The one rule is met.".to_owned(),
        (true, 0) => format!("All {} rules are met.", number::count(n)),
        (true, _) => {
            format!("{} of {} are not met, none of them binding.", number::count(n_refused), rules(n))
        }
        (false, 0) => "The gate refused this model without naming a rule.".to_owned(),
        (false, 1) => format!("1 of {} is not met. This model must not be deployed.", rules(n)),
        (false, _) => {
            format!(
                "{} of {} are not met. This model must not be deployed.",
                number::count(n_refused),
                rules(n)
            )
        }
    };
    Verdict {
        state: if gate.passed { "passed" } else { "refused" },
        title: if gate.passed { "Gate passed" } else { "Gate refused" }.to_owned(),
        summary,
        findings: findings(gate),
        champion: gate.champion.as_ref().map(champion_sentence),
    }
}

pub fn headline(evaluation: &EvaluationView) -> Option<Headline> {
    let first = evaluation.metrics.first()?;
    let level = number::percent(evaluation.interval_level);
    let interval = first.value.and_then(|value| value.interval);
    Some(Headline {
        title: glossary::metric_title(&first.name),
        term: glossary::term(&first.name),
        value: first.value.map_or(number::UNKNOWN.to_owned(), |value| number::score(value.value)),
        interval: interval.map(|interval| format!("{level} interval {}", number::interval(interval))),
        dummy: first.dummy.map(number::score),
        source: source_sentence(evaluation),
        figure: metrics_figure(evaluation, &level),
        table: metrics_table(evaluation, &level),
    })
}

/// The model in one sentence, for the top of the page.
pub fn lead(view: &ReportView) -> Option<String> {
    let evaluation = view.evaluation.as_ref()?;
    let metric = evaluation.metrics.first()?;
    let value = metric.value?;
    let model = match &view.winner {
        Some(winner) if winner.members.len() > 1 => {
            format!("An ensemble of {} models", number::count(winner.members.len() as u64))
        }
        Some(winner) => words(&winner.family),
        None => "The chosen model".to_owned(),
    };
    let rows = number::counted(evaluation.n_rows, "row", "rows");
    let whence = match evaluation.source {
        EvaluationSource::HoldOut => format!("on {rows} that it had never seen"),
        EvaluationSource::OutOfFold => format!("out of fold on {rows}"),
    };
    let dummy = metric.dummy.filter(|dummy| dummy.is_finite()).map_or(String::new(), |dummy| {
        format!("; always answering the most frequent class gives {}", number::score(dummy))
    });
    let name = glossary::metric_in_prose(&metric.name);
    Some(format!("{model} reaches {name} {} {whence}{dummy}.", number::score(value.value)))
}

fn rules(n: u64) -> String {
    number::counted(n, "rule", "rules")
}

fn findings(gate: &GateView) -> Vec<Finding> {
    let (met, refused): (Vec<_>, Vec<_>) = gate.findings.iter().partition(|finding| finding.passed);
    refused.into_iter().chain(met).map(finding).collect()
}

fn finding(finding: &GateFindingView) -> Finding {
    let write = |value: f64| written(value, finding.unit);
    let required = match finding.required {
        None => String::new(),
        Some(RequirementView::AtLeast(value)) => format!("at least {}", write(value)),
        Some(RequirementView::AtMost(value)) => format!("at most {}", write(value)),
        Some(RequirementView::MoreThan(value)) => format!("more than {}", write(value)),
    };
    Finding {
        passed: finding.passed,
        rule: Cell::name(&finding.rule),
        measured: finding.measured.filter(|value| value.is_finite()).map_or("not measured".to_owned(), write),
        required,
        explanation: finding.explanation.clone(),
    }
}

fn written(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Score => number::score(value),
        Unit::Count => number::significant(value, 12),
        Unit::Share => number::percent(value),
    }
}

fn champion_sentence(champion: &ChampionView) -> String {
    let difference = champion.difference;
    let range = difference.interval.map_or(String::new(), |(low, high)| {
        format!(" (interval {} to {})", number::signed_score(low), number::signed_score(high))
    });
    let digest: String = champion.digest.chars().take(12).collect();
    format!(
        "Against the champion {} on the same rows: {} {}, champion {}, difference {}{range}.",
        quoted(&digest),
        glossary::metric_in_prose(&champion.metric),
        number::score(champion.challenger.value),
        number::score(champion.champion.value),
        number::signed_score(difference.value),
    )
}

fn source_sentence(evaluation: &EvaluationView) -> String {
    let rows = number::counted(evaluation.n_rows, "row", "rows");
    let measured = match evaluation.source {
        EvaluationSource::HoldOut => {
            format!("Measured on the hold-out, {rows} that took no part in training.")
        }
        EvaluationSource::OutOfFold => {
            format!(
                "Measured out of fold on {rows}, because there is no hold-out: expect slightly less on new rows."
            )
        }
    };
    match evaluation.interval_method.as_str() {
        "" => measured,
        method => format!("{measured} Intervals: {method}."),
    }
}

fn metrics_figure(evaluation: &EvaluationView, level: &str) -> Option<Figure> {
    let is_drawn = |metric: &&MetricView| {
        !glossary::lower_is_better(&metric.name)
            && metric.value.is_some_and(|value| (0.0..=1.0).contains(&value.value))
    };
    let row = |(position, metric): (usize, &MetricView)| IntervalRow {
        label: glossary::metric_title(&metric.name),
        value: metric.value.map(|value| value.value),
        interval: metric.value.and_then(|value| value.interval),
        reference: metric.dummy,
        text: metric.value.map_or(String::new(), |value| number::score(value.value)),
        tone: Tone::Accent,
        chosen: position == 0,
        ..IntervalRow::default()
    };
    let rows: Vec<IntervalRow> = evaluation.metrics.iter().filter(is_drawn).enumerate().map(row).collect();
    if rows.is_empty() {
        return None;
    }
    let caption = format!(
        "Filled: this model, with {level} interval. Hollow: the majority dummy. 1 is perfect on every scale shown."
    );
    let drawing = chart::drawn("metrics", "Headline metrics", &caption, chart::PAGE_WIDTH, |width| {
        Intervals { rows: rows.clone(), domain: (0.0, 1.0) }.draw(width)
    });
    Some(Figure {
        id: "figure-metrics",
        title: "This model beside the dummy",
        term: glossary::term("majority-dummy"),
        caption,
        drawing: Some(drawing),
        table: None,
        is_half: false,
    })
}

fn metrics_table(evaluation: &EvaluationView, level: &str) -> Table {
    let has_cross_validated = evaluation.metrics.iter().any(|metric| metric.cross_validated.is_some());
    let mut table = Table::new("Headline metrics", &[("Metric", "", false), ("Value", "", true)]);
    table.headings.push(Heading {
        text: format!("{level} interval"),
        term: glossary::term("interval"),
        is_number: true,
    });
    table.headings.push(Heading {
        text: "Majority dummy".to_owned(),
        term: glossary::term("majority-dummy"),
        is_number: true,
    });
    if has_cross_validated {
        table.headings.push(Heading {
            text: "Out of fold".to_owned(),
            term: glossary::term("out-of-fold"),
            is_number: true,
        });
    }
    for (position, metric) in evaluation.metrics.iter().enumerate() {
        let value = metric.value;
        let interval = value.and_then(|value| value.interval);
        let arrow = if glossary::lower_is_better(&metric.name) { " ↓" } else { "" };
        let mut name = Cell::name(&glossary::metric_title(&metric.name));
        name.text.push_str(arrow);
        name.term = glossary::term(&metric.name);
        let mut cells = vec![
            name,
            value.map_or(number::UNKNOWN.to_owned(), |value| number::score(value.value)).into(),
            interval.map_or(number::UNKNOWN.to_owned(), number::interval).into(),
            metric.dummy.map_or(number::UNKNOWN.to_owned(), number::score).into(),
        ];
        if has_cross_validated {
            cells.push(metric.cross_validated.map_or(number::UNKNOWN.to_owned(), number::score).into());
        }
        table.rows.push(Row { cells, is_strong: position == 0 });
    }
    if evaluation.metrics.iter().any(|metric| glossary::lower_is_better(&metric.name)) {
        table.more = Some("↓ smaller is better".to_owned());
    }
    table
}
