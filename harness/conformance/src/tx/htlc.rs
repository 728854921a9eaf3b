//! The HTLC of a swap (design, section 4): a preimage and the claimer's key, or, after the timeout, the refunder's.
//! As P2WSH v0 and as two leaves of a taproot output; the suite's own words for it, not the swap server's.

use elements::hashes::sha256;
use elements::opcodes::all::{
    OP_CHECKSIG, OP_CHECKSIGVERIFY, OP_CLTV, OP_DROP, OP_ELSE, OP_ENDIF, OP_EQUALVERIFY, OP_IF,
    OP_SHA256, OP_SIZE,
};
use elements::script::Builder;
use elements::secp256k1_zkp::{Message, SECP256K1, XOnlyPublicKey};
use elements::sighash::{Prevouts, SighashCache};
use elements::taproot::{LeafVersion, TapLeafHash, TaprootBuilder, TaprootSpendInfo};
use elements::{BlockHash, SchnorrSighashType, Script};

use super::{Draft, Key, Seeded};

/// A hash lock with a way back.
#[derive(Debug, Clone)]
pub struct Htlc {
    /// What the claimer shows.
    pub preimage: [u8; 32],
    /// Who may claim.
    pub claimer: Key,
    /// Who may take it back.
    pub refunder: Key,
    /// The height from which it can be taken back.
    pub timeout: u32,
}

/// A way to spend one, right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spend {
    /// The preimage and the claimer's signature.
    Claim,
    /// Another 32 bytes.
    WrongPreimage,
    /// 31 bytes.
    WrongLength,
    /// The preimage and the refunder's signature.
    WrongKey,
    /// The refunder's signature.
    Refund,
}

/// An output key whose discrete logarithm nobody knows, from BIP341: nobody spends by the key path.
const NOBODY: &str = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0";

impl Htlc {
    /// One with fresh keys.
    pub fn new(random: &mut Seeded, timeout: u32) -> Self {
        let (claimer, refunder) = (Key::new(random), Key::new(random));
        let preimage = Key::new(random).secret.secret_bytes();
        Htlc {
            preimage,
            claimer,
            refunder,
            timeout,
        }
    }

    fn hash(&self) -> [u8; 32] {
        sha256::Hash::hash(&self.preimage).to_byte_array()
    }

    /// The witness script.
    pub fn script(&self) -> Script {
        Builder::new()
            .push_opcode(OP_IF)
            .push_opcode(OP_SIZE)
            .push_int(32)
            .push_opcode(OP_EQUALVERIFY)
            .push_opcode(OP_SHA256)
            .push_slice(&self.hash())
            .push_opcode(OP_EQUALVERIFY)
            .push_slice(&self.claimer.public().serialize())
            .push_opcode(OP_ELSE)
            .push_int(self.timeout.into())
            .push_opcode(OP_CLTV)
            .push_opcode(OP_DROP)
            .push_slice(&self.refunder.public().serialize())
            .push_opcode(OP_ENDIF)
            .push_opcode(OP_CHECKSIG)
            .into_script()
    }

    /// The script of its P2WSH output.
    pub fn p2wsh(&self) -> Script {
        self.script().to_v0_p2wsh()
    }

    fn shown(&self, spend: Spend) -> Vec<u8> {
        match spend {
            Spend::WrongPreimage => vec![7; 32],
            Spend::WrongLength => self.preimage[..31].to_vec(),
            Spend::Claim | Spend::WrongKey | Spend::Refund => self.preimage.to_vec(),
        }
    }

    fn signer(&self, spend: Spend) -> &Key {
        match spend {
            Spend::WrongKey | Spend::Refund => &self.refunder,
            Spend::Claim | Spend::WrongPreimage | Spend::WrongLength => &self.claimer,
        }
    }

    /// Puts the witness of a spend of the P2WSH output on input 0.
    #[must_use]
    pub fn spend_v0(&self, mut draft: Draft, spend: Spend) -> Draft {
        let script = self.script();
        let signature = self.signer(spend).sign(draft.digest(0, &script));
        let stack = match spend {
            Spend::Refund => vec![signature, Vec::new(), script.to_bytes()],
            _ => vec![signature, self.shown(spend), vec![1], script.to_bytes()],
        };
        draft.set_witness(0, &stack);
        draft
    }

    /// The leaf that the claimer spends by.
    fn claim_leaf(&self) -> Script {
        let (claimer, _) = self.claimer.public().x_only_public_key();
        Builder::new()
            .push_opcode(OP_SIZE)
            .push_int(32)
            .push_opcode(OP_EQUALVERIFY)
            .push_opcode(OP_SHA256)
            .push_slice(&self.hash())
            .push_opcode(OP_EQUALVERIFY)
            .push_slice(&claimer.serialize())
            .push_opcode(OP_CHECKSIG)
            .into_script()
    }

    /// The leaf that the refunder spends by. OP_CHECKLOCKTIMEVERIFY leaves the timeout, which is true.
    fn refund_leaf(&self) -> Script {
        let (refunder, _) = self.refunder.public().x_only_public_key();
        Builder::new()
            .push_slice(&refunder.serialize())
            .push_opcode(OP_CHECKSIGVERIFY)
            .push_int(self.timeout.into())
            .push_opcode(OP_CLTV)
            .into_script()
    }

    fn tree(&self) -> TaprootSpendInfo {
        let nobody: XOnlyPublicKey = NOBODY.parse().expect("BIP341 has a valid point");
        TaprootBuilder::new()
            .add_leaf(1, self.claim_leaf())
            .and_then(|builder| builder.add_leaf(1, self.refund_leaf()))
            .expect("two leaves of depth one are a tree")
            .finalize(SECP256K1, nobody)
            .expect("the tree is complete")
    }

    /// The script of its taproot output.
    pub fn p2tr(&self) -> Script {
        Script::new_v1_p2tr_tweaked(self.tree().output_key())
    }

    /// Puts the witness of a spend of the taproot output on input 0. Elements' signatures commit to the chain's `genesis`.
    #[must_use]
    pub fn spend_taproot(&self, mut draft: Draft, spend: Spend, genesis: BlockHash) -> Draft {
        let leaf = match spend {
            Spend::Refund => self.refund_leaf(),
            _ => self.claim_leaf(),
        };
        let version = LeafVersion::default();
        let outputs: Vec<_> = draft.coins.iter().map(|coin| coin.txout.clone()).collect();
        let digest = SighashCache::new(&draft.tx)
            .taproot_script_spend_signature_hash(
                0,
                &Prevouts::All(&outputs),
                TapLeafHash::from_script(&leaf, version),
                SchnorrSighashType::Default,
                genesis,
            )
            .expect("the input and its output are there");
        let message = Message::from_digest(digest.to_byte_array());
        let keypair = self.signer(spend).keypair();
        let signature = SECP256K1.sign_schnorr_no_aux_rand(&message, &keypair);
        let control = self
            .tree()
            .control_block(&(leaf.clone(), version))
            .expect("the leaf is in the tree")
            .serialize();
        let mut stack = vec![signature.as_ref().to_vec()];
        if spend != Spend::Refund {
            stack.push(self.shown(spend));
        }
        stack.extend([leaf.to_bytes(), control]);
        draft.set_witness(0, &stack);
        draft
    }
}
