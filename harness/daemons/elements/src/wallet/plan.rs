//! An order under way: coins chosen, amounts drafted, blinded and signed.

use std::collections::{BTreeMap, HashMap};

use elements::confidential::{Asset, Nonce, Value};
use elements::secp256k1_zkp::rand::Rng;
use elements::secp256k1_zkp::{PublicKey, SecretKey};
use elements::{
    AssetBlindingNonce, AssetEntropy, AssetId, AssetIssuance, EcdsaSighashType, LockTime, OutPoint,
    Script, Sequence, Transaction, TxIn, TxInWitness, TxOut, TxOutSecrets, TxOutWitness,
};

use super::Tools;
use super::blind::{Blinder, InputSecrets, blinding_key, issued_assets};
use super::coins::Wallet;
use super::keys::AddressType;
use super::select::select;
use super::sign::sign_all;
use super::spend::{
    Funded, Issuance, Order, Recipient, STANDS_FOR_ASSET, STANDS_FOR_TOKEN, SpendError, refuse,
};
use crate::node::Node;

/// Bytes of a range proof over 52 bits with a minimum.
const RANGE_PROOF_BYTES: usize = 4174;
/// Weight of a signature and a key in a witness beyond the byte of an empty one.
const KEY_WITNESS_WEIGHT: usize = 1 + 72 + 1 + 33;

/// A chosen coin.
#[derive(Debug, Clone)]
struct Chosen {
    outpoint: OutPoint,
    sequence: Option<Sequence>,
    coin: TxOut,
    secrets: TxOutSecrets,
}

/// An order under way.
pub(super) struct Plan {
    preset: Vec<Chosen>,
    chosen: Vec<Chosen>,
    recipients: Vec<Recipient>,
    /// Change scripts that were taken from the wallet, by asset.
    change: BTreeMap<AssetId, (Script, Option<PublicKey>)>,
    change_position: Option<usize>,
    token: Option<Token>,
    /// Change below this many satoshi of the policy asset is left to the fee.
    dust: u64,
}

/// The token that allows a reissuance.
pub(super) struct Token {
    pub id: AssetId,
    pub entropy: AssetEntropy,
}

/// A transaction whose amounts are known, before blinding.
pub(super) struct Draft {
    tx: Transaction,
    pub weight: usize,
    change_position: Option<usize>,
    issuing_input: Option<usize>,
    issuance_keys: HashMap<usize, SecretKey>,
    blinds: bool,
    fee: u64,
}

impl Draft {
    pub(super) fn vsize(&self) -> Result<u64, SpendError> {
        u64::try_from(self.weight.div_ceil(4))
            .map_err(|_| SpendError("Transaction too large".into()))
    }
}

impl Plan {
    pub(super) fn new(wallet: &Wallet, node: &Node, order: &Order) -> Result<Self, SpendError> {
        let mut preset = Vec::new();
        for (outpoint, sequence) in &order.inputs {
            let known = wallet
                .coin(outpoint)
                .map(|coin| (coin.output.clone(), coin.secrets));
            let known = known.or_else(|| {
                let output = node.coin_with_mempool(outpoint)?.output;
                let secrets = super::coins::explicit_secrets(
                    output.asset.explicit()?,
                    output.value.explicit()?,
                );
                Some((output, secrets))
            });
            let Some((coin, secrets)) = known else {
                return refuse("Insufficient funds");
            };
            preset.push(Chosen {
                outpoint: *outpoint,
                sequence: *sequence,
                coin,
                secrets,
            });
        }
        let mut plan = Plan {
            preset,
            chosen: Vec::new(),
            recipients: order.recipients.clone(),
            change: BTreeMap::new(),
            change_position: order.change_position,
            token: None,
            dust: dust(node),
        };
        if let Some(Issuance::Again { asset, .. }) = &order.issuance {
            plan.token = Some(wallet.token_of(*asset)?);
        }
        Ok(plan)
    }

