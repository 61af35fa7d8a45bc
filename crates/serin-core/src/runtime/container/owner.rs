//! Whose containers are whose: labels, and finding what was left behind.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::engine::{Engine, EngineError};
use crate::digest::Digest;

/// Whose a container is.
const OWNER: &str = "serin.owner";
/// What a container is: see [`Kind`].
const KIND: &str = "serin.kind";
/// What it is called among those of its owner.
pub(super) const NAME: &str = "serin.name";
/// The process that waits for it.
const PROCESS: &str = "serin.process";
/// What labels of others are behind.
const FURTHER: &str = "serin.label.";
/// Hexadecimal digits of an owner's name.
const OWNER_DIGITS: usize = 16;

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ends with whoever waits for it.
    Job,
    /// Outlives whoever started it.
    Replica,
}

/// The name that a data directory owns containers by.
#[must_use]
pub fn owner_of(data_directory: &Path) -> String {
    let path = data_directory.canonicalize().unwrap_or_else(|_| data_directory.to_owned());
    let digest = Digest::of(path.as_os_str().as_encoded_bytes()).to_string();
    digest.chars().take(OWNER_DIGITS).collect()
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Replica => "replica",
        }
    }
}

/// The labels of a container.
pub(super) fn labels(
    owner: &str,
    kind: Kind,
    name: &str,
    further: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let own = [
        (OWNER, owner.to_owned()),
        (KIND, kind.name().to_owned()),
        (NAME, name.to_owned()),
        (PROCESS, this_process()),
    ];
    let own = own.map(|(label, value)| (label.to_owned(), value));
    own.into_iter()
        .chain(further.iter().map(|(label, value)| (format!("{FURTHER}{label}"), value.clone())))
        .collect()
}

/// The labels that [`labels`] was given.
pub(super) fn further(labels: &HashMap<String, String>) -> BTreeMap<String, String> {
    let own = labels.iter().filter_map(|(label, value)| Some((label.strip_prefix(FURTHER)?, value)));
    own.map(|(label, value)| (label.to_owned(), value.clone())).collect()
}

/// The containers of an owner, whether or not they run.
pub(super) fn containers(
    engine: &Engine,
    owner: &str,
    kind: Kind,
) -> Result<Vec<ContainerSummary>, EngineError> {
    let wanted = vec![format!("{OWNER}={owner}"), format!("{KIND}={}", kind.name())];
    let options =
        ListContainersOptionsBuilder::default().all(true).filters(&HashMap::from([("label", wanted)]));
    let (docker, options) = (engine.docker.clone(), options.build());
    engine.call("list containers", async move { docker.list_containers(Some(options)).await })
}

/// Removes a container with all that is its own, running or not.
pub(super) fn remove(engine: &Engine, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    let (docker, id) = (engine.docker.clone(), id.to_owned());
    match engine.call("remove a container", async move { docker.remove_container(&id, Some(options)).await })
    {
        Err(error) if error.is_absence() => Ok(()),
        // Somebody else is removing it.
        Err(EngineError::Refused { status: 409, .. }) => Ok(()),
        other => other,
    }
}

/// Removes the containers of `owner` for which nobody waits any more: their process died. How many there were.
pub(super) fn sweep(engine: &Engine, owner: &str, kind: Kind) -> Result<usize, EngineError> {
    let mut removed = 0;
    for container in containers(engine, owner, kind)? {
        let labels = container.labels.unwrap_or_default();
        let waits = labels.get(PROCESS).is_some_and(|process| is_alive(process));
        if let Some(id) = container.id.filter(|_| !waits) {
            remove(engine, &id)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// This process, in a way that no other will be called after it: its number, when it started, and since which start of the
/// machine that counts.
fn this_process() -> String {
    let id = std::process::id();
    format!("{id} {} {}", started(id).unwrap_or_default(), boot())
}

/// Whether a process that [`this_process`] named is still there.
fn is_alive(process: &str) -> bool {
    let mut parts = process.split(' ');
    let (id, start, since) = (parts.next(), parts.next(), parts.next());
    let Some(id) = id.and_then(|id| id.parse().ok()) else { return false };
    since == Some(boot().as_str()) && started(id).is_some_and(|found| Some(found.as_str()) == start)
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Clock ticks between the machine's start and the process's; `None` when it is gone, or only waits to be buried.
fn started(id: u32) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before may hold anything, brackets included.
    let (_, behind) = status.rsplit_once(") ")?;
    let mut fields = behind.split(' ');
    if matches!(fields.next(), Some("Z" | "X") | None) {
        return None;
    }
    fields.nth(18).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_until_it_ends() {
        let this = this_process();
        assert!(is_alive(&this));
        let (before, boot) = this.rsplit_once(' ').unwrap();
        assert!(!boot.is_empty());
        assert!(!is_alive(&format!("{before} another-start-of-the-machine")));
        let id = std::process::id();
        assert!(!is_alive(&format!("{id} 1 {boot}")), "another process of the same number");
        for other in ["", "x", "0", "4194999 7"] {
            assert!(!is_alive(other), "{other}");
        }
    }

    #[test]
    fn labels_of_others_come_back_as_they_were() {
        let given: BTreeMap<String, String> =
            [("endpoint", "digits"), ("serin.owner", "x")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let all = labels("me", Kind::Replica, "r-1", &given);
        assert_eq!(all[OWNER], "me");
        assert_eq!(all[KIND], "replica");
        assert_eq!(further(&all), given);
    }

    #[test]
    fn an_owner_is_a_folder_by_any_way_to_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let (plain, around) = (folder.path().join("a"), folder.path().join("a/../a"));
        assert_eq!(owner_of(&plain), owner_of(&around));
        assert_ne!(owner_of(&plain), owner_of(folder.path()));
        assert_eq!(owner_of(&plain).len(), OWNER_DIGITS);
    }
}
