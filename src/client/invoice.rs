//! An invoice that somebody else made, read and held to the client's own rules.

use std::time::Duration;

use bitcoin::Network;
use bitcoin::secp256k1::PublicKey;
use lightning_invoice::Bolt11Invoice;
use swaprig_units::{BlockDelta, Msat, PaymentHash};

use super::refusal::{must, no};
use super::{Reason, Refusal};

/// What every invoice must keep to.
#[derive(Debug, Clone, Copy)]
pub(super) struct InvoiceRules {
    /// Which Bitcoin it must be for.
    pub(super) network: Network,
    /// The time since 1970.
    pub(super) now: Duration,
    /// How long it must still be payable.
    pub(super) margin: Duration,
    /// The only node that is paid; `None`: any.
    pub(super) payee: Option<PublicKey>,
    /// The most blocks for which a payment may be locked.
    pub(super) max_total_cltv: BlockDelta,
}

/// An invoice that was read.
#[derive(Debug)]
pub(super) struct Invoice {
    pub(super) hash: PaymentHash,
    pub(super) amount: Msat,
    pub(super) expires_at: u64,
    pub(super) parsed: Bolt11Invoice,
}

impl InvoiceRules {
    /// Reads it.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(super) fn read(&self, text: &str) -> Result<Invoice, Refusal> {
        let parsed: Bolt11Invoice = text
            .parse()
            .map_err(|error| Refusal::new(Reason::InvoiceMalformed, format!("{error}")))?;
        let network = parsed.network();
        must(network == self.network, Reason::InvoiceNetwork, || {
            format!("it is for {network}, not {}", self.network)
        })?;
        let Some(amount) = parsed.amount_milli_satoshis() else {
            return no(Reason::InvoiceAmount, "it asks for no amount");
        };
        let expires_at = parsed.expires_at().map_or(u64::MAX, |at| at.as_secs());
        let needed = self.now + self.margin;
        must(
            expires_at >= needed.as_secs(),
            Reason::InvoiceExpired,
            || {
                let left = i128::from(expires_at) - i128::from(self.now.as_secs());
                format!(
                    "{left} s are left to pay it, {} s are needed",
                    self.margin.as_secs()
                )
            },
        )?;
        let payee = parsed.get_payee_pub_key();
        if let Some(wanted) = self.payee {
            must(payee == wanted, Reason::WrongPayee, || {
                format!("it pays {payee}, not {wanted}")
            })?;
        }
        let cltv = parsed.min_final_cltv_expiry_delta();
        let most = self.max_total_cltv.0;
        must(cltv <= u64::from(most), Reason::InvoiceCltv, || {
            format!("its payee asks for {cltv} blocks, {most} are allowed in all")
        })?;
        Ok(Invoice {
            hash: PaymentHash(*AsRef::<[u8; 32]>::as_ref(parsed.payment_hash())),
            amount: Msat(amount),
            expires_at,
            parsed,
        })
    }
}
