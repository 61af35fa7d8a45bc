//! Pushes that a forge tells us of: GitHub's and GitLab's webhooks.
//!
//! A hook only says "look now": what is built is what the repository itself answers, so a forged or repeated call costs
//! one question. It is checked all the same, before its body is read.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use crate::digest::Digest;
use crate::source::git::{Branch, CommitId};

/// Largest body taken. Forges cut the list of commits of a push long before.
pub const HOOK_LIMIT_BYTES: usize = 5 << 20;

/// Shortest secret taken; shorter ones can be guessed.
pub const SECRET_SHORTEST_BYTES: usize = 16;

/// Longest name kept of what a hook says.
const NAME_LONGEST_CHARACTERS: usize = 200;

/// The secret that a forge and this project share.
pub struct HookSecret(Vec<u8>);

/// What a call told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A branch points to another commit.
    Push(Push),
    /// It is fine and means nothing here, such as a tag or a ping.
    Nothing { event: String },
}

/// A push, as the forge tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The repository's name at its forge, such as `team/model`.
    pub repository: String,
    pub branch: Branch,
    pub commit: CommitId,
    /// The forge's own name of this call: the same when it is repeated.
    pub delivery: Option<String>,
}

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HookError {
    #[error("a secret has at least {SECRET_SHORTEST_BYTES} bytes")]
    WeakSecret,
    #[error("the call has neither X-Hub-Signature-256 nor X-Gitlab-Token")]
    Unsigned,
    /// Whether the secret or the body is wrong is not told.
    #[error("the signature or token is wrong")]
    Forged,
    #[error("the body has more than {HOOK_LIMIT_BYTES} bytes, which is the limit")]
    TooLarge,
    #[error("the body is not understood: {problem}")]
    Body { problem: String },
}

impl HookError {
    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Unsigned | Self::Forged => 401,
            Self::TooLarge => 413,
            Self::Body { .. } => 422,
            Self::WeakSecret => 500,
        }
    }
}

impl HookSecret {
    /// A secret as it stands in its file, without the end of its line.
    ///
    /// # Errors
    /// When it is too short.
    pub fn new(secret: &str) -> Result<Self, HookError> {
        match secret.len() >= SECRET_SHORTEST_BYTES {
            true => Ok(Self(secret.as_bytes().to_vec())),
            false => Err(HookError::WeakSecret),
        }
    }
}

impl fmt::Debug for HookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookSecret")
    }
}

/// Checks a call and reads what it tells. `header` gives the value of a header by its name, in whatever case.
///
/// # Errors
/// When it is too large, not signed with the secret, or not understood.
pub fn read<'a>(
    header: impl Fn(&str) -> Option<&'a str>,
    body: &[u8],
    secret: &HookSecret,
) -> Result<Hook, HookError> {
    if body.len() > HOOK_LIMIT_BYTES {
        return Err(HookError::TooLarge);
    }
    let forge = Forge::of_call(&header, body, secret)?;
    let (event_header, delivery_header, push_event) = forge.names();
    let event = header(event_header).unwrap_or_default();
    if event != push_event {
        return Ok(Hook::Nothing { event: shown(event) });
    }
    let told: Told = serde_json::from_slice(body).map_err(|error| not_understood(&error.to_string()))?;
    let Some(branch) = told.reference.strip_prefix("refs/heads/") else {
        return Ok(Hook::Nothing { event: shown(&told.reference) });
    };
    if !told.after.is_empty() && told.after.bytes().all(|byte| byte == b'0') {
        return Ok(Hook::Nothing { event: "a deleted branch".into() });
    }
    let repository = told.repository.and_then(|repository| repository.full_name);
    let repository = repository.or_else(|| told.project?.path_with_namespace);
    let repository = repository.ok_or_else(|| not_understood("it names no repository"))?;
    Ok(Hook::Push(Push {
        repository: shown(&repository),
        branch: Branch::new(branch).map_err(|error| not_understood(&error.to_string()))?,
        commit: CommitId::new(&told.after).map_err(|error| not_understood(&error.to_string()))?,
        delivery: header(delivery_header).map(shown),
    }))
}

/// Who called.
#[derive(Debug, Clone, Copy)]
enum Forge {
    GitHub,
    GitLab,
}

impl Forge {
    /// Whose call it is, once it is known to be by someone who has the secret.
    fn of_call<'a>(
        header: &impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
        secret: &HookSecret,
    ) -> Result<Self, HookError> {
        let (forge, is_genuine) = match (header("X-Hub-Signature-256"), header("X-Gitlab-Token")) {
            (Some(signature), _) => (Self::GitHub, is_signed(signature, body, secret)),
            (None, Some(token)) => {
                // Digests have one length, so not even the secret's length shows in the time it takes.
                let (given, expected) = (Digest::of(token.as_bytes()), Digest::of(&secret.0));
                (Self::GitLab, given.as_bytes().ct_eq(expected.as_bytes()).into())
            }
            (None, None) => return Err(HookError::Unsigned),
        };
        if is_genuine { Ok(forge) } else { Err(HookError::Forged) }
    }

    /// Headers of the event and of the call's name, and the event that is a push.
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::GitHub => ("X-GitHub-Event", "X-GitHub-Delivery", "push"),
            Self::GitLab => ("X-Gitlab-Event", "X-Gitlab-Event-UUID", "Push Hook"),
        }
    }
}

/// What a push says; everything else in it is passed over.
#[derive(Deserialize)]
struct Told {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    repository: Option<ToldRepository>,
    project: Option<ToldProject>,
}

/// GitHub's.
#[derive(Deserialize)]
struct ToldRepository {
    full_name: Option<String>,
}

/// GitLab's.
#[derive(Deserialize)]
struct ToldProject {
    path_with_namespace: Option<String>,
}

/// Whether `sha256=<hex>` is the HMAC-SHA256 of the body.
fn is_signed(signature: &str, body: &[u8], secret: &HookSecret) -> bool {
    let given = signature.strip_prefix("sha256=").and_then(|hex| hex.parse::<Digest>().ok());
    let (Some(given), Ok(mut mac)) = (given, Hmac::<Sha256>::new_from_slice(&secret.0)) else { return false };
    mac.update(body);
    // In constant time.
    mac.verify_slice(given.as_bytes()).is_ok()
}

fn not_understood(problem: &str) -> HookError {
    HookError::Body { problem: shown(problem) }
}

/// Text from outside in one short line.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(NAME_LONGEST_CHARACTERS).collect()
}
