//! JSON as XGBoost writes it: the standard, and `NaN` and `Infinity` for numbers.

use super::document::{Document, Kind, Number, check_depth, syntax};
use super::{ImportError, excerpt};

/// A JSON text.
pub(super) struct Json<'a> {
    bytes: &'a [u8],
    at: usize,
    /// For each container stepped into, whether nothing has been read from it.
    untouched: Vec<bool>,
}

impl<'a> Json<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, untouched: Vec::new() }
    }

    /// The next byte that is not white space, without taking it.
    fn peek(&mut self) -> Result<u8, ImportError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count();
        self.at += blank;
        rest.get(blank).copied().ok_or_else(|| syntax("the text ends early"))
    }

    fn expect(&mut self, byte: u8) -> Result<(), ImportError> {
        let found = self.peek()?;
        if found == byte {
            self.at += 1;
            return Ok(());
        }
        let (at, expected, found) = (self.at, byte as char, found as char);
        Err(syntax(format!("byte {at} is {found:?} where {expected:?} belongs")))
    }

    fn enter(&mut self, byte: u8) -> Result<(), ImportError> {
        check_depth(self.untouched.len())?;
        self.expect(byte)?;
        self.untouched.push(true);
        Ok(())
    }

    /// Whether the container that ends with `end` has more; takes the comma before it, or the end.
    fn has_more(&mut self, end: u8) -> Result<bool, ImportError> {
        let Some(untouched) = self.untouched.last_mut() else { return Err(syntax("no container is open")) };
        let is_first = std::mem::replace(untouched, false);
        if self.peek()? == end {
            self.at += 1;
            self.untouched.pop();
            return Ok(false);
        }
        if !is_first {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// The rest of a text up to and with its closing quote, after an escape was met.
    fn escaped(&mut self, mut text: Vec<u8>) -> Result<String, ImportError> {
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return Err(syntax("a text is not closed")) };
            self.at += 1;
            match byte {
                b'"' => return String::from_utf8(text).map_err(|_| syntax("a text is not UTF-8")),
                b'\\' => {
                    let character = self.escape()?;
                    text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                byte => text.push(byte),
            }
        }
    }

    /// The character of an escape, after its backslash.
    fn escape(&mut self) -> Result<char, ImportError> {
        let Some(&byte) = self.bytes.get(self.at) else { return Err(syntax("a text is not closed")) };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => byte as char,
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return char::from_u32(first).ok_or_else(|| syntax("half a character"));
                }
                if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
                    return Err(syntax("half a character"));
                }
                self.at += 2;
                let second = self.unit()?.wrapping_sub(0xdc00);
                let code = 0x1_0000 + ((first - 0xd800) << 10) + second;
                return char::from_u32(code)
                    .filter(|_| second < 0x400)
                    .ok_or_else(|| syntax("half a character"));
            }
            _ => return Err(syntax("an escape that JSON has not")),
        })
    }

    /// Four hexadecimal digits.
    fn unit(&mut self) -> Result<u32, ImportError> {
        let digits = self.bytes.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
        let unit =
            digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())).map(|d| u32::from_str_radix(d, 16));
        self.at += 4;
        unit.and_then(Result::ok).ok_or_else(|| syntax("an escape without four digits"))
    }
}

