//! Checks messages by the protovalidate constraints that their .proto file states.
//!
//! The constraints are read from the descriptors, so that a rule is written once, where clients see it. A rule that is
//! annotated and not known here is an error, never ignored.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, ExtensionDescriptor, FieldDescriptor, Kind,
    MapKey, MessageDescriptor, ReflectMessage, Value,
};
use regex_lite::Regex;

/// The constraints of `proto/`, read and compiled on first use.
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let read = DescriptorPool::decode(crate::DESCRIPTORS)
        .map_err(|e| e.to_string())
        .and_then(|pool| Rules::read(&pool).map_err(|e| e.to_string()));
    match read {
        Ok(rules) => rules,
        // The descriptors are part of the executable: a test reads them, nobody's input changes them.
        Err(e) => panic!("the constraints in proto/ cannot be enforced: {e}"),
    }
});

/// The most violations that are told of one message.
const MAX_TOLD: usize = 16;
/// The most characters that are shown of a text, escaped.
const MAX_EXCERPT: usize = 80;

/// A message that has a name, by which its constraints are found: every message of this crate.
pub trait Checked: Message + Name {}

impl<M: Message + Name> Checked for M {}

/// Checks a message of this crate, and the messages in it, by its constraints.
///
/// # Errors
/// All that is wrong with it, for the sender to read: the message of `INVALID_ARGUMENT`. A message that is none of this
/// crate's is refused, too.
pub fn check<M: Checked>(message: &M) -> Result<(), Violations> {
    RULES.check_encoded(&M::full_name(), &message.encode_to_vec())
}

/// One thing that is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Where: the name of the field, such as `amount` or, in a message inside, `swap.htlc.value`.
    pub field: String,
    /// What it was and what is wanted, such as `0 is not greater than 0`.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// All that is wrong with a message, sorted by field. Its text is ASCII and bounded, whatever was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violations {
    told: Vec<Violation>,
    more: usize,
}

impl Violations {
    /// The violations, sorted by field; at most 16.
    pub fn told(&self) -> &[Violation] {
        &self.told
    }

