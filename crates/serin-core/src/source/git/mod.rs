//! Commits of a git repository, read through the `git` program.
//!
//! Nothing that a repository says is executed, and nothing of this machine's settings is used: the program runs with a
//! clean environment, without hooks, filters, submodules or other people's configuration, and files are read as git's
//! objects, never checked out. Every call is bounded in time and in what it may print.

mod call;
mod location;
mod objects;
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use thiserror::Error;

pub use self::location::{Branch, CommitId, InvalidName, Location};
pub use self::program::Git;

use self::call::{Call, CallError, Growth};
use super::tree::{Snapshot, TreeError, TreeLimits};
use crate::artifacts::Artifacts;
use crate::clock::Timestamp;
use crate::config::closest;

/// How long asking for a branch's commit may take.
pub const HEAD_LIMIT: Duration = Duration::from_secs(30);

/// How long fetching a commit may take.
pub const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// How long anything that needs only the mirror may take.
const LOCAL_LIMIT: Duration = Duration::from_secs(120);

/// Most bytes that the mirror of one repository may take. It is a cache: at half of this it is begun anew.
pub const MIRROR_LIMIT_BYTES: u64 = 4 << 30;

/// Most bytes taken from an answer that is text.
const ANSWER_LIMIT_BYTES: u64 = 1 << 20;

/// The file that says that a mirror was made to its end.
const PREPARED: &str = "serin-prepared";

/// Longest part shown of what a commit says about itself.
const SHOWN_CHARACTERS: usize = 200;

/// A branch of a repository, and what was fetched of it.
#[derive(Debug)]
pub struct GitRepository {
    git: Git,
    location: Location,
    branch: Branch,
    token: Option<GitToken>,
    mirror: PathBuf,
}

/// What lets us read a private repository over HTTPS. It is given to `git` in its environment, for this repository's
/// address alone, and is in no argument, message or `Debug` text.
pub struct GitToken {
    header: String,
    secrets: [String; 2],
}

/// What a commit says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitInfo {
    pub commit: CommitId,
    /// Name of the author, cut; anybody can claim any.
    pub author: String,
    /// When it was written, by the author's clock.
    pub time: Timestamp,
    /// First line of its message, cut.
    pub subject: String,
}

