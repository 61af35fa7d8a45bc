//! Names of headers that are ours or SageMaker's, and what the gateway asks of all requests.

use hyper::header::{EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use hyper::{Request, Version};

use super::framing::Head;
use super::problem::{Code, Problem, echo};

/// The inference id, in requests and answers.
pub const INFERENCE_ID: HeaderName = HeaderName::from_static("x-amzn-sagemaker-inference-id");
/// The code of a problem.
pub const ERROR_CODE: HeaderName = HeaderName::from_static("x-serin-error-code");
/// The version of the model that answered.
pub const MODEL_VERSION: HeaderName = HeaderName::from_static("x-serin-model-version");
/// The request's id as AWS's clients show it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// The variant that shall answer, whatever the weights.
/// The word of a replay of captured rows.
pub const REPLAY: HeaderName = HeaderName::from_static(serin_core::rollout_driver::REPLAY);
/// The variant that shall answer.
pub const TARGET_VARIANT: HeaderName = HeaderName::from_static("x-amzn-sagemaker-target-variant");
/// The variant that answered.
pub const INVOKED_VARIANT: HeaderName = HeaderName::from_static("x-amzn-invoked-production-variant");
/// Length of the JSON part of a body of the Open Inference Protocol's binary extension, bytes.
pub const INFERENCE_HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// W3C Trace Context, accepted and answered.
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// Names that some servers read as if they had hyphens.
const DISGUISED: [&str; 2] = ["content_length", "transfer_encoding"];

/// Ids and names are visible ASCII, which every header may carry.
#[must_use]
pub fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

/// The value of a header as text; an unreadable one is absent.
#[must_use]
pub fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether the connection may serve another request after this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    Keep,
    Close,
}

/// What has to hold before a request is looked at: one host, no doubt about where the body ends, no unknown
/// expectation. `head` is what the stream knows of the head as it was sent.
///
/// # Errors
/// Says what was wrong.
pub fn check<B>(request: &Request<B>, head: Head, most_fields: usize) -> Result<Afterwards, Problem> {
    let headers = request.headers();
    let ambiguous = |detail: &str| Err(Problem::new(Code::AmbiguousFraming, detail));
    let mut afterwards = Afterwards::Keep;
    if headers.len() > most_fields {
        return Err(Problem::new(
            Code::TooManyHeaders,
            format!("a request has at most {most_fields} header fields"),
        ));
    }
    if request.version() < Version::HTTP_2 {
        if head == Head::Ambiguous {
            return ambiguous(
                "it says twice where its body ends, or its lines end without a carriage return",
            );
        }
        let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
        if let Some(encoding) = encodings.next() {
            if encodings.next().is_some() || !encoding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return ambiguous("the only transfer encoding is `chunked`, once");
            }
            if head == Head::Unseen {
                afterwards = Afterwards::Close;
            }
        }
    }
    check_host(request)?;
    if headers.keys().any(|name| DISGUISED.contains(&name.as_str())) {
        return ambiguous("a header that a server behind this one may take for another");
    }
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            let detail = format!("`{}` is not known", echo(&String::from_utf8_lossy(value.as_bytes())));
            Err(Problem::new(Code::ExpectationFailed, detail))
        }
        _ => Ok(afterwards),
    }
}

/// The characters of names, addresses and ports (RFC 3986, section 3.2), without those of user names.
fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

/// One host, that is one: in HTTP/2 the address has it, and a header may repeat it.
fn check_host<B>(request: &Request<B>) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(Code::InvalidHeader, detail));
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    let authority = request.uri().authority().filter(|_| request.version() == Version::HTTP_2);
    match (host, authority) {
        _ if more.is_some() => refused("a request has exactly one `Host`"),
        (None, None) if request.version() < Version::HTTP_11 => Ok(()),
        (None, None) => refused("a request has a `Host`"),
        (None, Some(_)) => Ok(()),
        (Some(host), Some(authority)) if host.as_bytes() != authority.as_str().as_bytes() => {
            refused("`Host` and `:authority` differ")
        }
        (Some(host), _) if host.as_bytes().iter().all(|byte| is_of_host(*byte)) => Ok(()),
        _ => refused("`Host` is no host"),
    }
}

/// The trace that a caller's request belongs to (W3C Trace Context, version 00), when it said so properly.
#[must_use]
pub fn trace_parent(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(TRACE_PARENT)?;
    let bytes = value.as_bytes();
    let hex = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    let parts: Vec<&[u8]> = bytes.split(|byte| *byte == b'-').collect();
    let [version, trace, parent, flags] = parts[..] else { return None };
    let fits = version == b"00" && trace.len() == 32 && parent.len() == 16 && flags.len() == 2;
    let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
    (fits && hex(trace) && hex(parent) && hex(flags) && !zero(trace) && !zero(parent)).then(|| value.clone())
}
