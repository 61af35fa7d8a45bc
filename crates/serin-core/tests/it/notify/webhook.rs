//! Webhooks: signed, sent again, and never anywhere they should not go.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serin_core::notify::{
    Allowed, Channel as _, InvalidWebhook, Lookup, SendError, SystemLookup, UnusableUrl, WebhookChannel,
    WebhookHeaders, WebhookKey, WebhookSettings, next_attempt, verify_webhook,
};
use serin_core::secret;
use serin_ml::seed::Seed;
use sha2::{Digest as _, Sha256};

use super::{NOW, clock, notice};
use crate::receiver::{Answer, Receiver};

fn secret_file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn settings(url: &str, secret_files: Vec<PathBuf>, allow: &[&str]) -> WebhookSettings {
    WebhookSettings {
        name: "ops".into(),
        url: url.into(),
        secret_files,
        allow_http: true,
        allow: allow.iter().map(|text| text.parse::<Allowed>().unwrap()).collect(),
        time_limit: Duration::from_secs(2),
    }
}

/// HMAC-SHA256 by its definition in RFC 2104.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], message].concat());
    Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_receiver_that_fails_gets_the_same_notice_until_it_takes_it() {
    let answers = [
        Answer::Status("500 Internal Server Error", String::new()),
        Answer::Hang,
        Answer::Status("429 Too Many Requests", "retry-after: 7\r\n".into()),
    ];
    let receiver = Receiver::start("127.0.0.1", &answers);
    let folder = tempfile::tempdir().unwrap();
    let (new, old) = ("the new key, which is long", "whsec_dGhlIG9sZCBrZXksIHdoaWNoIGlzIGxvbmc=");
    let files =
        vec![secret_file(folder.path(), "new", new), secret_file(folder.path(), "old", &format!("{old}\n"))];
    let url = format!("http://{}/hooks/serin?x=1", receiver.address);
    let channel = WebhookChannel::new(settings(&url, files, &["127.0.0.0/8"]), clock()).unwrap();
    let notice = notice("digits", "version 3 waits for approval");
    let (mut attempts, mut since_first, mut waits) = (1, Duration::ZERO, Vec::new());
    while let Err(error) = channel.send(&notice) {
        assert!(error.may_retry(), "{error}");
        let wait = next_attempt(attempts, since_first, Seed(1), error.retry_after()).unwrap();
        waits.push(wait.as_secs_f64().ceil() as u64);
        since_first += wait;
        attempts += 1;
    }
    assert_eq!((attempts, &waits[..]), (4, &[1, 2, 7][..]));

    let received = receiver.received();
    assert_eq!(received.len(), 4);
    for request in &received {
        assert_eq!(request.line, "POST /hooks/serin?x=1 HTTP/1.1");
        assert_eq!(request.header("webhook-id"), notice.id);
        assert_eq!(request.header("webhook-timestamp"), "1795341600");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.body, received[0].body);
        // Both keys signed, the new one first.
        let signed = [format!("{}.1795341600.", notice.id).as_bytes(), &request.body].concat();
        let header = request.header("webhook-signature");
        let signatures: Vec<String> =
            header.split(' ').map(|part| hex(&base64_decoded(part.strip_prefix("v1,").unwrap()))).collect();
        let expected = [&b"the new key, which is long"[..], b"the old key, which is long"]
            .map(|key| hex(&hmac(key, &signed)));
        assert_eq!(signatures, expected);
        let headers = WebhookHeaders {
            id: Some(request.header("webhook-id")),
            timestamp: Some(request.header("webhook-timestamp")),
            signature: Some(header),
        };
        let old = WebhookKey::new(secret::Secret::new(old.into())).unwrap();
        assert!(verify_webhook(&headers, &request.body, &[old], NOW, Duration::ZERO).is_ok());
    }
    let body: serde_json::Value = serde_json::from_slice(&received[0].body).unwrap();
    assert_eq!(body["type"], "approval-wanted");
    assert_eq!(body["timestamp"], "2026-11-22T10:00:00Z");
    assert_eq!(body["data"]["run"], 7);
    assert_eq!(body["data"]["facts"]["macro_f1"], 0.83);
}