    /// What must come in, by asset, fee included.
    fn targets(&self, wallet: &Wallet, fee: u64) -> Result<BTreeMap<AssetId, u64>, SpendError> {
        let mut targets = BTreeMap::from([(wallet.policy_asset(), fee)]);
        let payments = self.recipients.iter().map(|to| (to.asset, to.value));
        let payments =
            payments.filter(|(asset, _)| ![STANDS_FOR_ASSET, STANDS_FOR_TOKEN].contains(asset));
        // The token is spent and comes back whole.
        let token = self.token.iter().map(|token| (token.id, 1));
        for (asset, value) in payments.chain(token) {
            let sum = targets.entry(asset).or_insert(0u64);
            *sum = sum
                .checked_add(value)
                .ok_or_else(|| SpendError("Insufficient funds".into()))?;
        }
        Ok(targets)
    }

    pub(super) fn choose(
        &mut self,
        wallet: &Wallet,
        node: &Node,
        order: &Order,
        fee: u64,
    ) -> Result<(), SpendError> {
        let mut chosen = self.preset.clone();
        let mut taken: Vec<OutPoint> = chosen.iter().map(|coin| coin.outpoint).collect();
        let mut targets = self.targets(wallet, fee)?;
        if self.preset.is_empty() && targets.values().all(|target| *target == 0) {
            // Something must be spent: an issuance hangs on an input.
            targets.insert(wallet.policy_asset(), 1);
        }
        for (asset, target) in targets {
            let preset = self
                .preset
                .iter()
                .filter(|coin| coin.secrets.asset == asset);
            let preset: u64 = preset.map(|coin| coin.secrets.value).sum();
            let missing = target.saturating_sub(preset);
            if missing > 0 && order.no_more_inputs {
                return refuse("Insufficient funds");
            }
            let coins = select(
                wallet,
                node.mempool(),
                node.params(),
                asset,
                missing,
                &taken,
            );
            let Some(coins) = coins else {
                return refuse("Insufficient funds");
            };
            for (_, outpoint) in coins {
                let Some(coin) = wallet.coin(&outpoint) else {
                    return refuse("Insufficient funds");
                };
                taken.push(outpoint);
                chosen.push(Chosen {
                    outpoint,
                    sequence: None,
                    coin: coin.output.clone(),
                    secrets: coin.secrets,
                });
            }
        }
        // An issuance is by the first input, which is as good as any.
        self.chosen = chosen;
        Ok(())
    }

    /// The script and the blinding key of an asset's change, taken from the wallet once.
    fn change_script(
        &mut self,
        wallet: &mut Wallet,
        tools: &Tools<'_>,
        order: &Order,
        asset: AssetId,
    ) -> (Script, Option<PublicKey>) {
        if let Some(address) = order.change.get(&asset) {
            return (address.script_pubkey(), address.blinding_pubkey);
        }
        let kind = order.change_type.unwrap_or(AddressType::Bech32);
        self.change
            .entry(asset)
            .or_insert_with(|| {
                let address = wallet.new_address(tools.secp, kind, true, true);
                (address.script_pubkey(), address.blinding_pubkey)
            })
            .clone()
    }

    pub(super) fn draft(
        &mut self,
        wallet: &mut Wallet,
        tools: &mut Tools<'_>,
        order: &Order,
        fee: u64,
    ) -> Result<Draft, SpendError> {
        let mut outputs = self.payments(fee)?;
        let mut fee = fee;
        let policy_asset = wallet.policy_asset();
        let subtract = self.recipients.iter().any(|to| to.pays_fee);
        let targets = self.targets(wallet, if subtract { 0 } else { fee })?;
        let change_script =
            self.add_change(wallet, tools, order, &targets, &mut outputs, &mut fee)?;
        let fee_output = TxOut::new_fee(fee, policy_asset);
        let mut tx = Transaction {
            version: if order.version == 0 { 2 } else { order.version },
            lock_time: LockTime::from_consensus(order.lock_time),
            input: self.inputs(tools, order),
            output: outputs,
        };
        if fee > 0 {
            tx.output.push(fee_output);
        }
        let (issuing_input, issuance_keys) = self.issue(wallet, &mut tx, order)?;
        self.make_blindable(wallet, tools, &mut tx, &issuance_keys, order)?;
        let weight = self.weight(&tx, &issuance_keys);
        let change_position = change_script.and_then(|script| {
            tx.output
                .iter()
                .position(|output| output.script_pubkey == script)
        });
        let blinds = tx
            .output
            .iter()
            .any(|output| blinding_key(output).is_some());
        Ok(Draft {
            tx,
            weight,
            change_position,
            issuing_input,
            issuance_keys,
            blinds,
            fee,
        })
    }

