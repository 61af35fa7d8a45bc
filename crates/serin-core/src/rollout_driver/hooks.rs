//! Hooks: asked in threads of their own, again while they say "wait".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use serin_ml::model::{BUNDLE_LIMIT_BYTES, Bundle};

use super::{RolloutsOptions, table};
use crate::artifacts::Artifacts;
use crate::capture::Serving;
use crate::causes::in_one_line;
use crate::clock::Clock;
use crate::config::HookSettings;
use crate::domain::{ModelVersion, RolloutNumber};
use crate::engine::Moments;
use crate::notify::{Allowed, WebhookChannel, WebhookSettings};
use crate::pipeline::http;
use crate::pipeline::smoke::{BUSY, compare, csv};
use crate::rollout::{HookAnswer, HookPlace, Rollout};
use crate::runtime::{Cancel, JobEnd, JobLimits, JobRuntime, JobSpec, OutputTail};
use crate::store::Store;

/// Between two times that a hook is asked which says "wait".
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The golden rows are asked sooner again: a gateway may only be busy.
const GOLDEN_AGAIN: Duration = Duration::from_millis(500);
/// A command that cannot say yes or no yet (EX_TEMPFAIL).
const WAIT_CODE: i32 = 75;

/// Hooks under way, and what they said.
pub(super) struct Hooks {
    shared: Arc<Shared>,
    /// By rollout and the hook's name.
    asked: BTreeMap<(RolloutNumber, String), Asked>,
}

struct Asked {
    answer: Arc<Mutex<Option<HookAnswer>>>,
    since: Duration,
}

struct Shared {
    store: Arc<dyn Store>,
    artifacts: Arc<Artifacts>,
    jobs: Arc<dyn JobRuntime>,
    moments: Arc<Moments>,
    clock: Arc<dyn Clock>,
    data_directory: PathBuf,
}

/// What a webhook answers.
#[derive(Debug, Deserialize)]
struct Said {
    verdict: String,
    reason: Option<String>,
}

impl Hooks {
    pub(super) fn new(options: &RolloutsOptions) -> Self {
        let shared = Shared {
            store: options.store.clone(),
            artifacts: options.artifacts.clone(),
            jobs: options.jobs.clone(),
            moments: options.moments.clone(),
            clock: options.clock.clone(),
            data_directory: options.data_directory.clone(),
        };
        Self { shared: Arc::new(shared), asked: BTreeMap::new() }
    }

    /// What the hook said; it is asked if it was not, or said "wait" some time ago.
    pub(super) fn answer(&mut self, rollout: &Rollout, place: HookPlace) -> Option<HookAnswer> {
        let key = (rollout.number, place.text());
        let now = self.shared.moments.monotonic();
        if let Some(asked) = self.asked.get(&key) {
            let answer = asked.answer.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let again = if place == HookPlace::GoldenRows { GOLDEN_AGAIN } else { ASK_AGAIN };
            let is_final = !matches!(answer, Some(HookAnswer::Wait { .. }));
            if is_final || now.saturating_sub(asked.since) < again {
                return answer;
            }
        }
        let answer = Arc::new(Mutex::new(None));
        let (shared, rollout, told) = (self.shared.clone(), rollout.clone(), answer.clone());
        let ask = move || {
            let said = shared.ask(&rollout, place);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
        };
        if thread::Builder::new().name("hook".to_owned()).spawn(ask).is_ok() {
            self.asked.insert(key, Asked { answer, since: now });
        }
        None
    }

    /// Nothing is asked any more.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }
}

impl Shared {
    fn ask(&self, rollout: &Rollout, place: HookPlace) -> HookAnswer {
        // The same for every time it is asked, so that a receiver can tell.
        let id = format!("rollout-{}-{}", rollout.number, place.text().replace(' ', "-"));
        match rollout.hook_settings(place) {
            None => self.golden(rollout, &id),
            Some(HookSettings::Captured { .. }) => match table::has_rows(&self.data_directory, rollout) {
                true => HookAnswer::Pass,
                false => wait("no answer of the new version is in the inference table yet"),
            },
            Some(HookSettings::Command { command, time_limit }) => {
                self.command(rollout, command, *time_limit)
            }
            Some(HookSettings::Webhook { url, secret_file, allow_hosts, .. }) => {
                self.webhook(rollout, &id, url, secret_file.as_deref(), allow_hosts)
            }
        }
    }

    /// The golden rows through the new version, over HTTP, as a caller would ask.
    fn golden(&self, rollout: &Rollout, id: &str) -> HookAnswer {
        let (version, bundle) = match self.bundle(rollout) {
            Ok(found) => found,
            Err(reason) => return HookAnswer::Fail { reason },
        };
        let Some(serving) = Serving::read(&self.data_directory).ok().flatten() else {
            return wait("no gateway serves this data directory");
        };
        let url = format!("{}/endpoints/{}/invocations", serving.url, rollout.endpoint);
        let variant = Some(rollout.canary_variant());
        match http::post_to(&url, variant, "text/csv", id, csv(&bundle.golden.rows).as_bytes()) {
            Err(error) => wait(&error),
            _ if bundle.golden.rows.is_empty() => HookAnswer::Pass,
            Ok(reply) if BUSY.contains(&reply.status) => {
                wait(&format!("it answers {}: {}", reply.status, http::beginning(&reply.body)))
            }
            Ok(reply) => match compare(&reply, &version, &bundle, &bundle.golden.rows) {
                Ok(_) => HookAnswer::Pass,
                Err(reason) => HookAnswer::Fail { reason },
            },
        }
    }

