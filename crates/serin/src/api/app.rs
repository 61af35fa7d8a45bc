//! The gate that every request passes, and what is behind it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, TRANSFER_ENCODING,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use serin_core::clock::Clock;
use serin_core::digest::{Digest, Hasher};
use serin_core::ids::InferenceIds;
use tokio::sync::Semaphore;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::idempotency::{self, Answer, Answers, Begun, Ticket};
use super::limits::Limits;
use super::origin::Hosts;
use super::problem::{Problem, ProblemDocument};
use super::routes::{Route, Takes};
use crate::gateway::framing::Head;
use crate::gateway::headers as http;
use crate::gateway::media::Input;
use crate::gateway::problem::Code;

/// The id of a request, in its answer and in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

/// What answers are like, whatever they say: nobody keeps them, guesses their type, or shows them in a frame.
const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
    ),
];

/// What the gate needs to know of each request.
struct Gate {
    routes: &'static [Route],
    hosts: Hosts,
    limits: Limits,
    ids: InferenceIds,
    answers: Arc<Answers>,
    room: Arc<Semaphore>,
}

/// The description that handlers are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Serin control interface",
        description = "Runs, versions, approvals and endpoints. What changes something takes an `Idempotency-Key`. \
                       Every problem is `application/problem+json`."
    ),
    components(schemas(ProblemDocument<'static>))
)]
struct Description;

/// The whole interface: `handlers` behind the gate, and the description of all of them. A handler whose address is not
/// in `routes` is not reached.
pub fn app(
    routes: &'static [Route],
    handlers: OpenApiRouter,
    hosts: Hosts,
    limits: Limits,
    clock: Arc<dyn Clock>,
) -> Router {
    let described = OpenApiRouter::with_openapi(Description::openapi()).routes(routes!(describe));
    let (router, description) = described.merge(handlers).split_for_parts();
    // What was derived from types always serialises.
    let description: Arc<str> = description.to_json().unwrap_or_default().into();
    let gate = Gate {
        routes,
        hosts,
        limits,
        ids: InferenceIds::from_entropy(clock.clone()),
        answers: Answers::new(&limits, clock),
        room: Arc::new(Semaphore::new(limits.in_hand)),
    };
    router.layer(Extension(description)).layer(from_fn_with_state(Arc::new(gate), pass))
}

/// The description of this interface, as OpenAPI 3.1.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, description = "This document")))]
async fn describe(Extension(description): Extension<Arc<str>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], description.to_string())
}

