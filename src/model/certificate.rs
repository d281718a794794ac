//! X.509 certificates: explicitly listed certificates, and the names in certificates.
//!
//! `openssl req -x509` creates a CA certificate, and people install it on a server or a client, and on the other side
//! as the CA file. webpki rejects a CA certificate as an end-entity certificate. Go and curl accept one that is listed
//! in the CA file itself, and so do we, by comparing its bytes. Its validity, purpose and names are checked like those
//! of any other certificate.

use std::fmt;
use std::net::IpAddr;

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, CertificateError, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// Trusted certificates, as CAs and as end-entity certificates.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// The certificates as CAs.
    pub roots: RootCertStore,
    listed: Vec<CertificateDer<'static>>,
}

/// The purpose for which a peer presents a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Server,
    Client,
}

impl Trusted {
    /// Creates an empty set.
    pub fn empty() -> Self {
        Self {
            roots: RootCertStore::empty(),
            listed: Vec::new(),
        }
    }

    /// Adds a certificate. *Errors*: webpki cannot parse it.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        self.roots.add(certificate.clone())?;
        self.listed.push(certificate);
        Ok(())
    }

    /// Adds the certificates that can be parsed, and ignores the others.
    pub fn add_readable(&mut self, certificates: Vec<CertificateDer<'static>>) {
        for certificate in certificates {
            let _ = self.add(certificate);
        }
    }

    /// Returns the certificates that are accepted as end-entity certificates.
    pub fn listed(&self) -> &[CertificateDer<'static>] {
        &self.listed
    }
}

/// Describes why a certificate was rejected.
pub fn refusal(error: &rustls::Error) -> String {
    const OWN: &str = "the certificate is a CA certificate: it is accepted only if the CA file lists this very certificate";
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            let why = other.0.to_string();
            if why.contains("CaUsedAsEndEntity") {
                OWN.to_owned()
            } else {
                why
            }
        }
        other => other.to_string(),
    }
}

/// Describes why a handshake failed.
pub fn handshake_refusal(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    inner.map_or_else(|| error.to_string(), refusal)
}

/// Checks whether a listed certificate is valid now and for this purpose. Names are not checked.
pub fn check_listed(
    certificate: &CertificateDer<'_>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    // Rejects what webpki rejects in every certificate, such as unknown critical extensions.
    ParsedCertificate::try_from(certificate)?;
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let now = ASN1Time::from_timestamp(seconds).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.validity();
    if now < validity.not_before {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after {
        return Err(CertificateError::Expired.into());
    }
    if serves(&parsed, purpose)? {
        Ok(())
    } else {
        Err(CertificateError::InvalidPurpose.into())
    }
}

/// Returns whether a certificate allows a purpose. Without usage extensions, every purpose is allowed.
fn serves(parsed: &X509Certificate<'_>, purpose: Purpose) -> Result<bool, CertificateError> {
    let bad = |_| CertificateError::BadEncoding;
    let usage = parsed.key_usage().map_err(bad)?;
    let signs = usage.is_none_or(|usage| {
        let usage = usage.value;
        usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
    });
    let extended = parsed.extended_key_usage().map_err(bad)?;
    let is_meant = extended.is_none_or(|extended| {
        let extended = extended.value;
        extended.any
            || match purpose {
                Purpose::Server => extended.server_auth,
                Purpose::Client => extended.client_auth,
            }
    });
    Ok(signs && is_meant)
}

/// The type of a name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NameType {
    /// A DNS name.
    Dns,
    /// An email address.
    Email,
    /// A URI, such as a SPIFFE ID.
    Uri,
    /// An IP address.
    Ip,
    /// The common name of the subject.
    Common,
}

impl NameType {
    const ALL: [Self; 5] = [Self::Dns, Self::Email, Self::Uri, Self::Ip, Self::Common];

    /// Returns OpenSSL's prefix for this type.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "DNS",
            Self::Email => "email",
            Self::Uri => "URI",
            Self::Ip => "IP",
            Self::Common => "CN",
        }
    }
}

/// A name in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    pub of: NameType,
    pub text: String,
}

/// Returns the names of a client's certificate: its subject alternative names, then its common name.
pub fn names(certificate: &CertificateDer<'_>) -> Vec<Name> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let mut names = alternative_names(&parsed);
    let common = parsed.subject().iter_common_name();
    let common = common.filter_map(|name| Some(named(NameType::Common, name.as_str().ok()?)));
    names.extend(common);
    names
}

fn named(of: NameType, text: &str) -> Name {
    let text = text.to_owned();
    Name { of, text }
}

