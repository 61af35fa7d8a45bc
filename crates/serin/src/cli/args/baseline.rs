//! What can be typed about baselines.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::ColumnArgs;

/// Commands about baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Types, missing values, range, mean and quantiles of each feature
    #[command(after_help = "Examples:\n  serin baseline show --model out/model.serin\n  \
        serin baseline show --data train.csv --target target --json")]
    Show(BaselineShowArgs),
    /// Write it as SageMaker's statistics.json and constraints.json, or as a profile
    #[command(
        after_help = "Examples:\n  serin baseline export --model out/model.serin --format sagemaker --out baseline/\n  \
        serin baseline export --data train.csv --target target --format profile --out baseline/"
    )]
    Export(BaselineExportArgs),
}

/// Where a baseline is taken from.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("rows").required(true))]
pub struct BaselineSourceArgs {
    /// A bundle, which knows what it was trained on
    #[arg(long, value_name = "FILE", group = "rows", value_hint = ValueHint::FilePath)]
    pub model: Option<PathBuf>,
    /// Rows instead: CSV (plain or gzip) or Parquet; a file, several, or a pattern
    #[arg(long, value_name = "FILE", num_args = 1.., group = "rows", value_hint = ValueHint::FilePath)]
    pub data: Vec<String>,
    /// Settings of the project, which say how --data is read
    #[arg(long, value_name = "FILE", env = "SERIN_CONFIG", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub columns: ColumnArgs,
}

#[derive(Debug, Args)]
pub struct BaselineShowArgs {
    /// Print as JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub source: BaselineSourceArgs,
}

#[derive(Debug, Args)]
pub struct BaselineExportArgs {
    /// What to write
    #[arg(long, value_enum)]
    pub format: BaselineFormat,
    /// The folder the files go to; it is made when it is not there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    #[command(flatten)]
    pub source: BaselineSourceArgs,
}

/// What a baseline can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BaselineFormat {
    /// statistics.json and constraints.json of SageMaker Model Monitor
    Sagemaker,
    /// profile.json, which can be merged with others
    Profile,
}
