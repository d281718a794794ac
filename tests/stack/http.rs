//! As much of an HTTP/1.1 client as loopback needs: one request on one connection.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::wait::Failure;

/// Longer than any answer of a server that is well.
const LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body, without the framing.
    pub body: String,
}

impl Response {
    /// The body as JSON; any status but 200 is a failure.
    pub fn json(&self) -> Result<Value, Failure> {
        if self.status != 200 {
            return Err(Failure::new(format!(
                "status {}: {}",
                self.status, self.body
            )));
        }
        serde_json::from_str(&self.body)
            .map_err(|e| Failure::new(format!("{e} in the answer {}", self.body)))
    }
}

/// Asks for a page.
pub fn get(port: u16, path: &str) -> Result<Response, Failure> {
    request(port, "GET", path, None)
}

/// Posts JSON.
pub fn post(port: u16, path: &str, body: &str) -> Result<Response, Failure> {
    request(port, "POST", path, Some(body))
}

/// Asks for JSON, in the envelope of Prometheus's API, and returns its `data`.
pub fn data(port: u16, path: &str) -> Result<Value, Failure> {
    let mut envelope = get(port, path)?.json()?;
    if envelope["status"] != "success" {
        return Err(Failure::new(format!("{path}: {envelope}")));
    }
    Ok(envelope["data"].take())
}

/// Whether a GET of the page is answered with 200 at once.
pub fn is_ok(port: u16, path: &str) -> bool {
    get(port, path).is_ok_and(|response| response.status == 200)
}

fn request(port: u16, method: &str, path: &str, body: Option<&str>) -> Result<Response, Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::new(format!("{method} http://127.0.0.1:{port}{path}: {e}"))
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).map_err(|e| failed(&e))?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    if let Some(body) = body {
        head.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    head.push_str("\r\n");
    head.push_str(body.unwrap_or_default());
    let mut answer = Vec::new();
    stream
        .set_read_timeout(Some(LIMIT))
        .and_then(|()| stream.set_write_timeout(Some(LIMIT)))
        .and_then(|()| stream.write_all(head.as_bytes()))
        .and_then(|()| stream.read_to_end(&mut answer))
        .map_err(|e| failed(&e))?;
    parse(&answer).map_err(|e| failed(&e))
}

/// Reads a whole answer; one that was cut short is an error, for a half-sent 200 is no 200.
fn parse(answer: &[u8]) -> Result<Response, &'static str> {
    let split = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .ok_or("the answer has no end of its head")?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let body = &answer[split + 4..];
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or("the answer has no status")?;
    let mut length = None;
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = match length {
        _ if chunked => unchunk(body)?,
        Some(length) => body
            .get(..length)
            .ok_or("the answer was cut short")?
            .to_vec(),
        None => body.to_vec(),
    };
    Ok(Response {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>, &'static str> {
    let cut = "the answer was cut short";
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").ok_or(cut)?;
        let size = std::str::from_utf8(&rest[..line])
            .ok()
            .and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok())
            .ok_or("a chunk has no size")?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or(cut)?);
        rest = rest.get(size + 2..).ok_or(cut)?;
    }
}
