//! The files of a project as they were at one moment.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::artifacts::{ArtifactError, Artifacts};
use crate::digest::Digest;

/// The meaning of a stored list of files.
const VERSION: u32 = 1;

/// Longest path of a file within its tree.
const PATH_LONGEST_BYTES: usize = 1_024;

/// How deep folders may stand in each other.
const DEPTH_LIMIT: usize = 32;

/// Largest stored list of files that is read.
const DOCUMENT_LIMIT_BYTES: u64 = 16 << 20;

/// What Serin writes into a project, which is no input of it.
const OUTPUT_FOLDER: &str = "out";

/// The files of a folder or a commit, sorted by path. Equal content gives an equal digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    version: u32,
    files: Vec<TreeFile>,
}

/// One file of a tree. Its content is an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TreeFile {
    /// Relative, with `/` between its parts.
    pub path: String,
    pub digest: Digest,
    pub bytes: u64,
    pub is_executable: bool,
}

/// How much one tree may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLimits {
    pub files: usize,
    pub bytes: u64,
}

/// A tree, and what of its source is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub tree: Tree,
    /// In the order found, at most as many as the tree may have files.
    pub passed_over: Vec<PassedOver>,
}

/// Something that a user may have expected to be in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    pub path: String,
    pub reason: PassedOverReason,
}

/// Why something is not in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PassedOverReason {
    #[error("a symbolic link, which is not followed")]
    Link,
    #[error("neither a file nor a folder")]
    Special,
    #[error("a submodule, which is not fetched")]
    Submodule,
    /// The file is in the tree as the commit has it: a few lines that stand for the real one.
    #[error("a pointer of Git LFS, whose content is not fetched")]
    LargeFilePointer,
}

/// A path that a tree can hold: relative, no part of it `.` or `..`, nothing that another system reads differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedFile(String);

/// Why there is no tree, or why it could not be written out.
#[derive(Debug, Error)]
pub enum TreeError {
    #[error("{}: cannot be read", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: cannot be written", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("{path:?}: not a name that a tree can hold: {problem}")]
    Name { path: String, problem: &'static str },
    #[error("more than {limit} files, which is the limit")]
    TooMany { limit: usize },
    #[error("more than {limit_bytes} bytes in all, which is the limit")]
    TooLarge { limit_bytes: u64 },
    #[error("{path}: folders more than {DEPTH_LIMIT} deep")]
    TooDeep { path: String },
    #[error("{path:?}: named twice, or both a file and a folder")]
    Twice { path: String },
    #[error("{}: not an empty folder", path.display())]
    NotEmpty { path: PathBuf },
    #[error("{digest}: not a list of files of version {VERSION}")]
    Document { digest: Digest },
    #[error("{path}: cannot be stored or read back")]
    Artifact { path: String, source: ArtifactError },
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self { files: 2_000, bytes: 2 << 30 }
    }
}

