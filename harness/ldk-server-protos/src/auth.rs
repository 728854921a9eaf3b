//! How a request proves that its sender knows the server's API key: the `x-auth` header.
//!
//! Two generations differ only in what the HMAC covers. Servers since September 2026 use [`crate::macaroon`] instead.

use std::fmt;

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};

/// Name of the header that carries the HMAC.
pub const X_AUTH: &str = "x-auth";

/// Name of the header that carries a macaroon.
pub const MACAROON: &str = "macaroon";

/// How far a request's timestamp may be from the server's clock, in seconds.
pub const TOLERANCE_SECS: u64 = 60;

/// Bytes in the file `api_key`.
pub const API_KEY_LEN: usize = 32;

/// A server's API key.
///
/// The HMAC is keyed with the *hex text* of the 32 bytes, as upstream does it; its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    hex: String,
}

impl ApiKey {
    /// The key in the 32 bytes of an `api_key` file.
    pub fn from_bytes(bytes: [u8; API_KEY_LEN]) -> Self {
        Self {
            hex: to_hex(&bytes),
        }
    }

    /// The value of `x-auth` for a request: `HMAC <seconds>:<hex digest>`.
    ///
    /// `timestamp` is in seconds since the Unix epoch; `framed_body` is the body with its gRPC frame header.
    pub fn x_auth(&self, scope: HmacScope, timestamp: u64, framed_body: &[u8]) -> String {
        format!(
            "HMAC {timestamp}:{}",
            self.hmac(scope, timestamp, framed_body)
        )
    }

    /// Checks the value of `x-auth` of a request that arrived at `now` (seconds since the Unix epoch).
    pub fn verify(
        &self,
        scope: HmacScope,
        header: &str,
        now: u64,
        framed_body: &[u8],
    ) -> Result<(), AuthError> {
        let (timestamp, digest) = header
            .strip_prefix("HMAC ")
            .and_then(|rest| rest.split_once(':'))
            .ok_or(AuthError::Malformed)?;
        let timestamp: u64 = timestamp.parse().map_err(|_| AuthError::Malformed)?;
        if now.abs_diff(timestamp) > TOLERANCE_SECS {
            return Err(AuthError::Expired);
        }
        let digest: Hmac<sha256::Hash> = digest.parse().map_err(|_| AuthError::Malformed)?;
        let expected = self.hmac(scope, timestamp, framed_body);
        if constant_time_eq(expected.as_byte_array(), digest.as_byte_array()) {
            Ok(())
        } else {
            Err(AuthError::WrongKey)
        }
    }

    fn hmac(&self, scope: HmacScope, timestamp: u64, framed_body: &[u8]) -> Hmac<sha256::Hash> {
        let mut engine = HmacEngine::<sha256::Hash>::new(self.hex.as_bytes());
        engine.input(&timestamp.to_be_bytes());
        match scope {
            HmacScope::TimestampAndBody => engine.input(framed_body),
            HmacScope::Timestamp => {}
        }
        Hmac::from_engine(engine)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// What the HMAC of `x-auth` covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HmacScope {
    /// Timestamp and framed body: servers from May to September 2026, and the bundled daemon.
    TimestampAndBody,
    /// Timestamp only: the first gRPC servers, April and May 2026.
    Timestamp,
}

/// Why a request is not authenticated; the texts are those of upstream's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// There is no `x-auth` header.
    #[error("Missing x-auth metadata")]
    Missing,
    /// The header is not `HMAC <seconds>:<hex digest>`.
    #[error("Invalid x-auth format")]
    Malformed,
    /// The timestamp is more than [`TOLERANCE_SECS`] away from the server's clock.
    #[error("Request timestamp expired")]
    Expired,
    /// The digest was made with another key or for another body.
    #[error("Invalid credentials")]
    WrongKey,
}

fn constant_time_eq(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter()
        .zip(b)
        .fold(0, |difference, (x, y)| difference | (x ^ y))
        == 0
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = &[0, 0, 0, 0, 2, 0x08, 0x01];
    const NOW: u64 = 1_780_000_000;

    fn key() -> ApiKey {
        ApiKey::from_bytes([0xab; 32])
    }

    /// The digests were made with Python's `hmac` module.
    #[test]
    fn fixed_vectors() {
        assert_eq!(
            key().x_auth(HmacScope::TimestampAndBody, NOW, BODY),
            VECTOR_BODY
        );
        assert_eq!(
            key().x_auth(HmacScope::Timestamp, NOW, BODY),
            VECTOR_TIMESTAMP
        );
    }

    const VECTOR_BODY: &str =
        "HMAC 1780000000:ec3ac8c0ef1de40d483a1daac1911339757e08b8f805405e21703fd17ded8e59";
    const VECTOR_TIMESTAMP: &str =
        "HMAC 1780000000:c13946e61887248d11ab32f93faf3d6bdca578c3203412468d9d85487077fc9c";

    #[test]
    fn what_the_server_refuses() {
        let scope = HmacScope::TimestampAndBody;
        let good = key().x_auth(scope, NOW, BODY);
        assert_eq!(key().verify(scope, &good, NOW, BODY), Ok(()));
        assert_eq!(
            key().verify(scope, &good, NOW + TOLERANCE_SECS, BODY),
            Ok(())
        );
        assert_eq!(
            key().verify(scope, &good, NOW + TOLERANCE_SECS + 1, BODY),
            Err(AuthError::Expired)
        );
        assert_eq!(
            key().verify(scope, &good, NOW - TOLERANCE_SECS - 1, BODY),
            Err(AuthError::Expired)
        );
        assert_eq!(
            key().verify(scope, &good, NOW, &BODY[1..]),
            Err(AuthError::WrongKey)
        );
        assert_eq!(
            ApiKey::from_bytes([0; 32]).verify(scope, &good, NOW, BODY),
            Err(AuthError::WrongKey)
        );
        assert_eq!(
            key().verify(HmacScope::Timestamp, &good, NOW, BODY),
            Err(AuthError::WrongKey)
        );
        for malformed in [
            "",
            "HMAC",
            "HMAC 1",
            "hmac 1:00",
            "HMAC x:00",
            "HMAC 1780000000:00",
            "HMAC 1780000000:",
        ] {
            assert_eq!(
                key().verify(scope, malformed, NOW, BODY),
                Err(AuthError::Malformed),
                "{malformed:?}"
            );
        }
    }

    #[test]
    fn the_key_stays_out_of_debug_output() {
        assert_eq!(format!("{:?}", key()), "ApiKey(…)");
    }
}
