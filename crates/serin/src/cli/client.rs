//! A small HTTP client: one connection, one request after the other.

use std::net::SocketAddr;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An open connection to a server.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

/// What a server said.
pub struct Reply {
    pub status: StatusCode,
    /// The body as text; what is no UTF-8 is replaced.
    pub body: String,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("the server cannot be reached")?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the client; an error of it is the error of the request in hand.
        tokio::spawn(connection);
        Ok(Self { sender, address })
    }

    /// Posts one body and waits for the reply.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn post(&mut self, path: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Reply> {
        let request = Request::post(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, content_type)
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await.context("the server closed the connection")?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let bytes = response.into_body().collect().await?.to_bytes();
        Ok(Reply { status, body: String::from_utf8_lossy(&bytes).into_owned() })
    }
}
