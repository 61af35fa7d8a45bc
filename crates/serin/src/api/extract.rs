//! What handlers take out of a request; what does not fit is told as a problem.

use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::problem::{Code, Problem};
use crate::gateway::problem::{Code as GatewayCode, echo};

/// The body, a JSON object. Types say `deny_unknown_fields`: a field that is not known is refused, and none is set by
/// accident.
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

/// What stands in the address. What is not of its type names nothing.
#[derive(Debug, Clone, Copy)]
pub struct Named<T>(pub T);

/// What stands behind the question mark. Types say `deny_unknown_fields`.
#[derive(Debug, Clone, Copy)]
pub struct Filter<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        // It was read within its limit before.
        let bytes: Bytes = to_bytes(request.into_body(), usize::MAX)
            .await
            .map_err(|_| Problem::new(GatewayCode::ClientGone, "the body ended early"))?;
        if bytes.trim_ascii().is_empty() {
            return Err(Problem::new(GatewayCode::EmptyBody, "the body is empty; send JSON"));
        }
        if !bytes.trim_ascii_start().starts_with(b"{") {
            // A list of the values alone would else be taken for an object.
            serde_json::from_slice::<IgnoredAny>(&bytes).map_err(|error| refusal(&error))?;
            return Err(Problem::new(Code::InvalidBody, "the body is not a JSON object"));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|error| refusal(&error))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::from_request_parts(parts, state).await;
        let nothing = || Problem::new(GatewayCode::NotFound, "the address names nothing that there is");
        named.map(|Path(name)| Self(name)).map_err(|_| nothing())
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Filter<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let filter = Query::from_request_parts(parts, state).await;
        filter
            .map(|Query(filter)| Self(filter))
            .map_err(|error| Problem::new(GatewayCode::InvalidQuery, echo(&error.body_text())))
    }
}

fn refusal(error: &serde_json::Error) -> Problem {
    let (line, column, said) = (error.line(), error.column(), echo(&error.to_string()));
    if error.is_data() {
        Problem::new(Code::InvalidBody, format!("line {line}, column {column}: {said}"))
    } else {
        Problem::new(GatewayCode::MalformedJson, format!("line {line}, column {column}: not JSON"))
    }
}
