//! Endpoints and their variants, and the snapshot of all of them that a request is answered from.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use serin_core::clock::Timestamp;
use serin_core::config::{ONLY_VARIANT, is_name};
use serin_core::digest::Digest;
use serin_core::domain::Epoch;
use serin_core::routes::{Faults, RoutedRollout};
use thiserror::Error;

use super::evidence::{Counters, Evidence};
use super::headers;
use super::metrics::{Metrics, VariantMetrics};
use super::mirror;
use super::model::ServedModel;
use super::problem::{Code, Problem, echo};
use super::split::{self, Weighted};
use crate::fleet::FleetRef;

/// A named place that answers rows, by one of its variants.
#[derive(Debug)]
pub struct Endpoint {
    name: String,
    sticky_header: Option<HeaderName>,
    variants: Vec<Variant>,
    rollout: Option<RoutedRollout>,
    mirror: Option<MirrorPlan>,
}

/// Who answers beside the others, unseen.
#[derive(Debug)]
pub struct MirrorPlan {
    /// The variant's position.
    pub variant: usize,
    /// For each other variant, its classes in the order of this one's; empty: it takes other rows.
    classes: Vec<Vec<Option<usize>>>,
    counters: Option<Arc<Counters>>,
}

/// A model version behind an endpoint, with its share of the requests.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Unique within the endpoint.
    pub name: String,
    /// Its share is its part of the sum of weights.
    pub weight: f64,
    /// What answers.
    pub model: Arc<ServedModel>,
    name_header: HeaderValue,
    version_header: HeaderValue,
    metrics: Option<VariantMetrics>,
    counters: Option<Arc<Counters>>,
    faults: Option<Arc<Faults>>,
    fleet: Option<FleetRef>,
}

/// All endpoints at one moment. A request takes one snapshot and keeps it, so no answer mixes two states; a reload
/// builds the next one aside and swaps it whole. Before anything was deployed there is none.
#[derive(Debug, Default)]
pub struct Snapshot {
    endpoints: Vec<Arc<Endpoint>>,
    /// The one that answers at the bare address.
    default: Option<usize>,
    /// Names of those that should answer and cannot: their callers are told to come again.
    unserved: Vec<String>,
    origin: Option<Origin>,
}

/// The route document that a snapshot was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub epoch: Epoch,
    /// What the document is called.
    pub document: Digest,
}

/// Why endpoints do not make a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    #[error("`{name}` cannot name {what}: up to 63 letters, digits and inner hyphens can")]
    Name { what: &'static str, name: String },
    #[error("two endpoints are called `{name}`; name them: `NAME=MODEL`")]
    Twice { name: String },
    #[error("endpoint `{endpoint}` has two variants called `{variant}`")]
    VariantTwice { endpoint: String, variant: String },
    #[error("endpoint `{endpoint}`: the weights are not finite numbers from 0, of which one is above 0")]
    Weights { endpoint: String },
    #[error("`{header}` cannot name a header")]
    StickyHeader { header: String },
    #[error("there is no endpoint `{name}` to answer at the bare address")]
    Default { name: String },
    #[error("there is no endpoint; name a model: `serin serve MODEL`")]
    None,
}

impl Endpoint {
    /// An endpoint of one variant.
    ///
    /// # Errors
    /// When the name does not fit SageMaker's pattern for endpoint names.
    pub fn of_one(name: &str, model: ServedModel) -> Result<Self, InvalidEndpoint> {
        Self::new(name, vec![Variant::new(ONLY_VARIANT, 1.0, Arc::new(model))], None)
    }

