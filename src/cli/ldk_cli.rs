//! `ldk-cli` for a world: any unary method of a Lightning node's API, by the API's own descriptors.

use std::path::Path;

use ldk_server_client::{Config, Credential, LdkServerClient};
use ldk_server_protos::endpoints::method;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value};
use swaprig_harness::error_chain;
use swaprig_harness::grpc;
use swaprig_harness::proxy::ldk_server_descriptors;

use super::shell::{Variables, say};
use super::{Exit, runtime};

/// Why nothing was called, or what the node answered.
enum Trouble {
    Usage(String),
    Failed(String),
}

/// Calls a node and prints its answer as JSON; without words lists what there is.
pub(super) fn ldk_cli(words: &[String], variables: &Variables) -> Exit {
    let nodes = variables.nodes();
    let wants_help = words.iter().any(|word| word == "--help" || word == "-h");
    if words.is_empty() || wants_help {
        say(&usage(&nodes));
        return Exit::Passed;
    }
    match call(words, &nodes, variables) {
        Ok(answer) => {
            say(&format!("{answer:#}"));
            Exit::Passed
        }
        Err(Trouble::Usage(why)) => {
            eprintln!("ldk-cli: {why}");
            Exit::Usage
        }
        Err(Trouble::Failed(why)) => {
            eprintln!("ldk-cli: {why}");
            Exit::Failed
        }
    }
}

