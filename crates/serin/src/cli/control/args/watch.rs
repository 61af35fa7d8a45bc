//! What can be typed about live rows, their quality, metrics and alarms.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{LookArgs, PageArgs, WhoArgs};

/// Commands about looks at windows of live rows.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  serin monitor run --stage prod --window 1h\n  serin monitor show 12 --html report.html"
)]
pub enum MonitorCommand {
    /// Look at the last rows now
    Run(MonitorRunArgs),
    /// Looks that were made, the latest first
    List(MonitorListArgs),
    /// One look with everything it found
    Show(MonitorShowArgs),
}

#[derive(Debug, Args)]
pub struct MonitorRunArgs {
    /// The stage, when several are watched
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// How far back, in whole minutes [default: the window of the settings]
    #[arg(long, value_name = "TIME")]
    pub window: Option<String>,
    /// Every feature, not only those that changed
    #[arg(long)]
    pub all: bool,
    /// Write a page with everything
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct MonitorListArgs {
    /// One endpoint only
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct MonitorShowArgs {
    /// The look [default: the latest]
    #[arg(value_name = "LOOK")]
    pub number: Option<u64>,
    /// Every feature, not only those that changed
    #[arg(long)]
    pub all: bool,
    /// Write a page with everything
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Rows beside a baseline.
#[derive(Debug, Args)]
pub struct DriftArgs {
    /// A model (its baseline), or a file of rows
    #[arg(long, value_name = "FILE", requires = "current", value_hint = ValueHint::FilePath)]
    pub baseline: Option<PathBuf>,
    /// Files of rows that are compared with it
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "baseline", value_hint = ValueHint::FilePath)]
    pub current: Vec<String>,
    /// A column that is no feature: the target
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Columns that are no features either
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub ignore: Vec<String>,
    /// The probability of finding anything when nothing changed [default: 1/720]
    #[arg(long, value_name = "P", value_parser = share)]
    pub false_alarm: Option<f64>,
    /// With fewer rows nothing is said [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..))]
    pub min_rows: Option<u64>,
    /// A change of a smaller share of rows is not told [default: 0.05]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub least_shift: Option<f64>,
    /// Write a page with everything
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub html: Option<PathBuf>,
    /// Every feature, not only those that changed
    #[arg(long)]
    pub all: bool,
    /// Of the last look: features only
    #[arg(long, conflicts_with_all = ["baseline", "predictions"])]
    pub features: bool,
    /// Of the last look: predictions only
    #[arg(long, conflicts_with = "baseline")]
    pub predictions: bool,
    /// Of the last look: the stage, when several are watched
    #[arg(long, value_name = "STAGE", conflicts_with = "baseline")]
    pub stage: Option<String>,
    /// Of the last look: the project, when there are several
    #[arg(long, value_name = "NAME", conflicts_with = "baseline")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct QualityArgs {
    /// Rows of the last so long [default: quality_window of the settings]
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// The stage, when several are watched
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct AlarmsArgs {
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about one alarm.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  serin alarm show prod-drift\n  serin alarm backtest prod-drift --days 30\n  \
        serin alarm silence prod-errors --for 2h --reason \"load test\""
)]
pub enum AlarmCommand {
    /// What it watches, how it stands and since when
    Show(AlarmArgs),
    /// Set it on until it is evaluated next, so that everybody is told as if it were
    Test(AlarmTestArgs),
    /// How often it would have been on in the last days
    Backtest(AlarmBacktestArgs),
    /// Tell nobody for some time; it is watched as before
    Silence(AlarmSilenceArgs),
}

#[derive(Debug, Args)]
pub struct AlarmArgs {
    /// Its name
    #[arg(value_name = "ALARM")]
    pub name: String,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct AlarmTestArgs {
    #[command(flatten)]
    pub alarm: AlarmArgs,
    #[command(flatten)]
    pub who: WhoArgs,
}

#[derive(Debug, Args)]
pub struct AlarmBacktestArgs {
    #[command(flatten)]
    pub alarm: AlarmArgs,
    /// How many days back
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=455))]
    pub days: u32,
}

#[derive(Debug, Args)]
pub struct AlarmSilenceArgs {
    #[command(flatten)]
    pub alarm: AlarmArgs,
    /// How long, at most 30d
    #[arg(long = "for", value_name = "TIME", required_unless_present = "end", conflicts_with = "end")]
    pub time: Option<String>,
    /// Why; it is kept
    #[arg(long, value_name = "TEXT", required_unless_present = "end")]
    pub reason: Option<String>,
    /// End the silence now
    #[arg(long)]
    pub end: bool,
    #[command(flatten)]
    pub who: WhoArgs,
}

/// Commands about metrics.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Examples:\n  serin metrics list\n  serin metrics query 'p99(latency{endpoint=\"wine-prod\"}[5m])'\n  \
        serin metrics query 'Sum(invocations[1h])'"
)]
pub enum MetricsCommand {
    /// Every series that was recorded
    List(LookArgs),
    /// One number with its line over the time asked for
    Query(MetricsQueryArgs),
}

#[derive(Debug, Args)]
pub struct MetricsQueryArgs {
    /// STATISTIC(NAME{label="value"}[TIME]), or a name alone
    #[arg(value_name = "QUERY")]
    pub query: String,
    #[command(flatten)]
    pub look: LookArgs,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|share| (0.0..1.0).contains(share));
    number.ok_or_else(|| "write a number from 0 to below 1".to_owned())
}
