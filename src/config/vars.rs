//! Reads variables: YAML values as JSON, or an error if JSON cannot represent them exactly.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::run::Vars;

/// A value that JSON represents exactly.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VarValue(pub(super) Value);

/// Parses variables from a text, in the form of `vars`.
///
/// *Errors*: as a sentence, with the place.
pub fn parse_vars(yaml: &str) -> Result<Vars, String> {
    let VarValue(value) =
        serde_saphyr::from_str(yaml).map_err(|e| e.without_snippet().to_string())?;
    match value {
        Value::Object(vars) => Ok(vars),
        Value::Null => Ok(Vars::new()),
        _ => Err("expected variables, as NAME: VALUE".to_owned()),
    }
}

/// Returns the variables of a field of a JSON body; none if it is missing.
///
/// *Errors*: as a sentence, without the name of the field.
pub(super) fn vars_of(value: Value) -> Result<Vars, String> {
    match value {
        Value::Null => Ok(Vars::new()),
        Value::Object(vars) => Ok(vars),
        other => Err(format!(r#"found {other}; expected {{"NAME": VALUE}}"#)),
    }
}

/// From here on, a float no longer represents every whole number.
const LARGEST_EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserialize<'de> for VarValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = VarValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value that JSON can hold")
            }

            fn visit_unit<E: de::Error>(self) -> Result<VarValue, E> {
                Ok(VarValue(Value::Null))
            }

            fn visit_none<E: de::Error>(self) -> Result<VarValue, E> {
                Ok(VarValue(Value::Null))
            }

            fn visit_some<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<VarValue, D::Error> {
                VarValue::deserialize(deserializer)
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<VarValue, E> {
                Ok(VarValue(Value::Bool(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<VarValue, E> {
                Ok(VarValue(value.into()))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<VarValue, E> {
                Ok(VarValue(value.into()))
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<VarValue, E> {
                Err(inexact())
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<VarValue, E> {
                Err(inexact())
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<VarValue, E> {
                // A whole number arrives here only if it does not fit into any integer type.
                match Number::from_f64(value) {
                    Some(number) if value.abs() < LARGEST_EXACT_FLOAT => {
                        Ok(VarValue(Value::Number(number)))
                    }
                    _ => Err(inexact()),
                }
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<VarValue, E> {
                Ok(VarValue(value.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<VarValue, A::Error> {
                let mut items = Vec::new();
                while let Some(VarValue(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(VarValue(Value::Array(items)))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VarValue, A::Error> {
                let mut object = Map::new();
                while let Some(Key(key)) = map.next_key()? {
                    let VarValue(value) = map.next_value()?;
                    if object.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    object.insert(key, value);
                }
                Ok(VarValue(Value::Object(object)))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

fn inexact<E: de::Error>() -> E {
    E::custom("this number would lose digits on its way to Ansible: put it in quotes")
}

/// A key that is a string; a number or a boolean is not a JSON key.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match VarValue::deserialize(deserializer)?.0 {
            Value::String(key) => Ok(Self(key)),
            other => Err(de::Error::custom(format_args!(
                "the key {other} is not a string: put it in quotes"
            ))),
        }
    }
}
