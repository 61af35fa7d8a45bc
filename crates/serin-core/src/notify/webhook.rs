//! Notices as signed webhooks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use thiserror::Error;
use ureq::Agent;

use super::addresses::Allowed;
use super::egress::{
    Lookup, Reach, SystemLookup, TlsUnusable, UnusableUrl, agent, check_url, taken, unanswered,
};
use super::signature::WebhookKey;
use super::{Channel, SendError};
use crate::clock::Clock;
use crate::domain::Notice;
use crate::secret;

/// Keys at one time: the new one and the old one.
const KEYS_LIMIT: usize = 2;
/// Of an answer that is read.
const ANSWER_LIMIT_BYTES: u64 = 64 << 10;

/// A webhook as written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    pub name: String,
    pub url: String,
    /// Files with the key; two while it is being changed, and then both sign.
    pub secret_files: Vec<PathBuf>,
    /// Plain HTTP is fine too.
    pub allow_http: bool,
    /// Addresses that may be connected to although they are not public.
    pub allow: Vec<Allowed>,
    /// From the look-up of the name to the answer's head.
    pub time_limit: Duration,
}

/// Why a webhook's settings cannot be used.
#[derive(Debug, Error)]
pub enum InvalidWebhook {
    #[error(transparent)]
    Url(#[from] UnusableUrl),
    #[error("a webhook has one secret file, or two while the key is changed, not {found}")]
    Secrets { found: usize },
    #[error(transparent)]
    Tls(#[from] TlsUnusable),
}

/// Sends notices to one URL.
pub struct WebhookChannel {
    settings: WebhookSettings,
    agent: Agent,
    clock: Arc<dyn Clock>,
}

impl WebhookSettings {
    /// A receiver that takes longer is doing its work before it says that it got the notice.
    pub const TIME_LIMIT: Duration = Duration::from_secs(30);
}

impl WebhookChannel {
    /// A channel by these settings.
    ///
    /// # Errors
    /// When they cannot be used. Whether the host may be reached is judged whenever it is.
    pub fn new(settings: WebhookSettings, clock: Arc<dyn Clock>) -> Result<Self, InvalidWebhook> {
        Self::with_lookup(settings, clock, Arc::new(SystemLookup))
    }

    /// The same, with names looked up in another way.
    ///
    /// # Errors
    /// As for [`WebhookChannel::new`].
    pub fn with_lookup(
        settings: WebhookSettings,
        clock: Arc<dyn Clock>,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, InvalidWebhook> {
        check_url(&settings.url, settings.allow_http)?;
        if !(1..=KEYS_LIMIT).contains(&settings.secret_files.len()) {
            return Err(InvalidWebhook::Secrets { found: settings.secret_files.len() });
        }
        let agent = agent(Reach::Public(settings.allow.clone()), lookup, settings.time_limit)?;
        Ok(Self { settings, agent, clock })
    }

    /// The keys as they are in their files now: they are changed without a restart.
    fn keys(&self) -> Result<Vec<WebhookKey>, SendError> {
        let key = |path: &PathBuf| {
            let secret = secret::read(path)?;
            WebhookKey::new(secret).map_err(|source| SendError::Key { path: path.clone(), source })
        };
        self.settings.secret_files.iter().map(key).collect()
    }
}

impl Channel for WebhookChannel {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn send(&self, notice: &Notice) -> Result<(), SendError> {
        // What it says is nobody's business here, and is not read.
        self.post(&notice.id, &body(notice).to_string()).map(drop)
    }
}

impl WebhookChannel {
    /// Asks the receiver something, signed as notices are, and reads the beginning of its answer.
    ///
    /// # Errors
    /// As for notices; an answer that is no text is an empty one.
    pub fn ask(&self, id: &str, question: &serde_json::Value) -> Result<String, SendError> {
        let mut answer = self.post(id, &question.to_string())?;
        Ok(answer.body_mut().with_config().limit(ANSWER_LIMIT_BYTES).read_to_string().unwrap_or_default())
    }

    fn post(&self, id: &str, body: &str) -> Result<ureq::http::Response<ureq::Body>, SendError> {
        let seconds = self.clock.now().0.div_euclid(1_000_000);
        let keys = self.keys()?;
        let signatures: Vec<String> = keys.iter().map(|key| key.sign(id, seconds, body.as_bytes())).collect();
        let request = self
            .agent
            .post(&self.settings.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", signatures.join(" "));
        let answer = request.send(body).map_err(|error| unanswered(error, self.settings.time_limit))?;
        taken(answer)
    }
}

impl std::fmt::Debug for WebhookChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookChannel").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The payload: `type`, `timestamp` and `data`, as Standard Webhooks advises.
fn body(notice: &Notice) -> serde_json::Value {
    let event = &notice.event;
    json!({
        "type": event.kind.name(),
        "timestamp": event.time.to_rfc3339(),
        "data": {
            "event": event.number,
            "project": event.project,
            "run": event.run,
            "text": event.text,
            "facts": event.facts,
        },
    })
}
