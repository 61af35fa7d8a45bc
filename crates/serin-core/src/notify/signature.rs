//! Signatures of webhooks, made and checked, as Standard Webhooks 1.0 says (symmetric, `v1`).
//!
//! What is signed is `id.time.body` with HMAC-SHA256. The header may hold several signatures, so that a key can be changed
//! while both are in use.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// How far the time of a webhook may be from now, in either direction.
pub const WEBHOOK_TOLERANCE: Duration = Duration::from_secs(300);
/// Signatures of one header that are looked at.
const SIGNATURES_LIMIT: usize = 10;
/// Bytes of an id.
const ID_LIMIT_BYTES: usize = 256;
/// A shorter key can be guessed.
const KEY_LEAST_BYTES: usize = 16;
const VERSION: &str = "v1";

/// A key that signs webhooks.
#[derive(Clone)]
pub struct WebhookKey(Hmac<Sha256>);

/// Why a secret is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidWebhookKey {
    #[error("what follows whsec_ is not base64")]
    Base64,
    #[error("a key has at least {KEY_LEAST_BYTES} bytes")]
    Short,
}

/// The headers of a webhook, as they came.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebhookHeaders<'a> {
    /// `webhook-id`: what makes a repeat recognisable.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`: seconds since 1970.
    pub timestamp: Option<&'a str>,
    /// `webhook-signature`.
    pub signature: Option<&'a str>,
}

/// Why a webhook is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unverified {
    #[error("the header {name} is missing, twice there, or not usable")]
    Header { name: &'static str },
    #[error("the webhook was signed too long ago")]
    TooOld,
    #[error("the webhook was signed in the future")]
    TooNew,
    #[error("no signature of the webhook is by a key of ours")]
    Signature,
}

impl WebhookKey {
    /// The key in a secret: base64 behind `whsec_`, else the bytes themselves.
    ///
    /// # Errors
    /// When it is not base64 there, or too short.
    pub fn new(secret: Secret) -> Result<Self, InvalidWebhookKey> {
        let key = match secret.bytes().strip_prefix(b"whsec_") {
            Some(encoded) => Secret::new(STANDARD.decode(encoded).map_err(|_| InvalidWebhookKey::Base64)?),
            None => secret,
        };
        if key.bytes().len() < KEY_LEAST_BYTES {
            return Err(InvalidWebhookKey::Short);
        }
        Hmac::new_from_slice(key.bytes()).map(Self).map_err(|_| InvalidWebhookKey::Short)
    }

    /// One signature for the header: `v1,` and base64.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let code = self.code(id, seconds, body).finalize().into_bytes();
        format!("{VERSION},{}", STANDARD.encode(code))
    }

    fn code(&self, id: &str, seconds: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(format!("{id}.{seconds}.").as_bytes());
        code.update(body);
        code
    }
}

impl std::fmt::Debug for WebhookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookKey(..)")
    }
}

