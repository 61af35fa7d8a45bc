//! The outbox: notices that were written with their events leave by their channels, again and again until they are taken
//! or a day has passed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serin_ml::seed::Seed;
use thiserror::Error;

use super::{
    ALARM_EVENTS, AlertmanagerChannel, AlertmanagerSettings, Allowed, Channel, InvalidAlertmanager,
    InvalidAllowed, InvalidMail, InvalidWebhook, Login, MailChannel, MailSettings, SendError, WebhookChannel,
    WebhookSettings, next_attempt,
};
use crate::causes::in_one_line;
use crate::clock::Clock;
use crate::config::{AlertmanagerLogin, MailSecurity, NotifySettings};
use crate::domain::{EventKind, Notice};
use crate::engine::Moments;
use crate::hash::hash;
use crate::store::{Store, StoreError};

/// How often the outbox is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Notices sent in one look.
const NOTICES_AT_ONCE: u32 = 50;
/// The name of the mail channel.
const MAIL: &str = "mail";
/// The beginning of the names of channels to Alertmanager.
const ALERTMANAGER: &str = "alertmanager";

/// Why the channels of the settings cannot be used.
#[derive(Debug, Error)]
pub enum InvalidChannels {
    #[error("notify.mail")]
    Mail(#[from] InvalidMail),
    #[error("notify.webhooks: {name}")]
    Webhook { name: String, source: InvalidWebhook },
    #[error("notify: {name}: allow_hosts")]
    Allowed { name: String, source: InvalidAllowed },
    #[error("notify.alertmanager: url {place}")]
    Alertmanager { place: usize, source: InvalidAlertmanager },
}

/// A channel and the events that go by it.
pub type Subscription = (Arc<dyn Channel>, Vec<EventKind>);

/// Sends what the outbox holds until it is dropped.
#[derive(Debug)]
pub struct Outbox {
    stop: Option<Sender<()>>,
    is_stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The channels of the settings.
///
/// # Errors
/// The first that cannot be used.
pub fn subscriptions(
    settings: &NotifySettings,
    clock: &Arc<dyn Clock>,
) -> Result<Vec<Subscription>, InvalidChannels> {
    let mut channels: Vec<Arc<dyn Channel>> = Vec::new();
    if let Some(mail) = &settings.mail {
        let (user, password_file) = mail.login.clone().unzip();
        let mail = MailSettings {
            name: MAIL.to_owned(),
            host: mail.server.clone(),
            port: mail.port,
            security: match mail.security {
                MailSecurity::Tls => super::MailSecurity::Tls,
                MailSecurity::StartTls => super::MailSecurity::StartTls,
                MailSecurity::None => super::MailSecurity::None,
            },
            from: mail.from.clone(),
            to: mail.to.clone(),
            user,
            password_file,
        };
        channels.push(Arc::new(MailChannel::new(mail, clock.clone())?));
    }
    for webhook in &settings.webhooks {
        let name = || webhook.name.clone();
        let allow: Result<Vec<Allowed>, _> = webhook.allow_hosts.iter().map(|text| text.parse()).collect();
        let files = std::iter::once(&webhook.secret_file).chain(&webhook.old_secret_file);
        let made = WebhookSettings {
            name: webhook.name.clone(),
            url: webhook.url.clone(),
            secret_files: files.cloned().collect(),
            allow_http: webhook.allow_http,
            allow: allow.map_err(|source| InvalidChannels::Allowed { name: name(), source })?,
            time_limit: WebhookSettings::TIME_LIMIT,
        };
        let made = WebhookChannel::new(made, clock.clone());
        channels.push(Arc::new(made.map_err(|source| InvalidChannels::Webhook { name: name(), source })?));
    }
    let told = channels.into_iter().map(|channel| (channel, settings.events.clone()));
    Ok(told.chain(alertmanagers(settings)?).collect())
}

/// A channel for each Alertmanager of the settings: each gets every alarm, as they do not tell each other.
fn alertmanagers(settings: &NotifySettings) -> Result<Vec<Subscription>, InvalidChannels> {
    let Some(told) = &settings.alertmanager else { return Ok(Vec::new()) };
    let allow: Result<Vec<Allowed>, _> = told.allow_hosts.iter().map(|text| text.parse()).collect();
    let allow = allow.map_err(|source| InvalidChannels::Allowed { name: ALERTMANAGER.to_owned(), source })?;
    let login = match &told.login {
        None => Login::None,
        Some(AlertmanagerLogin::Password(user, file)) => Login::Password(user.clone(), file.clone()),
        Some(AlertmanagerLogin::Token(file)) => Login::Token(file.clone()),
    };
    let channel = |(place, url): (usize, &String)| {
        let made = AlertmanagerSettings {
            name: format!("{ALERTMANAGER}-{}", place + 1),
            url: url.clone(),
            login: login.clone(),
            allow_http: told.allow_http,
            allow: allow.clone(),
            time_limit: WebhookSettings::TIME_LIMIT,
        };
        let channel = AlertmanagerChannel::new(made)
            .map_err(|source| InvalidChannels::Alertmanager { place: place + 1, source })?;
        Ok((Arc::new(channel) as Arc<dyn Channel>, ALARM_EVENTS.to_vec()))
    };
    told.urls.iter().enumerate().map(channel).collect()
}

impl Outbox {
    /// Tells the store which events leave notices from now on, and starts to send.
    ///
    /// # Errors
    /// When the store refuses, or there are no threads.
    pub fn start(
        subscriptions: Vec<Subscription>,
        store: Arc<dyn Store>,
        moments: Arc<Moments>,
    ) -> Result<Self, StoreError> {
        let names: Vec<(String, Vec<EventKind>)> =
            subscriptions.iter().map(|(channel, kinds)| (channel.name().to_owned(), kinds.clone())).collect();
        store.set_channels(&names)?;
        let channels =
            subscriptions.into_iter().map(|(channel, _)| (channel.name().to_owned(), channel)).collect();
        let (stop, stopped) = channel();
        let is_stopping = Arc::new(AtomicBool::new(false));
        let post = Post { channels, store, moments, is_stopping: is_stopping.clone() };
        let thread = std::thread::Builder::new().name("outbox".into()).spawn(move || post.deliver(&stopped));
        let thread =
            thread.map_err(|error| StoreError::Invalid(format!("no thread for the outbox: {error}")))?;
        Ok(Self { stop: Some(stop), is_stopping, thread: Some(thread) })
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

struct Post {
    channels: BTreeMap<String, Arc<dyn Channel>>,
    store: Arc<dyn Store>,
    moments: Arc<Moments>,
    is_stopping: Arc<AtomicBool>,
}

impl Post {
    fn deliver(&self, stopped: &Receiver<()>) {
        while matches!(stopped.recv_timeout(LOOK_INTERVAL), Err(RecvTimeoutError::Timeout)) {
            let due = self.store.due_notices(self.moments.now(), NOTICES_AT_ONCE);
            match due.and_then(|due| due.iter().try_for_each(|notice| self.send(notice))) {
                Ok(()) => {}
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "the outbox cannot be looked at");
                }
            }
        }
    }

    fn send(&self, notice: &Notice) -> Result<(), StoreError> {
        // What is left is sent after the next start.
        if self.is_stopping.load(Ordering::SeqCst) {
            return Ok(());
        }
        let sent = match self.channels.get(&notice.channel) {
            Some(channel) => channel.send(notice),
            None => {
                Err(SendError::Unwritable { problem: "the channel is no longer in the settings".to_owned() })
            }
        };
        let now = self.moments.now();
        let Err(error) = sent else { return self.store.notice_sent(&notice.id, now) };
        let attempts = notice.attempts + 1;
        let since_first = Duration::from_micros(u64::try_from(now.wall.0 - notice.event.time.0).unwrap_or(0));
        let seed = Seed(hash(notice.id.bytes()));
        let wait = match error.may_retry() {
            true => next_attempt(attempts, since_first, seed, error.retry_after()),
            false => None,
        };
        let text = in_one_line(&error);
        if wait.is_none() {
            tracing::error!(notice.id = %notice.id, notice.channel, error = text, "a notice was given up");
        }
        self.store.notice_failed(&notice.id, wait, &text, now)
    }
}
