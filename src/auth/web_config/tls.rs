//! Reads `tls_server_config`: YAML → [`Tls`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{ClientAuth, Pem, Tls, Version};
use crate::config::{Report, Scalar, place};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsText {
    cert: Option<Scalar>,
    key: Option<Scalar>,
    client_ca: Option<Scalar>,
    cert_file: Option<Scalar>,
    key_file: Option<Scalar>,
    client_auth_type: Option<Scalar>,
    client_ca_file: Option<Scalar>,
    client_allowed_sans: Option<Spanned<Vec<Scalar>>>,
    min_version: Option<Scalar>,
    max_version: Option<Scalar>,
    cipher_suites: Option<Vec<Scalar>>,
    prefer_server_cipher_suites: Option<bool>,
    curve_preferences: Option<Vec<Scalar>>,
}

/// The TLS 1.2 cipher suites that rustls supports with ring, with their Go names.
const SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// The TLS 1.3 cipher suites. Naming them has no effect: as in Go, they are always enabled.
const SUITES_OF_13: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

const CURVES: [&str; 3] = ["X25519", "CurveP256", "CurveP384"];

const AUTH_TYPES: [(&str, ClientAuth); 6] = [
    ("NoClientCert", ClientAuth::None),
    ("RequestClientCert", ClientAuth::Request),
    ("RequireAnyClientCert", ClientAuth::RequireAny),
    ("VerifyClientCertIfGiven", ClientAuth::VerifyIfGiven),
    ("RequireAndVerifyClientCert", ClientAuth::RequireAndVerify),
    // The former name in the exporter-toolkit.
    ("RequireClientCert", ClientAuth::RequireAny),
];

/// Reads the settings. Returns `None` if TLS is off by the rules of the exporter-toolkit.
pub(super) fn read(typed: TlsText, folder: &Path, report: &mut Report<'_>) -> Option<Tls> {
    let at = |typed: &Option<Scalar>| typed.as_ref().and_then(|typed| place(typed.referenced));
    let enabling = [
        &typed.cert,
        &typed.key,
        &typed.client_ca,
        &typed.cert_file,
        &typed.key_file,
        &typed.client_auth_type,
        &typed.client_ca_file,
    ];
    let place_of_ca = at(&typed.client_ca_file).or(at(&typed.client_ca));
    let place_of_auth = at(&typed.client_auth_type);
    let first = enabling.iter().find_map(|typed| filled(typed.as_ref()));
    let whole = first.and_then(|first| place(first.referenced));
    let is_enabled = first.is_some();
    let min_version = version(
        "min_version",
        typed.min_version.as_ref(),
        Version::Tls12,
        report,
    );
    let max_version = version(
        "max_version",
        typed.max_version.as_ref(),
        Version::Tls13,
        report,
    );
    if min_version > max_version {
        report.add(
            at(&typed.min_version),
            "min_version is above max_version: no client could connect",
            Some("omit one of them".to_owned()),
        );
    }
    let cipher_suites = suites(typed.cipher_suites.unwrap_or_default(), report);
    let curves = curves(typed.curve_preferences.unwrap_or_default(), report);
    if !is_enabled {
        return None;
    }
    let client_auth = client_auth(typed.client_auth_type.as_ref(), report);
    let cert = pem(typed.cert_file.as_ref(), typed.cert.as_ref(), folder);
    let key = pem(typed.key_file.as_ref(), typed.key.as_ref(), folder);
    for (name, found) in [("cert", &cert), ("key", &key)] {
        if found.is_none() {
            report.add(
                whole,
                format!("tls_server_config has neither {name}_file nor {name}"),
                Some(format!(
                    "set the server's {name} in PEM: {name}_file: promansible.{}",
                    if name == "cert" { "crt" } else { "key" }
                )),
            );
        }
    }
    let client_ca = pem(
        typed.client_ca_file.as_ref(),
        typed.client_ca.as_ref(),
        folder,
    );
    if client_ca.is_some() && client_auth == ClientAuth::None {
        report.add(
            place_of_ca,
            "client_ca_file or client_ca is set, but clients are not asked for a certificate",
            Some("add client_auth_type: RequireAndVerifyClientCert".to_owned()),
        );
    }
    if client_ca.is_none() && client_auth.verifies() {
        report.add(
            place_of_auth,
            "client certificates are to be verified, but no client CA is set",
            Some("set the CA: client_ca_file: clients-ca.crt".to_owned()),
        );
    }
    let sans = typed.client_allowed_sans;
    if let Some(sans) = sans.as_ref().filter(|_| client_auth == ClientAuth::None) {
        report.add(
            place(sans.referenced),
            "client_allowed_sans would have no effect: clients are not asked for a certificate",
            Some("add client_auth_type: RequireAndVerifyClientCert, and client_ca_file".to_owned()),
        );
    }
    Some(Tls {
        cert: cert?,
        key: key?,
        client_ca,
        client_auth,
        client_allowed_sans: sans
            .map(|sans| sans.value.into_iter().map(|name| name.value).collect()),
        min_version,
        max_version,
        cipher_suites,
        curves,
        prefer_server_cipher_suites: typed.prefer_server_cipher_suites.unwrap_or(true),
    })
}

