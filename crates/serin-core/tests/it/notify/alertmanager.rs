//! Alarms on their way to Alertmanager.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use serin_core::domain::{EventKind, Notice};
use serin_core::notify::{
    AlertmanagerChannel, AlertmanagerSettings, Allowed, Channel as _, InvalidAlertmanager, Login, SendError,
    UnusableUrl,
};

use super::notice;
use crate::receiver::{Answer, Receiver};

fn channel(url: &str, login: Login, allow: &[&str]) -> Result<AlertmanagerChannel, InvalidAlertmanager> {
    AlertmanagerChannel::new(AlertmanagerSettings {
        name: "alertmanager-1".into(),
        url: url.into(),
        login,
        allow_http: true,
        allow: allow.iter().map(|text| text.parse::<Allowed>().unwrap()).collect(),
        time_limit: Duration::from_secs(2),
    })
}

fn secret_file(folder: &Path, content: &str) -> PathBuf {
    let path = folder.join("secret");
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn alarm(number: u64, kind: EventKind, state: &str) -> Notice {
    let mut notice = notice("digits", "alarm prod-drift: 3 features changed");
    notice.event.number = number;
    notice.event.kind = kind;
    notice.event.facts = json!({
        "alarm": "prod-drift", "state": state, "reason": "3 features changed", "advice": "see `serin drift`", "silence": null,
    });
    notice
}

fn sent(receiver: &Receiver) -> Vec<Value> {
    receiver.received().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[test]
fn an_alarm_begins_an_alert_and_ends_it() {
    let receiver = Receiver::start("127.0.0.1", &[]);
    let url = format!("http://{}/prefix/", receiver.address);
    let channel = channel(&url, Login::None, &["127.0.0.0/8"]).unwrap();
    for (number, kind, state) in [
        (1, EventKind::AlarmRaised, "ALARM"),
        (2, EventKind::AlarmCleared, "OK"),
        // Silenced: what goes on is not told, what goes off is.
        (3, EventKind::AlarmMuted, "ALARM"),
        (4, EventKind::AlarmMuted, "OK"),
        (5, EventKind::AlarmUnknown, "INSUFFICIENT_DATA"),
    ] {
        channel.send(&alarm(number, kind, state)).unwrap();
    }
    // Nothing else is its business.
    channel.send(&notice("digits", "version 3 waits for approval")).unwrap();

    let request = &receiver.received()[0];
    assert_eq!(request.line, "POST /prefix/api/v2/alerts HTTP/1.1");
    assert_eq!(request.header("content-type"), "application/json");
    let sent = sent(&receiver);
    assert_eq!(sent.len(), 4, "{sent:?}");
    let labels = json!({ "alertname": "SerinAlarm", "severity": "warning", "project": "digits", "alarm": "prod-drift" });
    let annotations = json!({
        "summary": "alarm prod-drift: 3 features changed", "reason": "3 features changed", "description": "see `serin drift`",
    });
    assert_eq!(
        sent[0],
        json!([{ "labels": labels, "annotations": annotations,
            "startsAt": "2026-11-22T10:00:00Z", "endsAt": "2026-12-22T10:00:00Z" }])
    );
    for ended in &sent[1..] {
        assert_eq!(
            *ended,
            json!([{ "labels": labels, "annotations": annotations, "endsAt": "2026-11-22T10:00:00Z" }])
        );
    }
}

#[test]
fn what_was_refused_is_sent_again_but_not_after_what_came_later() {
    let answers = [Answer::Status("503 Service Unavailable", "retry-after: 9\r\n".into()), Answer::Hang];
    let receiver = Receiver::start("127.0.0.1", &answers);
    let url = format!("http://{}", receiver.address);
    let channel = channel(&url, Login::None, &["127.0.0.1"]).unwrap();
    let (raised, cleared) =
        (alarm(1, EventKind::AlarmRaised, "ALARM"), alarm(2, EventKind::AlarmCleared, "OK"));
    let refused = channel.send(&raised).unwrap_err();
    assert_eq!((refused.may_retry(), refused.retry_after()), (true, Some(Duration::from_secs(9))));
    assert!(channel.send(&raised).unwrap_err().may_retry());
    channel.send(&cleared).unwrap();
    channel.send(&raised).unwrap();
    assert_eq!(receiver.received().len(), 3, "the alarm that is over does not begin again");
    // The same notice may come twice.
    channel.send(&cleared).unwrap();
    assert_eq!(receiver.received().len(), 4);

    let mut nothing = alarm(3, EventKind::AlarmRaised, "ALARM");
    nothing.event.facts = json!({});
    assert!(matches!(channel.send(&nothing), Err(SendError::Unwritable { .. })));
}

#[test]
fn secrets_come_from_files_and_it_goes_nowhere_that_is_not_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start("127.0.0.1", &[]);
    let url = format!("http://{}", receiver.address);
    let file = secret_file(folder.path(), "pass:word\n");
    let raised = alarm(1, EventKind::AlarmRaised, "ALARM");
    for (login, header) in [
        (Login::Password("serin".into(), file.clone()), "Basic c2VyaW46cGFzczp3b3Jk"),
        (Login::Token(file.clone()), "Bearer pass:word"),
    ] {
        channel(&url, login, &["127.0.0.1"]).unwrap().send(&raised).unwrap();
        assert_eq!(receiver.received().last().unwrap().header("authorization"), header);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let open = channel(&url, Login::Token(file), &["127.0.0.1"]).unwrap().send(&raised).unwrap_err();
    assert!(matches!(open, SendError::Secret(_)) && !format!("{open:?}").contains("pass"), "{open:?}");

    let private = channel(&url, Login::None, &[]).unwrap().send(&raised).unwrap_err();
    assert!(matches!(private, SendError::Forbidden { .. }), "{private:?}");
    assert_eq!(receiver.connections(), 2);
    let user = channel("http://serin:x@host", Login::None, &[]).unwrap_err();
    assert!(matches!(user, InvalidAlertmanager::Url(UnusableUrl::User)), "{user:?}");
}
