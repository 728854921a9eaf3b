//! Spends of one script by one signature, on either chain, in P2WSH or in tapscript; and an input without a transaction.

// Each test uses a part of this.
#![allow(dead_code)]

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::secp256k1::{Keypair, Message, Scalar, Secp256k1, SecretKey};
use elements::confidential;
use swaprig_script::{
    BitcoinSpends, Checker, ElementsSpends, Flags, ScriptError, SigVersion, TaprootContext,
};

pub(crate) mod asm;

pub(crate) use swaprig_script::Chain as ScriptChain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chain {
    Bitcoin,
    Elements,
}

impl Chain {
    pub(crate) const ALL: [Chain; 2] = [Chain::Bitcoin, Chain::Elements];

    pub(crate) fn standard(self) -> Flags {
        match self {
            Chain::Bitcoin => Flags::BITCOIN_STANDARD,
            Chain::Elements => Flags::ELEMENTS_STANDARD,
        }
    }

    fn script_chain(self) -> ScriptChain {
        match self {
            Chain::Bitcoin => ScriptChain::Bitcoin,
            Chain::Elements => ScriptChain::Elements,
        }
    }
}

/// Where the script is committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    P2wsh,
    Tapscript,
}

impl Kind {
    pub(crate) const ALL: [Kind; 2] = [Kind::P2wsh, Kind::Tapscript];

