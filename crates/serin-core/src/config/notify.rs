//! `[notify]` and `[experiments]`: who is told.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::check::{Place, non_empty};
use super::raw::{OneOrMany, RawAlertmanager, RawConfig, RawMail, RawWebhook};
use crate::domain::EventKind;

/// Alertmanagers of one cluster.
const ALERTMANAGERS_LIMIT: usize = 8;

/// Who is told what.
#[derive(Debug, Clone, PartialEq)]
pub struct NotifySettings {
    /// The events that are told.
    pub events: Vec<EventKind>,
    pub mail: Option<MailSettings>,
    pub webhooks: Vec<WebhookSettings>,
    pub alertmanager: Option<AlertmanagerSettings>,
    pub experiments: Option<ExperimentSettings>,
}

/// A mail server and whom it writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailSettings {
    pub server: String,
    pub port: u16,
    pub security: MailSecurity,
    pub from: String,
    pub to: Vec<String>,
    /// User, and the file of the password.
    pub login: Option<(String, PathBuf)>,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailSecurity {
    /// Plain at first; nothing is said before it is protected.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all: only for a server on this machine.
    None,
}

/// An address that events are posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Unique among the webhooks.
    pub name: String,
    pub url: String,
    /// The signing secret, and the one before it while receivers change over.
    pub secret_file: PathBuf,
    pub old_secret_file: Option<PathBuf>,
    pub allow_http: bool,
    /// Hosts and networks that may be private.
    pub allow_hosts: Vec<String>,
}

/// Alertmanagers that are told of alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertmanagerSettings {
    /// At least one; each is told.
    pub urls: Vec<String>,
    pub login: Option<AlertmanagerLogin>,
    pub allow_http: bool,
    /// Hosts and networks that may be private.
    pub allow_hosts: Vec<String>,
}

/// How Alertmanager knows who tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertmanagerLogin {
    /// User, and the file of the password.
    Password(String, PathBuf),
    /// The file of a token.
    Token(PathBuf),
}

/// A tracking server that gets a copy of every trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentSettings {
    pub mlflow: String,
    pub token_file: Option<PathBuf>,
}

pub(super) fn check(raw: &RawConfig, folder: &Path, at: &Place<'_>) -> Result<NotifySettings, ConfigError> {
    let mut events = Vec::new();
    for name in raw.notify.events.iter().flatten() {
        let kind: EventKind = serde_json::from_value(name.as_str().into()).map_err(|_| {
            let fix = "see docs/notifications.md for the names of events";
            at.error("notify.events", &format!("has \"{name}\""), fix)
        })?;
        events.push(kind);
    }
    let webhooks: Vec<WebhookSettings> =
        raw.notify.webhooks.iter().flatten().map(|raw| webhook(raw, folder, at)).collect::<Result<_, _>>()?;
    for (i, webhook) in webhooks.iter().enumerate() {
        if webhook.name == "mail" || webhook.name == "mlflow" || webhook.name.starts_with("alertmanager") {
            let problem = format!("has one called \"{}\", which is another channel", webhook.name);
            return Err(at.error("notify.webhooks", &problem, "give it another name"));
        }
        if webhooks[..i].iter().any(|other| other.name == webhook.name) {
            let problem = format!("has two called \"{}\"", webhook.name);
            return Err(at.error("notify.webhooks", &problem, "give each a name of its own"));
        }
    }
    let experiments = non_empty(raw.experiments.mlflow.clone()).map(|mlflow| ExperimentSettings {
        mlflow,
        token_file: non_empty(raw.experiments.token_file.clone())
            .map(|text| at.path("experiments.token_file", &text, folder)),
    });
    let mail = raw.notify.mail.as_ref().map(|raw| mail(raw, folder, at)).transpose()?;
    let alertmanager =
        raw.notify.alertmanager.as_ref().map(|raw| alertmanager(raw, folder, at)).transpose()?;
    Ok(NotifySettings { events, mail, webhooks, alertmanager, experiments })
}

