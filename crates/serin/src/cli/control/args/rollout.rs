//! What can be typed about rollouts and drills.

use clap::{Args, Subcommand};

use super::{ListArgs, LookArgs, WhoArgs};

/// Commands about rollouts.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  serin rollout status --watch\n  serin rollout abort --reason \"wrong classes\"\n  \
    serin rollout explain 3"
)]
pub enum RolloutCommand {
    /// Those under way: phase, weight, evidence of both versions
    Status(RolloutStatusArgs),
    /// Stay at this weight; what is found bad still goes back
    Pause(RolloutSayArgs),
    /// Go on, also where it was held
    Resume(RolloutSayArgs),
    /// Give the new version all requests now, and promote it
    Promote(RolloutSayArgs),
    /// Give the version before all requests now
    Abort(RolloutSayArgs),
    /// Those that were, the latest first
    History(ListArgs),
    /// What happened in one and why, in plain words
    Explain {
        /// The rollout [default: the latest]
        #[arg(value_name = "ROLLOUT")]
        number: Option<u64>,
        #[command(flatten)]
        look: LookArgs,
    },
}

#[derive(Debug, Args)]
pub struct RolloutStatusArgs {
    /// One rollout, also one that is over
    #[arg(value_name = "ROLLOUT")]
    pub number: Option<u64>,
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Follow it until it was promoted or went back
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct RolloutSayArgs {
    /// The stage, when several have one under way
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Why; it is kept with the rollout
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct DrillArgs {
    /// What the version does wrong
    #[arg(value_name = "FAULT", required_unless_present = "end", conflicts_with = "end")]
    pub faults: Vec<String>,
    /// With drift: the feature whose values arrive shifted
    #[arg(long, value_name = "NAME", requires = "shift")]
    pub feature: Option<String>,
    /// With drift: by how much, such as 0.5sd (standard deviations of the baseline) or -3.2
    #[arg(long, value_name = "SHIFT", requires = "feature", allow_hyphen_values = true)]
    pub shift: Option<String>,
    /// The stage, such as dev
    #[arg(long, value_name = "STAGE")]
    pub stage: String,
    /// How long, at most 24h
    #[arg(long = "for", value_name = "TIME", default_value = "60s")]
    pub time: String,
    /// The version [default: the new one of a rollout, else the one that serves]
    #[arg(long = "of", value_name = "VERSION")]
    pub number: Option<u64>,
    /// End the drill now
    #[arg(long)]
    pub end: bool,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}