    fn new(mut all: Vec<Violation>) -> Violations {
        all.sort();
        let more = all.len().saturating_sub(MAX_TOLD);
        all.truncate(MAX_TOLD);
        Violations { told: all, more }
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, violation) in self.told.iter().enumerate() {
            write!(f, "{}{violation}", if n == 0 { "" } else { "; " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// An annotation in a .proto file that cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct RuleError {
    /// The full name of the field or message.
    pub at: String,
    /// What is wrong with its annotation.
    pub problem: String,
}

/// The constraints of all messages of a descriptor pool.
#[derive(Debug)]
pub struct Rules {
    messages: HashMap<String, MessageRules>,
}

#[derive(Debug)]
struct MessageRules {
    descriptor: MessageDescriptor,
    fields: Vec<(FieldDescriptor, Vec<Rule>)>,
    /// Fields that are messages: looked into.
    inner: Vec<FieldDescriptor>,
}

#[derive(Debug)]
enum Rule {
    Gt(u64),
    Lte(u64),
    MaxLen(u64),
    Pattern(Regex),
    Uuid,
    DefinedOnly(EnumDescriptor),
}

impl Rules {
    /// Reads the constraints of every message of a pool that has `buf/validate/validate.proto`.
    ///
    /// # Errors
    /// When an annotation says what is not known here, does not fit its field, or has a pattern that does not compile.
    pub fn read(pool: &DescriptorPool) -> Result<Rules, RuleError> {
        let extension = pool
            .get_extension_by_name("buf.validate.field")
            .ok_or_else(|| error("buf.validate.field", "this extension is not in the pool"))?;
        let messages = pool
            .all_messages()
            .filter(|message| !message.package_name().starts_with("google.protobuf"))
            .map(|message| {
                let rules = MessageRules::read(&message, &extension)?;
                Ok((message.full_name().to_owned(), rules))
            })
            .collect::<Result<_, _>>()?;
        Ok(Rules { messages })
    }

    /// Whether a field, by its message's full name and its own, has a rule.
    pub fn has_rule(&self, message: &str, field: &str) -> bool {
        self.messages.get(message).is_some_and(|rules| {
            rules
                .fields
                .iter()
                .any(|(f, rules)| f.name() == field && !rules.is_empty())
        })
    }

    /// Checks a message by its full name and its encoding.
    ///
    /// # Errors
    /// What is wrong with it; also when it is unknown or does not decode.
    pub fn check_encoded(&self, full_name: &str, encoded: &[u8]) -> Result<(), Violations> {
        let refuse = |problem: &str| {
            let field = full_name.to_owned();
            let problem = problem.to_owned();
            Violations::new(vec![Violation { field, problem }])
        };
        let rules = self.messages.get(full_name);
        let rules = rules.ok_or_else(|| refuse("this message is not known"))?;
        let message = DynamicMessage::decode(rules.descriptor.clone(), encoded)
            .map_err(|_| refuse("this message does not decode"))?;
        let mut violations = Vec::new();
        self.check(&message, "", &mut violations);
        match violations.is_empty() {
            true => Ok(()),
            false => Err(Violations::new(violations)),
        }
    }

    /// Recursion ends where prost's does when it decodes: 100 messages deep.
    fn check(&self, message: &DynamicMessage, prefix: &str, violations: &mut Vec<Violation>) {
        let Some(rules) = self.messages.get(message.descriptor().full_name()) else {
            return;
        };
        for (field, constraints) in &rules.fields {
            // As protovalidate: a field that can be absent, and is, breaks nothing.
            if field.supports_presence() && !message.has_field(field) {
                continue;
            }
            let value = message.get_field(field);
            for problem in constraints.iter().filter_map(|rule| rule.broken_by(&value)) {
                let field = format!("{prefix}{}", field.name());
                violations.push(Violation { field, problem });
            }
        }
        for field in &rules.inner {
            self.check_inner(message, field, prefix, violations);
        }
    }

    fn check_inner(
        &self,
        message: &DynamicMessage,
        field: &FieldDescriptor,
        prefix: &str,
        violations: &mut Vec<Violation>,
    ) {
        if !message.has_field(field) {
            return;
        }
        let name = field.name();
        match message.get_field(field).as_ref() {
            Value::Message(inner) => self.check(inner, &format!("{prefix}{name}."), violations),
            Value::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    if let Value::Message(inner) = item {
                        self.check(inner, &format!("{prefix}{name}[{n}]."), violations);
                    }
                }
            }
            Value::Map(entries) => {
                for (key, item) in entries {
                    if let Value::Message(inner) = item {
                        let key = map_key(key);
                        self.check(inner, &format!("{prefix}{name}[{key}]."), violations);
                    }
                }
            }
            _ => {}
        }
    }
}

impl MessageRules {
    fn read(
        message: &MessageDescriptor,
        extension: &ExtensionDescriptor,
    ) -> Result<MessageRules, RuleError> {
        no_other_rules(message.full_name(), &message.options(), extension)?;
        for oneof in message.oneofs() {
            no_other_rules(oneof.full_name(), &oneof.options(), extension)?;
        }
        let mut fields = Vec::new();
        let mut inner = Vec::new();
        for field in message.fields() {
            let rules = field_rules(&field, extension)?;
            if !rules.is_empty() {
                fields.push((field.clone(), rules));
            }
            if matches!(field.kind(), Kind::Message(_)) {
                inner.push(field);
            }
        }
        Ok(MessageRules {
            descriptor: message.clone(),
            fields,
            inner,
        })
    }
}

/// Fails if options carry rules of protovalidate by anything else than the extension for fields, such as those for
/// messages and oneofs.
fn no_other_rules(
    at: &str,
    options: &DynamicMessage,
    extension: &ExtensionDescriptor,
) -> Result<(), RuleError> {
    for (other, _) in options.extensions() {
        if other.package_name() == extension.package_name() && other != *extension {
            return Err(error(at, format!("{} is not supported", other.full_name())));
        }
    }
    match options.unknown_fields().next() {
        None => Ok(()),
        Some(unknown) => {
            let number = unknown.number();
            Err(error(at, format!("option {number} is not known")))
        }
    }
}

fn field_rules(
    field: &FieldDescriptor,
    extension: &ExtensionDescriptor,
) -> Result<Vec<Rule>, RuleError> {
    let at = field.full_name();
    let options = field.options();
    no_other_rules(at, &options, extension)?;
    if !options.has_extension(extension) {
        return Ok(Vec::new());
    }
    let value = options.get_extension(extension);
    let by_type = named_fields(at, "field", value.as_ref())?;
    if field.is_list() || field.is_map() {
        return Err(error(at, "rules for repeated fields are not supported"));
    }
    let mut rules = Vec::new();
    for (kind, value) in by_type {
        let fits = match field.kind() {
            Kind::Uint32 => kind == "uint32",
            Kind::Uint64 => kind == "uint64",
            Kind::String => kind == "string",
            Kind::Enum(_) => kind == "enum",
            _ => false,
        };
        if !fits {
            let have = field.kind();
            return Err(error(
                at,
                format!("rules `{kind}` are not for a field of type {have:?}"),
            ));
        }
        for (name, value) in named_fields(at, &kind, &value)? {
            rules.extend(Rule::read(field, &kind, &name, &value)?);
        }
    }
    consistent(at, &rules)?;
    Ok(rules)
}

/// What is set in a message of rules, by name.
fn named_fields(at: &str, of: &str, value: &Value) -> Result<Vec<(String, Value)>, RuleError> {
    let Value::Message(rules) = value else {
        return Err(error(at, format!("`{of}` is not a set of rules")));
    };
    if let Some(unknown) = rules.unknown_fields().next() {
        let number = unknown.number();
        return Err(error(
            at,
            format!("rule {number} of `{of}` is not in validate.proto"),
        ));
    }
    if let Some((other, _)) = rules.extensions().next() {
        let name = other.full_name();
        return Err(error(at, format!("rule {name} of `{of}` is not supported")));
    }
    let fields = rules.fields();
    Ok(fields
        .map(|(field, value)| (field.name().to_owned(), value.clone()))
        .collect())
}

/// With a lower limit above the upper one protovalidate means the numbers outside; nobody should have to know that.
fn consistent(at: &str, rules: &[Rule]) -> Result<(), RuleError> {
    let gt = rules.iter().find_map(|rule| match rule {
        Rule::Gt(limit) => Some(*limit),
        _ => None,
    });
    let lte = rules.iter().find_map(|rule| match rule {
        Rule::Lte(limit) => Some(*limit),
        _ => None,
    });
    match (gt, lte) {
        (Some(gt), Some(lte)) if gt >= lte => {
            Err(error(at, format!("gt {gt} is not below lte {lte}")))
        }
        _ => Ok(()),
    }
}

impl Rule {
    /// The rule that an annotation states; none for one that is switched off.
    fn read(
        field: &FieldDescriptor,
        kind: &str,
        name: &str,
        value: &Value,
    ) -> Result<Option<Rule>, RuleError> {
        let at = field.full_name();
        let rule = match (kind, name, value) {
            ("uint32", "gt", Value::U32(limit)) => Rule::Gt(u64::from(*limit)),
            ("uint32", "lte", Value::U32(limit)) => Rule::Lte(u64::from(*limit)),
            ("uint64", "gt", Value::U64(limit)) => Rule::Gt(*limit),
            ("uint64", "lte", Value::U64(limit)) => Rule::Lte(*limit),
            ("string", "max_len", Value::U64(limit)) => Rule::MaxLen(*limit),
            ("string", "pattern", Value::String(pattern)) => {
                let pattern = Regex::new(pattern)
                    .map_err(|e| error(at, format!("pattern {pattern:?}: {e}")))?;
                Rule::Pattern(pattern)
            }
            ("string", "uuid", Value::Bool(true)) => Rule::Uuid,
            ("enum", "defined_only", Value::Bool(true)) => match field.kind() {
                Kind::Enum(descriptor) => Rule::DefinedOnly(descriptor),
                _ => return Err(error(at, "enum rules on what is no enum")),
            },
            ("string", "uuid", Value::Bool(false))
            | ("enum", "defined_only", Value::Bool(false)) => return Ok(None),
            _ => {
                return Err(error(
                    at,
                    format!("rule `{kind}.{name}` is not supported by the checker"),
                ));
            }
        };
        Ok(Some(rule))
    }

