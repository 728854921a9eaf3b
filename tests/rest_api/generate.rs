//! Requests made from the OpenAPI document: as it says, and with something changed.

use bytes::Bytes;
use elements::secp256k1_zkp::rand::Rng;
use elements::secp256k1_zkp::rand::rngs::StdRng;
use elements::secp256k1_zkp::rand::seq::SliceRandom as _;
use hyper::{Method, Request};
use serde_json::{Map, Value, json};

use super::schema::{Document, Operation};

/// What nobody should send.
const RUBBISH: [&str; 12] = [
    "",
    "null",
    "-1",
    "1e400",
    "18446744073709551616",
    "../../etc/passwd",
    "%00",
    "%ff%fe",
    "\u{202e}abc",
    "' OR 1=1 --",
    "{{7*7}}",
    "00",
];
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// A text that a pattern of this API allows: words, classes, groups, and `{n}` or `+` behind them.
fn by_pattern(pattern: &str, rng: &mut StdRng) -> String {
    let mut text = String::new();
    let mut left = pattern.trim_start_matches('^').trim_end_matches('$');
    while let Some(first) = left.chars().next() {
        let end = match first {
            '[' => left.find(']').expect("a class ends") + 1,
            '(' => left.find(')').expect("a group ends") + 1,
            other => other.len_utf8(),
        };
        let (one, rest) = left.split_at(end);
        let (count, rest) = match rest.chars().next() {
            Some('{') => {
                let (count, rest) = rest[1..].split_once('}').expect("a count ends");
                // Of `1,16` the greatest.
                let count = count.rsplit(',').next().unwrap_or_default();
                (count.parse().expect("a count is a number"), rest)
            }
            Some('+') => (rng.gen_range(1..40), &rest[1..]),
            _ => (1, rest),
        };
        left = rest;
        for _ in 0..count {
            match first {
                '(' => text += &by_pattern(&one[1..one.len() - 1], rng),
                '[' => text.push(
                    *class(&one[1..one.len() - 1])
                        .choose(rng)
                        .expect("it has some"),
                ),
                other => text.push(other),
            }
        }
    }
    text
}

fn class(inside: &str) -> Vec<char> {
    let mut all = Vec::new();
    let mut left: &[char] = &inside.chars().collect::<Vec<_>>();
    while let Some((first, rest)) = left.split_first() {
        match rest {
            ['-', last, rest @ ..] => {
                all.extend(*first..=*last);
                left = rest;
            }
            _ => {
                all.push(*first);
                left = rest;
            }
        }
    }
    all
}

/// Makes requests.
pub(crate) struct Generator<'a> {
    pub(crate) document: &'a Document,
    pub(crate) rng: StdRng,
    /// Payment hashes of loops that there are.
    pub(crate) known: Vec<String>,
}

