//! Steps of a buyer: our own buyer's library, in this process, with a store in the run directory.

use std::time::Duration;

use swaprig_harness::world::Chain;
use swaprig_scenarios::LiquidTransaction;
use swaprig_scenarios::lang::{Arg, AssetOf, LiquidAmount, Party, ServerName, StepCx};
use swaprig_scenarios::{entity, step, words};
use swaprig_units::{BlockDelta, Height, Msat, PaymentHash, Preimage};
use uuid::Uuid;

/// More than all bitcoins there will ever be.
const ANY_PRICE: Msat = Msat(2_100_000_000_000_000_000);

words! {
    /// Where a swap is, as its server tells.
    pub enum SwapStatus("swap status") {
        /// Made; its funding is not confirmed as often as was asked for.
        Created = "created",
        /// Its funding is confirmed; it can be paid.
        Funded = "funded",
        /// The buyer spent the HTLC with the preimage.
        Claimed = "claimed",
        /// The server took the HTLC back after the timeout.
        Refunded = "refunded",
        /// It failed before it was funded.
        Failed = "failed",
    }
}

words! {
    /// What the server of a swap is doing.
    pub enum SwapPhase("swap phase") {
        /// Coins are reserved, the invoice is being made.
        Reserved = "reserved",
        /// The prepay invoice waits to be paid.
        AwaitingPrepay = "awaiting_prepay",
        /// The funding is sent and not confirmed often enough.
        Funding = "funding",
        /// The funding is confirmed, the payment awaited.
        Confirmed = "confirmed",
        /// The payment is held and is being taken.
        PaymentHeld = "payment_held",
        /// The payment was taken.
        Paid = "paid",
        /// No payment is taken any more; the timeout is awaited.
        Cancelling = "cancelling",
        /// The refund is sent.
        Refunding = "refunding",
        /// The claim is in a block.
        Claimed = "claimed",
        /// The refund is in a block.
        Refunded = "refunded",
        /// It failed.
        Failed = "failed",
    }
}

words! {
    /// Where a swap is for its buyer, as the buyer has stored it.
    pub enum BuyerStage("buyer's stage") {
        /// Asked for; nothing was paid.
        Created = "created",
        /// The payment was, or is about to be, sent.
        Paying = "paying",
        /// The preimage is known: the claim is sent until it is deep enough.
        Claiming = "claiming",
        /// The claim is deep enough.
        Claimed = "claimed",
        /// Not paid, for a reason that does not pass.
        Refused = "refused",
        /// The payment failed for good.
        PaymentFailed = "payment_failed",
        /// Paid, and the server has taken the coins back.
        Lost = "lost",
    }
}

entity! {
    /// A swap of a buyer with a swap server. What the server tells of it is asked for when it is used.
    pub struct Swap("swap") {
        known {
            /// The server's name for it, a UUID.
            id: String,
            /// The buyer's name for it, a UUID.
            request_id: String,
        }
        late {}
        live {
            /// Where it is, as the server tells.
            status: SwapStatus,
            /// What the server is doing.
            phase: SwapPhase,
            /// The invoice, BOLT 11.
            invoice: String,
            /// The payment hash.
            hash: PaymentHash,
            /// What the invoice asks for.
            price: Msat,
            /// The address of the HTLC.
            htlc_address: String,
            /// The witness script of the HTLC.
            htlc_script: String,
            /// The height from which on the server can take the coins back.
            timeout: Height,
            /// The height from which on the server takes no payment.
            pay_by: Height,
            /// The funding transaction.
            funding_txid: bitcoin::Txid,
            /// How deep the server sees the funding transaction.
            confirmations: u64,
            /// What claimed the HTLC.
            claim_txid: bitcoin::Txid,
            /// The server's refund, once it is signed.
            refund_txid: bitcoin::Txid,
            /// Where it is for its buyer.
            stage: BuyerStage,
            /// What the buyer learnt by paying.
            preimage: Preimage,
        }
        private {
            /// The buyer's name for it.
            request: Uuid,
            /// The server.
            server: ServerName,
            /// Who buys.
            buyer: Party,
            /// Confirmations that the funding needs before it is paid.
            min_confirmations: u64,
        }
    }
}

