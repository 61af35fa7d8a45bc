//! `serin config`

use serin_core::config::DEFAULT_TOML;

use super::args::ConfigCommand;
use super::exit::Exit;
use super::printer;
use super::settings::Overrides;

/// Prints the defaults, or checks a file.
pub fn run(command: &ConfigCommand) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Show => printer::data(DEFAULT_TOML)?,
        ConfigCommand::Check { file } => {
            Overrides::new().load(Some(file))?;
            printer::data(&format!("{}: fine", file.display()))?;
        }
    }
    Ok(Exit::Done)
}
