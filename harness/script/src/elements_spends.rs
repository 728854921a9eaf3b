//! Elements' signature hashes: the checker for inputs of an Elements transaction.

use std::cell::{OnceCell, RefCell};

use bitcoin::hashes::HashEngine;
use elements::encode::Encodable;
use elements::sighash::{Annex, Prevouts, SchnorrSighashType, SighashCache};
use elements::taproot::TapLeafHash;
use elements::{AssetIssuance, BlockHash, Transaction, TxIn, TxOut, TxOutWitness};

use crate::sighash::{
    HashType, SINGLE_WITHOUT_OUTPUT, double_sha256, sha256d_engine::Engine,
    without_code_separators, write_compact_size, write_script,
};
use crate::{Chain, Checker, Flags, ScriptError, SigVersion, TaprootContext, verify};

/// An Elements transaction with the outputs it spends, and the hashes that its inputs share.
#[derive(Debug)]
pub struct ElementsSpends<'a> {
    tx: &'a Transaction,
    spent: &'a [TxOut],
    genesis: BlockHash,
    segwit: OnceCell<SegwitHashes>,
    taproot: RefCell<SighashCache<&'a Transaction>>,
}

/// Elements' form of BIP143's hashes over all inputs or outputs.
#[derive(Debug)]
struct SegwitHashes {
    prevouts: [u8; 32],
    sequences: [u8; 32],
    issuances: [u8; 32],
    outputs: [u8; 32],
    /// Range and surjection proofs; computed when a signature first covers them, which is rare.
    proofs: OnceCell<[u8; 32]>,
}

impl<'a> ElementsSpends<'a> {
    /// `spent[i]` must be the output that input `i` spends (for a peg-in: the output it claims); `genesis` is the hash of the
    /// chain's first block, which taproot signatures commit to.
    ///
    /// # Errors
    /// [`ScriptError::SpentOutputs`] if there is not one for each input.
    pub fn new(
        tx: &'a Transaction,
        spent: &'a [TxOut],
        genesis: BlockHash,
    ) -> Result<Self, ScriptError> {
        if spent.len() != tx.input.len() {
            return Err(ScriptError::SpentOutputs);
        }
        Ok(ElementsSpends {
            tx,
            spent,
            genesis,
            segwit: OnceCell::new(),
            taproot: RefCell::new(SighashCache::new(tx)),
        })
    }

    /// The checker of one input.
    ///
    /// # Errors
    /// [`ScriptError::SpentOutputs`] if there is no such input.
    pub fn input(&self, index: usize) -> Result<ElementsChecker<'_, 'a>, ScriptError> {
        if index >= self.spent.len() {
            return Err(ScriptError::SpentOutputs);
        }
        Ok(ElementsChecker {
            spends: self,
            index,
        })
    }

    /// Whether the input's scriptSig and witness may spend its output under `flags`.
    ///
    /// # Errors
    /// The reason why not.
    pub fn verify(&self, index: usize, flags: Flags) -> Result<(), ScriptError> {
        let checker = self.input(index)?;
        let input = &self.tx.input[index];
        verify(
            input.script_sig.as_bytes(),
            self.spent[index].script_pubkey.as_bytes(),
            &input.witness.script_witness.to_vec(),
            flags,
            &checker,
        )
    }

    fn segwit_hashes(&self) -> &SegwitHashes {
        self.segwit.get_or_init(|| SegwitHashes {
            prevouts: double_sha256(|e| {
                for input in &self.tx.input {
                    write(e, &input.previous_output);
                }
            }),
            sequences: double_sha256(|e| {
                for input in &self.tx.input {
                    write(e, &input.sequence);
                }
            }),
            issuances: double_sha256(|e| {
                for input in &self.tx.input {
                    match issuance(input) {
                        Some(issuance) => write(e, issuance),
                        None => e.input(&[0]),
                    }
                }
            }),
            outputs: double_sha256(|e| {
                for output in &self.tx.output {
                    write(e, output);
                }
            }),
            proofs: OnceCell::new(),
        })
    }

    fn all_proofs(&self) -> &[u8; 32] {
        self.segwit_hashes().proofs.get_or_init(|| {
            double_sha256(|e| {
                for output in &self.tx.output {
                    write_proofs(e, &output.witness);
                }
            })
        })
    }
}

/// Whether input `index` of `tx` may spend `spent[index]`; with more than one input, share an [`ElementsSpends`].
///
/// # Errors
/// The reason why not.
pub fn elements_input(
    tx: &Transaction,
    index: usize,
    spent: &[TxOut],
    genesis: BlockHash,
    flags: Flags,
) -> Result<(), ScriptError> {
    ElementsSpends::new(tx, spent, genesis)?.verify(index, flags)
}

/// One input of an Elements transaction.
#[derive(Clone, Copy, Debug)]
pub struct ElementsChecker<'s, 'a> {
    spends: &'s ElementsSpends<'a>,
    index: usize,
}