    /// An endpoint whose variants share the requests by weight. With a `sticky_header`, requests that carry the same
    /// value there get the same variant while the weights stay.
    ///
    /// # Errors
    /// When a name or a weight is not acceptable.
    pub fn new(
        name: &str,
        variants: Vec<Variant>,
        sticky_header: Option<&str>,
    ) -> Result<Self, InvalidEndpoint> {
        check_name("an endpoint", name)?;
        for (i, variant) in variants.iter().enumerate() {
            check_name("a variant", &variant.name)?;
            if variants[..i].iter().any(|other| other.name == variant.name) {
                let (endpoint, variant) = (name.to_owned(), variant.name.clone());
                return Err(InvalidEndpoint::VariantTwice { endpoint, variant });
            }
        }
        let is_weight = |weight: f64| weight.is_finite() && weight >= 0.0;
        let any = variants.iter().any(|variant| variant.weight > 0.0);
        if !any || !variants.iter().all(|variant| is_weight(variant.weight)) {
            return Err(InvalidEndpoint::Weights { endpoint: name.to_owned() });
        }
        let header = |header: &str| {
            let lower = header.to_ascii_lowercase();
            HeaderName::from_bytes(lower.as_bytes())
                .map_err(|_| InvalidEndpoint::StickyHeader { header: header.to_owned() })
        };
        Ok(Self {
            name: name.to_owned(),
            sticky_header: sticky_header.map(header).transpose()?,
            variants,
            rollout: None,
            mirror: None,
        })
    }

    /// The same while one of its variants is on its way to take over.
    #[must_use]
    pub fn in_rollout(mut self, rollout: Option<RoutedRollout>) -> Self {
        let name = rollout.as_ref().and_then(|rollout| rollout.mirror.as_deref());
        self.mirror = name.and_then(|name| MirrorPlan::of(&self.variants, name));
        self.rollout = rollout;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a request says how a version does: one that the weights gave to it, or a replay of captured rows. Whoever names
    /// a variant could make it look as they like.
    #[must_use]
    pub fn is_evidence(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(headers::TARGET_VARIANT) || self.is_replay(headers)
    }

    /// Whether a request is a captured row that the rollout asks again: it knows the word.
    #[must_use]
    pub fn is_replay(&self, headers: &HeaderMap) -> bool {
        let word = self.rollout.as_ref().and_then(|rollout| rollout.replay.as_deref());
        word.is_some() && headers::text(headers, &headers::REPLAY) == word
    }

    /// What its captured rows are marked with.
    #[must_use]
    pub fn rollout_step(&self) -> Option<&str> {
        self.rollout.as_ref().map(|rollout| rollout.mark.as_str())
    }

    /// What is to be answered beside an answer of `variant`.
    #[must_use]
    pub fn mirrored(&self, variant: usize, values: &[f64], chosen: usize) -> Option<mirror::Row> {
        let plan = self.mirror.as_ref().filter(|plan| plan.variant != variant)?;
        let answered = *plan.classes.get(variant)?.get(chosen)?;
        let beside = self.variants.get(plan.variant)?;
        Some(mirror::Row {
            model: beside.model.clone(),
            fleet: beside.fleet.clone(),
            counters: plan.counters.clone()?,
            faults: beside.faults.clone(),
            values: values.to_vec(),
            answered,
        })
    }

    /// Its variants.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// The variant that answers this request: the one named in it; else the sticky one; else, the split being a
    /// function of the inference id, one at random that stays the same when the request is repeated.
    ///
    /// # Errors
    /// When the request names a variant that is not there.
    pub fn choose(&self, headers: &HeaderMap, inference_id: &str) -> Result<usize, Problem> {
        if let Some(target) = headers.get(headers::TARGET_VARIANT) {
            let target = target.to_str().unwrap_or_default();
            return self.variants.iter().position(|variant| variant.name == target).ok_or_else(|| {
                let detail = format!("`{}` is not a variant of this endpoint", echo(target));
                Problem::new(Code::UnknownVariant, detail)
            });
        }
        let sticky = self.sticky_header.as_ref().and_then(|name| headers::text(headers, name));
        split::choose(&self.name, &self.variants, sticky.unwrap_or(inference_id))
            .ok_or_else(|| Problem::new(Code::Internal, "no variant has a weight"))
    }

    /// The variant whose model has `version`; without a version, the one with the largest weight.
    #[must_use]
    pub fn of_version(&self, version: Option<&str>) -> Option<usize> {
        match version {
            Some(version) => self.variants.iter().position(|variant| variant.model.version() == version),
            None => {
                let by_weight = |a: &usize, b: &usize| {
                    self.variants[*a].weight.total_cmp(&self.variants[*b].weight).then(b.cmp(a))
                };
                (0..self.variants.len()).max_by(by_weight)
            }
        }
    }
}

impl MirrorPlan {
    /// The variant called `name` beside those that take the same rows.
    fn of(variants: &[Variant], name: &str) -> Option<Self> {
        let position = variants.iter().position(|variant| variant.name == name)?;
        let beside = &variants[position].model;
        let classes = variants.iter().map(|variant| {
            let model = &variant.model;
            if model.guard().names() != beside.guard().names() {
                return Vec::new();
            }
            let position = |class: &String| beside.class_names().iter().position(|other| other == class);
            model.class_names().iter().map(position).collect()
        });
        Some(Self { variant: position, classes: classes.collect(), counters: None })
    }
}

impl Variant {
    /// A variant that is not counted yet.
    #[must_use]
    pub fn new(name: &str, weight: f64, model: Arc<ServedModel>) -> Self {
        let (name_header, version_header) = (headers::ascii(name), headers::ascii(model.version()));
        Self {
            name: name.to_owned(),
            weight,
            model,
            name_header,
            version_header,
            metrics: None,
            counters: None,
            faults: None,
            fleet: None,
        }
    }

