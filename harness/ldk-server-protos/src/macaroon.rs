//! Macaroons (binary format, version 2), with which servers since September 2026 authenticate.
//!
//! The holder of a macaroon narrows it by appending caveats; every request appends one that names the request, so
//! that what travels is good for that request only. Third-party caveats do not occur here and are refused.

use std::fmt;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};

use crate::auth::to_hex;

/// Largest serialised macaroon that a server accepts, in bytes.
pub const MAX_LEN: usize = 4096;

/// Most caveats that a server accepts.
pub const MAX_CAVEATS: usize = 32;

const VERSION: u8 = 2;
const END_OF_SECTION: u8 = 0;
const LOCATION: u8 = 1;
const IDENTIFIER: u8 = 2;
const SIGNATURE: u8 = 6;
const SIGNATURE_LEN: usize = 32;

/// A macaroon with first-party caveats. `Debug` leaves the signature out: with it, anybody could use the macaroon.
#[derive(Clone, PartialEq, Eq)]
pub struct Macaroon {
    location: Option<Vec<u8>>,
    identifier: Vec<u8>,
    caveats: Vec<Vec<u8>>,
    signature: [u8; SIGNATURE_LEN],
}

/// Why bytes are not a macaroon, or why one cannot be narrowed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MacaroonError {
    /// The text is not an even number of hex digits.
    #[error("a macaroon is written as hex digits")]
    NotHex,
    /// The first byte is not 2.
    #[error("macaroon of version {0}, only version 2 is known")]
    Version(u8),
    /// The bytes end in the middle.
    #[error("the macaroon ends at byte {0}, in the middle of a field")]
    Truncated(usize),
    /// A field stands where it may not.
    #[error("unexpected field {field} at byte {at} of the macaroon")]
    UnexpectedField {
        /// The field's number.
        field: u8,
        /// Its position.
        at: usize,
    },
    /// Bytes follow the signature.
    #[error("{0} bytes follow the macaroon's signature")]
    Trailing(usize),
    /// It is or would become longer than [`MAX_LEN`].
    #[error("a macaroon has at most {MAX_LEN} bytes, this one has {0}")]
    TooLong(usize),
    /// It has or would get more than [`MAX_CAVEATS`] caveats.
    #[error("a macaroon has at most {MAX_CAVEATS} caveats, this one has {0}")]
    TooManyCaveats(usize),
}

