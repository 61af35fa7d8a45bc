//! The processes below a process, as `/proc` shows them.
//!
//! One look reads the whole of `/proc`: the list of children that the kernel can keep for each thread is not built into
//! every kernel. On systems without `/proc` there is nothing to see, and a job cannot be watched.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, kill_process};

/// The variable that says to which supervisor a process belongs: the supervisor's process id.
pub(super) const MARK: &str = "SERIN_SUPERVISOR";

/// Clock ticks of `/proc` in a second: the same on every machine that this runs on.
const TICKS_A_SECOND: u64 = 100;

/// A process as it was when it was looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub pid: Pid,
    parent: i32,
    session: i32,
    is_zombie: bool,
    /// Clock ticks after the machine's: with the id, what no other process has.
    started: u64,
}

/// All processes of the machine.
fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        // Whoever ended meanwhile is not there any more.
        found.extend(name.to_str().and_then(|name| name.parse().ok()).and_then(Process::look));
    }
    Ok(found)
}

/// The processes below `root`, without itself. Those that ended and that nobody asked about yet are among them.
pub(super) fn descendants(root: Pid) -> io::Result<Vec<Process>> {
    let mut children: BTreeMap<i32, Vec<Process>> = BTreeMap::new();
    for process in all()? {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = children.remove(&root.as_raw_pid()).unwrap_or_default();
    let mut looked_at = 0;
    // Every list is taken out once, so that a parent's id that was given anew in between cannot lead around in a circle.
    while let Some(process) = found.get(looked_at) {
        found.extend(children.remove(&process.pid.as_raw_pid()).unwrap_or_default());
        looked_at += 1;
    }
    Ok(found)
}

/// What is left of the job of a supervisor that is gone: its session, and whoever left that but bears its mark.
pub(super) fn orphans(supervisor: Pid) -> io::Result<Vec<Process>> {
    let mark = format!("{MARK}={}", supervisor.as_raw_pid()).into_bytes();
    let mut found = all()?;
    found.retain(|process| {
        let is_marked = || {
            let environment =
                fs::read(format!("/proc/{}/environ", process.pid.as_raw_pid())).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        };
        process.pid != supervisor
            && !process.is_zombie
            && (process.session == supervisor.as_raw_pid() || is_marked())
    });
    Ok(found)
}

/// Memory of `processes` together, bytes, if it may be more than `limit_bytes`: then exactly, else roughly. What several
/// share is in the resident set of each, and parts of it are in their proportional sets, which take long to find out.
pub(super) fn memory_bytes(processes: &[Process], limit_bytes: u64) -> u64 {
    let sum = |of: fn(&Process) -> u64| processes.iter().map(of).fold(0, u64::saturating_add);
    let resident = sum(Process::resident_bytes);
    if resident <= limit_bytes || processes.len() == 1 { resident } else { sum(Process::proportional_bytes) }
}

/// Processor time, milliseconds, of the children of this process that ended, and theirs.
pub(super) fn cpu_milliseconds_of_children() -> u64 {
    let ticks = |fields: &[&str]| {
        fields[13..15].iter().map(|field| field.parse::<u64>().unwrap_or(0)).fold(0, u64::saturating_add)
    };
    stat("self")
        .and_then(|stat| parsed(&stat, ticks))
        .map_or(0, |ticks| ticks.saturating_mul(1_000 / TICKS_A_SECOND))
}

/// Processor time of `processes` so far, milliseconds.
pub(super) fn cpu_milliseconds(processes: &[Process]) -> u64 {
    let ticks = |fields: &[&str]| {
        fields[11..13].iter().map(|field| field.parse::<u64>().unwrap_or(0)).fold(0, u64::saturating_add)
    };
    let of = |process: &Process| {
        let stat = stat(&process.pid.as_raw_pid().to_string());
        stat.and_then(|stat| parsed(&stat, ticks)).unwrap_or(0)
    };
    processes.iter().map(of).fold(0, u64::saturating_add).saturating_mul(1_000 / TICKS_A_SECOND)
}

fn stat(pid: &str) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/stat")).ok()
}

