//! The `git` program of this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::GitError;

/// Variables of our own environment that `git` and `ssh` get: where programs and the user's keys are, and how this
/// network is left. Everything else, every `GIT_` variable above all, stays here.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// What every call sets. `GIT_CONFIG_GLOBAL` needs git 2.32.
const ENVIRONMENT: [(&str, &str); 11] = [
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_ASKPASS", "false"),
    ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("LC_ALL", "C"),
];

/// What every call is configured with, before what it adds itself.
const SETTINGS: [(&str, &str); 13] = [
    ("protocol.allow", "never"),
    ("protocol.https.allow", "always"),
    ("protocol.ssh.allow", "always"),
    ("protocol.file.allow", "always"),
    ("http.followRedirects", "false"),
    ("credential.helper", ""),
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("log.mailmap", "false"),
    ("i18n.logOutputEncoding", "UTF-8"),
];

/// The `git` program, known to be new enough.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    environment: Vec<(OsString, OsString)>,
}

impl Git {
    /// Oldest version that can be told to look at no configuration but ours.
    pub const OLDEST: &str = "2.32";

    /// Finds `git` where programs are found, and asks for its version.
    ///
    /// # Errors
    /// When it is not there or too old.
    pub fn find() -> Result<Self, GitError> {
        Self::at(Path::new("git"))
    }

    /// The program at a path.
    ///
    /// # Errors
    /// When it cannot be started or is too old.
    pub fn at(program: &Path) -> Result<Self, GitError> {
        let passed =
            PASSED_ON.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        let fixed = ENVIRONMENT.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let git = Self { program: program.to_owned(), environment: passed.chain(fixed).collect() };
        let answer = git.command(&[]).arg("version").output();
        let answer = answer.map_err(|source| GitError::NotInstalled { source })?;
        let answer = String::from_utf8_lossy(&answer.stdout);
        match version(&answer) {
            Some(found) if found >= (2, 32) => Ok(git),
            _ => Err(GitError::TooOld { found: super::shown(&answer) }),
        }
    }

    /// The program with its clean environment and its settings, `further` ones last.
    pub(super) fn command(&self, further: &[(String, String)]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        // In the environment a setting is in no list of processes.
        let fixed = SETTINGS.iter().map(|&(key, value)| (key, value));
        let all = fixed.chain(further.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let mut count = 0;
        for (number, (key, value)) in all.enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{number}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
            count = number + 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command
    }
}

/// Major and minor of `git version 2.47.3 (or anything)`.
fn version(answer: &str) -> Option<(u32, u32)> {
    let mut parts = answer.trim().strip_prefix("git version ")?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_from_the_answer() {
        assert_eq!(version("git version 2.47.3\n"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 2.9.0.windows.1"), Some((2, 9)));
        assert_eq!(version("gitlet 3"), None);
    }

    #[test]
    fn a_missing_or_old_program_is_named() {
        let missing = Git::at(Path::new("/nowhere/git"));
        assert!(matches!(missing, Err(GitError::NotInstalled { .. })), "{missing:?}");
        let old = Git::at(Path::new("echo"));
        assert!(matches!(&old, Err(GitError::TooOld { found }) if found == "version"), "{old:?}");
    }

    #[test]
    fn git_itself_knows_which_protocols_are_taken() {
        // What a check of locations let through by mistake would still be refused.
        let git = Git::find().unwrap();
        for location in ["ext::sh -c true", "git://127.0.0.1/x", "http://127.0.0.1:1/x"] {
            let output = git.command(&[]).args(["ls-remote", "--", location]).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(complaint.contains("not allowed"), "{location}: {complaint}");
        }
    }
}
