//! Where the reference data lies, when it is there.

use std::path::PathBuf;

/// The path of a reference file: `SERIN_REFERENCE_DATA/name`, else `../shared/data/name` beside the repository.
/// Says so on stderr and answers `None` where it is absent: the data is not part of the repository.
pub fn reference(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("SERIN_REFERENCE_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("not run: the reference data is not here ({}); set SERIN_REFERENCE_DATA", path.display());
    None
}
