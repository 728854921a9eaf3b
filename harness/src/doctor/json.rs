//! The report of `swaprig doctor` for programs.

use serde_json::{Value, json};

use super::{Report, RoleReport};
use crate::binary::Stamp;

/// Raise it when a field changes its meaning or goes.
const VERSION: u32 = 1;

impl Report {
    /// The same for programs. Sizes are in bytes.
    pub fn to_json(&self) -> Value {
        let roles: Vec<Value> = self.roles.iter().map(RoleReport::to_json).collect();
        let memory = self.memory.map(
            |memory| json!({ "total_bytes": memory.total, "available_bytes": memory.available }),
        );
        let leftovers = self
            .leftovers
            .as_ref()
            .map(|left| json!({ "dir": left.dir, "runs": left.runs, "bytes": left.bytes }));
        json!({
            "version": VERSION,
            "ready": self.is_ready(),
            "roles": roles,
            "cores": self.cores,
            "memory": memory,
            "suggested_jobs": self.suggested_jobs(),
            "in_order": self.in_order,
            "troubles": self.troubles,
            "leftovers": leftovers,
        })
    }
}

impl RoleReport {
    fn to_json(&self) -> Value {
        let tried = self.passed_over.iter();
        let tried: Vec<Value> = tried
            .map(|tried| json!({ "place": tried.place, "found": tried.found.to_string() }))
            .collect();
        let mut role = json!({
            "role": self.role,
            "usable": self.is_usable(),
            "passed_over": tried,
        });
        match &self.found {
            Ok(binary) => {
                role["program"] = json!(Stamp::from(binary));
                role["intact"] = match &self.intact {
                    Some(Ok(intact)) => json!(intact),
                    Some(Err(error)) => json!(error),
                    None => Value::Null,
                };
            }
            Err(error) => role["missing"] = json!(error.to_string()),
        }
        role
    }
}
