//! How the body of an inference request is to be read, and its answer to be written: decided from its head.

use hyper::header::HeaderMap;
use hyper::http::request::Parts;

use super::headers;
use super::media::{self, Encoding, Form, Input};
use super::problem::{Code, Problem, echo};
use super::routes::Action;

/// What the head says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) task: Task,
    pub(super) encoding: Encoding,
    pub(super) packs_answer: bool,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    Rows { input: Input, form: Form, explain: Option<usize> },
    Tensors { header_bytes: Option<usize> },
}

impl Plan {
    /// The plan for a request of an address that does `action`.
    ///
    /// # Errors
    /// When the head asks for what there is not.
    pub(super) fn of(action: Action, head: &Parts) -> Result<Self, Problem> {
        let headers = &head.headers;
        let task = if action == Action::Infer {
            Task::Tensors { header_bytes: tensor_header(headers)? }
        } else {
            let input = Input::of(headers)?;
            let explain = explain(head.uri.query())?;
            Task::Rows { input, form: form(headers, input, explain)?, explain }
        };
        Ok(Self { task, encoding: Encoding::of(headers)?, packs_answer: media::accepts_gzip(headers) })
    }

    /// Whether predictions come with their reasons, which takes long.
    pub(super) fn explains(self) -> bool {
        matches!(self.task, Task::Rows { explain: Some(_), .. })
    }
}

/// The length of the JSON in front of tensors, when the request has tensors behind its JSON.
fn tensor_header(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(value) = headers.get(headers::INFERENCE_HEADER_LENGTH) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(bytes) => Ok(Some(bytes)),
        None => {
            Err(Problem::new(Code::InvalidHeader, "`Inference-Header-Content-Length` is a number of bytes"))
        }
    }
}

/// The form of the answer: of those that explain, only JSON has a place for it.
fn form(headers: &HeaderMap, input: Input, explain: Option<usize>) -> Result<Form, Problem> {
    if explain.is_none() {
        return Form::of(headers, input);
    }
    let usual = if input == Input::JsonLines { input } else { Input::Json };
    match Form::of(headers, usual)? {
        Form::Csv | Form::CsvWithProbabilities => {
            let detail = "explanations come as `application/json` or `application/jsonlines`";
            Err(Problem::new(Code::ExplanationUnavailable, detail))
        }
        form => Ok(form),
    }
}

/// How many contributions each prediction shall come with.
fn explain(query: Option<&str>) -> Result<Option<usize>, Problem> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let Some((_, value)) = pairs.into_iter().find(|(name, _)| *name == "explain") else { return Ok(None) };
    match value.parse() {
        Ok(count) if count > 0 => Ok(Some(count)),
        _ => {
            Err(Problem::new(Code::InvalidQuery, format!("`explain={}` is not a count from 1", echo(value))))
        }
    }
}
