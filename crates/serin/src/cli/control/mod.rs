//! The commands that a running control plane answers. Each asks its interface, and shows what it says.

mod alarms;
mod approvals;
pub mod args;
mod autoscale;
mod client;
mod decisions;
mod destroy;
mod drill;
mod endpoints;
mod events;
mod experiments;
mod follow;
mod lineage;
mod login;
mod metrics;
mod monitor;
mod replicas;
mod rollouts;
mod runs;
mod status;
mod triggers;
mod versions;
pub(super) mod words;

pub(super) use monitor::last_look;

use serde_json::Value;

use self::args::{LookArgs, PageArgs, PipelineCommand};
use super::exit::Exit;
use super::printer;

/// Runs the command.
pub(super) fn run(command: &PipelineCommand) -> anyhow::Result<Exit> {
    match command {
        PipelineCommand::Status(args) => status::run(args),
        PipelineCommand::Run(args) => runs::run(args),
        PipelineCommand::Runs(args) => runs::list(args),
        PipelineCommand::Approvals(args) => approvals::list(args),
        PipelineCommand::Approval(command) => approvals::one(command),
        PipelineCommand::Approve(args) => approvals::decide(args, "approve"),
        PipelineCommand::Reject(args) => approvals::decide(args, "reject"),
        PipelineCommand::Versions(args) => versions::list(args),
        PipelineCommand::Version(command) => versions::one(command),
        PipelineCommand::Alias(args) => versions::alias(args),
        PipelineCommand::Tag(args) => versions::tag(args),
        PipelineCommand::Compare(args) => versions::compare(args),
        PipelineCommand::Endpoints(args) => endpoints::list(args),
        PipelineCommand::Deployments(args) => endpoints::deployments(args),
        PipelineCommand::Deploy(args) => endpoints::deploy(args),
        PipelineCommand::Rollback(args) => endpoints::rollback(args),
        PipelineCommand::Rollout(command) => rollouts::run(command),
        PipelineCommand::Drill(args) => drill::run(args),
        PipelineCommand::Replicas(args) => replicas::list(args),
        PipelineCommand::Replica(command) => replicas::one(command),
        PipelineCommand::Scale(args) => replicas::scale(args),
        PipelineCommand::Autoscale(command) => autoscale::run(command),
        PipelineCommand::Monitor(command) => monitor::run(command),
        PipelineCommand::Drift(args) => super::drift::run(args),
        PipelineCommand::Quality(args) => monitor::quality(args),
        PipelineCommand::Alarms(args) => alarms::list(args),
        PipelineCommand::Alarm(command) => alarms::one(command),
        PipelineCommand::Metrics(command) => metrics::run(command),
        PipelineCommand::Lineage(args) => lineage::run(args),
        PipelineCommand::WhoServed(args) => lineage::who_served(args),
        PipelineCommand::Trigger(command) => triggers::run(command),
        PipelineCommand::Events(args) => events::run(args),
        PipelineCommand::Decisions(args) => decisions::list(args),
        PipelineCommand::Explain(about) => decisions::explain(about),
        PipelineCommand::Replay(about) => decisions::replay(about),
        PipelineCommand::Experiments(args) => experiments::run(args),
        PipelineCommand::Destroy(args) => destroy::run(args),
    }
}

/// Prints an answer: as it came, or in words.
fn show(look: &LookArgs, answer: &Value, words: impl FnOnce(&Value) -> String) -> anyhow::Result<Exit> {
    let text = if look.json { serde_json::to_string_pretty(answer)? } else { words(answer) };
    printer::data(&text)?;
    Ok(Exit::Done)
}

/// Says how to see the rest of a list, when there is one.
fn say_more(look: &LookArgs, answer: &Value) {
    if let Some(next) = answer["next"].as_u64().filter(|_| !look.json) {
        printer::talk(&format!("serin: there are more: --before {next} shows them"));
    }
}

/// The parameters of a list.
fn page(page: &PageArgs) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("project", page.project.clone()),
        ("limit", Some(page.limit.to_string())),
        ("before", page.before.map(|number| number.to_string())),
    ]
}