    /// What is wrong with a value, if anything. A value of another type breaks every rule.
    fn broken_by(&self, value: &Value) -> Option<String> {
        let number = value.as_u64().or_else(|| value.as_u32().map(u64::from));
        let text = value.as_str();
        let chars = text.map_or(0, |text| text.chars().count());
        let broken = match self {
            Rule::Gt(limit) => number.is_none_or(|n| n <= *limit),
            Rule::Lte(limit) => number.is_none_or(|n| n > *limit),
            Rule::MaxLen(limit) => text.is_none() || u64::try_from(chars).is_ok_and(|n| n > *limit),
            Rule::Pattern(pattern) => text.is_none_or(|text| !pattern.is_match(text)),
            Rule::Uuid => text.is_none_or(|text| !is_uuid(text)),
            Rule::DefinedOnly(known) => value
                .as_enum_number()
                .is_none_or(|number| known.get_value(number).is_none()),
        };
        broken.then(|| {
            let was = shown(value);
            match self {
                Rule::Gt(limit) => format!("{was} is not greater than {limit}"),
                Rule::Lte(limit) => format!("{was} is not at most {limit}"),
                Rule::MaxLen(limit) => format!("{chars} characters are more than {limit}"),
                Rule::Pattern(pattern) => format!("{was} does not match {pattern}"),
                Rule::Uuid => {
                    format!("{was} is not a UUID (8-4-4-4-12 hexadecimal digits)")
                }
                Rule::DefinedOnly(known) => format!("{was} is not one of {}", known.name()),
            }
        })
    }
}

/// Whether a text is a UUID in its canonical form; either case, as in protovalidate.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::U32(number) => number.to_string(),
        Value::U64(number) => number.to_string(),
        Value::EnumNumber(number) => number.to_string(),
        _ => "a value of another type".to_owned(),
    }
}

/// A text in printable ASCII, because it goes into a header and into logs; of a long one the beginning and the length.
fn quoted(text: &str) -> String {
    let mut part = String::new();
    for c in text.chars() {
        let escaped = c.escape_default();
        if part.len() + escaped.len() > MAX_EXCERPT {
            let chars = text.chars().count();
            return format!("\"{part}...\" ({chars} characters)");
        }
        part.extend(escaped);
    }
    format!("\"{part}\"")
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => quoted(text),
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
    }
}

fn error(at: &str, problem: impl Into<String>) -> RuleError {
    RuleError {
        at: at.to_owned(),
        problem: problem.into(),
    }
}
