//! The gateway of a data directory, asked about its replicas and told what a person wants of them.

use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use crate::capture::Serving;
use crate::pipeline::http;
use crate::routes::RoutesFile;
use crate::scale::{COMMAND_SIGNATURE, FLEET_COMMANDS, FLEETS, FleetCommand, FleetsPage};

/// Why the gateway does not say, or does not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GatewayError {
    #[error("no gateway serves this data directory: start `serin up` or `serin gateway`")]
    NotRunning,
    #[error("the gateway does not answer ({0}): see whether it runs, and its log")]
    Unreachable(String),
    /// It answered, and will not.
    #[error("the gateway refuses: {detail}")]
    Refused { status: u16, detail: String },
}

/// What its replicas do.
///
/// # Errors
/// When nobody answers, or nothing that can be understood.
pub fn read(data_directory: &Path) -> Result<FleetsPage, GatewayError> {
    let page =
        http::get_soon(&format!("{}{FLEETS}", admin(data_directory)?)).map_err(GatewayError::Unreachable)?;
    serde_json::from_str(&page)
        .map_err(|error| GatewayError::Unreachable(format!("what it says is no page: {error}")))
}

/// Has it do something. The command is signed with the key of the routes: who may write where those are kept may do this.
///
/// # Errors
/// When nobody answers, or it will not.
pub fn command(
    data_directory: &Path,
    routes: &RoutesFile,
    command: &FleetCommand,
) -> Result<(), GatewayError> {
    // Texts and numbers always serialise.
    let text = serde_json::to_string(command).unwrap_or_default();
    let url = format!("{}{FLEET_COMMANDS}", admin(data_directory)?);
    let signature = routes.sign(&text);
    let (status, body) =
        http::post_soon(&url, (COMMAND_SIGNATURE, &signature), &text).map_err(GatewayError::Unreachable)?;
    if status == 200 {
        return Ok(());
    }
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    let detail = said["detail"].as_str().map_or_else(|| http::beginning(&body), str::to_owned);
    Err(GatewayError::Refused { status, detail })
}

fn admin(data_directory: &Path) -> Result<String, GatewayError> {
    let serving = Serving::read(data_directory).ok().flatten();
    serving.and_then(|serving| serving.admin).ok_or(GatewayError::NotRunning)
}
