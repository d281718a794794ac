//! Variables that come over the API: an ansible-core before 2.19 may take their texts for templates.

use serde_json::Value;

use super::Context;
use super::refusal::Refusal;
use crate::config::template_in;
use crate::inventory::Inventory;
use crate::run::Vars;

/// Refuses text that the Ansible in force may take for a template.
pub(super) fn no_templates(inventory: &Inventory, vars: &Vars) -> Result<(), Refusal> {
    match template_in(vars).filter(|_| inventory.templates_twice()) {
        None => Ok(()),
        Some(why) => Err(Refusal::bad(format_args!("vars: {why}")).about("vars")),
    }
}

/// The same of the `vars` of a binding or schedule as typed. What is wrong in other ways is told by who reads it.
pub(super) async fn no_templates_in(context: &Context, json: &[u8]) -> Result<(), Refusal> {
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
    let inventory = inventory.map_err(Refusal::unavailable)?;
    no_templates(&inventory, &vars)
}
