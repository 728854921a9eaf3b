//! The `servers` of a file, which swaprig starts and knows nothing of, and the programs that the file `needs`.

use std::path::Path;

use prost_reflect::DescriptorPool;
use swaprig_harness::proxy::{Kind, ServerEnd};
use swaprig_harness::server::{Ready, ServerSpec};
use swaprig_harness::template::{Part, Template};
use swaprig_harness::world::endpoints::SWAPRIG;
use toml::de::{DeTable, DeValue};

use super::books::{self, ServerBooks};
use super::chains::Chains;
use super::fill::{ARGV, HERE, Known, directory, from_here, no_template, words_of};
use super::problem::Report;
use super::protos;
use super::words::{Node, all_of, describe, is_name, nearest, quoted, to_name};
use super::world::RESERVED;

/// The keys of a server: name, example, what it does.
pub(super) const SERVER_KEYS: &[(&str, &str, &str)] = &[
    (
        "run",
        ARGV,
        "the program and its arguments; a program that is named by a path is found from the file's directory",
    ),
    (
        "ready",
        "{ http = \"/health\" }",
        "how it shows that it is ready: { tcp = true } when it takes connections, { http = \"/health\" } when that is \
         answered with 200, { grpc_health = true } when its gRPC health service says SERVING, or of one service \
         { grpc_health = \"maker.v1.Maker\" }, { log = \"listening\" } when it has printed that; { tcp = true } when \
         it is left out",
    ),
    (
        "env",
        "{ RPC_USER = \"{bitcoind.user}\" }",
        "variables of its environment",
    ),
    (
        "proto",
        "[\"maker.proto\"]",
        "the .proto files of its gRPC API, found from the file's directory; left out, `grpc` asks the server itself \
         (reflection)",
    ),
    (
        "tls",
        "\"{dir}/tls.crt\"",
        "the certificate (PEM) that it shows for gRPC; left out, connections are not encrypted",
    ),
    (
        "books",
        "{ lightning = \"bob\", bitcoin = \"wallet:maker\" }",
        "where its own money is, for the money oracle: a Lightning node, a wallet of bitcoind or \
         \"descriptor:wpkh(…)\", as `liquid` a wallet of elementsd or \"descriptor:ct(…)\", on either chain \
         \"descriptor:@{dir}/descriptor.txt\" for a file that it writes, one on a line, and as `htlcs` how it lists the \
         addresses of its HTLCs on both chains: a gRPC method (`rpc`), or a path or several that are read over HTTP (`http`)",
    ),
];

const EXAMPLE: &str = "write servers = { maker = { run = [\"./maker\", \"--listen\", \"{listen}\"], ready = { tcp = true } } }";
const READY: &str = "write ready = { tcp = true }, { http = \"/health\" }, { grpc_health = true } or { log = \"listening\" }";
const WAYS: &[&str] = &["tcp", "http", "grpc_health", "log"];

/// The servers of a file as ends of links, as far as that can be told without a word.
pub(super) fn ends(node: &Node<'_>) -> Vec<ServerEnd> {
    let DeValue::Table(table) = node.get_ref() else {
        return Vec::new();
    };
    let end = |(key, node): (&toml::Spanned<std::borrow::Cow<'_, str>>, &Node<'_>)| {
        let value = |key: &str| match node.get_ref() {
            DeValue::Table(server) => server.get(key),
            _ => None,
        };
        let answers_http = value("ready").is_some_and(|ready| match ready.get_ref() {
            DeValue::Table(way) => way.contains_key("http"),
            _ => false,
        });
        ServerEnd {
            name: key.get_ref().to_string(),
            speaks: Kind::of_server(
                value("proto").is_some(),
                answers_http,
                value("tls").is_some(),
            ),
        }
    };
    table.iter().map(end).collect()
}

/// A server and its books.
pub(super) type ReadServer = (ServerSpec, ServerBooks);

