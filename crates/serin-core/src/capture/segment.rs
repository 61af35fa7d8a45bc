//! The bytes of a journal segment.
//!
//! A segment is [`MAGIC`] and then frames: length of the payload (u32, little endian), CRC-32 of the payload (IEEE,
//! u32, little endian), payload. A frame is written with one `write()`, so only the last frame of a segment can be
//! torn: it then ends beyond the end of the file, or is zeros that the file system had reserved. A whole frame whose
//! checksum is wrong is damage to what was once whole, and is told apart.

/// The first bytes of every segment: name and format version.
pub const MAGIC: &[u8; 8] = b"SERINJ\x00\x01";

/// Bytes before each payload.
pub const FRAME_HEADER_BYTES: usize = 8;

/// How the frames of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// After a whole frame.
    Clean,
    /// In a frame that was never written whole (and so never acknowledged): the log ends before it.
    Torn {
        /// Where the torn frame begins, bytes from the start of the file.
        offset: usize,
    },
    /// At bytes that cannot have been written so.
    Damaged {
        /// Where the bad frame begins, bytes from the start of the file.
        offset: usize,
    },
}

/// Begins a frame in the empty buffer `frame`: the payload is appended next, then [`finish_frame`] is called.
pub fn begin_frame(frame: &mut Vec<u8>) {
    frame.clear();
    frame.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
}

/// Fills in length and checksum of the frame that [`begin_frame`] began; `None` when the payload is too long or
/// empty (an empty payload could not be told from reserved zeros).
#[must_use]
pub fn finish_frame(frame: &mut [u8]) -> Option<()> {
    let (header, payload) = frame.split_at_mut_checked(FRAME_HEADER_BYTES)?;
    if payload.is_empty() {
        return None;
    }
    header[..4].copy_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    header[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
    Some(())
}

/// Hands each whole payload of a segment to `each`, in order, and says how the segment ends.
///
/// # Errors
/// The first error of `each`.
pub fn for_each_payload<'a, E>(
    segment: &'a [u8],
    mut each: impl FnMut(&'a [u8]) -> Result<(), E>,
) -> Result<End, E> {
    let Some(mut rest) = segment.strip_prefix(MAGIC) else {
        let torn = segment.len() < MAGIC.len() || segment.iter().all(|byte| *byte == 0);
        return Ok(if torn { End::Torn { offset: 0 } } else { End::Damaged { offset: 0 } });
    };
    while !rest.is_empty() {
        let offset = segment.len() - rest.len();
        let Some((&[l0, l1, l2, l3, c0, c1, c2, c3], body)) = rest.split_first_chunk() else {
            return Ok(End::Torn { offset });
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length == 0 {
            let zeros = rest.iter().all(|byte| *byte == 0);
            return Ok(if zeros { End::Torn { offset } } else { End::Damaged { offset } });
        }
        let Some((payload, after)) = body.split_at_checked(length) else {
            return Ok(End::Torn { offset });
        };
        if crc32fast::hash(payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Ok(End::Damaged { offset });
        }
        each(payload)?;
        rest = after;
    }
    Ok(End::Clean)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut frame = Vec::new();
        for payload in payloads {
            begin_frame(&mut frame);
            frame.extend_from_slice(payload);
            finish_frame(&mut frame).unwrap();
            bytes.extend_from_slice(&frame);
        }
        bytes
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, End) {
        let mut payloads = Vec::new();
        let end = for_each_payload::<()>(bytes, |payload| {
            payloads.push(payload.to_vec());
            Ok(())
        });
        (payloads, end.unwrap())
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..8)
    }

    proptest! {
        #[test]
        fn a_cut_anywhere_keeps_the_whole_frames_before_it(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let whole = segment(&payloads);
            let cut = cut.index(whole.len() + 1);
            let (kept, end) = read(&whole[..cut]);
            prop_assert_eq!(&kept[..], &payloads[..kept.len()]);
            let at_boundary = segment(&kept).len() == cut;
            prop_assert_eq!(end == End::Clean, at_boundary);
            let damaged = matches!(end, End::Damaged { .. });
            prop_assert!(!damaged);
        }

        #[test]
        fn a_flipped_bit_is_never_read_as_a_payload(
            payloads in payloads(), byte in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let mut bytes = segment(&payloads);
            let byte = byte.index(bytes.len());
            bytes[byte] ^= 1 << bit;
            let (kept, end) = read(&bytes);
            prop_assert!(kept.len() < payloads.len());
            prop_assert_eq!(&kept[..], &payloads[..kept.len()]);
            prop_assert_ne!(end, End::Clean);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut segment = MAGIC.to_vec();
            segment.extend_from_slice(&bytes);
            read(&segment);
            read(&bytes);
        }
    }

    #[test]
    fn zeros_that_the_file_system_reserved_are_the_end() {
        let mut bytes = segment(&[vec![1, 2, 3]]);
        let offset = bytes.len();
        bytes.extend_from_slice(&[0; 100]);
        assert_eq!(read(&bytes), (vec![vec![1, 2, 3]], End::Torn { offset }));
    }
}
