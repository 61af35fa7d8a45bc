//! Notices as mail.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport as _};
use thiserror::Error;

use super::{Channel, SendError};
use crate::clock::Clock;
use crate::domain::Notice;
use crate::secret;

/// For each answer of the mail server.
const TIME_LIMIT: Duration = Duration::from_secs(15);
/// Receivers of one channel.
const RECEIVERS_LIMIT: usize = 50;
/// Characters of a subject.
const SUBJECT_LIMIT: usize = 160;
/// Characters of the facts in a mail.
const FACTS_LIMIT: usize = 16 << 10;

/// A mail channel as written in the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSettings {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub security: MailSecurity,
    /// `a@b` or `Name <a@b>`.
    pub from: String,
    pub to: Vec<String>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// How the way to the mail server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// TLS from the beginning, most often on port 465.
    Tls,
    /// TLS after `STARTTLS`, most often on port 587; without it nothing is sent.
    StartTls,
    /// Not at all: for a mail server on this machine only.
    None,
}

/// Why a mail channel's settings cannot be used.
#[derive(Debug, Error)]
pub enum InvalidMail {
    #[error("{text:?} is not a mail address such as serin@example.org or Serin <serin@example.org>")]
    Address { text: String },
    #[error("mail goes to 1 to {RECEIVERS_LIMIT} addresses, not {found}")]
    Receivers { found: usize },
    #[error("without TLS, mail goes to a server on this machine only, not to {host}")]
    Unprotected { host: String },
    #[error("a user and a password file belong together")]
    Credentials,
    #[error("{host:?} cannot be the name of a mail server")]
    Host { host: String, source: lettre::transport::smtp::Error },
}

/// Sends notices through one mail server.
pub struct MailChannel {
    settings: MailSettings,
    from: Mailbox,
    to: Vec<Mailbox>,
    tls: Tls,
    clock: Arc<dyn Clock>,
}

impl MailChannel {
    /// A channel by these settings.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(settings: MailSettings, clock: Arc<dyn Clock>) -> Result<Self, InvalidMail> {
        if !(1..=RECEIVERS_LIMIT).contains(&settings.to.len()) {
            return Err(InvalidMail::Receivers { found: settings.to.len() });
        }
        if settings.user.is_some() != settings.password_file.is_some() {
            return Err(InvalidMail::Credentials);
        }
        let from = mailbox(&settings.from)?;
        let to = settings.to.iter().map(|text| mailbox(text)).collect::<Result<_, _>>()?;
        let parameters = || {
            let host = settings.host.clone();
            TlsParameters::new(host.clone()).map_err(|source| InvalidMail::Host { host, source })
        };
        let tls = match settings.security {
            MailSecurity::Tls => Tls::Wrapper(parameters()?),
            MailSecurity::StartTls => Tls::Required(parameters()?),
            MailSecurity::None if is_this_machine(&settings.host) => Tls::None,
            MailSecurity::None => return Err(InvalidMail::Unprotected { host: settings.host }),
        };
        Ok(Self { settings, from, to, tls, clock })
    }

    fn message(&self, notice: &Notice) -> Result<Message, SendError> {
        let seconds = u64::try_from(self.clock.now().0.div_euclid(1_000_000)).unwrap_or(0);
        let id: String = notice.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject(notice))
            // The same for every attempt, so that a mail program shows a repeat once.
            .message_id(Some(format!("<{id}@serin>")))
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .header(ContentType::TEXT_PLAIN)
            // Whoever is away does not answer to a machine (RFC 3834).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.to {
            message = message.to(to.clone());
        }
        message.body(text(notice)).map_err(|error| SendError::Unwritable { problem: error.to_string() })
    }
}

impl Channel for MailChannel {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn send(&self, notice: &Notice) -> Result<(), SendError> {
        let message = self.message(notice)?;
        let mut transport = SmtpTransport::builder_dangerous(&self.settings.host)
            .port(self.settings.port)
            .tls(self.tls.clone())
            .hello_name(ClientId::Domain("serin".to_owned()))
            .timeout(Some(TIME_LIMIT));
        if let (Some(user), Some(path)) = (&self.settings.user, &self.settings.password_file) {
            let password = secret::read_text(path)?;
            let password = password.text().unwrap_or_default().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        transport.build().send(&message).map(|_| ()).map_err(refused)
    }
}

impl std::fmt::Debug for MailChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailChannel").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The text of an answer may repeat what was sent; its number says enough.
fn refused(error: lettre::transport::smtp::Error) -> SendError {
    if error.is_timeout() || was_too_slow(&error) {
        return SendError::TimedOut { limit: TIME_LIMIT };
    }
    match error.status() {
        Some(code) => SendError::MailRefused { code: u16::from(code), is_lasting: error.is_permanent() },
        None => SendError::Unreachable(Box::new(error)),
    }
}

/// A socket that waits no longer says that it would have to.
fn was_too_slow(error: &dyn std::error::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

fn mailbox(text: &str) -> Result<Mailbox, InvalidMail> {
    let invalid = || InvalidMail::Address { text: text.chars().take(128).collect() };
    // A name could otherwise begin a header of its own.
    if text.contains(char::is_control) {
        return Err(invalid());
    }
    text.parse().map_err(|_| invalid())
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One line whatever the names in it are.
fn subject(notice: &Notice) -> String {
    let event = &notice.event;
    let run = event.run.map(|run| format!(", run {run}")).unwrap_or_default();
    let line = format!("[serin] {}{run}: {}", event.project, event.text);
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.chars().take(SUBJECT_LIMIT).collect()
}

fn text(notice: &Notice) -> String {
    let event = &notice.event;
    let facts = serde_json::to_string_pretty(&event.facts).unwrap_or_default();
    let facts: String = facts.chars().take(FACTS_LIMIT).collect();
    let facts = if event.facts.is_null() { String::new() } else { format!("\n{facts}\n") };
    format!(
        "{}\n\nproject: {}\nevent:   {} ({})\ntime:    {}\n{facts}",
        event.text,
        event.project,
        event.kind.name(),
        event.number,
        event.time.to_rfc3339(),
    )
}
