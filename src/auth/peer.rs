//! Who is at the other end of a connection, and whether it would be taken now.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::AuthConfig;
use crate::model::certificate::{self, Name};
use crate::model::proxies::{Claims, ProxySaid};

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where, as far as trusted proxies say it.
    pub address: SocketAddr,
    /// From where the TCP connection comes: the last of those proxies, if there is one.
    pub tcp: IpAddr,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The names in a client certificate that was verified.
    pub names: Vec<Name>,
    /// The certificates that it showed, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Which user a trusted proxy says that it is.
    pub user: ProxySaid,
}

impl Peer {
    /// Its address, as people read it. Proxies do not say a port.
    pub fn shown(&self) -> String {
        match self.address.port() {
            0 => self.address.ip().to_string(),
            _ => self.address.to_string(),
        }
    }

    /// The same peer, as a trusted proxy before it says where and who it is.
    #[must_use]
    pub fn behind(&self, claims: &Claims) -> Self {
        Self {
            address: claims.address.unwrap_or(self.address),
            is_tls: claims.is_tls.unwrap_or(self.is_tls),
            user: claims.user.clone(),
            ..self.clone()
        }
    }
}

impl AuthConfig {
    /// Whether a connection that was taken earlier would be taken now. A certificate ends, and an authority may leave.
    pub fn still_takes(&self, peer: &Peer, now: DateTime<Utc>) -> Result<(), String> {
        let Some((tls, built)) = self.web.tls.as_ref().zip(self.tls.as_ref()) else {
            // It was let in by TLS, which is off now: whatever it says is what anybody may say.
            return Ok(());
        };
        let Some((own, others)) = peer.chain.split_first() else {
            return if tls.client_auth.requires() {
                Err("a client certificate is needed now".to_owned())
            } else {
                Ok(())
            };
        };
        let Some(verifier) = &built.verifier else {
            return Err("client certificates are not looked at any more".to_owned());
        };
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let answer = verifier.verify_client_cert(own, others, now);
        answer.map(|_| ()).map_err(|e| certificate::refusal(&e))
    }

    /// Who is at the other end of a connection, by the certificates that its handshake brought.
    pub fn peer(&self, address: SocketAddr, shown: Option<&[CertificateDer<'_>]>) -> Peer {
        let verifies = self
            .web
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth.verifies());
        let chain = shown.unwrap_or_default().iter().cloned();
        let chain: Vec<_> = chain.map(CertificateDer::into_owned).collect();
        let certificate = chain.first().filter(|_| verifies);
        Peer {
            address,
            tcp: address.ip(),
            is_tls: self.tls.is_some(),
            names: certificate.map(certificate::names).unwrap_or_default(),
            chain,
            user: ProxySaid::Nothing,
        }
    }
}
