//! Alarms as alerts of Alertmanager (API v2): one that goes on begins an alert, one that goes off ends it.
//!
//! Alertmanager forgets an alert without an end after minutes unless it is sent again and again. A notice is sent once, so
//! an alert begins with an end that is far away, and gets its true one when the alarm goes off.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use thiserror::Error;
use ureq::Agent;

use super::addresses::Allowed;
use super::egress::{
    Lookup, Reach, SystemLookup, TlsUnusable, UnusableUrl, agent, check_url, taken, unanswered,
};
use super::{Channel, SendError};
use crate::clock::Timestamp;
use crate::domain::{AlarmState, EventKind, Notice};
use crate::secret;

/// What is told of alarms: whatever changes their state.
pub const ALARM_EVENTS: [EventKind; 5] = [
    EventKind::AlarmRaised,
    EventKind::AlarmCleared,
    EventKind::AlarmKnown,
    EventKind::AlarmUnknown,
    EventKind::AlarmMuted,
];
/// An alert that nobody ended is over after so long.
const LONGEST_ALERT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Alarms whose last notice is remembered.
const ALARMS_REMEMBERED: usize = 10_000;
/// The alert's name; the alarm's is a label.
const ALERT: &str = "SerinAlarm";

/// One Alertmanager as written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// The channel's.
    pub name: String,
    /// Without `/api/v2/alerts`.
    pub url: String,
    pub login: Login,
    /// Plain HTTP is fine too.
    pub allow_http: bool,
    /// Addresses that may be connected to although they are not public.
    pub allow: Vec<Allowed>,
    /// From the look-up of the name to the answer's head.
    pub time_limit: Duration,
}

/// How Serin says who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    #[default]
    None,
    /// A user, and the file of the password.
    Password(String, PathBuf),
    /// The file of a token.
    Token(PathBuf),
}

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum InvalidAlertmanager {
    #[error(transparent)]
    Url(#[from] UnusableUrl),
    #[error(transparent)]
    Tls(#[from] TlsUnusable),
}

/// Sends alarms to one Alertmanager.
#[derive(Debug)]
pub struct AlertmanagerChannel {
    settings: AlertmanagerSettings,
    agent: Agent,
    /// The last event that was taken, by project and alarm: an older one that was refused before comes too late.
    taken: Mutex<BTreeMap<(String, String), u64>>,
}

impl AlertmanagerChannel {
    /// A channel by these settings.
    ///
    /// # Errors
    /// When they cannot be used. Whether the host may be reached is judged whenever it is.
    pub fn new(settings: AlertmanagerSettings) -> Result<Self, InvalidAlertmanager> {
        Self::with_lookup(settings, Arc::new(SystemLookup))
    }

    /// The same, with names looked up in another way.
    ///
    /// # Errors
    /// As for [`AlertmanagerChannel::new`].
    pub fn with_lookup(
        settings: AlertmanagerSettings,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, InvalidAlertmanager> {
        check_url(&settings.url, settings.allow_http)?;
        let agent = agent(Reach::Public(settings.allow.clone()), lookup, settings.time_limit)?;
        Ok(Self { settings, agent, taken: Mutex::default() })
    }

    /// The header, with the secret as it is in its file now.
    fn authorization(&self) -> Result<Option<String>, SendError> {
        let read = |path: &PathBuf| secret::read_text(path);
        Ok(match &self.settings.login {
            Login::None => None,
            Login::Password(user, file) => {
                let secret = read(file)?;
                let pair = [user.as_bytes(), b":", secret.bytes()].concat();
                Some(format!("Basic {}", STANDARD.encode(pair)))
            }
            Login::Token(file) => read(file)?.text().map(|token| format!("Bearer {token}")),
        })
    }
}

impl Channel for AlertmanagerChannel {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let Some((alarm, alert)) = alert(notice)? else { return Ok(()) };
        let key = (notice.event.project.clone(), alarm);
        let mut known = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&key).is_some_and(|last| *last > notice.event.number) {
            return Ok(());
        }
        let url = format!("{}/api/v2/alerts", self.settings.url.trim_end_matches('/'));
        let mut request = self.agent.post(&url).header("content-type", "application/json");
        if let Some(authorization) = self.authorization()? {
            request = request.header("authorization", authorization);
        }
        let answer = request.send(json!([alert]).to_string());
        taken(answer.map_err(|error| unanswered(error, self.settings.time_limit))?)?;
        if known.len() >= ALARMS_REMEMBERED {
            known.pop_first();
        }
        known.insert(key, notice.event.number);
        Ok(())
    }
}

/// The alarm that a notice is about, and its alert; `None` when there is nothing to say: the notice is of something else,
/// or of an alarm that went on while it is silenced.
fn alert(notice: &Notice) -> Result<Option<(String, serde_json::Value)>, SendError> {
    let event = &notice.event;
    if !ALARM_EVENTS.contains(&event.kind) {
        return Ok(None);
    }
    let text = |key: &str| event.facts[key].as_str().unwrap_or_default();
    let alarm = text("alarm");
    let state = serde_json::from_value::<AlarmState>(event.facts["state"].clone());
    let (Ok(state), false) = (state, alarm.is_empty()) else {
        return Err(SendError::Unwritable {
            problem: "the event does not name an alarm and its state".to_owned(),
        });
    };
    let is_on = state == AlarmState::Alarm;
    if is_on && event.kind == EventKind::AlarmMuted {
        return Ok(None);
    }
    let mut alert = json!({
        "labels": { "alertname": ALERT, "severity": "warning", "project": event.project, "alarm": alarm },
        "annotations": { "summary": event.text, "reason": text("reason"), "description": text("advice") },
        "endsAt": event.time.to_rfc3339(),
    });
    if is_on {
        let far = i64::try_from(LONGEST_ALERT.as_micros()).unwrap_or(i64::MAX);
        alert["startsAt"] = event.time.to_rfc3339().into();
        alert["endsAt"] = Timestamp(event.time.0.saturating_add(far)).to_rfc3339().into();
    }
    Ok(Some((alarm.to_owned(), alert)))
}
