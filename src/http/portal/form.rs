//! Reads the fields of forms and queries.

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode};

use crate::http::Context;
use crate::http::api::create_run;
use crate::http::core::body::BodyError;
use crate::http::core::error::ApiError;
use crate::http::core::{body, origin};

/// The fields of a form or of a query, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(text: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(text);
        // A browser ends lines of a text field with CR LF.
        let pairs = pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n")));
        Self(pairs.collect())
    }

    /// A form with these fields.
    pub(super) fn of(fields: Vec<(&str, String)>) -> Self {
        let fields = fields.into_iter();
        Self(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// The trimmed value of a field; empty if it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The untrimmed value of a field: the spaces around a password are part of it.
    pub(super) fn untrimmed(&self, name: &str) -> &str {
        let mut values = self.0.iter().filter(|(n, _)| n == name);
        values.next().map_or("", |(_, value)| value)
    }

    /// All values of a field that are not empty.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(n, _)| n == name);
        values
            .map(|(_, value)| value.trim())
            .filter(|v| !v.is_empty())
    }

    /// Whether a box is ticked.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// All fields with a value, trimmed.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim()));
        pairs.filter(|(_, value)| !value.is_empty())
    }

    /// The names in a field, separated by commas or spaces.
    pub(super) fn names(&self, name: &str) -> Vec<&str> {
        let names = self.text(name).split([',', ' ', '\n', '\t', ';']);
        names
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect()
    }
}

const NOT_OURS: &str = "request rejected: this form does not come from a page of promansible that was opened by IP address, as localhost or by the \
     URL in --web.external-url. Open promansible that way in a current browser and submit the form again. Programs use /api/v1";

/// Reads the form of a request. Only forms from our own pages are accepted.
pub(super) async fn read(context: &Context, request: Request<Incoming>) -> Result<Form, ApiError> {
    if !origin::of_own_page(request.headers(), context.external_origin.as_deref()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, NOT_OURS));
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_none_or(|it| *it != *"application/x-www-form-urlencoded") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "expected Content-Type: application/x-www-form-urlencoded",
        ));
    }
    // At worst, URL encoding takes three bytes for one.
    let largest = 3 * create_run::LARGEST;
    let timeout = context.config.borrow().receiver.body_timeout;
    let refused = |e: BodyError| ApiError::new(e.status(), e);
    let body = body::read(request, largest, timeout)
        .await
        .map_err(refused)?;
    let body = body.unpacked(largest).await.map_err(refused)?;
    Ok(Form::parse(&body))
}

/// Splits an error of the API into the field and the message. An error without a field belongs to the whole form.
pub(super) fn at_field<'a>(why: &'a str, fields: &[&'static str]) -> (&'static str, &'a str) {
    let found = why.split_once(": ").and_then(|(name, rest)| {
        let (name, part) = name.split_once('.').unwrap_or((name, ""));
        let field = fields.iter().find(|field| **field == name)?;
        // One form field has all variables, so the message must name the variable.
        let which = name == "vars" && !part.is_empty();
        Some((*field, if which { &why["vars.".len()..] } else { rest }))
    });
    found.unwrap_or(("", why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_a_browser_sends_them() {
        let form = Form::parse(b"role=ok&role=&role=flood&vars=a%3A+1%0D%0Ab%3A+2&check=on&x=+y+");
        assert_eq!(form.all("role").collect::<Vec<_>>(), ["ok", "flood"]);
        assert_eq!(form.text("vars"), "a: 1\nb: 2");
        assert_eq!(form.text("x"), "y");
        assert_eq!(form.untrimmed("x"), " y ");
        assert_eq!(form.text("none"), "");
        assert_eq!(form.untrimmed("none"), "");
        assert!(form.is_on("check") && !form.is_on("become"));
    }

    #[test]
    fn an_error_goes_to_its_field() {
        let fields = ["roles", "target", "vars"];
        for (why, field, rest) in [
            ("roles: unknown", "roles", "unknown"),
            ("target.group: found 1", "target", "found 1"),
            ("vars.zone: it is missing", "vars", "zone: it is missing"),
            ("vars: want a map", "vars", "want a map"),
            ("the queue is full: 1", "", "the queue is full: 1"),
            ("nothing", "", "nothing"),
        ] {
            assert_eq!(at_field(why, &fields), (field, rest));
        }
    }
}
