//! X.509 certificates: those that are trusted as themselves, and the names in them.
//!
//! `openssl req -x509` makes a certificate that is an authority's, and people give it to a server or to a client, and to the
//! other side as the file of authorities. webpki takes no authority's certificate for anybody's own. Go and curl take one that
//! stands in the file itself, and so do we: by its bytes. Its time, its purpose and its names count as those of any other.

use std::fmt;
use std::net::IpAddr;

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{self, CertificateError, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// Certificates that are trusted: as authorities, and as themselves.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// What they are as authorities.
    pub roots: RootCertStore,
    listed: Vec<CertificateDer<'static>>,
}

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To be a server.
    Server,
    /// To be a client.
    Client,
}

impl Trusted {
    /// No certificate yet.
    pub fn empty() -> Self {
        Self {
            roots: RootCertStore::empty(),
            listed: Vec::new(),
        }
    }

    /// Adds one. *Errors*: it is none that webpki can read.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), rustls::Error> {
        self.roots.add(certificate.clone())?;
        self.listed.push(certificate);
        Ok(())
    }

    /// Adds those of them that can be read.
    pub fn add_readable(&mut self, certificates: Vec<CertificateDer<'static>>) {
        for certificate in certificates {
            let _ = self.add(certificate);
        }
    }

    /// The certificates that are trusted as themselves.
    pub fn listed(&self) -> &[CertificateDer<'static>] {
        &self.listed
    }
}

/// Why a certificate is refused, in words.
pub fn refusal(error: &rustls::Error) -> String {
    const OWN: &str = "the certificate says that it is an authority's: only one that stands in the file of authorities itself is taken so";
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

/// The same of a handshake that failed.
pub fn handshake_refusal(error: &std::io::Error) -> String {
    let inner = error.get_ref().and_then(|e| e.downcast_ref());
    inner.map_or_else(|| error.to_string(), refusal)
}

/// Whether a certificate that is trusted as itself is good now, for this purpose. Its names are not looked at.
pub fn check_listed(
    certificate: &CertificateDer<'_>,
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    // Refuses what webpki refuses of every certificate, such as critical extensions that it does not know.
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

/// A certificate that says nothing of its purpose is for all of them.
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
    /// An address of mail.
    Email,
    /// A URI, such as a SPIFFE ID.
    Uri,
    /// An IP address.
    Ip,
    /// The common name of its subject.
    Common,
}

impl NameType {
    const ALL: [Self; 5] = [Self::Dns, Self::Email, Self::Uri, Self::Ip, Self::Common];

    /// As OpenSSL writes it before a name.
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
    /// Its type.
    pub of: NameType,
    /// The name.
    pub text: String,
}

/// The names by which a client's certificate may be known: its subject alternative names, then its common name.
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

/// A name that the configuration gives scopes to: `DNS:name`, `email:name`, `URI:name`, `IP:address`, `CN:name`, or a name alone,
/// whose form says its type.
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
    /// Reads it. *Errors*: what would be right.
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

    /// Whether it is one of a certificate's names. A common name is one where it is asked for by its type, or where the
    /// certificate has no other.
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

/// The type of a name of which it is not said.
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
            // A common name, where there is no other, or where it is asked for.
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
