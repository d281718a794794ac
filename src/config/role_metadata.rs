//! Reads the metadata of roles from their folders, and checks variables against it.
//!
//! If a file cannot be read here, the role has a warning, and its variables are left to Ansible: a configuration is not
//! rejected because of a role that may work.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::config::Roles;
use crate::config::reserved::defect_of_name;
use crate::config::spanned::{Pairs, parse};
use crate::config::vars::VarValue;
use crate::model::argument_spec::{self, Defect, Spec};
use crate::model::run::Vars;
use crate::util::suggest::did_you_mean;

/// The maximum size of a YAML file of a role. People write these files.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The maximum number of warnings of a role. More would fill a screen.
const MAX_WARNINGS: usize = 20;

/// The kind of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleKind {
    /// A role under `alert/roles`.
    Alert,
    /// A role under `routine/roles`.
    Routine,
    /// A role of a collection, for alerts and for routine work.
    Collection,
}

impl RoleKind {
    /// Returns the name of the kind. For alert and routine roles, it is also the name of the folder.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Routine => "routine",
            Self::Collection => "collection",
        }
    }
}

/// The metadata of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    pub kind: RoleKind,
    /// Its name. Roles of different kinds may have the same name.
    pub name: String,
    pub folder: PathBuf,
    /// Its argument spec; `None` if it has none, or if it cannot be read.
    pub spec: Option<Spec>,
    /// Why files of it cannot be read, each as a sentence without a full stop.
    pub warnings: Vec<String>,
    /// The variables that its own `defaults` and `vars` set.
    sets: BTreeSet<String>,
    /// The variables that its own `vars` set: internal, and not to be changed.
    fixed: BTreeSet<String>,
    /// The roles that it depends on, by the names in its `meta/main`.
    depends: Vec<String>,
    /// Whether it may set more variables than are known here: it depends on roles, or its files cannot be read.
    is_open: bool,
}

/// All defects of variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarsError(pub Vec<Defect>);

impl std::error::Error for VarsError {}

impl VarsError {
    /// Returns the first wrong variable, and why it is wrong. The other defects follow in the text.
    pub fn first(&self) -> (String, String) {
        let Some((first, more)) = self.0.split_first() else {
            return ("vars".to_owned(), String::new());
        };
        let mut why = first.why.clone();
        for defect in more {
            let _ = write!(why, "; {defect}");
        }
        (first.path.clone(), why)
    }
}

impl fmt::Display for VarsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, defect) in self.0.iter().enumerate() {
            let between = if n == 0 { "" } else { "; " };
            write!(f, "{between}{defect}")?;
        }
        Ok(())
    }
}

impl Roles {
    /// Returns the metadata of the roles of this name: of one role, or of one of each kind.
    pub fn about(&self, name: &str) -> impl Iterator<Item = &About> {
        self.about.iter().filter(move |about| about.name == name)
    }

    /// Returns the variables that a known role requires and does not set itself. To check variables, the caller must
    /// know which of them the inventory sets.
    pub fn required_vars(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for about in &self.about {
            let options = about.spec.iter().flat_map(|spec| &spec.options.0);
            let required = options.filter(|(_, option)| {
                option.default.is_none() && (option.required || option.apply_defaults)
            });
            names.extend(
                required
                    .map(|(name, _)| name)
                    .filter(|name| !about.sets.contains(*name)),
            );
        }
        names.into_iter().cloned().collect()
    }

    /// Whether a variable is a secret (`no_log`) in the argument spec of one of these roles.
    pub fn is_secret(&self, roles: &[String], name: &str) -> bool {
        let specs = roles.iter().flat_map(|role| self.about(role));
        let mut options =
            specs.flat_map(|about| about.spec.iter().flat_map(|spec| &spec.options.0));
        options.any(|(of, option)| {
            option.no_log && (of == name || option.aliases.iter().any(|a| a == name))
        })
    }

