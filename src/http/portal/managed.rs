//! The common part of the forms for bindings and schedules: they change the stored JSON field by field and save it as the
//! API does.

use hyper::StatusCode;
use serde_json::{Map, Value};

use crate::config::{ManagedKind, StoredObject};
use crate::http::Context;
use crate::http::api::managed;
use crate::http::core::error::ApiError;
use crate::http::portal::form::Form;
use crate::store::Expect;

/// Returns the stored JSON of an object that was created in the portal or over the API.
pub(super) fn typed(kept: &StoredObject) -> Map<String, Value> {
    match serde_json::from_str(&kept.json) {
        Ok(Value::Object(typed)) => typed,
        _ => Map::new(),
    }
}

/// Creates an object, or changes the object named `name`. Keys that the form does not have stay as they are.
pub(super) async fn put(
    context: &Context,
    kind: ManagedKind,
    name: Option<&str>,
    body: Map<String, Value>,
    form: &Form,
) -> Result<String, ApiError> {
    let (mut object, mut expect) = (Map::new(), Expect::None);
    if let Some(name) = name {
        object = typed(&found(context, kind, name).await?);
        // Someone else may have changed the object while the form was open.
        expect = match form.text("revision").parse() {
            Ok(revision) => Expect::Revision(revision),
            Err(_) => Expect::Any,
        };
        if !body.contains_key("timeout") {
            object.remove("timeout");
        }
    }
    object.extend(body);
    // If a binding has steps, the form has the roles of the first step.
    if let Some(Value::Object(first)) = object.get("steps").and_then(|steps| steps.get(0)) {
        let mut first = first.clone();
        first.extend(
            object
                .remove("roles")
                .map(|roles| ("roles".to_owned(), roles)),
        );
        object["steps"][0] = Value::Object(first);
    }
    let json = Value::Object(object).to_string();
    let (context, name) = (context.clone(), name.map(str::to_owned));
    // A task of its own, so that the change completes even if the browser disconnects.
    let done = tokio::spawn(async move {
        let name = name.as_deref();
        let done = managed::put(&context, kind, name, json.as_bytes(), expect).await;
        if let Ok(kept) = &done {
            let (name, revision) = (&kept.name, kept.revision);
            tracing::info!(kind = kind.as_str(), name, revision, "saved in the portal");
        }
        done
    });
    let kept = done
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))??;
    Ok(kept.name)
}

/// Returns the object of this name.
pub(super) async fn found(
    context: &Context,
    kind: ManagedKind,
    name: &str,
) -> Result<StoredObject, ApiError> {
    let kept = context.configs.kept(kind, name).await?;
    kept.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format_args!("no {kind} named {name:?} was created in the portal or over the API"),
        )
    })
}

/// Removes the object of this name.
pub(super) async fn remove(
    context: &Context,
    kind: ManagedKind,
    name: &str,
) -> Result<(), ApiError> {
    let (context, name) = (context.clone(), name.to_owned());
    let done = tokio::spawn(async move {
        let done = managed::take_away(&context, kind, &name, Expect::Any).await;
        if done.is_ok() {
            tracing::info!(kind = kind.as_str(), name, "removed in the portal");
        }
        done.map_err(ApiError::from)
    });
    done.await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?
}
