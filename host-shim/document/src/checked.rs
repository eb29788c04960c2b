//! A schema's verdict and its reader's, together.

use serde_json::Value;

use serde::de::DeserializeOwned;

use crate::document::Document;
use crate::fault::Fault;

impl Document {
    /// Checks the document against a JSON Schema, turns it into a type and has `further` check that. Where the schema
    /// and `further` find fault with the same value, what the latter says is told: that a text does not match a pattern
    /// is the least that can be said about it.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the text.
    pub fn checked<T: DeserializeOwned>(
        &self,
        schema: &Value,
        further: impl FnOnce(&T) -> Vec<Fault>,
    ) -> Result<T, Vec<Fault>> {
        let mut faults = self.validate(schema).err().unwrap_or_default();
        match self.deserialize() {
            Ok(value) => {
                let more = further(&value);
                if faults.is_empty() && more.is_empty() {
                    return Ok(value);
                }
                faults.retain(|fault| more.iter().all(|m| m.pointer != fault.pointer));
                faults.extend(more);
            }
            // Where the type stops at one fault, the schema has them all.
            Err(fault) if faults.is_empty() => faults.push(fault),
            Err(_) => {}
        }
        faults.sort_by(|a, b| (a.position, &a.pointer).cmp(&(b.position, &b.pointer)));
        Err(faults)
    }
}
