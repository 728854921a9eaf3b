//! HTTP/1.1 messages as far as a proxy must understand them (RFC 9112): where one ends, and what its body is.
//! Pure: bytes in, messages out. What it does not understand is an error, never a guess.

use bytes::{Bytes, BytesMut};

/// Longest head that is accepted, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Longest body that is accepted, in bytes: a block in hexadecimal is at most 8 MB.
const MAX_BODY: usize = 256 * 1024 * 1024;
/// The empty line after a head. A lone line feed ends a line, too (RFC 9112, section 2.2): electrs writes its requests so.
const ENDS_OF_HEAD: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];

/// The status after which a connection speaks another protocol.
const SWITCHING_PROTOCOLS: u16 = 101;
/// The media type of events that are sent as they happen (HTML Living Standard, section 9.2).
const EVENT_STREAM: &[u8] = b"text/event-stream";

/// Which message is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Request,
    /// `to_head`: the request was a HEAD, so that there is no body whatever the head says.
    Response {
        to_head: bool,
    },
}

/// A whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// As it came.
    pub raw: Bytes,
    /// Bytes of the head, its empty line included.
    pub head_len: usize,
    /// Its body, without the framing.
    pub body: Bytes,
    /// No further message follows on the connection.
    pub is_last: bool,
    /// What follows the head has no end that could be waited for: events as they happen, or another protocol.
    pub is_stream: bool,
}

/// Bytes that are no HTTP/1.1 message, or one that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the head is longer than {MAX_HEAD} bytes")]
    LongHead,
    #[error("the body is longer than {MAX_BODY} bytes")]
    LongBody,
    #[error("this is not HTTP/1")]
    NotHttp,
    #[error("its length cannot be told from its headers")]
    Length,
    #[error("a chunk is malformed")]
    Chunk,
    #[error("the connection ended within a message")]
    CutShort,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilEnd,
    /// There is no end to wait for.
    Stream,
}

/// Takes one message off the front of `buffer`; `None`: more bytes are needed. `ended` says that none will come.
pub(super) fn take(
    buffer: &mut BytesMut,
    expect: Expect,
    ended: bool,
) -> Result<Option<Message>, HttpError> {
    let ends = ENDS_OF_HEAD.map(|end| find(buffer, end).map(|at| at + end.len()));
    let Some(head_len) = ends.into_iter().flatten().min() else {
        return match (buffer.len(), ended) {
            (len, _) if len > MAX_HEAD => Err(HttpError::LongHead),
            (0, _) | (_, false) => Ok(None),
            (_, true) => Err(HttpError::CutShort),
        };
    };
    let head = buffer.get(..head_len).unwrap_or_default();
    let (framing, is_last) = read_head(head, expect)?;
    let rest = buffer.get(head_len..).unwrap_or_default();
    let body = match framing {
        Framing::Length(length) if rest.len() >= length => Some((length, None)),
        Framing::Length(_) => None,
        Framing::Chunked => unchunk(rest)?.map(|(used, body)| (used, Some(body))),
        Framing::UntilEnd if ended => Some((rest.len(), None)),
        Framing::UntilEnd if rest.len() > MAX_BODY => return Err(HttpError::LongBody),
        Framing::UntilEnd => None,
        Framing::Stream => Some((0, None)),
    };
    let Some((used, decoded)) = body else {
        return if ended {
            Err(HttpError::CutShort)
        } else {
            Ok(None)
        };
    };
    let raw = buffer.split_to(head_len + used).freeze();
    let body = decoded.unwrap_or_else(|| raw.slice(head_len..));
    Ok(Some(Message {
        raw,
        head_len,
        body,
        is_last: is_last || matches!(framing, Framing::UntilEnd | Framing::Stream),
        is_stream: framing == Framing::Stream,
    }))
}

impl Message {
    fn head(&self) -> &[u8] {
        self.raw.get(..self.head_len).unwrap_or_default()
    }

    /// Whether it is a HEAD request.
    pub(super) fn is_head_request(&self) -> bool {
        self.head().starts_with(b"HEAD ")
    }

    /// Whether it is a response that another one follows (1xx, but for the last word of HTTP on a connection).
    pub(super) fn is_interim(&self) -> bool {
        status(self.head())
            .is_some_and(|status| (100..200).contains(&status) && status != SWITCHING_PROTOCOLS)
    }

    /// What a request asks for: its method and its path, without the query, such as `GET /swaps/7`.
    pub(super) fn method_and_path(&self) -> Option<String> {
        let first = std::str::from_utf8(lines(self.head()).next()?).ok()?;
        let (method, rest) = first.split_once(' ')?;
        let (target, _version) = rest.split_once(' ')?;
        let path = target.split(['?', '#']).next()?;
        Some(format!("{method} {path}"))
    }

    /// The same message with another body.
    pub(super) fn with_body(&self, body: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(self.head_len + body.len() + 32);
        for line in lines(self.head()) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let framing = [&b"content-length"[..], b"transfer-encoding"];
            if !framing.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                out.extend_from_slice(line);
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(body);
        out.into()
    }
}

