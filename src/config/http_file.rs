//! A file with only an `http_config`, for the command line, as for `promtool --http.config.file`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::error::{ConfigErrors, Report, place};
use super::http_client::{
    AuthorizationText, BasicAuthText, HttpAuth, HttpClient, HttpClientText, Inline, Secret,
    TlsConfigText, check_with,
};
use super::read::read;
use super::spanned::{Scalar, parse};

/// The keys of a file with only an `http_config`: those of promtool and amtool.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpFileText {
    basic_auth: Option<Spanned<BasicAuthText>>,
    authorization: Option<Spanned<AuthorizationText>>,
    tls_config: Option<Spanned<TlsConfigText>>,
    // promansible sends no redirects, and HTTP/1.1 is sufficient for a command.
    #[serde(rename = "follow_redirects")]
    _follow_redirects: Option<bool>,
    #[serde(rename = "enable_http2")]
    _enable_http2: Option<bool>,
    proxy_url: Option<Spanned<IgnoredAny>>,
    proxy_from_environment: Option<Spanned<bool>>,
    #[serde(rename = "no_proxy")]
    _no_proxy: Option<Scalar>,
    proxy_connect_header: Option<Spanned<IgnoredAny>>,
    oauth2: Option<Spanned<IgnoredAny>>,
    http_headers: Option<Spanned<IgnoredAny>>,
    bearer_token: Option<Spanned<IgnoredAny>>,
    bearer_token_file: Option<Spanned<IgnoredAny>>,
}

impl HttpFileText {
    /// Reports the keys that promansible does not support, each with an alternative.
    fn unsupported(&self, report: &mut Report<'_>) {
        const PROXY: &str = "proxies are not supported: remove the key and use an address that is reachable directly, for example through a tunnel (ssh -L 10942:127.0.0.1:10942 HOST)";
        const OAUTH: &str = "OAuth 2.0 is not supported: use authorization: {credentials_file: FILE} with a token from web.tokens";
        const HEADERS: &str = "use basic_auth or authorization; no other header is needed";
        const BEARER: &str =
            "use authorization: {credentials_file: FILE}, which replaces it in Prometheus";
        let typed = |of: &Option<Spanned<IgnoredAny>>| of.as_ref().map(|of| of.referenced);
        let from_environment = self.proxy_from_environment.as_ref();
        let from_environment = from_environment.filter(|of| of.value);
        for (key, at, help) in [
            ("proxy_url", typed(&self.proxy_url), PROXY),
            (
                "proxy_from_environment",
                from_environment.map(|of| of.referenced),
                PROXY,
            ),
            (
                "proxy_connect_header",
                typed(&self.proxy_connect_header),
                PROXY,
            ),
            ("oauth2", typed(&self.oauth2), OAUTH),
            ("http_headers", typed(&self.http_headers), HEADERS),
            ("bearer_token", typed(&self.bearer_token), BEARER),
            ("bearer_token_file", typed(&self.bearer_token_file), BEARER),
        ] {
            if let Some(at) = at {
                report.add(
                    place(at),
                    format!("{key} is not supported"),
                    Some(help.to_owned()),
                );
            }
        }
    }
}

/// Reads a file with only an `http_config`, like `promtool --http.config.file`. Relative paths in it start at its
/// folder. It may contain a password or a token if only its owner can read it.
///
/// *Errors*: as [`super::load`].
pub fn load_http_client(file: &Path) -> Result<HttpClient, ConfigErrors> {
    const ITS_OWNER: u32 = 0o077;
    let name = file.display().to_string();
    // Checked before reading: the permissions may change afterwards.
    let mode = std::fs::metadata(file).map_or(0, |of| of.mode());
    let text = read(file, &name)?;
    let inline = if mode & ITS_OWNER == 0 {
        Inline::Taken
    } else {
        Inline::Open(&name)
    };
    build_http_client(&name, &text, inline)
        .map(|mut client| {
            let folder = file.parent().unwrap_or(Path::new("."));
            client
                .files_mut()
                .for_each(|path| *path = folder.join(&*path));
            client
        })
        .map_err(|errors| errors.hiding_values(&text))
}

