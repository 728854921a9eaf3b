//! `bitcoin-cli` and `elements-cli` for a world: one call over JSON-RPC, with the arguments, the output and the exit status
//! of Bitcoin Core's client. Only calls: no `-getinfo`, no `-generate`.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use swaprig_harness::http::{self, HttpError, Request};
use swaprig_harness::time::Deadline;

use super::shell::{Variables, say};
use super::{Exit, runtime};

/// As long as Core's client waits (`-rpcclienttimeout`).
const ANSWER_WITHIN: Duration = Duration::from_secs(900);
/// Several wallets are loaded and none is named (`RPC_WALLET_NOT_SPECIFIED` in Bitcoin Core's `rpc/protocol.h`).
const NO_WALLET_NAMED: i64 = -19;
/// Columns by which JSON is indented.
const INDENT: usize = 2;
/// No number that a node takes is longer; a hash of nothing but digits is.
const LONGEST_NUMBER: usize = 20;

/// Which node is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Bitcoin,
    Elements,
}

impl Node {
    fn client(self) -> &'static str {
        match self {
            Node::Bitcoin => "bitcoin-cli",
            Node::Elements => "elements-cli",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Node::Bitcoin => "SWAPRIG_BITCOIND",
            Node::Elements => "SWAPRIG_ELEMENTSD",
        }
    }
}

/// What is called.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    wallet: Option<String>,
    /// Arguments are `NAME=VALUE`.
    named: bool,
    method: String,
    args: Vec<String>,
}

/// What Core's help says of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Param {
    /// Its names.
    names: Vec<String>,
    /// It is text, whatever stands in it.
    is_text: bool,
}

/// An answer: a result or an error.
#[derive(Debug, Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

/// Calls the node of `variables` and prints what it says.
pub(super) fn core_cli(node: Node, words: &[String], variables: &Variables) -> Exit {
    let wanted = match parse(words) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            say(&usage(node));
            return Exit::Passed;
        }
        Err(why) => return failed(&format!("error: {why}")),
    };
    let url = match url(node, variables, wanted.wallet.as_deref()) {
        Ok(url) => url,
        Err(why) => return failed(&format!("error: {why}")),
    };
    let body = match runtime().block_on(talk(&url, &wanted)) {
        Ok(body) => body,
        Err(error) => {
            let name = node.client().replace("-cli", "d");
            return failed(&format!(
                "error: Could not call {name} of this world: {error}"
            ));
        }
    };
    print(node, &body)
}

fn usage(node: Node) -> String {
    let client = node.client();
    format!(
        "Usage: {client} [-rpcwallet=NAME] [-named] METHOD [ARG | NAME=VALUE]…\n\n\
         Calls a method of the node of this world and prints what it answers. `{client} help` lists the methods, \
         `{client} help METHOD` explains one.\nExit status: that of Bitcoin Core's client."
    )
}

fn failed(text: &str) -> Exit {
    eprintln!("{text}");
    Exit::Code(1)
}

/// Reads the command line as Core's client does: options only before the method. `None`: help is wanted.
fn parse(words: &[String]) -> Result<Option<Wanted>, String> {
    let mut wanted = Wanted {
        wallet: None,
        named: false,
        method: String::new(),
        args: Vec::new(),
    };
    let mut words = words.iter();
    for word in words.by_ref() {
        let Some(option) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            wanted.method.clone_from(word);
            break;
        };
        match option.split_once('=').unwrap_or((option, "")) {
            ("rpcwallet", wallet) => wanted.wallet = Some(wallet.to_owned()),
            ("named", "" | "1") => wanted.named = true,
            ("named", "0") => wanted.named = false,
            ("h" | "?" | "help", _) => return Ok(None),
            // Which chain it is, the world knows.
            ("regtest", "" | "1") | ("chain", "regtest" | "liquidregtest") => {}
            _ => {
                let known = "here are -rpcwallet=NAME, -named, -regtest and -chain=";
                let text = "Error parsing command line arguments: Invalid parameter";
                return Err(format!("{text} {word} ({known})"));
            }
        }
    }
    if wanted.method.is_empty() {
        return Err("too few parameters (need at least command)".to_owned());
    }
    wanted.args = words.cloned().collect();
    Ok(Some(wanted))
}

fn url(node: Node, variables: &Variables, wallet: Option<&str>) -> Result<String, String> {
    let prefix = node.prefix();
    let get = |what: &str| variables.get(&format!("{prefix}_{what}"));
    let (Some(url), Some(user), Some(password)) =
        (get("RPC_URL"), get("RPC_USER"), get("RPC_PASSWORD"))
    else {
        return Err(match node {
            Node::Bitcoin => "this world has no bitcoind".to_owned(),
            Node::Elements => "this world has no Liquid chain".to_owned(),
        });
    };
    let address = url.trim_start_matches("http://");
    let path = wallet.map(|wallet| format!("/wallet/{}", encoded(wallet)));
    Ok(format!(
        "http://{user}:{password}@{address}{}",
        path.as_deref().unwrap_or("/")
    ))
}

