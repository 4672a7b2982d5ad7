//! The JSON Schema of the file, for editors.

use schemars::generate::SchemaSettings;

use crate::file;

/// The JSON Schema (draft 2020-12) of a configuration file, as indented JSON.
pub fn schema() -> String {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<file::Root>();
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