impl Document for Json<'_> {
    fn kind(&mut self) -> Result<Kind, ImportError> {
        Ok(match self.peek()? {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::Text,
            b'n' => Kind::Null,
            _ => Kind::Number,
        })
    }

    fn enter_object(&mut self) -> Result<(), ImportError> {
        self.enter(b'{')
    }

    fn next_key(&mut self) -> Result<Option<String>, ImportError> {
        if !self.has_more(b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        self.expect(b':')?;
        Ok(Some(key))
    }

    fn enter_array(&mut self) -> Result<(), ImportError> {
        self.enter(b'[')
    }

    fn next_element(&mut self) -> Result<bool, ImportError> {
        self.has_more(b']')
    }

    fn string(&mut self) -> Result<String, ImportError> {
        self.expect(b'"')?;
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
            return Err(syntax("a text is not closed"));
        };
        self.at += length;
        if rest[length] == b'\\' {
            return self.escaped(rest[..length].to_vec());
        }
        self.at += 1;
        String::from_utf8(rest[..length].to_vec()).map_err(|_| syntax("a text is not UTF-8"))
    }

    fn number(&mut self) -> Result<Number, ImportError> {
        self.peek()?;
        let rest = &self.bytes[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        let length = rest.iter().take_while(|byte| is_part(byte)).count();
        self.at += length;
        // Bytes that are ASCII are a text.
        let token = std::str::from_utf8(&rest[..length]).unwrap_or_default();
        let special = match token {
            "true" => return Ok(Number::of_whole(1)),
            "false" => return Ok(Number::of_whole(0)),
            "NaN" => Some(f32::NAN),
            "Infinity" => Some(f32::INFINITY),
            "-Infinity" => Some(f32::NEG_INFINITY),
            _ => None,
        };
        let is_decimal = token.bytes().all(|byte| !byte.is_ascii_alphabetic() || matches!(byte, b'e' | b'E'));
        let single = special.or_else(|| token.parse().ok().filter(|_| is_decimal));
        let at = self.at - length;
        let single =
            single.ok_or_else(|| syntax(format!("byte {at}: {:?} is not a number", excerpt(token))))?;
        Ok(Number { single, whole: token.parse().ok() })
    }

    fn null(&mut self) -> Result<(), ImportError> {
        self.peek()?;
        if !self.bytes[self.at..].starts_with(b"null") {
            return Err(syntax(format!("byte {}: not a value", self.at)));
        }
        self.at += 4;
        Ok(())
    }

    fn end(&mut self) -> Result<(), ImportError> {
        match self.peek() {
            // A file may be padded with the end of a C string.
            Err(_) | Ok(0) => Ok(()),
            Ok(_) => Err(syntax(format!("byte {}: something follows the document", self.at))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Option<Number> {
        Json::new(text.as_bytes()).number().ok()
    }

    #[test]
    fn numbers_are_rounded_to_single_precision_once() {
        // Just above the middle between 1 and the single after it; rounding to double first would make it the middle.
        assert_eq!(number("1.0000000596046448").unwrap().single, 1.000_000_1);
        assert_eq!(number("-1.5E-1").unwrap(), Number { single: -0.15, whole: None });
        assert_eq!(number("-12").unwrap(), Number { single: -12.0, whole: Some(-12) });
        assert_eq!(number("true").unwrap().flag(), Some(true));
        assert!(number("NaN").unwrap().single.is_nan());
        assert_eq!(number("1e999").unwrap().single, f32::INFINITY);
        for wrong in ["", "-", "inf", "nan", "1.2.3", "0x1", "tru", "infinity"] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn texts_keep_what_escapes_mean() {
        let text = |text: &str| Json::new(text.as_bytes()).string().ok();
        assert_eq!(text(r#""a\"\u00e4\ud83d\ude00\n""#).unwrap(), "a\"ä😀\n");
        for wrong in ["\"a", r#""\ud83d""#, r#""\ud83dab""#, r#""\u12"#, r#""\x""#, "\"\\"] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = "[".repeat(1_000_000);
        let error = Json::new(deep.as_bytes()).skip().unwrap_err();
        assert!(error.to_string().contains("nested too deeply"), "{error}");
        let mut fine = Json::new(br#"[{"a": [1, {}, []], "b": null}, "x", true] "#);
        fine.skip().unwrap();
        fine.end().unwrap();
        for wrong in ["[1 2]", "[1,,2]", "{\"a\" 1}", "{1: 2}", "[1}", "[", "{\"a\":", "nul"] {
            assert!(Json::new(wrong.as_bytes()).skip().is_err(), "{wrong}");
        }
    }
}
