//! The one model that a training leaves: a bundle, or what LightGBM or XGBoost wrote, alone or in a `model.tar.gz`.

use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use thiserror::Error;

use crate::runtime::{ResultError, ResultFolder, ResultLimits};

/// Most bytes of a model that a job trained: it is taken into memory. All of an archive together is as much at most.
pub const MODEL_LIMIT_BYTES: u64 = 1 << 30;
/// Most entries of an archive.
const ENTRIES_LIMIT: usize = 1_000;
/// What tells the formats apart is in so many bytes.
const HEAD_BYTES: u64 = 4 << 10;
/// The name that SageMaker gives to a packed model.
const ARCHIVE: &str = "model.tar.gz";
/// Names told when there is no model.
const NAMES_TOLD: usize = 5;

/// A model as found, not yet decoded.
pub struct TrainedModel {
    /// Where it was, from `model/`; in an archive, behind the archive's name.
    pub name: String,
    pub format: ModelFormat,
    pub bytes: Vec<u8>,
}

/// What its first bytes look like; decoding says whether that is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelFormat {
    Bundle,
    /// LightGBM text, XGBoost JSON or UBJSON.
    Foreign,
}

/// Why there is no model.
#[derive(Debug, Error)]
pub enum ModelError {
    #[error("the command left no model: {found}")]
    None { found: String },
    #[error("the command left several models, {first} and {second}")]
    Several { first: String, second: String },
    #[error("{name} is larger than {MODEL_LIMIT_BYTES} bytes")]
    TooLarge { name: String },
    #[error("{ARCHIVE} holds {name}, which is no regular file")]
    EntryType { name: String },
    #[error("{ARCHIVE} holds more than {ENTRIES_LIMIT} entries")]
    Entries,
    #[error("{ARCHIVE} cannot be read")]
    Archive(#[source] io::Error),
    #[error(transparent)]
    Result(#[from] ResultError),
}

impl ModelError {
    /// A stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::None { .. } => "no_model",
            Self::Several { .. } => "several_models",
            Self::TooLarge { .. } => "model_too_large",
            Self::EntryType { .. } => "archive_entry_type",
            Self::Entries => "archive_entries",
            Self::Archive(_) => "archive_corrupt",
            Self::Result(error) => error.code(),
        }
    }
}

impl std::fmt::Debug for TrainedModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainedModel")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

impl ModelFormat {
    /// Nothing else begins so: notes and metrics beside a model are JSON too, but without a learner.
    fn of(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"SERIN\0") {
            return Some(Self::Bundle);
        }
        let is_lightgbm =
            || head.split(|byte| *byte == b'\n').next().is_some_and(|line| line.trim_ascii() == b"tree");
        let is_xgboost = || {
            head.trim_ascii_start().starts_with(b"{")
                && head.windows(b"learner".len()).any(|window| window == b"learner")
        };
        (is_lightgbm() || is_xgboost()).then_some(Self::Foreign)
    }
}

/// The one model in `folder`. Other files may stand beside it.
pub(super) fn trained_model(results: &ResultFolder, folder: &Path) -> Result<TrainedModel, ModelError> {
    let mut models = Vec::new();
    let mut others = Vec::new();
    for file in results.list(folder, &ResultLimits { bytes: u64::MAX, ..ResultLimits::default() })? {
        if file.name == ARCHIVE {
            if let Some(archive) = results.open(&file.path)? {
                read_archive(archive, &mut models, &mut others)?;
            }
            continue;
        }
        let head = results.read_beginning(&file.path, HEAD_BYTES)?.unwrap_or_default();
        let Some(format) = ModelFormat::of(&head) else {
            others.push(file.name);
            continue;
        };
        if file.bytes > MODEL_LIMIT_BYTES {
            return Err(ModelError::TooLarge { name: file.name });
        }
        let bytes = results.read(&file.path, MODEL_LIMIT_BYTES)?.unwrap_or_default();
        models.push(TrainedModel { name: file.name, format, bytes });
        only(&models)?;
    }
    only(&models)?;
    models.pop().ok_or_else(|| ModelError::None { found: told(&others) })
}

/// At most one; asked after each, so that never more than two are in memory.
fn only(models: &[TrainedModel]) -> Result<(), ModelError> {
    match models {
        [first, second, ..] => {
            Err(ModelError::Several { first: first.name.clone(), second: second.name.clone() })
        }
        _ => Ok(()),
    }
}

