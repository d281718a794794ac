//! Reads the specification of a role's variables in `meta/argument_specs.yml`, and checks variables against it.
//!
//! Ansible has the last word: it performs the same checks before the role's first task. Therefore nothing is rejected
//! here that Ansible would accept, and cases that only Ansible can decide (a Python literal in a string, an unknown
//! type) are left to it. So are the defaults of a spec, and constraints across options (`required_if`,
//! `mutually_exclusive`, …).
//!
//! *Source*: `ansible.module_utils.common.{parameters,validation}` and the action `validate_argument_spec` of
//! ansible-core 2.19; 2.16 accepts slightly less.

mod check;
mod convert;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

pub use check::{Defect, check};
pub use read::{Read, read};

/// The specification of a role's entry point `main`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Spec {
    /// The role's purpose in one line; may be empty.
    pub short_description: String,
    /// The role's purpose in paragraphs.
    pub description: Vec<String>,
    pub options: Options,
}

/// Options with their names, in the order in which they were written.
///
/// *Shape*: as JSON, a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<(String, OptionSpec)>);

impl Options {
    /// Returns the option of this name.
    pub fn get(&self, name: &str) -> Option<&OptionSpec> {
        let mut options = self.0.iter();
        options.find(|(of, _)| of == name).map(|(_, option)| option)
    }

    /// Iterates over all accepted names: options and their aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|(name, option)| {
            let aliases = option.aliases.iter().map(String::as_str);
            std::iter::once(name.as_str()).chain(aliases)
        })
    }
}

impl Serialize for Options {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, option) in &self.0 {
            map.serialize_entry(name, option)?;
        }
        map.end()
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct OptionSpec {
    /// The type; `str` by default.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The description in paragraphs.
    pub description: Vec<String>,
    pub required: bool,
    /// The default value; a placeholder for a `no_log` option.
    pub default: Option<Value>,
    /// The allowed values.
    pub choices: Option<Vec<Value>>,
    /// The type of a list's items.
    pub elements: Option<Kind>,
    /// The options inside a map, or inside each map of a list.
    pub options: Option<Options>,
    /// Whether the values are secret.
    pub no_log: bool,
    /// Alternative names. Ansible supports them only in maps: a variable has one name.
    pub aliases: Vec<String>,
    /// Whether a missing map is checked like an empty one.
    pub apply_defaults: bool,
}

/// An Ansible type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// `str`: accepts everything.
    #[default]
    Str,
    /// `int`.
    Int,
    /// `float`.
    Float,
    /// `bool`.
    Bool,
    /// `list`.
    List,
    /// `dict`.
    Dict,
    /// `path`: accepts everything.
    Path,
    /// `raw`: accepts everything.
    Raw,
    /// `json` or `jsonarg`.
    Json,
    /// `bytes`: a size such as `10M`.
    Bytes,
    /// `bits`: a size in bits such as `10Mb`.
    Bits,
    /// Another type, left to Ansible.
    Other(String),
}

impl Kind {
    /// Returns the type with this name.
    pub fn parse(word: &str) -> Self {
        match word {
            "str" => Self::Str,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "list" => Self::List,
            "dict" => Self::Dict,
            "path" => Self::Path,
            "raw" => Self::Raw,
            "json" | "jsonarg" => Self::Json,
            "bytes" => Self::Bytes,
            "bits" => Self::Bits,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns Ansible's name for the type.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Str => "str",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::List => "list",
            Self::Dict => "dict",
            Self::Path => "path",
            Self::Raw => "raw",
            Self::Json => "json",
            Self::Bytes => "bytes",
            Self::Bits => "bits",
            Self::Other(word) => word,
        }
    }

    /// Returns a description of the expected value for error messages.
    fn want(&self) -> &str {
        match self {
            Self::Str => "a text",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::List => "a list",
            Self::Dict => "a map",
            Self::Path => "a path",
            Self::Raw | Self::Other(_) => "a value",
            Self::Json => "JSON in a text, a list or a map",
            Self::Bytes => "a size in bytes, such as 10M or 1.5GB",
            Self::Bits => "a size in bits, such as 10M or 1.5Gb",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
