//! Asking for runs: what a trigger, the API and the commands do alike.

use std::time::Duration;

use serde_json::Value;

use super::request::{DeployRequest, TrainRequest};
use super::shape::{deploy_pipeline, first_steps};
use crate::config::Settings;
use crate::domain::{Cause, RetryPolicy, RunKind, Wish, WishOutcome};
use crate::store::{Moment, Store, StoreError, WishRules};

/// A training run that is asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    pub project: String,
    pub cause: Cause,
    /// Two wishes with one key are one.
    pub key: Option<String>,
    pub request: TrainRequest,
    /// Earlier outputs are not taken.
    pub is_fresh: bool,
}

/// When a project's runs may be wanted.
#[must_use]
pub fn rules(settings: &Settings, cause: &Cause) -> WishRules {
    let waits = !matches!(cause, Cause::Commit { .. });
    WishRules {
        cooldown: if waits { settings.triggers.cooldown } else { Duration::ZERO },
        daily_budget: settings.triggers.daily_budget,
        newest_wins: settings.pipeline.newest_wins,
        waiting_limit: settings.pipeline.waiting_limit,
    }
}

impl Asked {
    /// A run of the project for this cause, with nothing special about it.
    #[must_use]
    pub fn plain(project: &str, cause: Cause) -> Self {
        let request = TrainRequest::default();
        Self { project: project.to_owned(), cause, key: None, request, is_fresh: false }
    }

    /// Leaves the wish.
    ///
    /// # Errors
    /// When the store refuses, or there is no such project.
    pub fn leave(
        self,
        store: &dyn Store,
        settings: &Settings,
        at: Moment,
    ) -> Result<WishOutcome, StoreError> {
        let rules = rules(settings, &self.cause);
        let pipeline = first_steps(settings.pipeline.retry);
        store.wish(&self.into_wish(), &rules, &pipeline, at)
    }

    /// What would become of the wish; nothing changes.
    ///
    /// # Errors
    /// As for [`Asked::leave`].
    pub fn would(
        self,
        store: &dyn Store,
        settings: &Settings,
        at: Moment,
    ) -> Result<WishOutcome, StoreError> {
        let rules = rules(settings, &self.cause);
        store.would(&self.into_wish(), &rules, at)
    }

    fn into_wish(self) -> Wish {
        // Maps and texts always serialise.
        let request =
            serde_json::to_value(&self.request).unwrap_or(Value::Object(serde_json::Map::default()));
        let Self { project, cause, key, is_fresh, .. } = self;
        Wish { project, kind: RunKind::Train, cause, key, request, is_fresh }
    }
}

/// Asks for a version to be brought to a stage; `kind` is deployment or rollback.
///
/// # Errors
/// When the store refuses, or there is no such project.
pub fn ask_to_deploy(
    store: &dyn Store,
    project: &str,
    kind: RunKind,
    request: &DeployRequest,
    by: &str,
    at: Moment,
) -> Result<WishOutcome, StoreError> {
    let wish = Wish {
        project: project.to_owned(),
        kind,
        cause: Cause::Asked { by: by.to_owned() },
        key: None,
        request: serde_json::to_value(request).unwrap_or_default(),
        is_fresh: false,
    };
    let rules = WishRules {
        cooldown: Duration::ZERO,
        daily_budget: u32::MAX,
        newest_wins: false,
        waiting_limit: 100,
    };
    store.wish(&wish, &rules, &deploy_pipeline(&request.stage, RetryPolicy::default()), at)
}
