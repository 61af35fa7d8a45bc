//! The demo as a caller of its own server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;

use crate::cli::client::{Client, Reply};

/// One answer.
pub struct Answer {
    /// The class decided.
    pub class: String,
    /// The whole body.
    pub body: String,
}

/// Sends each body as one CSV request and gives the answers in order.
pub async fn ask(address: SocketAddr, bodies: &[String]) -> anyhow::Result<Vec<Answer>> {
    let mut client = Client::connect(address).await?;
    let mut answers = Vec::with_capacity(bodies.len());
    for body in bodies {
        let Reply { status, body } =
            client.post("/endpoints/prod/invocations", "text/csv", body.clone().into_bytes()).await?;
        if !status.is_success() {
            bail!("the server answered {status}: {body}");
        }
        let document: serde_json::Value = serde_json::from_str(&body)?;
        let class = document["predictions"][0]["class"].as_str().unwrap_or_default().to_owned();
        answers.push(Answer { class, body });
    }
    Ok(answers)
}

/// Between two requests of the traffic: some two hundred a second.
const PACE: Duration = Duration::from_millis(4);

/// Requests of the traffic.
#[derive(Debug, Default)]
pub struct Counts {
    pub requests: AtomicU64,
    pub failed: AtomicU64,
}

/// Sends the bodies over and over until it is to stop.
pub async fn keep_asking(
    address: SocketAddr,
    bodies: Vec<String>,
    stops: Arc<AtomicBool>,
    counts: Arc<Counts>,
) {
    let mut client = None;
    for body in bodies.iter().cycle() {
        if stops.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(PACE).await;
        if client.is_none() {
            client = Client::connect(address).await.ok();
        }
        let answered = match &mut client {
            Some(client) => {
                client.post("/endpoints/prod/invocations", "text/csv", body.clone().into_bytes()).await.ok()
            }
            None => None,
        };
        counts.requests.fetch_add(1, Ordering::Relaxed);
        match answered {
            Some(reply) if reply.status.is_success() => {}
            Some(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                client = None;
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Answers whose truth is told at once.
const TOLD_AT_ONCE: usize = 20;

/// Sends the bodies over and over until it is to stop, and tells what is true of the rows that were answered.
pub async fn keep_telling(
    address: SocketAddr,
    rows: Vec<(String, String)>,
    stops: Arc<AtomicBool>,
    counts: Arc<Counts>,
) {
    let mut client = None;
    let mut labels = Vec::new();
    for (body, label) in rows.iter().cycle() {
        if stops.load(Ordering::Relaxed) {
            return;
        }
        tokio::time::sleep(PACE).await;
        if client.is_none() {
            client = Client::connect(address).await.ok();
        }
        let Some(open) = &mut client else { continue };
        counts.requests.fetch_add(1, Ordering::Relaxed);
        let reply = open.post("/endpoints/prod/invocations", "text/csv", body.clone().into_bytes()).await;
        let Some(reply) = reply.ok().filter(|reply| reply.status.is_success()) else {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            client = None;
            continue;
        };
        let answer: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_default();
        labels.push(serde_json::json!({ "id": answer["inference_id"], "label": label }));
        if labels.len() >= TOLD_AT_ONCE {
            let told = serde_json::json!({ "labels": std::mem::take(&mut labels) }).to_string();
            // What cannot be told now is told of the next rows.
            if open.post("/labels", "application/json", told.into_bytes()).await.is_err() {
                client = None;
            }
        }
    }
}
