//! Keys and preimages of a scripted party. They come from the scenario's seed and are worth regtest coins.

use bitcoin::hashes::{Hash as _, sha256};
use bitcoin::hex::{DisplayHex as _, FromHex as _};
use bitcoin::secp256k1::{PublicKey, Secp256k1, SecretKey};
use serde_json::json;
use swaprig_scenarios::lang::{
    Arg, Field, FieldType, Node, REFERENCE_PATTERN, Reference, StepCx, Type,
};
use swaprig_scenarios::run::{Look, Run, Step, StepFailure};
use swaprig_scenarios::{entity, step};
use swaprig_units::{PaymentHash, Preimage};

use super::HtlcChain;

/// The longest element of a script's stack, in bytes (`MAX_SCRIPT_ELEMENT_SIZE` of Bitcoin Core and Elements).
const LONGEST: u64 = 520;

entity! {
    /// A key of a scripted party.
    pub struct Key("key") {
        known {
            /// The public key, 33 bytes in hexadecimal digits.
            r#pub: String,
            /// The secret key, 32 bytes in hexadecimal digits.
            secret: String,
        }
        late {}
        live {}
        private {
            /// The secret key.
            key: SecretKey,
        }
    }
}

impl Look for Key {}

entity! {
    /// A secret that a hash hides until it is told.
    pub struct Secret("secret") {
        known {
            /// Itself, as a preimage; absent when it does not have the 32 bytes that Lightning wants.
            preimage: Option<Preimage>,
            /// Its SHA-256, the payment hash.
            hash: PaymentHash,
            /// Itself in hexadecimal digits, whatever its length.
            hex: String,
        }
        late {}
        live {}
        private {}
    }
}

impl Look for Secret {}

step! {
    /// Makes a key pair that only this scenario has, from its seed.
    pub struct MakeKey("key") -> Key {
        /// The chain that it is for.
        key: HtlcChain,
    } optional {}
}

step! {
    /// Makes a secret and its hash, from the scenario's seed.
    pub struct MakePreimage("preimage") -> Secret {
        /// How many bytes it has. Lightning and honest HTLCs take 32 and nothing else.
        preimage: u64,
    } optional {}
    check has_a_length;
}

fn has_a_length(step: &MakePreimage, cx: &mut StepCx<'_>) -> bool {
    if (1..=LONGEST).contains(&step.preimage) {
        return true;
    }
    let span = cx.value_span("preimage");
    cx.problem(
        span,
        format!("no script can take a preimage of {} bytes", step.preimage),
    )
    .label(format!("from 1 to {LONGEST} bytes"))
    .help("write preimage = 32");
    false
}

impl Step for MakeKey {
    async fn run(&self, run: &Run<'_>) -> Result<Key, StepFailure> {
        let key = secret_key(run);
        Ok(Key {
            r#pub: public(&key).to_string(),
            secret: key.secret_bytes().to_lower_hex_string(),
            key,
        })
    }
}

/// The next key of the scenario's seed.
pub(super) fn secret_key(run: &Run<'_>) -> SecretKey {
    // Out of 2^128 values fewer than one is no key.
    std::iter::repeat_with(|| SecretKey::from_slice(&run.random.bytes()))
        .find_map(Result::ok)
        .expect("the sequence has no end")
}

/// The public half of a key.
pub(super) fn public(key: &SecretKey) -> PublicKey {
    key.public_key(&Secp256k1::signing_only())
}

impl Step for MakePreimage {
    async fn run(&self, run: &Run<'_>) -> Result<Secret, StepFailure> {
        let length = usize::try_from(self.preimage).unwrap_or(usize::MAX);
        let blocks = length.div_ceil(32);
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| run.random.bytes())
            .take(blocks)
            .flatten()
            .collect();
        bytes.truncate(length);
        Ok(Secret {
            preimage: <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Preimage),
            hash: PaymentHash(sha256::Hash::hash(&bytes).to_byte_array()),
            hex: bytes.to_lower_hex_string(),
        })
    }
}

/// Whose key stands in an HTLC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOf {
    /// A key of this scenario, which can sign with it.
    Own(Arg<Key>),
    /// A text that a step before bound: the public key of somebody else.
    Told(Reference),
    /// The public key of somebody else.
    Public(PublicKey),
}

impl KeyOf {
    /// The public key, and the secret one where the scenario has it.
    pub(super) async fn get(
        &self,
        field: &'static str,
        run: &Run<'_>,
    ) -> Result<(PublicKey, Option<SecretKey>), StepFailure> {
        match self {
            KeyOf::Own(key) => {
                let key = run.get(key).await?.key;
                Ok((public(&key), Some(key)))
            }
            KeyOf::Public(key) => Ok((*key, None)),
            KeyOf::Told(reference) => {
                let text = run
                    .get(&Arg::<String>::Reference(reference.clone()))
                    .await?;
                let key = text.trim().parse();
                let key = key.map_err(|error| {
                    let title = format!("`{reference}` is {text}, which is no public key: {error}");
                    StepFailure::refused(title).at(field)
                })?;
                Ok((key, None))
            }
        }
    }
}

