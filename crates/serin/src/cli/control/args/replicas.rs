//! What can be typed about replicas.

use clap::{Args, Subcommand};

use super::{LookArgs, WhoArgs};

#[derive(Debug, Args)]
pub struct ReplicasArgs {
    /// One stage only
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Look again every second, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about one replica.
#[derive(Debug, Subcommand)]
pub enum ReplicaCommand {
    /// Let it answer what it has, and end when another is there
    #[command(after_help = "Example:\n  serin replica drain prod-v7-4c1-2")]
    Drain(ReplicaDrainArgs),
}

#[derive(Debug, Args)]
pub struct ReplicaDrainArgs {
    /// The replica, as `serin replicas` names it
    #[arg(value_name = "REPLICA")]
    pub name: String,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct ScaleArgs {
    /// How many replicas there are to be from now on; policies go on from there
    #[arg(value_name = "N")]
    pub desired: u32,
    /// The stage, such as prod
    #[arg(long, value_name = "STAGE")]
    pub stage: String,
    /// The model version, while several have replicas
    #[arg(long, value_name = "VERSION")]
    pub version: Option<u64>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about how many replicas there are.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  serin autoscale status --stage prod\n  serin autoscale history --stage prod --limit 5\n  \
        serin autoscale explain --stage prod"
)]
pub enum AutoscaleCommand {
    /// Desired number, bounds, each metric beside its target, alarms, cooldowns, and why it stays
    Status(StageArgs),
    /// What was decided, the latest first
    History(AutoscaleHistoryArgs),
    /// One decision in sentences, with its numbers
    Explain(AutoscaleExplainArgs),
}

/// Which stage is meant.
#[derive(Debug, Args)]
pub struct StageArgs {
    /// The stage, when several serve
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct AutoscaleHistoryArgs {
    #[command(flatten)]
    pub of: StageArgs,
    /// How many at most, up to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only what came before the decision of this number
    #[arg(long, value_name = "N")]
    pub before: Option<u64>,
}

#[derive(Debug, Args)]
pub struct AutoscaleExplainArgs {
    /// The decision [default: the last one of the stage]
    #[arg(value_name = "DECISION")]
    pub number: Option<u64>,
    #[command(flatten)]
    pub of: StageArgs,
}
