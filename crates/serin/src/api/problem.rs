//! What went wrong, as the caller reads it: RFC 9457 problem details with a stable code, as the gateway's are.

use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

pub use super::code::Code;
use crate::gateway::headers::{ERROR_CODE, ascii};
use crate::gateway::problem::{Code as GatewayCode, Problem as GatewayProblem};

/// One problem with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    /// What was wrong, where, and what to do.
    pub detail: String,
    /// The methods that would have been right, when this one is not.
    allow: Option<String>,
}

/// A code with all that follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub status: StatusCode,
    pub code: &'static str,
    pub title: &'static str,
}

/// The wire type.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument<'a> {
    /// Relative to the interface; names the code.
    r#type: String,
    title: &'a str,
    status: u16,
    /// Stable: never renamed.
    code: &'a str,
    detail: &'a str,
    /// Also in the header `x-request-id`.
    request_id: &'a str,
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(kind: impl Into<Kind>, detail: impl Into<String>) -> Self {
        Self { kind: kind.into(), detail: detail.into(), allow: None }
    }

    /// The method is not one of those that the address takes.
    #[must_use]
    pub fn method_not_allowed(methods: &[&str]) -> Self {
        let methods = methods.join(", ");
        let problem = Self::new(GatewayCode::MethodNotAllowed, format!("this address takes {methods} only"));
        Self { allow: Some(methods), ..problem }
    }

    /// The answer that says it.
    #[must_use]
    pub fn response(&self, request_id: &str) -> Response {
        let Kind { status, code, title } = self.kind;
        let document = ProblemDocument {
            r#type: format!("/errors/{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: &self.detail,
            request_id,
        };
        // Texts and numbers always serialise.
        let mut response = Response::new(serde_json::to_vec(&document).unwrap_or_default().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(ERROR_CODE, HeaderValue::from_static(code));
        if let Some(methods) = &self.allow {
            headers.insert(ALLOW, ascii(methods));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || self.kind == Code::IdempotencyInHand.into() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body is not read.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A handler's problem is worded once the request's id is known.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.kind.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Code> for Kind {
    fn from(code: Code) -> Self {
        Self { status: code.status(), code: code.as_str(), title: code.title() }
    }
}

impl From<GatewayCode> for Kind {
    fn from(code: GatewayCode) -> Self {
        Self { status: code.status(), code: code.as_str(), title: code.title() }
    }
}

impl From<GatewayProblem> for Problem {
    fn from(problem: GatewayProblem) -> Self {
        Self::new(problem.code, problem.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_from_the_gateways_and_documented() {
        let documented = include_str!("../../../../docs/control-api.md");
        for code in Code::ALL {
            assert!(GatewayCode::ALL.iter().all(|other| other.as_str() != code.as_str()), "{code}");
            let row = format!("| {} | `{code}` |", code.status().as_u16());
            assert!(documented.contains(&row), "docs/control-api.md has no row that begins with {row}");
        }
    }
}
