//! How a problem is told, in the dialect of the address that was asked.

use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode, Version};
use serde_json::json;

use super::headers::{ERROR_CODE, INFERENCE_ID, REQUEST_ID, ascii};
use super::problem::{Code, Problem};
use super::sent::Sent;

/// The rules that answers of an address follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// RFC 9457 problem details.
    Plain,
    /// What the client libraries of SageMaker's runtime understand: the model's own answers wrapped in a `ModelError`.
    SageMaker,
    /// The Open Inference Protocol: `{"error": ...}`.
    OpenInference,
}

/// Marks the answer to a caller that did not keep up: its connection is not kept for it.
#[derive(Debug, Clone, Copy)]
pub struct Farewell;

/// SageMaker's header that names the error's shape; without it its clients do not see one.
const ERROR_TYPE: &str = "x-amzn-errortype";
/// Longest message of SageMaker's errors, characters.
const MESSAGE_CHARACTERS: usize = 2_048;

/// A response that says `problem`.
#[must_use]
pub fn response(dialect: Dialect, problem: &Problem, id: Option<&str>, version: Version) -> Response<Sent> {
    let (status, content_type, body) = match dialect {
        Dialect::Plain => (problem.code.status(), "application/problem+json", problem.to_json(id)),
        Dialect::OpenInference => {
            let body = json!({ "error": format!("{}: {}", problem.code, problem.detail) });
            (problem.code.status(), "application/json", body.to_string().into_bytes())
        }
        Dialect::SageMaker => {
            let (status, body) = sagemaker(problem, id);
            (status, "application/json", body)
        }
    };
    let mut response = Response::new(Sent::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(ERROR_CODE, HeaderValue::from_static(problem.code.as_str()));
    if dialect == Dialect::SageMaker {
        headers.insert(ERROR_TYPE, HeaderValue::from_static(sagemaker_type(problem.code)));
    }
    if let Some(id) = id {
        headers.insert(INFERENCE_ID, ascii(id));
        if dialect == Dialect::SageMaker {
            headers.insert(REQUEST_ID, ascii(id));
        }
    }
    if problem.code.status() == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if body_may_remain(problem.code) && version < Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if problem.code == Code::RequestTimeout {
        response.extensions_mut().insert(Farewell);
    }
    response
}

/// The same, with the methods that would have been right.
#[must_use]
pub fn method_not_allowed(dialect: Dialect, methods: &[&str], version: Version) -> Response<Sent> {
    let methods = methods.join(", ");
    let problem = Problem::new(Code::MethodNotAllowed, format!("this address takes {methods} only"));
    let mut response = response(dialect, &problem, None, version);
    response.headers_mut().insert(ALLOW, ascii(&methods));
    response
}

/// Whether the connection is in a state that no further request should be read from.
fn body_may_remain(code: Code) -> bool {
    matches!(code, Code::BodyTooLarge | Code::RequestTimeout | Code::Overloaded)
}

fn sagemaker_type(code: Code) -> &'static str {
    match code {
        Code::UnknownEndpoint
        | Code::UnknownVariant
        | Code::NotFound
        | Code::MethodNotAllowed
        | Code::InvalidInferenceId
        | Code::InvalidHeader
        | Code::AmbiguousFraming
        | Code::ExpectationFailed
        | Code::UriTooLong
        | Code::BodyTooLarge => "ValidationError",
        Code::Overloaded | Code::CaptureFull | Code::NoEndpoint | Code::NoReplica => "ServiceUnavailable",
        Code::Internal => "InternalFailure",
        // Everything that SageMaker would have passed on to the model's container.
        _ => "ModelError",
    }
}

/// Status and body as the runtime's clients expect them.
fn sagemaker(problem: &Problem, id: Option<&str>) -> (StatusCode, Vec<u8>) {
    let shorten = |text: String| text.chars().take(MESSAGE_CHARACTERS).collect::<String>();
    let (status, body) = match sagemaker_type(problem.code) {
        "ModelError" => {
            let original = problem.code.status();
            let whose = if problem.code.is_callers() { "client" } else { "server" };
            let said = String::from_utf8_lossy(&problem.to_json(id)).into_owned();
            let message = format!(
                "Received {whose} error ({}) from primary with message \"{said}\".",
                original.as_u16()
            );
            let body = json!({
                "ErrorCode": format!("{}_ERROR_FROM_MODEL", whose.to_uppercase()),
                "LogStreamArn": "",
                "Message": shorten(message),
                "OriginalMessage": shorten(said),
                "OriginalStatusCode": original.as_u16(),
            });
            (StatusCode::FAILED_DEPENDENCY, body)
        }
        "ServiceUnavailable" => {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "Message": shorten(problem.detail.clone()) }))
        }
        "InternalFailure" => {
            (StatusCode::INTERNAL_SERVER_ERROR, json!({ "Message": shorten(problem.detail.clone()) }))
        }
        _ => {
            // A method or an address that is not there stays what it is for HTTP.
            let status = match problem.code {
                Code::NotFound | Code::MethodNotAllowed => problem.code.status(),
                _ => StatusCode::BAD_REQUEST,
            };
            (status, json!({ "Message": shorten(problem.detail.clone()) }))
        }
    };
    (status, body.to_string().into_bytes())
}
