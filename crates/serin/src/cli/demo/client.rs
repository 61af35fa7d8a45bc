//! The demo as a caller of its own server.

use std::net::SocketAddr;

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