    /// Key `number` as a script of this kind has it.
    pub(crate) fn key(self, number: u8) -> Vec<u8> {
        let pair = pair(number);
        match self {
            Kind::P2wsh => pair.public_key().serialize().to_vec(),
            Kind::Tapscript => pair.x_only_public_key().0.serialize().to_vec(),
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Lock {
    pub(crate) lock_time: u32,
    pub(crate) sequence: u32,
}

/// What goes into the witness around the signature, and what the transaction says.
pub(crate) struct Spend {
    pub(crate) signer: u8,
    pub(crate) below: Vec<Vec<u8>>,
    pub(crate) above: Vec<Vec<u8>>,
    pub(crate) lock: Lock,
}

/// Something that is changed after signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Amount,
    Output,
    Outpoint,
    Version,
    Genesis,
    Asset,
}

impl Change {
    pub(crate) const ALL: [Change; 6] = [
        Change::Amount,
        Change::Output,
        Change::Outpoint,
        Change::Version,
        Change::Genesis,
        Change::Asset,
    ];

    /// Whether SIGHASH_ALL notices.
    pub(crate) fn is_covered(self, chain: Chain, kind: Kind) -> bool {
        let elements_taproot = chain == Chain::Elements && kind == Kind::Tapscript;
        match self {
            Change::Genesis | Change::Asset => elements_taproot,
            _ => true,
        }
    }
}

pub(crate) fn verify(
    chain: Chain,
    kind: Kind,
    script: &[u8],
    spend: &Spend,
) -> Result<(), ScriptError> {
    verify_with(chain, kind, script, spend, None, |_| {})
}

pub(crate) fn verify_changed(
    chain: Chain,
    kind: Kind,
    script: &[u8],
    spend: &Spend,
    change: Change,
) -> Result<(), ScriptError> {
    verify_with(chain, kind, script, spend, Some(change), |_| {})
}

/// Signs, changes, and checks; `disturb` changes the script in the witness.
pub(crate) fn verify_with(
    chain: Chain,
    kind: Kind,
    script: &[u8],
    spend: &Spend,
    change: Option<Change>,
    disturb: impl FnOnce(&mut Vec<u8>),
) -> Result<(), ScriptError> {
    let commitment = Commitment::new(chain, kind, script);
    let build = |change, witness: &[Vec<u8>]| Transactions {
        commitment: &commitment,
        lock: spend.lock,
        change,
        witness: witness.to_vec(),
    };
    let signature = build(None, &[]).sign(chain, kind, script, spend.signer);
    let mut script = script.to_vec();
    disturb(&mut script);
    let mut witness = spend.below.clone();
    witness.push(signature);
    witness.extend(spend.above.clone());
    witness.push(script);
    witness.extend(commitment.control.clone());
    build(change, &witness).verify(chain)
}

/// Checks a taproot leaf of any version, without signatures.
pub(crate) fn verify_leaf(
    chain: Chain,
    version: u8,
    script: &[u8],
    stack: &[Vec<u8>],
    flags: Flags,
) -> Result<(), ScriptError> {
    let commitment = Commitment::leaf(chain, version, script);
    let mut witness = stack.to_vec();
    witness.push(script.to_vec());
    witness.extend(commitment.control.clone());
    swaprig_script::verify(
        &[],
        &commitment.script_pubkey,
        &witness,
        flags,
        &Fixed::new(chain),
    )
}

/// An input that belongs to no transaction: fixed locks, and a hash that nothing signs.
pub(crate) struct Fixed {
    pub(crate) chain: Chain,
    pub(crate) version: u32,
    pub(crate) lock: Lock,
}

impl Fixed {
    pub(crate) fn new(chain: Chain) -> Fixed {
        Fixed {
            chain,
            version: 2,
            lock: Lock {
                lock_time: 100,
                sequence: 10,
            },
        }
    }
}

impl Checker for Fixed {
    fn chain(&self) -> ScriptChain {
        self.chain.script_chain()
    }

    fn ecdsa_sighash(&self, _: &[u8], hash_type: u8, _: SigVersion, _: Flags) -> [u8; 32] {
        [hash_type; 32]
    }

    fn taproot_sighash(&self, hash_type: u8, _: &TaprootContext) -> Option<[u8; 32]> {
        (hash_type <= 3).then_some([hash_type; 32])
    }

    fn transaction_version(&self) -> u32 {
        self.version
    }

    fn lock_time(&self) -> u32 {
        self.lock.lock_time
    }

    fn sequence(&self) -> u32 {
        self.lock.sequence
    }
}

/// The output script, and what a tapscript spend shows beside the script.
struct Commitment {
    script_pubkey: Vec<u8>,
    control: Option<Vec<u8>>,
    leaf: [u8; 32],
}

impl Commitment {
    fn new(chain: Chain, kind: Kind, script: &[u8]) -> Commitment {
        if kind == Kind::P2wsh {
            let hash = sha256::Hash::hash(script);
            return Commitment {
                script_pubkey: [&[0, 32], &hash[..]].concat(),
                control: None,
                leaf: [0; 32],
            };
        }
        Commitment::leaf(chain, chain.script_chain().tapscript_leaf(), script)
    }

    fn leaf(chain: Chain, version: u8, script: &[u8]) -> Commitment {
        let suffix = match chain {
            Chain::Bitcoin => "",
            Chain::Elements => "/elements",
        };
        let length = u8::try_from(script.len()).expect("a short script");
        let leaf = tagged(
            &format!("TapLeaf{suffix}"),
            &[&[version, length], script].concat(),
        );
        let internal = pair(9).x_only_public_key().0;
        let tweak = tagged(
            &format!("TapTweak{suffix}"),
            &[internal.serialize(), leaf].concat(),
        );
        let tweak = Scalar::from_be_bytes(tweak).expect("a hash is below the order");
        let (output, parity) = internal
            .add_tweak(&Secp256k1::new(), &tweak)
            .expect("a hash is no key's opposite");
        let control = [&[version | parity.to_u8()][..], &internal.serialize()].concat();
        Commitment {
            script_pubkey: [&[0x51, 32], &output.serialize()[..]].concat(),
            control: Some(control),
            leaf,
        }
    }
}

struct Transactions<'a> {
    commitment: &'a Commitment,
    lock: Lock,
    change: Option<Change>,
    witness: Vec<Vec<u8>>,
}

impl Transactions<'_> {
    fn when<T>(&self, change: Change, changed: T, usual: T) -> T {
        match self.change == Some(change) {
            true => changed,
            false => usual,
        }
    }

    fn bitcoin(&self) -> (bitcoin::Transaction, Vec<bitcoin::TxOut>) {
        let output = |value, script: Vec<u8>| bitcoin::TxOut {
            value: bitcoin::Amount::from_sat(value),
            script_pubkey: bitcoin::ScriptBuf::from_bytes(script),
        };
        let txid = [self.when(Change::Outpoint, 4, 3); 32];
        let tx = bitcoin::Transaction {
            version: bitcoin::transaction::Version(self.when(Change::Version, 3, 2)),
            lock_time: bitcoin::absolute::LockTime::from_consensus(self.lock.lock_time),
            input: vec![bitcoin::TxIn {
                previous_output: bitcoin::OutPoint::new(bitcoin::Txid::from_byte_array(txid), 1),
                script_sig: bitcoin::ScriptBuf::new(),
                sequence: bitcoin::Sequence(self.lock.sequence),
                witness: bitcoin::Witness::from_slice(&self.witness),
            }],
            output: vec![output(self.when(Change::Output, 4, 5), vec![0x51])],
        };
        let amount = self.when(Change::Amount, 11, 10);
        (
            tx,
            vec![output(amount, self.commitment.script_pubkey.clone())],
        )
    }

