//! The cases of a scenario: the rows of `cases`, and every combination of the rows of `matrix`.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::fragment::input_name;
use super::problem::{Report, Span};
use super::words::{Node, all_of, describe, nearest, quoted};

/// One case: a name and the inputs that it gives.
#[derive(Debug, Clone)]
pub(super) struct Case<'a> {
    pub(super) name: String,
    /// Where its name is; of a combination, that of the row of the last axis.
    pub(super) span: Span,
    pub(super) inputs: Vec<(String, Node<'a>)>,
}

/// The most cases that one file can have.
const MOST: usize = 1_000;

const CASES_HELP: &str = "write small = { amount = \"1_000 sat\" }, a row for each case";
const MATRIX_HELP: &str = "write payer = [\"alice\", \"bob\"], or size = { small = \"1_000 sat\", large = \"50_000 sat\" }";

/// Reads `cases` and `matrix`; `None` when one of them has a problem. Without either there are no cases. Keys in
/// `strays` belong elsewhere, which has been said.
pub(super) fn read<'a>(
    cases: Option<&Node<'a>>,
    matrix: Option<&Node<'a>>,
    strays: &[&str],
    report: &mut Report,
) -> Option<Vec<Case<'a>>> {
    let before = report.count();
    let mut all = Vec::new();
    if let Some(node) = cases {
        all.extend(rows("cases", CASES_HELP, node, strays, report)?);
    }
    if let Some(node) = matrix {
        all.extend(combinations(node, strays, report)?);
    }
    distinct(&all, report);
    complete(&all, report);
    (report.count() == before).then_some(all)
}

fn table<'n, 'a>(
    what: &str,
    help: &str,
    node: &'n Node<'a>,
    report: &mut Report,
) -> Option<&'n DeTable<'a>> {
    let title = match node.get_ref() {
        DeValue::Table(table) if !table.is_empty() => return Some(table),
        DeValue::Table(_) => format!("`{what}` is empty"),
        _ => format!("expected a table, found {}", describe(node)),
    };
    report
        .push(node.span(), title)
        .label(format!("the value of `{what}`"))
        .help(help);
    None
}

/// Named rows, each a table of inputs.
fn rows<'a>(
    what: &str,
    help: &str,
    node: &Node<'a>,
    strays: &[&str],
    report: &mut Report,
) -> Option<Vec<Case<'a>>> {
    let mut rows = Vec::new();
    for (key, value) in table(what, help, node, report)? {
        let name: &str = key.get_ref();
        if strays.contains(&name) || !case_name(name, key.span(), report) {
            continue;
        }
        let DeValue::Table(row) = value.get_ref() else {
            let title = format!("expected a table of inputs, found {}", describe(value));
            report
                .push(value.span(), title)
                .label(format!("the case `{name}`"))
                .help(help);
            continue;
        };
        let mut inputs = Vec::new();
        for (key, value) in row {
            if input_name(key.get_ref(), key.span(), report) {
                inputs.push((key.get_ref().to_string(), value.clone()));
            }
        }
        rows.push(Case {
            name: name.to_owned(),
            span: key.span(),
            inputs,
        });
    }
    Some(rows)
}

/// Whether a case can have that name; when not, that is said.
fn case_name(name: &str, span: Span, report: &mut Report) -> bool {
    if is_case_name(name) {
        return true;
    }
    let example: String = name
        .trim()
        .to_lowercase()
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            _ => '-',
        })
        .collect();
    let example = example.trim_matches('-');
    let help = match is_case_name(example) {
        true => format!("write {example}"),
        false => "write a word such as small".to_owned(),
    };
    report
        .push(span, format!("{} is not a name for a case", quoted(name)))
        .label("lowercase letters, digits, `-` and `_`, a letter or digit first")
        .help(help);
    false
}

fn is_case_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// Every combination of the axes' rows, the last axis varying fastest.
fn combinations<'a>(
    node: &Node<'a>,
    strays: &[&str],
    report: &mut Report,
) -> Option<Vec<Case<'a>>> {
    let before = report.count();
    let mut given: BTreeMap<String, (String, Span)> = BTreeMap::new();
    let mut all: Vec<Case<'a>> = Vec::new();
    for (key, value) in table("matrix", MATRIX_HELP, node, report)? {
        let axis: &str = key.get_ref();
        if strays.contains(&axis) || !input_name(axis, key.span(), report) {
            continue;
        }
        let rows = axis_rows(axis, value, report);
        for input in rows.iter().flat_map(|row| &row.inputs) {
            let first = given.entry(input.0.clone());
            let (owner, span) = first.or_insert_with(|| (axis.to_owned(), key.span()));
            if owner != axis {
                let title = format!("the axes `{owner}` and `{axis}` both give `{}`", input.0);
                report
                    .push(input.1.span(), title)
                    .label("the second")
                    .also(span.clone(), "the first axis")
                    .help("let one axis give it, or name the two inputs differently");
                break;
            }
        }
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let complete_rows = complete(&rows, report);
        if names.is_empty() || !complete_rows {
            continue;
        }
        all = product(all, &rows);
        if all.len() > MOST {
            let title = format!("the matrix makes more than {MOST} cases");
            report
                .push(node.span(), title)
                .label("the product of its axes")
                .help("split it into several files");
            return None;
        }
    }
    (report.count() == before).then_some(all)
}

