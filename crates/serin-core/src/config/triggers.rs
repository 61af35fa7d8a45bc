//! `[triggers]`: what asks for runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ConfigError;
use super::check::{Place, non_empty};
use super::raw::RawTriggers;

/// What asks for runs, and how often it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriggerSettings {
    /// Between two automatic runs of one cause; commits wait for none.
    pub cooldown: Duration,
    /// Automatic runs within 24 hours.
    pub daily_budget: u32,
    /// Whether new commits ask for runs.
    pub git: bool,
    /// How often the repository is asked.
    pub git_poll: Duration,
    /// The secret of push webhooks; `None`: none are taken.
    pub webhook_secret_file: Option<PathBuf>,
    /// Files, folders or patterns whose lasting change asks for a run; empty: none.
    pub watch: Vec<PathBuf>,
    /// How often they are looked at whole.
    pub watch_poll: Duration,
    /// Where a data source may be dropped.
    pub upload_folder: Option<PathBuf>,
    /// When runs are due, and in which time zone; `None`: never.
    pub schedule: Option<(String, String)>,
    /// Whether alarms ask for runs.
    pub alarm: bool,
}

pub(super) fn check(
    raw: &RawTriggers,
    folder: &Path,
    at: &Place<'_>,
) -> Result<TriggerSettings, ConfigError> {
    let path = |key, text: &Option<String>| non_empty(text.clone()).map(|text| at.path(key, &text, folder));
    let poll = |key: &str, text: &Option<String>, default: &str| {
        let poll = at.duration(key, text.as_deref().unwrap_or(default))?;
        at.within(key, poll.as_secs_f64(), 0.1, 86_400.0).map(|_| poll)
    };
    let cooldown = match raw.cooldown.as_deref() {
        Some("0s" | "0") => Duration::ZERO,
        text => at.duration("triggers.cooldown", text.unwrap_or("10m"))?,
    };
    let watch = at.paths("triggers.data.watch", raw.data.watch.clone(), folder);
    let schedule = &raw.schedule;
    let cron = schedule.cron.clone().unwrap_or_default();
    let zone = schedule.zone.clone().unwrap_or_default();
    Ok(TriggerSettings {
        cooldown,
        daily_budget: at.within("triggers.daily_budget", raw.daily_budget.unwrap_or(24), 0, 10_000)?,
        git: raw.git.enabled.unwrap_or(true),
        git_poll: poll("triggers.git.poll", &raw.git.poll, "10s")?,
        webhook_secret_file: path("triggers.git.webhook_secret_file", &raw.git.webhook_secret_file),
        watch: if raw.data.enabled.unwrap_or(true) { watch } else { Vec::new() },
        watch_poll: poll("triggers.data.poll", &raw.data.poll, "30s")?,
        upload_folder: path("triggers.upload.folder", &raw.upload.folder),
        schedule: schedule.enabled.unwrap_or(false).then_some((cron, zone)),
        alarm: raw.alarm.enabled.unwrap_or(true),
    })
}
