//! Checks variables that come over the API: ansible-core before 2.19 may template their texts.

use serde_json::Value;

use crate::config::template_in;
use crate::http::Context;
use crate::http::core::error::ApiError;
use crate::model::inventory::Inventory;
use crate::model::run::Vars;

/// Rejects text that the current Ansible may template.
pub(crate) fn no_templates(inventory: &Inventory, vars: &Vars) -> Result<(), ApiError> {
    match template_in(vars).filter(|_| inventory.templates_twice()) {
        None => Ok(()),
        Some(why) => Err(ApiError::bad(format_args!("vars: {why}")).about("vars")),
    }
}

/// The same for the `vars` in the JSON of a binding or schedule. Other errors are left to its parser.
pub(crate) async fn no_templates_in(context: &Context, json: &[u8]) -> Result<(), ApiError> {
    let Ok(Value::Object(mut typed)) = serde_json::from_slice(json) else {
        return Ok(());
    };
    let Some(Value::Object(vars)) = typed.remove("vars") else {
        return Ok(());
    };
    if template_in(&vars).is_none() {
        return Ok(());
    }
    let inventory = context.inventory.fresh().await;
    let inventory = inventory.map_err(ApiError::unavailable)?;
    no_templates(&inventory, &vars)
}
