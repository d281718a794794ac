//! A page of metrics that does not change: what the routine roles' checks look like.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};

use crate::stack::Failure;
use crate::stack::wait::now;

/// The page, but for the time.
pub const SAMPLE: &str = include_str!("checks.prom");

/// Serves it on 127.0.0.1 until the test program ends, and returns the port.
pub fn serve() -> Result<u16, Failure> {
    let failed = |e: std::io::Error| Failure::new(format!("the page of checks: {e}"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let page = SAMPLE.replace("NOW", &now().timestamp().to_string());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Closing with the request unread would reset the connection.
            let head = BufReader::new(&stream).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            // Prometheus may have gone.
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    Ok(port)
}
