//! `[serve]`: what is served where, checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::ConfigError;
use super::check::Place;
use super::raw::{RawEndpoint, RawServe};

/// `[serve]`, checked.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where health and metrics are told.
    pub admin_listen: SocketAddr,
    /// Where the journal and the inference table live.
    pub data_dir: PathBuf,
    /// The endpoint that answers at the bare address, when there are several.
    pub default: Option<String>,
    /// Certificate chain and private key, in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Addresses that may hold more connections than others.
    pub proxies: Vec<IpAddr>,
    /// What is served when the command names no model.
    pub endpoints: Vec<EndpointSettings>,
}

/// An endpoint to be served. Names and weights are checked when the endpoint is made.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointSettings {
    pub name: String,
    /// Requests with the same value of this header get the same variant.
    pub sticky_header: Option<String>,
    pub variants: Vec<VariantSettings>,
}

/// One of its variants.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantSettings {
    pub name: String,
    /// The model's file.
    pub model: PathBuf,
    /// Its share is its part of the sum of weights.
    pub weight: f64,
}

const ENDPOINTS: &str = "serve.endpoints";

/// SageMaker's name for the variant of an endpoint that has only one.
pub const ONLY_VARIANT: &str = "AllTraffic";

pub(super) fn check(raw: RawServe, folder: &Path, at: &Place<'_>) -> Result<ServeSettings, ConfigError> {
    let listen = at.listen("serve.listen", &raw.listen.unwrap_or_default())?;
    let admin_listen = match raw.admin_listen.filter(|text| !text.is_empty()) {
        Some(text) => at.listen("serve.admin_listen", &text)?,
        None => beside(listen),
    };
    let path = |key, text: Option<String>| {
        text.filter(|text| !text.is_empty()).map(|text| at.path(key, &text, folder))
    };
    let certificate = path("serve.tls_certificate", raw.tls_certificate);
    let tls = match (certificate, path("serve.tls_key", raw.tls_key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            return Err(at.error("serve.tls_key", "is missing", "name the key of the certificate"));
        }
        (None, Some(_)) => {
            return Err(at.error("serve.tls_certificate", "is missing", "name the certificate of the key"));
        }
    };
    let proxies = raw.proxies.unwrap_or_default().into_iter().map(|text| {
        let fix = "write addresses such as \"127.0.0.1\"";
        text.parse().map_err(|_| at.error("serve.proxies", &format!("has \"{text}\""), fix))
    });
    let endpoints = raw.endpoints.unwrap_or_default().into_iter();
    let endpoints: Vec<EndpointSettings> =
        endpoints.map(|raw| endpoint(raw, folder, at)).collect::<Result<_, _>>()?;
    if let Some(name) = repeated(endpoints.iter().map(|endpoint| endpoint.name.as_str())) {
        return Err(at.error(
            ENDPOINTS,
            &format!("has two endpoints \"{name}\""),
            "give each a name of its own",
        ));
    }
    Ok(ServeSettings {
        listen,
        admin_listen,
        data_dir: at.path("serve.data_dir", &raw.data_dir.unwrap_or_default(), folder),
        default: raw.default.filter(|name| !name.is_empty()),
        tls,
        proxies: proxies.collect::<Result<_, _>>()?,
        endpoints,
    })
}

fn endpoint(raw: RawEndpoint, folder: &Path, at: &Place<'_>) -> Result<EndpointSettings, ConfigError> {
    let about =
        |problem: &str, fix: &str| at.error(ENDPOINTS, &format!("endpoint \"{}\" {problem}", raw.name), fix);
    let path = |text: &str| at.path(ENDPOINTS, text, folder);
    let variants: Vec<VariantSettings> = match (&raw.model, raw.variants) {
        (Some(model), None) => {
            vec![VariantSettings { name: ONLY_VARIANT.to_owned(), model: path(model), weight: 1.0 }]
        }
        (None, Some(variants)) if !variants.is_empty() => variants
            .into_iter()
            .map(|variant| VariantSettings {
                model: path(&variant.model),
                name: variant.name,
                weight: variant.weight.unwrap_or(1.0),
            })
            .collect(),
        _ => {
            return Err(about(
                "has no model",
                "give it `model = \"FILE\"`, or `variants = [{ name, model, weight }]`",
            ));
        }
    };
    if let Some(name) =
        std::iter::once(&raw.name).chain(variants.iter().map(|v| &v.name)).find(|name| !is_name(name))
    {
        let fix = "name endpoints and variants with up to 63 letters, digits and inner hyphens";
        return Err(about(&format!("has the name \"{name}\""), fix));
    }
    if let Some(name) = repeated(variants.iter().map(|variant| variant.name.as_str())) {
        return Err(about(&format!("has two variants \"{name}\""), "give each a name of its own"));
    }
    let is_weight = |variant: &VariantSettings| variant.weight.is_finite() && variant.weight >= 0.0;
    if !variants.iter().all(is_weight) || variants.iter().all(|variant| variant.weight == 0.0) {
        return Err(about(
            "has weights that share nothing",
            "give weights from 0, at least one of them above 0",
        ));
    }
    Ok(EndpointSettings { name: raw.name, sticky_header: raw.sticky_header, variants })
}

/// SageMaker's pattern for the names of endpoints and variants.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let ends = [bytes.first(), bytes.last()].iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    inner && ends && bytes.len() <= 63
}

fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

/// The next port on loopback; any free one beside any free one, and above the last port.
fn beside(listen: SocketAddr) -> SocketAddr {
    let loopback =
        if listen.is_ipv6() { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let port = if listen.port() == 0 { 0 } else { listen.port().checked_add(1).unwrap_or(0) };
    SocketAddr::new(loopback, port)
}
