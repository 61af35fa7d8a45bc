//! The command line: what can be typed, and its help.

mod baseline;
mod local;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, ValueHint};
use serin_core::clock::Timestamp;

pub use baseline::{
    BaselineCommand, BaselineExportArgs, BaselineFormat, BaselineShowArgs, BaselineSourceArgs,
};

pub use local::{
    ImageBuildArgs, ImageCommand, ImageLoadArgs, JobFilesArgs, LocalCommand, LocalProcessArgs,
    LocalServeArgs, LocalTrainArgs, ProgramArgs,
};

use super::control::args::PipelineCommand;
use super::simulate::SimulateCommand;
use super::step::StepCommand;
use super::up::UpArgs;

/// From a table of numbers to a trained, gated, served and watched classifier.
#[derive(Debug, Parser)]
#[command(
    name = "serin",
    version,
    about,
    propagate_version = true,
    max_term_width = 110,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 gate refused, 78 configuration, 130 interrupted.\n\
                        Start with `serin demo`; the same with your own file: `serin demo --data FILE --target NAME`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What is wrong with a command line, found after it was parsed, in the words of its command.
    #[must_use]
    pub fn error(command: &str, kind: clap::error::ErrorKind, message: &str) -> clap::Error {
        let mut cli = Self::command();
        cli.build();
        cli.find_subcommand_mut(command).map(|command| command.error(kind, message)).unwrap_or_else(|| {
            // The names of commands are ours; the whole program's usage would be shown for another.
            Self::command().error(kind, message)
        })
    }
}

