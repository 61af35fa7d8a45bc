//! When a record is safe: the promise behind an answer that may leave.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::journal::AppendError;

/// What appending a record gives: whether it is as durable as the mode promises, or a way to wait until it is.
#[derive(Debug)]
#[must_use = "in mode `strict` an answer must not leave before its record is durable"]
pub struct Receipt {
    /// The group whose sync is waited for; `None` when there is nothing to wait for.
    group: Option<Arc<Group>>,
    /// The answer may leave even if the disk did not keep the record.
    forgives: bool,
}

/// The records that one sync makes durable together: group commit.
#[derive(Debug, Default)]
pub(super) struct Group {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open(Vec<Waker>),
    Durable,
    Lost,
}

impl Receipt {
    pub(super) fn at_once() -> Self {
        Self { group: None, forgives: true }
    }

    pub(super) fn after(group: Arc<Group>, forgives: bool) -> Self {
        Self { group: Some(group), forgives }
    }

    /// Whether the record is durable already; true at once in the modes that do not wait for the disk.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.group.as_ref().is_none_or(|group| matches!(*group.state(), State::Durable))
    }

    /// Waits until the record is durable. Dropping the future changes nothing for the record.
    ///
    /// # Errors
    /// When the disk did not keep it: the answer must not leave.
    pub async fn durable(self) -> Result<(), AppendError> {
        let Some(group) = self.group else { return Ok(()) };
        poll_fn(|context| match &mut *group.state() {
            State::Durable => Poll::Ready(Ok(())),
            State::Lost if self.forgives => Poll::Ready(Ok(())),
            State::Lost => Poll::Ready(Err(AppendError::Unsynced)),
            State::Open(waiting) => {
                waiting.push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}

impl Group {
    /// Says how the sync ended, and wakes who waits.
    pub(super) fn finish(&self, is_durable: bool) {
        let end = if is_durable { State::Durable } else { State::Lost };
        let before = std::mem::replace(&mut *self.state(), end);
        if let State::Open(waiting) = before {
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one assignment, so a panic cannot have left it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}
