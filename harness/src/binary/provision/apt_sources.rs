//! The Debian mirrors that a machine's own apt sources name, in both formats (sources.list(5)).

use std::path::{Path, PathBuf};

/// A Debian mirror, and the file with its signing keys if the source names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) uri: String,
    pub(super) keyring: Option<PathBuf>,
}

/// Releases of Debian; other distributions' archives have other names. A mirror of any of them carries `sid`.
const SUITES: &[&str] = &[
    "sid",
    "unstable",
    "testing",
    "stable",
    "oldstable",
    "oldoldstable",
    "buster",
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
];

/// One source, whatever format it was written in.
#[derive(Debug, Default)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    keyring: Option<PathBuf>,
}

/// The mirrors named by the files in `apt_dir`; those that look most like the main archive come first.
pub(super) fn mirrors(apt_dir: &Path) -> Vec<Mirror> {
    let mut files = vec![apt_dir.join("sources.list")];
    let parts = std::fs::read_dir(apt_dir.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten();
    let mut parts: Vec<_> = parts.map(|entry| entry.path()).collect();
    parts.sort();
    files.extend(parts);
    let mut found: Vec<Mirror> = Vec::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        // As apt does: a file with any other ending is not a source.
        let entries = match file.extension().and_then(|e| e.to_str()) {
            Some("list") => one_line(&text),
            Some("sources") => deb822(&text),
            _ => continue,
        };
        for mirror in entries.iter().flat_map(debian_mirrors) {
            if !found.contains(&mirror) {
                found.push(mirror);
            }
        }
    }
    // Stable: otherwise in the order of the files.
    found.sort_by_key(|mirror| !mirror.uri.ends_with("/debian"));
    found
}

fn debian_mirrors(entry: &Entry) -> Vec<Mirror> {
    let known = entry
        .suites
        .iter()
        .any(|suite| SUITES.contains(&suite.trim_end_matches('/')));
    if !known || !entry.components.iter().any(|component| component == "main") {
        return Vec::new();
    }
    let uris = entry
        .uris
        .iter()
        .map(|uri| uri.trim_end_matches('/').to_owned());
    let usable = |uri: &String| !uri.starts_with("cdrom:") && !uri.contains(['"', ' ']);
    uris.filter(usable)
        .map(|uri| Mirror {
            uri,
            keyring: entry.keyring.clone(),
        })
        .collect()
}

/// `deb [option=value …] uri suite component …`
fn one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let keyring = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    Some(Entry {
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        keyring: keyring.and_then(key_file),
    })
}

/// Paragraphs of `Field: value`, continued by lines that begin with white space.
fn deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            entries.extend(deb822_entry(&std::mem::take(&mut fields)));
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn deb822_entry(fields: &[(String, String)]) -> Option<Entry> {
    let field = |name: &str| {
        fields
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    };
    let words = |name| {
        field(name)
            .unwrap_or("")
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let is_off = field("enabled").is_some_and(|value| ["no", "false", "0", "off"].contains(&value));
    if is_off || !words("types").iter().any(|kind| kind == "deb") {
        return None;
    }
    Some(Entry {
        uris: words("uris"),
        suites: words("suites"),
        components: words("components"),
        keyring: field("signed-by").and_then(key_file),
    })
}

/// `Signed-By` may also hold a fingerprint or a whole key; those cannot be named in a source of our own.
fn key_file(value: &str) -> Option<PathBuf> {
    let is_path = value.starts_with('/') && !value.contains([' ', ',', '\n', '"', ']']);
    is_path.then(|| PathBuf::from(value))
}

/// The address without a user name and password, for messages and records.
pub(super) fn without_credentials(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest
                .split_once('/')
                .map_or((rest, ""), |(host, path)| (host, path));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let slash = if path.is_empty() { "" } else { "/" };
            format!("{scheme}://{host}{slash}{path}")
        }
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_dir(files: &[(&str, &str)]) -> Vec<Mirror> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        mirrors(dir.path())
    }

    fn mirror(uri: &str, keyring: Option<&str>) -> Mirror {
        Mirror {
            uri: uri.into(),
            keyring: keyring.map(Into::into),
        }
    }

    #[test]
    fn one_line_sources() {
        let text = "# a comment\n\
            deb-src http://a.test/debian trixie main\n\
            deb http://vendor.test/debian stable contrib\n\
            deb [arch=amd64 signed-by=/k/own.gpg] http://b.test/mirror/ bookworm main contrib # mine\n\
            deb http://c.test/debian/ trixie main\n\
            deb http://c.test/debian-security trixie-security main\n\
            deb http://ubuntu.test/ubuntu noble main\n\
            deb cdrom:[Debian] trixie main\n";
        let expected = [
            mirror("http://c.test/debian", None),
            mirror("http://b.test/mirror", Some("/k/own.gpg")),
        ];
        assert_eq!(in_dir(&[("sources.list", text)]), expected);
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb deb-src\n\
            # in between\n\
            URIs: http://a.test/debian\n\
            Suites: bookworm\n bookworm-updates\n\
            Components: main\n\
            Signed-By: /k/debian.gpg\n\
            \n\
            Types: deb\nURIs: http://off.test/debian\nSuites: sid\nComponents: main\nEnabled: no\n\
            \n\
            Types: deb\nURIs: http://b.test/debian http://c.test/debian\nSuites: sid\nComponents: main\n\
            Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
        let expected = [
            mirror("http://a.test/debian", Some("/k/debian.gpg")),
            mirror("http://b.test/debian", None),
            mirror("http://c.test/debian", None),
        ];
        assert_eq!(in_dir(&[("sources.list.d/x.sources", text)]), expected);
    }

    #[test]
    fn files_that_apt_ignores_are_ignored() {
        let line = "deb http://a.test/debian sid main\n";
        assert_eq!(
            in_dir(&[
                ("sources.list.d/a.list.off", line),
                ("sources.list.d/b.sources", line)
            ]),
            []
        );
        assert_eq!(mirrors(Path::new("/nonexistent")), []);
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(
            without_credentials("http://me:secret@a.test/debian"),
            "http://a.test/debian"
        );
        assert_eq!(
            without_credentials("https://a.test/x@y"),
            "https://a.test/x@y"
        );
        assert_eq!(without_credentials("file:/srv/debian"), "file:/srv/debian");
    }
}