/// Why a repository did not give what was asked for.
#[derive(Debug, Error)]
pub enum GitError {
    #[error("the program git cannot be started; install git {} or later", Git::OLDEST)]
    NotInstalled { source: std::io::Error },
    #[error("git is too old: {found}; install git {} or later", Git::OLDEST)]
    TooOld { found: String },
    #[error("the repository is empty: it has no branch yet")]
    Empty,
    #[error("the repository has no branch {branch:?}{}", meant.as_ref().map(|name| format!("; did you mean {name:?}?")).unwrap_or_default())]
    BranchMissing { branch: String, meant: Option<String> },
    /// It was there and is no more, such as after a forced push.
    #[error("the repository has no commit {commit}; was the branch rewritten?")]
    CommitMissing { commit: CommitId },
    #[error("the commit {commit} has not been fetched")]
    NotFetched { commit: CommitId },
    #[error("git {operation} failed: {detail}")]
    Failed { operation: &'static str, detail: String },
    #[error("git {operation} was stopped after {} s", limit.as_secs())]
    TimedOut { operation: &'static str, limit: Duration },
    #[error("git {operation} said more than is taken")]
    TooMuch { operation: &'static str },
    #[error("git {operation} answered something that is not understood")]
    Answer { operation: &'static str },
    #[error("more than {limit_bytes} bytes would have to be fetched, which is the limit")]
    TooLarge { limit_bytes: u64 },
    #[error("the copy of the repository cannot be kept in {}", path.display())]
    Mirror { path: PathBuf, source: std::io::Error },
    #[error("the commit's files cannot be taken")]
    Tree(#[from] TreeError),
}

impl GitError {
    /// Whether the same call may succeed later with nothing changed here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::TimedOut { .. } | Self::Empty | Self::BranchMissing { .. })
    }
}

impl GitToken {
    /// A token as GitHub and GitLab hand out; both take any user name with it.
    #[must_use]
    pub fn new(token: &str) -> Self {
        let encoded = BASE64.encode(format!("x-access-token:{token}"));
        Self { header: format!("Authorization: Basic {encoded}"), secrets: [token.to_owned(), encoded] }
    }
}

impl std::fmt::Debug for GitToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GitToken")
    }
}

impl GitRepository {
    /// A branch at a location. What is fetched is kept in the folder `mirror`, which is made when needed.
    #[must_use]
    pub fn new(
        git: Git,
        location: Location,
        branch: Branch,
        token: Option<GitToken>,
        mirror: PathBuf,
    ) -> Self {
        Self { git, location, branch, token, mirror }
    }

    /// The commit that the branch points to now, asked from the repository.
    ///
    /// # Errors
    /// When it cannot be reached, is empty, or has no such branch.
    pub fn head(&self) -> Result<CommitId, GitError> {
        self.prepare()?;
        let wanted = self.branch.reference();
        let listed = self.listed(&[&wanted])?;
        if let Some((commit, _)) = listed.into_iter().find(|(_, name)| *name == wanted) {
            return Ok(commit);
        }
        let heads = self.listed(&["refs/heads/*"])?;
        if heads.is_empty() {
            return Err(GitError::Empty);
        }
        let names = heads.iter().filter_map(|(_, name)| name.strip_prefix("refs/heads/"));
        let meant = closest(self.branch.as_str(), names).map(str::to_owned);
        Err(GitError::BranchMissing { branch: self.branch.as_str().to_owned(), meant })
    }

    /// Fetches a commit, unless it was fetched before.
    ///
    /// # Errors
    /// When the repository cannot be reached or does not have the commit, or a limit is passed.
    pub fn fetch(&self, commit: &CommitId) -> Result<(), GitError> {
        self.prepare()?;
        if self.is_fetched(commit) {
            return Ok(());
        }
        self.make_room()?;
        let shallow = ["--depth=1", "--", self.location.as_str(), &format!("+{commit}:refs/serin/fetched")];
        let fetched = self.fetch_with(&shallow);
        if fetched.is_ok() && self.is_fetched(commit) {
            return Ok(());
        }
        if let Err(error @ (GitError::TimedOut { .. } | GitError::TooLarge { .. })) = fetched {
            return Err(error);
        }
        // Some servers give no commit by its name, or no history that is cut off: then the whole branch.
        let whole =
            ["--", self.location.as_str(), &format!("+{}:refs/serin/fetched", self.branch.reference())];
        self.fetch_with(&whole)?;
        match self.is_fetched(commit) {
            true => Ok(()),
            false => Err(GitError::CommitMissing { commit: commit.clone() }),
        }
    }

    /// The files of a commit that was fetched, as the commit has them. Links and submodules are left out and reported.
    ///
    /// # Errors
    /// When it was not fetched, a limit is passed, a name cannot be held, or a file cannot be stored.
    pub fn tree(
        &self,
        commit: &CommitId,
        artifacts: &Artifacts,
        limits: &TreeLimits,
    ) -> Result<Snapshot, GitError> {
        self.check_fetched(commit)?;
        let listing = self.local("ls-tree", &["-r", "-z", "-l", "--full-tree", commit.as_str()]);
        let listing = listing.output_limit(objects::listing_limit_bytes(limits)).output()?;
        let planned = objects::plan(&listing, limits)?;
        objects::store(self.local("cat-file", &["--batch"]), planned, artifacts)
    }

    /// What a commit that was fetched says about itself.
    ///
    /// # Errors
    /// When it was not fetched or cannot be read.
    pub fn info(&self, commit: &CommitId) -> Result<CommitInfo, GitError> {
        self.check_fetched(commit)?;
        let format = "--format=%an%x00%at%x00%s";
        let arguments = ["-1", "--no-show-signature", "--no-notes", format, commit.as_str(), "--"];
        let text = self.local("log", &arguments).output()?;
        let text = String::from_utf8_lossy(&text);
        let mut parts = text.trim_end_matches('\n').split('\0');
        let (Some(author), Some(seconds), Some(subject)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(GitError::Answer { operation: "log" });
        };
        // An impossible time is the author's affair: it is shown as the beginning of time.
        let seconds = seconds.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000));
        Ok(CommitInfo {
            commit: commit.clone(),
            author: shown(author),
            time: Timestamp(seconds.unwrap_or_default()),
            subject: shown(subject),
        })
    }

