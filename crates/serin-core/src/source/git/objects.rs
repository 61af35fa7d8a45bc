//! A commit's files, read as git's objects: no working copy, so no attribute, filter or link has a say.

use std::io::{BufRead, Read};

use super::GitError;
use super::call::{Call, CallError};
use super::location::CommitId;
use crate::artifacts::{ArtifactError, Artifacts};
use crate::source::tree::{
    NamedFile, PassedOver, PassedOverReason, Snapshot, Tree, TreeError, TreeFile, TreeLimits,
};

/// What a pointer of Git LFS begins with, and the most bytes it has.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/v1\n";
const POINTER_LONGEST_BYTES: u64 = 1_024;

/// Bytes of a listed file besides its path: mode, kind, name, size and marks.
const ENTRY_BYTES: u64 = 128;

/// The files to read.
pub(super) struct Planned {
    files: Vec<PlannedFile>,
    passed_over: Vec<PassedOver>,
}

struct PlannedFile {
    object: CommitId,
    path: String,
    bytes: u64,
    is_executable: bool,
}

/// Most bytes that the listing of a tree within the limits takes.
pub(super) fn listing_limit_bytes(limits: &TreeLimits) -> u64 {
    // Twice as many entries, as some are passed over.
    (limits.files as u64).saturating_mul(2).saturating_mul(ENTRY_BYTES + 1_024)
}

/// What `ls-tree -r -z -l` printed, checked against the limits before anything is read.
pub(super) fn plan(listing: &[u8], limits: &TreeLimits) -> Result<Planned, GitError> {
    let mut planned = Planned { files: Vec::new(), passed_over: Vec::new() };
    let mut total_bytes = 0_u64;
    let not_understood = || GitError::Answer { operation: "ls-tree" };
    for entry in listing.split(|&byte| byte == 0).filter(|entry| !entry.is_empty()) {
        let Ok(entry) = std::str::from_utf8(entry) else {
            let path = String::from_utf8_lossy(entry).chars().take(200).collect();
            return Err(TreeError::Name { path, problem: "it is not UTF-8" }.into());
        };
        let (facts, path) = entry.split_once('\t').ok_or_else(not_understood)?;
        let facts: Vec<&str> = facts.split_ascii_whitespace().collect();
        let &[mode, _, object, bytes] = &facts[..] else { return Err(not_understood()) };
        let path = NamedFile::new(path)?.as_str().to_owned();
        let reason = match mode {
            "100644" | "100755" | "100664" => None,
            "120000" => Some(PassedOverReason::Link),
            "160000" => Some(PassedOverReason::Submodule),
            _ => Some(PassedOverReason::Special),
        };
        if let Some(reason) = reason {
            planned.passed_over.push(PassedOver { path, reason });
            continue;
        }
        let object = CommitId::new(object).map_err(|_| not_understood())?;
        let bytes = bytes.parse().map_err(|_| not_understood())?;
        total_bytes = total_bytes.saturating_add(bytes);
        if planned.files.len() == limits.files {
            return Err(TreeError::TooMany { limit: limits.files }.into());
        }
        if total_bytes > limits.bytes {
            return Err(TreeError::TooLarge { limit_bytes: limits.bytes }.into());
        }
        planned.files.push(PlannedFile { object, path, bytes, is_executable: mode == "100755" });
    }
    Ok(planned)
}

/// Reads the planned files by `cat-file --batch` and stores them.
pub(super) fn store(call: Call<'_>, planned: Planned, artifacts: &Artifacts) -> Result<Snapshot, GitError> {
    let operation = call.operation();
    let Planned { files, mut passed_over } = planned;
    let wanted: String = files.iter().map(|file| format!("{}\n", file.object)).collect();
    let stored = call.run(wanted.as_bytes(), |output| {
        let mut stored = Vec::with_capacity(files.len());
        for file in files {
            let header = format!("{} blob {}\n", file.object, file.bytes);
            expect(output, header.as_bytes(), operation)?;
            let failed = |error: std::io::Error| CallError::Failed { operation, detail: error.to_string() };
            // A pointer is short, so what is short is looked at before it is stored.
            let mut beginning = Vec::new();
            let beginning_bytes = file.bytes.min(POINTER_LONGEST_BYTES);
            output.take(beginning_bytes).read_to_end(&mut beginning).map_err(failed)?;
            let content = beginning.as_slice().chain(output.take(file.bytes - beginning_bytes));
            let (digest, bytes) =
                artifacts.put_reader(content, file.bytes).map_err(|source| match source {
                    ArtifactError::Source(error) => failed(error).into(),
                    source => GitError::Tree(TreeError::Artifact { path: file.path.clone(), source }),
                })?;
            expect(output, b"\n", operation)?;
            if bytes != file.bytes {
                return Err(GitError::Answer { operation });
            }
            if file.bytes <= POINTER_LONGEST_BYTES && beginning.starts_with(POINTER) {
                let reason = PassedOverReason::LargeFilePointer;
                passed_over.push(PassedOver { path: file.path.clone(), reason });
            }
            stored.push(TreeFile { path: file.path, digest, bytes, is_executable: file.is_executable });
        }
        Ok(stored)
    })?;
    Ok(Snapshot { tree: Tree::new(stored)?, passed_over })
}

/// Reads exactly `expected`.
fn expect(output: &mut dyn BufRead, expected: &[u8], operation: &'static str) -> Result<(), GitError> {
    let mut found = vec![0; expected.len()];
    match output.read_exact(&mut found) {
        Ok(()) if found == expected => Ok(()),
        _ => Err(GitError::Answer { operation }),
    }
}
