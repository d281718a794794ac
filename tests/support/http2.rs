//! HTTP/2 frame by frame, for what no well-behaved client does.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// TLS for clients that speak HTTP/2 (or HTTP/1.1) and trust this authority.
pub fn tls(ca: &Path, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

/// A frame: its kind, its flags, its stream and what is in it.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// What a client begins with; its streams have a window of so many bytes.
pub fn preface(window: u32) -> Vec<u8> {
    let mut setting = vec![0, 4];
    setting.extend(window.to_be_bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &setting));
    bytes
}

/// A request without a body.
pub fn get(stream: u32, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let own = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "localhost"),
    ];
    let mut fields = Vec::new();
    for (name, value) in own.iter().chain(headers) {
        fields.push(0); // literal, in no table
        for text in [name, value] {
            length(&mut fields, text.len());
            fields.extend(text.as_bytes());
        }
    }
    // A frame holds 16 KiB; what is left goes on in others.
    let mut parts = fields.chunks(16 << 10).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(part) = parts.next() {
        let end = if parts.peek().is_none() {
            END_HEADERS
        } else {
            0
        };
        let flags = end | if kind == HEADERS { END_STREAM } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
        kind = 9;
    }
    bytes
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    if length < 127 {
        bytes.push(u8::try_from(length).unwrap());
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// A connection.
pub struct Http2(StreamOwned<ClientConnection, TcpStream>);

impl Http2 {
    /// Connects, and says hello.
    pub fn connect(stream: TcpStream, ca: &Path, window: u32) -> Self {
        let name = "127.0.0.1".try_into().unwrap();
        let connection = ClientConnection::new(tls(ca, "h2"), name).unwrap();
        let mut http2 = Self(StreamOwned::new(connection, stream));
        http2.send(&preface(window)).unwrap();
        http2
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// The next frame: its kind, its stream and what is in it.
    pub fn receive(&mut self) -> io::Result<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload)?;
        if head[3] == SETTINGS && head[4] == 0 {
            self.send(&frame(SETTINGS, 1, 0, b""))?;
        }
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        Ok((head[3], stream, payload))
    }

    /// All bytes of an answer's body, until the stream with this number is a last one, or the connection ends.
    pub fn body_of(&mut self, wanted: u32, mut until: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        let mut body = Vec::new();
        while let Ok((kind, stream, payload)) = self.receive() {
            if kind == DATA && stream == wanted {
                body.extend(payload);
                if until(&body) {
                    break;
                }
            }
        }
        body
    }
}
