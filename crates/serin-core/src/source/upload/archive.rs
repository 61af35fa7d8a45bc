//! The one shape of ZIP archive that every reader understands alike: entries one after the other from the first byte,
//! then the directory in which each stands once, then the end record, then nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::DeflateDecoder;
use rawzip::extra_fields::{ExtraFieldId, ExtraFields};
use rawzip::{
    CompressionMethod, FileReader, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ReaderAt as _, ZipArchive,
    ZipArchiveEntryWayfinder, ZipFileHeaderRecord, ZipLocator, ZipReader,
};

use super::{
    DATA_ENDINGS, ENTRIES_LIMIT, HYPERPARAMETERS_FILE, INPUTS_FILE, RATIO_FREE_BYTES, RATIO_LIMIT,
    TOTAL_LIMIT_BYTES, TooLarge, UploadError, unreadable,
};

/// Signatures, as the first bytes of a local header and of the end record.
const LOCAL_HEADER: &[u8] = b"PK\x03\x04";
const END_RECORD: &[u8] = b"PK\x05\x06";

/// The end record without a comment.
const END_RECORD_BYTES: u64 = 22;

/// Longest comment that an end record may announce.
const COMMENT_LONGEST_BYTES: u64 = 65_535;

/// The fixed part of an entry in the directory.
const DIRECTORY_ENTRY_BYTES: u64 = 46;

/// Sizes that stand behind packed bytes, without and with a signature.
const DESCRIPTOR_BYTES: [u64; 2] = [12, 16];

/// Flags that change nothing: how hard the packer tried, sizes behind the content, and names in UTF-8.
const HARMLESS_FLAGS: u16 = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 11;

/// Extra fields that could say another size, place or name than the entry itself.
const REFUSED_FIELDS: [(ExtraFieldId, &str); 2] = [
    (ExtraFieldId::ZIP64, "ZIP64 sizes, which nothing here is large enough for"),
    (UNICODE_PATH, "a second name"),
];
const UNICODE_PATH: ExtraFieldId = ExtraFieldId::new(0x7075);

/// Longest name taken.
const NAME_LONGEST_BYTES: usize = 128;

/// Where the kind of a file stands in Unix's mode, and which kinds and marks there are.
const MODE_KIND: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;
const MODE_SPECIAL: u32 = 0o7_000;
const DOS_FOLDER: u32 = 0x10;

/// An archive whose structure was checked. Contents are checked as they are read.
pub(super) struct Archive {
    zip: ZipArchive<FileReader>,
    entries: Vec<Entry>,
}

/// One file of an archive, as the directory and its own header agree.
pub(super) struct Entry {
    pub name: String,
    /// Unpacked.
    pub bytes: u64,
    packed_bytes: u64,
    crc: u32,
    is_packed: bool,
    /// Of its own header.
    start: u64,
    place: ZipArchiveEntryWayfinder,
}

/// The content of an entry: exactly as many bytes as declared, with the right checksum, or an error at the latest where
/// the end would be.
pub(super) struct Content<'a> {
    packed: Packed<'a>,
    entry: &'a Entry,
    checksum: crc32fast::Hasher,
    read_bytes: u64,
    refusal: Option<UploadError>,
}

