//! Issued assets: explicit, blinded, more of the same, and what must not be.

use elements::confidential::{Asset, AssetBlindingFactor, Nonce, Value, ValueBlindingFactor};
use elements::secp256k1_zkp::rand::{SeedableRng, rngs::StdRng};
use elements::secp256k1_zkp::{PublicKey, Secp256k1, SecretKey};
use elements::{
    AssetBlindingNonce, AssetEntropy, AssetId, AssetIssuance, ContractHash, OutPoint, Transaction,
    TxOut, TxOutSecrets,
};
use swaprig_elements::node::{Node, Params};

use crate::common::{FEE, fund, node, output, spend, spend_wsh, tx, with, wsh_true};

const VALUE: u64 = 1_000_000;

fn issuance(amount: u64, tokens: u64) -> AssetIssuance {
    let value = |amount| {
        if amount == 0 {
            Value::Null
        } else {
            Value::Explicit(amount)
        }
    };
    AssetIssuance {
        asset_blinding_nonce: AssetBlindingNonce::NEW_ISSUANCE,
        asset_entropy: AssetEntropy::NEW_ISSUANCE,
        amount: value(amount),
        inflation_keys: value(tokens),
    }
}

/// Issues an asset and tokens, all explicit.
pub(crate) fn issue(node: &Node, from: OutPoint, amount: u64, tokens: u64) -> Transaction {
    let mut tx = spend(node, from, VALUE, FEE, 0xffff_ffff);
    tx.input[0].asset_issuance = issuance(amount, tokens);
    let (asset, token) = tx.input[0].issuance_ids();
    tx.output.push(output(asset, amount, wsh_true()));
    if tokens > 0 {
        tx.output.push(output(token, tokens, wsh_true()));
    }
    tx
}

fn reason(node: &Node, tx: &Transaction) -> String {
    node.clone().accept(tx.clone(), None).unwrap_err().reason
}

