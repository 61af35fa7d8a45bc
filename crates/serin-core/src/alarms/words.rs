//! Why, in a sentence.

use super::evaluate::{Ground, Judged, evaluation_range};
use crate::config::{MissingData, Rule};
use crate::domain::AlarmState;

/// Most numbers, and most alarms, that a sentence lists.
const LISTED: usize = 10;

/// Why an alarm over a metric is in its state.
pub(super) fn reason(rule: &Rule, judged: &Judged, ground: Ground, before: AlarmState) -> String {
    let missing = match rule.missing() {
        MissingData::Breaching => filled(judged.missing, "breaching"),
        MissingData::NotBreaching => filled(judged.missing, "not breaching"),
        MissingData::Missing | MissingData::Ignore => None,
    };
    let is_short = !judged.breaching.is_empty();
    let needed = is_short.then(|| format!("the alarm needs {}", rule.datapoints_to_alarm()));
    let stays = || Some(format!("the state stays {before}"));
    let nothing = || Some(format!("none of the last {} periods has a datapoint", evaluation_range(rule)));
    let parts = match ground {
        Ground::Breaches => vec![measured(rule, judged)],
        Ground::FilledBreaches => vec![unreadable(judged), measured(rule, judged), missing],
        Ground::LastingBreach => {
            let since = format!("that began {} periods ago, and none better has come since", judged.age);
            vec![measured(rule, judged), Some(since)]
        }
        Ground::TooFewBreaches => vec![measured(rule, judged), missing, needed],
        Ground::Unreadable => vec![unreadable(judged), measured(rule, judged), needed],
        Ground::Nothing => vec![nothing()],
        Ground::NothingStays => vec![nothing(), stays()],
        Ground::EarlyBreach => vec![measured(rule, judged), needed, stays()],
    };
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// Why an alarm over other alarms is in its state.
pub(super) fn combined(state: AlarmState, states: &[(&str, Option<AlarmState>)]) -> String {
    let verdict = match state {
        AlarmState::Alarm => "the rule holds",
        AlarmState::Ok => "the rule does not hold",
        AlarmState::InsufficientData => "whether the rule holds cannot be said",
    };
    if states.is_empty() {
        return verdict.to_owned();
    }
    let listed = listed(states, |(name, state)| match state {
        Some(state) => format!("{name} is {state}"),
        None => format!("{name} is not known"),
    });
    format!("{verdict}: {listed}")
}

/// What the datapoints that could be measured say; nothing without any.
fn measured(rule: &Rule, judged: &Judged) -> Option<String> {
    let threshold = format!("{} the threshold ({})", rule.comparison().words(), number(rule.threshold()));
    let there = judged.values.len() + judged.unreadable;
    let values = |values: &[f64]| listed(values, |value| number(*value));
    match (judged.values.as_slice(), judged.breaching.as_slice()) {
        ([], _) => None,
        ([only], breaching) if there == 1 => {
            let not = if breaching.is_empty() { "not " } else { "" };
            Some(format!("the last datapoint ({}) was {not}{threshold}", number(*only)))
        }
        (all, []) => Some(format!("none of the last {there} datapoints ({}) was {threshold}", values(all))),
        (_, [one]) => Some(format!("1 of the last {there} datapoints ({}) was {threshold}", number(*one))),
        (_, breaching) => {
            let count = breaching.len();
            Some(format!("{count} of the last {there} datapoints ({}) were {threshold}", values(breaching)))
        }
    }
}

/// What could not be measured; nothing when all could.
fn unreadable(judged: &Judged) -> Option<String> {
    match (judged.unreadable, judged.values.len() + judged.unreadable) {
        (0, _) => None,
        (_, 1) => Some("the last datapoint could not be measured".to_owned()),
        (count, there) => Some(format!("{count} of the last {there} datapoints could not be measured")),
    }
}

/// What missing datapoints count as; nothing when none is.
fn filled(missing: usize, what: &str) -> Option<String> {
    match missing {
        0 => None,
        1 => Some(format!("1 missing datapoint counts as {what}")),
        _ => Some(format!("{missing} missing datapoints count as {what}")),
    }
}

/// The first of them with commas, and how many more there are.
fn listed<T>(all: &[T], shown: impl Fn(&T) -> String) -> String {
    let text = all.iter().take(LISTED).map(shown).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(LISTED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// Every digit it has, but no row of zeros.
fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-5..1e15).contains(&size) {
        return format!("{value:e}");
    }
    value.to_string()
}
