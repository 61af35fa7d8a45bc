//! Sends one notice by a real channel, so that scripts can try it against other people's servers.
//!
//! `send_notice mail HOST:PORT PASSWORD_FILE` sends as user `serin` to a server on this machine, without TLS;
//! `send_notice webhook URL SECRET_FILE ...` sends to a URL on this machine.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use serin_core::clock::{Clock, SystemClock};
use serin_core::domain::{Event, EventKind, Notice, RunNumber};
use serin_core::notify::{Channel, MailChannel, MailSecurity, MailSettings, WebhookChannel, WebhookSettings};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let time = clock.now();
    let [way, address, files @ ..] = arguments.as_slice() else {
        return Err("usage: send_notice mail|webhook ADDRESS FILE...".into());
    };
    let channel: Box<dyn Channel> = if way == "mail" {
        let (host, port) = address.rsplit_once(':').ok_or("HOST:PORT")?;
        let settings = MailSettings {
            name: "mail".into(),
            host: host.into(),
            port: port.parse()?,
            security: MailSecurity::None,
            from: "Serin <serin@example.org>".into(),
            to: vec!["ops@example.org".into(), "Émilie <emilie@example.org>".into()],
            user: files.first().map(|_| "serin".into()),
            password_file: files.first().map(PathBuf::from),
        };
        Box::new(MailChannel::new(settings, clock)?)
    } else {
        let settings = WebhookSettings {
            name: "webhook".into(),
            url: address.clone(),
            secret_files: files.iter().map(PathBuf::from).collect(),
            allow_http: true,
            allow: vec!["127.0.0.0/8".parse()?],
            time_limit: WebhookSettings::TIME_LIMIT,
        };
        Box::new(WebhookChannel::new(settings, clock)?)
    };
    channel.send(&Notice {
        id: "019aab12-0000-7000-8000-000000000001".into(),
        channel: channel.name().into(),
        event: Event {
            number: 41,
            time,
            kind: EventKind::ApprovalWanted,
            project: "digits\r\nBcc: evil@example.org".into(),
            run: Some(RunNumber(7)),
            text: "version 3 waits for approval: macro-F1 0.83 → 0.85".into(),
            facts: serde_json::json!({ "macro_f1": 0.85 }),
        },
        attempts: 0,
    })?;
    Ok(())
}