    /// Adds what comes back of each asset; returns the script of the policy asset's change.
    fn add_change(
        &mut self,
        wallet: &mut Wallet,
        tools: &mut Tools<'_>,
        order: &Order,
        targets: &BTreeMap<AssetId, u64>,
        outputs: &mut Vec<TxOut>,
        fee: &mut u64,
    ) -> Result<Option<Script>, SpendError> {
        let policy_asset = wallet.policy_asset();
        let mut come_in: BTreeMap<AssetId, u64> = BTreeMap::new();
        for coin in &self.chosen {
            *come_in.entry(coin.secrets.asset).or_insert(0) += coin.secrets.value;
        }
        let mut change_script = None;
        let token = self.token.as_ref().map(|token| token.id);
        for (asset, sum) in come_in {
            let mut target = targets.get(&asset).copied().unwrap_or(0);
            if token == Some(asset) {
                target -= 1;
            }
            let Some(change) = sum.checked_sub(target) else {
                // The fee has grown beyond what was chosen; the next round chooses more.
                continue;
            };
            if change == 0 {
                continue;
            }
            let is_policy = asset == policy_asset;
            // Change that costs more than it is worth goes to the fee.
            if is_policy && change < self.dust && order.change_position.is_none() {
                *fee += change;
                continue;
            }
            let (script, key) = self.change_script(wallet, tools, order, asset);
            if is_policy {
                change_script = Some(script.clone());
            }
            let output = explicit_output(script, key, asset, change);
            let position = match self.change_position.filter(|_| is_policy) {
                Some(position) if position <= outputs.len() => position,
                Some(_) => return refuse("Transaction change output index out of range"),
                // `fundrawtransaction` leaves the outputs in their order, too.
                None => tools.rng.gen_range(0..=outputs.len()),
            };
            outputs.insert(position, output);
        }
        Ok(change_script)
    }

    /// The recipients' outputs; those that pay the fee get less.
    fn payments(&self, fee: u64) -> Result<Vec<TxOut>, SpendError> {
        let payers = self.recipients.iter().filter(|to| to.pays_fee).count() as u64;
        let mut first = true;
        let mut outputs = Vec::new();
        for to in &self.recipients {
            let mut value = to.value;
            if to.pays_fee {
                let rest = if first { fee % payers } else { 0 };
                first = false;
                value = value.checked_sub(fee / payers + rest).ok_or_else(|| {
                    SpendError("The transaction amount is too small to pay the fee".into())
                })?;
                if value == 0 {
                    return refuse(
                        "The transaction amount is too small to send after the fee has been deducted",
                    );
                }
            }
            outputs.push(explicit_output(to.script.clone(), to.key, to.asset, value));
        }
        Ok(outputs)
    }

    fn inputs(&self, tools: &Tools<'_>, order: &Order) -> Vec<TxIn> {
        let signal = order.signal_rbf.unwrap_or(tools.settings.signal_rbf);
        let sequence = Sequence(if signal { 0xffff_fffd } else { 0xffff_fffe });
        let inputs = self.chosen.iter().map(|coin| TxIn {
            previous_output: coin.outpoint,
            is_pegin: false,
            script_sig: Script::new(),
            sequence: coin.sequence.unwrap_or(sequence),
            asset_issuance: AssetIssuance::null(),
            witness: TxInWitness::empty(),
        });
        inputs.collect()
    }

