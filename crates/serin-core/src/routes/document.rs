//! What is served where.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::faults::Faults;
use crate::clock::Timestamp;
use crate::config::{CommandSettings, ReplicaRuntimeKind, ReplicaSettings, is_name};
use crate::digest::Digest;
use crate::domain::{Epoch, RunNumber, VersionNumber};

/// Most endpoints of a document.
pub const ENDPOINTS_LIMIT: usize = 256;
/// Most variants of an endpoint.
pub const VARIANTS_LIMIT: usize = 16;

/// The version of the format that is written, and the oldest that is read. Version 2 added rollouts and faults, version 3 what
/// serves a version besides the gateway itself.
const FORMAT: u32 = 3;
const OLDEST_FORMAT: u32 = 1;

/// The stages that answer at the bare address of an only project, the first of them that is there.
const DEFAULT_STAGES: [&str; 2] = ["prod", "dev"];

/// Every endpoint that shall answer, checked. What it does not name does not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteDocument {
    epoch: Epoch,
    created: Timestamp,
    endpoints: Vec<RoutedEndpoint>,
    default: Option<String>,
}

/// A named place that answers rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedEndpoint {
    pub name: String,
    pub project: String,
    pub stage: String,
    /// Requests with the same value of this header get the same variant.
    pub sticky_header: Option<String>,
    pub variants: Vec<RoutedVariant>,
    /// One of the variants is on its way to take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RoutedRollout>,
}

/// What a gateway needs to know of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedRollout {
    /// What captured rows are marked with.
    pub mark: String,
    /// The variant that answers beside the others, unseen.
    pub mirror: Option<String>,
    /// Who says this asks captured rows again: such requests are evidence although they name their variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

/// A model version behind an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedVariant {
    pub name: String,
    /// Its share of the requests is its part of the sum of weights.
    pub weight: f64,
    pub model: ModelRef,
    /// A drill is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<Faults>,
    /// Who answers; `None`: the gateway itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serving: Option<RoutedServing>,
}

/// What answers for a version besides the gateway itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutedServing {
    pub replicas: ReplicaSettings,
    /// The user's own; `None`: Serin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<CommandSettings>,
    /// The files among which a command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Digest>,
    /// The files of a model that only the program can read; `None`: the bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
}

impl RoutedServing {
    /// Whether somebody else than the gateway itself answers.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.program.is_some() || self.replicas.runtime != ReplicaRuntimeKind::InProcess
    }
}

/// A model version, and where its bundle is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRef {
    /// Its number in the registry.
    pub number: VersionNumber,
    /// The digest of the bundle's content, as `serin inspect` shows it.
    pub bundle: String,
    /// The digest of the bundle's file.
    pub artifact: Digest,
    /// The run that made it.
    pub run: Option<RunNumber>,
}

/// Why endpoints do not make a document.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidRoutes {
    #[error("there are more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("{name:?} cannot name {what}: up to 63 letters, digits and inner hyphens can")]
    Name { what: &'static str, name: String },
    #[error("two endpoints are called {name:?}")]
    Twice { name: String },
    #[error("endpoint {endpoint:?} has two variants called {variant:?}")]
    VariantTwice { endpoint: String, variant: String },
    #[error("endpoint {endpoint:?}: the weights are not finite numbers from 0, of which one is above 0")]
    Weights { endpoint: String },
    #[error("endpoint {endpoint:?}: {header:?} cannot name a header")]
    StickyHeader { endpoint: String, header: String },
    #[error("there is no endpoint {name:?} to answer at the bare address")]
    Default { name: String },
    #[error("endpoint {endpoint:?} has no variant {variant:?} to answer beside the others")]
    Mirror { endpoint: String, variant: String },
    #[error("endpoint {endpoint:?}: a drill has a number out of its range, or no fault")]
    Faults { endpoint: String },
}

/// A document that cannot be read.
#[derive(Debug, Error)]
pub(super) enum Unreadable {
    #[error("the document has format {found}, and this program knows {OLDEST_FORMAT} to {FORMAT}")]
    Format { found: u32 },
    #[error("it holds no route document")]
    Syntax(#[source] serde_json::Error),
    #[error(transparent)]
    Invalid(#[from] InvalidRoutes),
}

/// What every format begins with.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The format as read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDocument {
    #[expect(dead_code, reason = "was looked at before")]
    version: u32,
    epoch: Epoch,
    created: Timestamp,
    endpoints: Vec<RoutedEndpoint>,
    default: Option<String>,
}

/// The same as written.
#[derive(Serialize)]
struct StoredDocumentRef<'a> {
    version: u32,
    epoch: Epoch,
    created: Timestamp,
    endpoints: &'a [RoutedEndpoint],
    default: Option<&'a str>,
}

