//! What the kernel counts of a container. Engines pass it on late or not at all: Podman forgets that the kernel ended a
//! container for its memory where groups of control are of the first version.

use std::fs;
use std::path::{Path, PathBuf};

/// Where groups of control are, of either version.
const GROUPS: &str = "/sys/fs/cgroup";

/// The group of control of a container.
#[derive(Debug)]
pub(super) struct Group {
    /// The file in which ends for want of memory are counted.
    events: PathBuf,
}

impl Group {
    /// That of the process that the engine names; `None` when it is not to be seen from here, as within another container.
    pub(super) fn of(process: i64, container: &str) -> Option<Self> {
        if process <= 0 {
            return None;
        }
        let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let events = Path::new(GROUPS).join(events(&groups, container)?);
        events.exists().then_some(Self { events })
    }

    /// Processes that the kernel ended because the container had no memory left. None when nobody can say any more.
    pub(super) fn ended_for_memory(&self) -> u64 {
        fs::read_to_string(&self.events).map_or(0, |text| kills(&text))
    }
}

/// The file of events below the folder of groups, of what a process says about its own. The group must be the container's:
/// a process of the same number may be another.
fn events(groups: &str, container: &str) -> Option<PathBuf> {
    let mut found = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if container.is_empty() || !path.contains(container) {
            continue;
        }
        let path = path.trim_start_matches('/');
        if controllers.split(',').any(|controller| controller == "memory") {
            return Some(Path::new("memory").join(path).join("memory.oom_control"));
        }
        if controllers.is_empty() {
            found = Some(Path::new(path).join("memory.events"));
        }
    }
    found
}

fn kills(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_in_both_versions_and_of_this_container_only() {
        let first = "9:name=systemd:/\n4:memory:/libpod_parent/libpod-ab12\n0::/\n";
        let second = "0::/machine.slice/libpod-ab12.scope/container\n";
        let path = |groups, id| events(groups, id).map(|path| path.display().to_string());
        let old = "memory/libpod_parent/libpod-ab12/memory.oom_control";
        assert_eq!(path(first, "ab12").as_deref(), Some(old));
        let new = "machine.slice/libpod-ab12.scope/container/memory.events";
        assert_eq!(path(second, "ab12").as_deref(), Some(new));
        for (groups, id) in [(first, "cd34"), (second, "cd34"), (first, ""), ("", "ab12"), ("odd\n", "ab12")]
        {
            assert_eq!(path(groups, id), None, "{groups:?} {id:?}");
        }
    }

    #[test]
    fn ends_are_counted() {
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(kills("low 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n"), 2);
        assert_eq!(kills(""), 0);
    }
}
