//! `POST /labels`: what the classes of answered rows really were.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use serde::Deserialize;
use serin_core::capture::{Label, LabelCounts, LabelError};

use super::body;
use super::media::{Encoding, Input, text_of};
use super::problem::{Code, Problem};
use super::refusal::{self, Dialect};
use super::sent::Sent;
use super::service::{Gateway, json_response};

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    labels: Vec<Label>,
}

impl Gateway {
    /// Attaches the labels in the body to their rows.
    pub(super) async fn labels(self: Arc<Self>, request: Request<Incoming>) -> Response<Sent> {
        let version = request.version();
        match self.attach(request).await {
            Ok(counts) => json_response(&serde_json::json!(counts)),
            Err(problem) => {
                self.metrics.refused(problem.code);
                refusal::response(Dialect::Plain, &problem, None, version)
            }
        }
    }

    async fn attach(self: &Arc<Self>, request: Request<Incoming>) -> Result<LabelCounts, Problem> {
        let overloaded = || Problem::new(Code::Overloaded, "too many labels are in hand; try again later");
        if Input::of(request.headers()).ok() != Some(Input::Json) {
            return Err(Problem::new(Code::UnsupportedMediaType, "send labels as `application/json`"));
        }
        let encoding = Encoding::of(request.headers())?;
        // The table is a file and takes one after the other: who cannot have it soon is not kept waiting.
        let table = self.label_table.clone().acquire_owned();
        let table = tokio::time::timeout(self.limits.batch_wait, table).await;
        let table = table.ok().and_then(Result::ok).ok_or_else(overloaded)?;
        let mut held = self.bodies.hold();
        let body = body::read(&mut request.into_body(), &self.limits, &mut held).await?;
        let gateway = self.clone();
        let attaching = tokio::task::spawn_blocking(move || {
            let unpacked = encoding.unpack(&body, gateway.limits.body_bytes)?;
            let Labels { labels } = parse(text_of(&unpacked)?)?;
            let attached = gateway.capture.attach_labels(&labels, gateway.clock.now());
            // Kept until now, whether anybody still waits or not.
            drop((table, held));
            attached.map_err(|error| problem(&error))
        });
        attaching.await.map_err(|_| Problem::new(Code::Internal, "the labels were not attached"))?
    }
}

fn parse(text: &str) -> Result<Labels, Problem> {
    serde_json::from_str(text).map_err(|error| {
        let code = if error.is_data() { Code::InvalidLabel } else { Code::MalformedJson };
        let what = if error.is_data() {
            "a field is missing, unknown or of the wrong type, or a time is none"
        } else {
            "not JSON"
        };
        let (line, column) = (error.line(), error.column());
        let detail = format!(
            "line {line}, column {column}: {what}; send {{\"labels\": [{{\"id\": ..., \"label\": ...}}]}}"
        );
        Problem::new(code, detail)
    })
}

fn problem(error: &LabelError) -> Problem {
    match error {
        LabelError::Table(source) => {
            tracing::error!(error = source as &dyn std::error::Error, "labels not attached");
            Problem::new(Code::Internal, "the inference table cannot be written now")
        }
        refused => Problem::new(Code::InvalidLabel, refused.to_string()),
    }
}