/// The name of a wallet as a part of a path (RFC 3986, section 2.1).
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Makes the call; before it, where it matters which arguments are text, asks the node for that.
async fn talk(url: &str, wanted: &Wanted) -> Result<String, HttpError> {
    let matters = wanted.args.iter().any(|arg| {
        let value = arg.split_once('=').filter(|_| wanted.named);
        serde_json::from_str::<Value>(value.map_or(arg, |(_, value)| value)).is_ok()
    });
    let params = match matters {
        true => {
            let help = format!("[{}]", json_text(&wanted.method));
            let body = call(url, "help", &help).await?;
            let text = serde_json::from_str::<Value>(&body);
            let text = text.unwrap_or_default();
            parameters(text["result"].as_str().unwrap_or_default())
        }
        false => Vec::new(),
    };
    call(url, &wanted.method, &arguments(wanted, &params)).await
}

async fn call(url: &str, method: &str, params: &str) -> Result<String, HttpError> {
    let method = json_text(method);
    let request = Request {
        method: "POST".to_owned(),
        url: url.to_owned(),
        json: Some(format!(
            r#"{{"jsonrpc":"1.0","id":"swaprig","method":{method},"params":{params}}}"#
        )),
    };
    let answer = http::send(request, Deadline::after(ANSWER_WITHIN)).await?;
    Ok(answer.body)
}

fn json_text(text: &str) -> String {
    Value::from(text).to_string()
}

/// The parameters of a method, out of Core's help of it: `1. height    (numeric, required) …`, each with a number. Empty
/// when the help does not tell them, as that of the bundled Elements node.
fn parameters(help: &str) -> Vec<Param> {
    let mut found = Vec::new();
    for line in help.lines().skip_while(|line| *line != "Arguments:") {
        let Some((number, rest)) = line.split_once(". ") else {
            continue;
        };
        if number.parse() != Ok(found.len() + 1) {
            continue;
        }
        let Some((name, rest)) = rest.split_once('(') else {
            continue;
        };
        let ty = rest.split([',', ')']).next().unwrap_or_default();
        let names = name.trim().trim_matches('"').split('|');
        found.push(Param {
            names: names.map(str::to_owned).collect(),
            is_text: ty == "string",
        });
    }
    found
}

/// The arguments as JSON: an array, or an object when they have names.
fn arguments(wanted: &Wanted, params: &[Param]) -> String {
    let known = !params.is_empty();
    let at = |index: usize| params.get(index).map(|param| param.is_text);
    if !wanted.named {
        let args = wanted.args.iter().enumerate();
        let args: Vec<String> = args
            .map(|(index, arg)| value(arg, at(index), known))
            .collect();
        return format!("[{}]", args.join(","));
    }
    let (mut pairs, mut unnamed) = (Vec::new(), Vec::new());
    for arg in &wanted.args {
        match arg.split_once('=') {
            Some((name, text)) => {
                let has_name = |param: &&Param| param.names.iter().any(|known| known == name);
                let is_text = params.iter().find(has_name).map(|param| param.is_text);
                pairs.push(format!(
                    "{}:{}",
                    json_text(name),
                    value(text, is_text, known)
                ));
            }
            // As in Core since 24: what has no name has its place.
            None => unnamed.push(value(arg, at(unnamed.len()), known)),
        }
    }
    if !unnamed.is_empty() {
        pairs.push(format!("\"args\":[{}]", unnamed.join(",")));
    }
    format!("{{{}}}", pairs.join(","))
}

/// An argument as JSON. `is_text`: what the node says of the parameter; where it says nothing of any (`!known`), digits are
/// a number only if they cannot be hexadecimal digits of something else.
fn value(arg: &str, is_text: Option<bool>, known: bool) -> String {
    let is_json = || serde_json::from_str::<Value>(arg).is_ok_and(|value| !value.is_string());
    let looks_like_hex = || {
        let digits = arg.trim_start_matches('-');
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let begins = digits.starts_with(|c: char| c.is_ascii_digit());
        begins && (!plain || arg.len() > LONGEST_NUMBER)
    };
    match is_text {
        Some(true) => json_text(arg),
        _ if !is_json() || (!known && looks_like_hex()) => json_text(arg),
        _ => arg.to_owned(),
    }
}