impl Generator<'_> {
    fn chance(&mut self, percent: u32) -> bool {
        self.rng.gen_ratio(percent, 100)
    }

    /// A value that a schema allows.
    fn value(&mut self, schema: &Value) -> Value {
        let schema = self.document.resolve(schema).clone();
        if let Some(example) = schema.get("example").filter(|_| self.rng.gen_bool(0.4)) {
            return example.clone();
        }
        if let Some(all) = schema["oneOf"].as_array() {
            let one = all.choose(&mut self.rng).cloned().unwrap_or_default();
            return self.value(&one);
        }
        if let Some(all) = schema["enum"].as_array() {
            return all.choose(&mut self.rng).cloned().unwrap_or_default();
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.choose(&mut self.rng).cloned().unwrap_or_default(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("object") => self.object(&schema),
            Some("boolean") => json!(self.rng.r#gen::<bool>()),
            Some("integer") => {
                let least = schema["minimum"].as_u64().unwrap_or(0);
                let most = schema["maximum"].as_u64().unwrap_or(u64::MAX);
                match self.rng.gen_range(0..4) {
                    0 => json!(least),
                    1 => json!(most),
                    2 => json!(self.rng.gen_range(least..=most.min(10_000_000))),
                    _ => json!(self.rng.gen_range(least..=most)),
                }
            }
            Some("string") => match schema["pattern"].as_str() {
                Some(pattern) => json!(by_pattern(pattern, &mut self.rng)),
                None => self.word(),
            },
            _ => Value::Null,
        }
    }

    fn word(&mut self) -> Value {
        let length = self.rng.gen_range(1..60);
        let text: String = (0..length).map(|_| self.rng.r#gen::<char>()).collect();
        json!(text)
    }

    fn object(&mut self, schema: &Value) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(&json!(name)) || self.chance(60) {
                object.insert(name.clone(), self.value(schema));
            }
        }
        Value::Object(object)
    }

    fn wrong(&mut self) -> Value {
        match self.rng.gen_range(0..9) {
            0 => Value::Null,
            1 => json!(-1),
            2 => json!(1.5),
            3 => json!(u64::MAX),
            4 => json!([]),
            5 => json!({ "a": [{}] }),
            6 => json!("x".repeat(self.rng.gen_range(0..5_000))),
            7 => json!(RUBBISH.choose(&mut self.rng)),
            _ => self.word(),
        }
    }

    /// Changes something in a JSON text.
    fn mutate(&mut self, value: Value) -> Vec<u8> {
        let mut value = value;
        if let Some(object) = value.as_object_mut().filter(|_| self.rng.gen_bool(0.7)) {
            let names: Vec<String> = object.keys().cloned().collect();
            let name = names.choose(&mut self.rng).cloned().unwrap_or_default();
            match self.rng.gen_range(0..3) {
                0 => drop(object.remove(&name)),
                1 => drop(object.insert(name, self.wrong())),
                _ => drop(object.insert(format!("{name}_"), self.wrong())),
            }
        } else if self.rng.gen_bool(0.2) {
            value = self.wrong();
        }
        let mut bytes = value.to_string().into_bytes();
        for _ in 0..self.rng.gen_range(0..3) {
            let at = self.rng.gen_range(0..=bytes.len());
            match self.rng.gen_range(0..4) {
                0 => bytes.insert(at, self.rng.r#gen()),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] = self.rng.r#gen(),
                _ => {}
            }
        }
        if self.chance(1) {
            bytes.resize(self.rng.gen_range(16_000..70_000), b' ');
        }
        bytes
    }

    fn escaped(&mut self, value: &Value) -> String {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let mut escaped = String::new();
        for byte in text.bytes() {
            match plain(byte) {
                true => escaped.push(byte.into()),
                false => escaped += &format!("%{byte:02x}"),
            }
        }
        escaped
    }

    fn address(&mut self, operation: &Operation<'_>) -> String {
        let mut path = operation.path.to_owned();
        if path.contains("{payment_hash}") {
            let known = self.known.choose(&mut self.rng).cloned();
            let word = match (known, self.rng.gen_range(0..10)) {
                (Some(known), 0..7) => known,
                (_, 0..9) => by_pattern("^[0-9a-f]{64}$", &mut self.rng),
                _ => {
                    let wrong = self.wrong();
                    match self.escaped(&wrong) {
                        empty if empty.is_empty() => "-".into(),
                        word => word.chars().take(2_000).collect(),
                    }
                }
            };
            path = path.replace("{payment_hash}", &word);
        }
        let mut pairs = Vec::new();
        let parameters = operation.written["parameters"].as_array();
        for parameter in parameters.into_iter().flatten().cloned() {
            let named = parameter["in"] == "query";
            if named && (parameter["required"] == json!(true) || self.chance(60)) {
                let value = match self.chance(80) {
                    true => self.value(&parameter["schema"]),
                    false => self.wrong(),
                };
                let value: String = self.escaped(&value).chars().take(2_000).collect();
                pairs.push(format!(
                    "{}={value}",
                    parameter["name"].as_str().unwrap_or("?")
                ));
            }
        }
        if self.chance(5) {
            pairs.push("other=1".into());
        }
        match pairs.is_empty() {
            true => path,
            false => format!("{path}?{}", pairs.join("&")),
        }
    }

    /// A request: as the document says, or nearly.
    pub(crate) fn request(&mut self) -> Request<Bytes> {
        let operations = self.document.operations();
        let operation = operations.choose(&mut self.rng).expect("it has operations");
        let uri = self.address(operation);
        let method = match self.chance(95) {
            true => operation.method.clone(),
            false => METHODS
                .choose(&mut self.rng)
                .and_then(|word| word.parse().ok())
                .unwrap_or(Method::GET),
        };
        let mut request = Request::builder().method(method).uri(uri);
        if self.chance(30) {
            let keys = ["0b8d2f0e-7d5c-4a56-9c39-1f0b0a6a7c11", "no", "", "7"];
            request = request.header(
                "idempotency-key",
                *keys.choose(&mut self.rng).unwrap_or(&""),
            );
        }
        let schema = &operation.written["requestBody"]["content"]["application/json"]["schema"];
        let body = match schema.is_null() {
            true if self.chance(95) => Vec::new(),
            true => b"{\"a\":1}".to_vec(),
            false => {
                let kind = match self.rng.gen_range(0..20) {
                    0 => "text/plain",
                    1 => "application/json; charset=latin1",
                    _ => "application/json",
                };
                request = request.header("content-type", kind);
                let value = self.value(schema);
                match self.rng.gen_bool(0.5) {
                    true => value.to_string().into_bytes(),
                    false => self.mutate(value),
                }
            }
        };
        request
            .body(Bytes::from(body))
            .expect("what is not plain was escaped")
    }
}
