//! Decimal text to the nearest 64-bit float, exactly as the standard library rounds it.

/// Powers of ten that a 64-bit float holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Digits that always fit 64 bits.
const MOST_DIGITS: usize = 19;

/// Reads the number at the start of `text`; the value and the bytes it took.
///
/// `None` when there is no number, or when it may not be finite: the caller then looks at the whole cell.
///
/// With at most 19 digits the digits are a whole number `m` in 64 bits and the value is `m * 10^e`. Where `m <= 2^53` and
/// `|e| <= 22`, both `m` and `10^|e|` are floats without error and one multiplication or division rounds once, so the
/// result is the nearest float (Clinger, "How to read floating point numbers accurately", 1990). All else goes through
/// the standard library, whose result is the nearest float too.
#[inline]
pub(in crate::dataset) fn parse_number(text: &[u8]) -> Option<(f64, usize)> {
    let (negative, mut at) = match text.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let mut mantissa = 0_u64;
    let first_digit = at;
    at = take_digits(text, at, &mut mantissa);
    let mut digits = at - first_digit;
    let mut exponent = 0_i32;
    if text.get(at) == Some(&b'.') {
        let first_decimal = at + 1;
        at = take_digits(text, first_decimal, &mut mantissa);
        let decimals = at - first_decimal;
        digits += decimals;
        // More than 19 digits take the other way, so the cast is exact wherever it is used.
        exponent = -(decimals.min(1000) as i32);
    }
    if digits == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let (end, written) = take_exponent(text, at + 1)?;
        at = end;
        exponent += written;
    }
    if digits <= MOST_DIGITS && mantissa <= 1 << 53 && (-22..=22).contains(&exponent) {
        let value = mantissa as f64;
        let power = EXACT_POWERS[exponent.unsigned_abs() as usize];
        let magnitude = if exponent < 0 { value / power } else { value * power };
        return Some((if negative { -magnitude } else { magnitude }, at));
    }
    let value: f64 = std::str::from_utf8(&text[..at]).ok()?.parse().ok()?;
    value.is_finite().then_some((value, at))
}

/// Adds the digits from `at` on to the mantissa (wrapping when there are too many) and returns where they end.
#[inline]
fn take_digits(text: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(byte) = text.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The exponent behind an `e`; so large a one that it does not fit is cut, which the caller's range check notices.
fn take_exponent(text: &[u8], mut at: usize) -> Option<(usize, i32)> {
    let negative = match text.get(at)? {
        b'-' => {
            at += 1;
            true
        }
        b'+' => {
            at += 1;
            false
        }
        _ => false,
    };
    let first_digit = at;
    let mut exponent = 0_i32;
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        exponent = (exponent * 10 + i32::from(digit)).min(100_000);
        at += 1;
    }
    (at > first_digit).then_some((at, if negative { -exponent } else { exponent }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees(text: &str) {
        let expected: f64 = text.parse().unwrap();
        match parse_number(text.as_bytes()) {
            Some((value, length)) => {
                assert_eq!(length, text.len(), "{text}");
                assert_eq!(value.to_bits(), expected.to_bits(), "{text}");
            }
            None => assert!(!expected.is_finite(), "{text}"),
        }
    }

    #[test]
    fn hard_cases_round_as_the_standard_library_does() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "1",
            "9007199254740992",
            "9007199254740993",
            "9007199254740993.0",
            "123456789012345678901234567890",
            "1e22",
            "1e23",
            "1e-22",
            "1e-23",
            "5e-324",
            "2.4703282292062328e-324",
            "1.7976931348623157e308",
            "1.7976931348623159e308",
            "0.1",
            "0.30000000000000004",
            "00000000000000000000000001.5",
            "1e000000000000000000001",
            "0e999999999999",
            "1e-999999999999",
            "0.000000000000000000000000000000000000000000001",
            "18446744073709551616",
            "18446744073709551615e1",
        ] {
            agrees(text);
        }
    }

    #[test]
    fn only_the_number_is_taken() {
        assert_eq!(parse_number(b"1.5,2"), Some((1.5, 3)));
        assert_eq!(parse_number(b"-"), None);
        assert_eq!(parse_number(b"."), None);
        assert_eq!(parse_number(b"e5"), None);
        assert_eq!(parse_number(b"1e"), None);
        assert_eq!(parse_number(b""), None);
    }

    proptest! {
        #[test]
        fn any_float_as_printed(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            agrees(&value.to_string());
            agrees(&format!("{value:e}"));
            agrees(&format!("{value:.6}"));
        }

        #[test]
        fn any_decimal(text in "[+-]?[0-9]{1,25}(\\.[0-9]{0,25})?([eE][+-]?[0-9]{1,3})?") {
            agrees(&text);
        }
    }
}
