//! A look at the head of an HTTP/1 request as it was sent.
//!
//! When a head has both `Content-Length` and `Transfer-Encoding`, the HTTP library follows the latter and forgets the
//! former, as RFC 9112 allows. A proxy in front may have followed the other one, and then a second request hides in
//! the body of the first. Such a head is to be refused, so it is looked at here on its way in.
//!
//! Only a head that begins with what is read while nothing else is about can be seen. Once bytes were read that may
//! belong to a later head, no head of the connection counts as seen any more: a request with a transfer encoding is
//! then still answered, and the connection closed behind it, as the RFC demands.

/// Longest head that is looked at; the library refuses longer ones.
const HEAD_BYTES: usize = 64 << 10;

/// What is known of the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// It was seen, and says once where its body ends.
    Plain,
    /// It was seen, and says so twice, or its lines end oddly.
    Ambiguous,
    /// It was not seen.
    Unseen,
}

/// The head of the next request, as far as it has arrived.
#[derive(Debug, Default)]
pub struct HeadScan {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next byte is the first of a head.
    #[default]
    Waiting,
    /// Some of the head is there.
    Within,
    /// The whole head was seen; `is_last`: what was read with it may belong to a later one.
    Seen { head: Head, is_last: bool },
    /// Nothing can be said any more.
    Lost,
}

impl HeadScan {
    /// Takes what was read while no request was in hand.
    pub fn read(&mut self, bytes: &[u8]) {
        match self.state {
            State::Waiting => {
                // Empty lines in front of a request are passed over (RFC 9112, section 2.2).
                let bytes = &bytes[bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
                if bytes.is_empty() {
                    return;
                }
                // Nearly every head comes in one piece: that one is not copied.
                if let Some(end) = end_of_head(bytes) {
                    self.state = judge(bytes, end);
                } else {
                    self.state = State::Within;
                    self.bytes.extend_from_slice(bytes);
                }
            }
            State::Within => {
                self.bytes.extend_from_slice(bytes);
                if let Some(end) = end_of_head(&self.bytes) {
                    self.state = judge(&self.bytes, end);
                    self.bytes = Vec::new();
                } else if self.bytes.len() > HEAD_BYTES {
                    self.bytes = Vec::new();
                    self.state = State::Lost;
                }
            }
            State::Seen { .. } => self.state = State::Lost,
            State::Lost => {}
        }
    }

    /// More was read while a request was in hand: of its body, or beyond.
    pub fn read_in_hand(&mut self) {
        self.state = State::Lost;
    }

    /// A request begins: what is known of its head.
    pub fn begin(&mut self) -> Head {
        match self.state {
            State::Seen { head, is_last } => {
                self.state = if is_last { State::Lost } else { State::Waiting };
                head
            }
            _ => {
                self.state = State::Lost;
                Head::Unseen
            }
        }
    }
}

/// Looks at the head that ends at `end`; what follows it in `bytes` is of its body, or beyond.
fn judge(bytes: &[u8], end: usize) -> State {
    let (head, rest) = bytes.split_at(end);
    let (mut length, mut is_encoded, mut is_bare) = (None, false, false);
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        is_bare |= !line.ends_with(b"\r\n");
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value.trim_ascii()).unwrap_or_default();
            length = Some(digits.parse::<usize>().unwrap_or(0));
        }
        is_encoded |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    // Lines that end without a carriage return are ends for some servers and none for others.
    let is_ambiguous = is_bare || (is_encoded && length.is_some());
    let head = if is_ambiguous { Head::Ambiguous } else { Head::Plain };
    State::Seen { head, is_last: is_encoded || rest.len() > length.unwrap_or(0) }
}

/// The position behind the empty line that ends a head, with or without carriage returns.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|line_end| match &bytes[line_end + 1..] {
        [b'\n', ..] => Some(line_end + 2),
        [b'\r', b'\n', ..] => Some(line_end + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pieces: &[&[u8]]) -> Head {
        let mut scan = HeadScan::default();
        pieces.iter().for_each(|piece| scan.read(piece));
        scan.begin()
    }

    #[test]
    fn two_lengths_are_seen_however_the_head_is_cut() {
        let both = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-LENGTH : 5\r\n\r\n";
        let one = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nx: content-length: 5\r\n\r\n";
        for (head, expected) in [(&both[..], Head::Ambiguous), (&one[..], Head::Plain)] {
            assert_eq!(seen(&[head]), expected);
            assert_eq!(seen(&[b"\r\n", b"\r\n", head]), expected);
            assert_eq!(seen(&[&[b"\r\n\r\n", head].concat()]), expected);
            for cut in 1..head.len() {
                assert_eq!(seen(&[&head[..cut], &head[cut..]]), expected, "{cut}");
            }
        }
    }

    #[test]
    fn odd_line_ends_are_seen() {
        for odd in [
            &b"POST / HTTP/1.1\ncontent-length: 1\n\n"[..],
            b"POST / HTTP/1.1\r\nx: y\n\r\n",
            b"GET /\n\n\r\n\r\n",
        ] {
            assert_eq!(seen(&[odd]), Head::Ambiguous, "{}", String::from_utf8_lossy(odd));
        }
    }

    #[test]
    fn what_may_hide_a_head_is_the_last_that_is_seen() {
        let get: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        let post: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n1,";
        let chunked: &[u8] = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        for (first, is_seen_next) in [
            (get.to_vec(), true),
            (post.to_vec(), true),
            (chunked.to_vec(), false),
            ([get, b"GET / HTTP/1.1\r\nx: "].concat(), false),
            ([post, b"x"].concat(), false),
        ] {
            let mut scan = HeadScan::default();
            scan.read(&first);
            assert_eq!(scan.begin(), Head::Plain);
            scan.read(get);
            assert_eq!(scan.begin() == Head::Plain, is_seen_next, "{}", String::from_utf8_lossy(&first));
        }
        let mut scan = HeadScan::default();
        scan.read(post);
        scan.begin();
        scan.read_in_hand();
        scan.read(get);
        assert_eq!(scan.begin(), Head::Unseen);
    }
}
