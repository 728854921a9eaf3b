//! Reading requests: each thing that is wrong with one has a name, and is told before anything is done.

use std::str::FromStr;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use bitcoin::Transaction;
use bitcoin::consensus::encode::{Error as DecodeError, deserialize_partial};
use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::hex::FromHex;
use bitcoin::secp256k1::PublicKey;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use lightning_invoice::Bolt11Invoice;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use swaprig_harness::time::Deadline;
use swaprig_proto::loops::{
    CosignRequest, Direction, IDEMPOTENCY_KEY, InternalKeyChoice, LoopInRequest, LoopOutRequest,
    MOST_CONFIRMATIONS, MOST_SAT,
};
use swaprig_units::{Height, PaymentHash, Preimage, Sat};
use uuid::Uuid;

use super::desk::{InWanted, OutWanted};
use super::problem::{Kind, Problem};
use super::serve::Limits;
use crate::swap::taproot::InternalChoice;

/// From this number on, a lock time is a time (BIP 65).
const FIRST_TIME: u32 = 500_000_000;

/// Of the query string: each pair is taken once, and none may be left.
#[derive(Debug)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(super) async fn of(parts: &mut Parts) -> Result<Self, Problem> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, &()).await;
        let Query(pairs) =
            query.map_err(|error| Problem::new(Kind::InvalidParameter, error.body_text()))?;
        Ok(Pairs(pairs))
    }

    pub(super) fn take<T: FromStr>(
        &mut self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(at) = self.0.iter().position(|(key, _)| key == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.remove(at);
        if self.0.iter().any(|(key, _)| key == name) {
            return Err(Problem::param(name, "is there twice"));
        }
        let parsed = value.parse();
        parsed
            .map(Some)
            .map_err(|_| Problem::param(name, format!("is not {expected}")))
    }

    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((key, _)) => Err(Problem::param(key, "is no parameter of this request")),
        }
    }
}

fn hex(param: &str, text: &str) -> Result<Vec<u8>, Problem> {
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    match Vec::from_hex(text) {
        Ok(bytes) if !upper => Ok(bytes),
        Err(_) if text.bytes().all(|byte| byte.is_ascii_hexdigit()) => Err(Problem::param(
            param,
            "has half a byte: its number of hexadecimal digits is odd",
        )),
        Ok(_) | Err(_) => Err(Problem::param(param, "is no lower-case hexadecimal")),
    }
}

fn array<const N: usize>(param: &str, text: &str) -> Result<[u8; N], Problem> {
    hex(param, text)?
        .try_into()
        .map_err(|_| Problem::param(param, format!("is not {N} bytes in hexadecimal")))
}

pub(super) fn payment_hash(text: &str) -> Result<PaymentHash, Problem> {
    array("payment_hash", text).map(PaymentHash)
}

pub(super) fn preimage(text: &str) -> Result<Preimage, Problem> {
    array("preimage", text).map(Preimage)
}

/// The payment hash in the address.
pub(super) async fn hash_in_path(parts: &mut Parts) -> Result<PaymentHash, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, &())
        .await
        .map_err(|error| Problem::param("payment_hash", error.body_text()))?;
    payment_hash(&text)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (all.next(), all.next()) else {
        return false;
    };
    let Ok(text) = only.to_str() else {
        return false;
    };
    let mut words = text.split(';').map(str::trim);
    let json = words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("application/json"));
    json && words.all(|word| word.eq_ignore_ascii_case("charset=utf-8"))
}

async fn bytes(body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let most = limits.body;
    let all = Limited::new(body, most).collect();
    let collected = Deadline::after(limits.body_time).bound(all).await;
    let collected = collected
        .ok_or_else(|| Problem::new(Kind::SlowRequest, "the body did not arrive in time"))?;
    collected.map(|all| all.to_bytes()).map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => Problem::new(
                Kind::TooLarge,
                format!("the body has more than {most} bytes"),
            ),
            None => Problem::new(
                Kind::InvalidBody,
                format!("the body ends in its middle: {error}"),
            ),
        }
    })
}

/// The JSON in a request.
pub(super) async fn json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<T, Problem> {
    if !is_json(headers) {
        let detail = "send the header `content-type: application/json`";
        return Err(Problem::new(Kind::MediaType, detail).about("content-type"));
    }
    parse(&bytes(body, limits).await?)
}

/// Nothing, or an empty object: of a request that says all by its address.
pub(super) async fn empty(body: Body, limits: &Limits) -> Result<(), Problem> {
    let bytes = bytes(body, limits).await?;
    let text = bytes.trim_ascii();
    match text.is_empty() || text.strip_prefix(b"{").map(<[u8]>::trim_ascii) == Some(b"}") {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::InvalidBody,
            "this request takes no body",
        )),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::new(
            Kind::InvalidBody,
            "the body is no JSON object",
        ));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        // A number beyond all numbers is JSON all the same.
        let is_json = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
        match field(&path, &cause).filter(|_| is_json) {
            Some(name) => Problem::param(&name, cause),
            None if is_json => Problem::new(Kind::InvalidBody, format!("the body: {cause}")),
            None => Problem::new(Kind::InvalidBody, format!("the body is no JSON: {cause}")),
        }
    })?;
    reader.end().map_err(|cause| {
        let after = format!("after the JSON there is more: {cause}");
        Problem::new(Kind::InvalidBody, after)
    })?;
    Ok(value)
}