    /// References whose names match, with their commits.
    fn listed(&self, patterns: &[&str]) -> Result<Vec<(CommitId, String)>, GitError> {
        let mut arguments = vec!["--", self.location.as_str()];
        arguments.extend(patterns);
        let answer = self.remote("ls-remote", &arguments).time_limit(HEAD_LIMIT).output()?;
        let answer = String::from_utf8(answer).map_err(|_| GitError::Answer { operation: "ls-remote" })?;
        let entry = |line: &str| {
            let (commit, name) = line.split_once('\t')?;
            Some((CommitId::new(commit).ok()?, name.to_owned()))
        };
        let listed: Option<Vec<_>> = answer.lines().map(entry).collect();
        listed.ok_or(GitError::Answer { operation: "ls-remote" })
    }

    fn fetch_with(&self, arguments: &[&str]) -> Result<(), GitError> {
        let fixed = ["--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--no-recurse-submodules"];
        let growth = Growth { folder: self.mirror.join("objects"), limit_bytes: MIRROR_LIMIT_BYTES };
        let call = self.remote("fetch", &[&fixed[..], arguments].concat());
        call.time_limit(FETCH_LIMIT).growth_limit(growth).output()?;
        Ok(())
    }

    fn is_fetched(&self, commit: &CommitId) -> bool {
        self.local("cat-file", &["-e", &format!("{commit}^{{tree}}")]).output().is_ok()
    }

    fn check_fetched(&self, commit: &CommitId) -> Result<(), GitError> {
        match self.is_prepared() && self.is_fetched(commit) {
            true => Ok(()),
            false => Err(GitError::NotFetched { commit: commit.clone() }),
        }
    }

    /// An empty repository of our own: its settings are the only ones that count, wherever we are called from.
    fn prepare(&self) -> Result<(), GitError> {
        if self.is_prepared() {
            return Ok(());
        }
        fs::create_dir_all(&self.mirror).map_err(|source| self.mirror_failure(source))?;
        // Doing it again completes what a death left half done.
        self.local("init", &["--quiet", "--bare", "--template="]).output()?;
        fs::write(self.mirror.join(PREPARED), []).map_err(|source| self.mirror_failure(source))
    }

    fn is_prepared(&self) -> bool {
        self.mirror.join(PREPARED).exists()
    }

    /// Begins the mirror anew when it has grown: old commits are not asked for again.
    fn make_room(&self) -> Result<(), GitError> {
        if call::folder_bytes(&self.mirror.join("objects")) < MIRROR_LIMIT_BYTES / 2 {
            return Ok(());
        }
        fs::remove_dir_all(&self.mirror).map_err(|source| self.mirror_failure(source))?;
        self.prepare()
    }

    fn mirror_failure(&self, source: std::io::Error) -> GitError {
        GitError::Mirror { path: self.mirror.clone(), source }
    }

    /// A call that needs the mirror alone.
    fn local(&self, operation: &'static str, arguments: &[&str]) -> Call<'_> {
        Call::new(&self.git, operation, &self.mirror, arguments)
            .time_limit(LOCAL_LIMIT)
            .output_limit(ANSWER_LIMIT_BYTES)
    }

    /// A call that goes to the repository: it alone has the token.
    fn remote(&self, operation: &'static str, arguments: &[&str]) -> Call<'_> {
        let mut call = self.local(operation, arguments);
        if let (Some(token), Some(url)) = (&self.token, self.location.as_https()) {
            call = call.setting(format!("http.{url}.extraHeader"), token.header.clone());
            call = call.hiding(&token.secrets);
        }
        if self.location.is_plain_http() {
            call = call.setting("protocol.http.allow".into(), "always".into());
        }
        call
    }
}

impl From<CallError> for GitError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotStarted(source) => Self::NotInstalled { source },
            CallError::Failed { operation, detail } => Self::Failed { operation, detail },
            CallError::TimedOut { operation, limit } => Self::TimedOut { operation, limit },
            CallError::TooMuch { operation } => Self::TooMuch { operation },
            CallError::Grown { limit_bytes } => Self::TooLarge { limit_bytes },
        }
    }
}

/// Text from outside in one short line.
fn shown(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SHOWN_CHARACTERS).collect::<String>().trim().to_owned()
}

/// Where the mirror of a project's repository is kept in a data directory; `project` is a checked name.
#[must_use]
pub fn mirror_folder(data_directory: &Path, project: &str) -> PathBuf {
    data_directory.join("sources").join(project)
}
