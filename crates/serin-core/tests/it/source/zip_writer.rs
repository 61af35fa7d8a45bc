//! Archives byte by byte, so that each can be wrong in one way.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

pub const DEFLATE: u16 = 8;

/// One entry, and what its two headers say about it.
#[derive(Clone)]
pub struct Item {
    pub name: Vec<u8>,
    /// In the entry's own header.
    pub local_name: Vec<u8>,
    pub packed: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub crc: u32,
    pub bytes: u32,
    pub packed_bytes: u32,
    pub attributes: u32,
    pub extra: Vec<u8>,
    /// Sizes behind the content instead of before it.
    pub has_descriptor: bool,
    /// Where the directory says that it starts, instead of where it does.
    pub start: Option<u32>,
    /// Put between this entry and the next.
    pub gap: Vec<u8>,
}

impl Item {
    pub fn stored(name: &str, content: &[u8]) -> Self {
        let name = name.as_bytes().to_vec();
        Self {
            local_name: name.clone(),
            name,
            packed: content.to_vec(),
            method: 0,
            flags: 0,
            crc: crc32fast::hash(content),
            bytes: content.len() as u32,
            packed_bytes: content.len() as u32,
            attributes: 0o100_644 << 16,
            extra: Vec::new(),
            has_descriptor: false,
            start: None,
            gap: Vec::new(),
        }
    }

    pub fn packed(name: &str, content: &[u8]) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        let packed = encoder.finish().unwrap();
        let packed_bytes = packed.len() as u32;
        Self { packed, packed_bytes, method: DEFLATE, ..Self::stored(name, content) }
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn header(&self, name: &[u8], is_local: bool) -> Vec<u8> {
        let is_behind = is_local && self.has_descriptor;
        let known = |value: u32| if is_behind { 0 } else { value };
        let flags = self.flags | if self.has_descriptor { 1 << 3 } else { 0 };
        let mut bytes = Vec::new();
        for half in [20, flags, self.method, 0, 0x21] {
            bytes.extend(u16::to_le_bytes(half));
        }
        for word in [known(self.crc), known(self.packed_bytes), known(self.bytes)] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend((self.extra.len() as u16).to_le_bytes());
        bytes
    }
}

/// A whole archive.
pub fn zip(items: &[Item]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for item in items {
        let start = item.start.unwrap_or(archive.len() as u32);
        archive.extend(b"PK\x03\x04");
        archive.extend(item.header(&item.local_name, true));
        archive.extend(&item.local_name);
        archive.extend(&item.extra);
        archive.extend(&item.packed);
        if item.has_descriptor {
            archive.extend(b"PK\x07\x08");
            for word in [item.crc, item.packed_bytes, item.bytes] {
                archive.extend(word.to_le_bytes());
            }
        }
        archive.extend(&item.gap);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(item.header(&item.name, false));
        directory.extend([0; 6]);
        directory.extend(item.attributes.to_le_bytes());
        directory.extend(start.to_le_bytes());
        directory.extend(&item.name);
        directory.extend(&item.extra);
    }
    let directory_start = archive.len() as u32;
    archive.extend(&directory);
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX);
    archive.extend(end_record(count, directory.len() as u32, directory_start));
    archive
}

pub fn end_record(count: u16, directory_bytes: u32, directory_start: u32) -> Vec<u8> {
    let mut bytes = b"PK\x05\x06\0\0\0\0".to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(directory_bytes.to_le_bytes());
    bytes.extend(directory_start.to_le_bytes());
    bytes.extend([0; 2]);
    bytes
}
