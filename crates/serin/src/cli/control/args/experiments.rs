//! Commands about trials: what can be typed.

use clap::{Args, Subcommand};

use super::{ListArgs, LookArgs};

#[derive(Debug, Args)]
pub struct ExperimentsArgs {
    #[command(subcommand)]
    pub command: Option<ExperimentsCommand>,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Commands about trials.
#[derive(Debug, Subcommand)]
pub enum ExperimentsCommand {
    /// Trials side by side
    Compare {
        /// Their runs
        #[arg(value_name = "RUN", num_args = 2..=20, required = true)]
        runs: Vec<u64>,
        #[command(flatten)]
        look: LookArgs,
    },
}
