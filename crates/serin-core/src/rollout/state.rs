//! What a rollout is, and what follows from how it stands.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serin_ml::sequential::Evidence;

use super::reading::Reading;
use crate::clock::{Steady, Timestamp};
use crate::config::{HookSettings, ONLY_VARIANT, RolloutSettings, WithoutEvidence};
use crate::digest::Digest;
use crate::domain::{Epoch, RolloutNumber, RunNumber, VersionNumber};

/// One version on its way to take over from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    pub number: RolloutNumber,
    pub project: String,
    pub stage: String,
    pub endpoint: String,
    /// The run that deploys, and its step.
    pub run: RunNumber,
    pub step: String,
    /// The new version.
    pub canary: Side,
    /// The one that serves; `None`: the stage serves nothing yet, and there is nothing to compare with.
    pub stable: Option<Side>,
    pub settings: RolloutSettings,
    /// Who answers for it, and why it is made.
    pub by: Option<String>,
    pub reason: String,
    pub created: Timestamp,
    pub began: Steady,
    pub phase: Phase,
    /// Since when; of a step that shifts traffic, since the gateway does so.
    pub since: Steady,
    pub condition: Condition,
    /// The document of routes that the phase needs, and whether the gateway follows it.
    pub epoch: Epoch,
    pub is_followed: bool,
    pub evidence: Evidence,
    /// The counters as they were read last.
    pub last: Option<Reading>,
    /// When the gateway was heard last.
    pub heard: Steady,
    /// A person promoted it: evidence is no longer waited for.
    pub promoted_by: Option<String>,
    /// Captured rows were asked of it for want of requests.
    pub is_replayed: bool,
    /// What the stage was watched against before.
    pub watched_before: Option<Watched>,
}

/// One of the two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    pub version: VersionNumber,
    /// The digest of the bundle's content: what evidence is counted by.
    pub bundle: String,
}

/// What a stage was watched against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    pub version: VersionNumber,
    /// Artifact of the baseline profile.
    pub baseline: Digest,
    pub since: Timestamp,
}

/// How far it is. Every phase but the last has a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// The gateway loads the new version and gives it no requests.
    Loading,
    /// Its golden rows are asked, then the hooks before traffic.
    BeforeTraffic {
        hook: usize,
    },
    /// It answers beside the other one, and nobody sees it.
    Mirroring,
    /// It gets its share of the requests.
    Shifting {
        step: usize,
    },
    /// It has all requests; the hooks after traffic are asked.
    AfterTraffic {
        hook: usize,
    },
    /// Promoted; the version before is warm.
    Probation,
    /// The other one has all requests again.
    Returning {
        why: Why,
    },
    Ended {
        end: End,
    },
}

/// Why it goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Does not change between versions, such as `bad` or `no_evidence`.
    pub code: String,
    pub reason: String,
    pub blame: Blame,
    /// Who asked for it; `None`: the rules.
    pub by: Option<String>,
    /// Whether it had been promoted.
    pub was_promoted: bool,
}

/// Whether the version is to blame. One that is gets no request again without a new approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    Version,
    /// It is not known to be bad.
    Nobody,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case")]
pub enum End {
    /// The new version serves, and the one before is no longer warm.
    Completed,
    RolledBack {
        why: Why,
    },
    /// Another change of the endpoint took its place.
    Superseded {
        by: String,
    },
}

/// Whether it goes on by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "condition", rename_all = "kebab-case")]
pub enum Condition {
    Going,
    /// A person stopped it where it is. What is bad still goes back.
    Paused {
        by: String,
        reason: String,
    },
    /// It cannot be judged. With a deadline it then goes back.
    Held {
        code: String,
        reason: String,
        since: Steady,
        has_deadline: bool,
    },
}

/// Where a hook is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPlace {
    /// The golden rows, always first.
    GoldenRows,
    Before(usize),
    After(usize),
}

/// How requests are split.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    pub shares: Vec<Share>,
    /// The variant that answers beside the others, unseen.
    pub mirror: Option<String>,
}

/// One variant's share.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    pub variant: String,
    /// Percent.
    pub weight: f64,
    pub version: VersionNumber,
}

/// The variant of the new version until it is promoted, and of the old one after it was.
pub const CANARY_VARIANT: &str = "Canary";
const PREVIOUS_VARIANT: &str = "Previous";

/// The golden rows are answered within this, or there is something wrong with the gateway.
const GOLDEN_LIMIT: Duration = Duration::from_secs(120);

