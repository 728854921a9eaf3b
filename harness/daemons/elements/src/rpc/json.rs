//! JSON as elementsd reads and writes it: numbers keep their digits and objects their order.
//!
//! serde_json's value type makes floats of numbers and sorts the keys; amounts must pass through neither.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

/// How deep values may nest, as in elementsd.
const MAX_DEPTH: usize = 512;
/// How many values one text may hold. A body of the largest size could otherwise fill the memory.
const MAX_VALUES: usize = 1_000_000;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`, and what an absent parameter is read as.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as its text.
    Num(String),
    /// A string.
    Str(String),
    /// An array.
    Arr(Vec<Json>),
    /// An object: keys in the order they were written.
    Obj(Vec<(String, Json)>),
}

/// The text was no JSON, or nested too deeply, or held too many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Parse error")]
pub struct ParseError;

impl Json {
    /// Reads one value; nothing but white space may follow it.
    ///
    /// # Errors
    /// When `text` is not exactly one JSON value within the limits of depth and count.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(text).map_err(|_| ParseError)?;
        let mut parser = Parser {
            text,
            at: 0,
            values_left: MAX_VALUES,
        };
        let value = parser.value(0)?;
        parser.skip_space();
        if parser.at == text.len() {
            Ok(value)
        } else {
            Err(ParseError)
        }
    }

    /// The value of a key: the first of that name, `Null` when there is none or this is no object.
    pub fn get(&self, key: &str) -> &Json {
        match self {
            Json::Obj(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map_or(&Json::Null, |(_, value)| value),
            _ => &Json::Null,
        }
    }

    /// Whether an object has this key.
    pub fn has(&self, key: &str) -> bool {
        matches!(self, Json::Obj(entries) if entries.iter().any(|(name, _)| name == key))
    }

    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Json::Null)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Json::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array.
    pub fn as_arr(&self) -> Option<&[Json]> {
        match self {
            Json::Arr(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a number.
    pub fn as_num(&self) -> Option<&str> {
        match self {
            Json::Num(text) => Some(text),
            _ => None,
        }
    }

    /// The text of this value, without white space.
    pub fn write(&self) -> String {
        let mut out = String::new();
        self.write_to(&mut out);
        out
    }

    /// Appends the text of this value.
    pub(super) fn write_to(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Num(text) => out.push_str(text),
            Json::Str(text) => write_string(text, out),
            Json::Arr(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_to(out);
                }
                out.push(']');
            }
            Json::Obj(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_string(key, out);
                    out.push(':');
                    value.write_to(out);
                }
                out.push('}');
            }
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    // What is escaped is one byte long, so a text can be cut there; most texts are megabytes of hexadecimal digits.
    let is_escaped = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\' | 0x7f);
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.as_bytes().iter().position(is_escaped) {
        let (plain, escaped) = rest.split_at(at);
        out.push_str(plain);
        let (byte, after) = escaped.split_at(1);
        match byte {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            "\n" => out.push_str("\\n"),
            "\r" => out.push_str("\\r"),
            "\t" => out.push_str("\\t"),
            "\u{8}" => out.push_str("\\b"),
            "\u{c}" => out.push_str("\\f"),
            other => {
                let code = other.bytes().next().unwrap_or_default();
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{code:04x}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out.push('"');
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Json::Bool(value)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::Str(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Json::Str(text)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Json::Arr(items.into_iter().map(Into::into).collect())
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Json {
            fn from(value: $integer) -> Self {
                Json::Num(value.to_string())
            }
        }
    )*};
}
from_integers!(i32, i64, u8, u16, u32, u64, usize);

/// Builds an object key by key.
#[derive(Debug, Default)]
pub struct Object(Vec<(String, Json)>);

impl Object {
    /// An object without keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key at the end; it must be new.
    pub fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.0.push((key.to_owned(), value.into()));
    }

    /// Adds all keys of another object at the end.
    pub fn append(&mut self, other: Object) {
        self.0.extend(other.0);
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Json::Obj(object.0)
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    values_left: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Result<u8, ParseError> {
        let byte = self.peek().ok_or(ParseError)?;
        self.at += 1;
        Ok(byte)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, ParseError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(ParseError)?;
        self.skip_space();
        match self.peek().ok_or(ParseError)? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => Ok(Json::Str(self.string()?)),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(ParseError);
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Json, ParseError> {
        let mut items = Vec::new();
        self.open(depth)?;
        if self.closes(b']') {
            return Ok(Json::Arr(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.ends(b']')? {
                return Ok(Json::Arr(items));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, ParseError> {
        let mut entries = Vec::new();
        self.open(depth)?;
        if self.closes(b'}') {
            return Ok(Json::Obj(entries));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            if self.next()? != b':' {
                return Err(ParseError);
            }
            entries.push((key, self.value(depth + 1)?));
            if self.ends(b'}')? {
                return Ok(Json::Obj(entries));
            }
        }
    }

    fn open(&mut self, depth: usize) -> Result<(), ParseError> {
        self.at += 1;
        if depth >= MAX_DEPTH {
            return Err(ParseError);
        }
        Ok(())
    }

    /// Whether the container ends at once.
    fn closes(&mut self, end: u8) -> bool {
        self.skip_space();
        let closes = self.peek() == Some(end);
        self.at += usize::from(closes);
        closes
    }

    /// After an element: the end of the container, or a comma.
    fn ends(&mut self, end: u8) -> Result<bool, ParseError> {
        self.skip_space();
        match self.next()? {
            b',' => Ok(false),
            byte if byte == end => Ok(true),
            _ => Err(ParseError),
        }
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            Err(ParseError)
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        // `01` and `1x` are no numbers.
        if matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.')
        ) {
            return Err(ParseError);
        }
        Ok(Json::Num(self.text[start..self.at].to_owned()))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        if self.next()? != b'"' {
            return Err(ParseError);
        }
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            // Stops at ASCII bytes alone, so both ends are character boundaries.
            out.push_str(&self.text[start..self.at]);
            match self.next()? {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                _ => return Err(ParseError),
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        Ok(match self.next()? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(ParseError),
        })
    }

    fn unicode(&mut self) -> Result<char, ParseError> {
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if self.next()? != b'\\' || self.next()? != b'u' {
                    return Err(ParseError);
                }
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(ParseError);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code).ok_or(ParseError)
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = char::from(self.next()?).to_digit(16).ok_or(ParseError)?;
            code = code * 16 + digit;
        }
        Ok(code)
    }
}