#[test]
fn explicit() {
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    let tx = issue(&node, coins[0], 1_000, 1);
    let (asset, token) = tx.input[0].issuance_ids();
    let mut more = tx.clone();
    more.output[2].value = Value::Explicit(1_001);
    assert_eq!(reason(&node, &more), "bad-txns-in-ne-out");
    let mut more = tx.clone();
    more.output[3].value = Value::Explicit(2);
    assert_eq!(reason(&node, &more), "bad-txns-in-ne-out");
    let txid = node.accept(tx, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(
        node.coin(&OutPoint::new(txid, 2)).unwrap().output,
        output(asset, 1_000, wsh_true())
    );
    assert_eq!(
        node.coin(&OutPoint::new(txid, 3)).unwrap().output,
        output(token, 1, wsh_true())
    );
    // The asset moves, one satoshi of it is no dust, and its fee counts for nothing.
    let inputs = vec![
        spend_wsh(OutPoint::new(txid, 2), 0xffff_ffff),
        spend_wsh(coins[1], 0xffff_ffff),
    ];
    let lbtc = node.policy_asset();
    let outputs = vec![
        output(asset, 1, wsh_true()),
        output(asset, 900, wsh_true()),
        TxOut::new_fee(99, asset),
        output(lbtc, VALUE - FEE, wsh_true()),
        TxOut::new_fee(FEE, lbtc),
    ];
    let mut only_asset_fee = spend(&node, OutPoint::new(txid, 2), 1_000, 900, 0xffff_ffff);
    only_asset_fee.output[0].asset = Asset::Explicit(asset);
    only_asset_fee.output[1].asset = Asset::Explicit(asset);
    assert_eq!(reason(&node, &only_asset_fee), "min relay fee not met");
    let moved = crate::common::tx(inputs, outputs);
    node.accept(moved, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
}

#[test]
fn without_any_witness_elements_refuses_an_issuance() {
    let mut node = node();
    let lbtc = node.policy_asset();
    let from = crate::common::free_coins(&node);
    let all = node.params().initial_free_coins;
    let mut input = crate::common::input(from, 0xffff_ffff);
    input.asset_issuance = issuance(1_000, 0);
    let (asset, _) = input.issuance_ids();
    let outputs = vec![
        output(lbtc, all - 100_000, wsh_true()),
        output(asset, 1_000, wsh_true()),
        TxOut::new_fee(100_000, lbtc),
    ];
    let mut issuing = tx(vec![input], outputs);
    // The sum of explicit outputs, whatever their assets, is limited too.
    issuing.output[0].value = Value::Explicit(all - 100_000 - 1_000);
    issuing.output[2].value = Value::Explicit(100_000);
    assert_eq!(reason(&node, &issuing), "bad-txns-in-ne-out");
    node.generate(1, &wsh_true()).unwrap();
}

#[test]
fn more_than_there_is_money() {
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let large = issue(&node, coins[0], 3_000_000_000_000_000, 0);
    assert_eq!(reason(&node, &large), "bad-txns-vout-toolarge");
    let mut split = large.clone();
    split.output[2].value = Value::Explicit(1_000);
    let error = node.clone().accept(split.clone(), None).unwrap_err();
    assert_eq!(error.reason, "issuance-out-of-range");
    assert!(
        error.message.contains("acceptunlimitedissuances"),
        "{error}"
    );
    let mut free = with(Params {
        accept_unlimited_issuances: true,
        ..Params::liquid_regtest()
    });
    let coins = fund(&mut free, 1, VALUE);
    split.input[0].previous_output = coins[0];
    assert_eq!(reason(&free, &split), "bad-txns-in-ne-out");
}

#[test]
fn tokens_allow_more() {
    let secp = Secp256k1::new();
    let mut rng = StdRng::seed_from_u64(1);
    let mut node = node();
    let coins = fund(&mut node, 2, VALUE);
    // The token must be blinded, or nobody could show that it is one by its blinding factor.
    let mut first = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    first.input[0].asset_issuance = issuance(1_000, 5);
    let (asset, token) = first.input[0].issuance_ids();
    first.output.push(output(asset, 1_000, wsh_true()));
    let key = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[3; 32]).unwrap());
    for tokens in [2, 3] {
        let nonce = Nonce::Confidential(key);
        first.output.push(TxOut {
            nonce,
            ..output(token, tokens, wsh_true())
        });
    }
    let secrets = [
        explicit_secrets(node.policy_asset(), VALUE),
        explicit_secrets(asset, 1_000),
        explicit_secrets(token, 5),
    ];
    let blinds = first.blind(&mut rng, &secp, &secrets, false).unwrap();
    let txid = node.accept(first.clone(), None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    let (location, (abf, vbf, _)) = blinds.iter().next().unwrap();
    let tokens_at = OutPoint::new(txid, u32::try_from(location.input_index).unwrap());
    let entropy = AssetId::generate_asset_entropy(coins[0], ContractHash::from_byte_array([0; 32]));
    let token_secrets = TxOutSecrets::new(token, *abf, 2, *vbf);
    let again = reissue(
        &node,
        tokens_at,
        coins[1],
        token_secrets,
        entropy,
        77,
        &mut rng,
    );
    let mut not_the_token = again.clone();
    not_the_token.input[0].asset_issuance.asset_blinding_nonce =
        AssetBlindingNonce::from_byte_array([1; 32]);
    assert_eq!(reason(&node, &not_the_token), "bad-txns-in-ne-out");
    let mut with_tokens = again.clone();
    with_tokens.input[0].asset_issuance.inflation_keys = Value::Explicit(1);
    assert_eq!(reason(&node, &with_tokens), "bad-txns-in-ne-out");
    let mut other_asset = again.clone();
    other_asset.input[0].asset_issuance.asset_entropy = AssetEntropy::from_byte_array([5; 32]);
    assert_eq!(reason(&node, &other_asset), "bad-txns-in-ne-out");
    let txid = node.accept(again, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert_eq!(
        node.coin(&OutPoint::new(txid, 1)).unwrap().output,
        output(asset, 77, wsh_true())
    );
}

/// Spends tokens back to themselves and issues `amount` more.
fn reissue(
    node: &Node,
    tokens_at: OutPoint,
    fees_from: OutPoint,
    tokens: TxOutSecrets,
    entropy: AssetEntropy,
    amount: u64,
    rng: &mut StdRng,
) -> Transaction {
    let secp = Secp256k1::new();
    let lbtc = node.policy_asset();
    let mut token_input = spend_wsh(tokens_at, 0xffff_ffff);
    token_input.asset_issuance = AssetIssuance {
        asset_blinding_nonce: AssetBlindingNonce::from_blinding_factor(tokens.asset_bf),
        asset_entropy: entropy,
        amount: Value::Explicit(amount),
        inflation_keys: Value::Null,
    };
    let asset = AssetId::from_entropy(entropy);
    let key = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[3; 32]).unwrap());
    let outputs = vec![
        TxOut {
            nonce: Nonce::Confidential(key),
            ..output(tokens.asset, tokens.value, wsh_true())
        },
        output(asset, amount, wsh_true()),
        output(lbtc, VALUE - FEE, wsh_true()),
        TxOut::new_fee(FEE, lbtc),
    ];
    let mut again = tx(
        vec![token_input, spend_wsh(fees_from, 0xffff_ffff)],
        outputs,
    );
    let secrets = [
        tokens,
        explicit_secrets(asset, amount),
        explicit_secrets(lbtc, VALUE),
    ];
    again.blind(rng, &secp, &secrets, false).unwrap();
    again
}