fn mail(raw: &RawMail, folder: &Path, at: &Place<'_>) -> Result<MailSettings, ConfigError> {
    let needed = |key: &'static str, text: &Option<String>| {
        non_empty(text.clone()).ok_or_else(|| at.error(key, "is missing", "give it, or remove [notify.mail]"))
    };
    let security = match raw.security.as_deref().unwrap_or("starttls") {
        "starttls" => MailSecurity::StartTls,
        "tls" => MailSecurity::Tls,
        "none" => MailSecurity::None,
        other => {
            let fix = "write \"starttls\", \"tls\" or \"none\"";
            return Err(at.error("notify.mail.security", &format!("is \"{other}\""), fix));
        }
    };
    let to = raw.to.clone().map(OneOrMany::into_vec).unwrap_or_default();
    if to.is_empty() {
        return Err(at.error("notify.mail.to", "is empty", "name at least one address"));
    }
    let login = match (non_empty(raw.user.clone()), non_empty(raw.password_file.clone())) {
        (None, None) => None,
        (Some(user), Some(file)) => Some((user, at.path("notify.mail.password_file", &file, folder))),
        _ => {
            return Err(at.error(
                "notify.mail.user",
                "and password_file go together",
                "give both or neither",
            ));
        }
    };
    Ok(MailSettings {
        server: needed("notify.mail.server", &raw.server)?,
        port: raw.port.unwrap_or(match security {
            MailSecurity::StartTls => 587,
            MailSecurity::Tls => 465,
            MailSecurity::None => 25,
        }),
        security,
        from: needed("notify.mail.from", &raw.from)?,
        to,
        login,
    })
}

fn alertmanager(
    raw: &RawAlertmanager,
    folder: &Path,
    at: &Place<'_>,
) -> Result<AlertmanagerSettings, ConfigError> {
    let urls = raw.url.clone().map(OneOrMany::into_vec).unwrap_or_default();
    if urls.is_empty() || urls.len() > ALERTMANAGERS_LIMIT || urls.iter().any(String::is_empty) {
        let problem = format!("is not 1 to {ALERTMANAGERS_LIMIT} URLs");
        return Err(at.error("notify.alertmanager.url", &problem, "write url = \"https://host:9093\""));
    }
    let path = |key, text: &str| at.path(key, text, folder);
    let (user, password, token) = (
        non_empty(raw.user.clone()),
        non_empty(raw.password_file.clone()),
        non_empty(raw.token_file.clone()),
    );
    let login = match (user, password, token) {
        (None, None, None) => None,
        (Some(user), Some(file), None) => {
            Some(AlertmanagerLogin::Password(user, path("notify.alertmanager.password_file", &file)))
        }
        (None, None, Some(file)) => {
            Some(AlertmanagerLogin::Token(path("notify.alertmanager.token_file", &file)))
        }
        _ => {
            return Err(at.error(
                "notify.alertmanager.user",
                "and password_file go together, and not with token_file",
                "give both of them, or token_file alone, or none",
            ));
        }
    };
    Ok(AlertmanagerSettings {
        urls,
        login,
        allow_http: raw.allow_http.unwrap_or(false),
        allow_hosts: raw.allow_hosts.clone().unwrap_or_default(),
    })
}

fn webhook(raw: &RawWebhook, folder: &Path, at: &Place<'_>) -> Result<WebhookSettings, ConfigError> {
    const KEY: &str = "notify.webhooks";
    let needed = |what: &str, text: &Option<String>| {
        non_empty(text.clone()).ok_or_else(|| at.error(KEY, &format!("has one without {what}"), "give it"))
    };
    let path = |text: &str| at.path(KEY, text, folder);
    Ok(WebhookSettings {
        name: at.name(KEY, needed("name", &raw.name)?)?,
        url: needed("url", &raw.url)?,
        secret_file: path(&needed("secret_file", &raw.secret_file)?),
        old_secret_file: non_empty(raw.old_secret_file.clone()).map(|text| path(&text)),
        allow_http: raw.allow_http.unwrap_or(false),
        allow_hosts: raw.allow_hosts.clone().unwrap_or_default(),
    })
}