fn filled(typed: Option<&Scalar>) -> Option<&Scalar> {
    typed.filter(|typed| !typed.value.is_empty())
}

/// Returns the place of PEM text. A file takes precedence over inline text.
fn pem(file: Option<&Scalar>, inline: Option<&Scalar>, folder: &Path) -> Option<Pem> {
    if let Some(file) = filled(file) {
        let path: PathBuf = folder.join(&file.value);
        return Some(Pem::File(path));
    }
    filled(inline).map(|inline| Pem::Inline(inline.value.clone()))
}

fn version(
    key: &str,
    typed: Option<&Scalar>,
    default: Version,
    report: &mut Report<'_>,
) -> Version {
    let Some(typed) = typed else { return default };
    let message = match typed.value.as_str() {
        "TLS12" => return Version::Tls12,
        "TLS13" => return Version::Tls13,
        "TLS10" | "TLS11" => format!(
            "{key}: {} is insecure and not supported",
            if typed.value == "TLS10" {
                "TLS 1.0"
            } else {
                "TLS 1.1"
            }
        ),
        other => format!("{key}: unknown TLS version {other:?}"),
    };
    let help = Some("write TLS12 or TLS13".to_owned());
    report.add(place(typed.referenced), message, help);
    default
}

fn client_auth(typed: Option<&Scalar>, report: &mut Report<'_>) -> ClientAuth {
    let Some(typed) = typed.filter(|typed| !typed.value.is_empty()) else {
        return ClientAuth::None;
    };
    let found = AUTH_TYPES.iter().find(|(name, _)| *name == typed.value);
    let Some((_, found)) = found else {
        let names = AUTH_TYPES.map(|(name, _)| name);
        report.add(
            place(typed.referenced),
            format!("unknown client_auth_type {:?}", typed.value),
            Some(format!("the types are {}", names[..5].join(", "))),
        );
        return ClientAuth::None;
    };
    *found
}

fn suites(typed: Vec<Scalar>, report: &mut Report<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for typed in typed {
        let all = SUITES.iter().chain(&SUITES_OF_13);
        match all.copied().find(|known| *known == typed.value) {
            Some(known) => names.push(known),
            None => report.add(
                place(typed.referenced),
                format!("the cipher suite {:?} is not supported", typed.value),
                Some(format!(
                    "the supported ones are {}; those of TLS 1.3 are always enabled",
                    SUITES.join(", ")
                )),
            ),
        }
    }
    names
}

fn curves(typed: Vec<Scalar>, report: &mut Report<'_>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for typed in typed {
        match CURVES.into_iter().find(|known| *known == typed.value) {
            Some(known) => names.push(known),
            None => report.add(
                place(typed.referenced),
                format!("the curve {:?} is not supported", typed.value),
                Some(format!("the supported ones are {}", CURVES.join(", "))),
            ),
        }
    }
    names
}
