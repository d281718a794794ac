//! The style sheet, the script and the icon. Their URLs contain a hash of the content, so that browsers can cache them for
//! ever.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::Answer;
use super::nothing;
use crate::http::core::reply;

/// A file that pages refer to.
pub(super) struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

/// The style sheet.
pub(super) static STYLE: Asset = Asset {
    name: "portal.css",
    content_type: "text/css; charset=utf-8",
    content: include_str!("templates/portal.css"),
};

/// The script for local times and live updates.
pub(super) static SCRIPT: Asset = Asset {
    name: "portal.js",
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("templates/portal.js"),
};

/// The icon of the browser tab.
pub(super) static ICON: Asset = Asset {
    name: "icon.svg",
    content_type: "image/svg+xml",
    content: include_str!("templates/icon.svg"),
};

impl Asset {
    /// Returns the URL of the asset.
    pub(super) fn path(&self) -> String {
        format!("/assets/{}?v={}", self.name, self.version())
    }

    fn version(&self) -> &'static str {
        static VERSION: LazyLock<String> = LazyLock::new(|| {
            // All assets share one version, because they come from one build.
            let mut hasher = DefaultHasher::new();
            for asset in [&STYLE, &SCRIPT, &ICON] {
                asset.content.hash(&mut hasher);
            }
            format!("{:016x}", hasher.finish())
        });
        let _ = self;
        &VERSION
    }
}

pub(super) fn answer(name: &str, headers: &HeaderMap) -> Answer {
    let mut assets = [&STYLE, &SCRIPT, &ICON].into_iter();
    let Some(asset) = assets.find(|asset| asset.name == name) else {
        return Err(nothing(&["assets", name]));
    };
    let tag = format!("\"{}\"", asset.version());
    let known = headers.get(IF_NONE_MATCH).is_some_and(|it| *it == *tag);
    let content = if known { "" } else { asset.content };
    let mut reply = reply::typed(asset.content_type, [Bytes::from_static(content.as_bytes())]);
    if known {
        *reply.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = reply.headers_mut();
    let value = HeaderValue::from_str(&tag).expect("digits are a header's value");
    headers.insert(ETAG, value);
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    Ok(reply)
}
