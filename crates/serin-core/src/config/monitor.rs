//! `[monitor]`: how live rows are watched, and what retraining takes from them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serin_ml::drift::CompareOptions;

use super::ConfigError;
use super::check::{Place, non_empty};
use super::raw::{RawLabels, RawMonitor};

/// The time that a rate of false alarms is told for.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);
/// The shortest window and the longest, seconds: rows are counted in spans of ten seconds.
const WINDOW_SECONDS: (f64, f64) = (10.0, 86_400.0);

/// How live rows are watched.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorSettings {
    /// Whether windows are looked at by themselves.
    pub is_enabled: bool,
    /// How long a window is: tens of seconds that a day can be divided into.
    pub window: Duration,
    /// With fewer answered rows nothing is said.
    pub min_rows: u64,
    /// Windows with a finding that are to be expected in 30 days in which nothing changed.
    pub false_alarms: f64,
    /// A change of fewer than this share of rows is not told.
    pub least_shift: f64,
    /// What is told was found in so many of so many windows.
    pub confirm: (u32, u32),
    /// Labelled rows of the last so long are judged.
    pub quality_window: Duration,
    /// With fewer labels nothing is said about quality.
    pub quality_min_labels: u64,
    /// Macro-F1 may be so far below the hold-out's.
    pub quality_drop: f64,
    /// What retraining takes.
    pub retrain: RetrainSettings,
    /// Where true classes come from by themselves.
    pub labels: Option<LabelSource>,
}

/// `[monitor.retrain]`: what a run takes that an alarm asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrainSettings {
    /// New labelled rows since the champion was trained, without which there is no run.
    pub min_labels: u64,
    /// Rows of the last so long are taken.
    pub window: Duration,
    /// Most of them, the newest first.
    pub max_rows: usize,
    /// Most of one class; `None`: no limit.
    pub class_quota: Option<usize>,
    /// Share of labelled rows kept out of training: the new model must not be worse than the champion on them.
    pub recent_share: f64,
    /// Only says what would be done.
    pub is_dry_run: bool,
}

/// `[labels]`: a database that knows the true classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelSource {
    /// A SQLite file.
    pub database: PathBuf,
    /// Gives two columns: the id of a row and its class.
    pub sql: String,
    /// How often it is asked.
    pub poll: Duration,
}

impl MonitorSettings {
    /// How strict a comparison of one window is.
    #[must_use]
    pub fn compare_options(&self) -> CompareOptions {
        let windows = MONTH.as_secs_f64() / self.window.as_secs_f64().max(1.0);
        CompareOptions {
            false_alarm: (self.false_alarms / windows).min(0.5),
            least_rows: self.min_rows,
            least_shift: self.least_shift,
        }
    }
}

pub(super) fn check(
    raw: &RawMonitor,
    labels: &RawLabels,
    folder: &Path,
    at: &Place<'_>,
) -> Result<MonitorSettings, ConfigError> {
    let days =
        |key: &str, text: &Option<String>, default: &str| at.days(key, text.as_deref().unwrap_or(default));
    let window = at.duration("monitor.window", raw.window.as_deref().unwrap_or("1h"))?;
    at.within("monitor.window", window.as_secs_f64(), WINDOW_SECONDS.0, WINDOW_SECONDS.1)?;
    if !window.as_secs().is_multiple_of(10) || window.subsec_nanos() != 0 || 86_400 % window.as_secs() != 0 {
        let fix = "write what a day can be divided into, such as 15m or 1h";
        return Err(at.error("monitor.window", "does not divide a day", fix));
    }
    let confirm = raw.confirm.as_deref().unwrap_or("2 of 3");
    let confirm = match confirm.split_once(" of ").map(|(m, n)| (m.trim().parse(), n.trim().parse())) {
        Some((Ok(m), Ok(n))) if 1 <= m && m <= n && n <= 24 => (m, n),
        _ => {
            let problem = format!("{confirm:?} is not understood");
            return Err(at.error(
                "monitor.confirm",
                &problem,
                "write such as \"2 of 3\", at most 24 windows",
            ));
        }
    };
    let retrain = &raw.retrain;
    Ok(MonitorSettings {
        is_enabled: raw.enabled.unwrap_or(true),
        window,
        min_rows: at.within("monitor.min_rows", raw.min_rows.unwrap_or(200), 20, 1_000_000_000)?,
        false_alarms: at.within("monitor.false_alarms", raw.false_alarms.unwrap_or(1.0), 1e-6, 1_000.0)?,
        least_shift: at.within("monitor.least_shift", raw.least_shift.unwrap_or(0.05), 0.0, 1.0)?,
        confirm,
        quality_window: days("monitor.quality_window", &raw.quality_window, "7d")?,
        quality_min_labels: at.within(
            "monitor.quality_min_labels",
            raw.quality_min_labels.unwrap_or(100),
            1,
            1_000_000_000,
        )?,
        quality_drop: at.within("monitor.quality_drop", raw.quality_drop.unwrap_or(0.05), 0.0, 1.0)?,
        retrain: RetrainSettings {
            min_labels: at.within(
                "monitor.retrain.min_labels",
                retrain.min_labels.unwrap_or(100),
                0,
                1_000_000_000,
            )?,
            window: days("monitor.retrain.window", &retrain.window, "90d")?,
            max_rows: at.within(
                "monitor.retrain.max_rows",
                retrain.max_rows.unwrap_or(100_000),
                1,
                10_000_000,
            )?,
            class_quota: Some(at.within(
                "monitor.retrain.class_quota",
                retrain.class_quota.unwrap_or(0),
                0,
                10_000_000,
            )?)
            .filter(|&quota| quota > 0),
            recent_share: at.within(
                "monitor.retrain.recent_share",
                retrain.recent_share.unwrap_or(0.25),
                0.0,
                0.9,
            )?,
            is_dry_run: retrain.dry_run.unwrap_or(false),
        },
        labels: label_source(labels, folder, at)?,
    })
}

fn label_source(raw: &RawLabels, folder: &Path, at: &Place<'_>) -> Result<Option<LabelSource>, ConfigError> {
    match (non_empty(raw.database.clone()), non_empty(raw.sql.clone())) {
        (None, None) => Ok(None),
        (Some(database), Some(sql)) => Ok(Some(LabelSource {
            database: at.path("labels.database", &database, folder),
            sql,
            poll: at.duration("labels.poll", raw.poll.as_deref().unwrap_or("1m"))?,
        })),
        (None, Some(_)) => {
            Err(at.error("labels.database", "is empty", "name the SQLite file that labels.sql asks"))
        }
        (Some(_), None) => {
            Err(at.error("labels.sql", "is empty", "write such as \"select id, class from truth\""))
        }
    }
}
