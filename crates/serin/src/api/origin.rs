//! Who may be behind a request: a browser sends what a page of anybody's makes it send, also to loopback addresses.
//!
//! The name in `Host` must be one of ours, so that no page can give its own name our address (DNS rebinding). What
//! changes something is refused when the browser says that another origin's page asks. Programs that are no browsers
//! say nothing of the kind.

use std::net::IpAddr;

use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};

use super::problem::{Code, Problem};
use crate::gateway::problem::echo;

/// The names that the interface may be asked under, besides those of loopback: any port, for a proxy may be in front.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Loopback, and these names.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        Self { names: names.iter().map(|name| name.to_ascii_lowercase()).collect() }
    }

    /// Checks host and origin of a request.
    ///
    /// # Errors
    /// When the host is another one's, or a page of another origin asks for a change.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.has(host) {
            let detail = format!("`{}` is not a name of this server", echo(host));
            return Err(Problem::new(Code::MisdirectedRequest, detail));
        }
        if method.is_safe() || is_of_this_origin(headers, host) {
            return Ok(());
        }
        Err(Problem::new(
            Code::CrossOrigin,
            "only this server's own pages, and programs, may ask for a change",
        ))
    }

    fn has(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host().to_ascii_lowercase();
        let address: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_loopback = name == "localhost" || address.is_some_and(|address| address.is_loopback());
        !host.contains('@') && (is_loopback || self.names.contains(&name))
    }
}

/// Whether nothing says that another origin's page asks: both headers are set by browsers, out of the page's reach.
fn is_of_this_origin(headers: &HeaderMap, host: &str) -> bool {
    let is_own_site =
        headers.get_all("sec-fetch-site").iter().all(|site| *site == "same-origin" || *site == "none");
    let is_own = |origin: &str| {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    };
    is_own_site && headers.get_all(ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(method: &Method, headers: &[(&'static str, &str)]) -> &'static str {
        let hosts = Hosts::new(&["Serin.Example".to_owned()]);
        let headers = headers
            .iter()
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        hosts.check(method, &map).map_or_else(|problem| problem.kind.code, |()| "fine")
    }

    #[test]
    fn only_our_names_are_answered() {
        for (host, expected) in [
            ("localhost", "fine"),
            ("LOCALHOST:8082", "fine"),
            ("127.0.0.1:8082", "fine"),
            ("127.1.2.3", "fine"),
            ("[::1]:8082", "fine"),
            ("serin.example", "fine"),
            ("serin.example:443", "fine"),
            ("evil.example", "misdirected_request"),
            ("localhost.evil.example", "misdirected_request"),
            ("127.0.0.1.evil.example", "misdirected_request"),
            ("localhost@evil.example", "misdirected_request"),
            ("evil.example@localhost", "misdirected_request"),
            ("localhost.", "misdirected_request"),
            ("0.0.0.0", "misdirected_request"),
            ("10.0.0.1", "misdirected_request"),
            ("2130706433", "misdirected_request"),
            ("", "misdirected_request"),
        ] {
            assert_eq!(outcome(&Method::GET, &[("host", host)]), expected, "{host}");
        }
        assert_eq!(outcome(&Method::GET, &[]), "misdirected_request");
    }

    #[test]
    fn no_page_of_another_origin_changes_anything() {
        let host = ("host", "localhost:8082");
        let (origin, site) = ("origin", "sec-fetch-site");
        for (headers, expected) in [
            (vec![host], "fine"),
            (vec![host, (origin, "http://localhost:8082"), (site, "same-origin")], "fine"),
            (vec![host, (origin, "https://LOCALHOST:8082")], "fine"),
            (vec![host, (site, "none")], "fine"),
            (vec![host, (origin, "http://evil.example")], "cross_origin"),
            (vec![host, (origin, "http://localhost:3000")], "cross_origin"),
            (vec![host, (origin, "http://localhost")], "cross_origin"),
            (vec![host, (origin, "localhost:8082")], "cross_origin"),
            (vec![host, (origin, "null")], "cross_origin"),
            (vec![host, (origin, "")], "cross_origin"),
            (vec![host, (origin, "http://localhost:8082"), (origin, "http://evil.example")], "cross_origin"),
            (vec![host, (site, "cross-site")], "cross_origin"),
            (vec![host, (site, "same-site")], "cross_origin"),
            (vec![host, (origin, "http://localhost:8082"), (site, "cross-site")], "cross_origin"),
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(outcome(&method, &headers), expected, "{headers:?}");
            }
            for method in [Method::GET, Method::HEAD] {
                assert_eq!(outcome(&method, &headers), "fine", "looking changes nothing: {headers:?}");
            }
        }
    }
}
