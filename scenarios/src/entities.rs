//! What the steps bind: transactions, channels, invoices, payments, and their states.

use bitcoin::Txid;
use swaprig_harness::proxy::Fault as HarnessFault;
use swaprig_harness::world::OpenedChannel;
use swaprig_units::{Height, Msat, PaymentHash, Preimage, Sat, Units};

use crate::lang::{Arg, Party};
use crate::{entity, words};

words! {
    /// The state of a channel, as both sides see it.
    pub enum ChannelState("channel state") {
        /// Waiting for its funding transaction to confirm.
        Pending = "pending",
        /// Confirmed, and the two are not connected or do not both know it yet.
        Ready = "ready",
        /// Confirmed and connected, on both sides: payments can go.
        Usable = "usable",
        /// No longer listed by the opener.
        Closed = "closed",
    }
}

words! {
    /// The state of an invoice, as its payee sees it.
    pub enum InvoiceStatus("invoice status") {
        /// Nothing has arrived, or it was given back: it can be paid until it expires.
        Pending = "pending",
        /// A payment has arrived and waits for the preimage.
        Held = "held",
        /// Paid.
        Paid = "paid",
    }
}

words! {
    /// The state of a payment, as its payer sees it.
    pub enum PaymentStatus("payment status") {
        /// On its way.
        Pending = "pending",
        /// Arrived at the payee, which holds it.
        Held = "held",
        /// Settled: the payer has the preimage.
        Succeeded = "succeeded",
        /// Given back to the payer.
        Failed = "failed",
    }
}

entity! {
    /// A transaction that gave coins to a party.
    pub struct FundingTx("funding transaction") {
        known {
            /// The id of the transaction.
            txid: Txid,
            /// What the party received.
            amount: Sat,
        }
        late {}
        live {}
        private {}
    }
}

entity! {
    /// A transaction on Liquid that gave coins to somebody.
    pub struct LiquidTransaction("liquid transaction") {
        known {
            /// The id of the transaction.
            txid: Txid,
        }
        late {}
        live {
            /// How many blocks deep it is; 0 while it waits for one.
            confirmations: u64,
        }
        private {}
    }
}

entity! {
    /// An asset on Liquid.
    pub struct Asset("asset") {
        known {
            /// Its id.
            id: String,
            /// The asset that allows to issue more of it.
            token: String,
            /// How much of it was made.
            amount: Units,
            /// The transaction that made it.
            txid: Txid,
        }
        late {}
        live {
            /// How many blocks deep that transaction is; 0 while it waits for one.
            confirmations: u64,
        }
        private {}
    }
}

entity! {
    /// A fault on a link.
    pub struct Fault("fault") {
        known {
            /// The link that it is on.
            link: String,
        }
        late {}
        live {
            /// How many calls met it; between Lightning peers, how many pieces of what they send.
            hits: u64,
        }
        private {
            /// What counts.
            fault: HarnessFault,
        }
    }
}

entity! {
    /// Blocks that were mined.
    pub struct Mined("mined block") {
        known {
            /// The height of the last one.
            height: Height,
        }
        late {}
        live {}
        private {}
    }
}

entity! {
    /// A Lightning channel. Amounts are seen from its opener.
    pub struct Channel("channel") {
        known {
            /// The output that holds its coins, `TXID:INDEX`.
            id: String,
            /// Its capacity.
            size: Sat,
        }
        late {}
        live {
            /// Whether it is pending, ready, usable or closed.
            state: ChannelState,
            /// How many blocks its funding transaction is deep.
            confirmations: u64,
            /// What the opener can send through it.
            outbound: Msat,
            /// What the opener can receive through it.
            inbound: Msat,
        }
        private {
            /// Its two sides and its funding output.
            opened: OpenedChannel,
        }
    }
}

entity! {
    /// A BOLT11 invoice.
    pub struct Invoice("invoice") {
        known {
            /// Its text, which starts with `lnbcrt`.
            bolt11: String,
            /// The payment hash in it.
            hash: PaymentHash,
            /// What it asks for; an invoice for any amount has none.
            amount: Option<Msat>,
        }
        late {}
        live {
            /// Whether it is pending, held or paid.
            status: InvoiceStatus,
            /// Whether its expiry has passed.
            expired: bool,
        }
        private {
            /// Who made it.
            payee: Party,
        }
    }
}

entity! {
    /// An invoice whose payment waits until its payee claims or fails it.
    pub struct HoldInvoice("hold invoice") is invoice: Invoice {
        known {
            /// The preimage that claims it; absent when the invoice was made for a hash alone.
            preimage: Option<Preimage>,
        }
        late {}
        live {}
        private {}
    }
}

impl From<HoldInvoice> for Arg<Invoice> {
    fn from(hold: HoldInvoice) -> Self {
        Arg::Literal(hold.invoice)
    }
}

