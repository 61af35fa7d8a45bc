//! One call of `git`, bounded in time, in what it prints, and in what it may add to a folder.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::Git;

/// How often a running call is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What is kept of the program's complaints.
const COMPLAINT_LIMIT_BYTES: u64 = 16 << 10;

/// What is shown of them.
const COMPLAINT_SHOWN_CHARACTERS: usize = 300;

/// A call to be made.
pub(super) struct Call<'a> {
    git: &'a Git,
    operation: &'static str,
    mirror: &'a Path,
    arguments: Vec<String>,
    settings: Vec<(String, String)>,
    hidden: &'a [String],
    time_limit: Duration,
    output_limit_bytes: u64,
    growth: Option<Growth>,
}

/// How large a folder may become while a call runs.
pub(super) struct Growth {
    pub folder: PathBuf,
    pub limit_bytes: u64,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(super) enum CallError {
    NotStarted(io::Error),
    Failed { operation: &'static str, detail: String },
    TimedOut { operation: &'static str, limit: Duration },
    TooMuch { operation: &'static str },
    Grown { limit_bytes: u64 },
}

/// Why the watch ended a call.
#[derive(Clone, Copy)]
enum Stopped {
    Late,
    Grown { limit_bytes: u64 },
}

/// Whether a call has ended by itself.
#[derive(Default)]
struct Ended {
    is_ended: Mutex<bool>,
    told: Condvar,
}

impl<'a> Call<'a> {
    pub fn new(git: &'a Git, operation: &'static str, mirror: &'a Path, arguments: &[&str]) -> Self {
        Self {
            git,
            operation,
            mirror,
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            settings: Vec::new(),
            hidden: &[],
            time_limit: Duration::ZERO,
            output_limit_bytes: 0,
            growth: None,
        }
    }

    pub fn time_limit(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    pub fn output_limit(self, output_limit_bytes: u64) -> Self {
        Self { output_limit_bytes, ..self }
    }

    pub fn growth_limit(self, growth: Growth) -> Self {
        Self { growth: Some(growth), ..self }
    }

    pub fn setting(mut self, key: String, value: String) -> Self {
        self.settings.push((key, value));
        self
    }

    /// Texts that must not be in an error.
    pub fn hiding(self, hidden: &'a [String]) -> Self {
        Self { hidden, ..self }
    }

    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// Makes the call and takes all that it prints.
    pub fn output(self) -> Result<Vec<u8>, CallError> {
        let (operation, limit_bytes) = (self.operation, self.output_limit_bytes);
        self.run(&[], |output| {
            let mut bytes = Vec::new();
            let taken = output.take(limit_bytes + 1).read_to_end(&mut bytes);
            match taken {
                Ok(_) if bytes.len() as u64 <= limit_bytes => Ok(bytes),
                Ok(_) => Err(CallError::TooMuch { operation }),
                Err(error) => Err(CallError::Failed { operation, detail: error.to_string() }),
            }
        })
    }

    /// Makes the call, gives it `input`, and lets `consume` read what it prints. The program is ended when that fails.
    pub fn run<T, E: From<CallError>>(
        self,
        input: &[u8],
        consume: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut child = self.start().map_err(CallError::NotStarted)?;
        // All three were asked to be piped.
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let ended = Ended::default();
        let group = Pid::from_child(&child);
        let (consumed, stopped, complaint) = thread::scope(|scope| {
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            let complaint = scope.spawn(move || stderr.map(complaint).unwrap_or_default());
            let watch = scope.spawn(|| self.watch(group, &ended));
            let consumed = consumed_by(consume, stdout);
            if consumed.is_err() {
                let _ = kill_process_group(group, Signal::KILL);
            }
            // Until it is waited for below, its number is nobody else's, so the watch can still end it.
            let _ = waitid(WaitId::Pid(group), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            ended.tell();
            (consumed, watch.join().unwrap_or_default(), complaint.join().unwrap_or_default())
        });
        let status = child.wait().map_err(CallError::NotStarted)?;
        match stopped {
            Some(Stopped::Late) => {
                Err(CallError::TimedOut { operation: self.operation, limit: self.time_limit }.into())
            }
            Some(Stopped::Grown { limit_bytes }) => Err(CallError::Grown { limit_bytes }.into()),
            // Who could not read on because the program had failed gives its words, not their own.
            None if status.code().is_none_or(|code| code == 0) => consumed,
            None => {
                let detail = self.shown(&complaint);
                Err(CallError::Failed { operation: self.operation, detail }.into())
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        let mut command = self.git.command(&self.settings);
        command.arg("--git-dir").arg(self.mirror).arg("--no-pager").arg(self.operation).args(&self.arguments);
        // A folder of our own: no configuration of the user's there, nor of a repository around us.
        command.env("HOME", self.mirror).env("XDG_CONFIG_HOME", self.mirror).current_dir(self.mirror);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Its helpers (ssh, transports) are of its group, so that none outlives it.
        command.process_group(0).spawn()
    }

    /// Ends the call when it passes a limit.
    fn watch(&self, group: Pid, ended: &Ended) -> Option<Stopped> {
        let mut left = self.time_limit;
        let stopped = loop {
            if ended.wait(LOOK_INTERVAL.min(left)) {
                return None;
            }
            left = left.saturating_sub(LOOK_INTERVAL);
            if left.is_zero() {
                break Stopped::Late;
            }
            if let Some(Growth { folder, limit_bytes }) = &self.growth
                && folder_bytes(folder) > *limit_bytes
            {
                break Stopped::Grown { limit_bytes: *limit_bytes };
            }
        };
        let _ = kill_process_group(group, Signal::KILL);
        Some(stopped)
    }

    /// The program's last words, without anything secret.
    fn shown(&self, complaint: &str) -> String {
        let mut text = complaint.to_owned();
        for secret in self.hidden.iter().filter(|secret| !secret.is_empty()) {
            text = text.replace(secret, "***");
        }
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines.iter().skip(lines.len().saturating_sub(3)).copied().collect::<Vec<_>>().join("; ");
        let plain = last.chars().map(|c| if c.is_control() { ' ' } else { c });
        match plain.take(COMPLAINT_SHOWN_CHARACTERS).collect::<String>() {
            nothing if nothing.is_empty() => "it said nothing".into(),
            text => text,
        }
    }
}

impl Ended {
    fn tell(&self) {
        *self.is_ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Waits for the end, at most so long; says whether it came.
    fn wait(&self, limit: Duration) -> bool {
        let is_ended = self.is_ended.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(is_ended, limit, |is_ended| !*is_ended);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Lets `consume` read, and drops the pipe after it, so that a program that goes on printing is not waited for.
fn consumed_by<T, E>(
    consume: impl FnOnce(&mut dyn BufRead) -> Result<T, E>,
    stdout: Option<ChildStdout>,
) -> Result<T, E> {
    match stdout {
        Some(stdout) => consume(&mut BufReader::with_capacity(64 << 10, stdout)),
        None => consume(&mut io::empty()),
    }
}

/// The first of what was complained; the rest is read and dropped.
fn complaint(mut stderr: impl Read) -> String {
    let mut kept = Vec::new();
    let _ = (&mut stderr).take(COMPLAINT_LIMIT_BYTES).read_to_end(&mut kept);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&kept).into_owned()
}

/// Bytes of the files in a folder and those below it. What cannot be read counts as nothing: files come and go.
pub(super) fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that says it is git and then does what the script says.
    fn acting(folder: &Path, script: &str) -> Git {
        let program = folder.join("git");
        let text = format!("#!/bin/sh\n[ \"$1\" = version ] && echo git version 2.47.0 && exit\n{script}\n");
        fs::write(&program, text).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // A program that another thread's child still has open for writing cannot be started: `ETXTBSY`.
        (0..100)
            .find_map(|_| {
                Git::at(&program).ok().or_else(|| {
                    thread::sleep(Duration::from_millis(10));
                    None
                })
            })
            .unwrap()
    }

    fn call<'a>(git: &'a Git, folder: &'a Path) -> Call<'a> {
        Call::new(git, "fetch", folder, &[]).time_limit(Duration::from_secs(20)).output_limit(1_000)
    }

    #[test]
    fn a_call_is_stopped_at_its_limits_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        // A helper that holds the pipes open, as ssh does.
        let git = acting(folder.path(), "sleep 600 & echo $! > helper; wait");
        let late = call(&git, folder.path()).time_limit(Duration::from_millis(300)).output();
        assert!(matches!(late, Err(CallError::TimedOut { operation: "fetch", .. })), "{late:?}");
        let helper = fs::read_to_string(folder.path().join("helper")).unwrap();
        let state = || fs::read_to_string(format!("/proc/{}/stat", helper.trim())).unwrap_or_default();
        let is_gone = || !state().contains("(sleep) S");
        assert!(
            (0..100).any(|_| {
                thread::sleep(Duration::from_millis(20));
                is_gone()
            }),
            "{}",
            state()
        );

        let git = acting(folder.path(), "exec yes");
        let endless = call(&git, folder.path()).output();
        assert!(matches!(endless, Err(CallError::TooMuch { .. })), "{endless:?}");

        let git = acting(folder.path(), "mkdir -p objects; exec yes > objects/pack");
        let growth = Growth { folder: folder.path().join("objects"), limit_bytes: 1 << 20 };
        let grown = call(&git, folder.path()).growth_limit(growth).output();
        assert!(matches!(grown, Err(CallError::Grown { limit_bytes: 1_048_576 })), "{grown:?}");
    }

    #[test]
    fn a_failure_is_told_in_few_words_without_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let script = "echo one >&2; printf 'two hush\\a\\nthree\\n\\nfour\\n' >&2; exit 128";
        let git = acting(folder.path(), script);
        let hidden = ["hush".to_owned(), String::new()];
        let failed = call(&git, folder.path()).hiding(&hidden).output();
        let Err(CallError::Failed { detail, .. }) = failed else { panic!("{failed:?}") };
        assert_eq!(detail, "two *** ; three; four");
        let git = acting(folder.path(), "yes complaint | head -c 100000000 >&2; exit 1");
        let failed = call(&git, folder.path()).output();
        let Err(CallError::Failed { detail, .. }) = failed else { panic!("{failed:?}") };
        assert!(detail.len() <= COMPLAINT_SHOWN_CHARACTERS, "{detail}");
    }
}
