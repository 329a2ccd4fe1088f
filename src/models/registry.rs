//! The model families by their names. One is a file with its configuration, the names of its tensors and its [`Family`], and a line
//! in [`FAMILIES`].

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::family::Family;
use super::{bert, elmo_family, ernie, ernie_m, rembert, xlm_roberta};

/// Every family, in the order that messages name them.
pub static FAMILIES: &[&Family] =
    &[&ernie_m::FAMILY, &ernie::FAMILY, &rembert::FAMILY, &bert::FAMILY, &xlm_roberta::FAMILY, &elmo_family::FAMILY];

impl Family {
    /// The family of a `config.json`, by its `model_type`.
    pub fn of_model_type(model_type: &str) -> Option<&'static Self> {
        let plain = |word: &str| word.replace('-', "_");
        FAMILIES.iter().copied().find(|family| plain(family.model_type) == plain(model_type))
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = FAMILIES.iter().copied().find(|family| family.name == name);
        found.ok_or_else(|| Error::custom(format!("`{name}` is no model family")))
    }
}

impl JsonSchema for Family {
    fn schema_name() -> Cow<'static, str> {
        "Family".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one =
            |family: &&Family| json!({ "description": family.description, "type": "string", "const": family.name });
        json_schema!({ "oneOf": FAMILIES.iter().map(one).collect::<Vec<_>>() })
    }
}
