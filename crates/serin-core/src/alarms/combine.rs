//! The state of an alarm over other alarms.
//!
//! Of an alarm that nobody knows it is not known whether it is in a state. What follows is found by the logic of three
//! values (Kleene's): `AND` is decided by one part that does not hold, `OR` by one that holds, whatever the others are.

use super::words;
use crate::config::{Expression, Node};
use crate::domain::AlarmState;

/// How an alarm over others stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// Alarm when the expression holds, OK when it does not, insufficient data when that cannot be said.
    pub state: AlarmState,
    /// One sentence without a full stop.
    pub reason: String,
    /// The alarms that it names and nobody knows.
    pub unknown: Vec<String>,
}

/// The state that follows from those of the alarms that it names; `None` of one that there is not.
pub fn combine(expression: &Expression, known: impl Fn(&str) -> Option<AlarmState>) -> Combined {
    let state = match holds(expression.root(), &known) {
        Some(true) => AlarmState::Alarm,
        Some(false) => AlarmState::Ok,
        None => AlarmState::InsufficientData,
    };
    let states: Vec<(&str, Option<AlarmState>)> =
        expression.names().map(|name| (name, known(name))).collect();
    let unknown = states.iter().filter(|(_, state)| state.is_none()).map(|(name, _)| (*name).to_owned());
    Combined { state, unknown: unknown.collect(), reason: words::combined(state, &states) }
}

/// Whether it holds; `None` when that cannot be said.
fn holds(node: &Node, known: &impl Fn(&str) -> Option<AlarmState>) -> Option<bool> {
    match node {
        Node::Constant(value) => Some(*value),
        Node::Is { name, state } => known(name).map(|now| now == *state),
        Node::Not(inner) => holds(inner, known).map(|holds| !holds),
        Node::All(parts) => decided(parts, known, false),
        Node::Any(parts) => decided(parts, known, true),
    }
}

/// One part that is `deciding` decides; else all must be known.
fn decided(parts: &[Node], known: &impl Fn(&str) -> Option<AlarmState>, deciding: bool) -> Option<bool> {
    let mut is_certain = true;
    for part in parts {
        match holds(part, known) {
            Some(value) if value == deciding => return Some(deciding),
            Some(_) => {}
            None => is_certain = false,
        }
    }
    is_certain.then_some(!deciding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_matters_only_where_it_decides() {
        let known = |name: &str| match name {
            "on" => Some(AlarmState::Alarm),
            "off" => Some(AlarmState::Ok),
            "blind" => Some(AlarmState::InsufficientData),
            _ => None,
        };
        let state = |text: &str| combine(&text.parse().unwrap(), known).state.name();
        for (text, wanted) in [
            ("ALARM(on)", "ALARM"),
            ("ALARM(off)", "OK"),
            ("ALARM(blind)", "OK"),
            ("INSUFFICIENT_DATA(blind)", "ALARM"),
            ("ALARM(absent)", "INSUFFICIENT_DATA"),
            ("INSUFFICIENT_DATA(absent)", "INSUFFICIENT_DATA"),
            ("NOT ALARM(absent)", "INSUFFICIENT_DATA"),
            ("ALARM(absent) OR ALARM(on)", "ALARM"),
            ("ALARM(absent) OR ALARM(off)", "INSUFFICIENT_DATA"),
            ("ALARM(absent) AND ALARM(off)", "OK"),
            ("ALARM(absent) AND ALARM(on)", "INSUFFICIENT_DATA"),
            ("ALARM(on) AND NOT (OK(blind) OR OK(on))", "ALARM"),
            ("TRUE", "ALARM"),
            ("FALSE", "OK"),
        ] {
            assert_eq!(state(text), wanted, "{text}");
        }
        let combined = combine(&"ALARM(on) AND OK(\"a b\") AND NOT ALARM(off)".parse().unwrap(), known);
        assert_eq!(combined.unknown, ["a b"]);
        let reason = "whether the rule holds cannot be said: a b is not known, off is OK, on is ALARM";
        assert_eq!(combined.reason, reason);
        assert_eq!(combine(&"ALARM(on)".parse().unwrap(), known).reason, "the rule holds: on is ALARM");
        assert_eq!(combine(&"FALSE".parse().unwrap(), known).reason, "the rule does not hold");
    }
}
