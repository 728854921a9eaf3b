//! `server.*`: who this is and which protocol is spoken.

use serde_json::{Value, json};

use super::{Answer, Refusal, Session, Version};
use crate::SOFTWARE;

impl Session {
    /// `server.version`. A second one changes nothing.
    pub(super) fn negotiate(&mut self, params: Value) -> Answer {
        // More parameters than are known are for versions to come.
        let asked = match params {
            Value::Array(mut given) if given.len() > 1 => Some(given.swap_remove(1)),
            Value::Object(mut given) => given.remove("protocol_version"),
            Value::Array(_) | Value::Null => None,
            _ => {
                return Err(Refusal::invalid_params(
                    "they are neither a list nor an object",
                ));
            }
        };
        let (min, max) = range(asked.as_ref()).ok_or_else(|| {
            Refusal::invalid_params("`protocol_version` is not \"1.4\" or [\"1.4\", \"1.6\"]")
        })?;
        let own = Version::SPOKEN;
        let common = match self.version {
            Some(agreed) => own.iter().find(|(version, _)| *version == agreed),
            None => own
                .iter()
                .rev()
                .find(|(version, _)| (min..=max).contains(version)),
        };
        let Some((version, text)) = common else {
            self.is_over = true;
            let spoken = own.map(|(_, text)| text).join(", ");
            let why = format!("unsupported protocol version; this server speaks {spoken}");
            return Err(Refusal::bad_request(why));
        };
        self.version = Some(*version);
        Ok(json!([SOFTWARE, text]))
    }

    /// `server.features`.
    pub(super) fn features(&self) -> Answer {
        let genesis = self.server.shared.read(|index| index.block_hash(0));
        let (first, last) = (
            Version::SPOKEN[0].1,
            Version::SPOKEN[Version::SPOKEN.len() - 1].1,
        );
        Ok(json!({
            "genesis_hash": genesis.map(|hash| hash.to_string()),
            "hosts": { "127.0.0.1": { "tcp_port": self.server.port } },
            "protocol_max": last,
            "protocol_min": first,
            "pruning": null,
            "server_version": SOFTWARE,
            "hash_function": "sha256",
        }))
    }
}

/// The versions that a client speaks: one, or the first and the last.
fn range(asked: Option<&Value>) -> Option<(Version, Version)> {
    match asked {
        None | Some(Value::Null) => range(Some(&json!("1.4"))),
        Some(Value::String(only)) => Version::parse(only).map(|only| (only, only)),
        Some(Value::Array(pair)) => match pair.as_slice() {
            [Value::String(min), Value::String(max)] => {
                Some((Version::parse(min)?, Version::parse(max)?))
            }
            _ => None,
        },
        Some(_) => None,
    }
}
