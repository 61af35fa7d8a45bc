//! Alarms: every window of every kind of datapoint against an oracle, and expressions against brute force.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serin_core::alarms::{Point, combine, evaluate, evaluation_range};
use serin_core::config::expression::DEPTH_LIMIT;
use serin_core::config::{Comparison, Expression, MissingData, Rule, UncheckedRule};
use serin_core::domain::AlarmState;

const POLICIES: [MissingData; 4] =
    [MissingData::Missing, MissingData::Ignore, MissingData::Breaching, MissingData::NotBreaching];
const COMPARISONS: [Comparison; 4] = [
    Comparison::GreaterThanThreshold,
    Comparison::GreaterThanOrEqualToThreshold,
    Comparison::LessThanThreshold,
    Comparison::LessThanOrEqualToThreshold,
];

/// What CloudWatch's page "Configuring how CloudWatch alarms treat missing data" says, on a text of `0` (within), `X`
/// (breaching), `-` (missing) and `?` (not measured), the newest last. Each step has the sentence that it is made from.
fn oracle(
    window: &str,
    needed: usize,
    periods: usize,
    policy: MissingData,
    before: AlarmState,
) -> AlarmState {
    let there: String = window.chars().filter(|c| *c != '-').collect();
    let short = periods.saturating_sub(there.len());
    // "CloudWatch evaluates the alarm state based on the most recent real data points that were successfully retrieved,
    // including the necessary extra data points from farther back."
    let recent = &there[there.len().saturating_sub(periods)..];
    // "CloudWatch fills in the missing data points with the result you specified ... only as few times as possible."
    let judged = match policy {
        MissingData::Breaching => format!("{recent}{}", "X".repeat(short)),
        MissingData::NotBreaching => format!("{recent}{}", "0".repeat(short)),
        MissingData::Missing | MissingData::Ignore => recent.to_owned(),
    };
    // Ours (R33): what was not measured may have been either, so it is an alarm only if it is one either way, and never OK.
    if judged.contains('?') {
        let is_alarm = judged.replace('?', "0").matches('X').count() >= needed;
        return if is_alarm { AlarmState::Alarm } else { AlarmState::InsufficientData };
    }
    // "Datapoints to Alarm is the number of data points within the Evaluation Periods that must be breaching."
    if judged.matches('X').count() >= needed {
        return AlarmState::Alarm;
    }
    // The rows `0 - X - X`, `0 - - - -`, `0 - X - -` and `- - - - 0`: OK whenever one within the threshold is judged.
    if judged.contains('0') {
        return AlarmState::Ok;
    }
    // What is left is nothing, or too few that all breach, with `missing` and `ignore`.
    // "ignore: the current alarm state is maintained", in the tables also for `- - X - -` and `- - - X -`.
    if policy == MissingData::Ignore {
        return before;
    }
    // "If all data points in the alarm evaluation range are missing, the alarm transitions to INSUFFICIENT_DATA."
    let Some(oldest) = window.find('X') else { return AlarmState::InsufficientData };
    // "ALARM when the oldest available breaching datapoint ... is at least as old as the value of Datapoints to Alarm, and
    // all other more recent data points are breaching or missing." Else it "does not go immediately into ALARM state".
    if window.len() - oldest >= needed { AlarmState::Alarm } else { before }
}

fn rule(needed: u32, periods: u32, missing: MissingData, comparison: Comparison) -> Rule {
    let unchecked = UncheckedRule {
        comparison,
        threshold: 5.0,
        period: Duration::from_secs(60),
        evaluation_periods: periods,
        datapoints_to_alarm: needed,
        missing,
    };
    unchecked.check().unwrap()
}

/// A datapoint of one of five kinds, and the letter that the oracle reads.
fn point(kind: usize, place: usize, comparison: Comparison) -> (Point, char) {
    use Comparison as C;
    let is_above = matches!(comparison, C::GreaterThanThreshold | C::GreaterThanOrEqualToThreshold);
    let is_strict = matches!(comparison, C::GreaterThanThreshold | C::LessThanThreshold);
    let (good, bad) = if is_above { (4.0, 6.0) } else { (6.0, 4.0) };
    match kind {
        0 => (Point::Missing, '-'),
        1 => (Point::Value(good), '0'),
        2 => (Point::Value(bad), 'X'),
        3 => (Point::Value(5.0), if is_strict { '0' } else { 'X' }),
        _ => {
            let unreadable = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Point::Value);
            (unreadable.get(place).copied().unwrap_or(Point::Unreadable), '?')
        }
    }
}