/// Prints an answer as Core's client does; its exit status is the absolute value of the error's code.
fn print(node: Node, body: &str) -> Exit {
    let reply: Reply<'_> = match serde_json::from_str(body) {
        Ok(reply) => reply,
        Err(_) => return failed("error: the answer of the node is no JSON"),
    };
    if let Some(error) = reply.error {
        let mut text = format!(
            "error code: {}\nerror message:\n{}",
            error.code, error.message
        );
        if error.code == NO_WALLET_NAMED {
            let client = node.client();
            let _ = write!(
                text,
                "\nTry adding \"-rpcwallet=<filename>\" option to {client} command line."
            );
        }
        eprintln!("{text}");
        // The operating system keeps eight bits of it.
        return Exit::Code((error.code.unsigned_abs() & 0xff) as u8);
    }
    let Some(result) = reply.result else {
        return Exit::Passed;
    };
    match serde_json::from_str::<String>(result.get()) {
        Ok(text) => say(&text),
        Err(_) => say(&indented(result.get())),
    }
    Exit::Passed
}

/// JSON with indentation, as Core's client writes it; every number and text stays as it is.
fn indented(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let (mut in_text, mut escaped) = (false, false);
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n(' ', depth * INDENT));
    };
    for c in json.chars() {
        if in_text {
            text.push(c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                text.push(c);
                in_text = true;
            }
            '{' | '[' => {
                depth += 1;
                text.push(c);
                line(&mut text, depth);
            }
            '}' | ']' => {
                depth -= 1;
                // After an opening bracket the line is there already.
                let begun = text.trim_end_matches(' ').len();
                let before = &text[..begun];
                let is_empty = before.ends_with("{\n") || before.ends_with("[\n");
                if is_empty {
                    text.truncate(begun - 1);
                }
                line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn sent(line: &str, help: &str) -> String {
        let wanted = parse(&words(line)).unwrap().unwrap();
        arguments(&wanted, &parameters(help))
    }

    const HELP: &str = "\
sendsomething \"address\" amount ( hash_or_height verbose )

Arguments:
1. address           (string, required) Where to
2. amount            (numeric or string, required) How much
                     (1. is no parameter)
3. hash_or_height    (string or numeric, optional) Which
4. verbose|verbosity (boolean or numeric, optional, default=false) How much to say
5. \"message\"         (string) Older nodes quote names

Result:
1. nothing (string)
";

    #[test]
    fn what_is_text_is_asked_of_the_node() {
        let names: Vec<_> = parameters(HELP)
            .into_iter()
            .map(|param| (param.names.join("|"), param.is_text))
            .collect();
        let expected = [
            ("address", true),
            ("amount", false),
            ("hash_or_height", false),
            ("verbose|verbosity", false),
            ("message", true),
        ];
        assert_eq!(names, expected.map(|(name, text)| (name.to_owned(), text)));
        for (line, json) in [
            ("m 1234", r#"["1234"]"#),
            (
                "m true 0.10000000 5 true [1]",
                r#"["true",0.10000000,5,true,"[1]"]"#,
            ),
            ("m a 1e-8 00ff", r#"["a",1e-8,"00ff"]"#),
            (
                "-named m address=12 verbosity=2",
                r#"{"address":"12","verbosity":2}"#,
            ),
            ("-named m 12 amount=1", r#"{"amount":1,"args":["12"]}"#),
        ] {
            assert_eq!(sent(line, HELP), json, "{line}");
        }
    }

    #[test]
    fn without_help_long_digits_and_exponents_are_hexadecimal() {
        let txid = "1".repeat(64);
        for (arg, json) in [
            ("12", "12"),
            ("-1", "-1"),
            ("0.5", "0.5"),
            ("012", r#""012""#),
            ("12e4", r#""12e4""#),
            (txid.as_str(), &format!("\"{txid}\"")),
            ("true", "true"),
            ("null", "null"),
            (r#"{"a":1}"#, r#"{"a":1}"#),
            ("[\"x\"]", "[\"x\"]"),
            ("\"x\"", r#""\"x\"""#),
            ("el1qq", r#""el1qq""#),
        ] {
            assert_eq!(value(arg, None, false), json, "{arg}");
        }
    }

    #[test]
    fn options_stand_before_the_method() {
        let wanted = parse(&words("-regtest -rpcwallet=a/b -named send -x a=1")).unwrap();
        let wanted = wanted.unwrap();
        assert_eq!(wanted.wallet.as_deref(), Some("a/b"));
        assert!(wanted.named);
        assert_eq!((wanted.method.as_str(), wanted.args.len()), ("send", 2));
        assert_eq!(encoded("a/b ü"), "a%2Fb%20%C3%BC");
        assert!(parse(&words("-rpcport=1 x")).is_err());
        assert!(parse(&[]).is_err());
        assert_eq!(parse(&words("-help")), Ok(None));
    }

    #[test]
    fn answers_are_indented_and_not_changed() {
        let json = r#"{"b":0.10000000,"a":[1,{"x":"}\",:"}],"e":[],"o":{}}"#;
        let text = "{\n  \"b\": 0.10000000,\n  \"a\": [\n    1,\n    {\n      \"x\": \"}\\\",:\"\n    }\n  ],\n  \
                    \"e\": [\n  ],\n  \"o\": {\n  }\n}";
        assert_eq!(indented(json), text);
        assert_eq!(indented("12.50000000"), "12.50000000");
    }
}