/// Reads `servers` of a file in a world with these Lightning nodes and chains, which are `None` when they could not be read.
pub(super) fn read(
    node: &Node<'_>,
    parties: Option<&[String]>,
    chains: Option<&Chains>,
    report: &mut Report,
) -> Option<Vec<ReadServer>> {
    let DeValue::Table(table) = node.get_ref() else {
        wrong(
            node,
            "a table of servers",
            "the value of `servers`",
            EXAMPLE,
            report,
        );
        return None;
    };
    let mut servers = Vec::new();
    let mut before: Vec<String> = Vec::new();
    for (key, value) in table {
        let name: &str = key.get_ref();
        let named = server_name(name, key.span(), parties, report);
        let rest: Vec<&str> = table.keys().map(|key| key.get_ref().as_ref()).collect();
        let reading = Reading {
            name,
            known: Known {
                parties,
                chains,
                servers: Some(&before),
                own: true,
            },
            later: &rest[before.len()..],
            here: directory(report.source().path()),
        };
        let server = reading.server(value, report);
        before.push(name.to_owned());
        servers.push(server.filter(|_| named));
    }
    servers.into_iter().collect()
}

fn wrong(node: &Node<'_>, what: &str, label: &str, help: &str, report: &mut Report) {
    let title = format!("expected {what}, found {}", describe(node));
    report.push(node.span(), title).label(label).help(help);
}

fn server_name(
    name: &str,
    span: super::problem::Span,
    parties: Option<&[String]>,
    report: &mut Report,
) -> bool {
    if !is_name(name, '-') {
        let example = to_name(name, '-').unwrap_or_else(|| "maker".to_owned());
        report
            .push(span, format!("{} is not a name for a server", quoted(name)))
            .label("a lowercase letter, then lowercase letters, digits and `-`")
            .help(format!("write {example}"));
        return false;
    }
    let party = parties.is_some_and(|all| all.iter().any(|party| party == name));
    let own = matches!(name, "listen" | "admin" | "dir" | HERE | SWAPRIG);
    if party || own || RESERVED.contains(&name) {
        let label = if party {
            "a Lightning node"
        } else {
            "reserved"
        };
        report
            .push(span, format!("no server can be called \"{name}\" here"))
            .label(label)
            .help("the name means something else in steps and reports; choose another one");
        return false;
    }
    true
}

/// A server that is being read.
struct Reading<'r> {
    name: &'r str,
    known: Known<'r>,
    /// Itself and the servers after it.
    later: &'r [&'r str],
    here: String,
}

