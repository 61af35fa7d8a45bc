//! The commands that a control plane answers: what can be typed.

mod experiments;
mod replicas;
mod rollout;
mod watch;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serin_core::clock::Timestamp;

pub use experiments::{ExperimentsArgs, ExperimentsCommand};
pub use replicas::{
    AutoscaleCommand, AutoscaleExplainArgs, AutoscaleHistoryArgs, ReplicaCommand, ReplicaDrainArgs,
    ReplicasArgs, ScaleArgs, StageArgs,
};
pub use rollout::{DrillArgs, RolloutCommand, RolloutSayArgs, RolloutStatusArgs};
pub use watch::{
    AlarmArgs, AlarmBacktestArgs, AlarmCommand, AlarmSilenceArgs, AlarmTestArgs, AlarmsArgs, DriftArgs,
    MetricsCommand, MetricsQueryArgs, MonitorCommand, MonitorListArgs, MonitorRunArgs, MonitorShowArgs,
    QualityArgs,
};

/// What a running control plane is asked, in the order in which one would.
#[derive(Debug, Subcommand)]
pub enum PipelineCommand {
    /// What runs, what waits for a person, what serves
    Status(StatusArgs),
    /// Ask for a run now; `run show`, `run logs`, `run cancel` and `run retry` are about one run
    #[command(after_help = "Examples:\n  serin run --watch\n  serin run --dry-run\n  serin run show 3\n  \
        serin run logs 3 --follow\n  serin run retry 3 --from evaluate --watch\n\
        With --watch, exit code 3 means that the gate refused the model.")]
    Run(RunArgs),
    /// List runs, the latest first
    Runs(RunsArgs),
    /// List what waits for a person
    Approvals(ApprovalsArgs),
    /// One approval: what the approver decides on
    #[command(subcommand)]
    Approval(ApprovalCommand),
    /// Say yes: the version may serve the stage
    #[command(after_help = "Example:\n  serin approve 2 --reason \"better on every class, data checked\"")]
    Approve(DecideArgs),
    /// Say no
    #[command(after_help = "Example:\n  serin reject 2 --reason \"recall of class 8 fell\"")]
    Reject(DecideArgs),
    /// List model versions, the latest first
    Versions(ListArgs),
    /// One model version
    #[command(subcommand)]
    Version(VersionCommand),
    /// Point a name such as champion to a version
    #[command(after_help = "Examples:\n  serin alias shadow 7\n  serin alias shadow --remove")]
    Alias(AliasArgs),
    /// Set or remove tags of a version
    #[command(after_help = "Examples:\n  serin tag 7 ticket=ML-12 owner=ann\n  serin tag 7 --remove ticket")]
    Tag(TagArgs),
    /// Two versions side by side: metrics, classes, parameters, data
    Compare(CompareArgs),
    /// What serves where
    Endpoints(EndpointsArgs),
    /// Every change of what serves, the latest first
    Deployments(ListArgs),
    /// Bring a version to a stage
    #[command(after_help = "Example:\n  serin deploy 7 --stage dev --reason \"to look at it\" --watch")]
    Deploy(DeployArgs),
    /// Go back to the version that served before
    #[command(after_help = "Example:\n  serin rollback --stage prod --reason \"wrong since noon\" --watch")]
    Rollback(RollbackArgs),
    /// A version on its way to take over: how it stands, and what a person may say
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Inject faults into a version, and watch what the policy does
    #[command(
        after_help = "Faults: error-rate=0.2  latency=500ms  hang  nan-output  wrong-shape  class-flip  one-class  \
        fails-after=100  drift\nExamples:\n  serin drill error-rate=0.2 --stage prod --for 60s\n  \
        serin drill drift --feature 7 --shift 0.5sd --stage dev\n  serin drill --stage prod --end"
    )]
    Drill(DrillArgs),
    /// Replicas: state, load, latency, memory, and why none comes
    #[command(after_help = "Examples:\n  serin replicas --stage prod\n  serin replicas --watch")]
    Replicas(ReplicasArgs),
    /// One replica
    #[command(subcommand)]
    Replica(ReplicaCommand),
    /// Have so many replicas from now on
    #[command(disable_version_flag = true, after_help = "Example:\n  serin scale --stage prod 4")]
    Scale(ScaleArgs),
    /// How many replicas there are to be, and why
    #[command(subcommand)]
    Autoscale(AutoscaleCommand),
    /// Looks at windows of live rows
    #[command(subcommand)]
    Monitor(MonitorCommand),
    /// Rows beside a baseline: of files, or of the last look at live rows
    #[command(
        after_help = "Examples:\n  serin drift --baseline train.csv --target class --current new.csv --html report.html\n  \
        serin drift --baseline model.serin --current rows.parquet --json\n  serin drift --stage prod\n\
        Exit code 0: none, 4: drift found, 5: cannot say."
    )]
    Drift(DriftArgs),
    /// How good answers were whose truth is known, and what can be said without
    Quality(QualityArgs),
    /// Every alarm of a project and how it stands
    Alarms(AlarmsArgs),
    /// One alarm
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// Metrics that the control plane keeps
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Where a version comes from and where it went: commit, data, run, metrics, approvals, endpoints
    Lineage(OneVersionArgs),
    /// Who answered at a moment: versions, weights and approvers
    #[command(after_help = "Example:\n  serin who-served 2026-11-22T10:00:00Z")]
    WhoServed(WhoServedArgs),
    /// What asks for runs by itself
    #[command(subcommand)]
    Trigger(TriggerCommand),
    /// What happened, the latest last
    Events(EventsArgs),
    /// Decisions that rules made, the latest first
    Decisions(ListArgs),
    /// Say why something was decided
    #[command(subcommand)]
    Explain(AboutDecision),
    /// Decide again from what was recorded, and compare
    #[command(subcommand)]
    Replay(AboutDecision),
    /// Trials with their parameters and metrics, the latest first
    #[command(args_conflicts_with_subcommands = true)]
    Experiments(ExperimentsArgs),
    /// Remove a stage, or the whole project, after saying what goes
    #[command(after_help = "Examples:\n  serin destroy --dry-run\n  serin destroy --stage dev\n  \
        serin destroy --export backup/ --yes")]
    Destroy(DestroyArgs),
}