impl Rollout {
    /// How requests are split in the present phase. Nobody splits them otherwise.
    #[must_use]
    pub fn split(&self) -> Split {
        let share = |variant: &str, weight: f64, side: &Side| Share {
            variant: variant.to_owned(),
            weight,
            version: side.version,
        };
        let Some(stable) = &self.stable else {
            // There is nothing to go back to but nothing.
            let shares = match &self.phase {
                Phase::Returning { .. } | Phase::Ended { end: End::RolledBack { .. } } => Vec::new(),
                _ => vec![share(ONLY_VARIANT, 100.0, &self.canary)],
            };
            return Split { shares, mirror: None };
        };
        let both = |weight: f64| {
            vec![share(ONLY_VARIANT, 100.0 - weight, stable), share(CANARY_VARIANT, weight, &self.canary)]
        };
        let shares = match &self.phase {
            Phase::Loading | Phase::BeforeTraffic { .. } | Phase::Mirroring => both(0.0),
            Phase::Shifting { step } => both(self.weight_of(*step)),
            Phase::AfterTraffic { .. } => both(100.0),
            Phase::Probation => {
                vec![share(ONLY_VARIANT, 100.0, &self.canary), share(PREVIOUS_VARIANT, 0.0, stable)]
            }
            Phase::Ended { end: End::Completed } => vec![share(ONLY_VARIANT, 100.0, &self.canary)],
            // What supersedes says itself what is served.
            Phase::Returning { .. } | Phase::Ended { .. } => vec![share(ONLY_VARIANT, 100.0, stable)],
        };
        let is_mirrored = !self.settings.mirror.is_zero()
            && match self.phase {
                Phase::Mirroring => true,
                Phase::Shifting { step } => self.weight_of(step) < 100.0,
                _ => false,
            };
        Split { shares, mirror: is_mirrored.then(|| CANARY_VARIANT.to_owned()) }
    }

    /// The weight of the new version in a step, percent.
    #[must_use]
    pub fn weight_of(&self, step: usize) -> f64 {
        self.settings.steps.get(step).map_or(100.0, |step| step.weight)
    }

    /// The variant by which the new version can be asked in the present phase.
    #[must_use]
    pub fn canary_variant(&self) -> &'static str {
        let is_only = self.stable.is_none() || matches!(self.phase, Phase::Probation | Phase::Ended { .. });
        if is_only { ONLY_VARIANT } else { CANARY_VARIANT }
    }

    /// Whether anything may still happen.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether the new version has taken over.
    #[must_use]
    pub fn is_promoted(&self) -> bool {
        matches!(self.phase, Phase::Probation | Phase::Ended { end: End::Completed })
    }

    /// The hook that is to be asked now.
    #[must_use]
    pub fn hook(&self) -> Option<HookPlace> {
        if !self.is_followed {
            return None;
        }
        match self.phase {
            Phase::BeforeTraffic { hook: 0 } => Some(HookPlace::GoldenRows),
            Phase::BeforeTraffic { hook } => Some(HookPlace::Before(hook - 1)),
            Phase::AfterTraffic { hook } => Some(HookPlace::After(hook)),
            _ => None,
        }
    }

    /// What a hook is, unless it is the golden rows.
    #[must_use]
    pub fn hook_settings(&self, place: HookPlace) -> Option<&HookSettings> {
        match place {
            HookPlace::GoldenRows => None,
            HookPlace::Before(i) => self.settings.before_traffic.get(i),
            HookPlace::After(i) => self.settings.after_traffic.get(i),
        }
    }

    /// How long a hook may take.
    #[must_use]
    pub fn hook_limit(&self, place: HookPlace) -> Duration {
        match self.hook_settings(place) {
            None => GOLDEN_LIMIT,
            Some(
                HookSettings::Captured { time_limit }
                | HookSettings::Command { time_limit, .. }
                | HookSettings::Webhook { time_limit, .. },
            ) => *time_limit,
        }
    }

    /// What the replay of captured rows says to be counted, when the settings want it. Callers do not know the digests that
    /// it is made of.
    #[must_use]
    pub fn replay_word(&self) -> Option<String> {
        let stable =
            self.stable.as_ref().filter(|_| self.settings.without_evidence == WithoutEvidence::Replay)?;
        let parts = format!("{}/{}/{}/{}", self.canary.bundle, stable.bundle, self.number, self.created.0);
        Some(Digest::of(parts.as_bytes()).to_string())
    }

    /// What captured rows are marked with, such as `7/step-1`.
    #[must_use]
    pub fn mark(&self) -> String {
        let place = match &self.phase {
            Phase::Shifting { step } => format!("step-{}", step + 1),
            other => other.name().to_owned(),
        };
        format!("{}/{place}", self.number)
    }
}

impl Phase {
    /// Its name as stored and shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::BeforeTraffic { .. } => "before-traffic",
            Self::Mirroring => "mirroring",
            Self::Shifting { .. } => "shifting",
            Self::AfterTraffic { .. } => "after-traffic",
            Self::Probation => "probation",
            Self::Returning { .. } => "returning",
            Self::Ended { end: End::Completed } => "completed",
            Self::Ended { end: End::RolledBack { .. } } => "rolled-back",
            Self::Ended { end: End::Superseded { .. } } => "superseded",
        }
    }
}

impl HookPlace {
    /// In words.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::GoldenRows => "the golden rows".to_owned(),
            Self::Before(i) => format!("hook {} before traffic", i + 1),
            Self::After(i) => format!("hook {} after traffic", i + 1),
        }
    }
}
