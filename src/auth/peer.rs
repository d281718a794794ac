//! The client of a connection, and the check whether it would still be accepted.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::AuthConfig;
use crate::model::certificate::{self, Name};
use crate::model::proxies::{Claims, ProxyUserClaim};

/// The client of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's address, as far as trusted proxies report it.
    pub address: SocketAddr,
    /// The address of the TCP connection: the last of these proxies, if any.
    pub tcp: IpAddr,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The names in the verified client certificate.
    pub names: Vec<Name>,
    /// The certificates that the client sent, its own first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The user that a trusted proxy reports.
    pub user: ProxyUserClaim,
}

impl Peer {
    /// Formats the address for people. Proxies do not report a port.
    pub fn shown(&self) -> String {
        match self.address.port() {
            0 => self.address.ip().to_string(),
            _ => self.address.to_string(),
        }
    }

    /// Returns the peer with the address, scheme and user that a trusted proxy reports.
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
    /// Checks whether a connection that was accepted earlier would be accepted now: a certificate expires, and an authority
    /// may be removed.
    pub fn check_peer(&self, peer: &Peer, now: DateTime<Utc>) -> Result<(), String> {
        let Some((tls, built)) = self.web.tls.as_ref().zip(self.tls.as_ref()) else {
            // It was accepted with TLS, which is off now. Anyone can connect now, so there is nothing to check.
            return Ok(());
        };
        let Some((own, others)) = peer.chain.split_first() else {
            return if tls.client_auth.requires() {
                Err("a client certificate is now required".to_owned())
            } else {
                Ok(())
            };
        };
        let Some(verifier) = &built.verifier else {
            return Err("client certificates are no longer verified".to_owned());
        };
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let answer = verifier.verify_client_cert(own, others, now);
        answer.map(|_| ()).map_err(|e| certificate::refusal(&e))
    }

    /// Describes the client of a connection, with the certificates of its handshake.
    pub fn peer(&self, address: SocketAddr, certificates: Option<&[CertificateDer<'_>]>) -> Peer {
        let verifies = self
            .web
            .tls
            .as_ref()
            .is_some_and(|tls| tls.client_auth.verifies());
        let chain = certificates.unwrap_or_default().iter().cloned();
        let chain: Vec<_> = chain.map(CertificateDer::into_owned).collect();
        let certificate = chain.first().filter(|_| verifies);
        Peer {
            address,
            tcp: address.ip(),
            is_tls: self.tls.is_some(),
            names: certificate.map(certificate::names).unwrap_or_default(),
            chain,
            user: ProxyUserClaim::Nothing,
        }
    }
}
