//! Steps on Lightning nodes.

use std::time::Duration;

use swaprig_units::{BlockDelta, Msat, PaymentHash, Preimage, Sat};

use crate::entities::{Channel, Closing, HoldInvoice, Invoice, Payment};
use crate::lang::{Arg, Party, StepCx};
use crate::{step, words};

step! {
    /// Connects a Lightning node to another. Needed after a restart; `open_channel` connects by itself.
    pub struct Connect("connect") -> () {
        /// Who connects.
        connect: Party,
        /// To whom.
        to: Party,
    } optional {}
    check connects_two;
}

fn connects_two(step: &Connect, cx: &mut StepCx<'_>) -> bool {
    two_parties(&step.connect, &step.to, "to", cx)
}

/// Refuses a step of a party with itself; `key` has the second one.
fn two_parties(one: &Party, other: &Party, key: &str, cx: &mut StepCx<'_>) -> bool {
    if one != other {
        return true;
    }
    let title = format!("`{}` of {one} with itself", cx.step());
    let span = cx.value_span(key);
    let first = cx.value_span(cx.step());
    let label = format!("is {other}, too");
    cx.problem(span, title)
        .label(label)
        .also(first, format!("{one} here"))
        .help("write the name of another party");
    false
}

step! {
    /// Opens a channel and waits until its funding transaction is in the mempool. It is usable for both sides
    /// after `mine = 6`. The opener needs its size and 25 000 sat on chain, the other side 25 000 sat.
    pub struct OpenChannel("open_channel") -> Channel {
        /// To whom.
        open_channel: Party,
        /// Who opens it and pays for it.
        by: Party,
        /// Its capacity.
        size: Sat,
    } optional {
        /// What the opener gives to the other side at once, out of `size`.
        push: Option<Msat> = None,
        /// Whether it is announced to the network.
        announce: bool = false,
    }
    check channel_adds_up;
}

fn channel_adds_up(step: &OpenChannel, cx: &mut StepCx<'_>) -> bool {
    let two = two_parties(&step.open_channel, &step.by, "by", cx);
    let pushed = step.push.map_or(0, |push| push.0.div_ceil(1_000));
    if step.size.0 > pushed {
        return two;
    }
    let span = cx.value_span(if step.push.is_some() { "push" } else { "size" });
    let size = cx.value_span("size");
    match step.push {
        Some(push) => cx
            .problem(
                span,
                format!("`push` is {push}, the whole channel has {}", step.size),
            )
            .label("leaves the opener nothing")
            .also(size, "the whole channel")
            .help("make `push` smaller than `size`: the opener must keep a reserve of 1 %"),
        None => cx
            .problem(span, "a channel without coins")
            .label("no coins")
            .help("write a size such as \"1_000_000 sat\""),
    };
    false
}

step! {
    /// Closes a channel and waits until its closing transaction is in the mempool.
    pub struct CloseChannel("close_channel") -> Closing {
        /// Which channel.
        close_channel: Arg<Channel>,
        /// Who closes it.
        by: Party,
    } optional {
        /// Whether to close it without the other side; the closer then waits 144 blocks and more for its coins.
        force: bool = false,
    }
}

step! {
    /// Makes a BOLT11 invoice.
    pub struct MakeInvoice("invoice") -> Invoice {
        /// Who is to be paid.
        invoice: Party,
    } optional {
        /// What it asks for; without it the payer chooses.
        amount: Option<Arg<Msat>> = None,
        /// What the payer is told that it is for.
        description: Option<String> = None,
        /// How long it can be paid.
        expiry: Duration = Duration::from_secs(3_600),
    }
    check asks_for_something;
}

fn asks_for_something(step: &MakeInvoice, cx: &mut StepCx<'_>) -> bool {
    let fits = step.amount != Some(Arg::Literal(Msat(0)));
    if !fits {
        let span = cx.value_span("amount");
        cx.problem(span, "an invoice for nothing")
            .label("no amount")
            .help("leave `amount` out for an invoice for any amount");
    }
    whole_seconds(step.expiry, cx) && fits
}

/// BOLT 11 counts the expiry in seconds (tagged field `x`).
fn whole_seconds(expiry: Duration, cx: &mut StepCx<'_>) -> bool {
    if expiry.subsec_nanos() == 0 {
        return true;
    }
    let span = cx.value_span("expiry");
    cx.problem(span, "an invoice's expiry is counted in whole seconds")
        .label("not whole seconds")
        .help(format!("write \"{} s\"", expiry.as_secs() + 1));
    false
}

