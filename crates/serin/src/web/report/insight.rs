//! What the model looks at, whether more rows would help, where the time went, and what it all came from.

use super::{
    glossary,
    page::{Cell, Figure, Table, more_in_prose, quoted},
    view::{ImportanceView, LearningPointView, LineageView, PhaseView, ReportView},
};
use crate::web::{
    chart::{self, Bar, BarColumn, Bars, LearningCurve, LearningPoint, Stack, StackPart, Tone},
    number,
};

const MOST_BARS: usize = 20;
const MOST_TABLE_ROWS: usize = 200;

pub fn importances(view: &ReportView) -> Option<Figure> {
    let permutation =
        |one: &ImportanceView| one.permutation.map(|p| p.value).filter(|value| value.is_finite());
    let gain = |one: &ImportanceView| one.gain.filter(|value| value.is_finite());
    let mut sorted: Vec<&ImportanceView> =
        view.importances.iter().filter(|one| permutation(one).is_some() || gain(one).is_some()).collect();
    let key = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
    sorted.sort_by(|a, b| {
        let first = key(permutation(b)).total_cmp(&key(permutation(a)));
        first.then_with(|| key(gain(b)).total_cmp(&key(gain(a))))
    });
    let first = sorted.first()?;
    let drawn = &sorted[..sorted.len().min(MOST_BARS)];
    let has_permutation = sorted.iter().any(|one| permutation(one).is_some());
    let has_gain = sorted.iter().any(|one| gain(one).is_some());

    let mut caption = format!("{} matters most", quoted(&first.feature));
    if let Some(value) = permutation(first) {
        caption.push_str(&format!(": shuffled, it costs {}", number::score(value)));
    }
    caption.push('.');
    if let Some(note) = &view.permutation_note {
        caption.push_str(&format!(" Permutation: {note}."));
    }
    if let Some(more) = more_in_prose(sorted.len(), MOST_BARS, "column", "columns") {
        caption.push_str(&format!(" The first {MOST_BARS} are drawn; only in the table: {more}."));
    }
    let mut columns = Vec::new();
    if has_permutation {
        let bars = drawn.iter().map(|one| Bar {
            value: permutation(one),
            interval: one.permutation.and_then(|p| p.interval),
            text: permutation(one).map_or(number::UNKNOWN.to_owned(), |value| number::significant(value, 2)),
            tone: Tone::Accent,
        });
        columns.push(BarColumn { title: "Permutation".to_owned(), full: 0.0, bars: bars.collect() });
    }
    if has_gain {
        let bars = drawn.iter().map(|one| Bar {
            value: gain(one),
            interval: None,
            text: gain(one).map_or(number::UNKNOWN.to_owned(), number::percent),
            tone: Tone::Plain,
        });
        columns.push(BarColumn { title: "Gain".to_owned(), full: 0.0, bars: bars.collect() });
    }
    let bars = Bars { labels: drawn.iter().map(|one| one.feature.clone()).collect(), columns };
    let headings = [
        ("Column", "", false),
        ("Permutation", "permutation-importance", true),
        ("Interval", "interval", true),
        ("Gain", "gain", true),
    ];
    let mut table = Table::new("Importance by column", &headings);
    table.fill(&sorted, MOST_TABLE_ROWS, ("column", "columns"), |one| {
        let interval = one.permutation.and_then(|p| p.interval);
        vec![
            Cell::name(&one.feature),
            permutation(one).map_or(number::UNKNOWN.to_owned(), |value| number::significant(value, 3)).into(),
            interval.map_or(number::UNKNOWN.to_owned(), number::interval).into(),
            gain(one).map_or(number::UNKNOWN.to_owned(), number::percent).into(),
        ]
    });
    let title = "What the model looks at";
    let drawing = chart::drawn("importance", title, &caption, chart::PAGE_WIDTH, |width| bars.draw(width));
    Some(Figure {
        id: "figure-importance",
        title,
        term: glossary::term("permutation-importance"),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: false,
    })
}

