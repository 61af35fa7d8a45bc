//! Reading what a job left in its folder, as if it meant harm: regular files only, within the folder, up to a limit, and
//! no link is followed on the way.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use thiserror::Error;

/// A folder that a job could write to.
#[derive(Debug, Clone)]
pub struct ResultFolder {
    root: PathBuf,
}

/// A regular file below a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoundFile {
    /// From the folder that was listed, with slashes.
    pub name: String,
    /// From the folder of the job.
    pub path: PathBuf,
    pub bytes: u64,
}

/// How much is taken from one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultLimits {
    pub files: usize,
    /// Of all files together.
    pub bytes: u64,
    /// Folders within folders.
    pub depth: usize,
}

/// Why something in a job's folder is not read.
#[derive(Debug, Error)]
pub enum ResultError {
    #[error("{name} is a {found}, not a regular file")]
    NotAFile { name: String, found: &'static str },
    #[error("{name} is larger than {limit_bytes} bytes")]
    TooLarge { name: String, limit_bytes: u64 },
    #[error("{name} holds more than {limit} files")]
    TooMany { name: String, limit: usize },
    #[error("{name} holds folders more than {limit} deep")]
    TooDeep { name: String, limit: usize },
    #[error("the name of a file in {name} is not UTF-8")]
    Name { name: String },
    #[error("{name} cannot be read")]
    Unreadable { name: String, source: io::Error },
}

impl Default for ResultLimits {
    fn default() -> Self {
        Self { files: 1_000, bytes: 2 << 30, depth: 8 }
    }
}

impl ResultError {
    /// A stable code for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAFile { .. } => "result_type",
            Self::TooLarge { .. } => "result_too_large",
            Self::TooMany { .. } | Self::TooDeep { .. } => "result_files",
            Self::Name { .. } => "result_name",
            Self::Unreadable { .. } => "result_unreadable",
        }
    }
}

impl ResultFolder {
    /// A job's folder. The way there is ours and may have links; nothing below is followed.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The content of a file, at most `limit_bytes`; `None` when it is not there.
    ///
    /// # Errors
    /// When it is something else than a regular file, larger, or cannot be read.
    pub fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, ResultError> {
        let name = || path.to_string_lossy().into_owned();
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        // The size was looked at when it was opened; who still holds it may write on.
        let read = file.take(limit_bytes + 1).read_to_end(&mut content);
        read.map_err(|source| ResultError::Unreadable { name: name(), source })?;
        if content.len() as u64 > limit_bytes {
            return Err(ResultError::TooLarge { name: name(), limit_bytes });
        }
        Ok(Some(content))
    }

    /// The beginning of a file, at most `bytes`; `None` when it is not there.
    ///
    /// # Errors
    /// When it is something else than a regular file or cannot be read.
    pub fn read_beginning(&self, path: &Path, bytes: u64) -> Result<Option<Vec<u8>>, ResultError> {
        let Some(file) = self.open(path)? else { return Ok(None) };
        let mut content = Vec::new();
        let read = file.take(bytes).read_to_end(&mut content);
        let name = || path.to_string_lossy().into_owned();
        read.map_err(|source| ResultError::Unreadable { name: name(), source })?;
        Ok(Some(content))
    }

