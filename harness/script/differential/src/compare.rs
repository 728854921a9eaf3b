//! One spend, two verdicts.

use bitcoin::consensus::serialize;
use bitcoin::{Transaction, TxOut};
use bitcoinkernel::{KernelError, PrecomputedTransactionData, ScriptPubkey, ScriptVerifyError};
use swaprig_script::{Flags, ScriptError, bitcoin_input};

/// An input of a transaction, what the transaction spends, and the rules to check it by.
#[derive(Clone, Debug)]
pub struct Case {
    pub tx: Transaction,
    pub spent: Vec<TxOut>,
    pub index: usize,
    pub flags: Flags,
    /// The kind of spend, for the statistics.
    pub kind: &'static str,
}

/// What the two said, when they do not agree.
#[derive(Clone, Debug)]
pub struct Disagreement {
    pub core: bool,
    pub ours: Result<(), ScriptError>,
}

impl Case {
    /// Both verdicts, which are `Ok` with the common one.
    ///
    /// # Errors
    /// The verdicts, if they differ.
    pub fn compare(&self) -> Result<Result<(), ScriptError>, Disagreement> {
        let ours = bitcoin_input(&self.tx, self.index, &self.spent, self.flags);
        let core = self.core_accepts();
        match core == ours.is_ok() {
            true => Ok(ours),
            false => Err(Disagreement { core, ours }),
        }
    }

    fn core_accepts(&self) -> bool {
        let tx = bitcoinkernel::Transaction::new(&serialize(&self.tx))
            .expect("an encoded transaction decodes");
        let outputs: Vec<bitcoinkernel::TxOut> = self
            .spent
            .iter()
            .map(|output| bitcoinkernel::TxOut::new(&core_script(output), amount(output)))
            .collect();
        let data = PrecomputedTransactionData::new(&tx, &outputs)
            .expect("there is a spent output for each input");
        let spent = &self.spent[self.index];
        let verdict = bitcoinkernel::verify(
            &core_script(spent),
            Some(amount(spent)),
            &tx,
            self.index,
            Some(self.flags.bits()),
            &data,
        );
        match verdict {
            Ok(()) => true,
            Err(KernelError::ScriptVerify(ScriptVerifyError::Invalid)) => false,
            Err(other) => panic!("the consensus library did not take the case: {other}"),
        }
    }

    /// The case as one line that a bug report can hold.
    pub fn describe(&self) -> String {
        let spent: Vec<String> = self
            .spent
            .iter()
            .map(|output| format!("{}:{:x}", output.value.to_sat(), output.script_pubkey))
            .collect();
        format!(
            "kind {}, input {}, {:?}\n  tx {}\n  spent {}",
            self.kind,
            self.index,
            self.flags,
            bitcoin::consensus::encode::serialize_hex(&self.tx),
            spent.join(" ")
        )
    }
}

fn core_script(output: &TxOut) -> ScriptPubkey {
    ScriptPubkey::new(output.script_pubkey.as_bytes()).expect("any bytes are a script")
}

fn amount(output: &TxOut) -> i64 {
    // Core's amounts are signed; the bits are the same.
    output.value.to_sat() as i64
}
