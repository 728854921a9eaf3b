//! The page of a run of several scenarios: a table with links to their pages. One file, no scripts, nothing from a network.

use std::fmt::Write as _;

/// What the page tells.
#[derive(Debug, Clone)]
pub struct Index {
    /// The summary of the run, such as `1 failed, 63 passed of 64 runs, 71.2 s`.
    pub totals: String,
    /// Programs, seed and so on, a line each.
    pub about: Vec<String>,
    pub rows: Vec<Row>,
}

/// A scenario.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name, with its round.
    pub name: String,
    pub title: String,
    /// One word: `failed`.
    pub outcome: String,
    pub tone: Tone,
    pub seconds: f64,
    /// The first line of its failure, or why it was skipped.
    pub failure: Option<String>,
    /// Its page, relative to this one.
    pub page: Option<String>,
}

/// How bad an outcome is; the worst stand first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    Bad,
    Doubtful,
    Quiet,
    Good,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Bad => "bad",
            Tone::Doubtful => "doubtful",
            Tone::Quiet => "quiet",
            Tone::Good => "good",
        }
    }
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bad:#b3261e;--doubtful:#7a5200;--good:#1b6e3a;--quiet:#5c5f66;--line:#d5d7dc;--back:#fff;--text:#1c1d21;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--bad:#ff8f85;--doubtful:#f0b95a;--good:#7ed69a;--quiet:#a9adb6;--line:#3a3d45;--back:#16171b;--text:#e7e8ec;--link:#8ab4f8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:75rem;padding:1rem;background:var(--back);color:var(--text);font:1rem/1.45 system-ui,sans-serif}
h1{font-size:1.3rem;margin:.2rem 0}
p{margin:.2rem 0;color:var(--quiet);overflow-wrap:anywhere}
a{color:var(--link)}
table{width:100%;border-collapse:collapse;margin-top:1rem}
th{text-align:left;font-weight:600;color:var(--quiet)}
th,td{padding:.45rem .6rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
td.outcome{font-weight:600;white-space:nowrap}
td.time,th.time{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
td small{display:block;color:var(--quiet)}
.bad td.outcome{color:var(--bad)}.doubtful td.outcome{color:var(--doubtful)}.good td.outcome{color:var(--good)}.quiet td.outcome{color:var(--quiet)}
code{font-family:ui-monospace,monospace;font-size:.92em}
@media(max-width:40rem){
thead{position:absolute;clip-path:inset(50%);height:1px;overflow:hidden}
tr{display:grid;grid-template-columns:1fr auto;padding:.5rem 0;border-bottom:1px solid var(--line)}
td{border:0;padding:.1rem 0}td.name,td.why{grid-column:1/-1}td.time{grid-row:1;grid-column:2}td.outcome{grid-row:1;grid-column:1}
td.why:empty{display:none}}
@media print{body{max-width:none}a{color:inherit}}
";

/// The page. What failed stands first; otherwise rows keep their order.
pub fn index_page(index: &Index) -> String {
    let mut rows: Vec<&Row> = index.rows.iter().collect();
    rows.sort_by_key(|row| row.tone);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>swaprig: {totals}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n<h1>{totals}</h1>\n",
        totals = escaped(&index.totals)
    );
    for line in &index.about {
        let _ = writeln!(page, "<p>{}</p>", escaped(line));
    }
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">outcome</th><th scope=\"col\">scenario</th>\
         <th scope=\"col\" class=\"time\">time</th><th scope=\"col\">failure</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        write_row(&mut page, row);
    }
    page.push_str("</tbody>\n</table>\n</main>\n</body>\n</html>\n");
    page
}

fn write_row(page: &mut String, row: &Row) {
    let name = format!("<code>{}</code>", escaped(&row.name));
    let name = match &row.page {
        Some(link) => format!("<a href=\"{}\">{name}</a>", escaped(&href(link))),
        None => name,
    };
    let _ = writeln!(
        page,
        "<tr class=\"{}\"><td class=\"outcome\">{}</td><td class=\"name\">{name}<small>{}</small></td>\
         <td class=\"time\">{:.2} s</td><td class=\"why\">{}</td></tr>",
        row.tone.class(),
        escaped(&row.outcome),
        escaped(&row.title),
        row.seconds,
        escaped(row.failure.as_deref().unwrap_or_default()),
    );
}

/// A relative path as a link (RFC 3986): what is not allowed in one is encoded, slashes stay.
fn href(path: &str) -> String {
    let mut link = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                link.push(char::from(byte));
            }
            other => {
                let _ = write!(link, "%{other:02X}");
            }
        }
    }
    link
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Writing to a text does not fail.
    let _ = maud::Escaper::new(&mut out).write_str(text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, tone: Tone) -> Row {
        Row {
            name: name.to_owned(),
            title: "A <title> & more".to_owned(),
            outcome: "failed".to_owned(),
            tone,
            seconds: 1.5,
            failure: Some("it's \"broken\"".to_owned()),
            page: Some("out/a b#c?.html".to_owned()),
        }
    }

    #[test]
    fn what_failed_stands_first_and_nothing_is_markup() {
        let page = index_page(&Index {
            totals: "1 failed".to_owned(),
            about: vec!["seed <7>".to_owned()],
            rows: vec![row("good", Tone::Good), row("bad", Tone::Bad)],
        });
        assert!(page.find(">bad<").unwrap() < page.find(">good<").unwrap());
        assert!(page.contains("A &lt;title&gt; &amp; more") && page.contains("seed &lt;7&gt;"));
        assert!(page.contains("it's &quot;broken&quot;"));
        assert!(page.contains("href=\"out/a%20b%23c%3F.html\""), "{page}");
        // Nothing is fetched.
        assert!(!page.contains("http") && !page.contains("<script"));
    }
}