/// Five kinds of datapoints in every place of the evaluation range, every M of N up to four, every policy, every state before.
#[test]
fn every_window_comes_to_what_the_documentation_says() {
    let mut count = 0_u32;
    let mut states = BTreeMap::<&str, u32>::new();
    for periods in 1..=4_u32 {
        let range = evaluation_range(&rule(1, periods, MissingData::Missing, COMPARISONS[0]));
        assert!(range > periods as usize);
        for code in 0..5_usize.pow(range as u32) {
            let comparison = COMPARISONS[(code / 5 + code) % 4];
            let kinds = (0..range).map(|place| (code / 5_usize.pow(place as u32)) % 5);
            let (points, window): (Vec<Point>, String) =
                kinds.enumerate().map(|(place, kind)| point(kind, place, comparison)).unzip();
            for needed in 1..=periods {
                for missing in POLICIES {
                    let rule = rule(needed, periods, missing, comparison);
                    for before in AlarmState::ALL {
                        let verdict = evaluate(&rule, &points, before);
                        let wanted = oracle(&window, needed as usize, periods as usize, missing, before);
                        let case = || {
                            format!(
                                "{needed} of {periods}, {missing:?}, {window}, {before}: {}",
                                verdict.reason
                            )
                        };
                        assert_eq!(verdict.state, wanted, "{}", case());
                        let judged =
                            verdict.breaching + verdict.within + verdict.unreadable + verdict.missing;
                        assert_eq!(judged, periods as usize, "{}", case());
                        assert!(verdict.unreadable == 0 || verdict.state != AlarmState::Ok, "{}", case());
                        let says_so = verdict.reason.contains("could not be measured");
                        let is_told = verdict.unreadable > 0 && verdict.state == AlarmState::InsufficientData;
                        assert!(says_so || !is_told, "{}", case());
                        count += 1;
                        *states.entry(verdict.state.name()).or_default() += 1;
                    }
                }
            }
        }
    }
    assert_eq!(count, 12 * (125 + 2 * 625 + 3 * 3_125 + 4 * 15_625));
    assert!(states.len() == 3 && states.values().all(|count| *count > 10_000), "{states:?}");
}

/// Periods that nobody gave are missing, and those before the range are not looked at.
#[test]
fn the_range_may_be_given_short_or_long() {
    let text = "X0?-XX0-?X";
    let kinds = text.chars().map(|c| "-0X5?".find(c).unwrap());
    let points: Vec<Point> = kinds.map(|kind| point(kind, 9, COMPARISONS[0]).0).collect();
    for periods in 1..=4 {
        for missing in POLICIES {
            let rule = rule(1, periods, missing, COMPARISONS[0]);
            let range = evaluation_range(&rule);
            for end in 0..=points.len() {
                let given = &points[..end];
                let mut padded = vec![Point::Missing; range];
                padded.extend(given);
                let only = &padded[padded.len() - range..];
                let verdict = evaluate(&rule, only, AlarmState::Ok);
                assert_eq!(evaluate(&rule, given, AlarmState::Ok), verdict);
                let older = [&[Point::Unreadable, Point::Value(9.0)], only].concat();
                assert_eq!(evaluate(&rule, &older, AlarmState::Ok), verdict);
            }
        }
    }
}

/// An expression before it is written down.
#[derive(Debug, Clone)]
enum Tree {
    Constant(bool),
    Is(usize, AlarmState),
    Not(Box<Tree>),
    All(Vec<Tree>),
    Any(Vec<Tree>),
}

const NAMES: [&str; 4] = ["a", "b c", "d\"e", "AND"];

impl Tree {
    /// With parentheses around everything that binds less closely, or around everything.
    fn text(&self, outer: u8, is_wordy: bool) -> String {
        let (inner, text) = match self {
            Self::Constant(value) => return if *value { "TRUE".into() } else { "FALSE".into() },
            Self::Is(name, state) => {
                let name = NAMES[*name].replace('\\', "\\\\").replace('"', "\\\"");
                return format!("{state}(\"{name}\")");
            }
            Self::Not(tree) => (3, format!("NOT {}", tree.text(3, is_wordy))),
            Self::All(trees) => (2, Self::joined(trees, " AND ", 3, is_wordy)),
            Self::Any(trees) => (1, Self::joined(trees, " OR ", 2, is_wordy)),
        };
        if inner < outer || is_wordy { format!("({text})") } else { text }
    }