fn build_http_client(
    name: &str,
    text: &str,
    inline: Inline<'_>,
) -> Result<HttpClient, ConfigErrors> {
    let typed: Option<HttpFileText> = parse(name, text)?;
    let typed = typed.unwrap_or_default();
    let mut report = Report::new(name, text);
    typed.unsupported(&mut report);
    let typed = HttpClientText {
        basic_auth: typed.basic_auth,
        authorization: typed.authorization,
        tls_config: typed.tls_config,
    };
    let client = check_with("http_config", typed, inline, &mut report);
    report.finish(client)
}

impl HttpClient {
    fn files_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let secret = match &mut self.auth {
            Some(HttpAuth::Basic { password, .. }) => password.as_mut(),
            Some(HttpAuth::Authorization { credentials, .. }) => Some(credentials),
            None => None,
        };
        let secret = secret.and_then(|secret| match secret {
            Secret::File(path) => Some(path),
            Secret::Text(_) => None,
        });
        let identity = self.tls.identity.as_mut();
        let identity = identity.map(|i| [&mut i.cert_file, &mut i.key_file]);
        let ca_file = self.tls.ca_file.as_mut();
        secret
            .into_iter()
            .chain(ca_file)
            .chain(identity.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn loaded(text: &str, mode: u32) -> Result<HttpClient, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("http.yml");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        load_http_client(&file).map_err(|e| e.to_string())
    }

    #[test]
    fn a_secret_may_stand_in_a_file_that_is_its_owners_alone() {
        let basic = "basic_auth: {username: a, password: hunter2canary}";
        let bearer = "authorization: {type: Bearer, credentials: hunter2canary}";
        for text in [basic, bearer] {
            let client = loaded(text, 0o600).unwrap();
            assert!(!format!("{client:?}").contains("hunter2canary"));
            for mode in [0o640, 0o604, 0o620] {
                let why = loaded(text, mode).unwrap_err();
                assert!(
                    why.contains("is a secret, but other users can read this file"),
                    "{why}"
                );
                assert!(
                    why.contains("chmod 600") && !why.contains("hunter2canary"),
                    "{why}"
                );
            }
        }
        let Some(HttpAuth::Basic { password, .. }) = loaded(basic, 0o600).unwrap().auth else {
            panic!("no basic_auth");
        };
        assert_eq!(password, Some(Secret::Text("hunter2canary".to_owned())));
        let both = "basic_auth: {username: a, password: b, password_file: c}";
        assert!(loaded(both, 0o600).unwrap_err().contains("are both set"));
    }

    #[test]
    fn what_promtool_takes_is_taken_or_refused_with_what_to_do() {
        for good in [
            "",
            "follow_redirects: true\nenable_http2: false\nproxy_from_environment: false\n",
            "tls_config: {ca_file: ca.pem, insecure_skip_verify: false}",
            "basic_auth: {username: a, password_file: p}\nno_proxy: localhost\n",
        ] {
            loaded(good, 0o644).unwrap_or_else(|e| panic!("{good}: {e}"));
        }
        for (bad, help) in [
            ("proxy_url: http://proxy:3128", "proxies are not supported"),
            ("proxy_from_environment: true", "proxies are not supported"),
            (
                "proxy_connect_header: {a: [b]}",
                "proxies are not supported",
            ),
            (
                "oauth2: {client_id: a, client_secret: hunter2canary, token_url: 'http://t'}",
                "authorization: {credentials_file: FILE}",
            ),
            ("http_headers: {a: {values: [b]}}", "no other header"),
            (
                "bearer_token: hunter2canary",
                "authorization: {credentials_file: FILE}",
            ),
            (
                "bearer_token_file: /a",
                "authorization: {credentials_file: FILE}",
            ),
        ] {
            let why = loaded(bad, 0o600).unwrap_err();
            assert!(why.contains(" is not supported"), "{bad}: {why}");
            assert!(
                why.contains(help) && !why.contains("hunter2canary"),
                "{bad}: {why}"
            );
        }
    }
}