fn product<'a>(all: Vec<Case<'a>>, rows: &[Case<'a>]) -> Vec<Case<'a>> {
    if all.is_empty() {
        return rows.to_vec();
    }
    let join = |case: &Case<'a>, row: &Case<'a>| Case {
        name: format!("{}-{}", case.name, row.name),
        span: row.span.clone(),
        inputs: [case.inputs.clone(), row.inputs.clone()].concat(),
    };
    all.iter()
        .flat_map(|case| rows.iter().map(move |row| join(case, row)))
        .collect()
}

/// The rows of one axis: words that name themselves, named values, or named tables of inputs.
fn axis_rows<'a>(axis: &str, node: &Node<'a>, report: &mut Report) -> Vec<Case<'a>> {
    let mut rows = Vec::new();
    match node.get_ref() {
        DeValue::Array(items) if !items.is_empty() => {
            for item in items {
                let name = match item.get_ref() {
                    DeValue::String(text) if is_case_name(text) => text.to_string(),
                    DeValue::Integer(number) if is_case_name(number.as_str()) => {
                        number.as_str().to_owned()
                    }
                    _ => {
                        let title = format!("{} cannot name a case", describe(item));
                        let help = format!("name the values: {axis} = {{ small = \"1_000 sat\" }}");
                        report
                            .push(item.span(), title)
                            .label(format!("on the axis `{axis}`"))
                            .help(help);
                        continue;
                    }
                };
                rows.push(Case {
                    name,
                    span: item.span(),
                    inputs: vec![(axis.to_owned(), item.clone())],
                });
            }
        }
        DeValue::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                if !case_name(key.get_ref(), key.span(), report) {
                    continue;
                }
                let mut inputs = vec![(axis.to_owned(), value.clone())];
                if let DeValue::Table(row) = value.get_ref() {
                    let named =
                        |(key, value): (&toml::Spanned<toml::de::DeString<'a>>, &Node<'a>)| {
                            (key.get_ref().to_string(), value.clone())
                        };
                    row.keys().for_each(|key| {
                        input_name(key.get_ref(), key.span(), report);
                    });
                    inputs = row.iter().map(named).collect();
                }
                rows.push(Case {
                    name: key.get_ref().to_string(),
                    span: key.span(),
                    inputs,
                });
            }
        }
        _ => {
            let title = format!("expected the values of `{axis}`, found {}", describe(node));
            report
                .push(node.span(), title)
                .label(format!("the axis `{axis}`"))
                .help(MATRIX_HELP);
        }
    }
    rows
}

/// Says which cases have one name.
fn distinct(cases: &[Case<'_>], report: &mut Report) {
    let mut seen: BTreeMap<&str, &Span> = BTreeMap::new();
    for case in cases {
        if let Some(first) = seen.insert(&case.name, &case.span) {
            report
                .push(
                    case.span.clone(),
                    format!("two cases are called `{}`", case.name),
                )
                .label("the second")
                .also(first.clone(), "the first")
                .help("rename a row of `cases`, or of an axis of `matrix`");
        }
    }
}

/// Says which rows lack an input that another row gives.
fn complete(rows: &[Case<'_>], report: &mut Report) -> bool {
    let mut whole: BTreeMap<&str, (&str, &Node<'_>)> = BTreeMap::new();
    for row in rows {
        for (input, node) in &row.inputs {
            whole.entry(input).or_insert((&row.name, node));
        }
    }
    let mut sound = true;
    for row in rows {
        let has = |input: &str| row.inputs.iter().any(|(name, _)| name == input);
        let lacks: Vec<&str> = whole.keys().copied().filter(|input| !has(input)).collect();
        let Some(first) = lacks.first() else { continue };
        sound = false;
        let lacking = all_of(lacks.iter().copied());
        let mut extra = row
            .inputs
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| {
                rows.iter().all(|other| {
                    other.name == row.name || other.inputs.iter().all(|(n, _)| n != name)
                })
            });
        let help = match extra.find_map(|name| Some((name, nearest(name, [*first])?))) {
            Some((name, meant)) => format!("did you mean `{meant}` with `{name}`?"),
            None => format!("add `{first}` to this row: every case gives the same inputs"),
        };
        let problem = report.push(
            row.span.clone(),
            format!("the case `{}` has no {lacking}", row.name),
        );
        problem.label("in this row").help(help);
        if let Some((other, node)) = whole.get(first) {
            problem.also(node.span(), format!("`{first}` of `{other}`"));
        }
    }
    sound
}