#[test]
fn blinded_issuances_prove_their_range() {
    let secp = Secp256k1::new();
    let mut rng = StdRng::seed_from_u64(2);
    let mut node = node();
    let coins = fund(&mut node, 1, VALUE);
    let mut issuing = spend(&node, coins[0], VALUE, FEE, 0xffff_ffff);
    issuing.input[0].asset_issuance = issuance(1_000, 0);
    let (issue_vbf, _, _, _) = issuing.input[0].blind_issuances(&secp, &mut rng).unwrap();
    let (asset, _) = issuing.input[0].issuance_ids();
    let key = PublicKey::from_secret_key(&secp, &SecretKey::from_slice(&[3; 32]).unwrap());
    let lbtc = explicit_secrets(node.policy_asset(), VALUE);
    let issued = TxOutSecrets::new(asset, AssetBlindingFactor::zero(), 1_000, issue_vbf);
    let out = [
        explicit_secrets(node.policy_asset(), VALUE - FEE),
        explicit_secrets(node.policy_asset(), FEE),
    ];
    let (last, ..) = TxOut::new_last_confidential(
        &mut rng,
        &secp,
        1_000,
        asset,
        wsh_true(),
        key,
        &[lbtc, issued],
        &[&out[0], &out[1]],
    )
    .unwrap();
    issuing.output.push(last);
    let mut no_proof = issuing.clone();
    no_proof.input[0].witness.amount_rangeproof = elements::RangeProof::EMPTY;
    assert_eq!(reason(&node, &no_proof), "bad-txns-in-ne-out");
    let mut proof_of_another = issuing.clone();
    proof_of_another.input[0].witness.amount_rangeproof =
        issuing.output[2].witness.rangeproof.clone();
    assert_eq!(reason(&node, &proof_of_another), "bad-txns-in-ne-out");
    let mut superfluous = issuing.clone();
    superfluous.input[0].witness.inflation_keys_rangeproof =
        issuing.output[2].witness.rangeproof.clone();
    assert_eq!(
        reason(&node, &superfluous),
        "bad-txin-extra-inflation-rangeproof"
    );
    node.accept(issuing, None).unwrap();
    node.generate(1, &wsh_true()).unwrap();
    assert!(node.mempool().is_empty());
}

pub(crate) fn explicit_secrets(asset: AssetId, value: u64) -> TxOutSecrets {
    TxOutSecrets::new(
        asset,
        AssetBlindingFactor::zero(),
        value,
        ValueBlindingFactor::zero(),
    )
}