fn alternative_names(parsed: &X509Certificate<'_>) -> Vec<Name> {
    let Ok(Some(found)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(named(NameType::Dns, name)),
        GeneralName::RFC822Name(name) => Some(named(NameType::Email, name)),
        GeneralName::URI(name) => Some(named(NameType::Uri, name)),
        GeneralName::IPAddress(bytes) => Some(named(NameType::Ip, &address(bytes)?.to_string())),
        _ => None,
    };
    found.value.general_names.iter().filter_map(text).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

/// A name in the configuration that gets scopes: `DNS:name`, `email:name`, `URI:name`, `IP:address`, `CN:name`, or a
/// bare name, whose form determines its type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WantedName {
    text: String,
    of: NameType,
    name: String,
    is_typed: bool,
}

impl fmt::Display for WantedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl WantedName {
    /// Parses a name. *Errors*: the expected form.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EMPTY: &str = "want a name such as DNS:monitoring.example, URI:spiffe://example/monitoring or CN:monitoring";
        let typed = text.split_once(':').and_then(|(prefix, name)| {
            let of = NameType::ALL.into_iter().find(|of| of.as_str() == prefix)?;
            Some((of, name))
        });
        let (of, name) = typed.unwrap_or_else(|| (form(text), text));
        if name.is_empty() {
            return Err(EMPTY);
        }
        let name = match of {
            NameType::Ip => name
                .parse::<IpAddr>()
                .map_err(|_| "want an IP address after IP:")?
                .to_string(),
            _ => name.to_owned(),
        };
        Ok(Self {
            text: text.to_owned(),
            of,
            name,
            is_typed: typed.is_some(),
        })
    }

    /// Returns whether a certificate has this name. A common name matches only if the configuration uses the prefix
    /// `CN:`, or if the certificate has no other names.
    pub fn is_in(&self, names: &[Name]) -> bool {
        let is_only = names.iter().all(|name| name.of == NameType::Common);
        names.iter().any(|name| match name.of {
            NameType::Common if !self.is_typed => is_only && name.text == self.name,
            of if of != self.of => false,
            NameType::Dns => name.text.eq_ignore_ascii_case(&self.name),
            _ => name.text == self.name,
        })
    }
}

/// Guesses the type of a bare name from its form.
fn form(text: &str) -> NameType {
    if text.parse::<IpAddr>().is_ok() {
        NameType::Ip
    } else if text.contains("://") {
        NameType::Uri
    } else if text.contains('@') {
        NameType::Email
    } else {
        NameType::Dns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_among_those_of_its_type_alone() {
        use NameType::{Common, Dns, Email, Ip, Uri};
        let names = |names: &[(NameType, &str)]| -> Vec<Name> {
            names.iter().map(|(of, text)| named(*of, text)).collect()
        };
        for (wanted, shown, found) in [
            ("prom.example", names(&[(Dns, "PROM.example")]), true),
            ("prom.example", names(&[(Uri, "prom.example")]), false),
            ("prom.example", names(&[(Email, "prom.example")]), false),
            ("DNS:prom.example", names(&[(Dns, "prom.example")]), true),
            ("DNS:prom", names(&[(Common, "prom")]), false),
            ("10.0.0.1", names(&[(Ip, "10.0.0.1")]), true),
            ("10.0.0.1", names(&[(Dns, "10.0.0.1")]), false),
            ("IP:::1", names(&[(Ip, "::1")]), true),
            ("spiffe://a/b", names(&[(Uri, "spiffe://a/b")]), true),
            ("spiffe://a/b", names(&[(Dns, "spiffe://a/b")]), false),
            ("URI:urn:a", names(&[(Uri, "urn:a")]), true),
            ("a@b", names(&[(Email, "a@b")]), true),
            ("email:A@b", names(&[(Email, "a@b")]), false),
            // A common name matches if there is no other name, or with the prefix.
            ("prom", names(&[(Common, "prom")]), true),
            ("prom", names(&[(Dns, "x"), (Common, "prom")]), false),
            ("CN:prom", names(&[(Dns, "x"), (Common, "prom")]), true),
            ("CN:prom", names(&[(Dns, "prom")]), false),
            ("prom", names(&[]), false),
        ] {
            let wanted = WantedName::parse(wanted).unwrap();
            assert_eq!(wanted.is_in(&shown), found, "{wanted} {shown:?}");
        }
        for bad in ["", "DNS:", "IP:prom.example"] {
            assert!(WantedName::parse(bad).is_err(), "{bad}");
        }
    }
}