impl RouteDocument {
    /// The document of this number, which grows with each. `default` names the endpoint of the bare address.
    ///
    /// # Errors
    /// When two have one name, or a name, a weight or a header is not acceptable.
    pub fn new(
        epoch: Epoch,
        created: Timestamp,
        endpoints: Vec<RoutedEndpoint>,
        default: Option<String>,
    ) -> Result<Self, InvalidRoutes> {
        if endpoints.len() > ENDPOINTS_LIMIT {
            return Err(InvalidRoutes::TooMany { what: "endpoints", limit: ENDPOINTS_LIMIT });
        }
        for (i, endpoint) in endpoints.iter().enumerate() {
            if endpoints[..i].iter().any(|other| other.name == endpoint.name) {
                return Err(InvalidRoutes::Twice { name: endpoint.name.clone() });
            }
            endpoint.check()?;
        }
        match default {
            Some(name) if !endpoints.iter().any(|endpoint| endpoint.name == name) => {
                Err(InvalidRoutes::Default { name })
            }
            default => Ok(Self { epoch, created, endpoints, default }),
        }
    }

    /// Its number, which grows with each document: an earlier one is never taken.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// When it was made.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> &[RoutedEndpoint] {
        &self.endpoints
    }

    /// The name of the endpoint that answers at the bare address: the one that was named, or the only one; else, when
    /// all belong to one project, that of its stage `prod`, or of `dev` while `prod` is not there.
    #[must_use]
    pub fn default_endpoint(&self) -> Option<&str> {
        if self.default.is_some() {
            return self.default.as_deref();
        }
        let (first, others) = self.endpoints.split_first()?;
        if others.is_empty() {
            return Some(&first.name);
        }
        if others.iter().any(|endpoint| endpoint.project != first.project) {
            return None;
        }
        let of_stage = |stage: &&str| self.endpoints.iter().find(|endpoint| endpoint.stage == *stage);
        DEFAULT_STAGES.iter().find_map(of_stage).map(|endpoint| endpoint.name.as_str())
    }

    /// What it is called: two documents are the same when their digests are.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }

    /// As it is stored.
    pub(super) fn to_json(&self) -> String {
        let Self { epoch, created, endpoints, default } = self;
        let document = StoredDocumentRef {
            version: FORMAT,
            epoch: *epoch,
            created: *created,
            endpoints,
            default: default.as_deref(),
        };
        // Texts and finite numbers always serialise.
        serde_json::to_string(&document).unwrap_or_default()
    }

    pub(super) fn from_json(text: &str) -> Result<Self, Unreadable> {
        let Versioned { version } = serde_json::from_str(text).map_err(Unreadable::Syntax)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&version) {
            return Err(Unreadable::Format { found: version });
        }
        let StoredDocument { version: _, epoch, created, endpoints, default } =
            serde_json::from_str(text).map_err(Unreadable::Syntax)?;
        Ok(Self::new(epoch, created, endpoints, default)?)
    }
}

