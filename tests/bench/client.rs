//! As much of an HTTP/1.1 client as a bench needs: keep-alive, and no work that the server would pay for with its core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::Failure;

/// Longer than any answer of a server that is well.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            stream,
            heard: Vec::new(),
        })
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    /// Asks for a page, compressed.
    pub(crate) fn get_packed(&mut self, path: &str) -> Result<Answer, Failure> {
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        self.exchange(head.as_bytes())
    }

    /// Posts JSON, and insists on a 200 or 202.
    pub(crate) fn post(&mut self, path: &str, json: &str) -> Result<(), Failure> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        let answer = self.exchange(request.as_bytes())?;
        if matches!(answer.status, 200 | 202) {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            Err(format!("{path} was answered {}: {said}", answer.status).into())
        }
    }

    /// Posts a notification, and insists on a 200.
    pub(crate) fn notify(&mut self, notification: &str) -> Result<(), Failure> {
        let answer = self.exchange(&post(notification))?;
        if answer.status == 200 {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            Err(format!("a notification was answered {}: {said}", answer.status).into())
        }
    }

    /// The `data` of an answer of the API.
    pub(crate) fn data(&mut self, path: &str) -> Result<Value, Failure> {
        let answer = self.get(path)?;
        let mut envelope: Value = serde_json::from_slice(&answer.body)?;
        if envelope["status"] != "success" {
            return Err(format!("{path}: {envelope}").into());
        }
        Ok(envelope["data"].take())
    }

    /// The sum over a metric's samples whose line begins so.
    pub(crate) fn metric(&mut self, begins: &str) -> Result<f64, Failure> {
        let answer = self.get("/metrics")?;
        let text = String::from_utf8(answer.body)?;
        Ok(text
            .lines()
            .filter(|line| line.starts_with(begins))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Answer, Failure> {
        self.stream.write_all(request)?;
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some((answer, length)) = parse(&self.heard)? {
                self.heard.drain(..length);
                return Ok(answer);
            }
            match self.stream.read(&mut chunk)? {
                0 => return Err("the server closed the connection".into()),
                n => self.heard.extend_from_slice(&chunk[..n]),
            }
        }
    }
}

/// A notification as Alertmanager posts it.
pub(crate) fn post(notification: &str) -> Vec<u8> {
    format!(
        "POST /api/v1/webhook HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Alertmanager/0.28\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{notification}",
        notification.len()
    )
    .into_bytes()
}

/// An answer and its length, once all of it is there.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Failure> {
    let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end])?;
    let status = head
        .split(' ')
        .nth(1)
        .ok_or("the answer has no status")?
        .parse()?;
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or("the answer has no length")?
        .1
        .trim()
        .parse()?;
    let from = end + 4;
    Ok(bytes.get(from..from + length).map(|body| {
        let body = body.to_vec();
        (Answer { status, body }, from + length)
    }))
}