    /// Adds the issuance to its input, and what it issues to the wallet.
    fn issue(
        &mut self,
        wallet: &mut Wallet,
        tx: &mut Transaction,
        order: &Order,
    ) -> Result<(Option<usize>, HashMap<usize, SecretKey>), SpendError> {
        let Some(issuance) = &order.issuance else {
            return Ok((None, HashMap::new()));
        };
        let amount = |value: u64| match value {
            0 => Value::Null,
            value => Value::Explicit(value),
        };
        let (index, blinded, fields) = match issuance {
            Issuance::New {
                contract,
                asset_value,
                token_value,
                blinded,
            } => {
                let fields = AssetIssuance {
                    asset_blinding_nonce: AssetBlindingNonce::NEW_ISSUANCE,
                    asset_entropy: AssetEntropy::from_byte_array(contract.to_byte_array()),
                    // A blinded issuance of tokens alone commits to none of the asset.
                    amount: if *blinded && *asset_value == 0 {
                        Value::Explicit(0)
                    } else {
                        amount(*asset_value)
                    },
                    inflation_keys: amount(*token_value),
                };
                (0, *blinded, fields)
            }
            Issuance::Again { value, .. } => {
                let token = self.token.as_ref();
                let token = token.ok_or_else(|| SpendError("No token".into()))?;
                let spent = |coin: &Chosen| coin.secrets.asset == token.id;
                let at = self.chosen.iter().position(spent);
                let at = at.ok_or_else(|| SpendError("Insufficient funds".into()))?;
                let factor = self.chosen.get(at).map(|coin| coin.secrets.asset_bf);
                let factor = factor.ok_or_else(|| SpendError("Insufficient funds".into()))?;
                let fields = AssetIssuance {
                    asset_blinding_nonce: AssetBlindingNonce::from_blinding_factor(factor),
                    asset_entropy: token.entropy,
                    amount: Value::Explicit(*value),
                    inflation_keys: Value::Null,
                };
                let confidential = AssetId::reissuance_token_from_entropy(token.entropy, true);
                (at, confidential == token.id, fields)
            }
        };
        let input = tx.input.get_mut(index);
        let input = input.ok_or_else(|| SpendError("Insufficient funds".into()))?;
        input.asset_issuance = fields;
        let (asset, token) = issued_assets(input, blinded);
        let outpoint = input.previous_output;
        // What is issued takes the place of the recipients that stand for it.
        for output in &mut tx.output {
            if output.asset == Asset::Explicit(STANDS_FOR_ASSET) {
                output.asset = Asset::Explicit(asset);
            } else if output.asset == Asset::Explicit(STANDS_FOR_TOKEN) {
                output.asset = Asset::Explicit(token);
            }
        }
        let mut keys = HashMap::new();
        if blinded {
            keys.insert(index, wallet.issuance_key(&outpoint));
        }
        Ok((Some(index), keys))
    }

    /// Sees to it that what is to be blinded can balance.
    fn make_blindable(
        &self,
        wallet: &Wallet,
        tools: &Tools<'_>,
        tx: &mut Transaction,
        issuance_keys: &HashMap<usize, SecretKey>,
        order: &Order,
    ) -> Result<(), SpendError> {
        let is_blinded = |coin: &Chosen| !coin.coin.value.is_explicit();
        let blinded_inputs = self.chosen.iter().any(is_blinded);
        let outputs = tx
            .output
            .iter()
            .filter(|output| blinding_key(output).is_some());
        let outputs = outputs.count();
        if outputs == 0 && (blinded_inputs || !issuance_keys.is_empty()) {
            // One output of nothing takes up the blinding factors.
            let asset = tx.output.last().map_or(wallet.policy_asset(), |output| {
                output.asset.explicit().unwrap_or(wallet.policy_asset())
            });
            let script = Script::new_op_return(&[]);
            let script = Script::from(script.as_bytes()[..1].to_vec());
            let key = wallet.keys().blinding_pubkey(tools.secp, &script);
            let position = tx.output.len();
            tx.output
                .insert(position, explicit_output(script, Some(key), asset, 0));
        } else if outputs == 1 && !blinded_inputs && issuance_keys.is_empty() {
            if !order.ignore_blind_fail {
                return refuse(
                    "Transaction output could not be blinded as there are no blinded inputs and no other blinded outputs.",
                );
            }
            // It would not hide anything, and stays explicit.
            for output in &mut tx.output {
                output.nonce = Nonce::Null;
            }
        }
        Ok(())
    }

