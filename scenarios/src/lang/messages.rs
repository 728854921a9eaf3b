//! What a file says of gRPC messages, held against their descriptors: what is sent, what is expected, what is taken.

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use swaprig_harness::grpc::{
    NoMethod, describe, element_kind as element, fits, kind_name, method, method_path, methods,
};
use swaprig_harness::proxy::FieldValue;
use swaprig_harness::template::Template;
use toml::de::{DeTable, DeValue};

use super::cx::StepCx;
use super::json::{JsonPath, Way, type_taken};
use super::problem::Span;
use super::reference::Text;
use super::types::Type;
use super::words::{Node, all_of, describe as describe_node, nearest, quoted};

/// Checks a call of `rpc` against the API of its server; `false` when something was said.
pub(crate) fn check_call(api: &DescriptorPool, rpc: &str, cx: &mut StepCx<'_>) -> bool {
    let method = match method(api, rpc) {
        Ok(method) => method,
        Err(error) => {
            let help = instead_of(api, rpc, &error);
            let span = cx.value_span("rpc");
            cx.problem(span, error.to_string())
                .label("not in the server's `proto`")
                .help(help);
            return false;
        }
    };
    let before = cx.report.count();
    let table = cx.table;
    if let Some(DeValue::Table(send)) = table.get("send").map(|node| node.get_ref()) {
        check_message(&method.input(), send, cx);
    }
    let reply = method.output();
    if let Some(DeValue::Table(expect)) = table.get("expect").map(|node| node.get_ref()) {
        for (path, value) in expect {
            if let Some(place) = find(&reply, path.get_ref(), path.span(), cx) {
                check_value(&place, value, cx);
            }
        }
    }
    if let Some(DeValue::Table(take)) = table.get("take").map(|node| node.get_ref()) {
        for (_, value) in take {
            check_taken(&reply, value, cx);
        }
    }
    cx.report.count() == before
}

/// What to write in place of a method that there is not.
fn instead_of(api: &DescriptorPool, rpc: &str, error: &NoMethod) -> String {
    let paths: Vec<String> = methods(api).iter().map(method_path).collect();
    let known = || paths.iter().map(String::as_str);
    let list = || format!("its methods are {}", all_of(known()));
    let own = rpc.rsplit('/').next().unwrap_or(rpc);
    match error {
        NoMethod::Stream(_) => format!("call another one; {}", list()),
        NoMethod::Several { services, .. } => {
            let first = services.first().map_or("", String::as_str);
            format!("write it with its service, such as \"{first}/{own}\"")
        }
        NoMethod::Unknown(_) if paths.is_empty() => "its `proto` has no service".to_owned(),
        NoMethod::Unknown(_) => {
            // The service may be right and the method not, or the other way round.
            let by_name = || {
                let own_names = known().filter_map(|path| path.rsplit('/').next());
                let meant = nearest(own, own_names)?;
                known().find(|path| path.rsplit('/').next() == Some(meant))
            };
            match nearest(rpc, known()).or_else(by_name) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => list(),
            }
        }
    }
}

/// A place in a message.
enum Place {
    /// The whole message.
    Message(MessageDescriptor),
    /// A whole field.
    Field(FieldDescriptor),
    /// An element of a list or a value of a map.
    Element(FieldDescriptor),
}

impl Place {
    fn is(&self) -> String {
        match self {
            Place::Message(message) => format!("a `{}`", message.name()),
            Place::Field(field) => kind_name(field),
            Place::Element(field) => describe(&element(field)),
        }
    }

    /// What could be written there.
    fn example(&self) -> String {
        let within = |field: &FieldDescriptor| match element(field) {
            Kind::Message(message) => Place::Message(message).example(),
            kind => example(&kind),
        };
        match self {
            Place::Field(field) if field.is_list() => format!("[{}]", within(field)),
            Place::Field(field) if field.is_map() => match field.kind() {
                Kind::Message(entry) => {
                    let key = example(&entry.map_entry_key_field().kind());
                    format!("{{ {} = {} }}", key.trim_matches('"'), within(field))
                }
                _ => "{ … }".to_owned(),
            },
            Place::Field(field) | Place::Element(field) => within(field),
            Place::Message(message) => match message.fields().next() {
                Some(field) => format!("{{ {} = … }}", field.name()),
                None => "{ }".to_owned(),
            },
        }
    }

