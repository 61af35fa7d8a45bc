//! The commands: one file each, plus what they share.

mod args;
mod baseline;
mod capture;
mod client;
mod config;
mod container;
mod control;
mod data;
mod demo;
mod drift;
mod evaluate;
mod exit;
mod export;
mod files;
mod gateway;
mod image;
mod import;
mod init;
mod inspect;
mod labels;
mod local;
mod predict;
mod printer;
mod prometheus;
mod query;
mod report;
pub mod serve;
mod settings;
mod simulate;
mod step;
mod supervise;
mod threads;
mod train;
mod up;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command, DataCommand};
use exit::Exit;

/// Runs the program and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let exit = match dispatch(&cli.command) {
        Ok(exit) => exit,
        Err(error) if is_broken_pipe(&error) => Exit::Done,
        Err(error) => {
            let chain: Vec<String> = error.chain().map(ToString::to_string).collect();
            printer::talk(&format!("serin: {}", chain.join(": ")));
            exit::of_error(&error)
        }
    };
    exit.into()
}

fn dispatch(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Init(args) => init::run(args),
        Command::Data(DataCommand::Check(args)) => data::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Import(args) => import::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Baseline(command) => baseline::run(command),
        Command::Serve(args) => serve::run(args),
        Command::Gateway(args) => gateway::run(args),
        Command::Pipeline(command) => control::run(command),
        Command::Simulate(command) => simulate::run(command),
        Command::Query(args) => query::run(args),
        Command::Capture(command) => capture::run(command),
        Command::Labels(command) => labels::run(command),
        Command::Config(command) => config::run(command),
        Command::Export(command) => prometheus::run(command),
        Command::Local(command) => local::run(command),
        Command::Image(command) => image::run(command),
        Command::Up(args) => up::up(args),
        Command::Control(args) => up::control(args),
        Command::Step(command) => step::run(command),
        Command::Container(command) => container::run(command),
        Command::Supervise => supervise::run(),
        Command::Completions { shell } => {
            // Into memory first: the generator panics when a reader goes away.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "serin", &mut script);
            printer::data(&String::from_utf8_lossy(&script))?;
            Ok(Exit::Done)
        }
    }
}

/// Whoever read our output went away; that is not a failure of ours.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    // The writers of CSV and JSON keep what the output said to themselves.
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        let csv = cause.downcast_ref::<csv::Error>().and_then(|error| match error.kind() {
            csv::ErrorKind::Io(error) => Some(error.kind()),
            _ => None,
        });
        let json = || cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        let plain = || cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        csv.or_else(json).or_else(plain)
    };
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
