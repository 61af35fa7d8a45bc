//! A receiver of HTTP requests that answers as it is told, and counts who came.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    /// The header of this lower-case name; there must be exactly one.
    pub fn header(&self, name: &str) -> &str {
        let found: Vec<&str> = self
            .headers
            .iter()
            .filter(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(found.len(), 1, "{name}: {:?}", self.headers);
        found[0]
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The status line's end and further headers, each with its line break.
    Status(&'static str, String),
    /// The status line's end and a body of JSON.
    Json(&'static str, serde_json::Value),
    /// Close the connection without a word.
    Hang,
    /// Keep it open and say nothing for this long.
    Silence(Duration),
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<Answer>,
    received: Vec<Received>,
    connections: usize,
}

/// It lives as long as the test program; `200` when it was told nothing more.
#[derive(Debug, Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    pub fn start(address: &str, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let state = State { answers: answers.iter().cloned().collect(), ..State::default() };
        let receiver = Self { address: listener.local_addr().unwrap(), state: Arc::new(Mutex::new(state)) };
        let state = Arc::clone(&receiver.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                state.lock().unwrap().connections += 1;
                serve(stream, &state);
            }
        });
        receiver
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let answer = {
        let mut state = state.lock().unwrap();
        state.received.push(Received { line: line.trim_end().to_owned(), headers, body });
        state.answers.pop_front()
    };
    match answer.unwrap_or(Answer::Status("200 OK", String::new())) {
        Answer::Status(status, headers) => {
            let body = "s3cret words of the receiver";
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}");
        }
        Answer::Json(status, body) => {
            let body = body.to_string();
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        }
        Answer::Hang => {}
        Answer::Silence(time) => thread::sleep(time),
    }
}