impl NamedFile {
    /// Checks a path.
    ///
    /// # Errors
    /// When it could mean something outside of the tree, or different things to different readers.
    pub fn new(path: &str) -> Result<Self, TreeError> {
        let problem = if path.is_empty() || path.len() > PATH_LONGEST_BYTES {
            Some("empty or too long")
        } else if path.chars().any(|c| c.is_control() || c == '\\') {
            Some("control characters and backslashes are not taken")
        } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            Some("it does not lead straight down")
        } else {
            None
        };
        match problem {
            Some(problem) => Err(TreeError::Name { path: path.chars().take(200).collect(), problem }),
            None if path.split('/').count() > DEPTH_LIMIT => {
                Err(TreeError::TooDeep { path: path.to_owned() })
            }
            None => Ok(Self(path.to_owned())),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tree {
    /// A tree of files in any order.
    ///
    /// # Errors
    /// When a path is no [`NamedFile`], stands there twice, or is a file and a folder at once.
    pub fn new(mut files: Vec<TreeFile>) -> Result<Self, TreeError> {
        files.sort_unstable();
        let mut names = BTreeSet::new();
        for file in &files {
            let name = NamedFile::new(&file.path)?;
            if !names.insert(name.0) {
                return Err(TreeError::Twice { path: file.path.clone() });
            }
        }
        let is_file = |folder: &str| names.contains(folder);
        let folders = |path: &str| path.match_indices('/').any(|(end, _)| is_file(&path[..end]));
        match names.iter().find(|path| folders(path)) {
            Some(path) => Err(TreeError::Twice { path: path.clone() }),
            None => Ok(Self { version: VERSION, files }),
        }
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn files(&self) -> &[TreeFile] {
        &self.files
    }

    /// The file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&TreeFile> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(path));
        found.ok().and_then(|position| self.files.get(position))
    }

    /// Stores the list itself. Its digest is the tree's name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn store(&self, artifacts: &Artifacts) -> Result<Digest, TreeError> {
        let stored = serde_json::to_vec(self).map_err(|error| ArtifactError::Source(error.into()));
        stored.and_then(|bytes| artifacts.put(&bytes)).map_err(of_list)
    }

    /// The tree that was stored as `digest`.
    ///
    /// # Errors
    /// When it is missing, damaged, or no list of files that this version of the program understands.
    pub fn load(digest: &Digest, artifacts: &Artifacts) -> Result<Self, TreeError> {
        let bytes = artifacts.read(digest, DOCUMENT_LIMIT_BYTES).map_err(of_list)?;
        let unknown = TreeError::Document { digest: *digest };
        match serde_json::from_slice::<Self>(&bytes) {
            Ok(tree) if tree.version == VERSION => Self::new(tree.files),
            _ => Err(unknown),
        }
    }
}

/// Stores the regular files below `folder`. Left out without a word: what begins with a dot (version control, editors,
/// secrets), the folder `out` at the top, and the folders of `excluded`, such as the data directory. Links are not
/// followed, and reported.
///
/// # Errors
/// When a limit is passed, a name cannot be held, or a file cannot be read or stored.
pub fn snapshot(
    folder: &Path,
    excluded: &[&Path],
    artifacts: &Artifacts,
    limits: &TreeLimits,
) -> Result<Snapshot, TreeError> {
    let excluded = excluded.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
    let mut walk = Walk { excluded, artifacts, limits, bytes: 0, files: Vec::new(), passed_over: Vec::new() };
    walk.folder(folder, "", 0)?;
    Ok(Snapshot { tree: Tree::new(walk.files)?, passed_over: walk.passed_over })
}

/// Writes a tree's files below `folder`, which is made when missing and must be empty.
///
/// # Errors
/// When the folder is not empty, an artifact is missing or damaged, or a file cannot be written.
pub fn materialise(tree: &Tree, artifacts: &Artifacts, folder: &Path) -> Result<(), TreeError> {
    let unwritable = |path: &Path, source| TreeError::Unwritable { path: path.to_owned(), source };
    fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
    if fs::read_dir(folder).map_err(|source| unwritable(folder, source))?.next().is_some() {
        return Err(TreeError::NotEmpty { path: folder.to_owned() });
    }
    for file in &tree.files {
        let path = folder.join(&file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|source| unwritable(parent, source))?;
        }
        let copied = artifacts.copy_to(&file.digest, &path);
        copied.map_err(|source| TreeError::Artifact { path: file.path.clone(), source })?;
        if file.is_executable {
            let permissions = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, permissions).map_err(|source| unwritable(&path, source))?;
        }
    }
    Ok(())
}

/// A walk through a folder.
struct Walk<'a> {
    excluded: Vec<PathBuf>,
    artifacts: &'a Artifacts,
    limits: &'a TreeLimits,
    bytes: u64,
    files: Vec<TreeFile>,
    passed_over: Vec<PassedOver>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> Result<(), TreeError> {
        let unreadable = |source| TreeError::Unreadable { path: folder.to_owned(), source };
        if depth > DEPTH_LIMIT {
            return Err(TreeError::TooDeep { path: prefix.to_owned() });
        }
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let shown = name.to_string_lossy();
            if shown.starts_with('.') || (depth == 0 && shown == OUTPUT_FOLDER) {
                continue;
            }
            let path = if prefix.is_empty() { shown.into_owned() } else { format!("{prefix}/{shown}") };
            if name.to_str().is_none() {
                return Err(TreeError::Name { path, problem: "it is not UTF-8" });
            }
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                let is_excluded =
                    fs::canonicalize(entry.path()).is_ok_and(|path| self.excluded.contains(&path));
                if !is_excluded {
                    self.folder(&entry.path(), &path, depth + 1)?;
                }
            } else if kind.is_file() {
                self.file(&entry.path(), path)?;
            } else {
                let reason =
                    if kind.is_symlink() { PassedOverReason::Link } else { PassedOverReason::Special };
                if self.passed_over.len() < self.limits.files {
                    self.passed_over.push(PassedOver { path, reason });
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, path: String) -> Result<(), TreeError> {
        if self.files.len() == self.limits.files {
            return Err(TreeError::TooMany { limit: self.limits.files });
        }
        let unreadable = |source| TreeError::Unreadable { path: from.to_owned(), source };
        let mode = fs::metadata(from).map_err(unreadable)?.permissions().mode();
        let left = self.limits.bytes - self.bytes;
        let (digest, bytes) = self.artifacts.put_file(from, left).map_err(|error| match error {
            ArtifactError::Source(source) => unreadable(source),
            ArtifactError::TooLarge { .. } => TreeError::TooLarge { limit_bytes: self.limits.bytes },
            source => TreeError::Artifact { path: path.clone(), source },
        })?;
        self.bytes += bytes;
        self.files.push(TreeFile { path, digest, bytes, is_executable: mode & 0o111 != 0 });
        Ok(())
    }
}

fn of_list(source: ArtifactError) -> TreeError {
    TreeError::Artifact { path: "the list of files".into(), source }
}