/// Base64 by its alphabet.
fn base64_decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | alphabet.iter().position(|known| *known == byte).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn what_a_receiver_answers_decides_about_another_attempt_and_is_not_shown() {
    for (status, may_retry) in [
        ("400 Bad Request", false),
        ("401 Unauthorized", false),
        ("404 Not Found", false),
        ("408 Request Timeout", true),
        ("410 Gone", false),
        ("429 Too Many Requests", true),
        ("503 Service Unavailable", true),
        ("302 Found", false),
        ("307 Temporary Redirect", false),
    ] {
        let elsewhere = Receiver::start("127.0.0.1", &[]);
        let headers = format!("location: http://{}/\r\nretry-after: soon\r\n", elsewhere.address);
        let receiver = Receiver::start("127.0.0.1", &[Answer::Status(status, headers)]);
        let folder = tempfile::tempdir().unwrap();
        let files = vec![secret_file(folder.path(), "key", "a key that is long enough")];
        let url = format!("http://{}/", receiver.address);
        let channel = WebhookChannel::new(settings(&url, files, &["127.0.0.1"]), clock()).unwrap();
        let error = channel.send(&notice("digits", "x")).unwrap_err();
        assert_eq!(error.may_retry(), may_retry, "{status}");
        assert!(error.retry_after().is_none());
        assert!(
            error.to_string().contains(&status[..3]) && !format!("{error:?}").contains("s3cret"),
            "{error}"
        );
        assert_eq!((receiver.connections(), elsewhere.connections()), (1, 0), "{status}");
    }
}

#[test]
fn a_receiver_that_says_nothing_is_left() {
    let receiver = Receiver::start("127.0.0.1", &[Answer::Silence(Duration::from_secs(5))]);
    let folder = tempfile::tempdir().unwrap();
    let files = vec![secret_file(folder.path(), "key", "a key that is long enough")];
    let url = format!("http://{}/", receiver.address);
    let mut settings = settings(&url, files, &["127.0.0.1"]);
    settings.time_limit = Duration::from_millis(300);
    let error = WebhookChannel::new(settings, clock()).unwrap().send(&notice("digits", "x")).unwrap_err();
    assert!(matches!(error, SendError::TimedOut { .. }) && error.may_retry(), "{error:?}");
}

/// Names of the test; addresses in any form are the operating system's.
#[derive(Debug, Default)]
struct Names {
    known: BTreeMap<&'static str, Vec<IpAddr>>,
}

impl Lookup for Names {
    fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.known.get(host) {
            Some(addresses) => Ok(addresses.iter().map(|address| (*address, port).into()).collect()),
            None if host
                .contains(|c: char| c.is_ascii_alphabetic() && !c.is_ascii_hexdigit() && c != 'x') =>
            {
                if host == "localhost" {
                    SystemLookup.look_up(host, port)
                } else {
                    Err(io::ErrorKind::NotFound.into())
                }
            }
            None => SystemLookup.look_up(host, port),
        }
    }
}

#[test]
fn no_url_leads_to_what_is_near() {
    let near = Receiver::start("127.0.0.1", &[]);
    let names = [
        ("near.example", vec!["127.0.0.1"]),
        ("mixed.example", vec!["93.184.216.34", "127.0.0.1"]),
        ("mixed6.example", vec!["2606:2800:220:1::1", "fe80::1"]),
        ("metadata.example", vec!["169.254.169.254"]),
        ("mapped.example", vec!["::ffff:127.0.0.1"]),
        ("translated.example", vec!["64:ff9b::7f00:1"]),
        ("tunnel.example", vec!["2002:7f00:1::"]),
        ("nowhere.example", vec![]),
    ];
    let known = names.map(|(name, addresses)| {
        (name, addresses.iter().map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>())
    });
    let lookup: Arc<dyn Lookup> = Arc::new(Names { known: known.into() });
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::1]",
        "[fe80::1]",
        "[fd00::1]",
        "[ff02::1]",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "near.example",
        "near.example.",
        "mixed.example",
        "mixed6.example",
        "metadata.example",
        "mapped.example",
        "translated.example",
        "tunnel.example",
        "nowhere.example",
    ];
    let folder = tempfile::tempdir().unwrap();
    let files = vec![secret_file(folder.path(), "key", "a key that is long enough")];
    for host in hosts {
        let url = format!("http://{host}:{}/", near.address.port());
        // What is allowed is something else.
        let settings = settings(&url, files.clone(), &["10.9.0.0/16", "hooks.lan"]);
        let error = match WebhookChannel::with_lookup(settings, clock(), Arc::clone(&lookup)) {
            Ok(channel) => channel.send(&notice("digits", "x")).unwrap_err(),
            Err(error) => panic!("{url}: {error}"),
        };
        let is_refused = match &error {
            SendError::Forbidden { .. } => !error.may_retry(),
            SendError::Unknown { .. } => true,
            _ => false,
        };
        assert!(is_refused, "{url}: {error:?}");
    }
    assert_eq!(near.connections(), 0);
}

