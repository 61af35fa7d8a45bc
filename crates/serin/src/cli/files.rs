//! Reading bundles and publishing files.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serin_core::files;
use serin_ml::dataset::{Dataset, Read};
use serin_ml::forest::read_foreign;
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle, BundleError};

use super::printer;

/// Reads a bundle; the error names the file and everything that is wrong.
pub fn read_bundle(path: &Path) -> anyhow::Result<Bundle> {
    Bundle::decode(&read_bytes(path)?).with_context(|| format!("{}: not usable as a model", path.display()))
}

/// Reads a bundle, or a model that another program trained, told apart by content. `classes` names the classes of the
/// latter, which are numbers otherwise.
pub fn read_model(path: &Path, classes: Option<&[String]>) -> anyhow::Result<Bundle> {
    let unusable = || format!("{}: not usable as a model", path.display());
    let bytes = read_bytes(path)?;
    if !bytes.starts_with(b"SERIN\0") {
        let model = read_foreign(&bytes).with_context(unusable)?;
        return Bundle::from_foreign(model, classes.map(<[String]>::to_vec), &stem(path), None)
            .with_context(unusable);
    }
    if classes.is_some() {
        bail!("{}: a bundle knows its classes; --classes is for models trained elsewhere", path.display());
    }
    Bundle::decode(&bytes).with_context(unusable)
}

/// The bytes of a model file, read once and whole.
pub fn read_bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // A pipe or a device may never end.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        bail!("{}: not usable as a model: not a regular file", path.display());
    }
    let read = File::open(path).and_then(|file| file.take(BUNDLE_LIMIT_BYTES + 1).read_to_end(&mut bytes));
    let read = read.map_err(BundleError::Unreadable).and_then(|length| {
        if length as u64 > BUNDLE_LIMIT_BYTES { Err(BundleError::TooLarge) } else { Ok(()) }
    });
    read.with_context(|| format!("{}: not usable as a model", path.display()))?;
    Ok(bytes)
}

/// A file's name without its extension.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Refuses to write where something would be lost: over a device, a pipe, a folder or a link, or over what is read.
pub fn check_output(path: &Path, inputs: &[&Path]) -> anyhow::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.is_file() {
        bail!("{}: not written: it is there, and not a regular file", path.display());
    }
    let same = |input: &&&Path| {
        fs::canonicalize(input).ok().is_some_and(|input| fs::canonicalize(path).is_ok_and(|out| out == input))
    };
    match inputs.iter().find(same) {
        Some(_) => bail!("{}: not written: it is what is read; name another file", path.display()),
        None => Ok(()),
    }
}

/// Writes a file so that a reader sees the old one or the new one, never a part.
pub fn publish(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    check_output(path, &[])?;
    files::publish(path, bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

/// The rows, after saying what was odd about them.
pub fn warned(read: Read) -> Dataset {
    for warning in &read.warnings {
        printer::talk(&format!("warning: {warning}"));
    }
    read.dataset
}