    /// What kind of single value stands there; `None` when there stand several.
    fn single(&self) -> Option<Kind> {
        let kind = match self {
            Place::Message(_) => return None,
            Place::Field(field) if field.is_list() || field.is_map() => return None,
            Place::Field(field) | Place::Element(field) => element(field),
        };
        (!matches!(kind, Kind::Message(_))).then_some(kind)
    }
}

/// A value of that kind, as a file has it.
fn example(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true".to_owned(),
        Kind::String => "\"text\"".to_owned(),
        Kind::Bytes => "\"00ff\"".to_owned(),
        Kind::Double | Kind::Float => "0.5".to_owned(),
        Kind::Enum(names) => {
            let last = names.values().last();
            format!(
                "\"{}\"",
                last.map_or_else(String::new, |value| value.name().to_owned())
            )
        }
        Kind::Message(message) => format!("a `{}`", message.name()),
        _ => "7".to_owned(),
    }
}

/// Where a path leads in the reply; `None` when nowhere, which has been said. A path that is none has been said, too.
fn find(reply: &MessageDescriptor, path: &str, span: Span, cx: &mut StepCx<'_>) -> Option<Place> {
    let path = JsonPath::parse(path).ok()?;
    let mut at = Place::Message(reply.clone());
    for way in path.ways() {
        let next = match (&at, way) {
            (Place::Message(message), Way::Key(key)) => match message.get_field_by_name(key) {
                Some(field) => Some(Place::Field(field)),
                None => {
                    no_field(message, key, span, cx);
                    return None;
                }
            },
            (Place::Field(field), Way::Index(_)) if field.is_list() => {
                Some(Place::Element(field.clone()))
            }
            (Place::Field(field), Way::Key(_)) if field.is_map() => {
                Some(Place::Element(field.clone()))
            }
            _ => None,
        };
        let Some(next) = next else {
            let title = format!("{path} leads nowhere: what it goes into is {}", at.is());
            let help = match &at {
                Place::Field(field) if field.is_list() => {
                    "an element of a list is named by a number in brackets, from 0: \"$.list[0]\""
                }
                _ => "end the path before that",
            };
            cx.problem(span, title).label("in the reply").help(help);
            return None;
        };
        at = match next {
            Place::Field(field) if !field.is_list() && !field.is_map() => match field.kind() {
                Kind::Message(message) => Place::Message(message),
                _ => Place::Field(field),
            },
            Place::Element(field) => match element(&field) {
                Kind::Message(message) => Place::Message(message),
                _ => Place::Element(field),
            },
            whole => whole,
        };
    }
    Some(at)
}

fn no_field(message: &MessageDescriptor, name: &str, span: Span, cx: &mut StepCx<'_>) {
    let fields: Vec<String> = message.fields().map(|f| f.name().to_owned()).collect();
    let known = || fields.iter().map(String::as_str);
    let has = match fields.is_empty() {
        true => format!("`{}` has no fields at all", message.name()),
        false => format!("`{}` has {}", message.name(), all_of(known())),
    };
    let help = match nearest(name, known()) {
        Some(meant) => format!("did you mean `{meant}`? {has}"),
        None => has,
    };
    let title = format!("`{}` has no field `{name}`", message.name());
    cx.problem(span, title)
        .label("not in the server's `proto`")
        .help(help);
}

fn check_message(message: &MessageDescriptor, table: &DeTable<'_>, cx: &mut StepCx<'_>) {
    let mut chosen: Vec<(String, Span)> = Vec::new();
    for (key, value) in table {
        let name: &str = key.get_ref();
        let Some(field) = message.get_field_by_name(name) else {
            no_field(message, name, key.span(), cx);
            continue;
        };
        if let Some(oneof) = field.containing_oneof() {
            let first = chosen.iter().find(|(other, _)| other == oneof.name());
            if let Some((_, first)) = first {
                let title = format!("two fields of the oneof `{}` at once", oneof.name());
                cx.problem(key.span(), title)
                    .label("the second")
                    .also(first.clone(), "the first")
                    .help("a message has one of them at a time: keep one of the two");
            }
            chosen.push((oneof.name().to_owned(), key.span()));
        }
        check_value(&Place::Field(field), value, cx);
    }
}