/// Passes a request on to its handler, or says why not.
async fn pass(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let id = gate.ids.next();
    // Another length that its head may have given was not seen: what follows the body is not read as a request.
    let is_last = request.headers().contains_key(TRANSFER_ENCODING);
    let mut response = match gate.answer(request, next).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if problem.kind.status.is_server_error() {
            tracing::warn!(request.id = %id, problem.code = problem.kind.code, "control request not answered");
        }
        response = problem.response(id.as_str());
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, http::ascii(id.as_str()));
    headers.extend(ALWAYS);
    if is_last {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Gate {
    async fn answer(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let overloaded = |detail: &str| Problem::new(Code::Overloaded, detail);
        let place = self.room.clone().try_acquire_owned();
        let place = place.map_err(|_| overloaded("too many requests are in hand; try again later"))?;
        let route = self.route(&request)?;
        let (request, ticket) = match self.read(route, request).await? {
            Read::New(request, ticket) => (request, ticket),
            Read::Before(answer) => return Ok(again(answer)),
        };
        let answer_bytes = self.limits.answer_bytes;
        // What was begun is ended, and its answer kept, also when the caller leaves.
        let work = tokio::spawn(async move {
            let response = next.run(request).await;
            drop(place);
            match ticket {
                Some(ticket) => keep(ticket, response, answer_bytes).await,
                None => response,
            }
        });
        let patience = match route.takes {
            Takes::File(_) => self.limits.file_request,
            Takes::Nothing | Takes::Json => self.limits.request,
        };
        match tokio::time::timeout(patience, work).await {
            Ok(Ok(response)) => Ok(response),
            // A panic was reported where it happened.
            Ok(Err(_)) => Err(Problem::new(Code::Internal, "the work on this request ended unexpectedly")),
            Err(_) => {
                Err(overloaded("the answer was not there in time; what was asked for may still be done"))
            }
        }
    }

    /// The route of a request whose head is acceptable.
    fn route(&self, request: &Request) -> Result<&'static Route, Problem> {
        let (method, headers) = (request.method(), request.headers());
        let limit = self.limits.uri_bytes;
        if request.uri().path_and_query().map_or(0, |whole| whole.as_str().len()) > limit {
            return Err(Problem::new(Code::UriTooLong, format!("an address has at most {limit} bytes")));
        }
        http::check(request, Head::Unseen, self.limits.header_count)?;
        self.hosts.check(method, headers)?;
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
        let here = || self.routes.iter().filter(|route| Some(route.pattern) == path);
        match here().find(|route| route.answers(method)) {
            Some(route) => Ok(route),
            None if here().next().is_some() => {
                let methods: Vec<&str> = here().map(|route| route.method.as_str()).collect();
                Err(Problem::method_not_allowed(&methods))
            }
            None => {
                let detail = format!("see `GET {}` for the addresses there are", super::routes::OPENAPI);
                Err(Problem::new(Code::NotFound, detail))
            }
        }
    }

    /// The request with its body read, when that is not the handler's to read, and the ticket of its key.
    async fn read(&self, route: &Route, request: Request) -> Result<Read, Problem> {
        let (head, body) = request.into_parts();
        check_type(route.takes, &head.headers)?;
        let key = idempotency::key(&head.headers)?.filter(|_| !route.method.is_safe());
        if let Takes::File(_) = route.takes {
            // A file is known by its digest: sent twice, it is one.
            return Ok(Read::New(Request::from_parts(head, body), None));
        }
        let body = self.body(route.takes, body).await?;
        let ticket = match key {
            None => None,
            Some(key) => match self.answers.begin(key, digest(&head, &body))? {
                Begun::New(ticket) => Some(ticket),
                Begun::Before(answer) => return Ok(Read::Before(answer)),
            },
        };
        Ok(Read::New(Request::from_parts(head, Body::from(body)), ticket))
    }

    async fn body(&self, takes: Takes, body: Body) -> Result<Bytes, Problem> {
        let Limits { body_bytes, body: patience, .. } = self.limits;
        let limit = if takes == Takes::Nothing { 0 } else { body_bytes };
        let late = || {
            Problem::new(Code::RequestTimeout, format!("the body took more than {} s", patience.as_secs()))
        };
        let read = tokio::time::timeout(patience, to_bytes(body, limit)).await.map_err(|_| late())?;
        read.map_err(|error| {
            let source = std::error::Error::source(&error);
            if source.is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>) {
                Problem::new(Code::BodyTooLarge, format!("a body has at most {limit} bytes here"))
            } else {
                Problem::new(Code::BadEncoding, "the body ended early, or its framing is wrong")
            }
        })
    }
}

/// A request that was read.
enum Read {
    New(Request, Option<Ticket>),
    Before(Answer),
}

/// Whether the body is of the type that is taken. Forms of web pages can send neither JSON nor files.
fn check_type(takes: Takes, headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |wanted: &str| Problem::new(Code::UnsupportedMediaType, format!("send `{wanted}`"));
    let is_json = || Input::of(headers).is_ok_and(|input| input == Input::Json);
    match takes {
        Takes::Nothing if headers.contains_key(CONTENT_TYPE) && !is_json() => {
            Err(unsupported("application/json"))
        }
        Takes::Json if !is_json() => Err(unsupported("application/json")),
        Takes::File(wanted) if headers.get(CONTENT_TYPE).is_none_or(|found| found != wanted) => {
            Err(unsupported(wanted))
        }
        _ => Ok(()),
    }
}

/// What makes two requests the same: what is asked of which address, and the body.
fn digest(head: &Parts, body: &[u8]) -> Digest {
    let mut hasher = Hasher::default();
    for part in [head.method.as_str(), &head.uri.to_string()] {
        hasher.update(part.as_bytes());
        // In neither of them.
        hasher.update(b"\n");
    }
    hasher.update(body);
    hasher.finish()
}

/// Keeps the answer to something that was done, and gives it on.
async fn keep(ticket: Ticket, response: Response, most_bytes: usize) -> Response {
    let is_small = response.body().size_hint().upper().is_some_and(|bytes| bytes <= most_bytes as u64);
    if !response.status().is_success() || !is_small {
        return response;
    }
    let (head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, most_bytes).await else {
        return Problem::new(Code::Internal, "the answer could not be put together").into_response();
    };
    let content_type = head.headers.get(CONTENT_TYPE).cloned();
    ticket.keep(Answer { status: head.status, content_type, body: body.clone() });
    Response::from_parts(head, Body::from(body))
}

fn again(answer: Answer) -> Response {
    let Answer { status, content_type, body } = answer;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.extend(content_type.map(|value| (CONTENT_TYPE, value)));
    headers.insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    response
}
