//! Bitcoin's signature hashes: the checker for inputs of a Bitcoin transaction.

use std::cell::{OnceCell, RefCell};

use bitcoin::consensus::Encodable;
use bitcoin::hashes::{Hash, HashEngine};
use bitcoin::sighash::{Annex, Prevouts, SighashCache, TapSighashType};
use bitcoin::{Script, TapLeafHash, Transaction, TxOut};

use crate::sighash::{
    HashType, SINGLE_WITHOUT_OUTPUT, double_sha256, sha256d_engine::Engine,
    without_code_separators, write_script,
};
use crate::{Chain, Checker, Flags, ScriptError, SigVersion, TaprootContext, verify};

/// A Bitcoin transaction with the outputs it spends, and the hashes that its inputs share.
#[derive(Debug)]
pub struct BitcoinSpends<'a> {
    tx: &'a Transaction,
    spent: &'a [TxOut],
    segwit: OnceCell<SegwitHashes>,
    taproot: RefCell<SighashCache<&'a Transaction>>,
}

/// BIP143's hashes over all inputs or outputs.
#[derive(Debug)]
struct SegwitHashes {
    prevouts: [u8; 32],
    sequences: [u8; 32],
    outputs: [u8; 32],
}

impl<'a> BitcoinSpends<'a> {
    /// `spent[i]` must be the output that input `i` spends.
    ///
    /// # Errors
    /// [`ScriptError::SpentOutputs`] if there is not one for each input.
    pub fn new(tx: &'a Transaction, spent: &'a [TxOut]) -> Result<Self, ScriptError> {
        if spent.len() != tx.input.len() {
            return Err(ScriptError::SpentOutputs);
        }
        Ok(BitcoinSpends {
            tx,
            spent,
            segwit: OnceCell::new(),
            taproot: RefCell::new(SighashCache::new(tx)),
        })
    }

    /// The checker of one input.
    ///
    /// # Errors
    /// [`ScriptError::SpentOutputs`] if there is no such input.
    pub fn input(&self, index: usize) -> Result<BitcoinChecker<'_, 'a>, ScriptError> {
        if index >= self.spent.len() {
            return Err(ScriptError::SpentOutputs);
        }
        Ok(BitcoinChecker {
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
            &input.witness.to_vec(),
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
            outputs: double_sha256(|e| {
                for output in &self.tx.output {
                    write(e, output);
                }
            }),
        })
    }
}

/// Whether input `index` of `tx` may spend `spent[index]`; with more than one input, share a [`BitcoinSpends`].
///
/// # Errors
/// The reason why not.
pub fn bitcoin_input(
    tx: &Transaction,
    index: usize,
    spent: &[TxOut],
    flags: Flags,
) -> Result<(), ScriptError> {
    BitcoinSpends::new(tx, spent)?.verify(index, flags)
}

/// One input of a Bitcoin transaction.
#[derive(Clone, Copy, Debug)]
pub struct BitcoinChecker<'s, 'a> {
    spends: &'s BitcoinSpends<'a>,
    index: usize,
}

impl BitcoinChecker<'_, '_> {
    fn legacy_sighash(&self, script_code: &[u8], hash_type: HashType) -> [u8; 32] {
        let script = without_code_separators(script_code);
        let cache = SighashCache::new(self.spends.tx);
        cache
            .legacy_signature_hash(
                self.index,
                Script::from_bytes(&script),
                u32::from(hash_type.0),
            )
            // The index was checked when the checker was made.
            .map_or(SINGLE_WITHOUT_OUTPUT, |hash| hash.to_byte_array())
    }

    /// BIP143. The library's own takes only the six hash types that have a name.
    fn segwit_sighash(&self, script_code: &[u8], hash_type: HashType) -> [u8; 32] {
        let tx = self.spends.tx;
        let shared = self.spends.segwit_hashes();
        let all_outputs = !hash_type.single() && !hash_type.none();
        double_sha256(|e| {
            write(e, &tx.version);
            let when = |yes: bool, hash: &[u8; 32]| if yes { *hash } else { [0; 32] };
            e.input(&when(!hash_type.anyone_can_pay(), &shared.prevouts));
            e.input(&when(
                !hash_type.anyone_can_pay() && all_outputs,
                &shared.sequences,
            ));
            let input = &tx.input[self.index];
            write(e, &input.previous_output);
            write_script(e, script_code);
            write(e, &self.spends.spent[self.index].value);
            write(e, &input.sequence);
            match tx.output.get(self.index) {
                _ if all_outputs => e.input(&shared.outputs),
                Some(output) if hash_type.single() => {
                    e.input(&double_sha256(|e| write(e, output)));
                }
                _ => e.input(&[0; 32]),
            }
            write(e, &tx.lock_time);
            e.input(&hash_type.encoded());
        })
    }
}

impl Checker for BitcoinChecker<'_, '_> {
    fn chain(&self) -> Chain {
        Chain::Bitcoin
    }

    fn ecdsa_sighash(
        &self,
        script_code: &[u8],
        hash_type: u8,
        version: SigVersion,
        _flags: Flags,
    ) -> [u8; 32] {
        match version {
            SigVersion::WitnessV0 => self.segwit_sighash(script_code, HashType(hash_type)),
            _ => self.legacy_sighash(script_code, HashType(hash_type)),
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
            .taproot_signature_hash(
                self.index,
                &Prevouts::All(self.spends.spent),
                annex,
                context
                    .leaf
                    .map(|(leaf, position)| (TapLeafHash::from_byte_array(leaf), position)),
                TapSighashType::from_consensus_u8(hash_type).ok()?,
            )
            .ok()
            .map(|hash| hash.to_byte_array())
    }

    fn transaction_version(&self) -> u32 {
        // Consensus reads the field's bits as unsigned for BIP68.
        self.spends.tx.version.0 as u32
    }

    fn lock_time(&self) -> u32 {
        self.spends.tx.lock_time.to_consensus_u32()
    }

    fn sequence(&self) -> u32 {
        self.spends.tx.input[self.index].sequence.0
    }
}

fn write(engine: &mut Engine, part: &impl Encodable) {
    part.consensus_encode(engine)
        .expect("a hash engine takes everything");
}