pub fn learning_curve(view: &ReportView) -> Option<Figure> {
    let points: Vec<&LearningPointView> =
        view.learning_curve.iter().filter(|point| point.score.value.is_finite()).collect();
    let (last, before) = match points.as_slice() {
        [.., before, last] => (last, before),
        _ => return None,
    };
    let metric = glossary::metric_in_prose(&view.selection.metric);
    let sign = if view.selection.lower_is_better { -1.0 } else { 1.0 };
    let gain = sign * (last.score.value - before.score.value);
    let noise = last.score.interval.map_or(0.005, |(low, high)| (high - low).abs() / 2.0);
    let judgement = match gain {
        _ if gain > noise => "It still rises clearly: more rows would help.",
        _ if gain > noise / 3.0 => "It still rises a little: more rows would probably help.",
        _ => "It has levelled off: more rows of the same kind will help little.",
    };
    let caption = format!(
        "From {} to {} training rows {metric} went from {} to {}. {judgement}",
        number::count(before.n_rows),
        number::count(last.n_rows),
        number::score(before.score.value),
        number::score(last.score.value)
    );
    let curve = LearningCurve {
        points: points
            .iter()
            .map(|point| LearningPoint {
                n_rows: point.n_rows,
                rows_text: number::count(point.n_rows),
                score: point.score.value,
                score_text: number::score(point.score.value),
                interval: point.score.interval,
                training_score: point.training_score.filter(|score| score.is_finite()),
            })
            .collect(),
        score_title: glossary::metric_title(&view.selection.metric),
    };
    let headings = [
        ("Training rows", "", true),
        ("Score", "", true),
        ("Interval", "interval", true),
        ("On training rows", "", true),
    ];
    let mut table = Table::new("Learning curve", &headings);
    table.fill(&points, 50, ("point", "points"), |point| {
        vec![
            number::count(point.n_rows).into(),
            number::score(point.score.value).into(),
            point.score.interval.map_or(number::UNKNOWN.to_owned(), number::interval).into(),
            point.training_score.map_or(number::UNKNOWN.to_owned(), number::score).into(),
        ]
    });
    let title = "Would more rows help?";
    let drawing =
        chart::drawn("learning", title, &caption, chart::HALF_PAGE_WIDTH, |width| curve.draw(width));
    Some(Figure {
        id: "figure-learning",
        title,
        term: glossary::term("learning-curve"),
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: true,
    })
}

pub fn time(phases: &[PhaseView]) -> Option<Figure> {
    let known = |phase: &&PhaseView| phase.seconds.is_finite() && phase.seconds >= 0.0;
    let phases: Vec<&PhaseView> = phases.iter().filter(known).collect();
    let total: f64 = phases.iter().map(|phase| phase.seconds).sum();
    let longest = phases.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds))?;
    let share = |seconds: f64| if total > 0.0 { seconds / total } else { 0.0 };
    let caption = format!(
        "{} in all, of which {} took {}.",
        number::seconds(total),
        quoted(&longest.name),
        number::percent(share(longest.seconds))
    );
    let stack = Stack {
        parts: phases
            .iter()
            .map(|phase| StackPart {
                label: phase.name.clone(),
                text: number::seconds(phase.seconds),
                value: phase.seconds,
            })
            .collect(),
    };
    let mut table =
        Table::new("Time by phase", &[("Phase", "", false), ("Time", "", true), ("Share", "", true)]);
    table.fill(&phases, 50, ("phase", "phases"), |phase| {
        vec![
            Cell::name(&phase.name),
            number::seconds(phase.seconds).into(),
            number::percent(share(phase.seconds)).into(),
        ]
    });
    let title = "Time spent";
    let drawing = chart::drawn("time", title, &caption, chart::PAGE_WIDTH, |width| stack.draw(width));
    Some(Figure {
        id: "figure-time",
        title,
        term: None,
        caption,
        drawing: Some(drawing),
        table: Some(table),
        is_half: false,
    })
}

/// What the run came from, as (name, glossary name, value).
pub fn lineage(view: &LineageView) -> Vec<LineageFact> {
    let fact = |name: &'static str, term: &str, value: Option<String>| {
        value.map(|value| LineageFact { name: name.to_owned(), term: glossary::term(term), value })
    };
    let mut facts: Vec<LineageFact> = [
        fact("Bundle", "digest", view.bundle_digest.clone()),
        fact("Data fingerprint", "fingerprint", view.data_fingerprint.clone()),
        fact("Recipe", "digest", view.recipe_digest.clone()),
        fact("Configuration", "digest", view.config_digest.clone()),
        // A seed is a name, not a quantity: no separators.
        fact("Seed", "seed", view.seed.map(|seed| seed.to_string())),
        fact("Threads", "", view.n_threads.map(number::count)),
        fact("Command", "", view.command.clone()),
    ]
    .into_iter()
    .flatten()
    .collect();
    facts.extend(view.versions.iter().map(|version| LineageFact {
        name: version.name.clone(),
        term: None,
        value: version.value.clone(),
    }));
    facts
}

#[derive(Debug)]
pub struct LineageFact {
    pub name: String,
    pub term: Option<&'static glossary::Term>,
    pub value: String,
}