/// The commands, in the order of a model's life.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole story once, on an example or on your own file
    Demo(DemoArgs),
    /// Make a project of a file of rows
    Init(InitArgs),
    /// Look at data before training
    #[command(subcommand)]
    Data(DataCommand),
    /// Train, select, evaluate and gate a classifier
    Train(TrainArgs),
    /// Judge a model on labelled rows
    Evaluate(EvaluateArgs),
    /// Make a bundle of a model that LightGBM or XGBoost trained
    Import(ImportArgs),
    /// Predict the class of rows
    Predict(PredictArgs),
    /// Show what is inside a model
    Inspect(InspectArgs),
    /// What the training rows looked like: what live rows are compared with
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Run the pipeline of projects and serve what it deploys
    Up(UpArgs),
    /// Run the pipeline alone; `serin gateway` serves beside it
    Control(UpArgs),
    /// Serve a model over HTTP and keep every answer as a row
    Serve(ServeArgs),
    /// Serve what was deployed, alone: no engine and no store need be there
    Gateway(GatewayArgs),
    #[command(flatten)]
    Pipeline(PipelineCommand),
    /// What a policy would do, in virtual time
    #[command(subcommand)]
    Simulate(SimulateCommand),
    /// Ask the inference table in SQL, reading only
    Query(QueryArgs),
    /// Captured answers: how they are doing, export, deletion
    #[command(subcommand)]
    Capture(CaptureCommand),
    /// True classes of captured rows
    #[command(subcommand)]
    Labels(LabelsCommand),
    /// Settings: what they are and whether a file is right
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Alert rules and a dashboard for what watches Serin from outside; no server is asked
    #[command(subcommand)]
    Export(ExportCommand),
    /// Try a container or a command by hand, as a step of a pipeline would run it
    #[command(subcommand)]
    Local(LocalCommand),
    /// Container images: made of a folder, of a file, or of this program
    #[command(subcommand)]
    Image(ImageCommand),
    /// Do a part of a run, as the engine asks for it
    #[command(hide = true, subcommand)]
    Step(StepCommand),
    /// Stand between the engine and a job
    #[command(hide = true)]
    Supervise,
    /// Be a replica, in a process of its own or in a container
    #[command(subcommand, hide = true)]
    Container(super::container::ContainerCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

/// Which columns of a file are what.
#[derive(Debug, Clone, PartialEq, Default, Args)]
#[command(next_help_heading = "Columns")]
pub struct ColumnArgs {
    /// The column to predict
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Columns to leave out
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// A column carried through to predictions, never learnt from
    #[arg(long = "id-column", value_name = "NAME")]
    pub id: Option<String>,
    /// A column of sample weights
    #[arg(long = "weight-column", value_name = "NAME")]
    pub weight: Option<String>,
    /// Rows of one group never stand on both sides of a split
    #[arg(long = "group-column", value_name = "NAME")]
    pub group: Option<String>,
    /// Split forward in time by this column
    #[arg(long = "time-column", value_name = "NAME")]
    pub time: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  serin train --data train.csv --target target --budget 60s\n  \
    serin train --data 'parts/*.parquet' --target label --test holdout.csv --metric macro-f1 --out out/\n  \
    serin train --data train.csv --target target --trials 30 --seed 17     # the same bundle digest every time")]
pub struct TrainArgs {
    /// Training rows: CSV (plain or gzip) or Parquet; a file, several, or a pattern
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub data: Vec<String>,
    /// The frozen hold-out; without it a stratified share of the training rows is held out
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub test: Vec<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Settings of the project
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Time for search, calibration and refit, such as 60s or 5m
    #[arg(long, value_name = "TIME", conflicts_with = "trials")]
    pub budget: Option<String>,
    /// A number of trials instead of a time: exactly reproducible
    #[arg(long, value_name = "N")]
    pub trials: Option<i64>,
    /// What selection maximises, such as macro-f1, accuracy, balanced-accuracy or log-loss
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Folds of cross-validation
    #[arg(long, value_name = "N")]
    pub folds: Option<i64>,
    /// Where all randomness comes from
    #[arg(long, value_name = "N")]
    pub seed: Option<i64>,
    /// Threads; 0 means all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<i64>,
    /// auto searches; reference trains the recipe of the system that Serin replaces
    #[arg(long, value_name = "NAME")]
    pub preset: Option<String>,
    /// Share of the training rows held out when there is no --test; 0 evaluates out of fold
    #[arg(long, value_name = "SHARE")]
    pub holdout: Option<f64>,
    /// The bundle that serves today: the new one must beat it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub champion: Option<PathBuf>,
    /// Where model.serin, report.html, evaluation.json and leaderboard.json go
    #[arg(long, value_name = "DIR", default_value = "out", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  serin evaluate --model out/model.serin --data holdout.csv --json")]
pub struct EvaluateArgs {
    /// The bundle to judge
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Labelled rows
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, value_hint = ValueHint::FilePath)]
    pub data: Vec<String>,
    /// The column with the true class, when it is not called as in training
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Settings whose gates apply
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Another bundle to compare with, paired on the same rows
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub champion: Option<PathBuf>,
    /// Print the evaluation as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  serin import model.txt --out model.serin --classes no,yes --golden rows.csv\n  \
    serin import model.json --format xgboost --out model.serin"
)]
pub struct ImportArgs {
    /// A LightGBM text model, or an XGBoost model in JSON or UBJSON
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// What the file must be; auto looks at its content
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ImportFormat::Auto)]
    pub format: ImportFormat,
    /// Names of the classes in the model's order; 0, 1, 2 ... without it
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
    /// Rows to keep with the model; with columns p_CLASS it must answer them so, within 1e-6
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub golden: Option<PathBuf>,
    /// What the model is called; the file's name without it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Where the bundle goes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
}

