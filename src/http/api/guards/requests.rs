//! Parses the bodies of pauses and holds.

use std::time::Duration;

use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;

use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::http::core::json;
use crate::util::units::{DURATION_HELP, parse_duration};

/// The largest body. *Units*: bytes.
const LARGEST: u64 = 8 << 10;

/// The longest reason. *Units*: characters.
const LONGEST_WHY: usize = 1000;

/// A requested hold of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::http) struct Hold {
    /// The duration; `None` means until a user releases the host.
    pub time: Option<Duration>,
    /// The reason, for other users who find the host held.
    pub why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseTyped {
    why: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldTyped {
    r#for: Option<Value>,
    why: Option<Value>,
}

/// Reads the reason of a pause. The body is optional, because pausing may be urgent.
pub(crate) async fn why(context: &Context, request: Request<Incoming>) -> Result<String, ApiError> {
    let has_type = request.headers().contains_key(CONTENT_TYPE);
    if !has_type && request.body().is_end_stream() {
        return Ok(String::new());
    }
    let body = body(context, request).await?;
    pause_typed(&body)
}

/// Reads the duration and the reason of a hold.
pub(crate) async fn hold(context: &Context, request: Request<Incoming>) -> Result<Hold, ApiError> {
    let body = body(context, request).await?;
    hold_typed(&body)
}

async fn body(context: &Context, request: Request<Incoming>) -> Result<bytes::Bytes, ApiError> {
    let timeout = context.config.borrow().receiver.body_timeout;
    json::body(request, LARGEST, timeout).await
}

fn object<'a, T: Deserialize<'a>>(json: &'a [u8], example: &str) -> Result<T, ApiError> {
    // Serde would accept a list as the fields in order.
    if !json.trim_ascii_start().starts_with(b"{") {
        let why = format_args!("the body is not a JSON object: want {example}");
        return Err(ApiError::bad(why));
    }
    serde_json::from_slice(json).map_err(ApiError::bad)
}

fn pause_typed(json: &[u8]) -> Result<String, ApiError> {
    let typed: PauseTyped = object(json, r#"{"why": "the network is being rebuilt"}"#)?;
    Ok(reason(typed.why)?.unwrap_or_default())
}

/// Parses a hold.
///
/// *Shape*: `{"for": "2h", "why": "new disk"}`; without `for`, until the host is released.
fn hold_typed(json: &[u8]) -> Result<Hold, ApiError> {
    let typed: HoldTyped = object(json, r#"{"for": "2h", "why": "it gets a new disk"}"#)?;
    let time = typed.r#for.map(time).transpose()?;
    match reason(typed.why)? {
        Some(why) if !why.is_empty() => Ok(Hold { time, why }),
        _ => Err(wrong("why", "it is missing; give the reason for the hold")),
    }
}

fn time(value: Value) -> Result<Duration, ApiError> {
    let Value::String(text) = value else {
        let why = format_args!("{value} is not a duration; {DURATION_HELP}");
        return Err(wrong("for", why));
    };
    match parse_duration(&text) {
        Ok(time) if time < Duration::from_secs(1) => Err(wrong(
            "for",
            format_args!(
                "{text:?} is too short; want 1s or more, or leave it out to hold it until it is released"
            ),
        )),
        Ok(time) => Ok(time),
        Err(e) => Err(wrong("for", format_args!("{text:?}: {e}; {DURATION_HELP}"))),
    }
}

fn reason(value: Option<Value>) -> Result<Option<String>, ApiError> {
    match value {
        None => Ok(None),
        Some(Value::String(why)) if why.chars().count() <= LONGEST_WHY => {
            Ok(Some(why.trim().to_owned()))
        }
        Some(Value::String(why)) => {
            let n = why.chars().count();
            let why = format_args!("it has {n} characters; want at most {LONGEST_WHY}");
            Err(wrong("why", why))
        }
        Some(other) => Err(wrong("why", format_args!("{other} is not a string"))),
    }
}

fn wrong(field: &str, why: impl std::fmt::Display) -> ApiError {
    ApiError::bad(format_args!("{field}: {why}")).about(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_parsed_or_its_invalid_field_named() {
        let hold = hold_typed(br#"{"for": "1h30m", "why": " a new disk "}"#).unwrap();
        assert_eq!(hold.time, Some(Duration::from_mins(90)));
        assert_eq!(hold.why, "a new disk");
        assert_eq!(hold_typed(br#"{"why": "x"}"#).unwrap().time, None);
        for (json, wanted) in [
            ("[]", "the body is not a JSON object"),
            (r#"{"why": "x", "until": 1}"#, "unknown field `until`"),
            (r#"{"for": "2h"}"#, "why: it is missing"),
            (r#"{"why": "  "}"#, "why: it is missing"),
            (r#"{"why": 7}"#, "why: 7 is not a string"),
            (
                r#"{"why": "x", "for": 7}"#,
                "for: 7 is not a duration; write",
            ),
            (r#"{"why": "x", "for": "0"}"#, "for: \"0\" is too short"),
            (
                r#"{"why": "x", "for": "2 hours"}"#,
                "for: \"2 hours\": \" hours\" is not a unit; write",
            ),
        ] {
            let refusal = hold_typed(json.as_bytes()).unwrap_err();
            assert!(refusal.why.starts_with(wanted), "{json}: {}", refusal.why);
        }
        let long = format!(r#"{{"why": "{}"}}"#, "ä".repeat(1001));
        let refusal = pause_typed(long.as_bytes()).unwrap_err();
        assert_eq!(
            refusal.why,
            "why: it has 1001 characters; want at most 1000"
        );
        assert_eq!(pause_typed(b"{}").unwrap(), "");
    }
}
