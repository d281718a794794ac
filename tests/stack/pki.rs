//! Certificates for tests: an authority, a server on loopback, clients.

#![allow(
    clippy::unwrap_used,
    reason = "a test without its certificates has nothing to test"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// A folder with `ca.pem`; what is issued lies beside it.
pub struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// An authority with this name.
    pub fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        let dir = dir.to_owned();
        Self { dir, ca }
    }

    /// Where a file of it is.
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// Issues `NAME.pem` and `NAME.key`, for these subject alternative names.
    pub fn issue(&self, name: &str, sans: &[&str]) {
        let sans: Vec<String> = sans.iter().map(|san| (*san).to_owned()).collect();
        let mut params = CertificateParams::new(sans).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        fs::write(self.path(&format!("{name}.pem")), cert.pem()).unwrap();
        let file = self.path(&format!("{name}.key"));
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, key.serialize_pem()).unwrap();
    }
}