/// The formats that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ImportFormat {
    Auto,
    Lightgbm,
    Xgboost,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  serin predict --model out/model.serin --data rows.csv --proba --out predictions.csv\n  \
    serin predict --model out/model.serin --data rows.parquet --out predictions.parquet"
)]
pub struct PredictArgs {
    /// The bundle to ask, or a model that LightGBM or XGBoost trained
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Names of the classes of a model trained elsewhere
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
    /// Rows; columns are found by name, others are left out
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, value_hint = ValueHint::FilePath)]
    pub data: Vec<String>,
    /// Add one column p_CLASS for each class
    #[arg(long)]
    pub proba: bool,
    /// A column of the rows to carry through
    #[arg(long = "id-column", value_name = "NAME")]
    pub id: Option<String>,
    /// Where predictions go, .csv or .parquet; without it CSV goes to standard output
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The bundle to open, or a model that LightGBM or XGBoost trained
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub model: PathBuf,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  serin serve out/model.serin --listen 127.0.0.1:8080 --data-dir serin-data &\n  \
    curl -H 'content-type: text/csv' --data-binary @rows.csv http://127.0.0.1:8080/invocations\n  \
    serin serve digits=a.serin wine=b.serin      # /endpoints/digits/invocations, /endpoints/wine/invocations\n  \
    serin serve model.txt --classes ham,spam      # a LightGBM or XGBoost model as it is"
)]
pub struct ServeArgs {
    /// Models to serve, each as FILE or NAME=FILE (a bundle, LightGBM text, XGBoost JSON or UBJSON); without any, the endpoints of the settings
    #[arg(value_name = "MODEL", value_hint = ValueHint::FilePath)]
    pub models: Vec<String>,
    /// Name of the endpoint of an only model, instead of its file's
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Class names of a model trained elsewhere, in its order [default: 0, 1, ...]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub classes: Option<Vec<String>>,
    /// The endpoint that /invocations asks when there are several
    #[arg(long, value_name = "NAME")]
    pub default: Option<String>,
    #[command(flatten)]
    pub place: ServingPlaceArgs,
}

/// Where a server listens, and where it keeps what it keeps.
#[derive(Debug, Clone, Args)]
pub struct ServingPlaceArgs {
    /// Address and port to listen on; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address and port of health and metrics [default: the port after --listen]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,
    /// Where the journal and the inference table live
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Certificate chain (PEM): speak TLS
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = ValueHint::FilePath)]
    pub tls_certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate", value_hint = ValueHint::FilePath)]
    pub tls_key: Option<PathBuf>,
    /// Settings of the project
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  serin gateway --data-dir serin-data --listen 127.0.0.1:8080")]
pub struct GatewayArgs {
    #[command(flatten)]
    pub place: ServingPlaceArgs,
}

/// Commands about data.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Schema, missing values, duplicates, constants, leaks, class counts, correlations
    #[command(
        after_help = "Example:\n  serin data check --data train.csv --target target --test holdout.csv"
    )]
    Check(DataCheckArgs),
}