/// Checks that a value of the file fits its place.
fn check_value(place: &Place, node: &Node<'_>, cx: &mut StepCx<'_>) {
    match (place, node.get_ref()) {
        (Place::Message(message), DeValue::Table(table)) => check_message(message, table, cx),
        (Place::Field(field), DeValue::Array(items)) if field.is_list() => {
            for item in items.iter() {
                check_value(&within(field), item, cx);
            }
        }
        (Place::Field(field), DeValue::Table(table)) if field.is_map() => {
            for (key, value) in table {
                check_key(field, key.get_ref(), key.span(), cx);
                check_value(&within(field), value, cx);
            }
        }
        (Place::Field(field), _) if !field.is_list() && !field.is_map() => {
            match (field.kind(), node.get_ref()) {
                (Kind::Message(message), DeValue::Table(table)) => {
                    check_message(&message, table, cx);
                }
                _ => check_single(place, node, cx),
            }
        }
        _ => check_single(place, node, cx),
    }
}

/// One element of a list or a map.
fn within(field: &FieldDescriptor) -> Place {
    match element(field) {
        Kind::Message(message) => Place::Message(message),
        _ => Place::Element(field.clone()),
    }
}

fn check_key(field: &FieldDescriptor, key: &str, span: Span, cx: &mut StepCx<'_>) {
    let Kind::Message(entry) = field.kind() else {
        return;
    };
    let kind = entry.map_entry_key_field().kind();
    let value = match kind {
        Kind::String => return,
        Kind::Bool => key.parse().ok().map(FieldValue::Flag),
        _ => key.parse().ok().map(FieldValue::Integer),
    };
    if value.is_some_and(|value| fits(&kind, &value)) {
        return;
    }
    let title = format!("{} is no key of the map `{}`", quoted(key), field.name());
    cx.problem(span, title).label("a key").help(format!(
        "its keys are each {}: {{ {} = … }}",
        describe(&kind),
        example(&kind).trim_matches('"')
    ));
}

fn check_single(place: &Place, node: &Node<'_>, cx: &mut StepCx<'_>) {
    let Some(kind) = place.single() else {
        let help = match place {
            Place::Field(field) if field.is_list() => "write an array",
            Place::Field(_) | Place::Element(_) | Place::Message(_) => "write a table",
        };
        let help = format!("{help}: {}", place.example());
        return unfit(place, node, help, cx);
    };
    let (Place::Field(field) | Place::Element(field)) = place else {
        return;
    };
    let value = match node.get_ref() {
        DeValue::String(text) => match Text::of(text) {
            Text::Reference(reference) => {
                let ty = cx.type_of(node, &reference);
                if ty.is_none_or(|ty| stands_for(&kind, ty)) {
                    return;
                }
                let ty = ty.map(Type::a_name).unwrap_or_default();
                let title = format!("`{reference}` is {ty}, not {}", place.is());
                let label = format!("`{}` of `{}`", field.name(), field.parent_message().name());
                cx.problem(node.span(), title)
                    .label(label)
                    .help(one_such_as(place));
                return;
            }
            Text::Literal(text) => {
                let dynamic =
                    Template::parse(&text).is_ok_and(|text| text.names().next().is_some());
                let is_text = matches!(kind, Kind::String | Kind::Bytes | Kind::Enum(_));
                if dynamic && is_text {
                    return;
                }
                FieldValue::Text(text)
            }
            Text::Malformed => return,
        },
        DeValue::Boolean(flag) => FieldValue::Flag(*flag),
        DeValue::Integer(number) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => FieldValue::Integer(number),
                // That it is too large has been said.
                Err(_) => return,
            }
        }
        DeValue::Float(number) => FieldValue::Decimal(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            return unfit(place, node, one_such_as(place), cx);
        }
    };
    if !fits(&kind, &value) {
        let help = help_for(&kind, &value).unwrap_or_else(|| one_such_as(place));
        unfit(place, node, help, cx);
    }
}

fn one_such_as(place: &Place) -> String {
    format!("write {} such as {}", place.is(), place.example())
}

