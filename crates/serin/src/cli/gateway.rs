//! `serin gateway`: what was deployed, behind an address.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serin_core::clock::{Clock, SystemClock};
use serin_core::config::Settings;
use serin_core::digest::Digest;

use super::args::GatewayArgs;
use super::exit::Exit;
use super::serve::{place, serve_until_stopped};
use crate::fleet::{Fleets, FleetsOptions};
use crate::gateway::routed::RoutedEndpoints;

/// What folders of sockets begin with; the process follows.
const SCRATCH: &str = "serin-";

/// Serves the endpoints of the data directory's route document, and follows it, until SIGTERM or Ctrl-C.
pub(super) fn run(args: &GatewayArgs) -> anyhow::Result<Exit> {
    let settings = place(&args.place).load(args.place.config.as_deref())?;
    let routed = routed(&settings)?;
    serve_until_stopped(&settings, routed.endpoints())?.finish()
}

/// The endpoints that were deployed into the data directory, with their replicas.
pub(super) fn routed(settings: &Settings) -> anyhow::Result<RoutedEndpoints> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let data_directory = &settings.serve.data_dir;
    let fleets = fleets(data_directory, clock.clone())?;
    Ok(RoutedEndpoints::open(data_directory, clock.now(), Arc::new(fleets))?)
}

/// Replicas of this program for the gateway of a data directory.
pub(super) fn fleets(data_directory: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<Fleets> {
    clear_scratch();
    // Short, as the path of a socket has to be, and nobody else's.
    let unique = Digest::of(
        format!("{} {} {:?}", data_directory.display(), std::process::id(), clock.now()).as_bytes(),
    );
    let options = FleetsOptions {
        data_directory: data_directory.to_owned(),
        program: std::env::current_exe().context("this program cannot find itself")?,
        scratch: std::env::temp_dir().join(format!(
            "{SCRATCH}{}-{}",
            std::process::id(),
            &unique.short()[..6]
        )),
    };
    Ok(Fleets::new(options, clock))
}

/// Folders of sockets go whose process was killed before it could remove them.
fn clear_scratch() {
    // Where processes cannot be seen, nothing is known of them.
    if !Path::new("/proc/self").exists() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.split_once('-'));
        let Some(process) = process.and_then(|(process, _)| process.parse::<u32>().ok()) else { continue };
        // Somebody else's folder is not removed: it is not ours to remove.
        if !Path::new(&format!("/proc/{process}")).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
