//! The parts of gRPC over HTTP/2 that the ldk-server API uses: frames, status codes, messages in headers, timeouts.
//!
//! Written by hand because the authentication covers the framed body, which gRPC libraries do not show to the code
//! that adds headers. Source of the rules: "gRPC over HTTP2" in the gRPC repository.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// `content-type` of every request and response.
pub const CONTENT_TYPE: &str = "application/grpc+proto";

/// Bytes before the payload of a frame: one flag, four of length.
pub const FRAME_HEADER_LEN: usize = 5;

/// Largest body of a request or of a unary answer, in bytes.
pub const MAX_UNARY_LEN: usize = 10 * 1024 * 1024;

/// Largest message of a stream, in bytes.
pub const MAX_STREAM_MESSAGE_LEN: usize = 4 * 1024 * 1024;

/// Longest status text that is sent, in bytes after percent-encoding; a longer one is dropped.
pub const MAX_MESSAGE_LEN: usize = 4096;

/// A gRPC status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are gRPC's own and documented there")]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code as it stands in `grpc-status`.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// Reads the value of a `grpc-status` header. A number that gRPC does not define is [`Code::Unknown`], as the
    /// gRPC specification asks; text that is no number is `None`.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let number: u32 = std::str::from_utf8(header).ok()?.parse().ok()?;
        Some(
            Self::ALL
                .get(number as usize)
                .copied()
                .unwrap_or(Self::Unknown),
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} ({})", self.as_u8())
    }
}

/// A status with its text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Status {
    /// What kind of failure it is.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
}

impl Status {
    /// A status of this code with this text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// The value of `grpc-message`, or `None` when there is no text or it is too long to send.
    pub fn encoded_message(&self) -> Option<String> {
        let encoded = percent_encode(&self.message);
        (!encoded.is_empty() && encoded.len() <= MAX_MESSAGE_LEN).then_some(encoded)
    }
}

/// Why bytes are not one gRPC frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than a frame header has.
    #[error("a gRPC frame starts with {FRAME_HEADER_LEN} bytes, the body has {0}")]
    TooShort(usize),
    /// The flag byte is not 0.
    #[error("gRPC compression is not supported (flag byte {0})")]
    Compressed(u8),
    /// The header promises more bytes than there are.
    #[error("the gRPC frame announces {announced} bytes, the body has {present}")]
    Truncated {
        /// Length in the header.
        announced: usize,
        /// Bytes after the header.
        present: usize,
    },
    /// Bytes follow the frame.
    #[error("{0} bytes follow the gRPC frame")]
    Trailing(usize),
    /// The frame is larger than the receiver accepts.
    #[error("the gRPC frame announces {announced} bytes, the limit is {limit}")]
    TooLarge {
        /// Length in the header.
        announced: usize,
        /// What the receiver accepts.
        limit: usize,
    },
}

impl FrameError {
    /// The status that a server answers with: 12 for compression, so that a client repeats without it; 3 otherwise.
    pub fn code(self) -> Code {
        match self {
            Self::Compressed(_) => Code::Unimplemented,
            Self::TooShort(_)
            | Self::Truncated { .. }
            | Self::Trailing(_)
            | Self::TooLarge { .. } => Code::InvalidArgument,
        }
    }
}

/// Puts a frame header before the encoded message.
///
/// # Panics
/// If the message does not fit into a frame, whose length has 32 bits.
pub fn encode_message(message: &impl prost::Message) -> Bytes {
    let len = message.encoded_len();
    let mut frame = BytesMut::with_capacity(FRAME_HEADER_LEN + len);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(len).expect("messages are far smaller than 4 GiB"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

/// The payload of a body that must be exactly one frame.
pub fn decode_unary(body: &[u8]) -> Result<&[u8], FrameError> {
    let (header, payload) = body
        .split_first_chunk::<FRAME_HEADER_LEN>()
        .ok_or(FrameError::TooShort(body.len()))?;
    let announced = announced_len(header)?;
    match payload.len() {
        present if present < announced => Err(FrameError::Truncated { announced, present }),
        present if present > announced => Err(FrameError::Trailing(present - announced)),
        _ => Ok(payload),
    }
}

fn announced_len(header: &[u8; FRAME_HEADER_LEN]) -> Result<usize, FrameError> {
    let [flag, length @ ..] = *header;
    if flag != 0 {
        return Err(FrameError::Compressed(flag));
    }
    Ok(u32::from_be_bytes(length) as usize)
}

/// Cuts the body of a stream into frames, whatever the chunks it arrives in.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    limit: usize,
}

impl FrameReader {
    /// A reader that refuses payloads larger than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Adds a chunk of the body.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The payload of the next frame, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(None);
        };
        let announced = announced_len(header)?;
        if announced > self.limit {
            return Err(FrameError::TooLarge {
                announced,
                limit: self.limit,
            });
        }
        if self.buffer.len() < FRAME_HEADER_LEN + announced {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_LEN);
        Ok(Some(self.buffer.split_to(announced).freeze()))
    }

    /// Checks at the end of the body that it did not end inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() {
            0 => Ok(()),
            present if present < FRAME_HEADER_LEN => Err(FrameError::TooShort(present)),
            present => {
                let header = self.buffer.first_chunk().expect("length checked");
                Err(FrameError::Truncated {
                    announced: announced_len(header)?,
                    present: present - FRAME_HEADER_LEN,
                })
            }
        }
    }
}

