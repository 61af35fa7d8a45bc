//! UBJSON (Universal Binary JSON, draft 12) as XGBoost writes it: big-endian, with typed and counted arrays.

use super::ImportError;
use super::document::{Document, Kind, Number, check_depth, syntax};

/// A UBJSON document.
pub(super) struct Ubjson<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Container>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Container {
    /// Elements to come, where they are counted.
    left: Option<u64>,
    /// The type of all of them, where they share one.
    element: Option<u8>,
}

impl<'a> Ubjson<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, open: Vec::new() }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ImportError> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length));
        let taken = taken.ok_or_else(|| syntax("the document ends early"))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// The next marker that is not padding, without taking it.
    fn peek(&mut self) -> Result<u8, ImportError> {
        while self.bytes.get(self.at) == Some(&b'N') {
            self.at += 1;
        }
        self.bytes.get(self.at).copied().ok_or_else(|| syntax("the document ends early"))
    }

    /// The marker of the next value: that of its array, or its own, which is taken.
    fn marker(&mut self) -> Result<u8, ImportError> {
        if let Some(Container { element: Some(marker), .. }) = self.open.last() {
            return Ok(*marker);
        }
        let marker = self.peek()?;
        self.at += 1;
        Ok(marker)
    }

    fn whole(&mut self, marker: u8) -> Result<i64, ImportError> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(u8::from_be_bytes(self.array()?)),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Err(syntax(format!("byte {}: a whole number belongs here", self.at))),
        })
    }

    fn length(&mut self) -> Result<u64, ImportError> {
        let marker = self.peek()?;
        self.at += 1;
        u64::try_from(self.whole(marker)?).map_err(|_| syntax("a length is negative"))
    }

    fn text(&mut self) -> Result<String, ImportError> {
        let length = self.length()?;
        let length = usize::try_from(length).map_err(|_| syntax("the document ends early"))?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| syntax("a text is not UTF-8"))
    }

    fn enter(&mut self, opening: u8) -> Result<(), ImportError> {
        check_depth(self.open.len())?;
        if self.marker()? != opening {
            return Err(syntax(format!("byte {}: {:?} belongs here", self.at, opening as char)));
        }
        let mut container = Container::default();
        if self.bytes.get(self.at) == Some(&b'$') {
            self.at += 1;
            let [element] = self.array()?;
            container.element = Some(element);
        }
        if self.bytes.get(self.at) == Some(&b'#') {
            self.at += 1;
            container.left = Some(self.length()?);
        }
        if let Container { left, element: Some(element) } = container {
            // Elements without bytes could be any number of nothing.
            let is_sized = matches!(element, b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D' | b'S');
            if left.is_none() || !is_sized {
                return Err(syntax("a typed container must be counted and hold numbers or texts"));
            }
        }
        self.open.push(container);
        Ok(())
    }

    fn has_more(&mut self, end: u8) -> Result<bool, ImportError> {
        let Some(&Container { left, .. }) = self.open.last() else {
            return Err(syntax("no container is open"));
        };
        let has_more = match left {
            Some(left) => left > 0,
            None => self.peek()? != end,
        };
        match self.open.last_mut() {
            Some(container) if has_more => container.left = left.map(|left| left - 1),
            _ => {
                self.at += usize::from(left.is_none());
                self.open.pop();
            }
        }
        Ok(has_more)
    }
}

impl Document for Ubjson<'_> {
    fn kind(&mut self) -> Result<Kind, ImportError> {
        let marker = match self.open.last() {
            Some(Container { element: Some(marker), .. }) => *marker,
            _ => self.peek()?,
        };
        match marker {
            b'{' => Ok(Kind::Object),
            b'[' => Ok(Kind::Array),
            b'S' => Ok(Kind::Text),
            b'Z' => Ok(Kind::Null),
            b'i' | b'U' | b'I' | b'l' | b'L' | b'd' | b'D' | b'T' | b'F' => Ok(Kind::Number),
            _ => Err(syntax(format!("byte {}: {:?} is not a type", self.at, marker as char))),
        }
    }

    fn enter_object(&mut self) -> Result<(), ImportError> {
        self.enter(b'{')
    }

    fn next_key(&mut self) -> Result<Option<String>, ImportError> {
        if self.has_more(b'}')? { self.text().map(Some) } else { Ok(None) }
    }

    fn enter_array(&mut self) -> Result<(), ImportError> {
        self.enter(b'[')
    }

    fn next_element(&mut self) -> Result<bool, ImportError> {
        self.has_more(b']')
    }

    fn string(&mut self) -> Result<String, ImportError> {
        match self.marker()? {
            b'S' => self.text(),
            _ => Err(syntax(format!("byte {}: a text belongs here", self.at))),
        }
    }

    fn number(&mut self) -> Result<Number, ImportError> {
        Ok(match self.marker()? {
            b'd' => Number { single: f32::from_be_bytes(self.array()?), whole: None },
            b'D' => Number::of_double(f64::from_be_bytes(self.array()?)),
            b'T' => Number::of_whole(1),
            b'F' => Number::of_whole(0),
            marker => Number::of_whole(self.whole(marker)?),
        })
    }

    fn null(&mut self) -> Result<(), ImportError> {
        self.marker().map(drop)
    }

    fn end(&mut self) -> Result<(), ImportError> {
        if self.bytes[self.at..].iter().all(|byte| matches!(byte, b'N' | 0)) {
            return Ok(());
        }
        Err(syntax(format!("byte {}: something follows the document", self.at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_typed_and_plain_containers_are_read() {
        let bytes = b"{U\x01a[$l#L\0\0\0\0\0\0\0\x02\0\0\0\x07\xff\xff\xff\xffU\x01b[#i\x02TFi\x01c[d\x3f\x80\0\0D\x3f\xf0\0\0\0\0\0\0]}";
        let mut document = Ubjson::new(bytes);
        document.enter_object().unwrap();
        assert_eq!(document.next_key().unwrap().unwrap(), "a");
        assert_eq!(document.numbers(Number::index).unwrap(), [7, -1]);
        assert_eq!(document.next_key().unwrap().unwrap(), "b");
        assert_eq!(document.numbers(Number::flag).unwrap(), [true, false]);
        assert_eq!(document.next_key().unwrap().unwrap(), "c");
        assert_eq!(document.numbers(|number| Some(number.single)).unwrap(), [1.0, 1.0]);
        assert_eq!(document.next_key().unwrap(), None);
        document.end().unwrap();
        let mut all = Ubjson::new(bytes);
        all.skip().unwrap();
        all.end().unwrap();
        for length in 0..bytes.len() {
            assert!(Ubjson::new(&bytes[..length]).skip().is_err(), "cut to {length}");
        }
    }

    #[test]
    fn what_takes_no_bytes_cannot_be_many() {
        for bytes in [
            b"[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff".as_slice(),
            b"[$T#L\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"[$[#L\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"[$d]",
            b"[#L\xff\xff\xff\xff\xff\xff\xff\xff",
            b"SL\x7f\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(Ubjson::new(bytes).skip().is_err(), "{bytes:?}");
        }
        assert!(Ubjson::new(&b"[".repeat(100_000)).skip().is_err());
    }
}
