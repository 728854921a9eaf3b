//! Making transactions: what they pay, what they cost, what comes back.

use std::collections::{BTreeMap, HashMap};

use elements::issuance::ContractHash;
use elements::script::Builder;
use elements::secp256k1_zkp::{PublicKey, SecretKey};
use elements::{Address, AssetId, OutPoint, Script, Sequence, Transaction, TxOutSecrets, opcodes};

use super::Tools;
use super::coins::Wallet;
use super::keys::AddressType;
use super::plan::{Plan, Token, dust};
use crate::node::{FeeRate, Node};

/// The heaviest transaction that is relayed.
const MAX_STANDARD_WEIGHT: usize = 400_000;
/// How often coins are chosen anew because those before did not cover their own fee.
const MAX_ROUNDS: usize = 64;

/// A payment.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    pub script: Script,
    /// Blinded for this key, explicit without.
    pub key: Option<PublicKey>,
    pub asset: AssetId,
    pub value: u64,
    /// Whether the fee comes out of this payment.
    pub pays_fee: bool,
}

impl Recipient {
    pub(crate) fn to(address: &Address, asset: AssetId, value: u64) -> Self {
        Recipient {
            script: address.script_pubkey(),
            key: address.blinding_pubkey,
            asset,
            value,
            pays_fee: false,
        }
    }
}

/// An asset to issue.
#[derive(Debug, Clone)]
pub(crate) enum Issuance {
    /// A new asset.
    New {
        contract: ContractHash,
        asset_value: u64,
        token_value: u64,
        blinded: bool,
    },
    /// More of one whose token the wallet has.
    Again { asset: AssetId, value: u64 },
}

/// What a transaction is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    pub recipients: Vec<Recipient>,
    pub issuance: Option<Issuance>,
    /// None goes by the wallet's settings.
    pub fee_rate: Option<FeeRate>,
    pub signal_rbf: Option<bool>,
    /// Whether something that cannot be blinded alone stays explicit; otherwise that is an error.
    pub ignore_blind_fail: bool,
    /// Coins that must be spent.
    pub inputs: Vec<(OutPoint, Option<Sequence>)>,
    /// Whether the wallet may add coins to them.
    pub no_more_inputs: bool,
    /// Where change goes, by asset; addresses of the wallet otherwise.
    pub change: BTreeMap<AssetId, Address>,
    /// The kind of new change addresses.
    pub change_type: Option<AddressType>,
    /// Stop before blinding and signing.
    pub unsigned: bool,
    pub lock_time: u32,
    pub version: u32,
    pub change_position: Option<usize>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Funded {
    pub tx: Transaction,
    pub fee: u64,
    /// The position of the policy asset's change.
    pub change_position: Option<usize>,
    /// What is in the outputs, by position.
    pub secrets: HashMap<u32, TxOutSecrets>,
    /// The input that issues.
    pub issuing_input: Option<usize>,
}

/// Why no transaction came of it: elementsd's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SpendError(pub String);

pub(super) fn refuse<T>(message: &str) -> Result<T, SpendError> {
    Err(SpendError(message.to_owned()))
}

impl Wallet {
    /// Makes the transaction of an order and, unless the order says otherwise, blinds and signs it.
    pub(crate) fn fund(
        &mut self,
        tools: &mut Tools<'_>,
        node: &Node,
        order: &Order,
    ) -> Result<Funded, SpendError> {
        let rate = fee_rate(tools, node, order)?;
        let policy_asset = self.policy_asset();
        let too_small = |to: &Recipient| {
            let limit = if to.asset == policy_asset && to.key.is_none() {
                dust(node)
            } else {
                1
            };
            to.value < limit && !to.script.is_op_return()
        };
        if order.recipients.iter().any(too_small) {
            return refuse("Transaction amount too small");
        }
        let subtract = order.recipients.iter().any(|recipient| recipient.pays_fee);
        let mut plan = Plan::new(self, node, order)?;
        // Fees depend on the number of inputs, and the inputs on the fees.
        let mut fee = 0;
        for _ in 0..MAX_ROUNDS {
            plan.choose(self, node, order, if subtract { 0 } else { fee })?;
            let draft = plan.draft(self, tools, order, fee)?;
            let needed = rate.fee(draft.vsize()?);
            if needed <= fee {
                break;
            }
            fee = needed;
        }
        if fee > tools.settings.max_tx_fee {
            return refuse("Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)");
        }
        let draft = plan.draft(self, tools, order, fee)?;
        if draft.weight > MAX_STANDARD_WEIGHT {
            return refuse("Transaction too large");
        }
        plan.finish(self, tools, order, draft)
    }

    /// The key that an input's issuance is blinded with.
    pub(crate) fn issuance_key(&self, outpoint: &OutPoint) -> SecretKey {
        let script = Builder::new()
            .push_opcode(opcodes::all::OP_RETURN)
            .push_slice(&outpoint.txid.to_byte_array())
            .push_int(i64::from(outpoint.vout))
            .into_script();
        self.keys().blinding_key(&script)
    }
}

fn fee_rate(tools: &Tools<'_>, node: &Node, order: &Order) -> Result<FeeRate, SpendError> {
    let required = tools.settings.min_tx_fee.max(node.params().min_relay_fee);
    match (order.fee_rate, tools.settings.fallback_fee) {
        (Some(rate), _) => {
            if rate < required {
                let sat_per_vb = |rate: FeeRate| {
                    format!(
                        "{}.{:03} sat/vB",
                        rate.sat_per_kvb() / 1000,
                        rate.sat_per_kvb() % 1000
                    )
                };
                return Err(SpendError(format!(
                    "Fee rate ({}) is lower than the minimum fee rate setting ({})",
                    sat_per_vb(rate),
                    sat_per_vb(required)
                )));
            }
            Ok(rate)
        }
        (None, Some(fallback)) => Ok(fallback.max(required)),
        (None, None) => refuse(
            "Fee estimation failed. Fallbackfee is disabled. Wait a few blocks or enable -fallbackfee.",
        ),
    }
}

/// Stand for what an order issues, whose ids are known once its input is.
pub(crate) const STANDS_FOR_ASSET: AssetId = AssetId::from_byte_array([1; 32]);
/// As [`STANDS_FOR_ASSET`], for the token.
pub(crate) const STANDS_FOR_TOKEN: AssetId = AssetId::from_byte_array([2; 32]);

impl Wallet {
    /// The token of an asset that the wallet issued.
    pub(super) fn token_of(&self, asset: AssetId) -> Result<Token, SpendError> {
        for (issued, entropy) in self.issued() {
            for confidential in [false, true] {
                let id = AssetId::reissuance_token_from_entropy(*entropy, confidential);
                if id == asset {
                    return refuse(
                        "Asset given is a reissuance token type and can not be reissued.",
                    );
                }
                if *issued == asset && self.balance().trusted.contains_key(&id) {
                    return Ok(Token {
                        id,
                        entropy: *entropy,
                    });
                }
            }
        }
        if self.issued().contains_key(&asset) {
            return refuse("No available reissuance tokens in wallet.");
        }
        refuse("Asset reissuance token definition could not be found in wallet.")
    }
}
