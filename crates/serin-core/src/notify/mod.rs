//! Telling people and programs what happened: one channel a receiver, each with its own way and its own secret.
//!
//! A channel only sends. What waits, and for how long, is in the store's outbox; [`next_attempt`] says when to try again. The
//! same notice may arrive twice and carries the same id both times.

mod addresses;
mod alertmanager;
mod egress;
mod mail;
mod outbox;
mod retry;
mod signature;
mod webhook;

use std::fmt;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::domain::Notice;
use crate::secret::SecretError;

pub use addresses::{Allowed, InvalidAllowed};
pub use alertmanager::{ALARM_EVENTS, AlertmanagerChannel, AlertmanagerSettings, InvalidAlertmanager, Login};
pub use egress::{Lookup, SystemLookup, TlsUnusable, UnusableUrl};
pub(crate) use egress::{Reach, agent, unanswered};
pub use mail::{InvalidMail, MailChannel, MailSecurity, MailSettings};
pub use outbox::{InvalidChannels, Outbox, Subscription, subscriptions};
pub use retry::{GIVE_UP_AFTER, next_attempt};
pub use signature::{
    InvalidWebhookKey, Unverified, WEBHOOK_TOLERANCE, WebhookHeaders, WebhookKey, verify_webhook,
};
pub use webhook::{InvalidWebhook, WebhookChannel, WebhookSettings};

/// A way to tell somebody. Sending blocks, for a bounded time.
pub trait Channel: fmt::Debug + Send + Sync {
    /// Its name in the settings.
    fn name(&self) -> &str;

    /// Sends one notice.
    ///
    /// # Errors
    /// When the receiver did not take it, as far as can be known. The error knows whether to try again.
    fn send(&self, notice: &Notice) -> Result<(), SendError>;
}

/// Why a notice was not sent. No message holds a secret, or what the receiver answered but for its number.
#[derive(Debug, Error)]
pub enum SendError {
    #[error("the receiver answered {status}")]
    Refused { status: u16, retry_after: Option<Duration> },
    #[error("the mail server answered {code}")]
    MailRefused { code: u16, is_lasting: bool },
    #[error("the receiver answered {status}, to go elsewhere, which is not followed")]
    Redirected { status: u16 },
    #[error("{host} is at {address}, {why}; `allow` in the channel's settings can permit it")]
    Forbidden { host: String, address: std::net::IpAddr, why: &'static str },
    #[error("the address of {host} cannot be found")]
    Unknown { host: String, source: io::Error },
    #[error("the receiver cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the receiver took longer than {} s", limit.as_secs())]
    TimedOut { limit: Duration },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("{}: not usable as the key of a webhook", path.display())]
    Key { path: std::path::PathBuf, source: InvalidWebhookKey },
    #[error("the notice cannot be written as this channel needs it: {problem}")]
    Unwritable { problem: String },
}

impl SendError {
    /// Whether a later attempt may go better. What only a changed setting can mend is not tried again.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        match self {
            // Too early, too many, or the receiver's own fault.
            Self::Refused { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::MailRefused { is_lasting, .. } => !is_lasting,
            Self::Redirected { .. } | Self::Forbidden { .. } | Self::Unwritable { .. } => false,
            // A secret file is mended without a restart.
            Self::Unknown { .. }
            | Self::Unreachable(_)
            | Self::TimedOut { .. }
            | Self::Secret(_)
            | Self::Key { .. } => true,
        }
    }

    /// How long the receiver asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