/// Which control plane is asked.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The control interface [default: the one that `serin up` started on the data directory]
    #[arg(long, value_name = "URL", env = "SERIN_URL", value_hint = ValueHint::Url)]
    pub url: Option<String>,
    /// The data directory whose control plane is asked
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Settings that name the data directory [default: serin.toml, when it is here]
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// The server and the form of what is printed.
#[derive(Debug, Clone, Default, Args)]
pub struct LookArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print the answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Who does something.
#[derive(Debug, Clone, Default, Args)]
pub struct WhoArgs {
    /// Who does this [default: your login name]
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Clone, Default, Args)]
pub struct PageArgs {
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// How many at most, up to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only what came before the one of this number
    #[arg(long, value_name = "N")]
    pub before: Option<u64>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub page: PageArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct RunArgs {
    #[command(subcommand)]
    pub command: Option<RunCommand>,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, Args)]
pub struct AskArgs {
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Follow the run to its end
    #[arg(long, conflicts_with_all = ["dry_run", "json"])]
    pub watch: bool,
    /// Do every step anew, also those whose inputs did not change
    #[arg(long)]
    pub fresh: bool,
    /// Say what would start, and start nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about one run.
#[derive(Debug, Subcommand)]
pub enum RunCommand {
    /// Steps, attempts, durations, digests
    Show(RunShowArgs),
    /// What the steps said
    Logs(RunLogsArgs),
    /// Stop it
    Cancel(RunCancelArgs),
    /// Go on with a run that ended: what did not succeed is done again
    Retry(RunRetryArgs),
}

#[derive(Debug, Args)]
pub struct RunShowArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub number: u64,
    /// One step with what it left behind
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct RunLogsArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub number: u64,
    /// One step only
    #[arg(long, value_name = "NAME")]
    pub step: Option<String>,
    /// One attempt of the step [default: the last]
    #[arg(long, value_name = "N", requires = "step")]
    pub attempt: Option<u32>,
    /// Wait for more, to the end of the run
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub server: ServerArgs,
}

#[derive(Debug, Args)]
pub struct RunCancelArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub number: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct RunRetryArgs {
    /// The run
    #[arg(value_name = "RUN")]
    pub number: u64,
    /// Begin with this step and do all that follow from it, also what succeeded
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,
    /// Follow the run to its end
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// Only those that are not over
    #[arg(long)]
    pub open: bool,
    #[command(flatten)]
    pub list: ListArgs,
}

#[derive(Debug, Args)]
pub struct ApprovalsArgs {
    /// Also those that were answered or expired
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub list: ListArgs,
}

