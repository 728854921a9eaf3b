//! Steps of a client of loop out and loop in, over the server's REST API: it asks for a loop, computes the HTLC for itself, and
//! spends it together with the server. What a client does on Lightning and what it sends on chain are steps of their own.

use std::time::Duration;

use bitcoin::Txid;
use bitcoin::secp256k1::SecretKey;
use swaprig_proto::loops::Direction;
use swaprig_scenarios::lang::{Arg, ServerName, StepCx};
use swaprig_scenarios::{entity, step, words};
use swaprig_units::{Height, PaymentHash, Sat};

use super::{BitcoinHtlc, HtlcTransaction, Internal, Key, Purse, SpendPath};

words! {
    /// Where a loop is, as its server tells.
    pub enum LoopState("loop state") {
        /// Agreed; the coins are not on chain with the wanted depth.
        Created = "created",
        /// The coins are locked on chain.
        Funded = "funded",
        /// The claimer has spent the coins.
        Claimed = "claimed",
        /// The refunder has spent the coins.
        Refunded = "refunded",
        /// It ended before any coins were locked.
        Failed = "failed",
    }
}

entity! {
    /// A loop of a client with a swap server. What the server tells of it is asked for when it is used.
    pub struct LoopSwap("loop") {
        known {
            /// The server's name for it, a UUID.
            id: String,
            /// The client's name for the request, a UUID.
            request_id: String,
            /// The payment hash.
            hash: PaymentHash,
            /// What the client receives.
            amount: Sat,
            /// What it pays on top.
            fee: Sat,
            /// Both together: what a loop in must be funded with.
            total: Sat,
            /// Out: the server's invoice. In: the client's.
            invoice: String,
            /// The server's public key.
            server_key: String,
        }
        late {}
        live {
            /// Where it is.
            state: LoopState,
            /// What the server is doing: a finer word.
            phase: String,
            /// Why it failed or was undone.
            reason: String,
            /// Where the coins are, or must be, locked. Of a loop out whose payment is held first it is told only then.
            address: String,
            /// The height from which on the refunder can take the coins back.
            timeout: Height,
            /// The funding transaction, once the server has sent or seen it.
            funding_txid: Txid,
            /// How deep the server sees that.
            confirmations: u64,
            /// What spends the HTLC.
            spend_txid: Txid,
            /// How that spends it.
            spent_as: SpendPath,
            /// Whether nothing can happen to it any more.
            is_final: bool,
        }
        private {
            /// Which way the money goes.
            direction: Direction,
            /// The server.
            server: ServerName,
            /// The client's key.
            key: SecretKey,
            /// The internal key that was asked for.
            internal: Internal,
            /// The tip before it was made: nothing was paid to it before.
            since: Height,
        }
    }
}

step! {
    /// Asks a server for a loop out: the client pays over Lightning and receives on Bitcoin. With `hash` the preimage is the
    /// client's, and the server locks coins when it holds the payment; without, the server's, and the coins are locked before.
    pub struct LoopOut("loop_out") -> LoopSwap {
        /// From which server.
        loop_out: ServerName,
        /// What the client receives.
        amount: Sat,
        /// The client's key, with which it claims.
        key: Arg<Key>,
    } optional {
        /// The hash of the client's preimage.
        hash: Option<Arg<PaymentHash>> = None,
        /// Whose the internal key of the output is.
        internal: Internal = Internal::Musig2,
        /// How deep the funding must be for the loop to count as funded.
        confirmations: u64 = 1,
        /// The most to pay on top.
        max_fee: Option<Sat> = None,
        /// Until which height the server may wait with the funding.
        publication_deadline: Option<Arg<Height>> = None,
        /// The name of a request that was made before, to make it again.
        request_id: Option<Arg<String>> = None,
    }
    within Duration::from_secs(10);
    check can_be_confirmed;
}

fn can_be_confirmed(step: &LoopOut, cx: &mut StepCx<'_>) -> bool {
    if u32::try_from(step.confirmations).is_ok() {
        return true;
    }
    let span = cx.value_span("confirmations");
    cx.problem(span, "no chain has so many blocks")
        .label("too many")
        .help("write confirmations = 1");
    false
}

step! {
    /// Asks a server for a loop in: the client pays on Bitcoin and receives over Lightning.
    pub struct LoopIn("loop_in") -> LoopSwap {
        /// From which server.
        loop_in: ServerName,
        /// The client's invoice, its text.
        invoice: Arg<String>,
        /// The client's key, with which it takes the coins back when it is not paid.
        key: Arg<Key>,
    } optional {
        /// Whose the internal key of the output is.
        internal: Internal = Internal::Musig2,
        /// The most to pay on top.
        max_fee: Option<Sat> = None,
        /// The name of a request that was made before, to make it again.
        request_id: Option<Arg<String>> = None,
    }
    within Duration::from_secs(10);
}

step! {
    /// The HTLC of a loop, computed from the client's own key and hash and from the server's key and timeout. It fails when the
    /// server tells another output. Of a loop out it is waited for until the server tells it, which it does when it holds the
    /// payment.
    pub struct LoopHtlc("loop_htlc") -> BitcoinHtlc {
        /// Which loop.
        loop_htlc: Arg<LoopSwap>,
    } optional {}
    within Duration::from_secs(10);
}

step! {
    /// Has the client spend the HTLC of a loop together with the server: by one signature of both (BIP 327), without a script.
    /// One output is spent, the oldest that nothing spends. What the server says against it is the reason for `fails`.
    pub struct Cosign("cosign") -> HtlcTransaction {
        /// Which loop.
        cosign: Arg<LoopSwap>,
        /// Who gets the coins: the on-chain wallet of a Lightning node, or the faucet.
        to: Purse,
    } optional {
        /// What the miner gets.
        fee: Sat = Sat(500),
    }
    within Duration::from_secs(10);
}
