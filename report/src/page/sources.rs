//! The texts of the scenario and its fragments, with numbered lines that others link to.

use maud::{Markup, html};

use super::model::Model;

/// How many lines of a file are on the page; scenario files are short.
const LINES: usize = 2_000;

pub(super) fn section(model: &Model<'_>) -> Markup {
    let sources = &model.contents.began.sources;
    let failing = model
        .failing()
        .map(|step| (&*step.began.file, step.began.line as usize));
    html! {
        @if !sources.is_empty() {
            section #sources aria-labelledby="h-sources" {
                h2 #h-sources { "The scenario's files" }
                @for (at, source) in sources.iter().enumerate() {
                    details open[at == 0] {
                        summary { (source.file) }
                        ol.src tabindex="0" aria-label=(source.file) {
                            @for (line, text) in source.text.lines().take(LINES).enumerate() {
                                li id={ "s" (at) "-" (line + 1) } class=[(failing == Some((&*source.file, line + 1))).then_some("bad")] { code { (text) } }
                            }
                        }
                        @if source.text.lines().nth(LINES).is_some() { p.hint { "The rest of the file is left out here." } }
                    }
                }
            }
        }
    }
}

/// A link to a line of a source, by the file's last name; plain words when the record does not have that file.
pub(super) fn link(model: &Model<'_>, file: &str, line: u32) -> Markup {
    let name = file.rsplit('/').next().unwrap_or(file);
    let sources = &model.contents.began.sources;
    match sources.iter().position(|source| source.file == file) {
        Some(at) => html! { a href={ "#s" (at) "-" (line) } title=(file) { (name) ":" (line) } },
        None => html! { span title=(file) { (name) ":" (line) } },
    }
}

/// The lines around `line` of a file, with a caret below the column: what failed.
pub(super) fn excerpt(model: &Model<'_>, file: &str, line: u32, column: u32) -> Option<Markup> {
    let sources = &model.contents.began.sources;
    let at = sources.iter().position(|source| source.file == file)?;
    let line = usize::try_from(line).ok()?.checked_sub(1)?;
    let lines: Vec<&str> = sources[at].text.lines().collect();
    let failing = lines.get(line)?;
    let before = line.saturating_sub(2)..line;
    let after = (line + 1).min(lines.len())..(line + 3).min(lines.len());
    let column = (column as usize).saturating_sub(1);
    let caret: String = (failing.chars().take(column))
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .chain(['^'])
        .collect();
    let shown = |number: usize| {
        html! { span.ln { span.nr { (format!("{:>4} ", number + 1)) } (lines[number]) } "\n" }
    };
    Some(html! {
        figure.excerpt {
            figcaption { a href={ "#s" (at) "-" (line + 1) } { (file) ":" (line + 1) } }
            pre tabindex="0" aria-label={ "Source around line " (line + 1) } {
                @for number in before { (shown(number)) }
                span.ln.bad { span.nr { (format!("{:>4} ", line + 1)) } (failing) } "\n"
                span.caret aria-hidden="true" { "     " (caret) } "\n"
                @for number in after { (shown(number)) }
            }
        }
    })
}