#[derive(Debug, Args)]
pub struct DataCheckArgs {
    /// Rows to check
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub data: Vec<String>,
    /// Rows that should not overlap with them
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub test: Vec<String>,
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Settings of the project
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  serin demo\n  serin demo --data train.csv --target target --dir my-demo"
)]
pub struct DemoArgs {
    /// Your own rows instead of the example's
    #[arg(long, value_name = "FILE", requires = "target", value_hint = ValueHint::FilePath)]
    pub data: Option<PathBuf>,
    /// The column to predict
    #[arg(long, value_name = "NAME", requires = "data")]
    pub target: Option<String>,
    /// Where the project is written; replaced only if an earlier demo made it
    #[arg(long, value_name = "DIR", default_value = "serin-demo", value_hint = ValueHint::DirPath)]
    pub dir: PathBuf,
    /// Time for search, calibration and refit
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub budget: String,
    /// Train the first version and serve every one in containers of Docker or Podman
    #[arg(long)]
    pub container: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  serin init wine --data wine.csv --target quality\n  \
    cd wine && serin up")]
pub struct InitArgs {
    /// The folder to make; its name is the project's
    #[arg(value_name = "NAME", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
    /// The training rows: CSV (plain or gzip) or Parquet; copied when not larger than 64 MiB
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub data: PathBuf,
    /// The column to predict
    #[arg(long, value_name = "COLUMN")]
    pub target: String,
    /// Columns to leave out
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    pub ignore: Vec<String>,
}

/// Where captured answers are.
#[derive(Debug, Clone, Default, Args)]
pub struct DataDirArgs {
    /// Where the journal and the inference table live
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Settings of the project
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  serin query \"select predicted, count(*) from inferences group by 1\"\n  \
    serin query --csv --limit 0 'select * from \"endpoint_digits\"' > rows.csv"
)]
pub struct QueryArgs {
    /// One SELECT; tables and views are in docs/inference-table.md
    #[arg(value_name = "SQL")]
    pub sql: String,
    #[command(flatten)]
    pub place: DataDirArgs,
    /// Print a JSON array of objects
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV
    #[arg(long)]
    pub csv: bool,
    /// In CSV, a quote before text that a spreadsheet would run as a formula
    #[arg(long, requires = "csv")]
    pub excel_safe: bool,
    /// Rows to print at most; 0 means all
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub limit: u64,
    /// Give up after this time, such as 500ms or 2m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// Commands about captured answers.
#[derive(Debug, Subcommand)]
pub enum CaptureCommand {
    /// What waits in the journal, and what the table holds
    Status(CaptureStatusArgs),
    /// Write rows of a time to a file
    #[command(after_help = "Times are 2026-11-22 or 2026-11-22T10:00:00Z.\nExample:\n  \
        serin capture export --from 2026-11-01 --to 2026-12-01 --format parquet --out november.parquet")]
    Export(CaptureExportArgs),
    /// Delete rows, with their labels, by id
    Delete(CaptureDeleteArgs),
}

#[derive(Debug, Args)]
pub struct CaptureStatusArgs {
    #[command(flatten)]
    pub place: DataDirArgs,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct CaptureExportArgs {
    /// The first moment
    #[arg(long, value_name = "TIME")]
    pub from: Timestamp,
    /// The first moment that is not meant any more
    #[arg(long, value_name = "TIME")]
    pub to: Timestamp,
    /// One endpoint only
    #[arg(long, value_name = "NAME")]
    pub endpoint: Option<String>,
    /// The form of the file
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// The file, which appears when it is whole
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: PathBuf,
    /// In CSV, a quote before text that a spreadsheet would run as a formula
    #[arg(long)]
    pub excel_safe: bool,
    #[command(flatten)]
    pub place: DataDirArgs,
}

/// What an export can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A column a feature, typed
    Parquet,
    /// A column a feature
    Csv,
    /// The capture file of SageMaker, one request a line
    SagemakerJsonl,
}

#[derive(Debug, Args)]
pub struct CaptureDeleteArgs {
    /// Ids of rows, or of batches with all their rows
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<String>,
    #[command(flatten)]
    pub place: DataDirArgs,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

/// Commands about labels.
#[derive(Debug, Subcommand)]
pub enum LabelsCommand {
    /// Attach the true classes in a CSV file to captured rows
    #[command(
        after_help = "Example:\n  serin labels import truth.csv --id-column request --label-column outcome"
    )]
    Import(LabelsImportArgs),
}

#[derive(Debug, Args)]
pub struct LabelsImportArgs {
    /// CSV with a header
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The column of row ids: an inference id, with `/n` for row n of a batch
    #[arg(long, value_name = "NAME", default_value = "id")]
    pub id_column: String,
    /// The column of true classes
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub label_column: String,
    /// The column that says when they were known; without it: now
    #[arg(long, value_name = "NAME")]
    pub time_column: Option<String>,
    #[command(flatten)]
    pub place: DataDirArgs,
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    serin_core::config::parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write a time such as 500ms, 60s or 2m".to_owned())
}

/// Commands that make files for other programs.
#[derive(Debug, Subcommand)]
pub enum ExportCommand {
    /// Alert rules for Prometheus, as YAML
    #[command(
        after_help = "Example:\n  serin export prometheus-rules --out /etc/prometheus/serin.rules.yml && promtool check rules \
                      /etc/prometheus/serin.rules.yml"
    )]
    PrometheusRules(ExportFileArgs),
    /// A dashboard for Grafana, as JSON: import it and choose the Prometheus
    #[command(after_help = "Example:\n  serin export grafana --out serin-dashboard.json")]
    Grafana(ExportFileArgs),
}

#[derive(Debug, Args)]
pub struct ExportFileArgs {
    /// The file, which appears when it is whole; without it everything is printed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// Commands about settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its default and what it means
    Show,
    /// Say whether a file is right, or where it is not
    Check {
        /// The file to check
        #[arg(value_name = "FILE", default_value = "serin.toml", value_hint = ValueHint::FilePath)]
        file: PathBuf,
    },
}