    /// The same answered by replicas.
    #[must_use]
    pub fn answered_by(self, fleet: Option<FleetRef>) -> Self {
        Self { fleet, ..self }
    }

    /// The replicas that answer; without any the model does, here.
    #[must_use]
    pub fn fleet(&self) -> Option<&FleetRef> {
        self.fleet.as_ref()
    }

    /// The same in a drill.
    #[must_use]
    pub fn drilled(self, faults: Option<Faults>) -> Self {
        Self { faults: faults.map(Arc::new), ..self }
    }

    /// What a drill makes it do wrong now.
    #[must_use]
    pub fn faults(&self, now: Timestamp) -> Option<&Faults> {
        self.faults.as_deref().filter(|faults| now < faults.until)
    }

    /// Where its requests are evidence, once it is part of a gateway.
    #[must_use]
    pub fn counters(&self) -> Option<&Arc<Counters>> {
        self.counters.as_ref()
    }

    /// Its name and its model's version as headers.
    #[must_use]
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let Self { name_header, version_header, .. } = self;
        [(headers::INVOKED_VARIANT, name_header.clone()), (headers::MODEL_VERSION, version_header.clone())]
    }

    /// Where its requests are counted, once it is part of a gateway.
    #[must_use]
    pub fn metrics(&self) -> Option<&VariantMetrics> {
        self.metrics.as_ref()
    }
}

impl Snapshot {
    /// The endpoints, and the name of the one that answers at the bare address (an only one does without being named).
    ///
    /// # Errors
    /// When two have one name, or the default is none of them.
    pub fn new(endpoints: Vec<Endpoint>, default: Option<&str>) -> Result<Self, InvalidEndpoint> {
        for (i, endpoint) in endpoints.iter().enumerate() {
            if endpoints[..i].iter().any(|other| other.name == endpoint.name) {
                return Err(InvalidEndpoint::Twice { name: endpoint.name.clone() });
            }
        }
        let default = match default {
            None if endpoints.is_empty() => return Err(InvalidEndpoint::None),
            None => (endpoints.len() == 1).then_some(0),
            Some(name) => {
                let position = endpoints.iter().position(|endpoint| endpoint.name == name);
                Some(position.ok_or_else(|| InvalidEndpoint::Default { name: name.to_owned() })?)
            }
        };
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        Ok(Self { endpoints, default, unserved: Vec::new(), origin: None })
    }

    /// The endpoints of a route document, whose names were checked; perhaps none. Those `unserved` should be among them.
    #[must_use]
    pub fn routed(
        endpoints: Vec<Endpoint>,
        default: Option<&str>,
        unserved: Vec<String>,
        origin: Origin,
    ) -> Self {
        let default = endpoints.iter().position(|endpoint| Some(endpoint.name.as_str()) == default);
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        Self { endpoints, default, unserved, origin: Some(origin) }
    }

