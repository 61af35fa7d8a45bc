//! How numbers are written for people: the same value is written the same way on every page.
//!
//! A value that is not finite is written as an en dash: it was not measured, and a page must not say `NaN`.

/// What stands where a number is not known.
pub const UNKNOWN: &str = "–";

/// Between a number and its unit: narrow and unbreakable.
const UNIT_SPACE: char = '\u{202f}';

/// A whole number with thousands separators: `8,192`.
pub fn count(value: u64) -> String {
    group_thousands(&value.to_string())
}

/// A metric, with three decimals: `0.823`. Never rounds to a perfect 1 (or to 0) what is not: `0.9997`, `0.0004`.
pub fn score(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    for decimals in 3..=6 {
        let written = fixed(value, decimals);
        let rounded: f64 = format!("{value:.decimals$}").parse().unwrap_or(value);
        let hides_a_rest = (rounded == 1.0 && value != 1.0) || (rounded == 0.0 && value != 0.0);
        if !hides_a_rest {
            return written;
        }
    }
    match value {
        _ if value > 0.5 => "≈ 1".to_owned(),
        _ => "≈ 0".to_owned(),
    }
}

/// A difference with its sign: `+0.011`, `−0.290`.
pub fn signed_score(value: f64) -> String {
    match value {
        _ if !value.is_finite() => UNKNOWN.to_owned(),
        _ if value > 0.0 => format!("+{}", score(value)),
        _ => score(value),
    }
}

/// `0.801 to 0.842`.
pub fn interval((low, high): (f64, f64)) -> String {
    format!("{} to {}", score(low), score(high))
}

/// A value and half the width of its interval: `0.823 ± 0.021`.
pub fn plus_minus(value: f64, interval: Option<(f64, f64)>) -> String {
    match interval {
        Some((low, high)) if low.is_finite() && high.is_finite() && value.is_finite() => {
            format!("{} ± {}", score(value), score((high - low).abs() / 2.0))
        }
        _ => score(value),
    }
}

/// A share of 1 as per cent: `12.3 %`. What is there is never written as nothing: `< 0.1 %`.
pub fn percent(share: f64) -> String {
    if !share.is_finite() {
        return UNKNOWN.to_owned();
    }
    let written = match share * 100.0 {
        value if value > 0.0 && value < 0.05 => "< 0.1".to_owned(),
        value if (99.95..100.0).contains(&value) => "> 99.9".to_owned(),
        value if value == value.round() => fixed(value, 0),
        value => fixed(value, 1),
    };
    format!("{written}{UNIT_SPACE}%")
}

/// Any number with so many significant digits, thousands separated, powers of ten where digits would be many:
/// `12,346`, `0.00123`, `1.23 × 10⁻⁹`.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = digits.clamp(1, 15);
    // Formatting first decides the exponent after rounding: 9.996 with three digits is 1.00e1.
    let scientific = format!("{:.*e}", digits - 1, value.abs());
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if value < 0.0 { "−" } else { "" };
    if !(-4..=8).contains(&exponent) {
        return format!("{sign}{} × 10{}", without_trailing_zeros(mantissa), superscript(exponent));
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    let plain = format!("{:.decimals$}", value.abs());
    format!("{sign}{}", group_thousands(without_trailing_zeros(&plain)))
}

/// A length of time: `0.3 s`, `12 s`, `2 min 05 s`, `1 h 04 min`.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return UNKNOWN.to_owned();
    }
    let s = UNIT_SPACE;
    match value {
        _ if value == 0.0 => format!("0{s}s"),
        _ if value < 0.001 => format!("< 1{s}ms"),
        _ if value < 0.0995 => format!("{:.0}{s}ms", value * 1000.0),
        _ if value < 9.95 => format!("{value:.1}{s}s"),
        _ if value < 59.5 => format!("{value:.0}{s}s"),
        _ if value < 3599.5 => {
            let whole = value.round() as u64;
            format!("{}{s}min {:02}{s}s", whole / 60, whole % 60)
        }
        _ => {
            let minutes = (value / 60.0).round() as u64;
            format!("{}{s}h {:02}{s}min", count(minutes / 60), minutes % 60)
        }
    }
}

