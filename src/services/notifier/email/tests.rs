//! Letters to a receiver that speaks TLS and wants a login.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufStream};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::clients::web_client::tests::Pki;
use crate::config::TlsClient;
use crate::model::message::{HoldTarget, MessageEvent};

/// "\0pm\0hunter2".
const LOGIN: &str = "AUTH PLAIN AHBtAGh1bnRlcjI=";

/// What a receiver offers where nobody on the way can read.
const LETS_IN: &str = "AUTH PLAIN";

/// How a receiver speaks TLS.
#[derive(Clone)]
enum Speaks {
    /// From the first byte.
    Tls(TlsAcceptor),
    /// After STARTTLS; a login is taken only then.
    StartTls(TlsAcceptor),
    /// Not at all.
    Plain,
}

/// What a receiver was told, each line with whether nobody on the way could read it.
type Told = Arc<Mutex<Vec<(bool, String)>>>;

async fn receiver(speaks: Speaks) -> (u16, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Told::default();
    let telling = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (speaks, told) = (speaks.clone(), Arc::clone(&telling));
            tokio::spawn(async move {
                match speaks {
                    Speaks::Tls(acceptor) => {
                        let stream = acceptor.accept(stream).await.ok()?;
                        talk(stream, LETS_IN, true, &told).await;
                    }
                    Speaks::StartTls(acceptor) => {
                        let stream = talk(stream, "STARTTLS", true, &told).await?;
                        let stream = acceptor.accept(stream).await.ok()?;
                        talk(stream, LETS_IN, false, &told).await;
                    }
                    Speaks::Plain => {
                        let _ = talk(stream, "8BITMIME", true, &told).await;
                    }
                }
                Some(())
            });
        }
    });
    (port, told)
}

/// Talks SMTP until the client has said everything, or yields the stream at STARTTLS.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offer: &str,
    greet: bool,
    told: &Told,
) -> Option<S> {
    let secret = offer == LETS_IN;
    let mut stream = BufStream::new(stream);
    if greet {
        stream.write_all(b"220 sink\r\n").await.ok()?;
    }
    let mut logged_in = false;
    let mut in_letter = false;
    loop {
        stream.flush().await.ok()?;
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        told.lock().unwrap().push((secret, line.clone()));
        let verb = line.split(' ').next()?;
        let answer = match verb {
            "." => "250 taken",
            _ if in_letter => continue,
            "EHLO" => &format!("250-sink\r\n250 {offer}"),
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                stream.flush().await.ok()?;
                return Some(stream.into_inner());
            }
            "AUTH" if line == LOGIN => "235 welcome",
            "AUTH" => "535 5.7.8 nobody has this password",
            "MAIL" if secret && !logged_in => "530 5.7.0 who are you",
            "DATA" => "354 go on",
            _ => "250 ok",
        };
        logged_in |= answer.starts_with("235");
        in_letter = verb == "DATA";
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.write_all(b"\r\n").await.ok()?;
    }
}

fn settings(pki: &Pki, port: u16) -> Email {
    Email {
        to: vec!["a@example.org".parse().unwrap()],
        from: "b@example.org".parse().unwrap(),
        host: "127.0.0.1".to_owned(),
        port,
        require_tls: true,
        tls: TlsClient {
            ca_file: Some(pki.path("ca.pem")),
            server_name: Some("server.example".to_owned()),
            ..TlsClient::default()
        },
        auth: Some(("pm".to_owned(), pki.write("password", "hunter2\n", 0o600))),
    }
}

fn head() -> MessageContext {
    MessageContext {
        store: "s".into(),
        origin: None,
    }
}

fn message() -> Message {
    let matter = MessageEvent::Held {
        what: HoldTarget::All,
        reason: "storm".to_owned(),
        why: "21 hosts".to_owned(),
    };
    Message::new(matter, "2026-11-22T10:00:00Z".parse().unwrap())
}

async fn sent(settings: &Email) -> Result<(), Refused> {
    send(&head(), settings, &message()).await
}

fn has(told: &Told, part: &str) -> bool {
    told.lock().unwrap().iter().any(|(_, l)| l.contains(part))
}

#[tokio::test]
async fn the_login_and_the_letter_go_out_after_starttls() {
    let pki = Pki::new();
    let (port, told) = receiver(Speaks::StartTls(pki.acceptor(false))).await;
    sent(&settings(&pki, port)).await.unwrap();
    let told = told.lock().unwrap();
    let open: Vec<_> = told.iter().filter(|(secret, _)| !secret).collect();
    let verbs: Vec<_> = open
        .iter()
        .filter_map(|(_, l)| l.split(' ').next())
        .collect();
    assert_eq!(verbs, ["EHLO", "STARTTLS"]);
    for line in [
        LOGIN,
        "RCPT TO:<a@example.org>",
        "Subject: [promansible] Everything is held: storm",
    ] {
        assert!(told.contains(&(true, line.to_owned())), "{line}: {told:?}");
    }
}

#[tokio::test]
async fn a_wrong_or_missing_login_is_said_without_the_password() {
    let pki = Pki::new();
    let (port, told) = receiver(Speaks::StartTls(pki.acceptor(false))).await;
    let mut settings = settings(&pki, port);
    let file = pki.write("password", "hunter3", 0o600);
    let refused = sent(&settings).await.unwrap_err();
    let file = file.display();
    let said = format!("it rejected the login of \"pm\" with the password in {file}: ");
    assert!(refused.why.starts_with(&said), "{}", refused.why);
    assert!(
        refused.why.contains("nobody has this password"),
        "{}",
        refused.why
    );
    assert!(!refused.why.contains("hunter"), "{}", refused.why);
    assert!(refused.unreachable, "every other letter fares the same");

    settings.auth = None;
    let refused = sent(&settings).await.unwrap_err();
    let said = "it requires a login, but auth_username is not set: ";
    assert!(refused.why.starts_with(said), "{}", refused.why);
    assert!(refused.unreachable);
    assert!(!has(&told, "Subject:"), "{told:?}");
}

#[tokio::test]
async fn nothing_goes_out_without_tls_where_it_is_required() {
    let pki = Pki::new();
    let (port, told) = receiver(Speaks::StartTls(Pki::new().acceptor(false))).await;
    let refused = sent(&settings(&pki, port)).await.unwrap_err();
    assert!(
        refused.why.contains("certificate"),
        "another authority's: {}",
        refused.why
    );
    assert!(!told.lock().unwrap().iter().any(|(secret, _)| *secret));

    let (port, told) = receiver(Speaks::Plain).await;
    // It has none, or somebody on the way keeps it back.
    let refused = sent(&settings(&pki, port)).await.unwrap_err();
    assert!(refused.why.contains("STARTTLS"), "{}", refused.why);
    assert!(refused.unreachable);
    assert!(!has(&told, "AUTH") && !has(&told, "MAIL"), "{told:?}");
}

#[tokio::test]
async fn at_its_port_tls_begins_at_once() {
    let pki = Pki::new();
    let (port, told) = receiver(Speaks::Tls(pki.acceptor(false))).await;
    let mut settings = settings(&pki, port);
    let letter = letter(&head(), &settings, &message()).unwrap();
    hand_over(&settings, Start::AtOnce, letter).await.unwrap();
    assert!(has(&told, LOGIN) && has(&told, "Subject:"), "{told:?}");
    settings.port = SUBMISSIONS;
    assert_eq!(start(&settings), Start::AtOnce);
    settings.port = 587;
    assert_eq!(start(&settings), Start::Required);
}