/// One answer after the other.
#[derive(Debug)]
struct Flipping {
    answers: Mutex<Vec<Vec<&'static str>>>,
    asked: AtomicUsize,
}

impl Lookup for Flipping {
    fn look_up(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().remove(0);
        Ok(answer.iter().map(|address| (address.parse::<IpAddr>().unwrap(), port).into()).collect())
    }
}

#[test]
fn a_name_that_changes_its_address_is_judged_by_the_one_that_is_used() {
    let near = Receiver::start("127.0.0.1", &[]);
    let receiver = Receiver::start("127.0.0.2", &[]);
    let answers = vec![vec!["127.0.0.2"], vec!["127.0.0.1"], vec!["127.0.0.2", "127.0.0.1"]];
    let lookup = Arc::new(Flipping { answers: Mutex::new(answers), asked: AtomicUsize::new(0) });
    let folder = tempfile::tempdir().unwrap();
    let files = vec![secret_file(folder.path(), "key", "a key that is long enough")];
    let url = format!("http://hooks.example:{}/", receiver.address.port());
    let settings = settings(&url, files, &["127.0.0.2"]);
    let channel = WebhookChannel::with_lookup(settings, clock(), lookup.clone()).unwrap();
    channel.send(&notice("digits", "x")).unwrap();
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "it is looked up once");
    for _ in 0..2 {
        let error = channel.send(&notice("digits", "x")).unwrap_err();
        assert!(matches!(error, SendError::Forbidden { .. }), "{error:?}");
    }
    assert_eq!((receiver.connections(), near.connections()), (1, 0));
}

#[test]
fn settings_that_would_tell_a_secret_or_go_astray_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = secret_file(folder.path(), "key", "a key that is long enough");
    let refused = |change: &dyn Fn(&mut WebhookSettings)| {
        let mut settings = settings("https://hooks.example/x", vec![file.clone()], &[]);
        change(&mut settings);
        WebhookChannel::new(settings, clock()).err()
    };
    assert!(refused(&|_| ()).is_none());
    assert!(matches!(refused(&|s| s.url = "https://".into()), Some(InvalidWebhook::Url(UnusableUrl::Form))));
    assert!(matches!(refused(&|s| s.url = "/x".into()), Some(InvalidWebhook::Url(UnusableUrl::Form))));
    assert!(matches!(
        refused(&|s| s.url = "https://u:p@host/".into()),
        Some(InvalidWebhook::Url(UnusableUrl::User))
    ));
    assert!(matches!(
        refused(&|s| s.url = "ftp://host/".into()),
        Some(InvalidWebhook::Url(UnusableUrl::Scheme { .. }))
    ));
    let plain = |s: &mut WebhookSettings| {
        s.url = "http://host/".into();
        s.allow_http = false;
    };
    assert!(matches!(refused(&plain), Some(InvalidWebhook::Url(UnusableUrl::Scheme { .. }))));
    assert!(matches!(refused(&|s| s.secret_files.clear()), Some(InvalidWebhook::Secrets { found: 0 })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let channel = WebhookChannel::new(settings("https://hooks.example/x", vec![file], &[]), clock());
    let error = channel.unwrap().send(&notice("digits", "x")).unwrap_err();
    assert!(matches!(error, SendError::Secret(_)) && error.may_retry(), "{error:?}");
}