    /// Counts every variant in `metrics`, at zero or from where a variant of its name was, and in `evidence`, by model.
    pub fn count_in(&mut self, metrics: &Metrics, evidence: &Evidence) {
        for endpoint in &mut self.endpoints {
            // A snapshot that is not in force yet is not shared.
            let Some(endpoint) = Arc::get_mut(endpoint) else { continue };
            for variant in &mut endpoint.variants {
                variant.metrics = Some(metrics.of(&endpoint.name, &variant.name));
                variant.counters = Some(evidence.of(&endpoint.name, &variant.model));
            }
            if let Some(plan) = &mut endpoint.mirror
                && let Some(beside) = endpoint.variants.get(plan.variant)
            {
                plan.counters = Some(evidence.of_mirror(&endpoint.name, &beside.model));
            }
        }
        let variants = self.endpoints.iter().flat_map(|endpoint| {
            endpoint.variants.iter().map(|variant| (endpoint.name(), variant.name.as_str(), variant.weight))
        });
        metrics.set_weights(variants);
    }

    /// All endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The variants of all endpoints.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.endpoints.iter().flat_map(|endpoint| endpoint.variants())
    }

    /// The replicas that answer for them.
    pub fn fleets(&self) -> impl Iterator<Item = &FleetRef> {
        self.variants().filter_map(Variant::fleet)
    }

    /// These endpoints, with those of `next` in their place that may be: what is in force while others wait.
    #[must_use]
    pub fn with_those_of(&self, next: &Self, may: impl Fn(Option<&Endpoint>, &Endpoint) -> bool) -> Self {
        let of = |snapshot: &Self, name: &str| {
            snapshot.endpoints.iter().find(|endpoint| endpoint.name == name).cloned()
        };
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::with_capacity(next.endpoints.len());
        let mut unserved = next.unserved.clone();
        for endpoint in &next.endpoints {
            let before = of(self, &endpoint.name);
            match (may(before.as_deref(), endpoint), before) {
                (true, _) => endpoints.push(endpoint.clone()),
                (false, Some(before)) => endpoints.push(before),
                (false, None) => unserved.push(endpoint.name.clone()),
            }
        }
        let default = next.default_name().and_then(|name| endpoints.iter().position(|one| one.name == name));
        Self { endpoints, default, unserved, origin: self.origin }
    }

    /// The name of the endpoint at the bare address.
    #[must_use]
    pub fn default_name(&self) -> Option<&str> {
        self.default.and_then(|default| self.endpoints.get(default)).map(|endpoint| endpoint.name())
    }

    /// The route document it was made of, when it was.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The endpoint called `name`, or the one of the bare address.
    ///
    /// # Errors
    /// When there is none, with the names that there are.
    pub fn endpoint(&self, name: Option<&str>) -> Result<&Arc<Endpoint>, Problem> {
        let found = match name {
            Some(name) => self.endpoints.iter().find(|endpoint| endpoint.name == name),
            None => self.default.and_then(|default| self.endpoints.get(default)),
        };
        found.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, name: Option<&str>) -> Problem {
        // Without a default, any of the unserved may be it.
        let is_unserved = match name {
            Some(name) => self.unserved.iter().any(|unserved| unserved == name),
            None => !self.unserved.is_empty(),
        };
        if is_unserved {
            return Problem::new(Code::NoEndpoint, "the model cannot be served now; try again later");
        }
        if self.endpoints.is_empty() {
            // Whatever was asked for may be deployed soon.
            return Problem::new(Code::NoEndpoint, "no model is deployed; try again later");
        }
        let names: Vec<&str> = self.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
        let names = names.join(", ");
        let detail = match name {
            Some(name) => format!("endpoint {} not found; there is: {names}", echo(name)),
            None => format!("there are several endpoints; ask `/endpoints/NAME/invocations`: {names}"),
        };
        Problem::new(Code::UnknownEndpoint, detail)
    }
}

impl Weighted for Variant {
    fn name(&self) -> &str {
        &self.name
    }

    fn weight(&self) -> f64 {
        self.weight
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), InvalidEndpoint> {
    if is_name(name) { Ok(()) } else { Err(InvalidEndpoint::Name { what, name: name.to_owned() }) }
}