step! {
    /// Asks a swap server for a swap, as our own buyer does: with a Lightning node, a wallet on Liquid for the claim, and
    /// the world's index of Liquid as its own view. Nothing is checked by it yet but that the answer is about this request.
    pub struct CreateSwap("create_swap") -> Swap {
        /// From which server.
        create_swap: ServerName,
        /// Who buys: the Lightning node that pays, and the wallet of the same name.
        by: Party,
        /// How much.
        amount: LiquidAmount,
    } optional {
        /// Of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Confirmations that the funding needs before it is paid.
        min_confirmations: u64 = 2,
        /// The most to pay in all; any price when it is left out.
        max_price: Arg<Msat> = Arg::Literal(ANY_PRICE),
        /// The name of a request that was made before, to make it again.
        request_id: Option<Arg<String>> = None,
    }
    keys has_all_it_needs;
    check can_be_confirmed;
}

fn has_all_it_needs(cx: &mut StepCx<'_>) -> bool {
    let span = cx.key_span("create_swap");
    if !cx.needs_liquid(span.clone()) {
        return false;
    }
    if cx.has_index(Chain::Liquid) {
        return true;
    }
    cx.problem(span, "this world has no index of the liquid chain")
        .label("the buyer looks there whether the swap is funded")
        .help("add index = [\"liquid\"] to the world");
    false
}

fn can_be_confirmed(step: &CreateSwap, cx: &mut StepCx<'_>) -> bool {
    let by = &step.by.0;
    if cx.wallets().is_some_and(|wallets| !wallets.contains(by)) {
        let span = cx.value_span("by");
        cx.problem(span, format!("{by} has no wallet on Liquid"))
            .label("where would the claim go?")
            .help("write liquid = true in the world: every Lightning node has a wallet then");
        return false;
    }
    if u32::try_from(step.min_confirmations).is_err() {
        let span = cx.value_span("min_confirmations");
        cx.problem(span, "no chain has so many blocks")
            .label("too many")
            .help("write min_confirmations = 2");
        return false;
    }
    step.amount.fits(&step.asset, cx)
}

/// How long a buyer waits for what may still come: a confirmation, the server's or the index's sight of it.
const PATIENCE: Duration = Duration::from_secs(5);

step! {
    /// Has the buyer check everything: the server's words, the chain by its own index, the time that is left. Nothing is
    /// paid. What may still come, such as a confirmation that somebody has not seen yet, is waited for; every other refusal
    /// ends it at once. Its name, such as VALUE_MISMATCH, is the reason for `fails`.
    pub struct VerifySwap("verify_swap") -> () {
        /// Which swap.
        verify_swap: Arg<Swap>,
    } optional {
        /// The most Bitcoin blocks for which the buyer lets its payment be locked; its own limit when it is left out.
        max_cltv: Option<BlockDelta> = None,
    }
    within PATIENCE;
}

words! {
    /// How far `pay_swap` waits.
    pub enum PaidUntil("point to wait for") {
        /// The buyer has the preimage. A payment that fails, fails the step.
        Settled = "settled",
        /// The payment is on its way.
        Sent = "sent",
    }
}

step! {
    /// Has the buyer check everything once more, as `verify_swap` does, and pay. With `unchecked` its Lightning node pays the
    /// invoice as it is, and the buyer's store hears nothing of it: what a server must withstand.
    pub struct PaySwap("pay_swap") -> () {
        /// Which swap.
        pay_swap: Arg<Swap>,
    } optional {
        /// How far to wait.
        until: PaidUntil = PaidUntil::Settled,
        /// Whether to pay without any check.
        unchecked: bool = false,
        /// The most Bitcoin blocks for which the buyer lets its payment be locked; its own limit when it is left out.
        max_cltv: Option<BlockDelta> = None,
    }
    within Duration::from_secs(20);
}

step! {
    /// Has the buyer claim what it has paid for, to its wallet on Liquid. It is done when the claim is sent; it takes one
    /// `mine` on Liquid to confirm.
    pub struct ClaimSwap("claim") -> LiquidTransaction {
        /// Which swap.
        claim: Arg<Swap>,
    } optional {}
    within Duration::from_secs(10);
}

step! {
    /// Has the operator of the swap's server take the coins back now (`AdminService.ForceRefund`, at the server's second port). It
    /// is done when the server has agreed, which it does after the timeout and only when the payment was not taken; why it does
    /// not is the reason.
    pub struct RefundSwap("refund") -> () {
        /// Which swap.
        refund: Arg<Swap>,
    } optional {}
    within Duration::from_secs(10);
}
