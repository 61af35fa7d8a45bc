//! Names that are given to `git`: none of them can be taken for an option, a command or another protocol.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest location taken.
const LOCATION_LONGEST_BYTES: usize = 2_048;

/// Longest branch name taken; file systems hold no longer ones.
const BRANCH_LONGEST_BYTES: usize = 240;

/// Where a repository is: an `https`, `ssh` or `file` URL, `user@host:path`, or an absolute path; `http` on this machine
/// alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(String);

/// The name of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch(String);

/// The full name of a commit: 40 or 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(String);

/// Why a name is not given to `git`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidName {
    #[error("a repository is an https, ssh or file URL, user@host:path, or an absolute path: {problem}")]
    Location { problem: &'static str },
    #[error("{branch:?} is not the name of a branch: {problem}")]
    Branch { branch: String, problem: &'static str },
    #[error("a commit is named by all of its 40 or 64 lower-case hexadecimal digits")]
    Commit,
}

impl Location {
    /// Checks a location.
    ///
    /// # Errors
    /// When it is of no kind that is taken, or holds a password. The text is not repeated, as it may hold one.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        match location_problem(text) {
            Some(problem) => Err(InvalidName::Location { problem }),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The location as text. It holds no secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The location as a URL to which a token may be sent: over TLS, or to this machine.
    pub(super) fn as_https(&self) -> Option<&str> {
        (self.0.starts_with("https://") || self.is_plain_http()).then_some(self.0.as_str())
    }

    pub(super) fn is_plain_http(&self) -> bool {
        self.0.starts_with("http://")
    }
}

impl Branch {
    /// Checks a branch name by git's own rules, which forbid what could be an option or a pattern.
    ///
    /// # Errors
    /// When git would not take it as a branch.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        match branch_problem(name) {
            Some(problem) => Err(InvalidName::Branch { branch: name.chars().take(100).collect(), problem }),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The name, such as `main`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name, such as `refs/heads/main`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

impl CommitId {
    /// Checks a commit's name.
    ///
    /// # Errors
    /// When it is not all of its digits.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let is_digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match is_digits && matches!(text.len(), 40 | 64) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidName::Commit),
        }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for CommitId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for CommitId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn location_problem(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.len() > LOCATION_LONGEST_BYTES {
        return Some("this one is empty or too long");
    }
    if text.starts_with('-') {
        return Some("this one begins with a dash");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some("this one holds spaces or control characters");
    }
    if text.starts_with('/') {
        return None;
    }
    let Some((scheme, rest)) = text.split_once("://") else { return short_form_problem(text) };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let has_password = user.is_some_and(|user| user.contains(':'));
    match scheme {
        "file" if authority.is_empty() && !path.is_empty() => None,
        "file" => Some("a file URL is written file:///path"),
        "https" | "http" if user.is_some() => Some("a user or password belongs into a token file"),
        "ssh" if has_password => Some("a password does not belong into an address"),
        "ssh" if user.is_some_and(is_no_name) => Some("that user is none"),
        "https" | "ssh" | "http" if is_no_name(host) => Some("it names no host"),
        "http" if !is_this_machine(host) => Some("http is taken on this machine alone"),
        "https" | "ssh" | "http" => None,
        _ => Some("this one is of another kind"),
    }
}

/// `user@host:path`, which means ssh.
fn short_form_problem(text: &str) -> Option<&'static str> {
    let parts = text.split_once(':').and_then(|(host, path)| Some((host.split_once('@')?, path)));
    match parts {
        Some(((user, host), path)) if !path.starts_with([':', '-']) && !path.is_empty() => {
            (is_no_name(user) || is_no_name(host)).then_some("it names no user and host")
        }
        _ => Some("this one is none of these"),
    }
}

/// Whether a user or host could be taken for something else by the programs that get it.
fn is_no_name(text: &str) -> bool {
    let taken = |c: char| c.is_ascii_alphanumeric() || "-._:[]%".contains(c);
    text.is_empty() || text.starts_with('-') || !text.chars().all(taken)
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The rules of `git check-ref-format`.
fn branch_problem(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > BRANCH_LONGEST_BYTES {
        return Some("empty or too long");
    }
    if name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c)) {
        return Some("spaces, control characters and ~^:?*[\\ are not taken");
    }
    if name.starts_with('-') || name == "@" || name.ends_with('.') {
        return Some("it begins with a dash, ends with a dot, or is @");
    }
    if name.contains("..") || name.contains("@{") {
        return Some("it holds .. or @{");
    }
    let is_bad = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    name.split('/').any(is_bad).then_some("a part is empty, begins with a dot, or ends with .lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_locations_are_taken() {
        for good in [
            "https://example.org/team/model.git",
            "https://example.org:8443/model",
            "ssh://git@example.org:22/team/model.git",
            "git@example.org:team/model.git",
            "file:///srv/git/model.git",
            "/srv/git/model: the second",
            "http://127.0.0.1:3000/model.git",
            "http://[::1]:3000/model.git",
            "http://localhost/model.git",
        ]
        .map(|text| text.replace(' ', "_"))
        {
            assert_eq!(Location::new(&good).as_ref().map(Location::as_str), Ok(good.as_str()));
        }
        for bad in [
            "",
            "model",
            "../model",
            "--upload-pack=touch /tmp/x",
            "-oProxyCommand=x",
            "ext::sh -c touch% /tmp/x",
            "ext::sh",
            "fd::17",
            "git@example.org::x",
            "git@-oProxyCommand=x:y",
            "-o@example.org:y",
            "ssh://-oProxyCommand=x/y",
            "ssh://git@-oProxyCommand=x/y",
            "ssh://-l@example.org/y",
            "ssh://git:secret@example.org/y",
            "https://secret@example.org/y",
            "https://user:secret@example.org/y",
            "https:///y",
            "http://example.org/model.git",
            "http://127.0.0.1.example.org/model.git",
            "http://localhost@example.org/model.git",
            "git://example.org/model.git",
            "ftp://example.org/model.git",
            "file://host/path",
            "/srv/git\nmodel",
            "/srv/git\0model",
            "https://example.org/a b",
            &format!("/{}", "x".repeat(3_000)),
        ] {
            let refused = Location::new(bad);
            assert!(refused.is_err(), "{bad}");
            assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn only_names_of_branches_are_taken() {
        for good in ["main", "feature/x-1", "release-1.0", "größe", "a@b"] {
            assert_eq!(Branch::new(good).map(|branch| branch.reference()), Ok(format!("refs/heads/{good}")));
        }
        for bad in [
            "", "-x", "--all", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "[a", "a\\b", "a@{1}", "@",
            "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.lock/b", "a.", "a\nb", "a\u{7f}",
        ] {
            assert!(Branch::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_commit_is_named_in_full() {
        let full = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(CommitId::new(full).map(|commit| commit.to_string()), Ok(full.into()));
        for bad in ["", "HEAD", "0123456", &full.to_uppercase(), &format!("{full}0"), &full.replace('0', "g")]
        {
            assert_eq!(CommitId::new(bad), Err(InvalidName::Commit), "{bad}");
        }
    }
}