/// A size in bytes, by thousands: `985 kB`, `1.4 GB`.
pub fn bytes(value: u64) -> String {
    let mut scaled = value as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB", "PB"] {
        if scaled < 999.5 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    let written = if unit == "B" || scaled >= 9.95 { fixed(scaled, 0) } else { fixed(scaled, 1) };
    format!("{written}{UNIT_SPACE}{unit}")
}

/// `1 row`, `2 rows`.
pub fn counted(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

fn fixed(value: f64, decimals: usize) -> String {
    let plain = format!("{:.decimals$}", value.abs());
    let is_zero = plain.bytes().all(|byte| byte == b'0' || byte == b'.');
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    format!("{sign}{}", group_thousands(&plain))
}

fn group_thousands(plain: &str) -> String {
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::with_capacity(plain.len() + whole.len() / 3);
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && (whole.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped.push_str(fraction);
    grouped
}

fn without_trailing_zeros(plain: &str) -> &str {
    if plain.contains('.') { plain.trim_end_matches('0').trim_end_matches('.') } else { plain }
}

fn superscript(exponent: i32) -> String {
    let raised = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '4' => '⁴',
        '5' => '⁵',
        '6' => '⁶',
        '7' => '⁷',
        '8' => '⁸',
        '9' => '⁹',
        _ => '⁰',
    };
    exponent.to_string().chars().map(raised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        let written: Vec<String> = [0, 7, 999, 1000, 8192, 1_234_567, u64::MAX].map(count).to_vec();
        assert_eq!(written, ["0", "7", "999", "1,000", "8,192", "1,234,567", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn scores_never_claim_perfection_by_rounding() {
        let cases = [
            (0.8234, "0.823"),
            (1.0, "1.000"),
            (0.99971, "0.9997"),
            (0.9999999, "≈ 1"),
            (0.0, "0.000"),
            (0.0004, "0.0004"),
            (1e-9, "≈ 0"),
            (-0.29, "−0.290"),
            (1234.5678, "1,234.568"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(score(value), expected, "{value}");
        }
        assert_eq!(signed_score(0.011), "+0.011");
        assert_eq!(signed_score(-0.011), "−0.011");
        assert_eq!(signed_score(0.0), "0.000");
    }

    #[test]
    fn shares_never_vanish_by_rounding() {
        let cases = [
            (0.0, "0 %"),
            (0.0001, "< 0.1 %"),
            (0.123, "12.3 %"),
            (0.5, "50 %"),
            (0.9996, "> 99.9 %"),
            (1.0, "100 %"),
        ];
        for (share, expected) in cases {
            assert_eq!(percent(share).replace(UNIT_SPACE, " "), expected, "{share}");
        }
    }

    #[test]
    fn significant_digits() {
        let cases = [
            (0.0, "0"),
            (12345.678, "12,346"),
            (9.996, "10"),
            (0.00123456, "0.00123"),
            (-2.5, "−2.5"),
            (1.234e-9, "1.23 × 10⁻⁹"),
            (6.02e23, "6.02 × 10²³"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            let digits = if value == 12345.678 { 5 } else { 3 };
            assert_eq!(significant(value, digits), expected, "{value}");
        }
    }

    #[test]
    fn times_sizes_and_intervals() {
        let times = [
            (0.0, "0 s"),
            (0.0123, "12 ms"),
            (0.34, "0.3 s"),
            (12.2, "12 s"),
            (59.6, "1 min 00 s"),
            (125.0, "2 min 05 s"),
            (3840.0, "1 h 04 min"),
            (-1.0, "–"),
        ];
        for (value, expected) in times {
            assert_eq!(seconds(value).replace(UNIT_SPACE, " "), expected, "{value}");
        }
        let sizes = [(12, "12 B"), (999, "999 B"), (1_008_291, "1.0 MB"), (407_837, "408 kB")];
        for (value, expected) in sizes {
            assert_eq!(bytes(value).replace(UNIT_SPACE, " "), expected, "{value}");
        }
        assert_eq!(plus_minus(0.823, Some((0.802, 0.844))), "0.823 ± 0.021");
        assert_eq!(plus_minus(0.823, None), "0.823");
        assert_eq!(interval((0.802, 0.844)), "0.802 to 0.844");
        assert_eq!(counted(1, "row", "rows"), "1 row");
        assert_eq!(counted(1200, "row", "rows"), "1,200 rows");
    }
}
