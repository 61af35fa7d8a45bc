//! Asking the gateway, which is on this machine or an address that the operator gave.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::TlsConfig;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long a look may take that is made every second.
const SOON: Duration = Duration::from_secs(2);
/// Largest answer read.
const ANSWER_LIMIT_BYTES: u64 = 64 << 20;

/// A status, the model version that answered, and the body.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) model_version: Option<String>,
    pub(crate) body: String,
}

/// The body of a page.
pub(crate) fn get(url: &str) -> Result<String, String> {
    get_within(ANSWER_LIMIT, url)
}

/// The body of a page that is there at once, or not at all.
pub(crate) fn get_soon(url: &str) -> Result<String, String> {
    get_within(SOON, url)
}

fn get_within(limit: Duration, url: &str) -> Result<String, String> {
    let mut response = agent_within(limit).get(url).call().map_err(|error| error.to_string())?;
    let status = response.status();
    let body = read(&mut response)?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", beginning(&body))) }
}

/// The reply to posted rows, by the variant that the weights choose.
pub(crate) fn post(url: &str, content_type: &str, inference_id: &str, body: &[u8]) -> Result<Reply, String> {
    post_to(url, None, content_type, inference_id, body)
}

/// The header of [`crate::rollout::Rollout::replay_word`].
pub const REPLAY: &str = "x-serin-replay";

/// The reply to posted rows, by this variant whatever its weight.
pub(crate) fn post_to(
    url: &str,
    variant: Option<&str>,
    content_type: &str,
    inference_id: &str,
    body: &[u8],
) -> Result<Reply, String> {
    post_with(url, variant, None, content_type, inference_id, body)
}

/// The same, counted as evidence by the word of a replay.
pub(crate) fn post_with(
    url: &str,
    variant: Option<&str>,
    replay: Option<&str>,
    content_type: &str,
    inference_id: &str,
    body: &[u8],
) -> Result<Reply, String> {
    let mut request = agent_within(ANSWER_LIMIT)
        .post(url)
        .header("content-type", content_type)
        .header("accept", "application/json")
        .header("x-amzn-sagemaker-inference-id", inference_id);
    if let Some(variant) = variant {
        request = request.header("x-amzn-sagemaker-target-variant", variant);
    }
    if let Some(word) = replay {
        request = request.header(REPLAY, word);
    }
    let mut response = request.send(body).map_err(|error| error.to_string())?;
    let model_version = response.headers().get("x-serin-model-version");
    let model_version = model_version.and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Reply { status: response.status().as_u16(), model_version, body: read(&mut response)? })
}

/// Status and body of the reply to a few lines of JSON, which is there soon.
pub(crate) fn post_soon(url: &str, header: (&str, &str), body: &str) -> Result<(u16, String), String> {
    let request = agent_within(SOON).post(url).header("content-type", "application/json");
    let mut response = request.header(header.0, header.1).send(body).map_err(|error| error.to_string())?;
    Ok((response.status().as_u16(), read(&mut response)?))
}

/// The beginning of what was said, for a message.
pub(crate) fn beginning(text: &str) -> String {
    text.chars().take(200).collect()
}

fn read(response: &mut ureq::http::Response<ureq::Body>) -> Result<String, String> {
    let body = response.body_mut().with_config().limit(ANSWER_LIMIT_BYTES);
    body.read_to_string().map_err(|error| error.to_string())
}

fn agent_within(limit: Duration) -> Agent {
    // The address comes from the data directory, which only its owner writes; the certificate of a gateway on loopback
    // names the public host.
    let tls = TlsConfig::builder().disable_verification(true).build();
    Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .tls_config(tls)
        .build()
        .into()
}
