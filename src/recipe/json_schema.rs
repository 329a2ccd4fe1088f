//! The JSON Schema of recipes, derived from the structs in [`super::schema`].

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value, json};

use super::schema::Recipe;

/// The JSON Schema (draft 2020-12) of a whole recipe, with everything it extends merged in: what [`super::check`]
/// walks. It has no `$ref`, no `null` (TOML has none), and a type for every key.
pub fn recipe_schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let settings = settings.with_transform(RecursiveTransform(without_null));
    Value::from(settings.into_generator().into_root_schema_for::<Recipe>())
}

/// The JSON Schema (draft 2020-12) of a recipe file, for editors: `recipe_schema` and `extends`. A file that extends
/// another may leave out keys that a whole recipe must have.
pub fn file_schema() -> Value {
    let mut schema = recipe_schema();
    schema["title"] = json!("Kiln recipe");
    let mut whole = json!({ "required": take_required(&mut schema), "properties": {} });
    if let Some(sections) = schema["properties"].as_object_mut() {
        for (name, section) in sections.iter_mut() {
            let required = take_required(section);
            if !required.is_null() {
                whole["properties"][name] = json!({ "required": required });
            }
        }
        sections.shift_insert(0, "extends".to_string(), extends());
    }
    schema["if"] = json!({ "required": ["extends"] });
    schema["else"] = whole;
    schema
}

fn take_required(schema: &mut Value) -> Value {
    schema.as_object_mut().and_then(|object| object.shift_remove("required")).unwrap_or_default()
}

/// `extends` is no field of [`Recipe`]: it is gone once the files are merged.
fn extends() -> Value {
    json!({
        "description": "Another recipe that this one starts from: a path relative to this file, or the name of a \
            shipped recipe. What this file says wins, key by key; lists are replaced whole.",
        "type": "string",
        "minLength": 1
    })
}

/// An optional key may be left out, but cannot be null: takes `null` out of types and defaults. Also takes out the
/// defaults of whole sections, which only repeat those of their keys.
fn without_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_string(), only);
        }
    }
    // Only an optional key has choices: its own schema, and null.
    if let Some(Value::Array(choices)) = object.remove("anyOf") {
        let own = choices.into_iter().find(|choice| choice["type"] != "null");
        for (key, value) in own.as_ref().and_then(Value::as_object).into_iter().flatten() {
            object.entry(key).or_insert(value.clone());
        }
    }
    if object.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        object.shift_remove("default");
    }
}
