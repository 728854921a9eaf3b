//! The types of the language: what a reference can stand for and what an output is made of.

use super::words::with_article;

/// What a value is. Values of different types are never mixed up; only `Sat` may stand where `Msat` is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Type {
    /// An amount in satoshi.
    Sat,
    /// An amount in millisatoshi.
    Msat,
    /// An amount of an issued asset.
    Units,
    /// The height of a block.
    Height,
    /// A number of things.
    Count,
    /// `true` or `false`.
    Flag,
    /// Any text.
    Text,
    /// A payment hash.
    Hash,
    /// The preimage of a payment hash.
    Preimage,
    /// The id of a transaction.
    Txid,
    /// One word of a fixed list.
    Word(&'static WordType),
    /// What a step bound: a channel, an invoice.
    Entity(&'static EntityType),
}

/// A fixed list of words, such as the states of a channel.
#[derive(Debug)]
pub struct WordType {
    /// What one of them is called, such as "channel state".
    pub name: &'static str,
    /// Each word with its meaning.
    pub words: &'static [(&'static str, &'static str)],
}

/// A thing that a step binds with `as`.
#[derive(Debug)]
pub struct EntityType {
    /// What it is called, such as "invoice".
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// What `$name.field` can read of it.
    pub fields: &'static [EntityField],
    /// The type that it may also stand for, and whose fields it has, too.
    pub parent: Option<&'static EntityType>,
}

/// A field of an output.
#[derive(Debug)]
pub struct EntityField {
    /// The name after the dot.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    /// Its type.
    pub ty: Type,
    /// Whether it is looked up when it is used, because it changes after the step or is known only later.
    pub live: bool,
}

impl EntityType {
    /// Its fields, those of its parent first.
    pub fn all_fields(&self) -> Vec<&'static EntityField> {
        let mut fields = self.parent.map(EntityType::all_fields).unwrap_or_default();
        fields.extend(self.fields);
        fields
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static EntityField> {
        self.all_fields()
            .into_iter()
            .find(|field| field.name == name)
    }

    /// Whether it may stand where `wanted` is wanted.
    pub fn is(&self, wanted: &EntityType) -> bool {
        self.name == wanted.name || self.parent.is_some_and(|parent| parent.is(wanted))
    }
}

impl WordType {
    /// The words without their meaning.
    pub fn list(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.words.iter().map(|(word, _)| *word)
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Word(a), Type::Word(b)) => a.name == b.name,
            (Type::Entity(a), Type::Entity(b)) => a.name == b.name,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl Eq for Type {}

impl Type {
    /// What a value of it is called, without an article.
    pub fn name(self) -> &'static str {
        match self {
            Type::Sat => "amount in sat",
            Type::Msat => "amount in msat",
            Type::Units => "amount in units",
            Type::Height => "block height",
            Type::Count => "number",
            Type::Flag => "`true` or `false`",
            Type::Text => "text",
            Type::Hash => "payment hash",
            Type::Preimage => "preimage",
            Type::Txid => "transaction id",
            Type::Word(words) => words.name,
            Type::Entity(entity) => entity.name,
        }
    }

    /// What a value of it is called, with its article.
    pub fn a_name(self) -> String {
        match self {
            Type::Flag => self.name().to_owned(),
            other => with_article(other.name()),
        }
    }

    /// Whether a value of type `found` may stand where this type is wanted.
    pub fn accepts(self, found: Type) -> bool {
        match (self, found) {
            (Type::Msat, Type::Sat) => true,
            (Type::Entity(wanted), Type::Entity(found)) => found.is(wanted),
            (wanted, found) => wanted == found,
        }
    }

    /// Whether two values can be compared by `expect`.
    pub fn comparable(self, other: Type) -> bool {
        self.accepts(other) || other.accepts(self)
    }

    /// Whether one value of it can be less than another.
    pub fn is_ordered(self) -> bool {
        matches!(
            self,
            Type::Sat | Type::Msat | Type::Units | Type::Height | Type::Count
        )
    }
}
