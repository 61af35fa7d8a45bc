//! What both contracts share: names, files given to a job, and its environment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::{CONTAINER_ROOT, ROOT_VARIABLE};
use crate::config::{Gpus, ImageSettings};
use crate::runtime::job::{JobContainer, JobMount};

/// Most variables that a job is given besides those of the contract, as of SageMaker.
const VARIABLES_LIMIT: usize = 100;
/// The one host that there is.
const HOST: &str = "algo-1";

/// Files that a job reads, under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Such as `train`: letters, digits, `.`, `-` and `_`, at most 64.
    pub name: String,
    /// Such as `text/csv`.
    pub content_type: Option<String>,
    pub files: Vec<ChannelFile>,
}

/// A file of a channel. The job gets a copy, so that what it does to it stays with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelFile {
    /// Its name in the channel's folder.
    pub name: String,
    pub source: PathBuf,
}

/// A job's folder: where it is, and where the job sees it.
#[derive(Debug)]
pub(super) struct Root<'a> {
    pub(super) at: &'a Path,
    pub(super) seen: PathBuf,
}

/// Why a job could not be laid out.
#[derive(Debug, Error)]
pub enum ContractError {
    #[error("{what} {name:?}: a name has 1 to {limit} letters, digits, dots, hyphens and underscores")]
    Name { what: &'static str, name: String, limit: usize },
    #[error("two {what}s are called {name:?}")]
    Twice { what: &'static str, name: String },
    #[error("there are {found} {what}s; the limit is {limit}")]
    TooMany { what: &'static str, found: usize, limit: usize },
    #[error("{what} {name:?} is longer than {limit} characters")]
    TooLong { what: &'static str, name: String, limit: usize },
    #[error("{}: the path is not UTF-8", path.display())]
    Path { path: PathBuf },
    #[error("{}: cannot be written", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{}: cannot be given to the job as {}", from.display(), path.display())]
    Uncopied { from: PathBuf, path: PathBuf, source: io::Error },
}

impl ContractError {
    /// Whether another attempt may go better: the disk's fault, not the settings'.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Unwritable { .. } | Self::Uncopied { .. })
    }
}

impl<'a> Root<'a> {
    /// A container sees the folder where the contract says.
    pub(super) fn new(at: &'a Path, image: Option<&ImageSettings>) -> Self {
        let seen = if image.is_some() { Path::new(CONTAINER_ROOT) } else { at };
        Self { at, seen: seen.to_owned() }
    }

    /// The container of a job: its folder, of which only `writable` may be written to.
    pub(super) fn container(
        &self,
        image: &ImageSettings,
        writable: &[&str],
        arguments: &[&str],
    ) -> Result<JobContainer, ContractError> {
        let mount = |below: &str, is_writable| {
            // An empty name would leave a slash at the end.
            let within = |root: &Path| if below.is_empty() { root.to_owned() } else { root.join(below) };
            Ok(JobMount { source: within(self.at), target: text(&within(&self.seen))?, is_writable })
        };
        let whole = std::iter::once(mount("", false));
        let mounts = whole.chain(writable.iter().map(|below| mount(below, true)));
        Ok(JobContainer {
            image: image.clone(),
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            mounts: mounts.collect::<Result<_, ContractError>>()?,
        })
    }
}

/// A name that is part of a path: one component, and nothing special.
pub(super) fn check_name(what: &'static str, name: &str, limit: usize) -> Result<(), ContractError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > limit || !name.chars().all(is_plain) || matches!(name, "." | "..") {
        let name = name.chars().take(limit).collect();
        return Err(ContractError::Name { what, name, limit });
    }
    Ok(())
}

/// Names that are all plain and of which no two are the same.
pub(super) fn check_names<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a str>,
    limit: usize,
) -> Result<(), ContractError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        check_name(what, name, limit)?;
        // Upper case makes the variables, so names that differ by case only are the same.
        if !seen.insert(name.to_ascii_uppercase()) {
            return Err(ContractError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}

/// Makes a folder and those above it.
pub(super) fn folder(path: &Path) -> Result<(), ContractError> {
    fs::create_dir_all(path).map_err(|source| ContractError::Unwritable { path: path.to_owned(), source })
}

/// Writes JSON for the job.
pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<(), ContractError> {
    fs::write(path, value.to_string())
        .map_err(|source| ContractError::Unwritable { path: path.to_owned(), source })
}

/// Copies the files of a channel into `into`, which is made.
pub(super) fn copy_in(channel: &Channel, into: &Path) -> Result<(), ContractError> {
    check_names("file", channel.files.iter().map(|file| file.name.as_str()), 255)?;
    folder(into)?;
    for file in &channel.files {
        let path = into.join(&file.name);
        fs::copy(&file.source, &path).map_err(|source| ContractError::Uncopied {
            from: file.source.clone(),
            path,
            source,
        })?;
    }
    Ok(())
}

/// A path as the text that a job is told.
pub(super) fn text(path: &Path) -> Result<String, ContractError> {
    path.to_str().map(str::to_owned).ok_or_else(|| ContractError::Path { path: path.to_owned() })
}

/// One host, this one, with the network of this machine or of the container.
pub(super) fn resources(image: Option<&ImageSettings>) -> serde_json::Value {
    let interface = if image.is_some_and(|image| image.network) { "eth0" } else { "lo" };
    json!({ "current_host": HOST, "hosts": [HOST], "network_interface_name": interface })
}

/// Processors that a job may use.
pub(super) fn processors(image: Option<&ImageSettings>) -> usize {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    // At most 1,024, and more than none.
    image.and_then(|image| image.cpus).map_or(all, |cpus| all.min(cpus.ceil() as usize))
}

/// Graphics processors that a job may use.
pub(super) fn graphics_processors(image: Option<&ImageSettings>) -> usize {
    match image.and_then(|image| image.gpus.as_ref()) {
        None => 0,
        Some(Gpus::Count(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
        Some(Gpus::Ids(ids)) => ids.len(),
        // One device file each.
        Some(Gpus::All) => {
            let is_device = |name: &str| {
                let number = name.strip_prefix("nvidia").unwrap_or_default();
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            };
            let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
            devices.filter(|entry| entry.file_name().to_str().is_some_and(is_device)).count()
        }
    }
}

/// The variables that both contracts give, and a home and a place for temporary files within the job's folder, which are
/// made. Those of the user come last and win.
pub(super) fn environment(
    root: &Root<'_>,
    own: Vec<(String, String)>,
    given: &[(String, String)],
) -> Result<Vec<(String, String)>, ContractError> {
    if given.len() > VARIABLES_LIMIT {
        let found = given.len();
        return Err(ContractError::TooMany { what: "environment variable", found, limit: VARIABLES_LIMIT });
    }
    folder(&root.at.join("home"))?;
    folder(&root.at.join("tmp"))?;
    let mut all = vec![
        (ROOT_VARIABLE.to_owned(), text(&root.seen)?),
        ("HOME".to_owned(), text(&root.seen.join("home"))?),
        ("TMPDIR".to_owned(), text(&root.seen.join("tmp"))?),
    ];
    all.extend(own);
    all.retain(|(name, _)| given.iter().all(|(other, _)| other != name));
    all.extend(given.iter().cloned());
    Ok(all)
}
