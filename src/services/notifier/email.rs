//! Sends messages as e-mail.

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use super::MessageContext;
use super::Refused;
use super::TIMEOUT;
use crate::config::Email;
use crate::model::message::Message;
use crate::util::secret_file;

/// The port for implicit TLS.
const SUBMISSIONS: u16 = 465;

/// The replies to a missing or wrong login (RFC 4954, section 6). Every other message would be rejected too.
const NO_LOGIN: [u16; 4] = [530, 534, 535, 538];

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Before the first command.
    AtOnce,
    /// By STARTTLS; without it, nothing is sent.
    Required,
    /// By STARTTLS if the server offers it.
    IfOffered,
}

/// The longest subject. It must be one line, and readable. *Units*: characters.
const SUBJECT_CHARS: usize = 200;

pub(super) async fn send(
    head: &MessageContext,
    settings: &Email,
    message: &Message,
) -> Result<(), Refused> {
    let letter = letter(head, settings, message).map_err(|why| Refused {
        why,
        unreachable: false,
    })?;
    hand_over(settings, start(settings), letter).await
}

async fn hand_over(settings: &Email, start: Start, letter: lettre::Message) -> Result<(), Refused> {
    let unreachable = |why| Refused {
        why,
        unreachable: true,
    };
    let owned = settings.clone();
    let transport = tokio::task::spawn_blocking(move || transport(&owned, start));
    let transport = transport.await.map_err(|e| unreachable(e.to_string()))?;
    let sent = transport.map_err(unreachable)?;
    let sent = tokio::time::timeout(TIMEOUT, sent.send(letter)).await;
    let sent =
        sent.map_err(|_| unreachable(format!("it did not accept the message within {TIMEOUT:?}")))?;
    sent.map(|_| ())
        .map_err(|e| match e.status().map(u16::from) {
            Some(code) if NO_LOGIN.contains(&code) => unreachable(no_login(settings, &e)),
            _ => Refused {
                unreachable: !e.is_permanent(),
                why: e.to_string(),
            },
        })
}

fn no_login(settings: &Email, e: &lettre::transport::smtp::Error) -> String {
    match &settings.auth {
        Some((username, file)) => format!(
            "it rejected the login of {username:?} with the password in {}: {e}",
            file.display()
        ),
        None => format!("it requires a login, but auth_username is not set: {e}"),
    }
}

pub(super) fn letter(
    head: &MessageContext,
    settings: &Email,
    message: &Message,
) -> Result<lettre::Message, String> {
    let line: String = message.summary().chars().take(SUBJECT_CHARS).collect();
    let mut body = vec![message.summary(), String::new()];
    body.extend(message.details());
    body.push(format!("When: {}", message.at.to_rfc3339()));
    body.extend(head.link(message));
    let mut builder = lettre::Message::builder()
        .from(settings.from.clone())
        .subject(format!("[promansible] {line}"))
        .message_id(Some(format!("<{}@promansible>", head.key(message))))
        .header(ContentType::TEXT_PLAIN);
    for to in &settings.to {
        builder = builder.to(to.clone());
    }
    let body = body.join("\n") + "\n";
    builder.body(body).map_err(|e| e.to_string())
}

fn start(settings: &Email) -> Start {
    if settings.port == SUBMISSIONS {
        Start::AtOnce
    } else if settings.require_tls {
        Start::Required
    } else {
        Start::IfOffered
    }
}

/// Builds the transport. Reads the password and certificate files, which blocks.
fn transport(settings: &Email, start: Start) -> Result<AsyncSmtpTransport<Tokio1Executor>, String> {
    let tls = tls(settings)?;
    let tls = match start {
        Start::AtOnce => Tls::Wrapper(tls),
        Start::Required => Tls::Required(tls),
        Start::IfOffered => Tls::Opportunistic(tls),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
        .port(settings.port)
        .tls(tls)
        .timeout(Some(TIMEOUT));
    if let Some((username, file)) = &settings.auth {
        let password = secret_file::read_text(file).map_err(|e| e.to_string())?;
        builder = builder.credentials(Credentials::new(username.clone(), password));
    }
    Ok(builder.build())
}

fn tls(settings: &Email) -> Result<TlsParameters, String> {
    let name = settings.tls.server_name.as_ref().unwrap_or(&settings.host);
    let mut builder = TlsParameters::builder(name.clone())
        .dangerous_accept_invalid_certs(settings.tls.insecure_skip_verify);
    if let Some(file) = &settings.tls.ca_file {
        let wrong = |file: &PathBuf, e: &dyn std::fmt::Display| format!("{}: {e}", file.display());
        let pem = std::fs::read(file).map_err(|e| wrong(file, &e))?;
        let authority = Certificate::from_pem(&pem).map_err(|e| wrong(file, &e))?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(authority);
    }
    builder.build().map_err(|e| e.to_string())
}