/// A response of the proxy's own.
pub(super) fn response(status: u16, content_type: &str, body: &[u8]) -> Bytes {
    let reason = match status {
        200 => "OK",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// How the body is framed, and whether the connection ends after the message.
fn read_head(head: &[u8], expect: Expect) -> Result<(Framing, bool), HttpError> {
    let mut lines = lines(head);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(|byte| *byte == b' ');
    let (start, end) = (words.next(), words.next_back());
    let version = match expect {
        Expect::Request => end,
        Expect::Response { .. } => start,
    };
    let version = version.filter(|version| version.starts_with(b"HTTP/1."));
    let version = version.ok_or(HttpError::NotHttp)?;
    let mut is_last = version == b"HTTP/1.0";
    let (mut length, mut chunked, mut events) = (None, false, false);
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let new = parse_number(value, 10).ok_or(HttpError::Length)?;
            if length.is_some_and(|length| length != new) {
                return Err(HttpError::Length);
            }
            length = Some(new);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HttpError::Length);
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value.get(..EVENT_STREAM.len()).unwrap_or_default();
            events = kind.eq_ignore_ascii_case(EVENT_STREAM);
        } else if name.eq_ignore_ascii_case(b"connection") {
            if value.eq_ignore_ascii_case(b"close") {
                is_last = true;
            } else if value.eq_ignore_ascii_case(b"keep-alive") {
                is_last = false;
            }
        }
    }
    let (empty, endless) = match expect {
        Expect::Request => (length.is_none(), false),
        Expect::Response { to_head } => {
            let status = status(head).ok_or(HttpError::NotHttp)?;
            let empty = to_head || matches!(status, 100..200 | 204 | 304);
            (empty, status == SWITCHING_PROTOCOLS || (events && !empty))
        }
    };
    let framing = match (chunked, length) {
        _ if endless => Framing::Stream,
        _ if empty && !(chunked && expect == Expect::Request) => Framing::Length(0),
        // Both at once is how requests are smuggled (RFC 9112, section 6.1).
        (true, Some(_)) => return Err(HttpError::Length),
        (true, None) => Framing::Chunked,
        (false, Some(length)) if length > MAX_BODY => return Err(HttpError::LongBody),
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilEnd,
    };
    Ok((framing, is_last))
}

/// The status of a response.
fn status(head: &[u8]) -> Option<u16> {
    let first = lines(head).next()?;
    let text = first.split(|byte| *byte == b' ').nth(1)?;
    u16::try_from(parse_number(text, 10)?).ok()
}

/// Takes chunks (RFC 9112, section 7.1): how many bytes they are, and what they hold. `None`: more are needed.
fn unchunk(bytes: &[u8]) -> Result<Option<(usize, Bytes)>, HttpError> {
    let mut body = BytesMut::new();
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(line_len) = find(rest, b"\r\n") else {
            return if rest.len() > MAX_HEAD {
                Err(HttpError::Chunk)
            } else {
                Ok(None)
            };
        };
        let line = rest.get(..line_len).unwrap_or_default();
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let size = parse_number(size.trim_ascii(), 16).ok_or(HttpError::Chunk)?;
        if size > MAX_BODY - body.len() {
            return Err(HttpError::LongBody);
        }
        let data = at + line_len + 2;
        if size == 0 {
            return trailers(bytes, data).map(|end| end.map(|end| (end, body.freeze())));
        }
        let end = data + size;
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => body.extend_from_slice(bytes.get(data..end).unwrap_or_default()),
            Some(_) => return Err(HttpError::Chunk),
            None => return Ok(None),
        }
        at = end + 2;
    }
}

/// Where the trailer section that begins `at` ends.
fn trailers(bytes: &[u8], mut at: usize) -> Result<Option<usize>, HttpError> {
    let begin = at;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match find(rest, b"\r\n") {
            Some(0) => return Ok(Some(at + 2)),
            Some(line) => at += line + 2,
            None if bytes.len().saturating_sub(begin) > MAX_HEAD => {
                return Err(HttpError::LongHead);
            }
            None => return Ok(None),
        }
    }
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter(|line| !line.is_empty())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

