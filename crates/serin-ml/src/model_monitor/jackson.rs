//! JSON in the layout of Jackson's pretty printer.

use std::io;

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// The value as Jackson's pretty printer lays it out: two spaces, `"key" : value`, arrays on the line they begin on,
/// and numbers as Java writes them.
///
/// # Errors
/// When the value is nothing that JSON can say, such as a map whose keys are no texts.
pub fn to_jackson<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Jackson::default()))?;
    // The serializer writes texts and ASCII only.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number as Java's `Double.toString` writes it: always with a decimal point, and with an exponent below a thousandth
/// and from ten million on.
#[must_use]
pub fn java_number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (1e-3..1e7).contains(&size) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if digits.contains('.') => format!("{digits}E{exponent}"),
        Some((digits, exponent)) => format!("{digits}.0E{exponent}"),
        None => text,
    }
}

#[derive(Default)]
struct Jackson {
    /// Objects that are open.
    depth: usize,
    /// Whether the array or object that is open has a value yet.
    has_value: bool,
}

impl Jackson {
    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| writer.write_all(b"  "))
    }
}

impl Formatter for Jackson {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(java_number(value).as_bytes())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        let letter = match escape {
            CharEscape::Quote => '"',
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Solidus => '/',
            CharEscape::Backspace => 'b',
            CharEscape::FormFeed => 'f',
            CharEscape::LineFeed => 'n',
            CharEscape::CarriageReturn => 'r',
            CharEscape::Tab => 't',
            CharEscape::AsciiControl(byte) => return write!(writer, "\\u{byte:04X}"),
        };
        write!(writer, "\\{letter}")
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.has_value = false;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" ]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        writer.write_all(if first { b" " } else { b", " })
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth = self.depth.saturating_sub(1);
        if self.has_value {
            self.new_line(writer)?;
        } else {
            writer.write_all(b" ")?;
        }
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if !first {
            writer.write_all(b",")?;
        }
        self.new_line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_written_as_java_writes_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (9.99e-4, "9.99E-4"),
            (1e-4, "1.0E-4"),
            (9_999_999.5, "9999999.5"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (1e100, "1.0E100"),
            (f64::MAX, "1.7976931348623157E308"),
            (-5e-324, "-5.0E-324"),
        ];
        for (value, wanted) in cases {
            assert_eq!(java_number(value), wanted);
            assert_eq!(
                serde_json::from_str::<f64>(wanted).unwrap(),
                value,
                "it is JSON, and the same number"
            );
        }
    }

    #[test]
    fn the_layout_is_that_of_jackson() {
        // Maps of serde_json are ordered by key.
        let value = json!({
            "a": { "b": {}, "c": [] },
            "d": [{ "e": 1 }, { "f": [1.0, [2.5]] }],
            "g": [{}],
            "h": "\u{1} \u{1f} é \" \\ / \n",
            "i": null,
        });
        let wanted = r#"{
  "a" : {
    "b" : { },
    "c" : [ ]
  },
  "d" : [ {
    "e" : 1
  }, {
    "f" : [ 1.0, [ 2.5 ] ]
  } ],
  "g" : [ { } ],
  "h" : "\u0001 \u001F é \" \\ / \n",
  "i" : null
}"#;
        assert_eq!(to_jackson(&value).unwrap(), wanted);
        assert_eq!(serde_json::from_str::<serde_json::Value>(wanted).unwrap(), value);
    }
}