    /// Opens a regular file; `None` when it is not there.
    ///
    /// # Errors
    /// When it is something else, there is a link on the way, or it cannot be opened.
    pub fn open(&self, path: &Path) -> Result<Option<File>, ResultError> {
        let name = || path.to_string_lossy().into_owned();
        let unreadable = |source| ResultError::Unreadable { name: name(), source };
        let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // A pipe without a writer would otherwise be waited for.
        let file = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at: std::os::fd::OwnedFd = File::open(&self.root).map_err(unreadable)?.into();
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let Component::Normal(part) = part else {
                return Err(ResultError::NotAFile { name: name(), found: "path out of its folder" });
            };
            let is_last = parts.peek().is_none();
            match openat(&at, part, if is_last { file } else { folder }, Mode::empty()) {
                Ok(opened) => at = opened,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(ResultError::NotAFile { name: name(), found: "link" });
                }
                // What a socket answers.
                Err(Errno::NXIO) => return Err(ResultError::NotAFile { name: name(), found: "socket" }),
                Err(error) => return Err(unreadable(error.into())),
            }
        }
        let opened = File::from(at);
        let found = opened.metadata().map_err(unreadable)?.file_type();
        if found.is_file() {
            return Ok(Some(opened));
        }
        Err(ResultError::NotAFile { name: name(), found: kind(found) })
    }

    /// No folder on the way to `path` is a link to another place.
    fn check_above(&self, path: &Path) -> Result<(), ResultError> {
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let name = || above.to_string_lossy().into_owned();
            match fs::symlink_metadata(self.root.join(above)) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => {
                    return Err(ResultError::NotAFile { name: name(), found: kind(metadata.file_type()) });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ResultError::Unreadable { name: name(), source }),
            }
        }
        Ok(())
    }

    /// The regular files in and below a folder, by name; none when it is not there.
    ///
    /// # Errors
    /// When anything there is neither a folder nor a regular file, there is too much, or it cannot be looked at.
    pub fn list(&self, folder: &Path, limits: &ResultLimits) -> Result<Vec<FoundFile>, ResultError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut open = vec![(folder.to_owned(), String::new(), 0)];
        let name = || folder.to_string_lossy().into_owned();
        self.check_above(folder)?;
        while let Some((path, prefix, depth)) = open.pop() {
            let unreadable =
                |source| ResultError::Unreadable { name: path.to_string_lossy().into_owned(), source };
            match fs::symlink_metadata(self.root.join(&path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unreadable(error)),
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) => {
                    let name = path.to_string_lossy().into_owned();
                    return Err(ResultError::NotAFile { name, found: kind(metadata.file_type()) });
                }
            }
            if depth > limits.depth {
                return Err(ResultError::TooDeep { name: name(), limit: limits.depth });
            }
            for entry in fs::read_dir(self.root.join(&path)).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                let file_name = entry.file_name();
                let Some(file_name) = file_name.to_str() else {
                    return Err(ResultError::Name { name: path.to_string_lossy().into_owned() });
                };
                let (below, prefixed) = (path.join(file_name), format!("{prefix}{file_name}"));
                let metadata = entry.metadata().map_err(unreadable)?;
                if metadata.is_dir() {
                    open.push((below, format!("{prefixed}/"), depth + 1));
                } else if metadata.is_file() {
                    bytes += metadata.len();
                    found.push(FoundFile { name: prefixed, path: below, bytes: metadata.len() });
                } else {
                    let found = kind(metadata.file_type());
                    return Err(ResultError::NotAFile { name: below.to_string_lossy().into_owned(), found });
                }
                // Folders count while they wait, so that a million empty ones are too many as well.
                if found.len() + open.len() > limits.files {
                    return Err(ResultError::TooMany { name: name(), limit: limits.files });
                }
                if bytes > limits.bytes {
                    return Err(ResultError::TooLarge { name: name(), limit_bytes: limits.bytes });
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// What it is instead of a regular file.
fn kind(found: fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match found {
        _ if found.is_dir() => "folder",
        _ if found.is_symlink() => "link",
        _ if found.is_fifo() => "pipe",
        _ if found.is_socket() => "socket",
        _ => "device",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    fn not_a_file(error: &ResultError) -> Option<&'static str> {
        match error {
            ResultError::NotAFile { found, .. } => Some(found),
            _ => None,
        }
    }

    #[test]
    fn only_regular_files_within_the_folder_are_read() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s3cret").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("out")).unwrap();
        fs::write(at("out/fine"), "12345").unwrap();
        symlink(outside.path().join("secret"), at("link")).unwrap();
        symlink(outside.path(), at("linked")).unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = UnixListener::bind(at("socket")).unwrap();
        let results = ResultFolder::new(folder.path().to_owned());
        let read = |name: &str| results.read(Path::new(name), 5);
        assert_eq!(read("out/fine").unwrap().unwrap(), b"12345");
        assert!(read("out/none").unwrap().is_none());
        assert!(read("none/none").unwrap().is_none());
        for (name, found) in [
            ("link", "link"),
            ("linked/secret", "link"),
            ("pipe", "pipe"),
            ("socket", "socket"),
            ("out", "folder"),
            ("/dev/zero", "path out of its folder"),
            ("../secret", "path out of its folder"),
            ("out/../../secret", "path out of its folder"),
            ("out/fine/more", "link"),
        ] {
            assert_eq!(not_a_file(&read(name).unwrap_err()), Some(found), "{name}");
        }
        let four = results.read(Path::new("out/fine"), 4);
        assert!(matches!(four, Err(ResultError::TooLarge { limit_bytes: 4, .. })));
        assert_eq!(results.read_beginning(Path::new("out/fine"), 2).unwrap().unwrap(), b"12");
        let listed = |name: &str| results.list(Path::new(name), &ResultLimits::default());
        assert_eq!(listed("out").unwrap().len(), 1);
        assert!(listed("none").unwrap().is_empty());
        assert_eq!(not_a_file(&listed("linked").unwrap_err()), Some("link"));
        assert!(not_a_file(&listed("").unwrap_err()).is_some());
    }

    #[test]
    fn a_folder_has_limits() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("out/a/b")).unwrap();
        for name in ["out/3", "out/a/2", "out/a/b/1"] {
            fs::write(folder.path().join(name), "1234").unwrap();
        }
        let results = ResultFolder::new(folder.path().to_owned());
        let list =
            |files, bytes, depth| results.list(Path::new("out"), &ResultLimits { files, bytes, depth });
        let names: Vec<String> = list(4, 12, 2).unwrap().into_iter().map(|file| file.name).collect();
        assert_eq!(names, ["3", "a/2", "a/b/1"]);
        assert!(matches!(list(2, 12, 2), Err(ResultError::TooMany { .. })));
        assert!(matches!(list(4, 11, 2), Err(ResultError::TooLarge { .. })));
        assert!(matches!(list(4, 12, 1), Err(ResultError::TooDeep { .. })));
    }

    #[test]
    fn a_folder_behind_a_link_is_no_result() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(outside.path().join("evaluation")).unwrap();
        std::fs::write(outside.path().join("evaluation/secret"), "s").unwrap();
        std::fs::create_dir(root.path().join("processing")).unwrap();
        symlink(outside.path(), root.path().join("processing/output")).unwrap();
        let results = ResultFolder::new(root.path().to_owned());
        let listed = results.list(Path::new("processing/output/evaluation"), &ResultLimits::default());
        assert!(matches!(listed, Err(ResultError::NotAFile { found: "link", .. })), "{listed:?}");
    }
}