entity! {
    /// A payment, as its payer sees it.
    pub struct Payment("payment") {
        known {
            /// The payment hash.
            hash: PaymentHash,
        }
        late {
            /// The proof of payment; there is none before it has settled.
            preimage: Preimage,
            /// What it cost beside its amount; known when it has settled.
            fee: Msat,
        }
        live {
            /// Whether it is pending, held, succeeded or failed.
            status: PaymentStatus,
        }
        private {
            /// Who pays.
            payer: Party,
            /// Who is paid.
            payee: Party,
        }
    }
}

entity! {
    /// A channel that is being closed.
    pub struct Closing("closing channel") {
        known {
            /// The output that held its coins, `TXID:INDEX`.
            id: String,
        }
        late {}
        live {
            /// Whether the channel is still there; `closed` when the party that closes it no longer lists it.
            state: ChannelState,
        }
        private {
            /// The channel.
            channel: Channel,
            /// Who closes it.
            by: Party,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::{Bind, BindingError, Bindings, Reference, Resolved, Type, Value};

    fn hold_invoice() -> HoldInvoice {
        let preimage = Preimage([7; 32]);
        let invoice = Invoice {
            bolt11: "lnbcrt1".into(),
            hash: preimage.payment_hash(),
            amount: None,
            payee: "bob".into(),
        };
        HoldInvoice {
            invoice,
            preimage: Some(preimage),
        }
    }

    fn reference(name: &str, field: Option<&str>) -> Reference {
        Reference {
            name: name.into(),
            field: field.map(Into::into),
        }
    }

    #[test]
    fn a_hold_invoice_stands_for_an_invoice_and_has_its_fields() {
        let mut bindings = Bindings::default();
        let hold = hold_invoice();
        bindings.bind("hold", hold.clone().bind().unwrap());
        let whole = reference("hold", None);
        assert_eq!(
            bindings.get(&Arg::<Invoice>::Reference(whole.clone())),
            Ok(hold.invoice.clone())
        );
        assert_eq!(
            bindings.get(&Arg::<HoldInvoice>::Reference(whole.clone())),
            Ok(hold.clone())
        );
        let hash = Arg::<PaymentHash>::Reference(reference("hold", Some("hash")));
        assert_eq!(bindings.get(&hash), Ok(hold.invoice.hash));
        let preimage = Arg::<Preimage>::Reference(reference("hold", Some("preimage")));
        assert_eq!(bindings.get(&preimage).ok(), hold.preimage);
        let channel = bindings.get(&Arg::<Channel>::Reference(whole));
        assert!(
            matches!(channel, Err(BindingError::WrongType { .. })),
            "{channel:?}"
        );
    }

    #[test]
    fn what_is_live_absent_or_unbound_is_told_apart() {
        let mut bindings = Bindings::default();
        bindings.bind("hold", hold_invoice().bind().unwrap());
        let of = |field| bindings.resolve(&reference("hold", Some(field)));
        assert!(matches!(
            of("status"),
            Ok(Resolved::Live {
                field: "status",
                ..
            })
        ));
        assert!(matches!(of("amount"), Err(BindingError::Absent { .. })));
        assert!(matches!(of("colour"), Err(BindingError::NoField { .. })));
        let unbound = bindings.resolve(&reference("inv", None));
        assert!(matches!(unbound, Err(BindingError::Unbound { .. })));
    }

    #[test]
    fn a_late_field_is_looked_up_only_while_it_is_not_known() {
        let mut payment = Payment {
            hash: PaymentHash([1; 32]),
            preimage: None,
            fee: None,
            payer: "alice".into(),
            payee: "bob".into(),
        };
        let mut bindings = Bindings::default();
        let fee = reference("paid", Some("fee"));
        bindings.bind("paid", payment.clone().bind().unwrap());
        assert!(matches!(bindings.resolve(&fee), Ok(Resolved::Live { .. })));
        payment.fee = Some(Msat(1));
        bindings.bind("paid", payment.bind().unwrap());
        assert_eq!(bindings.get(&Arg::Reference(fee)), Ok(Msat(1)));
    }

    #[test]
    fn amounts_compare_across_units_and_words_only_as_equal() {
        use std::cmp::Ordering::{Equal, Greater};
        let (sat, msat) = (Value::Sat(Sat(1)), Value::Msat(Msat(999)));
        assert_eq!(sat.compare(&msat), Some(Greater));
        assert!(Type::Sat.comparable(Type::Msat) && !Type::Sat.accepts(Type::Msat));
        let word = |state: ChannelState| Value::Word(ChannelState::WORDS, state.as_str());
        let (usable, closed) = (word(ChannelState::Usable), word(ChannelState::Closed));
        assert_eq!(usable.compare(&usable), Some(Equal));
        assert_eq!(usable.compare(&closed), None);
    }
}
