//! How the model was chosen: what was tried, what it scored, and why this one.

use std::cmp::Ordering;

use super::{
    glossary,
    page::{Cell, Figure, Row, Table, and_more, more_in_prose, words},
    view::{FactView, ReportView, SelectionView, TrialKind, TrialOutcome, TrialView},
};
use crate::web::{
    chart::{self, IntervalRow, Intervals, Tone},
    number,
};

const MOST_DRAWN: usize = 30;
const MOST_TABLE_ROWS: usize = 200;

#[derive(Debug)]
pub struct Selection {
    pub paragraphs: Vec<String>,
    pub leaderboard: Option<Figure>,
}

pub fn selection(view: &ReportView) -> Selection {
    let sorted = best_first(&view.selection);
    Selection { paragraphs: paragraphs(view, &sorted), leaderboard: leaderboard(&view.selection, &sorted) }
}

/// Parameters in one line: `depth 6, learning rate 0.1`.
pub fn facts_in_line(facts: &[FactView]) -> String {
    let written: Vec<String> = facts.iter().map(|fact| format!("{} {}", fact.name, fact.value)).collect();
    written.join(", ")
}

/// What a trial is called on the page.
pub fn trial_title(trial: &TrialView) -> String {
    match trial.kind {
        TrialKind::MajorityDummy => "Majority dummy".to_owned(),
        TrialKind::ReferenceRecipe => "Reference recipe".to_owned(),
        TrialKind::Ensemble => "Ensemble".to_owned(),
        TrialKind::Search => words(&trial.family),
    }
}

/// Finished ones by score, then those stopped early by score, then failed ones; equals by number.
fn best_first(view: &SelectionView) -> Vec<&TrialView> {
    let mut sorted: Vec<&TrialView> = view.trials.iter().collect();
    sorted.sort_by(|a, b| {
        let outcome = rank(&a.outcome).cmp(&rank(&b.outcome));
        outcome.then_with(|| by_score(a, b, view.lower_is_better)).then_with(|| a.number.cmp(&b.number))
    });
    sorted
}

fn rank(outcome: &TrialOutcome) -> u8 {
    match outcome {
        TrialOutcome::Finished => 0,
        TrialOutcome::StoppedEarly { .. } => 1,
        TrialOutcome::Failed { .. } => 2,
    }
}

