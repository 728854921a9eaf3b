//! As much of HTML as tells what tags a page has, the way a browser reads it.

use std::collections::HashMap;

/// An opening tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    pub name: String,
    pub attributes: HashMap<String, String>,
}

impl Tag {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

/// All opening tags of `html`, with their attributes unescaped. What is inside of `script` and `style` is text.
pub(crate) fn tags(html: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let (tag, after) = tag(rest);
        rest = after;
        if ["script", "style"].contains(&&*tag.name) {
            let end = format!("</{}", tag.name);
            rest = &rest[rest.find(&end).expect("it ends")..];
        }
        tags.push(tag);
    }
    tags
}

fn tag(text: &str) -> (Tag, &str) {
    let end = text
        .find(|c: char| c.is_whitespace() || c == '>')
        .expect("a tag ends");
    let name = text[..end].to_ascii_lowercase();
    let mut attributes = HashMap::new();
    let mut rest = text[end..].trim_start();
    while !rest.starts_with('>') {
        let end = rest
            .find(|c: char| c.is_whitespace() || "=>".contains(c))
            .expect("a name ends");
        let (attribute, after) = rest.split_at(end);
        let mut value = String::new();
        rest = after;
        if let Some(after) = after.strip_prefix("=\"") {
            let (quoted, after) = after.split_once('"').expect("a quote ends");
            value = unescape(quoted);
            rest = after;
        }
        let twice = attributes.insert(attribute.to_owned(), value);
        assert_eq!(twice, None, "{name} has {attribute} twice");
        rest = rest.trim_start();
    }
    (Tag { name, attributes }, &rest[1..])
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}
