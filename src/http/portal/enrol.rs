//! The form that adds a host.

use askama::Template;
use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::Answer;
use super::components::part;
use super::form::Form;
use super::layout::{self, Frame, Wrong};
use crate::config;
use crate::http::Context;
use crate::http::api::hosts;
use crate::http::core::error::ApiError;

/// The fields that can have an error.
const FIELDS: [&str; 4] = ["name", "address", "groups", "vars"];

#[derive(Template)]
#[template(path = "enrol.html")]
struct Enrol {
    frame: Frame,
    wrong: Wrong,
    form: Form,
    groups: Vec<String>,
}

pub(super) async fn page(context: &Context) -> Answer {
    shown(context, Form::default(), Wrong::default(), StatusCode::OK).await
}

async fn shown(context: &Context, form: Form, wrong: Wrong, status: StatusCode) -> Answer {
    let mut groups = Vec::new();
    if let Ok(inventory) = context.inventory.latest() {
        groups = inventory.groups().map(str::to_owned).collect();
        groups.retain(|name| name != "all" && name != "ungrouped");
    }
    let page = Enrol {
        frame: Frame::new(context, "/hosts"),
        wrong,
        form,
        groups,
    };
    layout::page(status, page).await
}

pub(super) async fn enrolled(context: &Context, form: Form) -> Answer {
    match enrol(context, &form).await {
        Ok(()) => Ok(layout::redirect(&format!(
            "/hosts/{}",
            part(form.text("name"))
        ))),
        Err(refusal) => {
            let wrong = Wrong::new(&refusal, &FIELDS);
            shown(context, form, wrong, refusal.status).await
        }
    }
}

async fn enrol(context: &Context, form: &Form) -> Result<(), ApiError> {
    let json = request_body(form)?.to_string();
    let context = context.clone();
    // A task of its own, so that the change completes even if the browser disconnects.
    let done = tokio::spawn(async move { hosts::enrol(&context, json.as_bytes()).await });
    let done = done
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?;
    done.map(|_| ())
}

/// Converts the form to the body of an API request.
fn request_body(form: &Form) -> Result<Value, ApiError> {
    let vars = config::parse_vars(form.text("vars"));
    let vars = vars.map_err(|why| ApiError::bad(format_args!("vars: {why}")))?;
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(form.text("name")));
    if !form.text("address").is_empty() {
        body.insert("address".to_owned(), json!(form.text("address")));
    }
    body.insert("groups".to_owned(), json!(form.names("groups")));
    body.insert("vars".to_owned(), Value::Object(vars));
    Ok(Value::Object(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_what_the_api_takes() {
        let form =
            Form::parse(b"name=web3&address=10.0.0.3&groups=web%2C+db&vars=ansible_port%3A+2222");
        let json = r#"{"name":"web3","address":"10.0.0.3","groups":["web","db"],"vars":{"ansible_port":2222}}"#;
        assert_eq!(request_body(&form).unwrap().to_string(), json);
        let bare = request_body(&Form::parse(b"name=web3&address=")).unwrap();
        assert_eq!(bare.to_string(), r#"{"name":"web3","groups":[],"vars":{}}"#);
    }
}