/// Encodes a status text for `grpc-message`: unreserved characters of RFC 3986 and spaces stay, the rest is `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b' ' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Decodes a `grpc-message`. An escape that is not two hex digits stands for itself and bytes that are not UTF-8
/// become replacement characters: a damaged text is worth more than none.
pub fn percent_decode(header: &[u8]) -> String {
    let mut decoded = Vec::with_capacity(header.len());
    let mut rest = header;
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                decoded.push(hex_value(*high) << 4 | hex_value(*low));
                rest = after;
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

/// The value of `grpc-timeout` for a duration, in the finest unit whose eight digits suffice.
pub fn format_timeout(timeout: Duration) -> String {
    const MAX_VALUE: u128 = 99_999_999;
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
    ];
    for (value, unit) in units {
        if value <= MAX_VALUE {
            return format!("{value}{unit}");
        }
    }
    format!("{}S", u128::from(timeout.as_secs()).min(MAX_VALUE))
}

/// Reads a `grpc-timeout`: up to eight digits and a unit; `None` when it is malformed.
pub fn parse_timeout(header: &[u8]) -> Option<Duration> {
    let (unit, digits) = header.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(value * 3600)),
        b'M' => Some(Duration::from_secs(value * 60)),
        b'S' => Some(Duration::from_secs(value)),
        b'm' => Some(Duration::from_millis(value)),
        b'u' => Some(Duration::from_micros(value)),
        b'n' => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_are_not_exactly_one_are_refused() {
        let cases: [(&[u8], FrameError, Code); 6] = [
            (&[], FrameError::TooShort(0), Code::InvalidArgument),
            (
                &[0, 0, 0, 0],
                FrameError::TooShort(4),
                Code::InvalidArgument,
            ),
            (
                &[1, 0, 0, 0, 1, 42],
                FrameError::Compressed(1),
                Code::Unimplemented,
            ),
            (
                &[0, 0, 0, 0, 3, 1, 2],
                FrameError::Truncated {
                    announced: 3,
                    present: 2,
                },
                Code::InvalidArgument,
            ),
            (
                &[0, 0xff, 0xff, 0xff, 0xff],
                FrameError::Truncated {
                    announced: 0xffff_ffff,
                    present: 0,
                },
                Code::InvalidArgument,
            ),
            (
                &[0, 0, 0, 0, 1, 42, 43],
                FrameError::Trailing(1),
                Code::InvalidArgument,
            ),
        ];
        for (body, error, code) in cases {
            assert_eq!(decode_unary(body), Err(error), "{body:?}");
            assert_eq!(error.code(), code, "{body:?}");
        }
        assert_eq!(decode_unary(&[0, 0, 0, 0, 0]), Ok(&[][..]));
    }

    #[test]
    fn a_stream_is_cut_at_its_limit_and_at_its_end() {
        let mut reader = FrameReader::new(2);
        reader.push(&[0, 0, 0, 0, 2, 7]);
        assert_eq!(reader.next_frame(), Ok(None));
        assert_eq!(
            reader.finish(),
            Err(FrameError::Truncated {
                announced: 2,
                present: 1
            })
        );
        reader.push(&[8, 0, 0, 0]);
        assert_eq!(reader.next_frame(), Ok(Some(Bytes::from_static(&[7, 8]))));
        assert_eq!(reader.finish(), Err(FrameError::TooShort(3)));
        reader.push(&[0, 3]);
        assert_eq!(
            reader.next_frame(),
            Err(FrameError::TooLarge {
                announced: 3,
                limit: 2
            })
        );
    }

    #[test]
    fn status_texts() {
        let cases = [
            ("Invalid credentials", "Invalid credentials"),
            ("50% off: a/b", "50%25 off%3A a%2Fb"),
            ("naïve\n", "na%C3%AFve%0A"),
            ("a-b_c.d~e", "a-b_c.d~e"),
        ];
        for (text, encoded) in cases {
            assert_eq!(percent_encode(text), encoded);
            assert_eq!(percent_decode(encoded.as_bytes()), text);
        }
        assert_eq!(percent_decode(b"100% %4 %zz %41"), "100% %4 %zz A");
        assert_eq!(
            Status::new(Code::Internal, "x".repeat(MAX_MESSAGE_LEN + 1)).encoded_message(),
            None
        );
        assert_eq!(Status::new(Code::Internal, "").encoded_message(), None);
    }

    #[test]
    fn codes_are_numbers() {
        assert_eq!(Code::parse(b"0"), Some(Code::Ok));
        assert_eq!(Code::parse(b"16"), Some(Code::Unauthenticated));
        assert_eq!(Code::parse(b"17"), Some(Code::Unknown));
        assert_eq!(Code::parse(b"-1"), None);
        assert_eq!(Code::parse(b""), None);
        for (number, code) in Code::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(code.as_u8()), number);
        }
    }

    #[test]
    fn timeouts() {
        let cases = [
            ("5S", Duration::from_secs(5)),
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("99999999n", Duration::from_nanos(99_999_999)),
            ("1500m", Duration::from_millis(1500)),
            ("7u", Duration::from_micros(7)),
        ];
        for (header, duration) in cases {
            assert_eq!(parse_timeout(header.as_bytes()), Some(duration), "{header}");
        }
        for malformed in ["", "S", "5", "123456789S", "-5S", "+5S", "5s", "5 S", "5é"] {
            assert_eq!(parse_timeout(malformed.as_bytes()), None, "{malformed}");
        }
        assert_eq!(format_timeout(Duration::from_secs(30)), "30000000u");
        assert_eq!(format_timeout(Duration::from_secs(300)), "300000m");
        assert_eq!(format_timeout(Duration::MAX), "99999999S");
    }
}
