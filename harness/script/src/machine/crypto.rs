//! Hashes and signature checks.

use bitcoin::hashes::{Hash, hash160, ripemd160, sha1, sha256, sha256d};

use super::Machine;
use crate::encoding::{check_public_key, check_signature};
use crate::instruction::{find_and_delete, push};
use crate::number::ARITHMETIC_BYTES;
use crate::opcode::*;
use crate::{Checker, Flags, ScriptError, SigVersion};

const MAX_PUBKEYS: i64 = 20;
/// What one signature check takes from the weight a tapscript's witness pays for (BIP342).
const WEIGHT_PER_CHECK: i64 = 50;

impl<C: Checker> Machine<'_, C> {
    pub(super) fn hash_op(&mut self, op: u8) -> Result<(), ScriptError> {
        let data = self.pop()?;
        self.stack.push(match op {
            OP_RIPEMD160 => ripemd160::Hash::hash(&data).to_byte_array().to_vec(),
            OP_SHA1 => sha1::Hash::hash(&data).to_byte_array().to_vec(),
            OP_SHA256 => sha256::Hash::hash(&data).to_byte_array().to_vec(),
            OP_HASH160 => hash160::Hash::hash(&data).to_byte_array().to_vec(),
            _ => sha256d::Hash::hash(&data).to_byte_array().to_vec(),
        });
        Ok(())
    }

    /// `signature key`: pushes whether the signature is good.
    pub(super) fn check_sig_op(&mut self, op: u8) -> Result<(), ScriptError> {
        let good = self.check_sig(2, 1)?;
        self.stack.truncate(self.stack.len() - 2);
        self.push_bool(good);
        match op {
            OP_CHECKSIGVERIFY => self.verify_top(ScriptError::CheckSigVerify),
            _ => Ok(()),
        }
    }

    /// `signature number key`: pushes the number, plus one if the signature is good.
    pub(super) fn check_sig_add(&mut self) -> Result<(), ScriptError> {
        self.need(3)?;
        let number = self.number_at(2, ARITHMETIC_BYTES)?;
        let good = self.check_sig(3, 1)?;
        self.stack.truncate(self.stack.len() - 3);
        self.push_number(number + i64::from(good));
        Ok(())
    }

    /// Checks the signature and key at these depths; they stay on the stack.
    fn check_sig(&mut self, signature: usize, key: usize) -> Result<bool, ScriptError> {
        self.need(signature.max(key))?;
        if self.run.version == SigVersion::Tapscript {
            return self.check_tapscript_sig(signature, key);
        }
        let (signature, key) = (self.peek(signature)?, self.peek(key)?);
        let script_code = self.script_code([signature])?;
        self.check_encodings(signature, key)?;
        let good = self.check_ecdsa(signature, key, &script_code);
        if !good && self.run.flags.contains(Flags::NULLFAIL) && !signature.is_empty() {
            return Err(ScriptError::SigNullFail);
        }
        Ok(good)
    }

    fn check_tapscript_sig(&mut self, signature: usize, key: usize) -> Result<bool, ScriptError> {
        let given = !self.peek(signature)?.is_empty();
        if given {
            self.run.weight_left -= WEIGHT_PER_CHECK;
            if self.run.weight_left < 0 {
                return Err(ScriptError::TapscriptValidationWeight);
            }
        }
        let (signature, key) = (self.peek(signature)?, self.peek(key)?);
        if key.is_empty() {
            return Err(self.run.checker.chain().empty_tapscript_key());
        }
        if let Ok(key) = <&[u8; 32]>::try_from(key) {
            if given {
                self.run
                    .checker
                    .check_schnorr(signature, key, &self.run.context)?;
            }
        } else if self
            .run
            .flags
            .contains(Flags::DISCOURAGE_UPGRADABLE_PUBKEYTYPE)
        {
            return Err(ScriptError::DiscourageUpgradablePubkeyType);
        }
        Ok(given)
    }

    /// What signatures sign of the script; a legacy one lacks the signatures themselves.
    fn script_code<'s>(
        &self,
        signatures: impl IntoIterator<Item = &'s [u8]>,
    ) -> Result<Vec<u8>, ScriptError> {
        let mut code = self.script[self.code_start..].to_vec();
        if self.run.version == SigVersion::Legacy {
            for signature in signatures {
                let (kept, found) = find_and_delete(&code, &push(signature));
                if found && self.run.flags.contains(Flags::CONST_SCRIPTCODE) {
                    return Err(ScriptError::SigFindAndDelete);
                }
                code = kept;
            }
        }
        Ok(code)
    }

    fn check_encodings(&self, signature: &[u8], key: &[u8]) -> Result<(), ScriptError> {
        check_signature(signature, self.run.flags, self.run.checker.chain())?;
        check_public_key(key, self.run.flags, self.run.version)
    }

    fn check_ecdsa(&self, signature: &[u8], key: &[u8], script_code: &[u8]) -> bool {
        self.run.checker.check_ecdsa(
            signature,
            key,
            script_code,
            self.run.version,
            self.run.flags,
        )
    }

    /// `dummy signatures… count keys… count`: pushes whether each signature is good under a key, in the keys' order.
    pub(super) fn check_multisig_op(&mut self, op: u8) -> Result<(), ScriptError> {
        if self.run.version == SigVersion::Tapscript {
            return Err(ScriptError::TapscriptCheckMultisig);
        }
        let keys = self.number_at(1, ARITHMETIC_BYTES)?;
        if !(0..=MAX_PUBKEYS).contains(&keys) {
            return Err(ScriptError::PubkeyCount);
        }
        let keys = keys as usize;
        self.count_ops(keys)?;
        let signatures = self.number_at(keys + 2, ARITHMETIC_BYTES)?;
        if !(0..=keys as i64).contains(&signatures) {
            return Err(ScriptError::SigCount);
        }
        let signatures = signatures as usize;
        // The one more that is taken below is missed here already.
        self.need(keys + signatures + 3)?;

        let top = self.stack.len();
        // Both are taken from the top down, as Core does: last key, last signature first.
        let key_at = |i: usize| &self.stack[top - 2 - i][..];
        let signature_at = |i: usize| &self.stack[top - 3 - keys - i][..];
        let good = self.match_signatures(keys, key_at, signatures, signature_at)?;
        let any_given = (0..signatures).any(|i| !signature_at(i).is_empty());
        if !good && self.run.flags.contains(Flags::NULLFAIL) && any_given {
            return Err(ScriptError::SigNullFail);
        }
        self.stack.truncate(top - 2 - keys - signatures);
        // One more than needed is taken: a mistake that became consensus.
        let dummy = self.pop()?;
        if self.run.flags.contains(Flags::NULLDUMMY) && !dummy.is_empty() {
            return Err(ScriptError::SigNullDummy);
        }
        self.push_bool(good);
        match op {
            OP_CHECKMULTISIGVERIFY => self.verify_top(ScriptError::CheckMultisigVerify),
            _ => Ok(()),
        }
    }

    fn match_signatures<'s>(
        &self,
        keys: usize,
        key_at: impl Fn(usize) -> &'s [u8],
        signatures: usize,
        signature_at: impl Fn(usize) -> &'s [u8],
    ) -> Result<bool, ScriptError> {
        let script_code = self.script_code((0..signatures).map(&signature_at))?;
        let (mut key, mut signature) = (0, 0);
        while signature < signatures {
            // Encodings are checked only of the pairs that are tried.
            self.check_encodings(signature_at(signature), key_at(key))?;
            if self.check_ecdsa(signature_at(signature), key_at(key), &script_code) {
                signature += 1;
            }
            key += 1;
            if signatures - signature > keys - key {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