fn told(others: &[String]) -> String {
    if others.is_empty() {
        return "its folder is empty".to_owned();
    }
    let names = others.iter().take(NAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if others.len() > NAMES_TOLD { ", ..." } else { "" };
    format!("{names}{more} is neither a bundle nor a LightGBM or XGBoost model")
}

/// Looks for models in an archive.
fn read_archive(
    source: impl Read,
    models: &mut Vec<TrainedModel>,
    others: &mut Vec<String>,
) -> Result<(), ModelError> {
    // Counted where it is unpacked: what the headers say is only said.
    let is_over = Cell::new(false);
    let unpacked = Bounded { inner: GzDecoder::new(source), left: MODEL_LIMIT_BYTES, is_over: &is_over };
    let read = look_through(tar::Archive::new(unpacked), models, others);
    // However the reader of the archive told it on.
    if is_over.get() { Err(ModelError::TooLarge { name: ARCHIVE.to_owned() }) } else { read }
}

/// Entry by entry. Nothing is ever written to disk, so names can do no harm.
fn look_through(
    mut archive: tar::Archive<impl Read>,
    models: &mut Vec<TrainedModel>,
    others: &mut Vec<String>,
) -> Result<(), ModelError> {
    for (position, entry) in archive.entries().map_err(ModelError::Archive)?.enumerate() {
        if position >= ENTRIES_LIMIT {
            return Err(ModelError::Entries);
        }
        let mut entry = entry.map_err(ModelError::Archive)?;
        let name: String = String::from_utf8_lossy(&entry.path_bytes()).chars().take(256).collect();
        let kind = entry.header().entry_type();
        // Folders, and what `git archive` notes about all entries.
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() {
            return Err(ModelError::EntryType { name });
        }
        let name = format!("{ARCHIVE}: {name}");
        let mut bytes = Vec::new();
        entry.by_ref().take(HEAD_BYTES).read_to_end(&mut bytes).map_err(ModelError::Archive)?;
        let Some(format) = ModelFormat::of(&bytes) else {
            others.push(name);
            continue;
        };
        entry.read_to_end(&mut bytes).map_err(ModelError::Archive)?;
        models.push(TrainedModel { name, format, bytes });
        only(models)?;
    }
    Ok(())
}

/// A reader that fails, rather than ends, at its limit.
struct Bounded<'a, R> {
    inner: R,
    left: u64,
    is_over: &'a Cell<bool>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.is_over.set(true);
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const BUNDLE: &[u8] = b"SERIN\0 and so on";
    const LIGHTGBM: &[u8] = b"tree\nversion=v4\n";
    const XGBOOST: &[u8] = b"{\"version\":[2,0,3],\"learner\":{}}";

    /// A `model.tar.gz` of these entries.
    fn archive(entries: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            // Names that the library would refuse to write.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn found(files: &[(&str, &[u8])]) -> Result<TrainedModel, ModelError> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("model/code")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join("model").join(name), content).unwrap();
        }
        trained_model(&ResultFolder::new(folder.path().to_owned()), Path::new("model"))
    }

    #[test]
    fn the_one_model_is_found_among_other_files() {
        use ModelFormat::{Bundle, Foreign};
        let notes: &[u8] = b"{\"accuracy\": 0.9}";
        for (name, content, format) in
            [("a.serin", BUNDLE, Bundle), ("model.txt", LIGHTGBM, Foreign), ("model.json", XGBOOST, Foreign)]
        {
            let files = [(name, content), ("metrics.json", notes), ("code/inference.py", b"import os")];
            let model = found(&files).unwrap();
            assert_eq!((model.name.as_str(), model.format, &model.bytes[..]), (name, format, content));
            let regular = tar::EntryType::Regular;
            let folder = tar::EntryType::Directory;
            let packed = archive(&[("./", folder, b""), ("./m", regular, content), ("x", regular, notes)]);
            let model = found(&[(ARCHIVE, &packed)]).unwrap();
            assert_eq!((model.name.as_str(), &model.bytes[..]), ("model.tar.gz: ./m", content));
        }
    }

    #[test]
    fn nothing_and_several_are_told_apart() {
        let code = |files: &[(&str, &[u8])]| found(files).unwrap_err().code();
        let regular = tar::EntryType::Regular;
        let packed = archive(&[("m", regular, BUNDLE)]);
        let two = archive(&[("m", regular, BUNDLE), ("n", regular, LIGHTGBM)]);
        assert_eq!(code(&[]), "no_model");
        assert_eq!(code(&[("model.pkl", b"\x80\x04")]), "no_model");
        assert_eq!(code(&[("a.serin", BUNDLE), ("b.txt", LIGHTGBM)]), "several_models");
        assert_eq!(code(&[("a.serin", BUNDLE), (ARCHIVE, &packed)]), "several_models");
        assert_eq!(code(&[(ARCHIVE, &two)]), "several_models");
        let told = found(&[("model.pkl", b"\x80\x04")]).unwrap_err().to_string();
        assert!(told.contains("model.pkl"), "{told}");
    }

    #[test]
    fn an_archive_can_do_no_harm() {
        let code = |packed: &[u8]| found(&[(ARCHIVE, packed)]).unwrap_err().code();
        for kind in
            [tar::EntryType::Symlink, tar::EntryType::Link, tar::EntryType::Fifo, tar::EntryType::Char]
        {
            assert_eq!(code(&archive(&[("m", kind, b"")])), "archive_entry_type");
        }
        // A name that leads away is only a name.
        let model = found(&[(ARCHIVE, &archive(&[("../../etc/m", tar::EntryType::Regular, BUNDLE)]))]);
        assert_eq!(model.unwrap().bytes, BUNDLE);
        let many = vec![("x", tar::EntryType::Regular, &b""[..]); ENTRIES_LIMIT + 1];
        assert_eq!(code(&archive(&many)), "archive_entries");
        let whole = archive(&[("m", tar::EntryType::Regular, &[7; 100_000])]);
        assert_eq!(code(&whole[..whole.len() / 2]), "archive_corrupt");
        assert_eq!(code(b"not packed"), "archive_corrupt");
        let mut damaged = whole;
        damaged[20] ^= 0x55;
        assert_eq!(code(&damaged), "archive_corrupt");
    }

    #[test]
    fn unpacked_bytes_are_counted() {
        let is_over = Cell::new(false);
        let mut bounded = Bounded { inner: io::repeat(7), left: 1_000, is_over: &is_over };
        assert!(io::copy(&mut bounded.by_ref().take(1_000), &mut io::sink()).is_ok() && !is_over.get());
        assert!(io::copy(&mut bounded, &mut io::sink()).is_err() && is_over.get());
    }
}