/// Whether a webhook was signed by one of `keys` and not long ago. Returns its id: whoever acts on it must do so once for
/// each id, as a webhook that was listened to can be sent again within the tolerance.
///
/// # Errors
/// When it cannot be believed. The signature is compared in constant time.
pub fn verify_webhook<'a>(
    headers: &WebhookHeaders<'a>,
    body: &[u8],
    keys: &[WebhookKey],
    now: Timestamp,
    tolerance: Duration,
) -> Result<&'a str, Unverified> {
    let missing = |name| Unverified::Header { name };
    let is_plain = |id: &&str| !id.is_empty() && id.len() <= ID_LIMIT_BYTES && !id.contains(char::is_control);
    let id = headers.id.filter(is_plain).ok_or(missing("webhook-id"))?;
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: i64 = headers
        .timestamp
        .filter(is_number)
        .and_then(|text| text.parse().ok())
        .ok_or(missing("webhook-timestamp"))?;
    let signatures = headers.signature.ok_or(missing("webhook-signature"))?;
    let age = i128::from(now.0.div_euclid(1_000_000)) - i128::from(seconds);
    let tolerance = i128::from(tolerance.as_secs());
    if age > tolerance {
        return Err(Unverified::TooOld);
    }
    if -age > tolerance {
        return Err(Unverified::TooNew);
    }
    let given = signatures.split(' ').filter_map(|signature| signature.split_once(','));
    let given = given.filter(|(version, _)| *version == VERSION).take(SIGNATURES_LIMIT);
    for code in given.filter_map(|(_, code)| STANDARD.decode(code).ok()) {
        if keys.iter().any(|key| key.code(id, seconds, body).verify_slice(&code).is_ok()) {
            return Ok(id);
        }
    }
    Err(Unverified::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: &str = "1614265330";
    /// The example of the specification's reference libraries.
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key(text: &str) -> WebhookKey {
        WebhookKey::new(Secret::new(text.into())).unwrap()
    }

    fn ours() -> WebhookKey {
        key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    }

    fn verified(
        id: &'static str,
        timestamp: &'static str,
        signature: &str,
        body: &[u8],
        late: i64,
    ) -> Result<String, Unverified> {
        let headers = WebhookHeaders { id: Some(id), timestamp: Some(timestamp), signature: Some(signature) };
        let now = Timestamp((1_614_265_330 + late) * 1_000_000);
        verify_webhook(
            &headers,
            body,
            &[key("another key, 32 bytes of it, yes"), ours()],
            now,
            WEBHOOK_TOLERANCE,
        )
        .map(str::to_owned)
    }

    #[test]
    fn the_published_example_is_signed_and_believed() {
        assert_eq!(ours().sign(ID, 1_614_265_330, BODY), SIGNED);
        assert_eq!(verified(ID, SECONDS, SIGNED, BODY, 0), Ok(ID.to_owned()));
        let several = format!("v1,AAAA v1a,{} v2,xyz nonsense {SIGNED}", &SIGNED[3..]);
        assert!(verified(ID, SECONDS, &several, BODY, 299).is_ok());
    }

    #[test]
    fn what_was_changed_replayed_or_made_up_is_not_believed() {
        for (id, seconds, signature, body, late, why) in [
            (ID, SECONDS, SIGNED, &b"{\"test\": 2432232315}"[..], 0, Unverified::Signature),
            ("msg_other", SECONDS, SIGNED, BODY, 0, Unverified::Signature),
            (ID, "1614265331", SIGNED, BODY, 0, Unverified::Signature),
            (ID, SECONDS, "v1,AAAA", BODY, 0, Unverified::Signature),
            (ID, SECONDS, "", BODY, 0, Unverified::Signature),
            (ID, SECONDS, &SIGNED[3..], BODY, 0, Unverified::Signature),
            (ID, SECONDS, "v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", BODY, 0, Unverified::Signature),
            (ID, SECONDS, SIGNED, BODY, 301, Unverified::TooOld),
            (ID, SECONDS, SIGNED, BODY, -301, Unverified::TooNew),
            ("", SECONDS, SIGNED, BODY, 0, Unverified::Header { name: "webhook-id" }),
            (ID, "1614265330.0", SIGNED, BODY, 0, Unverified::Header { name: "webhook-timestamp" }),
            (ID, "-1", SIGNED, BODY, 0, Unverified::Header { name: "webhook-timestamp" }),
            (ID, "99999999999999999999", SIGNED, BODY, 0, Unverified::Header { name: "webhook-timestamp" }),
        ] {
            assert_eq!(verified(id, seconds, signature, body, late), Err(why), "{id} {seconds} {signature}");
        }
        let nothing = WebhookHeaders::default();
        let error = verify_webhook(&nothing, BODY, &[ours()], Timestamp(0), WEBHOOK_TOLERANCE);
        assert_eq!(error, Err(Unverified::Header { name: "webhook-id" }));
        // Past a limit nobody looks: a header must not make us compute for ever.
        let flood = format!("{}{SIGNED}", "v1,AAAA ".repeat(SIGNATURES_LIMIT));
        assert_eq!(verified(ID, SECONDS, &flood, BODY, 0), Err(Unverified::Signature));
    }

    #[test]
    fn a_key_is_long_enough_and_not_shown() {
        let new = |text: &str| WebhookKey::new(Secret::new(text.into())).map(|_| ());
        assert_eq!(new("whsec_!!!"), Err(InvalidWebhookKey::Base64));
        assert_eq!(new("whsec_c2hvcnQ="), Err(InvalidWebhookKey::Short));
        assert_eq!(new("fifteen bytes.."), Err(InvalidWebhookKey::Short));
        assert_eq!(new("sixteen bytes..."), Ok(()));
        assert_eq!(format!("{:?}", ours()), "WebhookKey(..)");
    }
}