/// `read` on the fields behind the name of a process, which may hold anything, spaces and brackets included. Field n of
/// `proc(5)` is at n - 3.
fn parsed<T>(stat: &[u8], read: impl FnOnce(&[&str]) -> T) -> Option<T> {
    let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace().collect();
    (fields.len() > 19).then(|| read(&fields))
}

impl Process {
    fn look(pid: i32) -> Option<Self> {
        parsed(&stat(&pid.to_string())?, |fields| {
            Some(Self {
                pid: Pid::from_raw(pid)?,
                parent: fields[1].parse().ok()?,
                session: fields[3].parse().ok()?,
                is_zombie: matches!(fields[0], "Z" | "X"),
                started: fields[19].parse().ok()?,
            })
        })?
    }

    /// Sends a signal to this process, never to another that got its id meanwhile.
    #[cfg(target_os = "linux")]
    pub(super) fn signal(&self, signal: Signal) {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        match pidfd_open(self.pid, PidfdFlags::empty()) {
            Ok(handle) => {
                // The handle is of whoever had the id when it was opened.
                if Self::look(self.pid.as_raw_pid()).is_some_and(|now| now.started == self.started) {
                    let _ = pidfd_send_signal(handle, signal);
                }
            }
            // An old kernel, or one that is told to refuse.
            Err(Errno::NOSYS | Errno::PERM) => {
                let _ = kill_process(self.pid, signal);
            }
            Err(_) => {}
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    /// 0 for a process that ended.
    fn resident_bytes(&self) -> u64 {
        self.kibibytes("status", "VmRSS:").unwrap_or(0).saturating_mul(1_024)
    }

    /// The resident set instead, when the kernel does not tell.
    fn proportional_bytes(&self) -> u64 {
        let kibibytes = self.kibibytes("smaps_rollup", "Pss:");
        kibibytes.map_or_else(|| self.resident_bytes(), |kibibytes| kibibytes.saturating_mul(1_024))
    }

    fn kibibytes(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read(format!("/proc/{}/{file}", self.pid.as_raw_pid())).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::getpid;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let rest: String = (3..=52).map(|i| format!(" {i}")).collect();
        let read = |fields: &[&str]| (fields[1].to_owned(), fields[19].to_owned());
        for name in ["sh", "a b", "))) R 1", ""] {
            let stat = format!("17 ({name}){rest}\n");
            assert_eq!(parsed(stat.as_bytes(), read), Some(("4".into(), "22".into())));
        }
        assert_eq!(parsed(b"17 (sh) R 1 2", |_| ()), None);
        assert_eq!(parsed(b"", |_| ()), None);
    }

    #[test]
    fn children_and_theirs_are_seen_measured_and_signalled() {
        let mut child =
            Command::new("/bin/sh").args(["-c", "sleep 60 & wait"]).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let below = loop {
            let below = descendants(pid).unwrap();
            if !below.is_empty() {
                break below;
            }
            std::thread::yield_now();
        };
        assert_eq!(below.len(), 1);
        let family = descendants(getpid()).unwrap();
        for pid in [pid, below[0].pid] {
            assert!(family.iter().any(|process| process.pid == pid));
        }
        let both: Vec<Process> =
            family.into_iter().filter(|p| p.pid == pid || p.pid == below[0].pid).collect();
        let (resident, shared_once) = (memory_bytes(&both, u64::MAX), memory_bytes(&both, 0));
        assert!(0 < shared_once && shared_once < resident, "{shared_once} {resident}");
        let impostor = Process { started: below[0].started + 1, ..below[0] };
        impostor.signal(Signal::KILL);
        assert_eq!(descendants(pid).unwrap().len(), 1, "another process's id was given anew");
        below[0].signal(Signal::KILL);
        assert!(child.wait().unwrap().code().is_some());
    }
}
