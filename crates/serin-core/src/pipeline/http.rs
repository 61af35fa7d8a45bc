//! Asking the gateway, which is on this machine or an address that the operator gave.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Largest answer read.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;

/// A status, the model version that answered, and the body.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) model_version: Option<String>,
    pub(super) body: String,
}

/// The body of a page.
pub(super) fn get(url: &str) -> Result<String, String> {
    let mut response = agent().get(url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let body = read(&mut response)?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", beginning(&body))) }
}

/// The reply to posted rows.
pub(super) fn post(url: &str, content_type: &str, inference_id: &str, body: &[u8]) -> Result<Reply, String> {
    let request = agent()
        .post(url)
        .header("content-type", content_type)
        .header("accept", "application/json")
        .header("x-amzn-sagemaker-inference-id", inference_id);
    let mut response = request.send(body).map_err(|error| error.to_string())?;
    let model_version = response.headers().get("x-serin-model-version");
    let model_version = model_version.and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Reply { status: response.status().as_u16(), model_version, body: read(&mut response)? })
}

/// The beginning of what was said, for a message.
pub(super) fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}

fn read(response: &mut ureq::http::Response<ureq::Body>) -> Result<String, String> {
    let body = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES);
    body.read_to_string().map_err(|error| error.to_string())
}

fn agent() -> Agent {
    // The address comes from the data directory, which only its owner writes; the certificate of a gateway on loopback
    // names the public host.
    let tls = TlsConfig::builder().disable_verification(true).build();
    Agent::config_builder()
        .timeout_global(Some(ANSWER_LIMIT))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .tls_config(tls)
        .build()
        .into()
}