/// Digits and nothing else: a sign would be understood otherwise elsewhere.
fn parse_number(text: &[u8], radix: u32) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    usize::from_str_radix(text, radix).ok().filter(|_| digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: Expect = Expect::Response { to_head: false };

    fn one(text: &str, expect: Expect, ended: bool) -> Result<Option<Message>, HttpError> {
        take(&mut BytesMut::from(text), expect, ended)
    }

    #[test]
    fn messages_end_where_their_heads_say() {
        for (text, expect, ended, body) in [
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
                Expect::Request,
                false,
                "{}",
            ),
            (
                "GET /rest HTTP/1.1\r\nHost: a\r\n\r\n",
                Expect::Request,
                false,
                "",
            ),
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=1\r\nab\r\n1\r\nc\r\n0\r\nT: 1\r\n\r\n",
                Expect::Request,
                false,
                "abc",
            ),
            (
                "POST / HTTP/1.1\nContent-Length: 2\n\n{}",
                Expect::Request,
                false,
                "{}",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nabc",
                ANSWER,
                false,
                "abc",
            ),
            ("HTTP/1.1 204 No\r\n\r\n", ANSWER, false, ""),
            // The events follow when they happen.
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
                ANSWER,
                false,
                "",
            ),
            ("HTTP/1.0 200 OK\r\n\r\nall", ANSWER, true, "all"),
        ] {
            let message = one(text, expect, ended)
                .unwrap()
                .unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (&message.raw[..], &message.body[..]),
                (text.as_bytes(), body.as_bytes())
            );
            // What follows belongs to the next message.
            if !ended {
                let mut two = BytesMut::from(format!("{text}more").as_str());
                assert_eq!(take(&mut two, expect, false).unwrap(), Some(message));
                assert_eq!(&two[..], b"more");
            }
            for cut in 0..text.len() {
                let part = one(&text[..cut], expect, false);
                assert!(matches!(part, Ok(None)), "{cut} of {text}: {part:?}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (text, expect, error) in [
            ("POST / SPDY\r\n\r\n", Expect::Request, HttpError::NotHttp),
            (
                "POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\n",
                Expect::Request,
                HttpError::Length,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n",
                Expect::Request,
                HttpError::Length,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                Expect::Request,
                HttpError::Length,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n",
                ANSWER,
                HttpError::Chunk,
            ),
            ("HTTP/1.1 OK\r\n\r\n", ANSWER, HttpError::NotHttp),
        ] {
            assert_eq!(one(text, expect, false), Err(error), "{text}");
        }
        let cut = one(
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{",
            Expect::Request,
            true,
        );
        assert_eq!(cut, Err(HttpError::CutShort));
        assert_eq!(one("", Expect::Request, true), Ok(None));
        let long = "x".repeat(MAX_HEAD + 1);
        assert_eq!(one(&long, Expect::Request, false), Err(HttpError::LongHead));
    }

    #[test]
    fn another_body_keeps_the_other_headers() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: y\r\n\r\n{}";
        let message = one(text, ANSWER, false).unwrap().unwrap();
        let changed = message.with_body(b"[1]");
        assert_eq!(
            &changed[..],
            b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 3\r\n\r\n[1]"
        );
    }

    #[test]
    fn a_call_is_a_method_and_a_path() {
        for (first, call) in [
            ("GET /swaps?limit=1 HTTP/1.1", Some("GET /swaps")),
            ("POST /loop/out HTTP/1.1", Some("POST /loop/out")),
            ("OPTIONS * HTTP/1.1", Some("OPTIONS *")),
            ("GET HTTP/1.1", None),
        ] {
            let message = one(&format!("{first}\r\n\r\n"), Expect::Request, false);
            let message = message.unwrap().unwrap();
            assert_eq!(message.method_and_path().as_deref(), call, "{first}");
        }
    }

    #[test]
    fn what_has_no_end_is_passed_on_as_it_comes() {
        let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        for (text, expect, is_stream) in [
            (events, ANSWER, true),
            (upgrade, ANSWER, true),
            (events, Expect::Response { to_head: true }, false),
            ("HTTP/1.1 100 Continue\r\n\r\n", ANSWER, false),
        ] {
            let message = one(text, expect, false).unwrap().unwrap();
            assert_eq!(message.is_stream, is_stream, "{text}");
            assert!(message.is_last || !is_stream);
            assert!(!(message.is_interim() && is_stream), "{text}");
        }
    }

    /// Bytes that are close to HTTP, so that more than the first line is reached.
    fn nearly_http() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop::sample::select(vec![
            "HTTP/1.1 200 OK",
            "POST / HTTP/1.1",
            "\r\n",
            "\r\n\r\n",
            "Content-Length: ",
            "Transfer-Encoding: chunked",
            "5",
            "0",
            "ffffffffffffffff",
            "99999999999999999999",
            "Connection: close",
            "Content-Type: text/event-stream",
            ":",
            "{\"method\":1}",
            "\n",
            "a\r\n",
        ]);
        let piece = prop_oneof![
            piece.prop_map(|text| text.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..8),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_come_to_an_end(bytes in nearly_http(), ended: bool, request: bool) {
            let expect = if request { Expect::Request } else { ANSWER };
            let mut buffer = BytesMut::from(&bytes[..]);
            let mut seen = Vec::new();
            while let Ok(Some(message)) = take(&mut buffer, expect, ended) {
                prop_assert!(!message.raw.is_empty(), "no progress");
                seen.extend_from_slice(&message.raw);
                let _ = message.with_body(b"{}");
            }
            seen.extend_from_slice(&buffer);
            prop_assert_eq!(seen, bytes);
        }
    }
}
