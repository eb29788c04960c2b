//! The JSON Schema of the protocol.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{ConfigVerdict, ControlRequest, HandedOver, SessionList, SystemReport, TestReport};

/// JSON Schema (draft 2020-12) of the requests, with those of the answers by the
/// command they answer, in `x-answers`.
pub fn control_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let answers = json!({
        "check_config": generator.subschema_for::<ConfigVerdict>(),
        "check_system": generator.subschema_for::<SystemReport>(),
        "run_tests": generator.subschema_for::<TestReport>(),
        "sessions": generator.subschema_for::<SessionList>(),
        "hand_over": generator.subschema_for::<HandedOver>(),
    });
    let mut schema = generator.into_root_schema_for::<ControlRequest>();
    schema.insert("x-answers".to_owned(), answers);
    schema.to_value()
}
