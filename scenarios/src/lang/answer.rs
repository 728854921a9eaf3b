//! What `http` and `grpc` bind: what a server has answered, with what was taken from it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use swaprig_harness::grpc::method;
use swaprig_harness::server::ServerSpec;
use toml::de::{DeTable, DeValue};

use super::json::type_taken;
use super::messages::shape;
use super::types::{EntityField, EntityType, Type};
use super::value::Value;

/// What a server has answered.
#[derive(Debug, Clone)]
pub struct Answer {
    fields: BTreeMap<String, Value>,
    kind: &'static EntityType,
}

impl Answer {
    /// What every answer over HTTP has.
    pub const BASE: &'static EntityType = &EntityType {
        name: "answer",
        doc: "What a server has answered. It has the fields that `take` names, too.",
        fields: &[
            EntityField {
                name: "status",
                doc: "The HTTP status, such as 200.",
                ty: Type::Count,
                live: false,
            },
            EntityField {
                name: "body",
                doc: "The whole body, as text.",
                ty: Type::Text,
                live: false,
            },
        ],
        parent: None,
    };

    /// What every reply over gRPC has.
    pub const REPLY: &'static EntityType = &EntityType {
        name: "reply",
        doc: "What a server has replied over gRPC. It has the fields that `take` names, too, and where the server \
              has a `proto`, those of the message that are single values.",
        fields: &[EntityField {
            name: "json",
            doc: "The whole reply, as JSON: bytes are hexadecimal digits, enum values their names.",
            ty: Type::Text,
            live: false,
        }],
        parent: None,
    };

    /// An answer over HTTP with what was taken from it.
    pub fn new(status: u16, body: String, taken: Vec<(String, Value)>) -> Self {
        let shape = taken.iter().map(|(name, value)| (name.clone(), value.ty()));
        let kind = kind(Self::BASE, shape.collect());
        let own = [
            ("status".to_owned(), Value::Count(status.into())),
            ("body".to_owned(), Value::Text(body)),
        ];
        let fields = own.into_iter().chain(taken).collect();
        Answer { fields, kind }
    }

    /// A reply over gRPC with its fields and what was taken from it. A field of the shape without a value is absent.
    pub fn reply(
        json: String,
        shape: Vec<(String, Type)>,
        values: impl IntoIterator<Item = (String, Value)>,
        taken: Vec<(String, Value)>,
    ) -> Self {
        let types = taken.iter().map(|(name, value)| (name.clone(), value.ty()));
        let kind = kind(Self::REPLY, under(shape, types.collect()));
        let mut fields: BTreeMap<String, Value> = values.into_iter().chain(taken).collect();
        fields.insert("json".to_owned(), Value::Text(json));
        Answer { fields, kind }
    }

    /// The type of what an `http` step with this table binds, by its `take`.
    pub fn kind_of(table: &DeTable<'_>, _servers: &[ServerSpec]) -> Option<&'static EntityType> {
        Some(kind(Self::BASE, taken(table)))
    }

    /// The type of what a `grpc` step with this table binds, by the server's descriptors and by `take`.
    pub fn kind_of_reply(
        table: &DeTable<'_>,
        servers: &[ServerSpec],
    ) -> Option<&'static EntityType> {
        let text = |key: &str| match table.get(key)?.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        };
        let known = || {
            let (name, rpc) = (text("grpc")?, text("rpc")?);
            let server = servers.iter().find(|server| server.name == name)?;
            let method = method(server.api.as_ref()?, &rpc).ok()?;
            Some(shape(&method.output()))
        };
        let fields = under(known().unwrap_or_default(), taken(table));
        Some(kind(Self::REPLY, fields))
    }
}

/// The fields that `take` names.
fn taken(table: &DeTable<'_>) -> Vec<(String, Type)> {
    let Some(DeValue::Table(take)) = table.get("take").map(|node| node.get_ref()) else {
        return Vec::new();
    };
    take.iter()
        .filter_map(|(key, value)| Some((key.get_ref().to_string(), type_taken(value.get_ref())?)))
        .collect()
}

/// The fields of a message with those that were taken over them: the file's word on a type counts.
fn under(message: Vec<(String, Type)>, taken: Vec<(String, Type)>) -> Vec<(String, Type)> {
    let own = |name: &str| name == "json" || taken.iter().any(|(other, _)| other == name);
    let mut fields: Vec<_> = message.into_iter().filter(|(name, _)| !own(name)).collect();
    fields.extend(taken);
    fields
}

/// The type of an answer with these fields beside those of its base. Types live as long as the program, so each is made
/// once.
fn kind(base: &'static EntityType, fields: Vec<(String, Type)>) -> &'static EntityType {
    static MADE: Mutex<BTreeMap<String, &'static EntityType>> = Mutex::new(BTreeMap::new());
    if fields.is_empty() {
        return base;
    }
    let types = fields
        .iter()
        .map(|(name, ty)| format!("{name}: {}, ", ty.name()));
    let shape: String = std::iter::once(format!("{} ", base.name))
        .chain(types)
        .collect();
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(shape).or_insert_with(|| {
        let field = |(name, ty): (String, Type)| EntityField {
            name: name.leak(),
            doc: "Taken from the answer.",
            ty,
            live: false,
        };
        let fields: Vec<EntityField> = fields.into_iter().map(field).collect();
        Box::leak(Box::new(EntityType {
            name: base.name,
            doc: base.doc,
            fields: fields.leak(),
            parent: Some(base),
        }))
    })
}

impl super::value::Entity for Answer {
    fn entity_type(&self) -> &'static EntityType {
        self.kind
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.fields.get(name).cloned()
    }

    fn look<'a>(
        &'a self,
        _field: &'a str,
        _world: &'a swaprig_harness::World,
    ) -> crate::run::BoxFuture<'a, Result<Option<Value>, crate::run::StepFailure>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    fn parent(&self) -> Option<&dyn std::any::Any> {
        None
    }
}

/// An [`Answer`] over gRPC.
#[derive(Debug, Clone)]
pub struct Reply(pub Answer);

impl super::value::Bind for Reply {
    const ENTITY: Option<&'static EntityType> = Some(Answer::REPLY);

    fn bind(self) -> Option<Value> {
        self.0.bind()
    }
}

impl super::value::Bind for Answer {
    const ENTITY: Option<&'static EntityType> = Some(Answer::BASE);

    fn bind(self) -> Option<Value> {
        Some(Value::Entity(std::sync::Arc::new(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_of_an_answer_is_made_once() {
        let fields = || vec![("id".to_owned(), Type::Text)];
        let made = || kind(Answer::BASE, fields());
        assert!(std::ptr::eq(made(), made()));
        assert!(made().field("status").is_some() && made().field("id").is_some());
        let reply = kind(Answer::REPLY, fields());
        assert!(reply.field("status").is_none() && reply.field("json").is_some());
    }
}