impl ElementsChecker<'_, '_> {
    /// The library has no SIGHASH_RANGEPROOF, so the whole message is written here.
    fn legacy_sighash(&self, script_code: &[u8], hash_type: HashType, proofs: bool) -> [u8; 32] {
        let tx = self.spends.tx;
        if hash_type.single() && self.index >= tx.output.len() {
            return SINGLE_WITHOUT_OUTPUT;
        }
        let script = without_code_separators(script_code);
        double_sha256(|e| {
            write(e, &tx.version);
            self.write_legacy_inputs(e, &script, hash_type);
            let outputs = match hash_type {
                _ if hash_type.none() => 0,
                _ if hash_type.single() => self.index + 1,
                _ => tx.output.len(),
            };
            write_compact_size(e, outputs);
            for (i, output) in tx.output[..outputs].iter().enumerate() {
                if hash_type.single() && i != self.index {
                    write(e, &TxOut::default());
                    continue;
                }
                write(e, output);
                if proofs {
                    write_proofs(e, &output.witness);
                }
            }
            write(e, &tx.lock_time);
            e.input(&hash_type.encoded());
        })
    }

    fn write_legacy_inputs(&self, e: &mut Engine, script: &[u8], hash_type: HashType) {
        let inputs = &self.spends.tx.input;
        let signed = match hash_type.anyone_can_pay() {
            true => self.index..self.index + 1,
            false => 0..inputs.len(),
        };
        write_compact_size(e, signed.len());
        for i in signed {
            let input = &inputs[i];
            write(e, &input.previous_output);
            if i == self.index {
                write_script(e, script);
                write(e, &input.sequence);
            } else {
                write_script(e, &[]);
                match hash_type.single() || hash_type.none() {
                    true => e.input(&[0; 4]),
                    false => write(e, &input.sequence),
                }
            }
            if let Some(issuance) = issuance(input) {
                write(e, issuance);
            }
        }
    }

    /// BIP143 with Elements' issuances and proofs; likewise written here for SIGHASH_RANGEPROOF and for odd hash types.
    fn segwit_sighash(&self, script_code: &[u8], hash_type: HashType, proofs: bool) -> [u8; 32] {
        let tx = self.spends.tx;
        let shared = self.spends.segwit_hashes();
        let all_outputs = !hash_type.single() && !hash_type.none();
        double_sha256(|e| {
            write(e, &tx.version);
            let when = |yes: bool, hash: &[u8; 32]| if yes { *hash } else { [0; 32] };
            let all_inputs = !hash_type.anyone_can_pay();
            e.input(&when(all_inputs, &shared.prevouts));
            e.input(&when(all_inputs && all_outputs, &shared.sequences));
            e.input(&when(all_inputs, &shared.issuances));
            let input = &tx.input[self.index];
            write(e, &input.previous_output);
            write_script(e, script_code);
            write(e, &self.spends.spent[self.index].value);
            write(e, &input.sequence);
            if let Some(issuance) = issuance(input) {
                write(e, issuance);
            }
            let single = tx.output.get(self.index).filter(|_| hash_type.single());
            e.input(&match single {
                _ if all_outputs => shared.outputs,
                Some(output) => double_sha256(|e| write(e, output)),
                None => [0; 32],
            });
            if proofs {
                e.input(&match single {
                    _ if all_outputs => *self.spends.all_proofs(),
                    Some(output) => double_sha256(|e| write_proofs(e, &output.witness)),
                    None => [0; 32],
                });
            }
            write(e, &tx.lock_time);
            e.input(&hash_type.encoded());
        })
    }
}

impl Checker for ElementsChecker<'_, '_> {
    fn chain(&self) -> Chain {
        Chain::Elements
    }

    fn ecdsa_sighash(
        &self,
        script_code: &[u8],
        hash_type: u8,
        version: SigVersion,
        flags: Flags,
    ) -> [u8; 32] {
        let hash_type = HashType(hash_type);
        let proofs = flags.contains(Flags::SIGHASH_RANGEPROOF) && hash_type.rangeproof();
        match version {
            SigVersion::WitnessV0 => self.segwit_sighash(script_code, hash_type, proofs),
            _ => self.legacy_sighash(script_code, hash_type, proofs),
        }
    }

    fn taproot_sighash(&self, hash_type: u8, context: &TaprootContext) -> Option<[u8; 32]> {
        let annex = match &context.annex {
            Some(annex) => Some(Annex::new(annex).ok()?),
            None => None,
        };
        self.spends
            .taproot
            .borrow_mut()
            .taproot_sighash(
                self.index,
                &Prevouts::All(self.spends.spent),
                annex,
                context
                    .leaf
                    .map(|(leaf, position)| (TapLeafHash::from_byte_array(leaf), position)),
                SchnorrSighashType::from_u8(hash_type)?,
                self.spends.genesis,
            )
            .ok()
            .map(|hash| hash.to_byte_array())
    }

    fn transaction_version(&self) -> u32 {
        self.spends.tx.version
    }

    fn lock_time(&self) -> u32 {
        self.spends.tx.lock_time.to_consensus_u32()
    }

    fn sequence(&self) -> u32 {
        self.spends.tx.input[self.index].sequence.0
    }
}

fn issuance(input: &TxIn) -> Option<&AssetIssuance> {
    input.has_issuance().then_some(&input.asset_issuance)
}

/// SIGHASH_RANGEPROOF's order: range proof, then surjection proof (the transaction encodes them the other way round).
fn write_proofs(engine: &mut Engine, witness: &TxOutWitness) {
    write(engine, &witness.rangeproof);
    write(engine, &witness.surjection_proof);
}

fn write(engine: &mut Engine, part: &impl Encodable) {
    part.consensus_encode(engine)
        .expect("a hash engine takes everything");
}
