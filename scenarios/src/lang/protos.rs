//! The `.proto` files of a server, compiled when a file is checked.

use std::path::{Path, PathBuf};

use miette::Diagnostic as _;
use prost_reflect::DescriptorPool;
use toml::de::DeValue;

use super::problem::Report;
use super::words::{Node, describe, nearest, quoted};

const EXAMPLE: &str =
    "write proto = [\"maker.proto\"], and leave it out for a server that has reflection";

/// Compiles the files that `proto` of a server names, which are found from `here`.
pub(super) fn read(
    node: &Node<'_>,
    server: &str,
    here: &Path,
    report: &mut Report,
) -> Option<DescriptorPool> {
    let label = format!("`proto` of the server `{server}`");
    let items = match node.get_ref() {
        DeValue::Array(items) if !items.is_empty() => items,
        DeValue::Array(_) => {
            report
                .push(node.span(), "no `.proto` file")
                .label("empty")
                .help(EXAMPLE);
            return None;
        }
        _ => {
            let help = match node.get_ref() {
                DeValue::String(text) => format!("write proto = [{}]", quoted(text)),
                _ => EXAMPLE.to_owned(),
            };
            let title = format!("expected an array of files, found {}", describe(node));
            report.push(node.span(), title).label(label).help(help);
            return None;
        }
    };
    let mut files = Vec::new();
    for item in items.iter() {
        let DeValue::String(text) = item.get_ref() else {
            let title = format!("expected a file, found {}", describe(item));
            report.push(item.span(), title).label(&label).help(EXAMPLE);
            continue;
        };
        let path = here.join(text.as_ref());
        match path.is_file() {
            true => files.push((item, path)),
            false => no_file(item, text, &path, report),
        }
    }
    if files.len() < items.len() {
        return None;
    }
    compile(&files, here, report)
}

fn no_file(item: &Node<'_>, text: &str, path: &Path, report: &mut Report) {
    let dir = path.parent().unwrap_or(path);
    let beside = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut beside: Vec<String> = beside
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".proto"))
        .collect();
    beside.sort();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let help = match nearest(&name, beside.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean \"{}\"?", text.replace(name.as_ref(), meant)),
        None => "a path begins in the directory of the scenario file".to_owned(),
    };
    report
        .push(item.span(), format!("there is no file {}", quoted(text)))
        .label("not found")
        .help(help);
}

fn compile(
    files: &[(&Node<'_>, PathBuf)],
    here: &Path,
    report: &mut Report,
) -> Option<DescriptorPool> {
    // Imports are looked for beside the scenario file and in every directory on the way to the files.
    let mut includes: Vec<PathBuf> = Vec::new();
    for (_, path) in files {
        let mut way: Vec<_> = path.ancestors().skip(1).map(Path::to_owned).collect();
        way.retain(|dir| dir.starts_with(here));
        if way.is_empty() {
            way.extend(path.parent().map(Path::to_owned));
        }
        for dir in way.into_iter().rev() {
            if !includes.contains(&dir) {
                includes.push(dir);
            }
        }
    }
    let first = files.first().map(|(node, _)| node.span())?;
    let mut compiler = match protox::Compiler::new(&includes) {
        Ok(compiler) => compiler,
        Err(error) => {
            report
                .push(first, error.to_string())
                .label("in `proto`")
                .help(EXAMPLE);
            return None;
        }
    };
    compiler.include_imports(true);
    for (node, path) in files {
        if let Err(error) = compiler.open_file(path) {
            let (place, help) = match place(&error, &includes) {
                Some((file, line)) => (
                    format!("line {line} of {file}"),
                    format!(
                        "mend {file}; imports begin in the directory of the scenario, or in one on the way to the file"
                    ),
                ),
                None => ("in this file".to_owned(), "mend the file".to_owned()),
            };
            report
                .push(node.span(), format!("this is no API: {error}"))
                .label(place)
                .help(help);
            return None;
        }
    }
    let pool = compiler.descriptor_pool();
    if pool.services().next().is_none() {
        report
            .push(first, "no `.proto` file of this server has a service")
            .label("only messages")
            .help(
                "name the file that has `service … { rpc … }`; what it imports is found by itself",
            );
        return None;
    }
    Some(pool)
}

/// The file and the line in which an error is.
fn place(error: &protox::Error, includes: &[PathBuf]) -> Option<(String, usize)> {
    let file = error.file()?;
    let offset = error.labels()?.next()?.offset();
    let path = includes
        .iter()
        .map(|dir| dir.join(file))
        .find(|path| path.is_file())?;
    let text = std::fs::read(path).ok()?;
    let before = text.get(..offset)?;
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    Some((file.to_owned(), line))
}
