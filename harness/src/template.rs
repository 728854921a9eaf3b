//! Texts with holes, `--listen {listen}`, which the endpoints of a world fill.

use std::fmt;

/// A text with names in braces. `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(pub Vec<Part>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Text that stays as it is.
    Text(String),
    /// A name that stood in braces, such as `listen` or `alice.grpc`.
    Name(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace opens a name that does not end.
    #[error("`{{` opens a name that no `}}` ends")]
    Unclosed,
    /// A brace closes nothing.
    #[error("`}}` closes nothing")]
    Unopened,
    /// Between the braces is no name.
    #[error("`{{{0}}}` has no name in it")]
    NoName(String),
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// When a brace has no partner, or there is no name between two of them.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err(TemplateError::Unopened);
            }
            let end = rest.find('}').ok_or(TemplateError::Unclosed)?;
            let name = &rest[..end];
            let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || !name.chars().all(in_name) {
                return Err(TemplateError::NoName(name.to_owned()));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = &rest[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    /// A text without names, whatever braces it has.
    pub fn plain(text: impl Into<String>) -> Self {
        Template(vec![Part::Text(text.into())])
    }

    /// The names in it, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text with every name replaced by what `value` says.
    ///
    /// # Errors
    /// The first that `value` gives.
    pub fn fill<E>(&self, value: impl Fn(&str) -> Result<String, E>) -> Result<String, E> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Name(name) => text.push_str(&value(name)?),
            }
        }
        Ok(text)
    }
}

/// As it is written, so that reading it gives the same.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    f.write_str(&text.replace('{', "{{").replace('}', "}}"))?;
                }
                Part::Name(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_text_and_filled_in() {
        let template = Template::parse("a {x.y} {{\"b\": {z}}}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), ["x.y", "z"]);
        let filled = template.fill(|name| Ok::<_, ()>(name.to_uppercase()));
        assert_eq!(filled.unwrap(), "a X.Y {\"b\": Z}");
        assert_eq!(Template::parse(&template.to_string()).unwrap(), template);
        assert_eq!(template.fill(|_| Err("gone")), Err("gone"));
    }

    #[test]
    fn a_brace_without_a_partner_is_an_error() {
        for (text, error) in [
            ("{x", TemplateError::Unclosed),
            ("x}", TemplateError::Unopened),
            ("{}", TemplateError::NoName(String::new())),
            ("{a b}", TemplateError::NoName("a b".into())),
        ] {
            assert_eq!(Template::parse(text), Err(error), "{text}");
        }
    }
}
