//! What is behind the gate: one file a resource.

mod approvals;
mod decisions;
mod endpoints;
mod events;
mod experiments;
mod health;
mod hooks;
mod lineage;
mod logs;
mod metrics;
mod projects;
mod replicas;
mod rollouts;
mod runs;
mod stages;
mod status;
mod triggers;
mod uploads;
mod versions;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serin_core::config::Settings;
use serin_core::pipeline::project_settings;
use serin_core::store::Project;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::ask::{Refused, missing};
use crate::control::Control;

/// How long an answer waits for something to tell, when it is asked to: less than the interface waits for any answer.
const FOLLOW_LIMIT: Duration = Duration::from_secs(25);
/// How often it looks meanwhile.
const FOLLOW_PAUSE: Duration = Duration::from_millis(200);

/// Everything that can be asked of `control`.
pub fn handlers(control: Arc<Control>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics_text))
        .routes(routes!(status::status))
        .routes(routes!(projects::list_projects, projects::add_project))
        .routes(routes!(projects::show_project, projects::remove_project))
        .routes(routes!(runs::ask_for_run))
        .routes(routes!(uploads::upload_data))
        .routes(routes!(triggers::raise_alarm, watch::list_alarms))
        .routes(routes!(hooks::hear_push))
        .routes(routes!(triggers::list_triggers))
        .routes(routes!(triggers::pause_trigger))
        .routes(routes!(triggers::resume_trigger))
        .routes(routes!(runs::list_runs))
        .routes(routes!(runs::show_run))
        .routes(routes!(runs::show_step))
        .routes(routes!(logs::read_logs))
        .routes(routes!(runs::cancel_run))
        .routes(routes!(runs::retry_run))
        .routes(routes!(approvals::list_approvals))
        .routes(routes!(approvals::show_approval))
        .routes(routes!(approvals::decide_approval))
        .routes(routes!(versions::list_versions))
        .routes(routes!(lineage::compare_versions))
        .routes(routes!(versions::show_version))
        .routes(routes!(lineage::show_lineage))
        .routes(routes!(versions::decide_version))
        .routes(routes!(versions::set_tag, versions::remove_tag))
        .routes(routes!(versions::set_alias, versions::remove_alias))
        .routes(routes!(endpoints::list_endpoints))
        .routes(routes!(endpoints::list_deployments))
        .routes(routes!(endpoints::show_served))
        .routes(routes!(stages::deploy))
        .routes(routes!(stages::roll_back))
        .routes(routes!(replicas::list_replicas))
        .routes(routes!(replicas::drain_replica))
        .routes(routes!(replicas::scale_stage))
        .routes(routes!(replicas::show_autoscale))
        .routes(routes!(replicas::list_scalings))
        .routes(routes!(rollouts::drill))
        .routes(routes!(rollouts::list_rollouts))
        .routes(routes!(rollouts::show_rollout))
        .routes(routes!(rollouts::command_rollout))
        .routes(routes!(watch::show_alarm))
        .routes(routes!(watch::silence_alarm))
        .routes(routes!(watch::test_alarm))
        .routes(routes!(watch::backtest_alarm))
        .routes(routes!(watch::look_now))
        .routes(routes!(watch::show_quality))
        .routes(routes!(watch::list_looks))
        .routes(routes!(watch::show_look))
        .routes(routes!(watch::list_metrics))
        .routes(routes!(watch::query_metrics))
        .routes(routes!(events::list_events))
        .routes(routes!(decisions::list_decisions))
        .routes(routes!(decisions::show_decision))
        .routes(routes!(decisions::replay_decision))
        .routes(routes!(experiments::list_trials))
        .routes(routes!(experiments::compare_trials))
        .with_state(control)
}

/// The project called `name`.
fn project(control: &Control, name: &str) -> Result<Project, Refused> {
    let found = control.store.projects()?.into_iter().find(|project| project.name == name);
    found.ok_or_else(|| missing("project", name).into())
}

/// The project called `name` with its settings.
fn with_settings(control: &Control, name: &str) -> Result<(Project, Settings), Refused> {
    let project = project(control, name)?;
    let settings = project_settings(Path::new(&project.folder))?;
    Ok((project, settings))
}