enum Packed<'a> {
    Stored(ZipReader<&'a FileReader>),
    Deflated(DeflateDecoder<BufReader<ZipReader<&'a FileReader>>>),
}

/// What the end record says.
struct EndRecord {
    entries: u64,
    directory_start: u64,
    directory_end: u64,
}

impl Archive {
    /// Checks the structure of the archive in `file`, which has `length_bytes`.
    pub fn open(file: &File, length_bytes: u64) -> Result<Self, UploadError> {
        let file = FileReader::from(file.try_clone().map_err(|error| unreadable(&error))?);
        let end = EndRecord::find(&file, length_bytes)?;
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let locator = ZipLocator::new().max_search_space(END_RECORD_BYTES);
        let zip = locator.locate_in_reader(file, &mut buffer, length_bytes);
        let zip = zip.map_err(|(_, error)| inconsistent(error.to_string()))?;
        if zip.entries_hint() != end.entries || zip.directory_offset() != end.directory_start {
            return Err(inconsistent("there are two end records"));
        }
        let entries = entries(&zip, &end, &mut buffer)?;
        check_places(&zip, &entries, &end, &mut buffer)?;
        Ok(Self { zip, entries })
    }

    /// The files, in the order of the directory.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The content of one, from its beginning.
    pub fn content<'a>(&'a self, entry: &'a Entry) -> Result<Content<'a>, UploadError> {
        let place = self.zip.get_entry(entry.place).map_err(|error| inconsistent(error.to_string()))?;
        let packed = match entry.is_packed {
            true => Packed::Deflated(DeflateDecoder::new(BufReader::new(place.reader()))),
            false => Packed::Stored(place.reader()),
        };
        Ok(Content { packed, entry, checksum: crc32fast::Hasher::new(), read_bytes: 0, refusal: None })
    }
}

impl EndRecord {
    /// The last bytes of the file, which must be the record.
    fn find(file: &FileReader, length_bytes: u64) -> Result<Self, UploadError> {
        let mut magic = [0; 4];
        let mut record = [0; END_RECORD_BYTES as usize];
        let read =
            |into: &mut [u8], at: u64| file.read_exact_at(into, at).map_err(|error| unreadable(&error));
        if length_bytes >= 4 {
            read(&mut magic, 0)?;
        }
        let is_archive = magic == LOCAL_HEADER || magic == END_RECORD;
        if length_bytes < END_RECORD_BYTES {
            let problem = "it breaks off".into();
            return Err(if is_archive { UploadError::Corrupt { problem } } else { UploadError::MediaType });
        }
        let start = length_bytes - END_RECORD_BYTES;
        read(&mut record, start)?;
        let is_end = record.starts_with(END_RECORD);
        if !is_archive {
            return Err(if is_end {
                inconsistent("something stands before it")
            } else {
                UploadError::MediaType
            });
        }
        let short = |at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
        let long = |at: usize| u64::from(short(at)) | u64::from(short(at + 2)) << 16;
        let (disk, directory_disk, here, entries, comment_bytes) =
            (short(4), short(6), short(8), short(10), short(20));
        if !is_end || comment_bytes != 0 {
            return Err(Self::explain_missing(file, length_bytes));
        }
        if u64::from(entries) > ENTRIES_LIMIT {
            return Err(UploadError::Entries);
        }
        if disk != 0 || directory_disk != 0 || here != entries {
            return Err(inconsistent("it is one part of several"));
        }
        let (directory_bytes, directory_start) = (long(12), long(16));
        if directory_start + directory_bytes != start {
            return Err(inconsistent("its directory is not where the end record says"));
        }
        Ok(Self { entries: u64::from(entries), directory_start, directory_end: start })
    }

    /// Whether the archive was cut, or something stands behind it.
    fn explain_missing(file: &FileReader, length_bytes: u64) -> UploadError {
        let tail_bytes = length_bytes.min(END_RECORD_BYTES + COMMENT_LONGEST_BYTES);
        let mut tail = vec![0; usize::try_from(tail_bytes).unwrap_or_default()];
        if let Err(error) = file.read_exact_at(&mut tail, length_bytes - tail_bytes) {
            return unreadable(&error);
        }
        let start = tail.windows(END_RECORD.len()).rposition(|bytes| bytes == END_RECORD);
        match start.map(|start| tail.len() - start) {
            Some(left) if left as u64 >= END_RECORD_BYTES => {
                inconsistent("something stands behind it, if only a comment")
            }
            _ => UploadError::Corrupt { problem: "its end is missing".into() },
        }
    }
}

/// The directory, record by record: nothing between them, nothing behind them.
fn entries(
    zip: &ZipArchive<FileReader>,
    end: &EndRecord,
    buffer: &mut [u8],
) -> Result<Vec<Entry>, UploadError> {
    let mut entries = Vec::new();
    let mut names = BTreeSet::new();
    let (mut position, mut total_bytes) = (end.directory_start, 0_u64);
    let mut records = zip.entries(buffer);
    while position < end.directory_end && entries.len() as u64 <= end.entries {
        let record = records.next_entry().map_err(|error| inconsistent(error.to_string()))?;
        let record = record.ok_or_else(|| inconsistent("its directory breaks off"))?;
        let entry = checked(&record)?;
        if !names.insert(entry.name.to_ascii_lowercase()) {
            return Err(UploadError::Duplicate { name: entry.name });
        }
        total_bytes = total_bytes.saturating_add(entry.bytes);
        if total_bytes > TOTAL_LIMIT_BYTES {
            return Err(UploadError::TooLarge { what: TooLarge::Total });
        }
        if record.central_directory_offset() != position {
            return Err(inconsistent("its directory has gaps"));
        }
        let mut lengths = [0; 6];
        let read = zip.get_ref().read_exact_at(&mut lengths, position + 28);
        read.map_err(|error| unreadable(&error))?;
        let variable_bytes = |at: usize| u64::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
        position += DIRECTORY_ENTRY_BYTES + variable_bytes(0) + variable_bytes(2) + variable_bytes(4);
        entries.push(entry);
    }
    match position == end.directory_end && entries.len() as u64 == end.entries {
        true => Ok(entries),
        false => Err(inconsistent("its directory and its end record count differently")),
    }
}

/// A record of the directory, checked by itself. The kind comes first: a link is called a link, whatever its name.
fn checked(record: &ZipFileHeaderRecord<'_>) -> Result<Entry, UploadError> {
    let path = record.file_path();
    let shown =
        || String::from_utf8_lossy(path.as_bytes()).chars().take(NAME_LONGEST_BYTES).collect::<String>();
    // Whichever system the archive says that it was made on, some reader believes either half.
    let attributes = record.external_attributes();
    let mode = attributes >> 16;
    let is_regular = matches!(mode & MODE_KIND, 0 | MODE_REGULAR) && mode & MODE_SPECIAL == 0;
    if !is_regular || attributes & DOS_FOLDER != 0 {
        return Err(UploadError::Kind { name: shown() });
    }
    let Some(name) = std::str::from_utf8(path.as_bytes()).ok().filter(|name| is_expected(name)) else {
        return Err(UploadError::Name { name: shown() });
    };
    let name = name.to_owned();
    let (flags, method) = (record.flags(), record.compression_method());
    let is_packed = method == CompressionMethod::DEFLATE;
    if flags.bits() & !HARMLESS_FLAGS != 0 || !(is_packed || method == CompressionMethod::STORE) {
        return Err(UploadError::Method { name });
    }
    check_fields(record.extra_fields())?;
    let (bytes, packed_bytes) = (record.uncompressed_size_hint(), record.compressed_size_hint());
    if !is_packed && bytes != packed_bytes {
        return Err(inconsistent(format!("{name:?} is stored and has two sizes")));
    }
    if bytes > TOTAL_LIMIT_BYTES {
        return Err(UploadError::TooLarge { what: TooLarge::Total });
    }
    if bytes > RATIO_FREE_BYTES && bytes / RATIO_LIMIT > packed_bytes {
        return Err(UploadError::TooLarge { what: TooLarge::Ratio { name } });
    }
    let (crc, start, place) = (record.crc32(), record.local_header_offset(), record.wayfinder());
    Ok(Entry { name, bytes, packed_bytes, crc, is_packed, start, place })
}

/// Each entry's own header says what the directory says, and the entries fill the file up to the directory.
fn check_places(
    zip: &ZipArchive<FileReader>,
    entries: &[Entry],
    end: &EndRecord,
    buffer: &mut [u8],
) -> Result<(), UploadError> {
    let mut in_order: Vec<&Entry> = entries.iter().collect();
    in_order.sort_by_key(|entry| entry.start);
    let mut position = 0;
    for (number, entry) in in_order.iter().enumerate() {
        if entry.start < position {
            return Err(UploadError::Overlap { name: entry.name.clone() });
        }
        if entry.start > position {
            return Err(inconsistent("something stands between its files"));
        }
        let differs = || inconsistent(format!("the directory and the header of {:?} differ", entry.name));
        let place = zip.get_entry(entry.place).map_err(|_| differs())?;
        let header = place.local_header(buffer).map_err(|_| differs())?;
        check_fields(header.extra_fields())?;
        let method = header.compression_method() == CompressionMethod::DEFLATE;
        let has_descriptor = header.flags().has_data_descriptor();
        // A header may leave out what is told behind the content.
        let is_told = |said: u64, known: u64| said == known || has_descriptor && said == 0;
        let is_same_size = is_told(header.crc32().into(), entry.crc.into())
            && is_told(header.compressed_size_hint(), entry.packed_bytes)
            && is_told(header.uncompressed_size_hint(), entry.bytes);
        let is_same = header.file_path().as_bytes() == entry.name.as_bytes()
            && method == entry.is_packed
            && header.flags().bits() & !HARMLESS_FLAGS == 0
            && is_same_size;
        let descriptor = place.reader().data_descriptor().map_err(|_| differs())?;
        let is_same_behind = descriptor.is_none_or(|behind| {
            (behind.crc32(), behind.compressed_size(), behind.uncompressed_size())
                == (entry.crc, entry.packed_bytes, entry.bytes)
        });
        if !is_same || !is_same_behind || descriptor.is_some() != has_descriptor {
            return Err(differs());
        }
        let content_end = place.compressed_data_range().1;
        let next = in_order.get(number + 1).map_or(end.directory_start, |next| next.start);
        position = match next.checked_sub(content_end) {
            None => {
                let name = in_order.get(number + 1).map_or(&entry.name, |next| &next.name).clone();
                return Err(UploadError::Overlap { name });
            }
            Some(bytes) if has_descriptor && DESCRIPTOR_BYTES.contains(&bytes) => next,
            Some(_) => content_end,
        };
    }
    match position == end.directory_start {
        true => Ok(()),
        false => Err(inconsistent("something stands between its files and its directory")),
    }
}

fn check_fields(mut fields: ExtraFields<'_>) -> Result<(), UploadError> {
    let refused = |id: ExtraFieldId| REFUSED_FIELDS.iter().find(|(refused, _)| *refused == id);
    match fields.find_map(|(id, _)| refused(id)) {
        Some((_, what)) => Err(inconsistent(format!("an extra field holds {what}"))),
        None => Ok(()),
    }
}

fn is_expected(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._- ".contains(&byte);
    let is_data = DATA_ENDINGS.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending));
    matches!(name, INPUTS_FILE | HYPERPARAMETERS_FILE)
        || is_data
            && name.len() <= NAME_LONGEST_BYTES
            && name.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '_')
            && name.bytes().all(is_plain)
}

