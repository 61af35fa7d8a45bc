//! Notices on their way: a receiver that fails, one that lures elsewhere, and a mail server.

mod alertmanager;
mod mail;
mod webhook;

use serin_core::clock::{ManualClock, Timestamp};
use serin_core::domain::{Event, EventKind, Notice, RunNumber};

/// 2026-11-22T10:00:00Z.
const NOW: Timestamp = Timestamp(1_795_341_600_000_000);

fn clock() -> std::sync::Arc<ManualClock> {
    std::sync::Arc::new(ManualClock::at(NOW))
}

fn notice(project: &str, text: &str) -> Notice {
    Notice {
        id: "019aab12-0000-7000-8000-000000000001".into(),
        channel: "ops".into(),
        event: Event {
            number: 41,
            time: NOW,
            kind: EventKind::ApprovalWanted,
            project: project.into(),
            run: Some(RunNumber(7)),
            text: text.into(),
            facts: serde_json::json!({ "macro_f1": 0.83 }),
        },
        attempts: 0,
    }
}
