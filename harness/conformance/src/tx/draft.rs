//! A transaction in the making: inputs whose amounts are known, outputs explicit or blinded, fees anywhere.

use elements::confidential::{Asset, Value};
use elements::confidential::{AssetBlindingFactor, Nonce, ValueBlindingFactor};
use elements::secp256k1_zkp::{PublicKey, SECP256K1};
use elements::sighash::SighashCache;
use elements::{
    AssetId, AssetIssuance, CtLocation, CtLocationType, EcdsaSighashType, LockTime, OutPoint,
    Script, Sequence, Transaction, TxIn, TxInWitness, TxOut, TxOutSecrets, TxOutWitness, Witness,
    encode,
};

use super::{Key, Seeded};

/// An output that can be spent, with what its commitments hide.
#[derive(Debug, Clone)]
pub struct Coin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// The output.
    pub txout: TxOut,
    /// Its asset, value and blinding factors; zero factors for an explicit output.
    pub secrets: TxOutSecrets,
}

impl Coin {
    /// An explicit output.
    pub fn explicit(outpoint: OutPoint, script: Script, value: u64, asset: AssetId) -> Self {
        Coin {
            outpoint,
            txout: output(script, value, asset),
            secrets: plain(asset, value),
        }
    }

    /// Its value in satoshi.
    pub fn value(&self) -> u64 {
        self.secrets.value
    }

    /// Its asset.
    pub fn asset(&self) -> AssetId {
        self.secrets.asset
    }
}

/// The secrets of what is not secret.
fn plain(asset: AssetId, value: u64) -> TxOutSecrets {
    TxOutSecrets::new(
        asset,
        AssetBlindingFactor::zero(),
        value,
        ValueBlindingFactor::zero(),
    )
}

/// An explicit output.
fn output(script: Script, value: u64, asset: AssetId) -> TxOut {
    TxOut {
        asset: Asset::Explicit(asset),
        value: Value::Explicit(value),
        nonce: Nonce::Null,
        script_pubkey: script,
        witness: TxOutWitness::default(),
    }
}

/// A transaction, and what it spends.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The transaction; cases that break a rule change it.
    pub tx: Transaction,
    /// What its inputs spend, in their order.
    pub coins: Vec<Coin>,
    /// What its outputs hide, in their order.
    secrets: Vec<TxOutSecrets>,
}

impl Draft {
    /// Spends `coins`; each input says that it can be replaced (BIP125) and obeys nLockTime.
    pub fn spending(coins: &[&Coin]) -> Self {
        let input = |coin: &&Coin| TxIn {
            previous_output: coin.outpoint,
            is_pegin: false,
            script_sig: Script::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            asset_issuance: AssetIssuance::default(),
            witness: TxInWitness::default(),
        };
        Draft {
            tx: Transaction {
                version: 2,
                lock_time: LockTime::ZERO,
                input: coins.iter().map(input).collect(),
                output: Vec::new(),
            },
            coins: coins.iter().map(|&coin| coin.clone()).collect(),
            secrets: Vec::new(),
        }
    }

    /// Adds an explicit output.
    #[must_use]
    pub fn pay(mut self, script: Script, value: u64, asset: AssetId) -> Self {
        self.secrets.push(plain(asset, value));
        self.tx.output.push(output(script, value, asset));
        self
    }

    /// Adds an output that [`Draft::blind`] hides for the owner of `blinder`.
    #[must_use]
    pub fn pay_blinded(
        self,
        script: Script,
        value: u64,
        asset: AssetId,
        blinder: PublicKey,
    ) -> Self {
        let mut more = self.pay(script, value, asset);
        let last = more.tx.output.last_mut().expect("it was just added");
        last.nonce = Nonce::Confidential(blinder);
        more
    }

    /// Adds a fee output.
    #[must_use]
    pub fn fee(self, value: u64, asset: AssetId) -> Self {
        self.pay(Script::new(), value, asset)
    }

    /// Sets nLockTime.
    #[must_use]
    pub fn lock_time(mut self, lock_time: u32) -> Self {
        self.tx.lock_time = LockTime::from_consensus(lock_time);
        self
    }

    /// Sets the sequence of every input.
    #[must_use]
    pub fn sequence(mut self, sequence: u32) -> Self {
        for input in &mut self.tx.input {
            input.sequence = Sequence(sequence);
        }
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.tx.version = version;
        self
    }

    /// Hides the outputs that are to be hidden.
    #[must_use]
    pub fn blind(mut self, random: &mut Seeded) -> Self {
        let spent: Vec<TxOutSecrets> = self.coins.iter().map(|coin| coin.secrets).collect();
        let factors = self
            .tx
            .blind(random, SECP256K1, &spent, false)
            .expect("a draft has at least one output to blind, and its amounts are balanced");
        for (at, (asset_bf, value_bf, _)) in factors {
            let CtLocation {
                input_index: output,
                ty: CtLocationType::Input,
            } = at
            else {
                continue;
            };
            let secrets = &mut self.secrets[output];
            secrets.asset_bf = asset_bf;
            secrets.value_bf = value_bf;
        }
        self
    }

    /// Signs input `index`, a P2WPKH output of `key`.
    #[must_use]
    pub fn sign(mut self, index: usize, key: &Key) -> Self {
        let digest = self.digest(index, &key.script_code());
        let witness = [key.sign(digest), key.public().serialize().to_vec()];
        self.set_witness(index, &witness);
        self
    }

    /// Signs every input with `key`.
    #[must_use]
    pub fn sign_all(self, key: &Key) -> Self {
        (0..self.tx.input.len()).fold(self, |draft, index| draft.sign(index, key))
    }

    /// What a signature of input `index` signs under `script_code`, by BIP143 as Elements has it, with SIGHASH_ALL.
    pub fn digest(&self, index: usize, script_code: &Script) -> [u8; 32] {
        let value = self.coins[index].txout.value;
        SighashCache::new(&self.tx)
            .segwitv0_sighash(index, script_code, value, EcdsaSighashType::All)
            .to_byte_array()
    }

    /// Sets the witness of input `index`.
    pub fn set_witness(&mut self, index: usize, stack: &[Vec<u8>]) {
        self.tx.input[index].witness.script_witness = Witness::from_slice(stack);
    }

    /// The transaction in hexadecimal digits.
    pub fn hex(&self) -> String {
        encode::serialize_hex(&self.tx)
    }

    /// Its id.
    pub fn txid(&self) -> String {
        self.tx.txid().to_string()
    }

    /// Its output `index` as a coin.
    pub fn coin(&self, index: usize) -> Coin {
        Coin {
            outpoint: OutPoint::new(self.tx.txid(), u32::try_from(index).expect("a few outputs")),
            txout: self.tx.output[index].clone(),
            secrets: self.secrets[index],
        }
    }
}
