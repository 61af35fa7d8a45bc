//! The file format of a bundle: named sections, each with its hash, behind one digest.
//!
//! ```text
//! "SERIN\0"  6 bytes
//! format     u16, little endian
//! length     u32, little endian: bytes of the table of contents
//! hash       32 bytes: SHA-256 of the table of contents
//! contents   JSON: {"sections": [{"name", "length", "sha256", "digested"}, ...]}
//! sections   back to back, in the order of the contents, nothing after the last
//! ```
//!
//! The digest is the SHA-256 of one line a digested section, `name length sha256`, in order. Sections that are not
//! digested (notes such as durations) are still protected by their hash.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

const MAGIC: &[u8; 6] = b"SERIN\0";
const HEADER_BYTES: usize = 6 + 2 + 4 + 32;

/// The format this build writes, and the only one it reads.
///
/// 2: trees keep covers, category splits and their way of addition.
pub const FORMAT: u16 = 2;
/// Longest table of contents accepted.
pub const CONTENTS_LIMIT_BYTES: usize = 64 * 1024;
/// Largest bundle accepted.
pub const BUNDLE_LIMIT_BYTES: u64 = 4 << 30;

/// One named part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Name, unique in the file.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// Whether the digest covers it.
    pub digested: bool,
}

/// Why bytes are not a bundle, or not a whole one.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ContainerError {
    #[error("not a Serin bundle: it does not begin with the bundle signature")]
    NotABundle,
    #[error("bundle format {found} is newer than this build reads ({FORMAT}): use a newer serin")]
    NewerFormat { found: u16 },
    #[error(
        "bundle format {found} is older than this build reads ({FORMAT}): train again, or use the serin that made it"
    )]
    OlderFormat { found: u16 },
    #[error("the file ends early: {expected} bytes expected, {found} found")]
    Truncated { expected: u64, found: u64 },
    #[error("{extra} bytes follow the last section")]
    Trailing { extra: u64 },
    #[error("the table of contents is damaged: {reason}")]
    Contents { reason: String },
    #[error("section {name:?} is damaged: its hash is not the recorded one")]
    Damaged { name: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    sections: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    length: u64,
    sha256: String,
    digested: bool,
}

/// Packs sections into the bytes of a bundle file.
///
/// # Errors
/// When the table of contents would exceed [`CONTENTS_LIMIT_BYTES`].
pub fn pack(sections: &[Section]) -> Result<Vec<u8>, ContainerError> {
    let contents = Contents { sections: sections.iter().map(Entry::of).collect() };
    let contents = serde_json::to_vec(&contents).map_err(|error| damaged_contents(&error))?;
    let length = u32::try_from(contents.len()).ok().filter(|_| contents.len() <= CONTENTS_LIMIT_BYTES);
    let length = length.ok_or_else(|| ContainerError::Contents { reason: "too many sections".into() })?;
    let total: usize = sections.iter().map(|section| section.bytes.len()).sum();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + contents.len() + total);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(&contents));
    bytes.extend_from_slice(&contents);
    for section in sections {
        bytes.extend_from_slice(&section.bytes);
    }
    Ok(bytes)
}

/// Unpacks the bytes of a bundle file, with every length and hash verified, and computes its digest.
///
/// # Errors
/// When the bytes are not exactly one intact bundle of a known format.
pub fn unpack(bytes: &[u8]) -> Result<(Vec<Section>, String), ContainerError> {
    if bytes.len() < MAGIC.len() || &bytes[..MAGIC.len()] != MAGIC {
        return Err(ContainerError::NotABundle);
    }
    let found = bytes.len() as u64;
    if bytes.len() < HEADER_BYTES {
        return Err(ContainerError::Truncated { expected: HEADER_BYTES as u64, found });
    }
    let format = u16::from_le_bytes([bytes[6], bytes[7]]);
    if format > FORMAT {
        return Err(ContainerError::NewerFormat { found: format });
    }
    if format < FORMAT {
        return Err(ContainerError::OlderFormat { found: format });
    }
    let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if length > CONTENTS_LIMIT_BYTES {
        return Err(ContainerError::Contents { reason: format!("{length} bytes long") });
    }
    let body_start = HEADER_BYTES + length;
    let Some(contents) = bytes.get(HEADER_BYTES..body_start) else {
        return Err(ContainerError::Truncated { expected: body_start as u64, found });
    };
    if bytes[12..HEADER_BYTES] != Sha256::digest(contents)[..] {
        return Err(ContainerError::Contents { reason: "its hash is not the recorded one".into() });
    }
    let contents: Contents = serde_json::from_slice(contents).map_err(|error| damaged_contents(&error))?;
    let mut sections: Vec<Section> = Vec::with_capacity(contents.sections.len());
    let mut rest = &bytes[body_start..];
    for entry in contents.sections {
        if sections.iter().any(|section| section.name == entry.name) {
            return Err(ContainerError::Contents {
                reason: format!("section {:?} occurs twice", entry.name),
            });
        }
        let Some((content, after)) =
            usize::try_from(entry.length).ok().and_then(|length| rest.split_at_checked(length))
        else {
            let before = found - rest.len() as u64;
            return Err(ContainerError::Truncated { expected: before.saturating_add(entry.length), found });
        };
        if sha256_hex(content) != entry.sha256 {
            return Err(ContainerError::Damaged { name: entry.name });
        }
        sections.push(Section { name: entry.name, bytes: content.to_vec(), digested: entry.digested });
        rest = after;
    }
    if !rest.is_empty() {
        return Err(ContainerError::Trailing { extra: rest.len() as u64 });
    }
    let digest = digest(&sections);
    Ok((sections, digest))
}

/// The digest of a bundle with these sections: SHA-256 in hex.
#[must_use]
pub fn digest(sections: &[Section]) -> String {
    let mut hasher = Sha256::new();
    for section in sections.iter().filter(|section| section.digested) {
        let hash = sha256_hex(&section.bytes);
        hasher.update(format!("{} {} {hash}\n", section.name, section.bytes.len()));
    }
    hex(&hasher.finalize())
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

impl Entry {
    fn of(section: &Section) -> Self {
        Self {
            name: section.name.clone(),
            length: section.bytes.len() as u64,
            sha256: sha256_hex(&section.bytes),
            digested: section.digested,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn damaged_contents(error: &serde_json::Error) -> ContainerError {
    ContainerError::Contents { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Section> {
        vec![
            Section { name: "card".into(), bytes: b"{}".to_vec(), digested: true },
            Section { name: "note".into(), bytes: b"12 s".to_vec(), digested: false },
        ]
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let bytes = pack(&sections()).unwrap();
        let (unpacked, digest) = unpack(&bytes).unwrap();
        assert_eq!(unpacked, sections());
        assert_eq!(digest, super::digest(&sections()));
    }

    #[test]
    fn notes_do_not_change_the_digest_but_are_protected() {
        let mut other = sections();
        other[1].bytes = b"99 s".to_vec();
        assert_eq!(digest(&other), digest(&sections()));
        let mut bytes = pack(&other).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(unpack(&bytes), Err(ContainerError::Damaged { name: "note".into() }));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let bytes = pack(&sections()).unwrap();
        for length in 0..bytes.len() {
            assert!(unpack(&bytes[..length]).is_err(), "truncated to {length}");
        }
        for position in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(unpack(&flipped).is_err(), "bit {position} flipped");
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(unpack(&longer), Err(ContainerError::Trailing { extra: 1 }));
    }
}
