//! Reading answers, and their words for people.

use serde_json::Value;

use crate::cli::printer;

/// The entries of a list.
#[must_use]
pub fn items(list: &Value) -> &[Value] {
    entries(list, "items")
}

/// The entries of a field that is a list; none when it is not there.
#[must_use]
pub fn entries<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A field as one line that cannot steer a terminal; empty when it is not there.
#[must_use]
pub fn text(value: &Value, key: &str) -> String {
    plain(&value[key])
}

/// A field as a cell of a table: `-` when it is not there.
#[must_use]
pub fn cell(value: &Value, key: &str) -> String {
    or_dash(text(value, key))
}

/// Any value as one line.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => line(text),
        Value::Bool(is) => if *is { "yes" } else { "no" }.to_owned(),
        Value::Number(number) if number.is_f64() => decimal(number.as_f64()),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Number(_) | Value::Object(_) => line(&value.to_string()),
    }
}

/// Text as one line that cannot steer a terminal.
#[must_use]
pub fn line(text: &str) -> String {
    printer::visible(&text.trim_end().replace('\n', "; "))
}

/// Text of several lines, each indented.
#[must_use]
pub fn block(text: &str, indent: &str) -> String {
    text.lines().map(|line| format!("{indent}{}\n", printer::visible(line))).collect()
}

/// `-` for nothing.
#[must_use]
pub fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// The first digits of a digest.
#[must_use]
pub fn digest(value: &Value, key: &str) -> String {
    or_dash(text(value, key).chars().take(12).collect())
}

/// Four decimals; `-` for nothing.
#[must_use]
pub fn decimal(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.4}"))
}

/// A moment to the second, without what makes it a standard's: `2026-11-22 10:00:00`. UTC, as all moments are.
#[must_use]
pub fn moment(value: &Value, key: &str) -> String {
    let text = cell(value, key);
    match text.split_once('T') {
        Some((date, time)) => {
            let time = time.trim_end_matches('Z');
            format!("{date} {}", time.split_once('.').map_or(time, |(seconds, _)| seconds))
        }
        None => text,
    }
}

/// A span of time: `0.4 s`, `12 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 9.95 => format!("{:.1} s", seconds.max(0.0)),
        0..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A field with a number of seconds as a span; `-` when it is not there.
#[must_use]
pub fn seconds(value: &Value, key: &str) -> String {
    value[key].as_f64().map_or_else(|| "-".to_owned(), span)
}

/// A state in words: its name with the facts that matter.
#[must_use]
pub fn state(value: &Value) -> String {
    let state = &value["state"];
    let name = cell(state, "name");
    let fact = |key| text(state, key);
    match name.as_str() {
        "failed" if state["step"].is_string() => format!("failed in {} ({})", fact("step"), fact("code")),
        "failed" => format!("failed ({})", fact("code")),
        "retrying" => match state["in_seconds"].as_f64() {
            Some(seconds) => format!("tries again in {} ({})", span(seconds), fact("code")),
            None => format!("tries again ({})", fact("code")),
        },
        "asking" => format!("waits for approval {}", fact("approval")),
        "rejected" | "cancelling" | "cancelled" | "approved" if !fact("by").is_empty() => {
            format!("{name} by {}", fact("by"))
        }
        "superseded" => format!("superseded by run {}", fact("run")),
        _ => name,
    }
}

/// Why it is in that state: several lines, or nothing.
#[must_use]
pub fn reason(value: &Value) -> Option<&str> {
    value["state"]["reason"].as_str().filter(|reason| !reason.trim().is_empty())
}

/// Versions with their weights: `7`, or `7 90 % + 8 10 %`.
#[must_use]
pub fn variants(endpoint: &Value) -> String {
    let variants = entries(endpoint, "variants");
    let total: f64 = variants.iter().filter_map(|variant| variant["weight"].as_f64()).sum();
    let one = |variant: &Value| match variants.len() {
        1 => cell(variant, "version"),
        _ => {
            let share = 100.0 * variant["weight"].as_f64().unwrap_or(0.0) / total.max(f64::MIN_POSITIVE);
            format!("{} {share:.0} %", cell(variant, "version"))
        }
    };
    or_dash(variants.iter().map(one).collect::<Vec<_>>().join(" + "))
}

/// A share of traffic, with no more digits than it has.
#[must_use]
pub fn weight(value: &Value) -> String {
    value["weight"].as_f64().map_or_else(|| "-".to_owned(), |weight| weight.to_string())
}

/// A value as [`plain`], of a digest the first digits.
#[must_use]
pub fn brief(value: &Value) -> String {
    let text = plain(value);
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { text[..12].to_owned() } else { text }
}

/// Lines of a name and a value each.
#[must_use]
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    fields.iter().map(|(name, value)| format!("{name:<width$}{value}\n")).collect()
}

/// `name=value` of each entry of an object.
#[must_use]
pub fn pairs(object: &Value) -> String {
    let pairs = object.as_object().into_iter().flatten();
    or_dash(
        pairs.map(|(name, value)| format!("{}={}", line(name), brief(value))).collect::<Vec<_>>().join(" "),
    )
}

/// A table, or a line that says that there is nothing to list.
#[must_use]
pub fn listed(head: &[&str], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() { nothing.to_owned() } else { printer::table(head, rows) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spans_are_as_exact_as_is_useful() {
        for (seconds, words) in [
            (-1.0, "0.0 s"),
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1 min 0 s"),
            (250.0, "4 min 10 s"),
            (7_500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn states_are_told_with_their_facts() {
        for (state_object, words) in [
            (json!({"name": "running"}), "running"),
            (
                json!({"name": "failed", "step": "gate", "code": "not_acceptable", "reason": "x"}),
                "failed in gate (not_acceptable)",
            ),
            (json!({"name": "failed", "code": "time_limit", "reason": "x"}), "failed (time_limit)"),
            (json!({"name": "retrying", "code": "io", "in_seconds": 2.0}), "tries again in 2.0 s (io)"),
            (json!({"name": "asking", "approval": 3}), "waits for approval 3"),
            (json!({"name": "cancelled", "by": "ann", "reason": "x"}), "cancelled by ann"),
            (json!({"name": "superseded", "run": 9}), "superseded by run 9"),
            (json!(null), "-"),
        ] {
            assert_eq!(state(&json!({"state": state_object})), words);
        }
    }

    #[test]
    fn what_is_shown_is_one_harmless_line() {
        let value = json!({"a": "x\u{1b}[31m\ny\n", "n": 3, "f": 0.5, "t": "2026-11-22T10:00:00.25Z"});
        assert_eq!(text(&value, "a"), "x\u{fffd}[31m; y");
        assert_eq!(
            (text(&value, "n"), text(&value, "f"), cell(&value, "z")),
            ("3".into(), "0.5000".into(), "-".into())
        );
        assert_eq!(moment(&value, "t"), "2026-11-22 10:00:00");
        assert_eq!(brief(&json!("ab".repeat(32))), "abababababab");
        assert_eq!(brief(&json!(["ab", 1, null])), "ab, 1, ");
        assert_eq!(block("a\n\u{7}b", "  "), "  a\n  \u{fffd}b\n");
    }

    #[test]
    fn weights_are_shown_where_there_is_a_choice() {
        let one = json!({"variants": [{"version": 7, "weight": 1.0}]});
        let two = json!({"variants": [{"version": 7, "weight": 9.0}, {"version": 8, "weight": 1.0}]});
        assert_eq!((variants(&one), variants(&two)), ("7".into(), "7 90 % + 8 10 %".into()));
        assert_eq!(variants(&json!({})), "-");
    }
}
