//! A small HTTP client: one connection, one request after the other.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One answer.
pub struct Answer {
    /// The class decided.
    pub class: String,
    /// The whole body.
    pub body: String,
}

/// Sends each body as one CSV request and gives the answers in order.
pub async fn ask(address: SocketAddr, bodies: &[String]) -> anyhow::Result<Vec<Answer>> {
    let stream = TcpStream::connect(address).await.context("the server cannot be reached")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut answers = Vec::with_capacity(bodies.len());
    for body in bodies {
        let request = Request::post("/invocations")
            .header(header::HOST, address.to_string())
            .header(header::CONTENT_TYPE, "text/csv")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body.clone())))?;
        sender.ready().await.context("the server closed the connection")?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        if !status.is_success() {
            bail!("the server answered {status}: {body}");
        }
        let document: serde_json::Value = serde_json::from_str(&body)?;
        let class = document["predictions"][0]["class"].as_str().unwrap_or_default().to_owned();
        answers.push(Answer { class, body });
    }
    drop(sender);
    connection.await??;
    Ok(answers)
}
