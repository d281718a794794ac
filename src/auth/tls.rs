//! Builds the TLS server configuration from the web configuration file, and verifies client certificates.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, SupportedKxGroup, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, version,
};

use crate::auth::web_config::{ClientAuth, Tls, Version};
use crate::model::certificate::{self, NameType, Purpose, Trusted};

/// The certificates and keys for TLS, as PEM.
pub(super) struct Material {
    pub(super) cert: Vec<u8>,
    pub(super) key: Vec<u8>,
    pub(super) client_ca: Option<Vec<u8>>,
}

/// Why TLS cannot be set up with these files. The messages contain nothing from the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate is missing.
    #[error("tls_server_config.{0}: no PEM certificate found")]
    NoCertificate(&'static str),
    /// The private key is missing.
    #[error("tls_server_config.key: no PEM private key found")]
    NoKey,
    /// rustls rejects the files: the key belongs to another certificate, for instance.
    #[error("tls_server_config: {0}")]
    Refused(#[from] rustls::Error),
    /// The client CA cannot be used.
    #[error("tls_server_config.client_ca: {0}")]
    ClientCa(String),
}

/// The ALPN name of HTTP/2.
pub const HTTP2: &[u8] = b"h2";

/// The server configuration, and the verifier of client certificates if they are requested.
pub(super) struct Built {
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// Builds the server configuration.
pub(super) fn build(tls: &Tls, http2: bool, material: &Material) -> Result<Built, TlsError> {
    let provider = Arc::new(provider(tls));
    let chain = certificates("cert", &material.cert)?;
    let key = PrivateKeyDer::from_pem_slice(&material.key).map_err(|_| TlsError::NoKey)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(tls))?;
    let verifier = verifier(tls, material, &provider)?;
    let builder = match &verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
    };
    let mut config = builder.with_single_cert(chain, key)?;
    if verifier.is_some() {
        // A resumed session sends no certificate, so it could not be verified again, not even for its expiry.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    let offered = [HTTP2, b"http/1.1"];
    let offered = offered.iter().skip(usize::from(!http2));
    config.alpn_protocols = offered.map(|name| name.to_vec()).collect();
    let config = Arc::new(config);
    Ok(Built { config, verifier })
}

/// Returns the default provider, limited to the configured algorithms. As in Go, cipher suites can be chosen for TLS 1.2
/// only.
fn provider(tls: &Tls) -> CryptoProvider {
    let mut provider = ring::default_provider();
    let name = |suite: rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    if !tls.cipher_suites.is_empty() {
        let wanted = |name: &str| tls.cipher_suites.iter().position(|wanted| *wanted == name);
        let of_13 = |suite: &rustls::SupportedCipherSuite| suite.tls13().is_some();
        let suites = &mut provider.cipher_suites;
        suites.retain(|suite| of_13(suite) || wanted(&name(*suite)).is_some());
        // The suites of TLS 1.3 first, then the others in their configured order.
        suites.sort_by_key(|suite| wanted(&name(*suite)).filter(|_| !of_13(suite)));
    }
    if !tls.curves.is_empty() {
        provider.kx_groups = tls.curves.iter().map(|name| group(name)).collect();
    }
    provider
}

fn group(name: &str) -> &'static dyn SupportedKxGroup {
    match name {
        "X25519" => ring::kx_group::X25519,
        "CurveP256" => ring::kx_group::SECP256R1,
        // The only other name that a web configuration accepts.
        _ => ring::kx_group::SECP384R1,
    }
}

fn versions(tls: &Tls) -> Vec<&'static SupportedProtocolVersion> {
    [
        (Version::Tls12, &version::TLS12),
        (Version::Tls13, &version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| (tls.min_version..=tls.max_version).contains(version))
    .map(|(_, version)| version)
    .collect()
}

fn certificates(key: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    chain
        .ok()
        .filter(|chain| !chain.is_empty())
        .ok_or(TlsError::NoCertificate(key))
}

fn verifier(
    tls: &Tls,
    material: &Material,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let mut listed = Vec::new();
    let verifier: Arc<dyn ClientCertVerifier> = match tls.client_auth {
        ClientAuth::None => return Ok(None),
        ClientAuth::Request | ClientAuth::RequireAny => Arc::new(Unverified {
            provider: Arc::clone(provider),
            mandatory: tls.client_auth.requires(),
        }),
        ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
            let pem = material.client_ca.as_deref().unwrap_or_default();
            let mut trusted = Trusted::empty();
            for certificate in certificates("client_ca", pem)? {
                let added = trusted.add(certificate);
                added.map_err(|e| TlsError::ClientCa(e.to_string()))?;
            }
            listed.extend_from_slice(trusted.listed());
            let roots = Arc::new(trusted.roots);
            let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
            let builder = if tls.client_auth.requires() {
                builder
            } else {
                builder.allow_unauthenticated()
            };
            let built = builder.build();
            built.map_err(|e| TlsError::ClientCa(e.to_string()))?
        }
    };
    Ok(Some(Arc::new(Clients {
        verifier,
        listed,
        allowed: tls.client_allowed_sans.clone(),
    })))
}

/// Accepts client certificates that a CA issued or that are listed themselves. If names are configured, the certificate must
/// have one of them.
#[derive(Debug)]
struct Clients {
    verifier: Arc<dyn ClientCertVerifier>,
    listed: Vec<CertificateDer<'static>>,
    allowed: Option<Vec<String>>,
}

/// Why a certificate with valid signatures is rejected.
#[derive(Debug, thiserror::Error)]
#[error("none of its subject alternative names is in client_allowed_sans")]
struct NotAllowed;

impl Clients {
    /// As in the exporter-toolkit, the type of a name does not matter.
    fn is_allowed(&self, certificate: &CertificateDer<'_>) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let names = certificate::names(certificate);
        let mut names = names.iter().filter(|name| name.of != NameType::Common);
        names.any(|name| allowed.contains(&name.text))
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = if self.listed.contains(end_entity) {
            certificate::check_listed(end_entity, Purpose::Client, now)?;
            ClientCertVerified::assertion()
        } else {
            let verifier = &self.verifier;
            verifier.verify_client_cert(end_entity, intermediates, now)?
        };
        if self.is_allowed(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::Other(OtherError(Arc::new(NotAllowed))).into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Accepts any certificate, as `RequestClientCert` and `RequireAnyClientCert` require. It proves nothing but the key.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
    mandatory: bool,
}

impl ClientCertVerifier for Unverified {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