/// The field that an error is about. Of one that is missing, serde knows the name only in words.
fn field(path: &str, cause: &serde_json::Error) -> Option<String> {
    if path != "." {
        return Some(path.to_owned());
    }
    let text = cause.to_string();
    let name = ["missing field `", "duplicate field `", "unknown field `"]
        .iter()
        .find_map(|words| text.strip_prefix(words))?;
    Some(name.split('`').next()?.to_owned())
}

/// The header by which a client says that two requests are one.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<Uuid>, Problem> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(Problem::param(IDEMPOTENCY_KEY, "is there twice"));
    }
    let parsed = first.to_str().ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| Problem::param(IDEMPOTENCY_KEY, "is no UUID"))
}

fn pubkey(text: &str) -> Result<PublicKey, Problem> {
    let bytes: [u8; 33] = array("pubkey", text)?;
    PublicKey::from_slice(&bytes)
        .map_err(|_| Problem::param("pubkey", "is no compressed point of secp256k1"))
}

pub(super) fn amount(amount: u64) -> Result<Sat, Problem> {
    match amount {
        1..=MOST_SAT => Ok(Sat(amount)),
        _ => Err(Problem::param(
            "amount",
            format!("is not between 1 and {MOST_SAT} satoshi"),
        )),
    }
}

pub(super) fn confirmations(count: u32) -> Result<u32, Problem> {
    match count {
        1..=MOST_CONFIRMATIONS => Ok(count),
        _ => Err(Problem::param(
            "confirmations",
            format!("is not between 1 and {MOST_CONFIRMATIONS}"),
        )),
    }
}

fn max_fee(fee: Option<u64>) -> Result<Option<Sat>, Problem> {
    match fee {
        Some(fee) if fee > MOST_SAT => Err(Problem::param(
            "max_fee",
            format!("is more than {MOST_SAT} satoshi"),
        )),
        fee => Ok(fee.map(Sat)),
    }
}

/// What makes two requests the same: the direction and every field, however it was written.
fn fingerprint(direction: Direction, asked: &impl Serialize) -> Result<[u8; 32], Problem> {
    let text = serde_json::to_string(&(direction, asked));
    let text = text.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(sha256::Hash::hash(text.as_bytes()).to_byte_array())
}

fn internal(choice: InternalKeyChoice) -> InternalChoice {
    match choice {
        InternalKeyChoice::Musig2 => InternalChoice::Musig2,
        InternalKeyChoice::Unspendable => InternalChoice::Unspendable,
    }
}

pub(super) fn out_wanted(
    asked: &LoopOutRequest,
    request: Option<Uuid>,
) -> Result<OutWanted, Problem> {
    let hash = asked
        .payment_hash
        .as_deref()
        .map(payment_hash)
        .transpose()?;
    match (asked.invoice_first, hash) {
        (true, None) => {
            return Err(Problem::param(
                "payment_hash",
                "is missing: with invoice_first the client chooses the preimage",
            ));
        }
        (false, Some(_)) => {
            return Err(Problem::param(
                "payment_hash",
                "is not allowed: without invoice_first the server chooses the preimage",
            ));
        }
        (true, Some(_)) | (false, None) => {}
    }
    if let Some(FIRST_TIME..) = asked.publication_deadline {
        return Err(Problem::param(
            "publication_deadline",
            "is no Bitcoin height",
        ));
    }
    Ok(OutWanted {
        request,
        fingerprint: fingerprint(Direction::Out, asked)?,
        pubkey: pubkey(&asked.pubkey)?,
        amount: amount(asked.amount)?,
        payment_hash: hash,
        internal: internal(asked.internal_key),
        confirmations: confirmations(asked.confirmations)?,
        publication_deadline: asked.publication_deadline.map(Height),
        max_fee: max_fee(asked.max_fee)?,
    })
}

pub(super) fn in_wanted(asked: &LoopInRequest, request: Option<Uuid>) -> Result<InWanted, Problem> {
    let wrong = |reason: String| Problem::param("payment_request", reason);
    let invoice: Bolt11Invoice = asked
        .payment_request
        .parse()
        .map_err(|error| wrong(format!("is no BOLT 11 invoice: {error}")))?;
    if invoice.amount_milli_satoshis().is_none() {
        return Err(wrong("has no amount".into()));
    }
    Ok(InWanted {
        request,
        fingerprint: fingerprint(Direction::In, asked)?,
        pubkey: pubkey(&asked.pubkey)?,
        payment_request: asked.payment_request.clone(),
        internal: internal(asked.internal_key),
        max_fee: max_fee(asked.max_fee)?,
    })
}

pub(super) fn cosign(asked: &CosignRequest) -> Result<(Transaction, [u8; 66]), Problem> {
    let transaction = transaction(&asked.transaction)?;
    Ok((transaction, array("nonce", &asked.nonce)?))
}

fn transaction(text: &str) -> Result<Transaction, Problem> {
    let wrong = |reason: String| Err(Problem::param("transaction", reason));
    let raw = hex("transaction", text)?;
    let length = raw.len();
    match deserialize_partial::<Transaction>(&raw) {
        Ok((transaction, read)) if read == length => Ok(transaction),
        Ok((_, read)) => wrong(format!(
            "is {read} bytes long, and {more} more bytes follow it",
            more = length - read
        )),
        Err(DecodeError::Io(_)) => wrong(format!(
            "is cut off: {length} bytes are only the beginning of a transaction"
        )),
        Err(error) => wrong(format!("is no transaction: {error}")),
    }
}