impl Macaroon {
    /// Reads the content of a macaroon file: hex digits, with white space around them.
    pub fn parse_hex(text: &str) -> Result<Self, MacaroonError> {
        let digits = text.trim().as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(MacaroonError::NotHex);
        }
        let bytes: Option<Vec<u8>> = digits
            .chunks_exact(2)
            .map(|pair| Some((hex_digit(pair[0])? << 4) | hex_digit(pair[1])?))
            .collect();
        Self::parse(&bytes.ok_or(MacaroonError::NotHex)?)
    }

    /// Reads the binary form.
    pub fn parse(bytes: &[u8]) -> Result<Self, MacaroonError> {
        if bytes.len() > MAX_LEN {
            return Err(MacaroonError::TooLong(bytes.len()));
        }
        let mut reader = Reader { bytes, at: 0 };
        match reader.byte()? {
            VERSION => {}
            version => return Err(MacaroonError::Version(version)),
        }
        let location = match reader.peek() {
            Some(LOCATION) => Some(reader.field(LOCATION)?),
            _ => None,
        };
        let identifier = reader.field(IDENTIFIER)?;
        reader.expect(END_OF_SECTION)?;
        let mut caveats = Vec::new();
        while reader.peek() == Some(IDENTIFIER) {
            caveats.push(reader.field(IDENTIFIER)?);
            reader.expect(END_OF_SECTION)?;
        }
        if caveats.len() > MAX_CAVEATS {
            return Err(MacaroonError::TooManyCaveats(caveats.len()));
        }
        reader.expect(END_OF_SECTION)?;
        let at = reader.at;
        let signature =
            reader
                .field(SIGNATURE)?
                .try_into()
                .map_err(|_| MacaroonError::UnexpectedField {
                    field: SIGNATURE,
                    at,
                })?;
        match bytes.len() - reader.at {
            0 => Ok(Self {
                location,
                identifier,
                caveats,
                signature,
            }),
            trailing => Err(MacaroonError::Trailing(trailing)),
        }
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        if let Some(location) = &self.location {
            push_field(&mut bytes, LOCATION, location);
        }
        push_field(&mut bytes, IDENTIFIER, &self.identifier);
        bytes.push(END_OF_SECTION);
        for caveat in &self.caveats {
            push_field(&mut bytes, IDENTIFIER, caveat);
            bytes.push(END_OF_SECTION);
        }
        bytes.push(END_OF_SECTION);
        push_field(&mut bytes, SIGNATURE, &self.signature);
        bytes
    }

    /// The binary form as lower-case hex, which is what the header carries.
    pub fn to_hex(&self) -> String {
        to_hex(&self.to_bytes())
    }

    /// The conditions, in the order they were added.
    pub fn caveats(&self) -> impl Iterator<Item = &[u8]> {
        self.caveats.iter().map(Vec::as_slice)
    }

    /// This macaroon with one more condition.
    pub fn with_caveat(&self, caveat: &[u8]) -> Result<Self, MacaroonError> {
        let mut narrowed = self.clone();
        let mut engine = HmacEngine::<sha256::Hash>::new(&self.signature);
        engine.input(caveat);
        narrowed.signature = Hmac::<sha256::Hash>::from_engine(engine).to_byte_array();
        narrowed.caveats.push(caveat.to_vec());
        if narrowed.caveats.len() > MAX_CAVEATS {
            return Err(MacaroonError::TooManyCaveats(narrowed.caveats.len()));
        }
        match narrowed.to_bytes().len() {
            len if len > MAX_LEN => Err(MacaroonError::TooLong(len)),
            _ => Ok(narrowed),
        }
    }

    /// The value of the `macaroon` header for one request.
    ///
    /// `timestamp` is in seconds since the Unix epoch; `framed_body` is the body with its gRPC frame header.
    pub fn for_request(
        &self,
        timestamp: u64,
        method: &str,
        framed_body: &[u8],
    ) -> Result<String, MacaroonError> {
        let digest = sha256::Hash::hash(framed_body);
        Ok(self
            .with_caveat(format!("request = {timestamp} {method} {digest}").as_bytes())?
            .to_hex())
    }
}

impl fmt::Debug for Macaroon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caveats: Vec<_> = self
            .caveats
            .iter()
            .map(|caveat| String::from_utf8_lossy(caveat))
            .collect();
        f.debug_struct("Macaroon")
            .field("caveats", &caveats)
            .finish_non_exhaustive()
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

