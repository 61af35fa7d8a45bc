//! How handlers ask the control plane: on a thread that may wait, with whatever it refuses told as a problem.

use std::error::Error;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serin_core::artifacts::ArtifactError;
use serin_core::clock::Timestamp;
use serin_core::domain::Refusal;
use serin_core::engine::WorkError;
use serin_core::routes::RoutesError;
use serin_core::store::StoreError;

use super::problem::{Code, Problem};
use crate::control::Control;
use crate::gateway::problem::Code as GatewayCode;

/// What handlers are given.
pub type Plane = State<Arc<Control>>;

/// What handlers give.
pub type Answer<T> = Result<Json<T>, Problem>;

/// Longest name of who asks, characters.
const NAME_CHARACTERS: usize = 200;
/// Longest reason, characters.
const REASON_CHARACTERS: usize = 2_000;

/// Why the control plane did not do what it was asked.
#[derive(Debug)]
pub enum Refused {
    /// The caller's to mend.
    Problem(Problem),
    Store(StoreError),
    Work(WorkError),
    Artifact(ArtifactError),
    Routes(RoutesError),
}

/// Does `work` on a thread that may wait for the store or a file.
///
/// # Errors
/// What it refused, as the caller reads it.
pub async fn ask<T, F>(control: &Arc<Control>, work: F) -> Result<T, Problem>
where
    T: Send + 'static,
    F: FnOnce(&Control) -> Result<T, Refused> + Send + 'static,
{
    let control = control.clone();
    match tokio::task::spawn_blocking(move || work(&control)).await {
        Ok(done) => done.map_err(Refused::told),
        // A panic was reported where it happened.
        Err(_) => Err(Problem::new(GatewayCode::Internal, "the work on this request ended unexpectedly")),
    }
}

/// The same for what is answered as it is.
///
/// # Errors
/// As for [`ask`].
pub async fn answer<T, F>(control: &Arc<Control>, work: F) -> Answer<T>
where
    T: Send + 'static,
    F: FnOnce(&Control) -> Result<T, Refused> + Send + 'static,
{
    ask(control, work).await.map(Json)
}

impl Refused {
    /// As the caller reads it. What is ours to mend is logged with its causes, and told without them.
    fn told(self) -> Problem {
        match self {
            Self::Problem(problem) => problem,
            Self::Store(StoreError::Missing { what, name }) => missing(what, name),
            Self::Store(StoreError::Conflict) => {
                Problem::new(Code::Conflict, "this was used for another request")
            }
            Self::Store(error @ StoreError::Full(_)) => {
                log(&error);
                Problem::new(Code::StorageFull, "no space is left for the database")
            }
            Self::Store(error) if error.is_passing() => {
                log(&error);
                Problem::new(GatewayCode::Overloaded, "the database is busy; try again")
            }
            Self::Store(error) => ours(&error, "the database refused"),
            Self::Work(WorkError::Failed { failure, .. }) if failure.code == "configuration" => {
                Problem::new(Code::SettingsInvalid, failure.reason)
            }
            Self::Work(error) => ours(&error, "what a run left behind cannot be read"),
            Self::Artifact(error @ ArtifactError::StorageFull { .. }) => {
                log(&error);
                Problem::new(Code::StorageFull, "no space is left in the data directory")
            }
            Self::Artifact(error) => ours(&error, "what a run left behind cannot be read"),
            Self::Routes(error) => ours(&error, "the routes could not be published"),
        }
    }
}

fn ours(error: &(dyn Error + 'static), detail: &str) -> Problem {
    log(error);
    Problem::new(GatewayCode::Internal, format!("{detail}; the log says why"))
}

fn log(error: &(dyn Error + 'static)) {
    tracing::error!(error, "the control plane refused");
}

/// There is no such thing.
pub fn missing(what: &str, name: impl std::fmt::Display) -> Problem {
    Problem::new(GatewayCode::NotFound, format!("there is no {what} {name}"))
}

/// Who asks.
///
/// # Errors
/// When nobody is named, or by something that is no name.
pub fn name_of(by: &str) -> Result<String, Problem> {
    let by = by.trim();
    if by.is_empty() {
        return Err(Problem::new(Code::Incomplete, "`by` says who asks, and is empty"));
    }
    if by.chars().count() > NAME_CHARACTERS || by.chars().any(char::is_control) {
        let detail = format!("`by` is a name of at most {NAME_CHARACTERS} characters in one line");
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    Ok(by.to_owned())
}

/// Why something is asked for; `otherwise` when that may be left out.
///
/// # Errors
/// When it is missing and must not be, or too long.
pub fn reason_of(reason: Option<&str>, otherwise: Option<&str>) -> Result<String, Problem> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty()).or(otherwise);
    let missing = || Problem::new(Code::Incomplete, "`reason` says why, and is empty");
    let reason = reason.ok_or_else(missing)?;
    if reason.chars().count() > REASON_CHARACTERS {
        let detail = format!("`reason` has at most {REASON_CHARACTERS} characters");
        return Err(Problem::new(Code::InvalidBody, detail));
    }
    Ok(reason.to_owned())
}

/// A moment out of the address.
///
/// # Errors
/// When it is no time.
pub fn time_of(text: &str) -> Result<Timestamp, Problem> {
    text.parse().map_err(|error| Problem::new(GatewayCode::InvalidQuery, format!("{error}")))
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WorkError> for Refused {
    fn from(error: WorkError) -> Self {
        Self::Work(error)
    }
}

impl From<ArtifactError> for Refused {
    fn from(error: ArtifactError) -> Self {
        Self::Artifact(error)
    }
}

impl From<RoutesError> for Refused {
    fn from(error: RoutesError) -> Self {
        Self::Routes(error)
    }
}

/// An answer that was not taken.
impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Unknown { .. } => Self::new(GatewayCode::NotFound, detail),
            Refusal::Closed { .. } => Self::new(Code::ApprovalClosed, detail),
            Refusal::Expired { .. } => Self::new(Code::ApprovalExpired, detail),
            Refusal::Changed { .. } => Self::new(Code::ApprovalChanged, detail),
            Refusal::FourEyes { .. } => Self::new(Code::FourEyes, detail),
            Refusal::Incomplete => Self::new(Code::Incomplete, detail),
        }
    }
}
