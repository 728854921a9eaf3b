//! One problem in a scenario file: where it is, what it is, and what to type instead.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, NamedSource,
    Severity, SourceCode, SourceSpan, SpanContents,
};

/// Byte offsets into the text of a file.
pub type Span = Range<usize>;

/// A scenario file as it was read.
#[derive(Clone)]
pub struct Source {
    id: String,
    path: PathBuf,
    text: Arc<str>,
    /// The offset of the first byte that is not UTF-8.
    not_utf8_at: Option<usize>,
}

impl Source {
    /// A file's text, with the stable `id` that reports and selections call it by.
    pub fn new(id: impl Into<String>, path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        Source {
            id: id.into(),
            path: path.into(),
            text: text.into(),
            not_utf8_at: None,
        }
    }

    /// A file's bytes. Bytes that are not UTF-8 are kept as a problem that [`check`](super::check) reports.
    pub fn from_bytes(id: impl Into<String>, path: impl Into<PathBuf>, bytes: &[u8]) -> Self {
        let mut source = Source::new(id, path, String::from_utf8_lossy(bytes));
        source.not_utf8_at = std::str::from_utf8(bytes).err().map(|e| e.valid_up_to());
        source
    }

    /// The name that does not depend on how the file was selected, such as `lightning/pay-invoice`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn rename(&mut self, id: String) {
        self.id = id;
    }

    /// The path as messages show it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn not_utf8_at(&self) -> Option<usize> {
        self.not_utf8_at
    }

    /// The line and the column of a byte offset, both from 1; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.clamp(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }

    /// The nearest offset at or before `offset` where a character starts.
    fn clamp(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    fn clamp_span(&self, span: &Span) -> Span {
        let start = self.clamp(span.start);
        start..self.clamp(span.end.max(start))
    }
}

/// The text itself would drown everything else.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("id", &self.id)
            .field("path", &self.path)
            .finish()
    }
}

/// Shows whole lines and no others: miette shows either less than a line or its neighbours, too.
#[derive(Debug, Clone)]
struct WholeLines {
    text: Arc<str>,
    named: NamedSource<Arc<str>>,
}

impl SourceCode for WholeLines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        // Without context lines miette asks where the span itself is, not what to show.
        if lines_before == 0 {
            return self.named.read_span(span, 0, 0);
        }
        let start = self.text[..span.offset()]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        let end = span.offset() + span.len();
        let end = self.text[end..]
            .find('\n')
            .map_or(self.text.len(), |newline| end + newline);
        self.named.read_span(&SourceSpan::from(start..end), 0, 0)
    }
}

/// A problem at a place in a file. `Display` is its title, one lowercase fragment.
#[derive(Debug, Clone)]
pub struct Problem {
    code: WholeLines,
    source: Source,
    title: String,
    span: Span,
    label: String,
    also: Vec<(Span, String)>,
    help: Option<String>,
    /// Places in other files that belong to it, from the inside out.
    notes: Vec<Problem>,
    is_note: bool,
    /// Where it stands among the problems of the file that is checked.
    order: usize,
}

impl Problem {
    /// A problem at `span` of `source`. Spans outside the text are cut to it.
    pub fn new(source: &Source, span: Span, title: impl Into<String>) -> Self {
        Problem {
            code: WholeLines {
                text: source.text.clone(),
                named: NamedSource::new(source.path.display().to_string(), source.text.clone()),
            },
            order: span.start,
            span: source.clamp_span(&span),
            source: source.clone(),
            title: title.into(),
            label: String::new(),
            also: Vec::new(),
            help: None,
            notes: Vec::new(),
            is_note: false,
        }
    }

    /// A place in another file that belongs to the problem, such as the step that uses the fragment it is in.
    pub fn note(
        &mut self,
        source: &Source,
        span: Span,
        title: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Self {
        let mut note = Problem::new(source, span, title);
        note.is_note = true;
        note.label = label.into();
        self.notes.push(note);
        self
    }

    /// Moves the problem to another place of the same file; the old one stays as a second place.
    pub(super) fn move_to(&mut self, span: Span, label: &str) {
        self.also.push((self.span.clone(), label.to_owned()));
        self.order = span.start;
        self.span = self.source.clamp_span(&span);
    }

    /// What the caret says.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// A second place that belongs to the problem.
    pub fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.also
            .push((self.source.clamp_span(&span), label.into()));
        self
    }

    /// What to type instead.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// The other places that belong to it.
    pub(super) fn places(&self) -> Vec<Span> {
        self.also.iter().map(|(span, _)| span.clone()).collect()
    }

    /// Where it is, in bytes.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Where it is: line and column, both from 1.
    pub fn position(&self) -> (usize, usize) {
        self.source.position(self.span.start)
    }

    /// The file it is in.
    pub fn source_file(&self) -> &Source {
        &self.source
    }

    /// What to type instead, when there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The whole message with its source line and caret, `width` columns wide, without colours.
    pub fn render_plain(&self, width: usize) -> String {
        self.render_with(GraphicalTheme::unicode_nocolor(), width)
    }

    /// The whole message with its source line and caret, `width` columns wide, in colour.
    pub fn render_colour(&self, width: usize) -> String {
        self.render_with(GraphicalTheme::unicode(), width)
    }

    fn render_with(&self, theme: GraphicalTheme, width: usize) -> String {
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_context_lines(1)
            .with_links(false)
            .without_syntax_highlighting();
        let mut out = self.render_one(&handler);
        for note in &self.notes {
            out.push_str(&note.render_one(&handler));
        }
        out
    }

    fn render_one(&self, handler: &GraphicalReportHandler) -> String {
        let mut out = String::new();
        if handler.render_report(&mut out, self).is_err() {
            let (line, column) = self.position();
            out = format!(
                "{}:{line}:{column}: {}\n",
                self.source.path.display(),
                self.title
            );
        }
        out
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        self.is_note.then_some(Severity::Advice)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.code)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = (!self.label.is_empty()).then(|| self.label.clone());
        let primary = LabeledSpan::new_primary_with_span(label, self.span.clone());
        let also = self
            .also
            .iter()
            .map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(std::iter::once(primary).chain(also)))
    }
}

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Report {
    source: Source,
    problems: Vec<Problem>,
}

impl Report {
    /// Nothing found yet.
    pub fn new(source: &Source) -> Self {
        Report {
            source: source.clone(),
            problems: Vec::new(),
        }
    }

    /// Adds a problem and gives it back, to be described further.
    pub fn push(&mut self, span: Span, title: impl Into<String>) -> &mut Problem {
        self.problems.push(Problem::new(&self.source, span, title));
        let last = self.problems.len() - 1;
        &mut self.problems[last]
    }

    /// The file it is about.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Takes over what was found in another file; `order` is the place here that it belongs to.
    pub(super) fn absorb(&mut self, other: Report, order: usize) {
        for mut problem in other.problems {
            problem.order = order;
            self.problems.push(problem);
        }
    }

    /// What was found since there were `before` problems.
    pub(super) fn since(&mut self, before: usize) -> &mut [Problem] {
        self.problems.get_mut(before..).unwrap_or_default()
    }

    /// How much was found so far.
    pub(super) fn count(&self) -> usize {
        self.problems.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Everything found, from the top of the file to its bottom, each thing once, however many cases have it.
    pub fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.order);
        let mut seen = BTreeSet::new();
        self.problems.retain(|problem| {
            let Span { start, end } = problem.span;
            let path = problem.source.path.clone();
            seen.insert((path, start, end, problem.title.clone()))
        });
        self.problems
    }
}