    fn bundle(&self, rollout: &Rollout) -> Result<(ModelVersion, Bundle), String> {
        let version = self.store.version(rollout.canary.version).map_err(|error| in_one_line(&error))?;
        let version = version.ok_or("the version is not in the registry")?;
        let bytes = self.artifacts.read(&version.artifact, BUNDLE_LIMIT_BYTES);
        let bytes = bytes.map_err(|error| in_one_line(&error))?;
        let bundle = Bundle::decode(&bytes).map_err(|error| in_one_line(&error))?;
        Ok((version, bundle))
    }

    fn command(&self, rollout: &Rollout, command: &[String], time: Duration) -> HookAnswer {
        let projects = self.store.projects().unwrap_or_default();
        let project = projects.into_iter().find(|project| project.name == rollout.project);
        let Some(project) = project else { return wait("the project's folder is not known") };
        let url = Serving::read(&self.data_directory).ok().flatten().map(|serving| serving.url);
        let stable = rollout.stable.as_ref().map(|stable| stable.version.to_string()).unwrap_or_default();
        let environment = [
            ("SERIN_ROLLOUT", rollout.number.to_string()),
            ("SERIN_PROJECT", rollout.project.clone()),
            ("SERIN_STAGE", rollout.stage.clone()),
            ("SERIN_ENDPOINT", rollout.endpoint.clone()),
            ("SERIN_VERSION", rollout.canary.version.to_string()),
            ("SERIN_STABLE_VERSION", stable),
            ("SERIN_VARIANT", rollout.canary_variant().to_owned()),
            ("SERIN_URL", url.unwrap_or_default()),
        ];
        let spec = JobSpec {
            command: command.to_vec(),
            directory: Path::new(&project.folder).to_owned(),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(),
            limits: JobLimits { time, ..JobLimits::default() },
            container: None,
        };
        let mut tail = OutputTail::default();
        match self.jobs.run(&spec, &Cancel::default(), &mut |line| tail.push(&line.text)) {
            Err(error) if error.may_retry() => wait(&in_one_line(&error)),
            Err(error) => HookAnswer::Fail { reason: in_one_line(&error) },
            Ok(outcome) => {
                let said = tail.text().unwrap_or_else(|| "it said nothing".to_owned());
                match outcome.end {
                    JobEnd::Exited { code: 0 } => HookAnswer::Pass,
                    JobEnd::Exited { code: WAIT_CODE } => wait(&said),
                    end => HookAnswer::Fail { reason: format!("{end}: {said}") },
                }
            }
        }
    }

    fn webhook(
        &self,
        rollout: &Rollout,
        id: &str,
        url: &str,
        secret_file: Option<&Path>,
        allow_hosts: &[String],
    ) -> HookAnswer {
        let allow: Result<Vec<Allowed>, _> = allow_hosts.iter().map(|host| host.parse()).collect();
        let Ok(allow) = allow else {
            return HookAnswer::Fail { reason: "allow_hosts names no hosts and networks".to_owned() };
        };
        let settings = WebhookSettings {
            name: "rollout".to_owned(),
            url: url.to_owned(),
            secret_files: secret_file.map(Path::to_owned).into_iter().collect(),
            // Plain HTTP only to where the settings say explicitly.
            allow_http: !allow.is_empty(),
            allow,
            time_limit: WebhookSettings::TIME_LIMIT,
        };
        let channel = match WebhookChannel::new(settings, self.clock.clone()) {
            Ok(channel) => channel,
            Err(error) => return HookAnswer::Fail { reason: in_one_line(&error) },
        };
        let question = json!({ "type": "rollout-hook", "data": { "rollout": rollout.number, "project": rollout.project,
            "stage": rollout.stage, "endpoint": rollout.endpoint, "version": rollout.canary.version,
            "stable_version": rollout.stable.as_ref().map(|stable| stable.version), "phase": rollout.phase.name() } });
        match channel.ask(id, &question) {
            Err(error) => wait(&in_one_line(&error)),
            Ok(body) => match serde_json::from_str::<Said>(&body) {
                Ok(Said { verdict, reason }) => match (verdict.as_str(), reason) {
                    ("pass", _) => HookAnswer::Pass,
                    ("fail", reason) => {
                        HookAnswer::Fail { reason: reason.unwrap_or_else(|| "it says no".to_owned()) }
                    }
                    ("wait", reason) => wait(&reason.unwrap_or_else(|| "it says wait".to_owned())),
                    (other, _) => wait(&format!("it says {other:?}, which is not pass, fail or wait")),
                },
                Err(_) => wait("its answer is not {\"verdict\": \"pass\" | \"fail\" | \"wait\"}"),
            },
        }
    }
}

fn wait(reason: &str) -> HookAnswer {
    HookAnswer::Wait { reason: reason.to_owned() }
}