fn usage(nodes: &[String]) -> String {
    let mut text = format!(
        "Usage: ldk-cli NODE METHOD [FIELD=VALUE… | JSON]\n\n\
         Calls a Lightning node of this world and prints its answer as JSON. Bytes are hexadecimal digits, a field of a \
         message inside is FIELD.FIELD=VALUE, a list is JSON or the same field again. Exit status: 0; 1 the node did not do \
         it; 2 no such node, method or field.\n\nNodes: {}\n\nMethods and their fields:",
        list(nodes)
    );
    for method in unary() {
        let input = method.input();
        let fields: Vec<String> = input
            .fields()
            .map(|field| field.name().to_owned())
            .collect();
        let line = format!("\n  {:<22} {}", method.name(), fields.join(" "));
        text.push_str(line.trim_end());
    }
    text
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

fn unary() -> Vec<MethodDescriptor> {
    let mut all = grpc::methods(ldk_server_descriptors());
    all.retain(|method| !method.is_client_streaming() && !method.is_server_streaming());
    all
}

fn call(words: &[String], nodes: &[String], variables: &Variables) -> Result<Value, Trouble> {
    let (node, rest) = words
        .split_first()
        .ok_or_else(|| Trouble::Usage("which node?".to_owned()))?;
    if !nodes.contains(node) {
        let why = format!("this world has no node `{node}`; it has {}", list(nodes));
        return Err(Trouble::Usage(why));
    }
    let (name, args) = rest
        .split_first()
        .ok_or_else(|| Trouble::Usage(format!("which method of {node}? `ldk-cli` lists them")))?;
    let method = find(name)?;
    let request = request(&method.input(), args).map_err(Trouble::Usage)?;
    let message = grpc::encode(&method.input(), &request)
        .map_err(|misfit| Trouble::Usage(misfit.to_string()))?;
    let client = client(node, variables)?;
    let called = method::ALL.iter().find(|known| **known == method.name());
    let called = called.ok_or_else(|| Trouble::Usage(format!("no client for `{name}`")))?;
    let answer = runtime().block_on(client.call(called, &message));
    let answer = answer.map_err(|error| Trouble::Failed(error_chain(&error)))?;
    let answer = DynamicMessage::decode(method.output(), answer)
        .map_err(|error| Trouble::Failed(format!("the answer cannot be read: {error}")))?;
    Ok(grpc::to_json(&answer))
}

/// A method by its name, however its words are joined: `ListChannels`, `list-channels`, `list_channels`.
fn find(name: &str) -> Result<MethodDescriptor, Trouble> {
    let plain = |name: &str| name.replace(['-', '_'], "").to_lowercase();
    let all = unary();
    let found = all
        .iter()
        .find(|method| plain(method.name()) == plain(name));
    found.cloned().ok_or_else(|| {
        let names = all.iter().map(MethodDescriptor::name);
        let meant = swaprig_scenarios::lang::nearest(name, names);
        let help = meant.map_or("`ldk-cli` lists them".to_owned(), |meant| {
            format!("did you mean {meant}?")
        });
        Trouble::Usage(format!("there is no method `{name}`; {help}"))
    })
}

fn client(node: &str, variables: &Variables) -> Result<LdkServerClient, Trouble> {
    let get = |what: &str| variables.of_node(node, what);
    let lacking = || Trouble::Failed(format!("the credentials of {node} are not known here"));
    let address = get("GRPC").ok_or_else(lacking)?;
    let certificate = get("TLS_CERT").ok_or_else(lacking)?;
    let file = get("API_KEY_FILE").or_else(|| get("MACAROON_FILE"));
    let file = file.ok_or_else(lacking)?;
    let credential = Credential::from_file(Path::new(file));
    let credential = credential.map_err(|error| Trouble::Failed(error_chain(&error)))?;
    let tls_cert_pem = std::fs::read(certificate)
        .map_err(|error| Trouble::Failed(format!("{certificate}: {error}")))?;
    LdkServerClient::new(Config {
        address: address.to_owned(),
        tls_cert_pem,
        credential,
    })
    .map_err(|error| Trouble::Failed(error_chain(&error)))
}

/// The request as JSON: one JSON object, or fields with their values.
fn request(message: &MessageDescriptor, args: &[String]) -> Result<Value, String> {
    if let [one] = args
        && one.trim_start().starts_with('{')
    {
        return serde_json::from_str(one).map_err(|error| format!("this is no JSON: {error}"));
    }
    let mut made = Map::new();
    for arg in args {
        let (path, text) = arg
            .split_once('=')
            .ok_or_else(|| format!("`{arg}` is no FIELD=VALUE, and no JSON object"))?;
        set(message, &mut made, path, text)?;
    }
    Ok(Value::Object(made))
}

fn set(
    message: &MessageDescriptor,
    made: &mut Map<String, Value>,
    path: &str,
    text: &str,
) -> Result<(), String> {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let field = message.get_field_by_name(name).ok_or_else(|| {
        let known: Vec<String> = message.fields().map(|f| f.name().to_owned()).collect();
        let message = message.name();
        format!("`{message}` has no field `{name}`; it has {}", list(&known))
    })?;
    if let Some(rest) = rest {
        let Kind::Message(inner) = field.kind() else {
            return Err(format!("`{name}` has no fields of its own"));
        };
        let place = made
            .entry(name)
            .or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(place) = place else {
            return Err(format!("`{name}` is given twice"));
        };
        return set(&inner, place, rest, text);
    }
    let value = of_text(&field, text)?;
    match made.get_mut(name) {
        None => {
            made.insert(name.to_owned(), value);
        }
        Some(Value::Array(items)) => match value {
            Value::Array(more) => items.extend(more),
            one => items.push(one),
        },
        Some(_) => return Err(format!("`{name}` is given twice")),
    }
    Ok(())
}

/// A text as JSON that fits the field; whether it does in all is for the encoder to say.
fn of_text(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let json = || serde_json::from_str::<Value>(text);
    let single = |text: &str| match field.kind() {
        Kind::String | Kind::Bytes => Value::from(text),
        Kind::Enum(_) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        _ => serde_json::from_str(&text.replace('_', "")).unwrap_or_else(|_| Value::from(text)),
    };
    if field.is_list() {
        return Ok(match json() {
            Ok(items @ Value::Array(_)) => items,
            _ => Value::Array(vec![single(text)]),
        });
    }
    if field.is_map() || matches!(field.kind(), Kind::Message(_)) {
        return json().map_err(|error| format!("`{}` is JSON: {error}", field.name()));
    }
    Ok(single(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn made(method: &str, args: &[&str]) -> Result<Value, String> {
        let found = unary().into_iter().find(|one| one.name() == method);
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let input = found.unwrap().input();
        let json = request(&input, &args)?;
        grpc::encode(&input, &json).map_err(|misfit| misfit.to_string())?;
        Ok(json)
    }

    #[test]
    fn fields_are_read_by_their_kinds() {
        let id = "12".repeat(33);
        let node = format!("node_pubkey={id}");
        for (method, args, json) in [
            ("GetNodeInfo", &[] as &[&str], json!({})),
            (
                "OpenChannel",
                &[
                    &node,
                    "channel_amount_sats=1_000_000",
                    "announce_channel=true",
                ],
                json!({ "node_pubkey": id, "channel_amount_sats": 1_000_000, "announce_channel": true }),
            ),
            // Digits alone are text where text is wanted.
            (
                "SignMessage",
                &["message=1234"],
                json!({ "message": "1234" }),
            ),
            (
                "Bolt11Receive",
                &["amount_msat=5", "description.direct=a=b", "expiry_secs=60"],
                json!({ "amount_msat": 5, "description": { "direct": "a=b" }, "expiry_secs": 60 }),
            ),
            (
                "Bolt11Send",
                &[r#"{"invoice":"x"}"#],
                json!({ "invoice": "x" }),
            ),
        ] {
            assert_eq!(made(method, args), Ok(json), "{method}");
        }
        for (method, args, why) in [
            ("GetNodeInfo", &["x=1"] as &[&str], "no field `x`"),
            ("Bolt11Send", &["invoice"], "no FIELD=VALUE"),
            ("Bolt11Send", &["invoice=a", "invoice=b"], "given twice"),
            ("Bolt11Send", &["amount_msat=many"], "whole number"),
            ("Bolt11Send", &["{"], "no JSON"),
        ] {
            let error = made(method, args).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_method_is_found_however_its_words_are_joined() {
        for name in [
            "ListChannels",
            "list-channels",
            "list_channels",
            "listchannels",
        ] {
            let found = find(name).ok().map(|method| method.name().to_owned());
            assert_eq!(found.as_deref(), Some("ListChannels"), "{name}");
        }
        assert!(find("SubscribeEvents").is_err());
    }
}
