//! The addresses of the main port.

use hyper::Method;

use super::refusal::Dialect;

/// What a caller will need to be allowed, once there are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Nothing.
    Public,
    /// To ask for predictions.
    Invoke,
    /// To say what the true classes were.
    Label,
}

/// What an address does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Says that the server is up and ready.
    Ping,
    /// Answers rows, in the forms of [`super::media`].
    Invoke,
    /// Answers tensors of the Open Inference Protocol.
    Infer,
    /// Says in the Open Inference Protocol whether the server, or a model, is there.
    Live,
    Ready,
    ModelReady,
    /// Describes the server, its models, or one of them.
    ServerMetadata,
    Models,
    ModelMetadata,
    /// Takes true classes.
    Labels,
    /// The description of this interface.
    OpenApi,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub method: Method,
    /// Segments in braces stand for any one segment.
    pub pattern: &'static str,
    pub action: Action,
    pub permission: Permission,
    pub dialect: Dialect,
}

/// What stood where the pattern has braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters<'a> {
    pub name: Option<&'a str>,
    pub version: Option<&'a str>,
}

/// All addresses, the busiest first.
pub static ROUTES: [Route; 15] = {
    use Action as A;
    use Dialect::{OpenInference, Plain, SageMaker};
    use Permission as P;
    [
        route(Method::POST, "/invocations", A::Invoke, P::Invoke, Plain),
        route(Method::POST, "/endpoints/{name}/invocations", A::Invoke, P::Invoke, SageMaker),
        route(Method::POST, "/v2/models/{name}/infer", A::Infer, P::Invoke, OpenInference),
        route(Method::POST, "/v2/models/{name}/versions/{version}/infer", A::Infer, P::Invoke, OpenInference),
        route(Method::GET, "/ping", A::Ping, P::Public, Plain),
        route(Method::GET, "/v2/health/live", A::Live, P::Public, OpenInference),
        route(Method::GET, "/v2/health/ready", A::Ready, P::Public, OpenInference),
        route(Method::GET, "/v2", A::ServerMetadata, P::Public, OpenInference),
        route(Method::GET, "/v2/models", A::Models, P::Invoke, OpenInference),
        route(Method::GET, "/v2/models/{name}", A::ModelMetadata, P::Invoke, OpenInference),
        route(Method::GET, "/v2/models/{name}/ready", A::ModelReady, P::Invoke, OpenInference),
        route(
            Method::GET,
            "/v2/models/{name}/versions/{version}",
            A::ModelMetadata,
            P::Invoke,
            OpenInference,
        ),
        route(
            Method::GET,
            "/v2/models/{name}/versions/{version}/ready",
            A::ModelReady,
            P::Invoke,
            OpenInference,
        ),
        route(Method::POST, "/labels", A::Labels, P::Label, Plain),
        route(Method::GET, "/openapi.json", A::OpenApi, P::Public, Plain),
    ]
};

const fn route(
    method: Method,
    pattern: &'static str,
    action: Action,
    permission: Permission,
    dialect: Dialect,
) -> Route {
    Route { method, pattern, action, permission, dialect }
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    Route(&'static Route, Parameters<'a>),
    /// The path is known, the method is not: those that are.
    OtherMethods(Dialect, Vec<&'static str>),
    Nothing(Dialect),
}

/// Finds the route of a request. A path is compared as it was sent: none of ours needs an escape, so none is undone.
#[must_use]
pub fn find<'a>(method: &Method, path: &'a str) -> Found<'a> {
    let mut others: Vec<&'static Route> = Vec::new();
    for route in &ROUTES {
        if let Some(parameters) = route.matches(path) {
            if route.method == *method || (method == Method::HEAD && route.method == Method::GET) {
                return Found::Route(route, parameters);
            }
            others.push(route);
        }
    }
    match others.first() {
        Some(first) => {
            Found::OtherMethods(first.dialect, others.iter().map(|route| route.method.as_str()).collect())
        }
        None if path.starts_with("/v2/") => Found::Nothing(Dialect::OpenInference),
        None if path.starts_with("/endpoints/") => Found::Nothing(Dialect::SageMaker),
        None => Found::Nothing(Dialect::Plain),
    }
}

impl Route {
    fn matches<'a>(&self, path: &'a str) -> Option<Parameters<'a>> {
        if !self.pattern.contains('{') {
            return (self.pattern == path).then(Parameters::default);
        }
        let mut parameters = Parameters::default();
        let (mut patterns, mut segments) = (self.pattern.split('/'), path.split('/'));
        loop {
            match (patterns.next(), segments.next()) {
                (None, None) => return Some(parameters),
                (Some("{name}"), Some(segment)) if !segment.is_empty() => parameters.name = Some(segment),
                (Some("{version}"), Some(segment)) if !segment.is_empty() => {
                    parameters.version = Some(segment);
                }
                (Some(pattern), Some(segment)) if pattern == segment => {}
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_say() {
        let found = |method: Method, path| match find(&method, path) {
            Found::Route(route, parameters) => {
                format!("{:?} {:?} {:?}", route.action, parameters.name, parameters.version)
            }
            other => format!("{other:?}"),
        };
        for (method, path, expected) in [
            (Method::POST, "/invocations", "Invoke None None"),
            (Method::POST, "/endpoints/a/invocations", "Invoke Some(\"a\") None"),
            (Method::POST, "/v2/models/a/versions/7/infer", "Infer Some(\"a\") Some(\"7\")"),
            (Method::GET, "/v2/models/a/ready", "ModelReady Some(\"a\") None"),
            (Method::HEAD, "/ping", "Ping None None"),
            (Method::POST, "/ping", "OtherMethods(Plain, [\"GET\"])"),
            (Method::GET, "/endpoints/a/invocations", "OtherMethods(SageMaker, [\"POST\"])"),
            (Method::GET, "/v2/models//ready", "Nothing(OpenInference)"),
            (Method::GET, "/v2/models/a/../b", "Nothing(OpenInference)"),
            (Method::GET, "//ping", "Nothing(Plain)"),
            (Method::GET, "/ping/", "Nothing(Plain)"),
            (Method::GET, "/ping;x=1", "Nothing(Plain)"),
            (Method::GET, "/%70ing", "Nothing(Plain)"),
            (Method::POST, "/endpoints/a%2fb/invocations", "Invoke Some(\"a%2fb\") None"),
        ] {
            assert_eq!(found(method, path), expected, "{path}");
        }
    }
}