fn help_for(kind: &Kind, value: &FieldValue) -> Option<String> {
    match (kind, value) {
        (Kind::String, FieldValue::Integer(number)) => {
            Some(format!("write it in quotes: \"{number}\""))
        }
        (Kind::String, FieldValue::Flag(flag)) => Some(format!("write it in quotes: \"{flag}\"")),
        (Kind::Bool, _) => Some("write true or false, without quotes".to_owned()),
        (Kind::Enum(names), FieldValue::Text(text)) => {
            let names: Vec<String> = names.values().map(|v| v.name().to_owned()).collect();
            let meant = nearest(text, names.iter().map(String::as_str))?;
            Some(format!("did you mean \"{meant}\"?"))
        }
        (Kind::Bytes, FieldValue::Text(_)) => {
            Some("write hexadecimal digits, two for each byte, such as \"00ff\"".to_owned())
        }
        (Kind::String | Kind::Enum(_) | Kind::Bytes, _) => None,
        (_, FieldValue::Text(text)) => {
            if text.parse::<u64>().is_ok() || text.replace('_', "").parse::<u64>().is_ok() {
                return Some(format!("write it without quotes: {text}"));
            }
            let digits: String = text
                .chars()
                .take_while(|c| c.is_ascii_digit() || *c == '_')
                .collect();
            let has_unit = !digits.is_empty();
            has_unit.then(|| {
                format!("a number on the wire has no unit; write {digits}, in the unit that the API means")
            })
        }
        _ => None,
    }
}

fn unfit(place: &Place, node: &Node<'_>, help: String, cx: &mut StepCx<'_>) {
    let label = match place {
        Place::Message(message) => format!("a `{}`", message.name()),
        Place::Field(field) | Place::Element(field) => {
            format!("`{}` of `{}`", field.name(), field.parent_message().name())
        }
    };
    let title = format!("expected {}, found {}", place.is(), describe_node(node));
    cx.problem(node.span(), title).label(label).help(help);
}

/// Whether a value of the language can stand for a value of that kind.
fn stands_for(kind: &Kind, ty: Type) -> bool {
    match kind {
        Kind::Bool => ty == Type::Flag,
        Kind::String => matches!(
            ty,
            Type::Text | Type::Hash | Type::Preimage | Type::Txid | Type::Word(_)
        ),
        // That a text has hexadecimal digits shows when the step runs.
        Kind::Bytes => matches!(ty, Type::Text | Type::Hash | Type::Preimage | Type::Txid),
        Kind::Enum(_) => matches!(ty, Type::Text | Type::Word(_) | Type::Count),
        Kind::Message(_) => false,
        _ => ty.is_ordered(),
    }
}

fn check_taken(reply: &MessageDescriptor, node: &Node<'_>, cx: &mut StepCx<'_>) {
    let path = match node.get_ref() {
        DeValue::Table(table) => table.values().next(),
        _ => Some(node),
    };
    let (Some(path), Some(ty)) = (path, type_taken(node.get_ref())) else {
        return;
    };
    let DeValue::String(text) = path.get_ref() else {
        return;
    };
    let Some(place) = find(reply, text, path.span(), cx) else {
        return;
    };
    let fits = place.single().is_some_and(|kind| match (kind, ty) {
        (Kind::String | Kind::Bytes | Kind::Enum(_), Type::Hash | Type::Preimage | Type::Txid)
        | (Kind::String | Kind::Bytes | Kind::Enum(_), Type::Text)
        | (Kind::Bool, Type::Flag) => true,
        (Kind::Double | Kind::Float | Kind::Bool | Kind::Message(_), _) => false,
        (Kind::String | Kind::Bytes | Kind::Enum(_), _) => false,
        (_, ty) => ty.is_ordered(),
    });
    if fits {
        return;
    }
    let title = format!("{text} is {}, not {}", place.is(), ty.a_name());
    let help = match place.single().as_ref().and_then(read_as) {
        Some((Type::Text, _)) => format!("write \"{text}\""),
        Some((_, word)) => format!("write {{ {word} = \"{text}\" }}"),
        None => {
            "go on to a single value in it, such as \"$.list[0]\" or \"$.message.field\"".to_owned()
        }
    };
    cx.problem(path.span(), title)
        .label("in the reply")
        .help(help);
}

/// The type as which a field of that kind is read without a word, and its name in `take`.
fn read_as(kind: &Kind) -> Option<(Type, &'static str)> {
    Some(match kind {
        Kind::Bool => (Type::Flag, "flag"),
        Kind::String | Kind::Bytes | Kind::Enum(_) => (Type::Text, "text"),
        Kind::Double | Kind::Float | Kind::Message(_) => return None,
        _ => (Type::Count, "number"),
    })
}

/// The fields of a reply that can be read without `take`: those that are single values. Amounts are numbers.
pub(crate) fn shape(reply: &MessageDescriptor) -> Vec<(String, Type)> {
    let single = reply.fields().filter_map(|field| {
        let name = field.name().to_owned();
        let kind = Place::Field(field).single()?;
        Some((name, read_as(&kind)?.0))
    });
    single.collect()
}
