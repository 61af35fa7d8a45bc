//! SageMaker's capture file: one JSON object a line, one line a request.
//!
//! The shape is that of "Capture data from real-time endpoint" in SageMaker's developer guide. A request is written as
//! the CSV that stands for its rows, whatever form it had, because that is what the data-quality jobs read.

use std::fs::File;
use std::io::{BufWriter, Write as _};

use serde::Serialize;
use serin_core::capture::CapturedRow;
use serin_core::ids::InferenceId;

use super::Export;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    capture_data: CaptureData<'a>,
    event_metadata: EventMetadata<'a>,
    event_version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CaptureData<'a> {
    endpoint_input: Payload<'a>,
    endpoint_output: Payload<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    observed_content_type: &'static str,
    mode: &'static str,
    data: &'a str,
    encoding: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EventMetadata<'a> {
    event_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    inference_id: Option<&'a str>,
    inference_time: String,
}

/// The file, and the request whose rows are still coming.
pub(super) struct SageMakerExport {
    out: BufWriter<File>,
    request: Option<Request>,
    refused_requests: u64,
}

struct Request {
    /// The inference id, without the number of a row.
    id: String,
    inference_time: String,
    input: String,
    output: String,
}

impl SageMakerExport {
    pub(super) fn begin(file: File) -> Self {
        Self { out: BufWriter::new(file), request: None, refused_requests: 0 }
    }

    fn write_request(&mut self) -> anyhow::Result<()> {
        let Some(request) = self.request.take() else { return Ok(()) };
        let id = InferenceId::from_stored(&request.id);
        let payload = |observed_content_type, mode, data| Payload {
            observed_content_type,
            mode,
            data,
            encoding: "CSV",
        };
        let line = Line {
            capture_data: CaptureData {
                endpoint_input: payload("text/csv", "INPUT", &request.input),
                endpoint_output: payload("text/csv; charset=utf-8", "OUTPUT", &request.output),
            },
            event_metadata: EventMetadata {
                event_id: id.as_event_id(),
                // Only what a caller chose is given back as such.
                inference_id: (!id.is_uuid_v7()).then_some(&request.id),
                inference_time: request.inference_time,
            },
            event_version: "0",
        };
        serde_json::to_writer(&mut self.out, &line)?;
        Ok(self.out.write_all(b"\n")?)
    }
}

impl Export for SageMakerExport {
    fn write(&mut self, rows: &[CapturedRow]) -> anyhow::Result<()> {
        for row in rows {
            let Some(predicted) = &row.predicted else {
                self.refused_requests += 1;
                continue;
            };
            let id = request_id(&row.id);
            // Rows of one request follow each other: they arrived and were loaded together.
            if self.request.as_ref().is_none_or(|request| request.id != id) {
                self.write_request()?;
                self.request = Some(Request {
                    id: id.to_owned(),
                    inference_time: row.position.time.to_rfc3339(),
                    input: String::new(),
                    output: String::new(),
                });
            }
            if let Some(request) = &mut self.request {
                append_csv(&mut request.input, row.features.iter().map(|value| cell(*value)))?;
                append_csv(&mut request.output, [predicted.clone()].into_iter())?;
            }
        }
        Ok(())
    }

    fn close(mut self: Box<Self>) -> anyhow::Result<Option<String>> {
        self.write_request()?;
        self.out.flush()?;
        Ok((self.refused_requests > 0).then(|| {
            format!("{} refused requests are left out: the format knows answers only", self.refused_requests)
        }))
    }
}

/// `<id>` of `<id>/<n>`.
fn request_id(row_id: &str) -> &str {
    match row_id.rsplit_once('/') {
        Some((id, n)) if !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()) => id,
        _ => row_id,
    }
}

fn cell(value: f64) -> String {
    if value.is_nan() { String::new() } else { value.to_string() }
}

fn append_csv(text: &mut String, cells: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    text.push_str(std::str::from_utf8(&writer.into_inner()?)?);
    Ok(())
}