impl RoutedEndpoint {
    fn check(&self) -> Result<(), InvalidRoutes> {
        let endpoint = || self.name.clone();
        check_name("an endpoint", &self.name)?;
        if self.variants.len() > VARIANTS_LIMIT {
            return Err(InvalidRoutes::TooMany { what: "variants of an endpoint", limit: VARIANTS_LIMIT });
        }
        for (i, variant) in self.variants.iter().enumerate() {
            check_name("a variant", &variant.name)?;
            if self.variants[..i].iter().any(|other| other.name == variant.name) {
                let variant = variant.name.clone();
                return Err(InvalidRoutes::VariantTwice { endpoint: endpoint(), variant });
            }
        }
        let is_weight = |variant: &RoutedVariant| variant.weight.is_finite() && variant.weight >= 0.0;
        let any = self.variants.iter().any(|variant| variant.weight > 0.0);
        if !any || !self.variants.iter().all(is_weight) {
            return Err(InvalidRoutes::Weights { endpoint: endpoint() });
        }
        let mirror = self.rollout.as_ref().and_then(|rollout| rollout.mirror.as_ref());
        if let Some(variant) =
            mirror.filter(|name| !self.variants.iter().any(|variant| variant.name == **name))
        {
            return Err(InvalidRoutes::Mirror { endpoint: endpoint(), variant: variant.clone() });
        }
        if !self.variants.iter().all(|variant| variant.faults.as_ref().is_none_or(Faults::is_acceptable)) {
            return Err(InvalidRoutes::Faults { endpoint: endpoint() });
        }
        match &self.sticky_header {
            Some(header) if !is_header_name(header) => {
                Err(InvalidRoutes::StickyHeader { endpoint: endpoint(), header: header.clone() })
            }
            _ => Ok(()),
        }
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), InvalidRoutes> {
    if is_name(name) { Ok(()) } else { Err(InvalidRoutes::Name { what, name: name.to_owned() }) }
}

/// A token (RFC 9110, section 5.6.2).
fn is_header_name(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::ReplicaRuntimeKind;

    pub fn endpoint(project: &str, stage: &str, weights: &[f64]) -> RoutedEndpoint {
        let variant = |(i, weight): (usize, &f64)| RoutedVariant {
            name: format!("v{i}"),
            weight: *weight,
            model: ModelRef {
                number: VersionNumber(i as u64 + 1),
                bundle: Digest::of(b"content").to_string(),
                artifact: Digest::of(b"file"),
                run: Some(RunNumber(3)),
            },
            faults: None,
            serving: None,
        };
        RoutedEndpoint {
            name: if project == "only" { stage.to_owned() } else { format!("{project}-{stage}") },
            project: project.to_owned(),
            stage: stage.to_owned(),
            sticky_header: None,
            variants: weights.iter().enumerate().map(variant).collect(),
            rollout: None,
        }
    }

    pub fn document(epoch: u64, endpoints: Vec<RoutedEndpoint>) -> RouteDocument {
        RouteDocument::new(Epoch(epoch), Timestamp(1_700_000_000_000_000), endpoints, None).unwrap()
    }

    #[test]
    fn a_document_reads_back_as_it_was() {
        let mut prod = endpoint("only", "prod", &[0.9, 0.1, 0.0]);
        prod.sticky_header = Some("x-user-id".to_owned());
        let document = document(7, vec![prod, endpoint("only", "dev", &[1.0])]);
        assert_eq!(RouteDocument::from_json(&document.to_json()).unwrap(), document);
        let empty = super::tests::document(7, Vec::new());
        assert_eq!(RouteDocument::from_json(&empty.to_json()).unwrap(), empty);
        assert_ne!(empty.digest(), document.digest());
    }

    #[test]
    fn stored_documents_stay_readable() {
        // As written by the first version of this program: the bytes, not the code, are the promise.
        let stored = include_str!("../../tests/data/routes/document_v1.json").trim_end();
        let document = document(7, vec![endpoint("only", "prod", &[0.9, 0.1])]);
        assert_eq!(RouteDocument::from_json(stored).unwrap(), document);

        let stored = include_str!("../../tests/data/routes/document_v2.json").trim_end();
        let mut prod = endpoint("only", "prod", &[0.9, 0.1]);
        prod.rollout =
            Some(RoutedRollout { mark: "7/step-1".into(), mirror: Some("v1".into()), replay: None });
        prod.variants[1].faults = Some(Faults { error_rate: 0.5, ..Faults::until(Timestamp(0)) });
        let document = super::tests::document(7, vec![prod.clone()]);
        assert_eq!(RouteDocument::from_json(stored).unwrap(), document);

        let stored = include_str!("../../tests/data/routes/document_v3.json").trim_end();
        let replicas = ReplicaSettings { runtime: ReplicaRuntimeKind::Process, ..ReplicaSettings::default() };
        prod.variants[0].serving = Some(RoutedServing { replicas, program: None, code: None, files: None });
        let document = super::tests::document(7, vec![prod]);
        assert_eq!(RouteDocument::from_json(stored).unwrap(), document);
        assert_eq!(document.to_json(), stored);
    }

    #[test]
    fn what_is_no_document_is_refused_in_words() {
        let refused = |text: &str| RouteDocument::from_json(text).unwrap_err().to_string();
        assert_eq!(refused("{\"version\":4}"), "the document has format 4, and this program knows 1 to 3");
        let good = document(7, Vec::new()).to_json();
        for wrong in ["", "{}", &good[1..], &good.replace("default", "defualt"), &good.replace('7', "-7")] {
            assert_eq!(refused(wrong), "it holds no route document", "{wrong}");
        }
    }

    #[test]
    fn endpoints_are_checked() {
        let good = || endpoint("only", "prod", &[1.0, 0.0]);
        let changed = |change: &dyn Fn(&mut RoutedEndpoint)| {
            let mut endpoint = good();
            change(&mut endpoint);
            vec![endpoint]
        };
        let name = || "prod".to_owned();
        let weights = || InvalidRoutes::Weights { endpoint: name() };
        let header =
            |header: &str| InvalidRoutes::StickyHeader { endpoint: name(), header: header.to_owned() };
        let bad_name = |what, name: &str| InvalidRoutes::Name { what, name: name.to_owned() };
        let cases: Vec<(Vec<RoutedEndpoint>, InvalidRoutes)> = vec![
            (vec![good(), good()], InvalidRoutes::Twice { name: name() }),
            (changed(&|e| e.name = "a/b".into()), bad_name("an endpoint", "a/b")),
            (changed(&|e| e.variants[0].name = String::new()), bad_name("a variant", "")),
            (
                changed(&|e| e.variants[1].name = "v0".into()),
                InvalidRoutes::VariantTwice { endpoint: name(), variant: "v0".into() },
            ),
            (changed(&|e| e.variants[0].weight = 0.0), weights()),
            (changed(&|e| e.variants[0].weight = -1.0), weights()),
            (changed(&|e| e.variants[0].weight = f64::NAN), weights()),
            (changed(&|e| e.variants[0].weight = f64::INFINITY), weights()),
            (changed(&|e| e.variants.clear()), weights()),
            (changed(&|e| e.sticky_header = Some("a b".into())), header("a b")),
            (changed(&|e| e.sticky_header = Some("a\r\nb".into())), header("a\r\nb")),
            (
                changed(&|e| {
                    e.rollout =
                        Some(RoutedRollout { mark: String::new(), mirror: Some("x".into()), replay: None });
                }),
                InvalidRoutes::Mirror { endpoint: name(), variant: "x".into() },
            ),
            (
                changed(&|e| {
                    e.variants[0].faults =
                        Some(Faults { error_rate: f64::NAN, ..Faults::until(Timestamp(0)) });
                }),
                InvalidRoutes::Faults { endpoint: name() },
            ),
            (
                changed(&|e| e.variants = vec![e.variants[0].clone(); VARIANTS_LIMIT + 1]),
                InvalidRoutes::TooMany { what: "variants of an endpoint", limit: VARIANTS_LIMIT },
            ),
            (
                vec![good(); ENDPOINTS_LIMIT + 1],
                InvalidRoutes::TooMany { what: "endpoints", limit: ENDPOINTS_LIMIT },
            ),
        ];
        for (endpoints, expected) in cases {
            assert_eq!(RouteDocument::new(Epoch(1), Timestamp(0), endpoints, None), Err(expected));
        }
        let default = RouteDocument::new(Epoch(1), Timestamp(0), vec![good()], Some("dev".into()));
        assert_eq!(default, Err(InvalidRoutes::Default { name: "dev".into() }));
    }

    #[test]
    fn the_bare_address_asks_prod_of_an_only_project_once_it_is_there() {
        let dev = || endpoint("only", "dev", &[1.0]);
        let prod = || endpoint("only", "prod", &[1.0]);
        let other = || endpoint("other", "prod", &[1.0]);
        for (endpoints, expected) in [
            (vec![], None),
            (vec![dev()], Some("dev")),
            (vec![dev(), prod()], Some("prod")),
            (vec![other()], Some("other-prod")),
            (vec![prod(), other()], None),
            (vec![endpoint("only", "canary", &[1.0])], Some("canary")),
            (vec![endpoint("only", "canary", &[1.0]), endpoint("only", "shadow", &[1.0])], None),
        ] {
            assert_eq!(document(1, endpoints).default_endpoint(), expected);
        }
        let named = RouteDocument::new(Epoch(1), Timestamp(0), vec![dev(), prod()], Some("dev".into()));
        assert_eq!(named.unwrap().default_endpoint(), Some("dev"));
    }
}
