//! Reading bundles and publishing files.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serin_ml::dataset::{Dataset, Read};
use serin_ml::model::Bundle;

use super::printer;

/// Reads a bundle; the error names the file and everything that is wrong.
pub fn read_bundle(path: &Path) -> anyhow::Result<Bundle> {
    Bundle::read(path).with_context(|| format!("{}: not usable as a model", path.display()))
}

/// Writes a file so that a reader sees the old one or the new one, never a part: a temporary file beside it, synced,
/// then renamed over it, and the folder synced.
pub fn publish(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written.with_context(|| format!("{}: cannot be written", path.display()))
}

/// The rows, after saying what was odd about them.
pub fn warned(read: Read) -> Dataset {
    for warning in &read.warnings {
        printer::talk(&format!("warning: {warning}"));
    }
    read.dataset
}