fn by_score(a: &TrialView, b: &TrialView, lower_is_better: bool) -> Ordering {
    match (score(a), score(b)) {
        (Some(a), Some(b)) if lower_is_better => a.total_cmp(&b),
        (Some(a), Some(b)) => b.total_cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn score(trial: &TrialView) -> Option<f64> {
    trial.score.map(|score| score.value).filter(|value| value.is_finite())
}

fn paragraphs(view: &ReportView, sorted: &[&TrialView]) -> Vec<String> {
    if sorted.is_empty() {
        return vec!["No trial was run.".to_owned()];
    }
    let mut paragraphs = vec![what_was_tried(view, sorted)];
    paragraphs.extend(why_this_one(&view.selection, sorted));
    paragraphs
}

fn what_was_tried(view: &ReportView, sorted: &[&TrialView]) -> String {
    let selection = &view.selection;
    let count = |wanted: fn(&TrialView) -> bool| sorted.iter().filter(|trial| wanted(trial)).count() as u64;
    let n_tried = count(|trial| matches!(trial.kind, TrialKind::Search | TrialKind::ReferenceRecipe));
    let mut families: Vec<&str> = sorted
        .iter()
        .filter(|trial| trial.kind == TrialKind::Search)
        .map(|trial| trial.family.as_str())
        .collect();
    families.sort_unstable();
    families.dedup();

    let mut text = format!(
        "Serin tried {} of recipe, model family and parameters on {}",
        number::counted(n_tried, "combination", "combinations"),
        number::counted(view.data.n_rows, "row", "rows"),
    );
    if families.len() > 1 {
        text.push_str(&format!(", from {} families", number::count(families.len() as u64)));
    }
    if let Some(budget) = &selection.budget {
        text.push_str(&format!(", within a budget of {budget}"));
    }
    text.push_str(". ");
    if selection.n_folds > 1 {
        let repeated = match selection.n_repeats {
            0 | 1 => String::new(),
            2 => ", repeated twice with other folds".to_owned(),
            n => format!(", repeated {} times with other folds", number::count(n)),
        };
        text.push_str(&format!(
            "Each was scored by {} in stratified {}-fold cross-validation{repeated}. Everything that learns from data \
             (imputation, scaling, selection of columns, resampling) was fitted again inside each fold, so that no \
             row was judged by a model that had seen it. ",
            glossary::metric_in_prose(&selection.metric),
            number::count(selection.n_folds),
        ));
    }
    let n_stopped = count(|trial| matches!(trial.outcome, TrialOutcome::StoppedEarly { .. }));
    let n_failed = count(|trial| matches!(trial.outcome, TrialOutcome::Failed { .. }));
    if n_stopped > 0 {
        text.push_str(&format!("{} given up after some folds as hopeless. ", were(n_stopped)));
    }
    if n_failed > 0 {
        text.push_str(&format!(
            "{} not be fitted; the table says why. ",
            if n_failed == 1 { "1 could".to_owned() } else { format!("{} could", number::count(n_failed)) }
        ));
    }
    if selection.interrupted {
        text.push_str("The search was interrupted; this is the best it had found by then. ");
    }
    text.trim_end().to_owned()
}

fn were(n: u64) -> String {
    if n == 1 { "1 was".to_owned() } else { format!("{} were", number::count(n)) }
}

fn why_this_one(view: &SelectionView, sorted: &[&TrialView]) -> Option<String> {
    let chosen = sorted.iter().find(|trial| trial.chosen)?;
    let chosen_score = chosen.score.filter(|score| score.value.is_finite())?;
    let gain = |other: f64| {
        if view.lower_is_better { other - chosen_score.value } else { chosen_score.value - other }
    };
    let mut text = format!(
        "Chosen: {}, with {} {}.",
        named(chosen),
        glossary::metric_in_prose(&view.metric),
        number::plus_minus(chosen_score.value, chosen_score.interval)
    );
    let rivals = || sorted.iter().filter(|trial| !trial.chosen && trial.kind == TrialKind::Search);
    let runner_up = rivals().find(|trial| trial.outcome == TrialOutcome::Finished && score(trial).is_some());
    if let Some((rival, value)) = runner_up.and_then(|trial| Some((trial, score(trial)?))) {
        let role = if chosen.kind == TrialKind::Ensemble { "The best single model" } else { "The next best" };
        text.push_str(&format!(
            " {role} was {}, with {} ({} for the choice).",
            named(rival),
            number::score(value),
            number::signed_score(gain(value))
        ));
    }
    if let Some((low, high)) = chosen_score.interval {
        let is_close = |trial: &&&TrialView| score(trial).is_some_and(|value| (low..=high).contains(&value));
        let n_close =
            rivals().filter(|trial| trial.outcome == TrialOutcome::Finished).filter(is_close).count() as u64;
        if n_close > 0 {
            text.push_str(&format!(
                " {} within its interval: with so many rows these are nearly interchangeable.",
                if n_close == 1 {
                    "1 other lies".to_owned()
                } else {
                    format!("{} others lie", number::count(n_close))
                }
            ));
        }
    }
    let special = |kind: TrialKind| {
        sorted.iter().find(|trial| trial.kind == kind && !trial.chosen).and_then(|trial| score(trial))
    };
    match (special(TrialKind::ReferenceRecipe), special(TrialKind::MajorityDummy)) {
        (Some(reference), dummy) => {
            text.push_str(&format!(
                " The reference recipe scores {} ({} for the choice)",
                number::score(reference),
                number::signed_score(gain(reference))
            ));
            text.push_str(
                &dummy.map_or(".".to_owned(), |dummy| {
                    format!(", the majority dummy {}.", number::score(dummy))
                }),
            );
        }
        (None, Some(dummy)) => {
            text.push_str(&format!(" The majority dummy scores {}.", number::score(dummy)));
        }
        (None, None) => {}
    }
    text.push_str(" The winner was then fitted once more on all training rows.");
    Some(text)
}

fn named(trial: &TrialView) -> String {
    match trial.kind {
        TrialKind::Ensemble => "the ensemble".to_owned(),
        TrialKind::MajorityDummy => "the majority dummy".to_owned(),
        TrialKind::ReferenceRecipe => "the reference recipe".to_owned(),
        TrialKind::Search => {
            let family = trial.family.replace(['-', '_'], " ");
            format!("trial {} ({})", number::count(trial.number), super::page::short_name(&family))
        }
    }
}

fn leaderboard(view: &SelectionView, sorted: &[&TrialView]) -> Option<Figure> {
    if sorted.is_empty() {
        return None;
    }
    // The dummy, the reference and the choice are drawn however far down they stand.
    let is_kept = |(position, trial): &(usize, &&TrialView)| {
        score(trial).is_some() && (*position < MOST_DRAWN || trial.chosen || trial.kind != TrialKind::Search)
    };
    let drawn: Vec<&TrialView> = sorted.iter().enumerate().filter(is_kept).map(|(_, trial)| *trial).collect();
    let metric = glossary::metric_in_prose(&view.metric);
    let mut caption = format!(
        "Out-of-fold {metric} with intervals, best first{}. Grey: stopped early, on the folds it ran. An arrow at the \
         edge points to a score off the scale.",
        if view.lower_is_better { " (smaller is better)" } else { "" }
    );
    if let Some(more) = more_in_prose(sorted.len(), drawn.len(), "trial", "trials") {
        caption.push_str(&format!(" Only in the table: {more}."));
    }
    let rows: Vec<IntervalRow> = drawn.iter().map(|trial| interval_row(trial)).collect();
    let domain = domain(view, &drawn);
    let title = "Leaderboard";
    let drawing = (!rows.is_empty()).then(|| {
        chart::drawn("leaderboard", title, &caption, chart::PAGE_WIDTH, |width| {
            Intervals { rows: rows.clone(), domain }.draw(width)
        })
    });
    Some(Figure {
        id: "figure-leaderboard",
        title,
        term: glossary::term("out-of-fold"),
        caption,
        drawing,
        table: Some(leaderboard_table(sorted)),
        is_half: false,
    })
}

fn interval_row(trial: &TrialView) -> IntervalRow {
    let stopped = match trial.outcome {
        TrialOutcome::StoppedEarly { .. } => "stopped early · ",
        _ => "",
    };
    let mark = if trial.chosen { "chosen · " } else { "" };
    IntervalRow {
        label: match trial.kind {
            TrialKind::Search => format!("{} {}", trial.number, trial_title(trial)),
            _ => trial_title(trial),
        },
        note: format!("{mark}{stopped}{}", trial.recipe),
        value: score(trial),
        interval: trial.score.and_then(|score| score.interval),
        reference: None,
        text: trial.score.map_or(String::new(), |score| number::plus_minus(score.value, score.interval)),
        tone: match (trial.kind, &trial.outcome) {
            (_, TrialOutcome::StoppedEarly { .. }) => Tone::Faint,
            (TrialKind::MajorityDummy | TrialKind::ReferenceRecipe, _) => Tone::Warning,
            _ if trial.chosen => Tone::Accent,
            _ => Tone::Plain,
        },
        chosen: trial.chosen,
    }
}

/// The axis shows the better half of the field well; the dummy and the hopeless may lie off the scale.
fn domain(view: &SelectionView, drawn: &[&TrialView]) -> (f64, f64) {
    let finished: Vec<f64> = drawn
        .iter()
        .filter(|trial| trial.outcome == TrialOutcome::Finished && trial.kind != TrialKind::MajorityDummy)
        .filter_map(|trial| score(trial))
        .collect();
    let Some(&best) = finished.first() else { return (0.0, 1.0) };
    let median = finished[finished.len() / 2];
    let reach = ((best - median).abs() * 3.0).max(0.02);
    let is_near = |value: f64| (value - best).abs() <= reach;
    let must_show = |trial: &&&TrialView| {
        let special = trial.chosen || trial.kind == TrialKind::ReferenceRecipe;
        score(trial).is_some_and(|value| is_near(value) || special)
    };
    let ends = drawn.iter().filter(must_show).flat_map(|trial| {
        let interval = trial.score.and_then(|score| score.interval);
        [score(trial), interval.map(|(low, _)| low), interval.map(|(_, high)| high)]
    });
    let (low, high) = ends
        .flatten()
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let margin = ((high - low) * 0.04).max(0.002);
    let (floor, ceiling) = if view.lower_is_better { (0.0, f64::INFINITY) } else { (f64::NEG_INFINITY, 1.0) };
    ((low - margin).max(floor), (high + margin).min(ceiling))
}

fn leaderboard_table(sorted: &[&TrialView]) -> Table {
    let headings = [
        ("Trial", "", true),
        ("Family", "", false),
        ("Recipe", "recipe", false),
        ("Parameters", "", false),
        ("Score", "out-of-fold", true),
        ("Interval", "interval", true),
        ("Time", "", true),
        ("", "", false),
    ];
    let mut table = Table::new("All trials", &headings);
    for trial in sorted.iter().take(MOST_TABLE_ROWS) {
        let outcome = match &trial.outcome {
            TrialOutcome::Failed { reason } => Cell::name(&format!("failed: {reason}")),
            TrialOutcome::StoppedEarly { n_folds } => {
                format!("stopped after {}", number::counted(*n_folds, "fold", "folds")).into()
            }
            TrialOutcome::Finished if trial.chosen => "chosen".into(),
            TrialOutcome::Finished => "".into(),
        };
        let cells = vec![
            number::count(trial.number).into(),
            Cell::name(&trial_title(trial)),
            Cell::name(&trial.recipe),
            Cell::name(&facts_in_line(&trial.parameters)),
            score(trial).map_or(number::UNKNOWN.to_owned(), number::score).into(),
            trial
                .score
                .and_then(|score| score.interval)
                .map_or(number::UNKNOWN.to_owned(), number::interval)
                .into(),
            trial.seconds.map_or(number::UNKNOWN.to_owned(), number::seconds).into(),
            outcome,
        ];
        table.rows.push(Row { cells, is_strong: trial.chosen });
    }
    table.more = and_more(sorted.len(), MOST_TABLE_ROWS, "trial", "trials");
    table
}