    /// Checks that these roles accept these variables over the API: against their argument specs, and against the
    /// variables that they reserve. Variables are values here, not templates.
    ///
    /// `inventory` returns whether the inventory sets, or may set, a name for every host of the run.
    ///
    /// *Errors*: all defects, in the order of the roles.
    pub fn check_vars(
        &self,
        roles: &[String],
        vars: &Vars,
        inventory: &dyn Fn(&str) -> bool,
    ) -> Result<(), VarsError> {
        let mut defects: Vec<Defect> = Vec::new();
        let mut known: Vec<&str> = Vec::new();
        let mut all_known = true;
        for role in roles {
            let mut is_known = false;
            for about in self.about(role) {
                let Some(spec) = &about.spec else { continue };
                is_known = true;
                let elsewhere =
                    |name: &str| about.is_open || about.sets.contains(name) || inventory(name);
                for defect in argument_spec::check(&spec.options, vars, &elsewhere) {
                    if !defects.contains(&defect) {
                        defects.push(defect);
                    }
                }
            }
            for name in self.options(role) {
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            all_known &= is_known;
        }
        known.retain(|name| !self.not_over_api.contains_key(*name));
        for name in vars.keys() {
            let why = self.kept_from_api(roles, name).or_else(|| {
                let is_stranger = all_known && !known.contains(&name.as_str());
                is_stranger.then(|| unknown(roles, name, &known))
            });
            defects.extend(why.map(|why| Defect {
                path: format!("vars.{name}"),
                why,
            }));
        }
        if defects.is_empty() {
            Ok(())
        } else {
            Err(VarsError(defects))
        }
    }

    /// Returns the options of a role, and of the roles that it depends on.
    fn options(&self, role: &str) -> Vec<&str> {
        let (mut options, mut seen) = (Vec::new(), vec![role]);
        let mut at = 0;
        while let Some(role) = seen.get(at).copied() {
            at += 1;
            for about in self.about(role) {
                options.extend(about.spec.iter().flat_map(|spec| spec.options.names()));
                for role in &about.depends {
                    if !seen.contains(&role.as_str()) {
                        seen.push(role);
                    }
                }
            }
        }
        options
    }

    /// Returns why a variable must not be set over the API, if so: because of Ansible, or because the role declares it.
    fn kept_from_api(&self, roles: &[String], name: &str) -> Option<String> {
        if let Some(why) = defect_of_name(name) {
            return Some(format!("it {why}"));
        }
        if let Some(role) = self.not_over_api.get(name) {
            return Some(format!(
                "{role} does not accept it over the API (not_over_api in its meta/promansible.yml); set it in the configuration file or the inventory"
            ));
        }
        let mut of_run = roles.iter().flat_map(|role| self.about(role));
        let about = of_run.find(|about| about.fixed.contains(name))?;
        let is_option = about.spec.iter().flat_map(|spec| spec.options.names());
        if is_option.into_iter().any(|option| option == name) {
            return None;
        }
        Some(format!(
            "{} sets it in its own vars, so it cannot be changed; leave it out",
            about.name
        ))
    }
}

/// Returns why a variable is rejected that is in none of the specs of these roles.
fn unknown(roles: &[String], name: &str, known: &[&str]) -> String {
    let help = match known {
        [] => "it has no variables".to_owned(),
        known => did_you_mean(name, known, "the variables are"),
    };
    match roles {
        [role] => format!("{role} has no such variable; {help}"),
        _ => format!("none of these roles has such a variable; {help}"),
    }
}

/// The relevant part of the file `meta/main.yml` of a role.
#[derive(Default, Deserialize)]
struct MetaText {
    #[serde(default)]
    argument_specs: Option<VarValue>,
    #[serde(default)]
    dependencies: Option<VarValue>,
}

#[derive(Default, Deserialize)]
struct SpecsText {
    #[serde(default)]
    argument_specs: Option<VarValue>,
}

/// Reads the metadata of the role in a folder.
pub(super) fn about(kind: RoleKind, name: &str, folder: PathBuf) -> About {
    let mut about = About {
        kind,
        name: name.to_owned(),
        folder,
        spec: None,
        warnings: Vec::new(),
        sets: BTreeSet::new(),
        fixed: BTreeSet::new(),
        depends: Vec::new(),
        is_open: false,
    };
    let meta: Option<MetaText> = about.yaml("meta/main").unwrap_or(None);
    let meta = meta.unwrap_or_default();
    let depends = meta.dependencies.map(|VarValue(value)| value);
    about.is_open |= !depends
        .as_ref()
        .is_none_or(|value| value.is_null() || *value == Value::Array(Vec::new()));
    about.depends = depends.as_ref().map(names).unwrap_or_default();
    // As in Ansible: the separate file takes precedence, and the other is ignored.
    let specs = match about.yaml::<SpecsText>("meta/argument_specs") {
        Ok(Some(specs)) => specs.argument_specs,
        Ok(None) => meta.argument_specs,
        Err(Unread) => None,
    };
    if let Some(VarValue(specs)) = specs {
        let read = argument_spec::read(&specs);
        about.spec = read.main;
        about.warnings.extend(read.warnings);
    }
    about.sets = about.names_in("defaults/main");
    about.fixed = about.names_in("vars/main");
    about.sets.extend(about.fixed.iter().cloned());
    about.warnings.truncate(MAX_WARNINGS);
    about
}

/// Returns the names of the roles in a list of dependencies.
fn names(dependencies: &Value) -> Vec<String> {
    let name = |item: &Value| {
        let named = ["role", "name"].iter().find_map(|key| item.get(key));
        named.unwrap_or(item).as_str().map(str::to_owned)
    };
    let items = dependencies.as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(name).collect()
}

/// The file exists, and cannot be read. This was reported.
struct Unread;

impl About {
    /// Whether a variable of this name is an option of the role, or has a default.
    pub(super) fn has(&self, name: &str) -> bool {
        let mut options = self.spec.iter().flat_map(|spec| spec.options.names());
        options.any(|option| option == name) || self.sets.contains(name)
    }

    /// Returns the names of the variables that a file sets.
    fn names_in(&mut self, file: &str) -> BTreeSet<String> {
        let set: Option<Pairs<IgnoredAny>> = self.yaml(file).unwrap_or(None);
        let set = set.unwrap_or_default().0.into_iter();
        set.map(|(name, _)| name.value).collect()
    }

    /// Reads a file, if it exists and is not empty. The name has no extension.
    fn yaml<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Unread> {
        for ending in [".yml", ".yaml", ".json", ""] {
            let file = format!("{name}{ending}");
            let path = self.folder.join(&file);
            let why = match text(&path) {
                Ok(text) => match parse(&file, &text) {
                    Ok(read) => return Ok(read),
                    Err(e) => e.first_line(),
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                // Ansible reads all files in the folder.
                Err(e) if e.kind() == io::ErrorKind::IsADirectory => {
                    self.is_open = true;
                    return Ok(None);
                }
                Err(e) => format!("{file} cannot be read: {e}"),
            };
            self.warnings.push(why);
            self.is_open = true;
            return Err(Unread);
        }
        Ok(None)
    }
}

/// Reads the text of a file, up to the maximum size.
fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        let why = format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
