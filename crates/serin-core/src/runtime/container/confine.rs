//! What a container may do, in the words of the engine.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType, ResourcesUlimits};
use rustix::process::{Resource, getgid, getrlimit, getuid};

use super::engine::Engine;
use crate::config::{Gpus, ImageSettings};
use crate::runtime::job::JobMount;

/// What a container is called from within, as in `resourceconfig.json`.
pub(super) const HOSTNAME: &str = "algo-1";
/// Most processes of the container's user on the whole machine. Engines would set more than this machine may allow; what
/// keeps a container in its bounds is its own limit.
const PROCESSES_OF_USER: u64 = 32_768;
/// What an engine keeps of what a replica prints.
const LOG_SIZE: &str = "1m";
const TEMPORARY: &str = "/tmp";
/// Files of a kernel that labels files.
const SELINUX: &str = "/sys/fs/selinux/enforce";
/// Thousand millions of a processor.
const NANO: f64 = 1e9;

/// What a container may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) memory_bytes: u64,
    pub(super) processes: u32,
    pub(super) open_files: u64,
    /// The largest file that it writes.
    pub(super) file_bytes: Option<u64>,
    pub(super) cpus: Option<f64>,
}

/// Whether the engine keeps what a container prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// Whoever waits for the container takes it.
    None,
    /// The last of it.
    Tail,
}

/// Who runs in a container: the user of this program, so that its files are ours. Where the engine itself runs without
/// rights, that one is called 0 within.
pub(super) fn user(engine: &Engine) -> String {
    match engine.is_rootless() {
        true => "0:0".to_owned(),
        false => format!("{}:{}", getuid().as_raw(), getgid().as_raw()),
    }
}

/// The least, and what was asked for.
pub(super) fn host(image: &ImageSettings, mounts: &[JobMount], bounds: &Bounds, log: Log) -> HostConfig {
    let memory = i64::try_from(bounds.memory_bytes).unwrap_or(i64::MAX);
    let temporary =
        |folder: &str| (folder.to_owned(), format!("rw,exec,nosuid,nodev,mode=1777,size={}", memory / 2));
    let writable = image.writable.iter().map(String::as_str);
    let mut security = vec!["no-new-privileges".to_owned()];
    if Path::new(SELINUX).exists() {
        // Our folders have labels for us.
        security.push("label=disable".to_owned());
    }
    HostConfig {
        memory: Some(memory),
        // As much of memory and swap together: no swap.
        memory_swap: Some(memory),
        nano_cpus: bounds.cpus.map(|cpus| (cpus * NANO) as i64),
        pids_limit: Some(bounds.processes.into()),
        ulimits: Some(ulimits(bounds)),
        readonly_rootfs: Some(true),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(security),
        tmpfs: Some(std::iter::once(TEMPORARY).chain(writable).map(temporary).collect()),
        shm_size: Some(memory / 2),
        network_mode: Some(if image.network { "bridge" } else { "none" }.to_owned()),
        mounts: Some(mounts.iter().map(mount).collect()),
        device_requests: image.gpus.as_ref().map(|gpus| vec![device_request(gpus)]),
        log_config: Some(match log {
            Log::None => HostConfigLogConfig { typ: Some("none".to_owned()), config: None },
            Log::Tail => HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([("max-size".to_owned(), LOG_SIZE.to_owned())])),
            },
        }),
        ..HostConfig::default()
    }
}

fn mount(mount: &JobMount) -> Mount {
    Mount {
        source: Some(mount.source.to_string_lossy().into_owned()),
        target: Some(mount.target.clone()),
        typ: Some(MountType::BIND),
        read_only: Some(!mount.is_writable),
        ..Mount::default()
    }
}

/// Not more than this machine allows: an engine cannot give what it does not have.
fn ulimits(bounds: &Bounds) -> Vec<ResourcesUlimits> {
    let wanted = [
        ("nofile", Resource::Nofile, Some(bounds.open_files)),
        ("nproc", Resource::Nproc, Some(PROCESSES_OF_USER)),
        ("fsize", Resource::Fsize, bounds.file_bytes),
        // No core files.
        ("core", Resource::Core, Some(0)),
    ];
    let limit = |(name, resource, wanted): (&str, Resource, Option<u64>)| {
        let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = i64::try_from(wanted?.min(allowed)).unwrap_or(i64::MAX);
        Some(ResourcesUlimits { name: Some(name.to_owned()), soft: Some(limit), hard: Some(limit) })
    };
    wanted.into_iter().filter_map(limit).collect()
}

fn device_request(gpus: &Gpus) -> DeviceRequest {
    let (count, ids) = match gpus {
        Gpus::All => (Some(-1), None),
        Gpus::Count(count) => (Some(i64::from(*count)), None),
        Gpus::Ids(ids) => (None, Some(ids.clone())),
    };
    let capabilities = Some(vec![vec!["gpu".to_owned()]]);
    DeviceRequest { count, device_ids: ids, capabilities, ..DeviceRequest::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            memory_bytes: 256 << 20,
            processes: 32,
            open_files: u64::MAX,
            file_bytes: None,
            cpus: Some(1.5),
        }
    }

    #[test]
    fn a_container_gets_the_least() {
        let mounts = [JobMount { source: "/a".into(), target: "/opt/ml".into(), is_writable: false }];
        let host = host(&ImageSettings::plain("x".parse().unwrap()), &mounts, &bounds(), Log::None);
        assert_eq!((host.readonly_rootfs, host.network_mode.as_deref()), (Some(true), Some("none")));
        assert_eq!(host.cap_drop.as_deref(), Some(&["ALL".to_owned()][..]));
        assert!(host.security_opt.unwrap().contains(&"no-new-privileges".to_owned()));
        assert_eq!((host.memory, host.memory_swap), (Some(256 << 20), Some(256 << 20)));
        assert_eq!((host.pids_limit, host.nano_cpus), (Some(32), Some(1_500_000_000)));
        assert_eq!(host.mounts.unwrap()[0].read_only, Some(true));
        assert!(host.privileged.is_none() && host.device_requests.is_none() && host.cap_add.is_none());
        assert_eq!(host.tmpfs.unwrap().keys().collect::<Vec<_>>(), ["/tmp"]);
        let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let files = host.ulimits.unwrap().into_iter().find(|limit| limit.name.as_deref() == Some("nofile"));
        assert_eq!(files.unwrap().hard, Some(i64::try_from(allowed).unwrap_or(i64::MAX)));
    }

    #[test]
    fn what_is_asked_for_is_given() {
        let image = ImageSettings {
            network: true,
            gpus: Some(Gpus::All),
            writable: vec!["/var/lib/nginx".into()],
            ..ImageSettings::plain("x".parse().unwrap())
        };
        let host = host(&image, &[], &bounds(), Log::Tail);
        assert_eq!(host.network_mode.as_deref(), Some("bridge"));
        assert!(host.tmpfs.unwrap().contains_key("/var/lib/nginx"));
        assert_eq!(host.device_requests.unwrap()[0].count, Some(-1));
        assert_eq!(host.log_config.unwrap().config.unwrap()["max-size"], "1m");
    }
}