impl Reading<'_> {
    fn server(&self, node: &Node<'_>, report: &mut Report) -> Option<ReadServer> {
        let name = self.name;
        let whose = format!("the server `{name}`");
        let DeValue::Table(table) = node.get_ref() else {
            wrong(node, "a table", &whose, EXAMPLE, report);
            return None;
        };
        let keys = || SERVER_KEYS.iter().map(|(key, ..)| *key);
        let mut meant_run = false;
        let before = report.count();
        for (key, _) in table {
            let key_name: &str = key.get_ref();
            if keys().any(|known| known == key_name) {
                continue;
            }
            let meant = nearest(key_name, keys());
            meant_run |= meant == Some("run");
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("a server has {}", all_of(keys())),
            };
            let title = format!("unknown key `{key_name}` in {whose}");
            report.push(key.span(), title).label("unknown").help(help);
        }
        let run = match table.get("run") {
            Some(node) => self.argv(node, report),
            None => {
                if !meant_run {
                    report
                        .push(node.span(), format!("{whose} has no `run`"))
                        .label("what is to be started?")
                        .help(format!("add run = {ARGV}"));
                }
                None
            }
        };
        let env = match table.get("env") {
            Some(node) => self.env(node, report),
            None => Some(Vec::new()),
        };
        let ready = match table.get("ready") {
            Some(node) => self.ready(node, report),
            None => Some(Ready::Tcp),
        };
        let api = table.get("proto").map(|node| self.proto(node, report));
        let tls = table.get("tls").map(|node| self.text(node, report));
        let books = match table.get("books") {
            Some(node) => {
                let known = (self.known.parties, self.known.chains);
                let api = api.as_ref().and_then(Option::as_ref);
                books::read(node, name, known.0, known.1, api, report)
            }
            None => Some(ServerBooks {
                server: name.to_owned(),
                ..ServerBooks::default()
            }),
        };
        let server = ServerSpec {
            name: name.to_owned(),
            run: run?,
            env: env?,
            ready: ready?,
            api: api.flatten(),
            tls: tls.flatten(),
        };
        self.is_told_where(&server, table, report);
        (report.count() == before).then_some(server).zip(books)
    }

    /// A server that is asked at its port must have been told the port.
    fn is_told_where(&self, server: &ServerSpec, table: &DeTable<'_>, report: &mut Report) {
        let env = server.env.iter().map(|(_, value)| value);
        let mut texts = server.run.iter().chain(env);
        let is_told = texts.any(|text| text.names().any(|name| name == "listen"));
        if is_told || matches!(server.ready, Ready::Log(_)) {
            return;
        }
        let span = table.get("run").map(|node| node.span()).unwrap_or_default();
        let title = format!("nothing tells the server `{}` where to listen", self.name);
        report
            .push(span, title)
            .label("`{listen}` is not in `run`, nor in `env`")
            .help("give it the address: run = [\"./maker\", \"--listen\", \"{listen}\"]; for one that does not listen, say \
                   how it shows that it is ready: ready = { log = \"started\" }");
    }

    fn proto(&self, node: &Node<'_>, report: &mut Report) -> Option<DescriptorPool> {
        protos::read(node, self.name, Path::new(&self.here), report)
    }

    fn text(&self, node: &Node<'_>, report: &mut Report) -> Option<Template> {
        let DeValue::String(text) = node.get_ref() else {
            let label = format!("in the server `{}`", self.name);
            wrong(node, "a text", &label, "write it in quotes", report);
            return None;
        };
        let template = match Template::parse(text) {
            Ok(template) => template,
            Err(error) => {
                let (title, help) = no_template(text, &error);
                report
                    .push(node.span(), title)
                    .label("a lone brace")
                    .help(help);
                return None;
            }
        };
        let before = report.count();
        for name in template.names() {
            let Some(help) = self.known.instead_of(name) else {
                continue;
            };
            let owner = name.split('.').next().unwrap_or_default();
            let title = format!("`{{{name}}}` stands for nothing");
            let label = "no endpoint of this world";
            let (label, help) = match self.later.iter().position(|later| *later == owner) {
                Some(0) => ("its own", "write {listen} or {dir} for its own".to_owned()),
                Some(_) => (
                    "is started after this one",
                    format!(
                        "servers are started in their order: move `{owner}` above `{}`",
                        self.name
                    ),
                ),
                None => (label, help),
            };
            report.push(node.span(), title).label(label).help(help);
        }
        let parts = template.0.into_iter().map(|part| match part {
            Part::Name(name) if name == HERE => Part::Text(self.here.clone()),
            part => part,
        });
        (report.count() == before).then(|| Template(parts.collect()))
    }

    fn argv(&self, node: &Node<'_>, report: &mut Report) -> Option<Vec<Template>> {
        let label = format!("`run` of the server `{}`", self.name);
        let DeValue::Array(items) = node.get_ref() else {
            let help = match node.get_ref() {
                DeValue::String(line) => words_of(line),
                _ => format!("write run = {ARGV}"),
            };
            wrong(
                node,
                "an array of texts, the program first",
                &label,
                &help,
                report,
            );
            return None;
        };
        if items.is_empty() {
            report
                .push(node.span(), "a server that runs nothing")
                .label("empty")
                .help(format!("write run = {ARGV}"));
            return None;
        }
        let words: Vec<_> = items.iter().map(|item| self.text(item, report)).collect();
        let mut words = words.into_iter().collect::<Option<Vec<Template>>>()?;
        if let Some(Part::Text(program)) = words.first_mut().and_then(|word| word.0.first_mut()) {
            *program = from_here(program, &self.here);
        }
        Some(words)
    }

    fn env(&self, node: &Node<'_>, report: &mut Report) -> Option<Vec<(String, Template)>> {
        let DeValue::Table(table) = node.get_ref() else {
            let label = format!("`env` of the server `{}`", self.name);
            let help = "write env = { RPC_USER = \"{bitcoind.user}\" }";
            wrong(node, "a table of variables", &label, help, report);
            return None;
        };
        let pairs: Vec<_> = table
            .iter()
            .map(|(key, value)| Some((key.get_ref().to_string(), self.text(value, report)?)))
            .collect();
        pairs.into_iter().collect()
    }

    fn ready(&self, node: &Node<'_>, report: &mut Report) -> Option<Ready> {
        let label = format!("`ready` of the server `{}`", self.name);
        let one = match node.get_ref() {
            DeValue::Table(table) if table.len() == 1 => table.iter().next(),
            _ => None,
        };
        let Some((key, value)) = one else {
            wrong(node, "one way to be ready", &label, READY, report);
            return None;
        };
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("tcp", DeValue::Boolean(true)) => Some(Ready::Tcp),
            ("http", DeValue::String(path)) if path.starts_with('/') => {
                Some(Ready::Http(path.to_string()))
            }
            ("log", DeValue::String(text)) if !text.is_empty() => {
                Some(Ready::Log(text.to_string()))
            }
            ("grpc_health", DeValue::Boolean(true)) => Some(Ready::GrpcHealth(String::new())),
            ("grpc_health", DeValue::String(service)) if !service.is_empty() => {
                Some(Ready::GrpcHealth(service.to_string()))
            }
            ("grpc_health", _) => {
                let help = "write grpc_health = true for the server as a whole, or the name of a service: \
                            grpc_health = \"maker.v1.Maker\"";
                wrong(value, "`true` or a service", &label, help, report);
                None
            }
            ("http", DeValue::String(path)) => {
                let help = format!("write http = \"/{path}\", a path at {{listen}}");
                wrong(value, "a path that starts with `/`", &label, &help, report);
                None
            }
            ("tcp" | "http" | "log", _) => {
                wrong(value, "another value", &label, READY, report);
                None
            }
            (other, _) => {
                let help = match nearest(other, WAYS.iter().copied()) {
                    Some(meant) => format!("did you mean `{meant}`? {READY}"),
                    None => READY.to_owned(),
                };
                report
                    .push(key.span(), format!("`{other}` is no way to be ready"))
                    .label(label)
                    .help(help);
                None
            }
        }
    }
}

/// Reads `needs`: names of programs.
pub(super) fn needs(node: &Node<'_>, report: &mut Report) -> Option<Vec<String>> {
    const HELP: &str = "write needs = [\"python3\"]";
    let DeValue::Array(items) = node.get_ref() else {
        wrong(
            node,
            "an array of programs",
            "the value of `needs`",
            HELP,
            report,
        );
        return None;
    };
    let names: Vec<Option<String>> = items
        .iter()
        .map(|item| match item.get_ref() {
            DeValue::String(name) if !name.is_empty() && !name.contains('/') => {
                Some(name.to_string())
            }
            DeValue::String(path) => {
                let help = format!("{HELP}; a program of your own needs no mention");
                let title = format!("{} is not the name of a program", quoted(path));
                report
                    .push(item.span(), title)
                    .label("looked for on PATH")
                    .help(help);
                None
            }
            _ => {
                wrong(item, "the name of a program", "in `needs`", HELP, report);
                None
            }
        })
        .collect();
    names.into_iter().collect()
}
