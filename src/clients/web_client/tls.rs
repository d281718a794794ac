//! Builds the TLS client configuration from `tls_config`.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{WebPkiServerVerifier, verify_server_name};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

use crate::config::TlsClient;
use crate::model::certificate::{self, Purpose, Trusted};
use crate::util::secret_file::{self, SecretFileError};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate file cannot be used.
    #[error("{}: {}", .0.display(), .1)]
    Certificates(PathBuf, String),
    /// A key file cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A file contains no key.
    #[error("{} contains no private key in PEM", .0.display())]
    Key(PathBuf),
    /// rustls rejects the configuration.
    #[error("TLS: {0}")]
    Refused(#[from] rustls::Error),
}

/// The system's certificate authorities. They are read once, so later ones need a restart.
static SYSTEM: LazyLock<Trusted> = LazyLock::new(|| {
    let mut trusted = Trusted::empty();
    trusted.add_readable(rustls_native_certs::load_native_certs().certs);
    trusted
});

/// Reads the files and builds the client configuration. Blocks.
pub fn client_config(settings: &TlsClient) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = if settings.insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoVerification(provider)))
    } else {
        let trusted = match &settings.ca_file {
            Some(file) => authorities(file)?,
            None => SYSTEM.clone(),
        };
        let listed = trusted.listed().to_vec();
        let roots = Arc::new(trusted.roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        let verifier = verifier.map_err(|e| rustls::Error::General(e.to_string()))?;
        let verifier = Arc::new(Servers { verifier, listed });
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    };
    let config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.cert_file)?;
            let key = secret_file::read_text(&identity.key_file)?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|_| TlsError::Key(identity.key_file.clone()))?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    Ok(Arc::new(config))
}

fn authorities(file: &Path) -> Result<Trusted, TlsError> {
    let mut trusted = Trusted::empty();
    for certificate in certificates(file)? {
        let added = trusted.add(certificate);
        added.map_err(|e| TlsError::Certificates(file.to_owned(), e.to_string()))?;
    }
    Ok(trusted)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |why: String| TlsError::Certificates(file.to_owned(), why);
    let open = std::fs::File::open(file).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let read = CertificateDer::pem_reader_iter(BufReader::new(open));
    let chain: Vec<_> = read
        .collect::<Result<_, _>>()
        .map_err(|e| failed(format!("is not PEM: {e}")))?;
    if chain.is_empty() {
        return Err(failed("contains no certificate in PEM".to_owned()));
    }
    Ok(chain)
}

/// Accepts server certificates that a CA issued or that are listed themselves.
#[derive(Debug)]
struct Servers {
    verifier: Arc<WebPkiServerVerifier>,
    listed: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.listed.contains(end_entity) {
            certificate::check_listed(end_entity, Purpose::Server, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let verifier = &self.verifier;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
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

/// `insecure_skip_verify`: accepts any server certificate. The signatures of the handshake are still checked.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
