//! The parameters of one call, with elementsd's words for what is wrong with them.

use std::str::FromStr;

use elements::{Address, AddressParams, Block, BlockHash, Script, Transaction, Txid};

use super::encode;
use super::error::{RpcError, RpcResult};
use super::json::Json;
use crate::node::{decode_block, decode_transaction};

/// The parameters of one call by position. One that is absent reads as null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Args<'a>(pub &'a [Json]);

impl<'a> Args<'a> {
    /// The parameter at a position.
    pub(crate) fn get(self, at: usize) -> &'a Json {
        self.0.get(at).unwrap_or(&Json::Null)
    }

    /// The parameter, unless it is absent or null.
    pub(crate) fn given(self, at: usize) -> Option<&'a Json> {
        Some(self.get(at)).filter(|value| !value.is_null())
    }

    /// A string that must be there.
    pub(crate) fn str(self, at: usize) -> RpcResult<&'a str> {
        string(self.get(at))
    }

    /// A string that may be absent.
    pub(crate) fn opt_str(self, at: usize) -> RpcResult<Option<&'a str>> {
        self.given(at).map(string).transpose()
    }

    /// A boolean that may be absent.
    pub(crate) fn opt_bool(self, at: usize) -> RpcResult<Option<bool>> {
        self.given(at).map(boolean).transpose()
    }

    /// A 32-bit integer that must be there.
    pub(crate) fn int(self, at: usize) -> RpcResult<i32> {
        integer(self.get(at))
    }

    /// A 32-bit integer that may be absent.
    pub(crate) fn opt_int(self, at: usize) -> RpcResult<Option<i32>> {
        self.given(at).map(integer).transpose()
    }

    /// Refuses parameters of other types, as methods of elementsd do that begin with `RPCTypeCheck`: parameters after
    /// the expected ones, and those without an expectation, may be anything.
    pub(crate) fn expect(self, kinds: &[Option<Kind>]) -> RpcResult<()> {
        self.check(kinds, false)
    }

    /// As [`Args::expect`], but null will do for anything.
    pub(crate) fn expect_or_null(self, kinds: &[Option<Kind>]) -> RpcResult<()> {
        self.check(kinds, true)
    }

    fn check(self, kinds: &[Option<Kind>], null_allowed: bool) -> RpcResult<()> {
        for (value, kind) in self.0.iter().zip(kinds) {
            if let Some(kind) = kind
                && !(null_allowed && value.is_null())
            {
                kind.check(value)?;
            }
        }
        Ok(())
    }
}

/// The types of JSON, by elementsd's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// `object`
    Obj,
    /// `array`
    Arr,
    /// `string`
    Str,
    /// `number`
    Num,
}

impl Kind {
    fn of(value: &Json) -> Self {
        match value {
            Json::Null => Kind::Null,
            Json::Bool(_) => Kind::Bool,
            Json::Num(_) => Kind::Num,
            Json::Str(_) => Kind::Str,
            Json::Arr(_) => Kind::Arr,
            Json::Obj(_) => Kind::Obj,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "bool",
            Kind::Obj => "object",
            Kind::Arr => "array",
            Kind::Str => "string",
            Kind::Num => "number",
        }
    }

    /// -3 unless the value is of this type.
    pub(crate) fn check(self, value: &Json) -> RpcResult<()> {
        let found = Kind::of(value);
        if found == self {
            return Ok(());
        }
        Err(RpcError::wrong_type(format!(
            "Expected type {}, got {}",
            self.name(),
            found.name()
        )))
    }
}

/// The text of a string.
pub(crate) fn string(value: &Json) -> RpcResult<&str> {
    value
        .as_str()
        .ok_or_else(|| RpcError::misc("JSON value is not a string as expected"))
}

/// A boolean.
pub(crate) fn boolean(value: &Json) -> RpcResult<bool> {
    match value {
        Json::Bool(value) => Ok(*value),
        _ => Err(RpcError::misc("JSON value is not a boolean as expected")),
    }
}

/// An integer of some size, written without point or exponent.
pub(crate) fn integer<T: FromStr>(value: &Json) -> RpcResult<T> {
    let text = value
        .as_num()
        .ok_or_else(|| RpcError::misc("JSON value is not an integer as expected"))?;
    text.parse()
        .map_err(|_| RpcError::misc("JSON integer out of range"))
}

/// The elements of an array.
pub(crate) fn array(value: &Json) -> RpcResult<&[Json]> {
    value
        .as_arr()
        .ok_or_else(|| RpcError::misc("JSON value is not an array as expected"))
}

/// The entries of an object.
pub(crate) fn object(value: &Json) -> RpcResult<&[(String, Json)]> {
    match value {
        Json::Obj(entries) => Ok(entries),
        _ => Err(RpcError::misc("JSON value is not an object as expected")),
    }
}

/// A 32-byte hash as it is displayed.
pub(crate) fn hash<T: FromStr>(value: &Json, name: &str) -> RpcResult<T> {
    let text = string(value)?;
    if text.len() != 64 {
        return Err(RpcError::invalid_parameter(format!(
            "{name} must be of length 64 (not {}, for '{text}')",
            text.len()
        )));
    }
    text.parse().map_err(|_| {
        RpcError::invalid_parameter(format!("{name} must be hexadecimal string (not '{text}')"))
    })
}

/// A block's hash.
pub(crate) fn block_hash(value: &Json, name: &str) -> RpcResult<BlockHash> {
    hash(value, name)
}

/// A transaction's id.
pub(crate) fn txid(value: &Json, name: &str) -> RpcResult<Txid> {
    hash(value, name)
}

/// Bytes in hexadecimal, at least one.
pub(crate) fn bytes(value: &Json, name: &str) -> RpcResult<Vec<u8>> {
    let text = value.as_str().unwrap_or_default();
    encode::from_hex(text)
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| {
            RpcError::invalid_parameter(format!("{name} must be hexadecimal string (not '{text}')"))
        })
}

/// A transaction in hexadecimal, if it is one.
pub(crate) fn transaction(text: &str) -> Option<Transaction> {
    decode_transaction(&encode::from_hex(text)?).ok()
}

/// A block in hexadecimal, if it is one.
pub(crate) fn block(text: &str) -> Option<Block> {
    decode_block(&encode::from_hex(text)?).ok()
}

/// An address of this chain.
pub(crate) fn address(text: &str) -> Option<Address> {
    Address::parse_with_params(text, &AddressParams::ELEMENTS).ok()
}

/// The script of an address or a descriptor without keys: `addr(…)` or `raw(…)`, its checksum optional.
pub(crate) fn descriptor_script(text: &str) -> Option<Script> {
    let (body, checksum) = match text.split_once('#') {
        Some((body, checksum)) => (body, Some(checksum)),
        None => (text, None),
    };
    let with_checksum = encode::descriptor_with_checksum(body);
    if checksum.is_some() && with_checksum != text {
        return None;
    }
    let inner = |name: &str| body.strip_prefix(name)?.strip_suffix(')');
    if let Some(text) = inner("addr(") {
        return Some(address(text)?.script_pubkey());
    }
    Some(Script::from(encode::from_hex(inner("raw(")?)?))
}