    /// The weight it will have, blinded and signed.
    fn weight(&self, tx: &Transaction, issuance_keys: &HashMap<usize, SecretKey>) -> usize {
        let varint = |length: usize| if length < 253 { 1 } else { 3 };
        let issues = |input: &TxIn| {
            let amounts = [
                input.asset_issuance.amount,
                input.asset_issuance.inflation_keys,
            ];
            amounts.iter().filter(|amount| !amount.is_null()).count()
        };
        // What a surjection proof chooses from: what comes in, and what is issued.
        let domain = tx.input.len() + tx.input.iter().map(issues).sum::<usize>();
        let surjection = 2 + domain.div_ceil(8) + 32 * (1 + domain.min(3));
        let proofs =
            varint(surjection) + surjection + varint(RANGE_PROOF_BYTES) + RANGE_PROOF_BYTES;
        let outputs = tx
            .output
            .iter()
            .filter(|output| blinding_key(output).is_some());
        // Value and nonce become commitments of 33 bytes; the nonce is a key of 33 bytes already.
        let outputs = outputs.count() * (4 * (33 - 9) + proofs - 2);
        let witnesses = 2 * tx.output.len() + 4 * tx.input.len();
        let has_witness = tx.has_witness();
        let inputs = tx.input.len() * KEY_WITNESS_WEIGHT;
        let nested = self
            .chosen
            .iter()
            .filter(|coin| coin.coin.script_pubkey.is_p2sh());
        let legacy = self
            .chosen
            .iter()
            .filter(|coin| coin.coin.script_pubkey.is_p2pkh());
        let scripts = 4 * (23 * nested.count() + 107 * legacy.count());
        let issued = issuance_keys
            .keys()
            .filter_map(|index| tx.input.get(*index));
        let issued = issued.map(|input| {
            let amounts = [
                input.asset_issuance.amount,
                input.asset_issuance.inflation_keys,
            ];
            let explicit = amounts.iter().filter(|amount| amount.is_explicit()).count();
            explicit * (4 * (33 - 9) + RANGE_PROOF_BYTES + 2)
        });
        let base = tx.weight() + if has_witness { 0 } else { witnesses };
        base + outputs + inputs + scripts + issued.sum::<usize>()
    }

    pub(super) fn finish(
        &self,
        wallet: &Wallet,
        tools: &mut Tools<'_>,
        order: &Order,
        draft: Draft,
    ) -> Result<Funded, SpendError> {
        let mut tx = draft.tx;
        let mut secrets = HashMap::new();
        if !order.unsigned {
            if draft.blinds {
                let known = self
                    .chosen
                    .iter()
                    .map(|coin| InputSecrets::Known(coin.secrets));
                let known: Vec<InputSecrets> = known.collect();
                let mut blinder = Blinder {
                    secp: tools.secp,
                    rng: tools.rng,
                };
                secrets = blinder
                    .blind(&mut tx, &known, &draft.issuance_keys)
                    .map_err(|_| {
                        SpendError(
                            "Unable to blind the transaction properly. This should not happen."
                                .into(),
                        )
                    })?;
            }
            let coins: HashMap<OutPoint, TxOut> = self
                .chosen
                .iter()
                .map(|coin| (coin.outpoint, coin.coin.clone()))
                .collect();
            let failures = sign_all(wallet, tools.secp, &mut tx, &coins, EcdsaSighashType::All);
            if !failures.is_empty() {
                return refuse("Signing transaction failed");
            }
        }
        Ok(Funded {
            tx,
            fee: draft.fee,
            change_position: draft.change_position,
            secrets,
            issuing_input: draft.issuing_input,
        })
    }
}

/// What an explicit output must at least be worth to be relayed, satoshi of the policy asset.
pub(super) fn dust(node: &Node) -> u64 {
    // The output itself, and an input with a discounted witness that spends it.
    node.params().dust_relay_fee.fee(66 + 67).max(1)
}

fn explicit_output(script: Script, key: Option<PublicKey>, asset: AssetId, value: u64) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: key.map_or(Nonce::Null, Nonce::Confidential),
        script_pubkey: script,
        witness: TxOutWitness::empty(),
    }
}