fn inconsistent(problem: impl Into<String>) -> UploadError {
    UploadError::Inconsistent { problem: problem.into() }
}

impl Content<'_> {
    /// Why reading failed with `error`.
    pub fn refusal(self, error: &io::Error) -> UploadError {
        let name = &self.entry.name;
        self.refusal.unwrap_or_else(|| UploadError::Corrupt { problem: format!("{name:?}: {error}") })
    }

    fn refuse(&mut self, refusal: UploadError) -> io::Error {
        self.refusal = Some(refusal);
        io::Error::other("refused")
    }

    /// What is wrong when the content ends here.
    fn check_end(&self) -> Result<(), UploadError> {
        let name = &self.entry.name;
        let corrupt = |problem: &str| Err(UploadError::Corrupt { problem: format!("{name:?} {problem}") });
        if self.read_bytes != self.entry.bytes {
            return corrupt("is smaller than it says");
        }
        if self.checksum.clone().finalize() != self.entry.crc {
            return corrupt("has another checksum than it says");
        }
        match &self.packed {
            Packed::Deflated(packed) if packed.total_in() != self.entry.packed_bytes => {
                Err(inconsistent(format!("{name:?} has bytes behind its content")))
            }
            _ => Ok(()),
        }
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.packed {
            Packed::Stored(content) => content.read(into)?,
            Packed::Deflated(content) => content.read(into)?,
        };
        self.read_bytes += read as u64;
        if self.read_bytes > self.entry.bytes {
            let what = TooLarge::Declared { name: self.entry.name.clone() };
            return Err(self.refuse(UploadError::TooLarge { what }));
        }
        self.checksum.update(&into[..read]);
        if read == 0 {
            self.check_end().map_err(|refusal| self.refuse(refusal))?;
        }
        Ok(read)
    }
}
