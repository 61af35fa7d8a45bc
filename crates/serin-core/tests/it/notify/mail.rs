//! Mail through a server that speaks just enough SMTP.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serin_core::notify::{Channel as _, InvalidMail, MailChannel, MailSecurity, MailSettings, SendError};

use super::{clock, notice};

/// What the server heard: commands, and the lines of messages.
#[derive(Debug, Default)]
struct Heard {
    commands: Vec<String>,
    message: Vec<String>,
}

/// Starts a server that answers the command beginning with `refuses` by `with`.
fn mail_server(refuses: &'static str, with: &'static str) -> (SocketAddr, Arc<Mutex<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Heard::default()));
    let hearing = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            converse(stream, refuses, with, &hearing);
        }
    });
    (address, heard)
}

fn converse(mut stream: TcpStream, refuses: &str, with: &str, heard: &Mutex<Heard>) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    write!(stream, "220 test ESMTP\r\n").ok()?;
    loop {
        let command = lines.next()?.ok()?;
        heard.lock().unwrap().commands.push(command.clone());
        let answer = match command.get(..4)?.to_ascii_uppercase().as_str() {
            _ if !refuses.is_empty() && command.starts_with(refuses) => with,
            "EHLO" => "250-test\r\n250-8BITMIME\r\n250 AUTH PLAIN",
            "AUTH" => "235 fine",
            "DATA" => {
                write!(stream, "354 go on\r\n").ok()?;
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    heard.lock().unwrap().message.push(line);
                }
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        write!(stream, "{answer}\r\n").ok()?;
    }
}

fn settings(address: SocketAddr) -> MailSettings {
    MailSettings {
        name: "mail".into(),
        host: address.ip().to_string(),
        port: address.port(),
        security: MailSecurity::None,
        from: "Serin <serin@example.org>".into(),
        to: vec!["ops@example.org".into(), "Émilie <emilie@example.org>".into()],
        user: None,
        password_file: None,
    }
}

#[test]
fn a_notice_arrives_as_one_message_to_all() {
    let (address, heard) = mail_server("", "");
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, "pass\n").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let settings =
        MailSettings { user: Some("user".into()), password_file: Some(password), ..settings(address) };
    let channel = MailChannel::new(settings, clock()).unwrap();
    channel.send(&notice("digits", "version 3 waits for approval")).unwrap();
    let heard = heard.lock().unwrap();
    let said = |beginning: &str| heard.commands.iter().filter(|line| line.starts_with(beginning)).count();
    // "\0user\0pass" in base64.
    assert_eq!(said("AUTH PLAIN AHVzZXIAcGFzcw=="), 1, "{:?}", heard.commands);
    assert_eq!((said("MAIL FROM:<serin@example.org>"), said("RCPT TO:<")), (1, 2), "{:?}", heard.commands);
    for header in [
        "Subject: [serin] digits, run 7: version 3 waits for approval",
        "From: Serin <serin@example.org>",
        "Message-ID: <019aab12-0000-7000-8000-000000000001@serin>",
        "Date: Sun, 22 Nov 2026 10:00:00 +0000",
        "Auto-Submitted: auto-generated",
        "project: digits",
        "  \"macro_f1\": 0.83",
    ] {
        assert!(heard.message.iter().any(|line| line == header), "{header}: {:#?}", heard.message);
    }
}

#[test]
fn a_name_cannot_become_a_header() {
    let (address, heard) = mail_server("", "");
    let channel = MailChannel::new(settings(address), clock()).unwrap();
    let evil = "x\r\nBcc: evil@example.org\r\n\r\n.\r\nRCPT TO:<evil@example.org>";
    channel.send(&notice(evil, evil)).unwrap();
    let heard = heard.lock().unwrap();
    let end_of_head = heard.message.iter().position(String::is_empty).unwrap();
    assert!(!heard.message[..end_of_head].iter().any(|line| line.starts_with("Bcc")), "{:#?}", heard.message);
    let recipients = heard.commands.iter().filter(|line| line.starts_with("RCPT")).count();
    assert_eq!(recipients, 2, "{:?}", heard.commands);
}

#[test]
fn what_the_server_answers_decides_about_another_attempt() {
    for (refuses, with, may_retry) in [
        ("MAIL", "451 try later, s3cret", true),
        ("RCPT", "550 no such user, s3cret", false),
        ("DATA", "421 going away, s3cret", true),
        ("EHLO", "554 no, s3cret", false),
    ] {
        let (address, _) = mail_server(refuses, with);
        let channel = MailChannel::new(settings(address), clock()).unwrap();
        let error = channel.send(&notice("digits", "x")).unwrap_err();
        assert!(matches!(error, SendError::MailRefused { .. }), "{error:?}");
        assert_eq!(error.may_retry(), may_retry, "{with}");
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        MailChannel::new(settings(closed), clock()).unwrap().send(&notice("digits", "x")).unwrap_err();
    assert!(matches!(error, SendError::Unreachable(_)) && error.may_retry(), "{error:?}");
    // A server that does not offer what was asked for gets nothing.
    let (address, heard) = mail_server("", "");
    let settings = MailSettings { security: MailSecurity::StartTls, ..settings(address) };
    assert!(MailChannel::new(settings, clock()).unwrap().send(&notice("digits", "x")).is_err());
    assert!(heard.lock().unwrap().message.is_empty());
}

#[test]
fn settings_that_would_send_a_password_in_the_clear_or_make_headers_are_refused() {
    let local = "127.0.0.1:25".parse().unwrap();
    let refused = |change: &dyn Fn(&mut MailSettings)| {
        let mut settings = settings(local);
        change(&mut settings);
        MailChannel::new(settings, clock()).err()
    };
    assert!(refused(&|_| ()).is_none());
    assert!(refused(&|s| s.host = "localhost".into()).is_none());
    assert!(matches!(
        refused(&|s| s.host = "mail.example.org".into()),
        Some(InvalidMail::Unprotected { .. })
    ));
    assert!(matches!(refused(&|s| s.host = "10.0.0.1".into()), Some(InvalidMail::Unprotected { .. })));
    assert!(matches!(refused(&|s| s.to.clear()), Some(InvalidMail::Receivers { found: 0 })));
    assert!(matches!(refused(&|s| s.user = Some("u".into())), Some(InvalidMail::Credentials)));
    for wrong in ["", "nobody", "a@b\r\nBcc: c@d", "A\nB <a@b.org>", "<a@b.org"] {
        assert!(
            matches!(refused(&|s| s.from = wrong.into()), Some(InvalidMail::Address { .. })),
            "{wrong:?}"
        );
    }
}
