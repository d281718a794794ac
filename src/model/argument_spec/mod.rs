//! What a role says of its variables in `meta/argument_specs.yml`, and whether given ones are as it says.
//!
//! Ansible has the last word: it checks the same before the role's first task. So nothing is refused here that Ansible
//! would take, and where only Ansible can tell (a Python literal in a text, a type that we do not know), it is left to it.
//! So are a spec's own defaults, and what is said of options together (`required_if`, `mutually_exclusive`, …).
//!
//! *Source*: `ansible.module_utils.common.{parameters,validation}` and the action `validate_argument_spec` of ansible-core
//! 2.19; 2.16 takes a little less.

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

/// What a role's entry point `main` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Spec {
    /// What the role does, in one line; empty if it does not say.
    pub short_description: String,
    /// The same, in paragraphs.
    pub description: Vec<String>,
    /// Its variables.
    pub options: Options,
}

/// Options by their names, in the order in which they were written.
///
/// *Shape*: as JSON, a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options(pub Vec<(String, OptionSpec)>);

impl Options {
    /// The option of this name.
    pub fn get(&self, name: &str) -> Option<&OptionSpec> {
        let mut options = self.0.iter();
        options.find(|(of, _)| of == name).map(|(_, option)| option)
    }

    /// Every name that may be given: of options, and their aliases.
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

/// One option.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct OptionSpec {
    /// Its type; `str` where nothing is said.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it means, in paragraphs.
    pub description: Vec<String>,
    /// Whether it must be there.
    pub required: bool,
    /// What it is if nothing is said; of a `no_log` option only that there is something.
    pub default: Option<Value>,
    /// What it may be.
    pub choices: Option<Vec<Value>>,
    /// The type of a list's items.
    pub elements: Option<Kind>,
    /// What a map, or each map of a list, holds.
    pub options: Option<Options>,
    /// Whether its values are secrets.
    pub no_log: bool,
    /// Its other names. Ansible knows them in maps only: a variable has one name.
    pub aliases: Vec<String>,
    /// Whether a map that is missing is checked as an empty one.
    pub apply_defaults: bool,
}

/// A type of Ansible's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Kind {
    /// `str`: takes everything.
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
    /// `path`: takes everything.
    Path,
    /// `raw`: takes everything.
    Raw,
    /// `json` or `jsonarg`.
    Json,
    /// `bytes`: a size, as `10M`.
    Bytes,
    /// `bits`: the same in bits, as `10Mb`.
    Bits,
    /// Another word, for Ansible to judge.
    Other(String),
}

impl Kind {
    /// The type that a word names.
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

    /// Ansible's word for it.
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

    /// What is wanted, for a person.
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