    fn elements(
        &self,
    ) -> (
        elements::Transaction,
        Vec<elements::TxOut>,
        elements::BlockHash,
    ) {
        let asset = |n: u8| {
            let entropy = elements::AssetEntropy::from_byte_array([n; 32]);
            confidential::Asset::Explicit(elements::AssetId::from_entropy(entropy))
        };
        let output = |asset, value, script: Vec<u8>| elements::TxOut {
            asset,
            value: confidential::Value::Explicit(value),
            script_pubkey: elements::Script::from(script),
            ..elements::TxOut::default()
        };
        let mut witness = elements::TxInWitness::empty();
        witness.script_witness = elements::Witness::from_slice(&self.witness);
        let txid = [self.when(Change::Outpoint, 4, 3); 32];
        let tx = elements::Transaction {
            version: self.when(Change::Version, 3, 2),
            lock_time: elements::LockTime::from_consensus(self.lock.lock_time),
            input: vec![elements::TxIn {
                previous_output: elements::OutPoint::new(elements::Txid::from_byte_array(txid), 1),
                is_pegin: false,
                script_sig: elements::Script::new(),
                sequence: elements::Sequence(self.lock.sequence),
                asset_issuance: elements::AssetIssuance::null(),
                witness,
            }],
            output: vec![output(
                asset(1),
                self.when(Change::Output, 4, 5),
                vec![0x51],
            )],
        };
        let spent = output(
            asset(self.when(Change::Asset, 2, 1)),
            self.when(Change::Amount, 11, 10),
            self.commitment.script_pubkey.clone(),
        );
        let genesis = elements::BlockHash::from_byte_array([self.when(Change::Genesis, 8, 7); 32]);
        (tx, vec![spent], genesis)
    }

    fn sign(&self, chain: Chain, kind: Kind, script: &[u8], signer: u8) -> Vec<u8> {
        match chain {
            Chain::Bitcoin => {
                let (tx, spent) = self.bitcoin();
                let spends = BitcoinSpends::new(&tx, &spent).expect("one for each");
                self.sign_input(&spends.input(0).expect("one input"), kind, script, signer)
            }
            Chain::Elements => {
                let (tx, spent, genesis) = self.elements();
                let spends = ElementsSpends::new(&tx, &spent, genesis).expect("one for each");
                self.sign_input(&spends.input(0).expect("one input"), kind, script, signer)
            }
        }
    }

    fn sign_input(&self, input: &impl Checker, kind: Kind, script: &[u8], signer: u8) -> Vec<u8> {
        let (secp, pair) = (Secp256k1::new(), pair(signer));
        match kind {
            Kind::P2wsh => {
                let hash = input.ecdsa_sighash(script, 1, SigVersion::WitnessV0, Flags::NONE);
                let signature = secp.sign_ecdsa(&Message::from_digest(hash), &pair.secret_key());
                [&signature.serialize_der()[..], &[1]].concat()
            }
            Kind::Tapscript => {
                let context = TaprootContext {
                    annex: None,
                    leaf: Some((self.commitment.leaf, u32::MAX)),
                };
                let hash = input.taproot_sighash(0, &context).expect("a hash type");
                let signature = secp.sign_schnorr_no_aux_rand(&Message::from_digest(hash), &pair);
                signature.serialize().to_vec()
            }
        }
    }

    fn verify(&self, chain: Chain) -> Result<(), ScriptError> {
        match chain {
            Chain::Bitcoin => {
                let (tx, spent) = self.bitcoin();
                swaprig_script::bitcoin_input(&tx, 0, &spent, chain.standard())
            }
            Chain::Elements => {
                let (tx, spent, genesis) = self.elements();
                swaprig_script::elements_input(&tx, 0, &spent, genesis, chain.standard())
            }
        }
    }
}

/// A script's push of up to 75 bytes.
pub(crate) fn push(data: &[u8]) -> Vec<u8> {
    assert!(data.len() <= 75, "a longer push needs another opcode");
    [&[data.len() as u8], data].concat()
}

fn pair(number: u8) -> Keypair {
    let secret = SecretKey::from_slice(&[number; 32]).expect("a small number is a key");
    secret.keypair(&Secp256k1::new())
}

fn tagged(tag: &str, data: &[u8]) -> [u8; 32] {
    let tag = sha256::Hash::hash(tag.as_bytes());
    let mut engine = sha256::Hash::engine();
    engine.input(&tag[..]);
    engine.input(&tag[..]);
    engine.input(data);
    sha256::Hash::from_engine(engine).to_byte_array()
}
