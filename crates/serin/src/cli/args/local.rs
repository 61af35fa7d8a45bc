//! What can be typed about containers and commands that are tried by hand, and about images.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueHint};
use serin_core::config::{Gpus, ImageName, parse_bytes};

use super::duration;

/// Commands that try a container, or a command, as a step of a pipeline would run it.
#[derive(Debug, Subcommand)]
pub enum LocalCommand {
    /// Train as a SageMaker training job does
    #[command(after_help = "Examples:\n  \
        serin local train --image train:1 --data train.csv --hyperparameters rounds=20 target=label --out try/\n  \
        serin local train --data train.csv --out try/ --command python3 train.py")]
    Train(LocalTrainArgs),
    /// Process files as a SageMaker processing job does
    #[command(after_help = "Examples:\n  \
        serin local process --image prepare:1 --data raw.csv --outputs train test --out try/\n  \
        serin local process --data raw.csv --outputs train --out try/ --command python3 prepare.py")]
    Process(LocalProcessArgs),
    /// Serve a model as a SageMaker endpoint does, until Ctrl-C
    #[command(after_help = "Examples:\n  \
        serin local serve --image serve:1 --model try/model &\n  \
        serin local serve --image serve:1 --model try/model --data rows.csv     # asks for these rows, and ends")]
    Serve(LocalServeArgs),
}

/// What runs.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct ProgramArgs {
    /// The container image, by name or digest
    #[arg(long, value_name = "IMAGE", group = "what")]
    pub image: Option<ImageName>,
    /// A program and its arguments, instead of what the image runs, or without an image as a process; comes last
    #[arg(long, value_name = "PROGRAM", group = "what", num_args = 1.., allow_hyphen_values = true)]
    pub command: Vec<String>,
    /// Download the image when it is not there
    #[arg(long, requires = "image")]
    pub pull: bool,
    /// Give the container a network
    #[arg(long, requires = "image")]
    pub network: bool,
    /// Folders of the image that may be written to, besides /tmp
    #[arg(long, value_name = "FOLDER", requires = "image", value_delimiter = ',')]
    pub writable: Vec<String>,
    /// Processors of the container, such as 1.5
    #[arg(long, value_name = "N", requires = "image")]
    pub cpus: Option<f64>,
    /// Graphics processors of the container: all, a number, or ids with commas
    #[arg(long, value_name = "GPUS", requires = "image")]
    pub gpus: Option<Gpus>,
    /// Memory, such as 512MiB
    #[arg(long, value_name = "SIZE", default_value = "8GiB", value_parser = size)]
    pub memory: u64,
    /// Processes at one time
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub processes: u32,
    /// Variables of its environment
    #[arg(long, value_name = "NAME=VALUE", num_args = 1.., value_parser = pair)]
    pub environment: Vec<(String, String)>,
}

/// What a job gets and leaves.
#[derive(Debug, Args)]
pub struct JobFilesArgs {
    /// Files for it; quote a pattern so that the shell leaves it alone
    #[arg(long, value_name = "FILE", num_args = 1.., required = true, value_hint = ValueHint::FilePath)]
    pub data: Vec<PathBuf>,
    /// A folder whose files the command runs among, as /opt/ml/code
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub code: Option<PathBuf>,
    /// The folder that is /opt/ml: it is made, stays, and must be empty
    #[arg(long, value_name = "DIR", default_value = "serin-local", value_hint = ValueHint::DirPath)]
    pub out: PathBuf,
    /// How long it may run, such as 30m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub time_limit: Duration,
    /// What it may print
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub output_limit: u64,
}

#[derive(Debug, Args)]
pub struct LocalTrainArgs {
    #[command(flatten)]
    pub files: JobFilesArgs,
    /// Hyperparameters, which it reads as text
    #[arg(long, value_name = "NAME=VALUE", num_args = 1.., value_parser = pair)]
    pub hyperparameters: Vec<(String, String)>,
    /// The channel of the files
    #[arg(long, value_name = "NAME", default_value = "train")]
    pub channel: String,
    #[command(flatten)]
    pub program: ProgramArgs,
}

#[derive(Debug, Args)]
pub struct LocalProcessArgs {
    #[command(flatten)]
    pub files: JobFilesArgs,
    /// The input of the files
    #[arg(long, value_name = "NAME", default_value = "data")]
    pub input: String,
    /// Folders that it leaves files in
    #[arg(long, value_name = "NAME", num_args = 1.., default_value = "output")]
    pub outputs: Vec<String>,
    #[command(flatten)]
    pub program: ProgramArgs,
}

#[derive(Debug, Args)]
pub struct LocalServeArgs {
    /// The folder that is /opt/ml/model, such as `model` of a training's --out
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub model: PathBuf,
    /// Rows to ask it for, file by file; it is stopped when it answered
    #[arg(long, value_name = "FILE", num_args = 1.., value_hint = ValueHint::FilePath)]
    pub data: Vec<PathBuf>,
    /// What the rows are; by the file's name without it
    #[arg(long, value_name = "TYPE", requires = "data")]
    pub content_type: Option<String>,
    /// What the answers are to be
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub accept: String,
    /// How long it may take until it answers /ping, such as 90s
    #[arg(long, value_name = "TIME", default_value = "4m", value_parser = duration)]
    pub time_limit: Duration,
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// Commands about container images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make an image of a folder with a Dockerfile, or of this program; prints its id
    #[command(after_help = "Examples:\n  serin image build --from images/train --tag train:1 --pull\n  \
        serin image build                          # of this program: replicas run in it")]
    Build(ImageBuildArgs),
    /// Load the images in a file that `docker save` or `podman save` wrote; prints their names and ids
    #[command(after_help = "Example:\n  serin image load train.tar")]
    Load(ImageLoadArgs),
}

#[derive(Debug, Args)]
pub struct ImageBuildArgs {
    /// A folder with a Dockerfile; without it the image is of this program
    #[arg(long, value_name = "DIR", requires = "tag", value_hint = ValueHint::DirPath)]
    pub from: Option<PathBuf>,
    /// What the image is called; of this program: serin and the version
    #[arg(long, value_name = "NAME")]
    pub tag: Option<ImageName>,
    /// Let the Dockerfile download: the image that it begins from, and what its commands fetch
    #[arg(long, requires = "from")]
    pub pull: bool,
}

#[derive(Debug, Args)]
pub struct ImageLoadArgs {
    /// The file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

fn size(text: &str) -> Result<u64, String> {
    parse_bytes(text)
        .filter(|bytes| *bytes >= 16 << 20)
        .ok_or_else(|| "write a size such as 512MiB or 8GiB, at least 16MiB".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a name and a value, as in rounds=20".to_owned()),
    }
}