/// Commands about one approval.
#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// Champion beside challenger, per class, differences in the data, digests
    Show {
        /// The approval
        #[arg(value_name = "APPROVAL")]
        number: u64,
        #[command(flatten)]
        look: LookArgs,
    },
}

#[derive(Debug, Args)]
pub struct DecideArgs {
    /// The approval
    #[arg(value_name = "APPROVAL")]
    pub number: u64,
    /// Why; it is kept with the answer
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The digest of the sheet that you read: anything else is refused
    #[arg(long, value_name = "DIGEST")]
    pub seen: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct OneVersionArgs {
    /// The model version
    #[arg(value_name = "VERSION")]
    pub number: u64,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about one model version.
#[derive(Debug, Subcommand)]
pub enum VersionCommand {
    /// Metrics, state, aliases, tags, where it served
    Show(OneVersionArgs),
    /// Let it be deployed where approval is asked for
    Approve(VersionDecideArgs),
    /// Never deploy it; where it serves and approval is asked for, the latest approved other version takes its place
    Reject(VersionDecideArgs),
}

#[derive(Debug, Args)]
pub struct VersionDecideArgs {
    /// The model version
    #[arg(value_name = "VERSION")]
    pub number: u64,
    /// Why; it is kept with the version
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct AliasArgs {
    /// The alias, such as champion
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The model version it points to from now on
    #[arg(value_name = "VERSION", required_unless_present = "remove", conflicts_with = "remove")]
    pub number: Option<u64>,
    /// Let it point to none
    #[arg(long)]
    pub remove: bool,
    /// The project whose alias is removed, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct TagArgs {
    /// The model version
    #[arg(value_name = "VERSION")]
    pub number: u64,
    /// Tags to set
    #[arg(value_name = "KEY=VALUE", required_unless_present = "remove", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    /// Tags to remove
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A model version
    #[arg(value_name = "LEFT")]
    pub left: u64,
    /// Another one
    #[arg(value_name = "RIGHT")]
    pub right: u64,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct EndpointsArgs {
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct DeployArgs {
    /// The model version
    #[arg(value_name = "VERSION")]
    pub number: u64,
    /// The stage, such as dev
    #[arg(long, value_name = "STAGE")]
    pub stage: String,
    /// Why; it is kept with the deployment
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Follow the deployment to its end
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The stage, such as prod
    #[arg(long, value_name = "STAGE")]
    pub stage: String,
    /// The version to go back to [default: the last other one that served and was not rejected]
    #[arg(long, value_name = "VERSION")]
    pub to: Option<u64>,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Why; it is kept with the deployment
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Follow it to its end
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct WhoServedArgs {
    /// The moment, such as 2026-11-22T10:00:00Z
    #[arg(value_name = "TIME")]
    pub time: Timestamp,
    #[command(flatten)]
    pub look: LookArgs,
}

/// Commands about triggers.
#[derive(Debug, Subcommand)]
pub enum TriggerCommand {
    /// What asks for runs by itself, and what it did last
    List(TriggerListArgs),
    /// Let a trigger ask for nothing until it is resumed
    Pause(TriggerPauseArgs),
    /// Let it ask again
    Resume(TriggerPauseArgs),
}

#[derive(Debug, Args)]
pub struct TriggerListArgs {
    /// One project only
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct TriggerPauseArgs {
    /// The trigger, such as git, data or schedule
    #[arg(value_name = "TRIGGER")]
    pub name: String,
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Print what happens from now on, too
    #[arg(long)]
    pub follow: bool,
    /// Everything after the event of this number, instead of the last ones
    #[arg(long, value_name = "N")]
    pub after: Option<u64>,
    /// How many of the last ones, up to 1000
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "after", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub last: u32,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// What is explained, or decided again.
#[derive(Debug, Subcommand)]
pub enum AboutDecision {
    /// A decision, by its number in `serin decisions`
    Decision {
        /// The decision
        #[arg(value_name = "DECISION")]
        number: u64,
        #[command(flatten)]
        look: LookArgs,
    },
}

#[derive(Debug, Args)]
pub struct DestroyArgs {
    /// The project, when there are several
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// The endpoint of one stage only; the project stays
    #[arg(long, value_name = "STAGE")]
    pub stage: Option<String>,
    /// Say what would go, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask whether to
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Write captured rows and bundles into this folder first
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run", value_hint = ValueHint::DirPath)]
    pub export: Option<PathBuf>,
    #[command(flatten)]
    pub who: WhoArgs,
    #[command(flatten)]
    pub look: LookArgs,
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}
