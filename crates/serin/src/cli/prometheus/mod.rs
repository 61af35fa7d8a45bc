//! `serin export`: alert rules and a dashboard for what watches Serin from outside. No server is asked.
//!
//! Both are made of the names in [`serin_core::names`], so that they cannot ask for a metric that is not there.

mod grafana;
mod rules;

use std::path::PathBuf;

use serin_core::config::{Layers, Settings};

use super::args::ExportCommand;
use super::exit::Exit;
use super::{files, printer};

/// Prints it, or writes the file.
pub fn run(command: &ExportCommand) -> anyhow::Result<Exit> {
    let (text, out): (String, &Option<PathBuf>) = match command {
        ExportCommand::PrometheusRules(args) => {
            (rules::yaml(&Settings::load(&Layers::default())?), &args.out)
        }
        ExportCommand::Grafana(args) => (format!("{:#}\n", grafana::dashboard()), &args.out),
    };
    match out {
        Some(path) => files::publish(path, text.as_bytes())?,
        None => printer::data(&text)?,
    }
    Ok(Exit::Done)
}
