//! Requests that are sent twice and done once: the same key with the same request is given the same answer again.
//!
//! Only answers of what was done are kept (2xx): whatever was refused changed nothing, and may be sent again, corrected.
//! They are kept in memory, so a key is forgotten when the process ends.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serin_core::clock::Clock;
use serin_core::digest::Digest;

use super::limits::Limits;
use super::problem::{Code, Problem};

/// The header that carries a key.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Longest key.
const KEY_CHARACTERS: usize = 255;

/// The answers kept.
#[derive(Debug)]
pub struct Answers {
    clock: Arc<dyn Clock>,
    kept_for: Duration,
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// Keys of answered entries and when they were answered, the oldest first.
    order: VecDeque<(Duration, String)>,
}

#[derive(Debug)]
struct Entry {
    /// Of the request that the key was used for.
    request: Digest,
    /// `None` while it is in hand.
    answer: Option<Answer>,
}

/// An answer as it can be given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// What a key that came with a request means.
#[derive(Debug)]
pub enum Begun {
    /// It is new: do it, and keep the answer with the ticket.
    New(Ticket),
    /// It was done before.
    Before(Answer),
}

/// A request in hand. Without an answer to keep, its key is free again.
#[derive(Debug)]
pub struct Ticket {
    answers: Arc<Answers>,
    key: String,
}

/// The key of a request, when it has one.
///
/// # Errors
/// When it is not 1 to 255 visible ASCII characters, or there are two.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Ok(None) };
    let is_key = |text: &str| {
        (1..=KEY_CHARACTERS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str() {
        Ok(text) if more.is_none() && is_key(text) => Ok(Some(text.to_owned())),
        _ => {
            let detail =
                format!("an idempotency key is one text of 1 to {KEY_CHARACTERS} visible ASCII characters");
            Err(Problem::new(Code::InvalidIdempotencyKey, detail))
        }
    }
}

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Arc<Self> {
        let (kept_for, most) = (limits.answers_kept, limits.answers);
        Arc::new(Self { clock, kept_for, most, table: Mutex::default() })
    }

    /// Begins `request` under `key`.
    ///
    /// # Errors
    /// When the key was used for another request, or is in use now.
    pub fn begin(self: &Arc<Self>, key: String, request: Digest) -> Result<Begun, Problem> {
        let mut table = self.table();
        table.forget(self.clock.monotonic().saturating_sub(self.kept_for), self.most);
        match table.entries.get(&key) {
            Some(entry) if entry.request != request => Err(Problem::new(
                Code::IdempotencyConflict,
                "another request was sent with this key; give each request a key of its own",
            )),
            Some(Entry { answer: None, .. }) => Err(Problem::new(
                Code::IdempotencyInHand,
                "the request with this key is in hand; ask again soon",
            )),
            Some(Entry { answer: Some(answer), .. }) => Ok(Begun::Before(answer.clone())),
            None => {
                table.entries.insert(key.clone(), Entry { request, answer: None });
                Ok(Begun::New(Ticket { answers: self.clone(), key }))
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The request was done, and this is its answer.
    pub fn keep(self, answer: Answer) {
        let now = self.answers.clock.monotonic();
        let mut table = self.answers.table();
        if let Some(entry) = table.entries.get_mut(&self.key) {
            entry.answer = Some(answer);
            table.order.push_back((now, self.key.clone()));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut table = self.answers.table();
        if table.entries.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            table.entries.remove(&self.key);
        }
    }
}

impl Table {
    /// Makes room: answers given before `oldest` go, and the oldest beyond `most`.
    fn forget(&mut self, oldest: Duration, most: usize) {
        while self.order.len() >= most.max(1) || self.order.front().is_some_and(|(time, _)| *time < oldest) {
            let Some((_, key)) = self.order.pop_front() else { return };
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use serin_core::clock::{ManualClock, Timestamp};

    use super::*;

    fn answers(most: usize) -> (Arc<Answers>, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::at(Timestamp(0)));
        clock.advance(Duration::from_secs(1_000_000));
        (Answers::new(&Limits { answers: most, ..Limits::default() }, clock.clone()), clock)
    }

    fn answer(text: &'static str) -> Answer {
        Answer { status: StatusCode::CREATED, content_type: None, body: Bytes::from_static(text.as_bytes()) }
    }

    fn begin(answers: &Arc<Answers>, key: &str, request: &str) -> Result<Begun, &'static str> {
        answers.begin(key.to_owned(), Digest::of(request.as_bytes())).map_err(|problem| problem.kind.code)
    }

    /// Does a request, which is new.
    fn done(answers: &Arc<Answers>, key: &str, text: &'static str) {
        match begin(answers, key, text) {
            Ok(Begun::New(ticket)) => ticket.keep(answer(text)),
            other => panic!("{key}: {other:?}"),
        }
    }

    fn is_known(answers: &Arc<Answers>, key: &str, text: &'static str) -> bool {
        match begin(answers, key, text) {
            Ok(Begun::Before(before)) => before == answer(text),
            _ => false,
        }
    }

    #[test]
    fn what_was_done_is_answered_again_and_not_done() {
        let (answers, _) = answers(10);
        done(&answers, "k", "run");
        assert!(is_known(&answers, "k", "run"));
        assert_eq!(begin(&answers, "k", "another").unwrap_err(), "idempotency_conflict");
        assert!(is_known(&answers, "k", "run"), "the refusal changes nothing");
    }

    #[test]
    fn a_key_in_hand_waits_and_is_free_again_without_an_answer() {
        let (answers, _) = answers(10);
        let ticket = begin(&answers, "k", "run").unwrap();
        assert_eq!(begin(&answers, "k", "run").unwrap_err(), "idempotency_in_hand");
        drop(ticket);
        done(&answers, "k", "corrected");
    }

    #[test]
    fn answers_go_by_age_and_the_oldest_when_there_are_too_many() {
        let (answers, clock) = answers(3);
        for key in ["a", "b", "c"] {
            done(&answers, key, "run");
            clock.advance(Duration::from_secs(3_600));
        }
        done(&answers, "d", "run");
        assert_eq!(
            ["a", "b", "c", "d"].map(|key| answers.table().entries.contains_key(key)),
            [false, true, true, true]
        );
        clock.advance(Duration::from_secs(24 * 3_600 + 1));
        assert!(
            matches!(begin(&answers, "d", "another"), Ok(Begun::New(_))),
            "a day later all are forgotten"
        );
        assert!(answers.table().entries.is_empty());
    }

    #[test]
    fn keys_are_checked() {
        let longest = "k".repeat(KEY_CHARACTERS);
        for (values, expected) in [
            (vec![], Ok(None)),
            (vec!["k"], Ok(Some("k".to_owned()))),
            (vec![longest.as_str()], Ok(Some(longest.clone()))),
            (vec![""], Err(())),
            (vec!["a b"], Err(())),
            (vec!["é"], Err(())),
            (vec!["a", "a"], Err(())),
            (vec![&format!("{longest}k")], Err(())),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            assert_eq!(key(&headers).map_err(|_| ()), expected, "{values:?}");
        }
    }
}