step! {
    /// Makes an invoice whose payment waits until `claim_hold_invoice` or `fail_hold_invoice`.
    pub struct MakeHoldInvoice("hold_invoice") -> HoldInvoice {
        /// Who is to be paid.
        hold_invoice: Party,
        /// What it asks for.
        amount: Arg<Msat>,
    } optional {
        /// What the payer is told that it is for.
        description: Option<String> = None,
        /// How long it can be paid.
        expiry: Duration = Duration::from_secs(3_600),
        /// The preimage that claims it, in hexadecimal digits; random when it is left out.
        preimage: Option<Arg<Preimage>> = None,
        /// The payment hash, in place of a preimage that somebody else has or that is not told yet.
        hash: Option<Arg<PaymentHash>> = None,
    }
    keys one_secret;
    check holds_something;
}

fn one_secret(cx: &mut StepCx<'_>) -> bool {
    if !(cx.has("hash") && cx.has("preimage")) {
        return true;
    }
    let (hash, preimage) = (cx.key_span("hash"), cx.key_span("preimage"));
    cx.problem(
        hash,
        "`hash` beside `preimage`, which has a hash of its own",
    )
    .label("too much")
    .also(preimage, "says it already")
    .help("leave one of the two out");
    false
}

fn holds_something(step: &MakeHoldInvoice, cx: &mut StepCx<'_>) -> bool {
    let fits = step.amount != Arg::Literal(Msat(0));
    if !fits {
        let span = cx.value_span("amount");
        cx.problem(span, "an invoice for nothing")
            .label("no amount")
            .help("write an amount such as \"10_000 sat\"");
    }
    whole_seconds(step.expiry, cx) && fits
}

step! {
    /// Reads a BOLT11 invoice that somebody else has made, such as a server that was asked: what it asks for, and for
    /// which hash. From then on it is an invoice as any other, which `pay` pays. Whose it is must be a Lightning node of
    /// this world.
    pub struct ReadInvoice("read_invoice") -> Invoice {
        /// Its text, which starts with `lnbcrt`.
        read_invoice: Arg<String>,
    } optional {}
    keys has_a_node;
}

fn has_a_node(cx: &mut StepCx<'_>) -> bool {
    if cx.parties().is_none_or(|parties| !parties.is_empty()) {
        return true;
    }
    let span = cx.key_span("read_invoice");
    cx.problem(span, "this world has no Lightning node")
        .label("nobody made it, and nobody can read it")
        .help("give it some: world = { preset = \"lightning\" }");
    false
}

step! {
    /// Claims the payment that a hold invoice holds, and waits until its payee has it.
    pub struct ClaimHoldInvoice("claim_hold_invoice") -> () {
        /// Which invoice.
        claim_hold_invoice: Arg<HoldInvoice>,
    } optional {
        /// The preimage, for an invoice that was made for a hash alone.
        preimage: Option<Arg<Preimage>> = None,
    }
}

step! {
    /// Gives the payment that a hold invoice holds back to its payer.
    pub struct FailHoldInvoice("fail_hold_invoice") -> () {
        /// Which invoice.
        fail_hold_invoice: Arg<HoldInvoice>,
    } optional {}
}

words! {
    /// How far `pay` waits.
    pub enum Until("point to wait for") {
        /// The payer has the preimage. A payment that fails, fails the step.
        Settled = "settled",
        /// The payee of a hold invoice holds it.
        Held = "held",
        /// The payer has sent it.
        Sent = "sent",
    }
}

step! {
    /// Pays an invoice.
    pub struct Pay("pay") -> Payment {
        /// Which invoice.
        pay: Arg<Invoice>,
        /// Who pays.
        by: Party,
    } optional {
        /// How much; only for an invoice for any amount.
        amount: Option<Arg<Msat>> = None,
        /// How far to wait.
        until: Until = Until::Settled,
        /// The most that it may cost beside its amount; the node's own limit when it is left out.
        max_fee: Option<Msat> = None,
        /// The most blocks that its HTLCs may be locked for; the node's own limit when it is left out.
        max_cltv: Option<BlockDelta> = None,
    }
}
