//! The differences between the bundled daemons and upstream's that are known and accepted, each with its reason. The list
//! in `docs/bundled-elements.md` is made from this one.

/// A difference, and all places at which it shows.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What differs, in a few words.
    pub what: &'static str,
    /// Why that is accepted.
    pub reason: &'static str,
    /// Case and label of each place; `*` stands for anything.
    pub places: &'static [(&'static str, &'static str)],
}

/// All of them.
pub const KNOWN: &[Known] = &[];

impl Known {
    /// The one that a place belongs to.
    pub fn of(case: &str, label: &str) -> Option<&'static Known> {
        let here = |known: &&Known| {
            let mut places = known.places.iter();
            places.any(|(own, at)| Known::fits(own, case) && Known::fits(at, label))
        };
        KNOWN.iter().find(here)
    }

    /// Whether `text` is `pattern`, in which `*` stands for anything.
    pub(crate) fn fits(pattern: &str, text: &str) -> bool {
        let mut parts = pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else {
            return rest.is_empty();
        };
        for part in middle {
            let Some(at) = rest.find(part) else {
                return false;
            };
            rest = &rest[at + part.len()..];
        }
        rest.ends_with(last)
    }

    /// The list as Markdown, for the documentation.
    pub fn markdown() -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for known in KNOWN {
            let _ = writeln!(text, "- **{}** {}", known.what, known.reason);
            let mut cases: Vec<&str> = known.places.iter().map(|(case, _)| *case).collect();
            cases.dedup();
            let cases: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
            let _ = writeln!(text, "  ({})", cases.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*", "", true),
            ("*b", "ab", true),
            ("a*c", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*d*e", "abcde", true),
            ("a*e*d", "abcde", false),
            ("b*", "ab", false),
        ] {
            assert_eq!(Known::fits(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn every_known_difference_says_why_and_names_a_case_that_exists() {
        let names: Vec<_> = crate::all().iter().map(|case| case.name).collect();
        for known in KNOWN {
            assert!(!known.reason.is_empty() && known.what.ends_with('.'), "{known:?}");
            for (case, _) in known.places {
                assert!(names.iter().any(|name| Known::fits(case, name)), "{case}");
            }
        }
    }
}
