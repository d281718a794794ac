//! What a form brings.

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

    /// One with these fields.
    pub(super) fn of(fields: Vec<(&str, String)>) -> Self {
        let fields = fields.into_iter();
        Self(
            fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    }

    /// The value of a field; nothing where it is missing. Spaces around it are nobody's intention.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// The same with the spaces around it: of a password they are a part.
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

    /// Every field that says something.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self
            .0
            .iter()
            .map(|(name, value)| (name.as_str(), value.trim()));
        pairs.filter(|(_, value)| !value.is_empty())
    }

    /// The names in a field, with commas or spaces between.
    pub(super) fn names(&self, name: &str) -> Vec<&str> {
        let names = self.text(name).split([',', ' ', '\n', '\t', ';']);
        names
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect()
    }
}

const NOT_OURS: &str = "nothing was done: this form does not come from a page of promansible that was opened by its IP address, as localhost or \
     by --web.external-url. Open promansible so, in a current browser, and send the form again; a program uses /api/v1";

/// The form that a request brings, if one of our own pages sent it.
pub(super) async fn read(context: &Context, request: Request<Incoming>) -> Result<Form, ApiError> {
    if !origin::of_own_page(request.headers(), context.external_origin.as_deref()) {
        return Err(ApiError::new(StatusCode::FORBIDDEN, NOT_OURS));
    }
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_none_or(|it| *it != *"application/x-www-form-urlencoded") {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "want Content-Type: application/x-www-form-urlencoded",
        ));
    }
    // Three bytes stand for one, at worst.
    let largest = 3 * create_run::LARGEST;
    let timeout = context.config.borrow().receiver.body_timeout;
    let refused = |e: BodyError| ApiError::new(e.status(), e);
    let body = body::read(request, largest, timeout)
        .await
        .map_err(refused)?;
    let body = body.unpacked(largest).await.map_err(refused)?;
    Ok(Form::parse(&body))
}

/// An error of the API as a form shows it: the field's name, and what is wrong with it. Without a field it is the form's.
pub(super) fn at_field<'a>(why: &'a str, fields: &[&'static str]) -> (&'static str, &'a str) {
    let found = why.split_once(": ").and_then(|(name, rest)| {
        let (name, part) = name.split_once('.').unwrap_or((name, ""));
        let field = fields.iter().find(|field| **field == name)?;
        // One field has all variables: which of them it is must be said.
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