impl From<Key> for KeyOf {
    fn from(key: Key) -> Self {
        KeyOf::Own(Arg::Literal(key))
    }
}

impl From<PublicKey> for KeyOf {
    fn from(key: PublicKey) -> Self {
        KeyOf::Public(key)
    }
}

impl Field for KeyOf {
    fn field_type() -> FieldType {
        let hex = json!({ "type": "string", "pattern": "^0[23][0-9a-fA-F]{64}$" });
        FieldType::new(
            "a key that a step before made, or a public key of 33 bytes",
            "\"$me\"",
            json!({ "anyOf": [hex, { "type": "string", "pattern": REFERENCE_PATTERN }] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a key such as \"$me\", or a public key of 66 hexadecimal digits";
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let own = Type::Entity(Key::ENTITY_TYPE);
            return match cx.type_of(node, &reference)? {
                Type::Text => Some(KeyOf::Told(reference)),
                _ => cx
                    .check_reference(node, &reference, own)
                    .then_some(KeyOf::Own(Arg::Reference(reference))),
            };
        }
        let text = cx.text(node, WHAT)?;
        // 65 bytes are a key, too, and no P2WSH takes it.
        let key = text.parse::<PublicKey>().ok().filter(|_| text.len() == 66);
        if key.is_none() {
            let help = match cx.is_bound(&text) {
                true => format!("write \"${text}\"; a reference starts with `$`"),
                false => {
                    "make one with { key = \"liquid\", as = \"me\" } and write \"$me\"".to_owned()
                }
            };
            cx.expected(node, WHAT).help(help);
        }
        key.map(KeyOf::Public)
    }

    fn references(&self, out: &mut Vec<Reference>) {
        match self {
            KeyOf::Own(key) => key.references(out),
            KeyOf::Told(reference) => out.push(reference.clone()),
            KeyOf::Public(_) => {}
        }
    }
}

/// What is shown to an HTLC as the preimage: a true one or anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revealed {
    /// A preimage that a step before bound.
    Preimage(Reference),
    /// A secret of this scenario.
    Secret(Reference),
    /// Any bytes.
    Bytes(Vec<u8>),
}

impl Revealed {
    /// The bytes.
    pub(super) async fn get(&self, run: &Run<'_>) -> Result<Vec<u8>, StepFailure> {
        match self {
            Revealed::Bytes(bytes) => Ok(bytes.clone()),
            Revealed::Preimage(reference) => {
                let preimage = Arg::<Preimage>::Reference(reference.clone());
                Ok(run.get(&preimage).await?.0.to_vec())
            }
            Revealed::Secret(reference) => {
                let secret = run
                    .get(&Arg::<Secret>::Reference(reference.clone()))
                    .await?;
                Ok(Vec::from_hex(&secret.hex).expect("was made of bytes"))
            }
        }
    }
}

impl From<Preimage> for Revealed {
    fn from(preimage: Preimage) -> Self {
        Revealed::Bytes(preimage.0.to_vec())
    }
}

impl Field for Revealed {
    fn field_type() -> FieldType {
        let hex = json!({ "type": "string", "pattern": "^([0-9a-fA-F]{2})*$" });
        FieldType::new(
            "a preimage, a secret that a step before made, or any bytes in hexadecimal digits",
            "\"$paid.preimage\"",
            json!({ "anyOf": [hex, { "type": "string", "pattern": REFERENCE_PATTERN }] }),
        )
    }

    fn read(node: &Node<'_>, cx: &mut StepCx<'_>) -> Option<Self> {
        const WHAT: &str = "a preimage such as \"$paid.preimage\", or hexadecimal digits";
        if let Some(reference) = cx.reference(node) {
            let reference = reference?;
            let secret = Type::Entity(Secret::ENTITY_TYPE);
            return match cx.type_of(node, &reference)? {
                found if secret.accepts(found) => Some(Revealed::Secret(reference)),
                _ => cx
                    .check_reference(node, &reference, Type::Preimage)
                    .then_some(Revealed::Preimage(reference)),
            };
        }
        let text = cx.text(node, WHAT)?;
        match Vec::from_hex(&text) {
            Ok(bytes) => Some(Revealed::Bytes(bytes)),
            Err(error) => {
                let help = match cx.is_bound(&text) {
                    true => format!("write \"${text}\"; a reference starts with `$`"),
                    false => format!("as bytes it cannot be read: {error}"),
                };
                cx.expected(node, WHAT).help(help);
                None
            }
        }
    }

    fn references(&self, out: &mut Vec<Reference>) {
        match self {
            Revealed::Preimage(reference) | Revealed::Secret(reference) => {
                out.push(reference.clone());
            }
            Revealed::Bytes(_) => {}
        }
    }
}
