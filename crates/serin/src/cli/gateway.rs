//! `serin gateway`: what was deployed, behind an address.

use serin_core::clock::{Clock as _, SystemClock};

use super::args::GatewayArgs;
use super::exit::Exit;
use super::serve::{place, serve_until_stopped};
use crate::gateway::routed::RoutedEndpoints;

/// Serves the endpoints of the data directory's route document, and follows it, until SIGTERM or Ctrl-C.
pub(super) fn run(args: &GatewayArgs) -> anyhow::Result<Exit> {
    let settings = place(&args.place).load(args.place.config.as_deref())?;
    let routed = RoutedEndpoints::open(&settings.serve.data_dir, SystemClock::new().now())?;
    serve_until_stopped(&settings, routed.endpoints())?.finish()
}
