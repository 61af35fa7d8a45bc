//! Secrets out of files: tokens, passwords and keys, which never reach a log, an error or a debug view.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Most bytes a secret file has.
pub const SECRET_LIMIT_BYTES: u64 = 64 << 10;

/// What a secret file holds. It can be looked at only by asking for it by name.
pub struct Secret(Vec<u8>);

/// Why a secret file is not used. No message holds anything of its content.
#[derive(Debug, Error)]
pub enum SecretError {
    #[error("{}: the secret cannot be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: the secret is not in a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: others may read the secret (mode {mode:03o}); type: chmod 600 {}", path.display(), path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{}: the secret is empty", path.display())]
    Empty { path: PathBuf },
    #[error("{}: the secret is longer than {SECRET_LIMIT_BYTES} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{}: the secret is not text of one line", path.display())]
    NotText { path: PathBuf },
}

/// Reads the secret in a file. One line break at the end is an editor's, and does not belong to it.
///
/// # Errors
/// When the file cannot be read, is no regular file, may be read by its group or by others, is empty or too long.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that is open, not of what bears its name by now.
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    if let Some(mode) = open_mode(&metadata) {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    let mut secret = Secret(Vec::new());
    file.take(SECRET_LIMIT_BYTES + 1).read_to_end(&mut secret.0).map_err(unreadable)?;
    if secret.0.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(SecretError::TooLong { path: path.to_owned() });
    }
    if secret.0.ends_with(b"\n") {
        secret.0.pop();
        secret.0.pop_if(|byte| *byte == b'\r');
    }
    if secret.0.is_empty() { Err(SecretError::Empty { path: path.to_owned() }) } else { Ok(secret) }
}

/// Reads a secret that travels in a header or a protocol line: printable text of one line.
///
/// # Errors
/// As for [`read`], and when it holds a control character or is not UTF-8.
pub fn read_text(path: &Path) -> Result<Secret, SecretError> {
    let secret = read(path)?;
    match secret.text() {
        Some(text) if !text.chars().any(char::is_control) => Ok(secret),
        _ => Err(SecretError::NotText { path: path.to_owned() }),
    }
}

/// The permissions, if they are more than the owner's.
#[cfg(unix)]
fn open_mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_mode(_: &Metadata) -> Option<u32> {
    None
}

impl Secret {
    /// A secret that came from elsewhere than a file.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The secret itself.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The secret itself, as text if it is any.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Drop for Secret {
    /// As good as it gets without `unsafe`: the bytes are overwritten, and the compiler is told that somebody looks.
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn written(content: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn one_line_break_at_the_end_is_not_part_of_it() {
        for (content, expected) in [
            (&b"s3cret"[..], &b"s3cret"[..]),
            (b"s3cret\n", b"s3cret"),
            (b"s3cret\r\n", b"s3cret"),
            (b"s3cret\n\n", b"s3cret\n"),
            (b" s3cret ", b" s3cret "),
            (b"\xff\x00", b"\xff\x00"),
        ] {
            let (_folder, path) = written(content, 0o600);
            assert_eq!(read(&path).unwrap().bytes(), expected);
        }
    }

    #[test]
    fn what_others_may_read_or_is_empty_is_refused() {
        for mode in [0o640, 0o604, 0o644, 0o620, 0o601] {
            let (_folder, path) = written(b"s3cret", mode);
            assert!(matches!(read(&path), Err(SecretError::Open { mode: found, .. }) if found == mode));
        }
        for empty in [&b""[..], b"\n", b"\r\n"] {
            let (_folder, path) = written(empty, 0o400);
            assert!(matches!(read(&path), Err(SecretError::Empty { .. })), "{empty:?}");
        }
        let (folder, path) = written(&[b'x'; 70_000], 0o600);
        assert!(matches!(read(&path), Err(SecretError::TooLong { .. })));
        assert!(matches!(read(folder.path()), Err(SecretError::NotAFile { .. })));
        assert!(matches!(read(&folder.path().join("none")), Err(SecretError::Unreadable { .. })));
        for odd in [&b"two\nlines"[..], b"\xff", b"tab\t"] {
            let (_folder, path) = written(odd, 0o600);
            assert!(matches!(read_text(&path), Err(SecretError::NotText { .. })), "{odd:?}");
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let (_folder, path) = written(b"s3cret\nline", 0o600);
        assert_eq!(format!("{:?}", read(&path).unwrap()), "Secret(..)");
        assert!(!read_text(&path).unwrap_err().to_string().contains("s3cret"));
    }
}
