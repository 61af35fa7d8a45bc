//! `source`: the files that are built, frozen: those of a commit, or of the project's folder as it is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::documents::{Commit, SourceOutput};
use super::shape::WORK_VERSION;
use super::workshop::Workshop;
use crate::causes::in_one_line;
use crate::config::{Layers, Settings, SourceSettings};
use crate::domain::Cause;
use crate::engine::{Task, Work, WorkError};
use crate::secret;
use crate::source::git::{Branch, CommitId, Git, GitError, GitRepository, GitToken, Location};
use crate::source::{Snapshot, TreeError, TreeLimits, snapshot};
use crate::store::{Project, StepEnd};

#[derive(Debug)]
pub(super) struct Source(pub(super) Arc<Workshop>);

impl Work for Source {
    fn version(&self) -> u32 {
        WORK_VERSION
    }

    fn perform(&self, task: &Task<'_>) -> Result<StepEnd, WorkError> {
        let shop = &self.0;
        let project = project(task)?;
        let folder = Path::new(&project.folder);
        let settings = project_settings(folder)?;
        let source = &settings.pipeline.source;
        let (snapshot, commit) = match repository(source, folder, &shop.data_directory, &project.name)? {
            Some(repository) => {
                let commit = match &task.run.cause {
                    Cause::Commit { commit } => CommitId::new(commit)
                        .map_err(|error| WorkError::failed("configuration", error.to_string()))?,
                    _ => repository.head()?,
                };
                task.log.line(&format!("commit {} of {}", commit.as_str(), source.branch));
                repository.fetch(&commit)?;
                let snapshot = repository.tree(&commit, &shop.artifacts, &TreeLimits::default())?;
                let info = repository.info(&commit)?;
                let commit = Commit {
                    id: commit.as_str().to_owned(),
                    branch: source.branch.clone(),
                    author: info.author,
                    time: info.time.to_rfc3339(),
                    subject: info.subject,
                };
                (snapshot, Some(commit))
            }
            None => {
                let own = [shop.data_directory.as_path(), settings.serve.data_dir.as_path()];
                (snapshot(folder, &own, &shop.artifacts, &TreeLimits::default())?, None)
            }
        };
        let Snapshot { tree, passed_over } = snapshot;
        for passed in &passed_over {
            task.log.line(&format!("left out: {} ({:?})", passed.path, passed.reason));
        }
        let bytes = tree.files().iter().map(|file| file.bytes).sum();
        task.log.line(&format!("{} files, {bytes} bytes", tree.files().len()));
        let folder = if commit.is_some() { source.folder.clone() } else { String::new() };
        let output = SourceOutput {
            files: tree.files().len(),
            bytes,
            tree: tree.store(&shop.artifacts)?,
            commit,
            folder,
        };
        let output = shop.put(output)?;
        Ok(StepEnd::Succeeded { output, key: None, reused_from: None, further: Vec::new() })
    }
}

/// The project of a run.
pub(super) fn project(task: &Task<'_>) -> Result<Project, WorkError> {
    let projects = task.store.projects()?;
    let gone = || WorkError::failed("not_found", format!("project {} is not there", task.run.project));
    projects.into_iter().find(|project| project.name == task.run.project).ok_or_else(gone)
}

/// The settings in a project's folder: where its source is, and what asks for runs.
///
/// # Errors
/// When they are missing or wrong.
pub fn project_settings(folder: &Path) -> Result<Settings, WorkError> {
    let layers = Layers { file: Some(folder.join("serin.toml")), ..Layers::default() };
    Settings::load(&layers).map_err(|error| WorkError::failed("configuration", in_one_line(&error)))
}

/// The repository that a project is built from; `None`: its folder is built as it is.
///
/// # Errors
/// When the location, the branch or the token cannot be used, or there is no `git`.
pub fn repository(
    source: &SourceSettings,
    folder: &Path,
    data_directory: &Path,
    project: &str,
) -> Result<Option<GitRepository>, WorkError> {
    let Some(location) = &source.repository else { return Ok(None) };
    let wrong = |error: &dyn std::error::Error| WorkError::failed("configuration", in_one_line(error));
    // A path is meant from the project's folder.
    let is_path = !location.contains("://") && !location.contains(':');
    let location = if is_path {
        folder
            .join(location)
            .canonicalize()
            .map_or_else(|_| location.clone(), |path| path.display().to_string())
    } else {
        location.clone()
    };
    let location = Location::new(&location).map_err(|error| wrong(&error))?;
    let branch = Branch::new(&source.branch).map_err(|error| wrong(&error))?;
    let token = match &source.token_file {
        Some(file) => {
            let secret = secret::read_text(file).map_err(|error| wrong(&error))?;
            Some(GitToken::new(secret.text().unwrap_or_default()))
        }
        None => None,
    };
    let mirror: PathBuf = data_directory.join("sources").join(project);
    let git = Git::find().map_err(|error| WorkError::failed("git", in_one_line(&error)))?;
    Ok(Some(GitRepository::new(git, location, branch, token, mirror)))
}

impl From<GitError> for WorkError {
    fn from(error: GitError) -> Self {
        if error.is_passing() {
            Self::passing("git", in_one_line(&error))
        } else {
            Self::failed("git", in_one_line(&error))
        }
    }
}

impl From<TreeError> for WorkError {
    fn from(error: TreeError) -> Self {
        Self::failed("source", in_one_line(&error))
    }
}
