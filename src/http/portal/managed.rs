//! What forms for bindings and schedules share: what was typed once is changed field by field, and kept as the API keeps it.

use hyper::StatusCode;
use serde_json::{Map, Value};

use crate::config::{ManagedKind, ManagedObjects};
use crate::http::Context;
use crate::http::api::managed;
use crate::http::core::error::ApiError;
use crate::http::portal::form::Form;
use crate::store::Expect;

/// What was typed of one that was made over the API or here.
pub(super) fn typed(kept: &ManagedObjects) -> Map<String, Value> {
    match serde_json::from_str(&kept.json) {
        Ok(Value::Object(typed)) => typed,
        _ => Map::new(),
    }
}

/// Makes one, or changes the one of this name. What the form does not know of stays as it was typed.
pub(super) async fn put(
    context: &Context,
    kind: ManagedKind,
    name: Option<&str>,
    asked: Map<String, Value>,
    form: &Form,
) -> Result<String, ApiError> {
    let (mut object, mut expect) = (Map::new(), Expect::None);
    if let Some(name) = name {
        object = typed(&found(context, kind, name).await?);
        // Somebody else may have changed it while this one was typing.
        expect = match form.text("revision").parse() {
            Ok(revision) => Expect::Revision(revision),
            Err(_) => Expect::Any,
        };
        if !asked.contains_key("timeout") {
            object.remove("timeout");
        }
    }
    object.extend(asked);
    // Of a binding with steps the form has the first one's roles.
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
    // The browser may go away meanwhile. What was begun is ended all the same.
    let done = tokio::spawn(async move {
        let name = name.as_deref();
        let done = managed::put(&context, kind, name, json.as_bytes(), expect).await;
        if let Ok(kept) = &done {
            let (name, revision) = (&kept.name, kept.revision);
            tracing::info!(kind = kind.as_str(), name, revision, "kept by the portal");
        }
        done
    });
    let kept = done
        .await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))??;
    Ok(kept.name)
}

/// The one of this name.
pub(super) async fn found(
    context: &Context,
    kind: ManagedKind,
    name: &str,
) -> Result<ManagedObjects, ApiError> {
    let kept = context.configs.kept(kind, name).await?;
    kept.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            format_args!("no {kind} named {name:?} was made here or over the API"),
        )
    })
}

/// Takes it away.
pub(super) async fn remove(
    context: &Context,
    kind: ManagedKind,
    name: &str,
) -> Result<(), ApiError> {
    let (context, name) = (context.clone(), name.to_owned());
    let done = tokio::spawn(async move {
        let done = managed::take_away(&context, kind, &name, Expect::Any).await;
        if done.is_ok() {
            tracing::info!(kind = kind.as_str(), name, "removed by the portal");
        }
        done.map_err(ApiError::from)
    });
    done.await
        .map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, e))?
}