fn push_field(bytes: &mut Vec<u8>, field: u8, content: &[u8]) {
    bytes.push(field);
    let mut len = content.len();
    while len >= 0x80 {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(content);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn byte(&mut self) -> Result<u8, MacaroonError> {
        let byte = self.peek().ok_or(MacaroonError::Truncated(self.at))?;
        self.at += 1;
        Ok(byte)
    }

    fn expect(&mut self, expected: u8) -> Result<(), MacaroonError> {
        let at = self.at;
        match self.byte()? {
            field if field == expected => Ok(()),
            field => Err(MacaroonError::UnexpectedField { field, at }),
        }
    }

    fn field(&mut self, expected: u8) -> Result<Vec<u8>, MacaroonError> {
        self.expect(expected)?;
        let len = self.varint()?;
        let content = self.bytes[self.at..]
            .get(..len)
            .ok_or(MacaroonError::Truncated(self.bytes.len()))?;
        self.at += len;
        Ok(content.to_vec())
    }

    /// A length of at most two bytes: nothing in a macaroon is longer than [`MAX_LEN`].
    fn varint(&mut self) -> Result<usize, MacaroonError> {
        let first = usize::from(self.byte()?);
        if first < 0x80 {
            return Ok(first);
        }
        let second = usize::from(self.byte()?);
        if second < 0x80 {
            Ok(first & 0x7f | second << 7)
        } else {
            Err(MacaroonError::Truncated(self.bytes.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minted and bound with Python's `hmac` module, from the format's description.
    const MINTED: &str = "02010a6c646b2d736572766572020761646d696e2d300002177065726d697373696f6e73203d206e6f64653a7265616400000620588f73ba7fcdc6a715f9d5eef8ef460db9b87286624ba4e1314a770817c95695";
    const BOUND: &str = "02010a6c646b2d736572766572020761646d696e2d300002177065726d697373696f6e73203d206e6f64653a7265616400026172657175657374203d2031373830303030303030204765744e6f6465496e666f20323865343263346566626136396365376130366132323533376535326231303638303833633130343866653238663036626235343961633461633337323366310000062032c384ec97e4fd969be69c8a8056d85103401a27120d5989ef23b961b0997134";
    const BODY: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];

    #[test]
    fn fixed_vectors() {
        let minted = Macaroon::parse_hex(&format!(" {MINTED}\n")).unwrap();
        assert_eq!(minted.to_hex(), MINTED);
        assert_eq!(
            minted.caveats().collect::<Vec<_>>(),
            [b"permissions = node:read"]
        );
        assert_eq!(
            minted
                .for_request(1_780_000_000, "GetNodeInfo", BODY)
                .unwrap(),
            BOUND
        );
        assert_eq!(Macaroon::parse_hex(BOUND).unwrap().caveats().count(), 2);
    }

    #[test]
    fn damaged_macaroons_are_refused() {
        let minted = Macaroon::parse_hex(MINTED).unwrap().to_bytes();
        for end in 0..minted.len() {
            assert!(Macaroon::parse(&minted[..end]).is_err(), "cut at {end}");
        }
        let mut longer = minted.clone();
        longer.push(0);
        assert_eq!(Macaroon::parse(&longer), Err(MacaroonError::Trailing(1)));
        assert_eq!(Macaroon::parse(&[1]), Err(MacaroonError::Version(1)));
        assert_eq!(
            Macaroon::parse(&[2, 4]),
            Err(MacaroonError::UnexpectedField { field: 4, at: 1 })
        );
        assert_eq!(
            Macaroon::parse(&vec![2; MAX_LEN + 1]),
            Err(MacaroonError::TooLong(MAX_LEN + 1))
        );
        assert_eq!(Macaroon::parse_hex("021"), Err(MacaroonError::NotHex));
        assert_eq!(Macaroon::parse_hex("0x02"), Err(MacaroonError::NotHex));
    }

    #[test]
    fn it_does_not_outgrow_what_servers_accept() {
        let mut macaroon = Macaroon::parse_hex(MINTED).unwrap();
        assert!(matches!(
            macaroon.with_caveat(&[b'x'; MAX_LEN]),
            Err(MacaroonError::TooLong(_))
        ));
        while macaroon.caveats().count() < MAX_CAVEATS {
            macaroon = macaroon.with_caveat(b"method = GetNodeInfo").unwrap();
        }
        assert_eq!(
            macaroon.with_caveat(b"x"),
            Err(MacaroonError::TooManyCaveats(MAX_CAVEATS + 1))
        );
        assert_eq!(Macaroon::parse(&macaroon.to_bytes()), Ok(macaroon));
    }

    #[test]
    fn the_signature_stays_out_of_debug_output() {
        let macaroon = Macaroon::parse_hex(MINTED).unwrap();
        assert_eq!(
            format!("{macaroon:?}"),
            "Macaroon { caveats: [\"permissions = node:read\"], .. }"
        );
    }
}
