use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::*;
use crate::config::{ClientIdentity, TlsClient};

/// A folder with a CA (`ca.pem`), and a client certificate and key that it issued.
pub(crate) struct Pki {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let pki = Self {
            dir: tempfile::tempdir().unwrap(),
            ca,
        };
        pki.write("ca.pem", &pki.ca.pem(), 0o644);
        let (cert, key) = pki.issue("client");
        pki.write("client.pem", &cert.pem(), 0o644);
        pki.write("client.key", &key.serialize_pem(), 0o600);
        pki
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.ca).unwrap(), key)
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The TLS of a server for `server.example`, which requires a client certificate if `mutual`.
    pub(crate) fn acceptor(&self, mutual: bool) -> TlsAcceptor {
        let (cert, key) = self.issue("server.example");
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.ca.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            config.with_client_cert_verifier(verifier.unwrap())
        } else {
            config.with_no_client_auth()
        };
        let key = key.serialize_der().try_into().unwrap();
        let config = config
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Starts a server for `server.example` that echoes the head of each request.
    async fn serve(&self, mutual: bool) -> Uri {
        let acceptor = self.acceptor(mutual);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        echo(stream).await;
                    }
                });
            }
        });
        format!("https://127.0.0.1:{port}/under").parse().unwrap()
    }
}

/// Answers with the head of the request.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).await.is_err() {
            return;
        }
        asked.push(byte[0]);
        if asked[0] == 0x16 {
            return; // TLS begins with this byte, HTTP never does.
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", asked.len());
    let _ = stream.write_all(&[head.as_bytes(), &asked].concat()).await;
    let _ = stream.flush().await;
    // Closing a connection with unread bytes discards what was written.
    let _ = stream.read(&mut [0]).await;
}

async fn plain() -> Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    format!("http://127.0.0.1:{port}").parse().unwrap()
}

async fn ask(http: HttpClient, url: &Uri) -> Result<String, String> {
    let client = WebClient {
        http,
        timeout: Duration::from_secs(20),
        largest: 4096,
    };
    let request = Request::get(under(url, "/p?q=1"))
        .body(Bytes::new())
        .unwrap();
    let answer = client.send(request).await.map_err(|e| e.to_string())?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap())
}

fn tls(tls: TlsClient) -> HttpClient {
    HttpClient { auth: None, tls }
}

#[tokio::test]
async fn a_certificate_must_be_of_the_authority_and_have_the_name() {
    let pki = Pki::new();
    let url = pki.serve(false).await;
    let named = TlsClient {
        ca_file: Some(pki.path("ca.pem")),
        server_name: Some("server.example".to_owned()),
        ..TlsClient::default()
    };
    let said = ask(tls(named.clone()), &url).await.unwrap();
    assert!(said.starts_with("GET /under/p?q=1 HTTP/1.1\r\n"), "{said}");

    // The URL's host is not in the certificate.
    let unnamed = TlsClient {
        server_name: None,
        ..named.clone()
    };
    let refused = ask(tls(unnamed), &url).await.unwrap_err();
    assert!(refused.contains("not valid for"), "{refused}");
    // The system does not know the CA.
    let system = TlsClient {
        ca_file: None,
        ..named.clone()
    };
    assert!(
        ask(tls(system), &url)
            .await
            .unwrap_err()
            .starts_with("TLS handshake failed: ")
    );
    let anyone = TlsClient {
        insecure_skip_verify: true,
        ..TlsClient::default()
    };
    assert!(ask(tls(anyone), &url).await.is_ok());
    // Neither protocol is mistaken for the other.
    let http = url.to_string().replace("https", "http").parse().unwrap();
    assert!(ask(tls(named.clone()), &http).await.is_err());
    let https = plain().await.to_string().replace("http", "https");
    let refused = ask(tls(named), &https.parse().unwrap()).await.unwrap_err();
    assert!(refused.starts_with("TLS handshake failed: "), "{refused}");
}

#[tokio::test]
async fn a_server_may_want_a_certificate_too() {
    let pki = Pki::new();
    let url = pki.serve(true).await;
    let with = |cert: &str, key: &str| {
        tls(TlsClient {
            ca_file: Some(pki.path("ca.pem")),
            server_name: Some("server.example".to_owned()),
            insecure_skip_verify: false,
            identity: Some(ClientIdentity {
                cert_file: pki.path(cert),
                key_file: pki.path(key),
            }),
        })
    };
    ask(with("client.pem", "client.key"), &url).await.unwrap();
    let mut without = with("client.pem", "client.key");
    without.tls.identity = None;
    assert!(ask(without, &url).await.is_err());
    let refused = ask(with("client.pem", "ca.pem"), &url).await.unwrap_err();
    assert!(
        refused.contains("everyone on this machine can read it"),
        "{refused}"
    );
    let swapped = pki.write(
        "cert.key",
        &fs::read_to_string(pki.path("ca.pem")).unwrap(),
        0o600,
    );
    let refused = ask(with("client.pem", "cert.key"), &url).await.unwrap_err();
    assert_eq!(
        refused,
        format!("{} contains no private key in PEM", swapped.display())
    );
}

#[tokio::test]
async fn secrets_come_from_their_files_each_time_and_are_in_no_error() {
    let pki = Pki::new();
    let url = plain().await;
    let file = pki.write("secret", " hunter2\n", 0o640);
    let basic = HttpClient {
        auth: Some(HttpAuth::Basic {
            username: "me".to_owned(),
            password: Some(Secret::File(file.clone())),
        }),
        ..HttpClient::default()
    };
    let said = ask(basic, &url).await.unwrap();
    assert!(
        said.contains("authorization: Basic bWU6aHVudGVyMg==\r\n"),
        "{said}"
    );
    let bearer = HttpClient {
        auth: Some(HttpAuth::Authorization {
            scheme: "Bearer".to_owned(),
            credentials: Secret::File(file.clone()),
        }),
        ..HttpClient::default()
    };
    let said = ask(bearer.clone(), &url).await.unwrap();
    assert!(said.contains("authorization: Bearer hunter2\r\n"), "{said}");
    pki.write("secret", "hunter3", 0o600);
    assert!(
        ask(bearer.clone(), &url)
            .await
            .unwrap()
            .contains("Bearer hunter3")
    );

    pki.write("secret", "hunter\n2", 0o600);
    let refused = ask(bearer.clone(), &url).await.unwrap_err();
    assert!(
        !refused.contains("hunter") && refused.contains("want one line"),
        "{refused}"
    );
    pki.write("secret", "hunter4", 0o644);
    let refused = ask(bearer.clone(), &url).await.unwrap_err();
    assert!(
        refused.contains("chmod o= ") && !refused.contains("hunter"),
        "{refused}"
    );
    fs::remove_file(&file).unwrap();
    let refused = ask(bearer, &url).await.unwrap_err();
    assert!(
        refused.contains(" cannot be read: No such file"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_exchange_is_bounded_in_time_and_size() {
    let url = plain().await;
    let client = WebClient {
        http: HttpClient::default(),
        timeout: Duration::from_secs(20),
        largest: 1024,
    };
    let request = || {
        Request::get(under(&url, &"/x".repeat(1024)))
            .body(Bytes::new())
            .unwrap()
    };
    let refused = client.send(request()).await.unwrap_err();
    assert_eq!(refused.to_string(), "its answer is larger than 1KiB");

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = WebClient {
        timeout: Duration::from_millis(50),
        ..client
    };
    let request = Request::get(url).body(Bytes::new()).unwrap();
    let late = client.send(request).await.unwrap_err();
    assert_eq!(late.to_string(), "it did not answer within 50ms");
}