    fn joined(trees: &[Self], between: &str, outer: u8, is_wordy: bool) -> String {
        trees.iter().map(|tree| tree.text(outer, is_wordy)).collect::<Vec<_>>().join(between)
    }

    /// Kleene's logic as arithmetic: false is 0, true is 2, not known is 1; AND is the least, OR the greatest.
    fn value(&self, states: &[Option<AlarmState>; 4]) -> u8 {
        match self {
            Self::Constant(value) => 2 * u8::from(*value),
            Self::Is(name, state) => states[*name].map_or(1, |now| 2 * u8::from(now == *state)),
            Self::Not(tree) => 2 - tree.value(states),
            Self::All(trees) => trees.iter().map(|tree| tree.value(states)).min().unwrap_or(2),
            Self::Any(trees) => trees.iter().map(|tree| tree.value(states)).max().unwrap_or(0),
        }
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let state = proptest::sample::select(AlarmState::ALL.to_vec());
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Tree::Constant),
        8 => (0..NAMES.len(), state).prop_map(|(name, state)| Tree::Is(name, state)),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::All),
            prop::collection::vec(inner, 2..4).prop_map(Tree::Any),
        ]
    })
}

/// The states of the four names: all known or not, each in every state; 4^4 of them.
fn assignments() -> impl Iterator<Item = [Option<AlarmState>; 4]> {
    (0..256_usize).map(|code| [0, 1, 2, 3].map(|name| AlarmState::ALL.get((code >> (2 * name)) % 4).copied()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn expressions_follow_the_truth_tables_of_three_values(tree in trees()) {
        for is_wordy in [false, true] {
            let text = tree.text(0, is_wordy);
            let expression: Expression = text.parse().unwrap();
            for states in assignments() {
                let known = |name: &str| NAMES.iter().position(|known| *known == name).and_then(|i| states[i]);
                let combined = combine(&expression, known);
                let wanted = [AlarmState::Ok, AlarmState::InsufficientData, AlarmState::Alarm];
                prop_assert_eq!(combined.state, wanted[usize::from(tree.value(&states))], "{} {:?}", text, states);
                let unknown = expression.names().filter(|name| known(name).is_none()).count();
                prop_assert_eq!(combined.unknown.len(), unknown);
            }
        }
    }

    /// What is decided stays so, whatever the unknown alarms turn out to be.
    #[test]
    fn what_is_decided_does_not_depend_on_what_is_not_known(tree in trees(), from in 0..256_usize) {
        let Some(states) = assignments().nth(from) else { return Ok(()) };
        let value = tree.value(&states);
        let agrees = |fuller: &[Option<AlarmState>; 4]| {
            states.iter().zip(fuller).all(|(before, after)| before.is_none() || before == after)
        };
        if value != 1 {
            prop_assert!(assignments().filter(agrees).all(|fuller| tree.value(&fuller) == value));
        }
    }

    #[test]
    fn no_text_breaks_the_parser(text in "([A-Z_]{1,6}|AND|OR|NOT|ALARM|OK|TRUE|[ ()\"\\\\,aé\u{0}]){0,40}") {
        match text.parse::<Expression>() {
            Ok(expression) => {
                prop_assert_eq!(expression.text(), text.as_str());
                let stored = serde_json::to_string(&expression).unwrap();
                prop_assert_eq!(serde_json::from_str::<Expression>(&stored).unwrap(), expression);
            }
            Err(error) => {
                prop_assert!((1..=text.chars().count() + 1).contains(&error.position), "{}", error);
                prop_assert!(!error.problem.is_empty());
            }
        }
    }
}

#[test]
fn a_long_expression_is_quick_and_a_deep_one_refused() {
    let long = vec!["NOT OK(a)"; 700].join(" AND ");
    let expression: Expression = long.parse().unwrap();
    assert_eq!(combine(&expression, |_| Some(AlarmState::Alarm)).state, AlarmState::Alarm);
    let deep = format!("{}TRUE{}", "NOT (".repeat(DEPTH_LIMIT), ")".repeat(DEPTH_LIMIT));
    assert!(deep.parse::<Expression>().is_err());
}
