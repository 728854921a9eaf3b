//! Why a client does not pay: one name for each lie, mistake or lack, so that a script can tell them apart.

use std::fmt;
use std::str::FromStr;

/// A refusal: which rule, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{reason}: {seen}")]
pub struct Refusal {
    /// The rule that was broken.
    pub reason: Reason,
    /// What was seen, and what was expected instead.
    pub seen: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, seen: impl Into<String>) -> Self {
        Refusal {
            reason,
            seen: seen.into(),
        }
    }
}

/// Refuses.
pub(super) fn no<T>(reason: Reason, seen: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::new(reason, seen))
}

/// Refuses unless it holds.
pub(super) fn must(
    holds: bool,
    reason: Reason,
    seen: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    match holds {
        true => Ok(()),
        false => no(reason, seen()),
    }
}

/// Reads a field of a reply, or refuses.
pub(super) fn read<T: FromStr>(field: &str, text: &str, reason: Reason) -> Result<T, Refusal> {
    let wrong = |_| Refusal::new(reason, format!("{field} is `{text}`"));
    text.parse().map_err(wrong)
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $sentence:literal;)*) => {
        /// The rules of a buyer. Names and meanings are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $sentence] $(#[$doc])* $variant,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Reason] = &[$(Reason::$variant),*];

            /// Its name, in capitals.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$variant => $name,)*
                }
            }

            /// What it means, in one sentence.
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(Reason::$variant => $sentence,)*
                }
            }
        }
    };
}

reasons! {
    ServerRefused = "SERVER_REFUSED", "The server makes no such swap.";
    MalformedReply = "MALFORMED_REPLY", "A field of the server's reply is missing or cannot be read.";
    RequestMismatch = "REQUEST_MISMATCH", "The reply is about another request.";
    SwapIdMismatch = "SWAP_ID_MISMATCH", "The reply is about another swap than the one that was made.";
    TermsChanged = "TERMS_CHANGED", "The server tells other terms than before.";
    NotPayable = "NOT_PAYABLE", "The server says that the swap is over, or that somebody else is paying it.";
    InconsistentReply = "INCONSISTENT_REPLY", "Two fields of the reply contradict each other.";
    WrongAsset = "WRONG_ASSET", "What is offered or locked is not the asset that was asked for.";
    AmountMismatch = "AMOUNT_MISMATCH", "The reply is about another amount than was asked for.";
    ValueMismatch = "VALUE_MISMATCH", "What is locked is not the amount that was asked for.";
    FeeValueMismatch = "FEE_VALUE_MISMATCH", "The L-BTC that is locked for the claim's fee is not what it must be.";
    ConfirmationsMismatch = "CONFIRMATIONS_MISMATCH", "The server waits for another number of confirmations than was asked for.";
    AmountAboveCap = "AMOUNT_ABOVE_CAP", "The price is above the most that the buyer would pay.";
    PrepayAboveCap = "PREPAY_ABOVE_CAP", "What is to be paid before the funding, and is lost without it, is above the buyer's limit.";
    PrepayInvoice = "PREPAY_INVOICE", "The prepay invoice cannot be used.";
    InvoiceMalformed = "INVOICE_MALFORMED", "The invoice cannot be read or is not signed.";
    InvoiceNetwork = "INVOICE_NETWORK", "The invoice is for another network.";
    InvoiceAmount = "INVOICE_AMOUNT", "The invoice asks for another amount than the reply, or for any.";
    InvoiceDescription = "INVOICE_DESCRIPTION", "The invoice was not made for this swap.";
    InvoiceExpired = "INVOICE_EXPIRED", "The invoice has expired, or expires before it can be paid.";
    InvoiceCltv = "INVOICE_CLTV", "The invoice asks for a payment that is locked longer than the buyer allows.";
    WrongPayee = "WRONG_PAYEE", "The invoice pays another node than the buyer expects.";
    WrongHash = "WRONG_HASH", "The invoice has another payment hash than the swap.";
    ReusedHash = "REUSED_HASH", "The payment hash was used in another swap of this buyer.";
    WrongClaimKey = "WRONG_CLAIM_KEY", "The buyer could not claim: the claim key is not its own.";
    WrongRefundKey = "WRONG_REFUND_KEY", "The server's refund key is no key of its own.";
    WrongScript = "WRONG_SCRIPT", "The script is not the one that key, hash and timeout make.";
    WrongAddress = "WRONG_ADDRESS", "The address is not that of the script.";
    TimeoutNotAHeight = "TIMEOUT_NOT_A_HEIGHT", "The timeout is not a block height.";
    TimeoutTooNear = "TIMEOUT_TOO_NEAR", "The payment could stay locked until the server can take the coins back.";
    PayByMismatch = "PAY_BY_MISMATCH", "The server would take the payment when the buyer can no longer claim.";
    PayByPassed = "PAY_BY_PASSED", "The server takes no payment any more.";
    HeightMismatch = "HEIGHT_MISMATCH", "The server and the buyer's own source see chains of different heights.";
    NotFunded = "NOT_FUNDED", "Nothing is locked yet.";
    FundingMismatch = "FUNDING_MISMATCH", "The funding transaction in the reply is not the one that it names.";
    FundingNotFound = "FUNDING_NOT_FOUND", "The buyer's own source does not know the funding transaction.";
    BadProof = "BAD_PROOF", "The buyer's own source cannot prove that the funding transaction is in its block.";
    TooFewConfirmations = "TOO_FEW_CONFIRMATIONS", "The funding transaction is not deep enough in the chain.";
    OutputMissing = "OUTPUT_MISSING", "The output that is named does not exist or does not pay to the script.";
    DuplicateOutput = "DUPLICATE_OUTPUT", "The funding transaction has more outputs of the script than were agreed.";
    OutputSpent = "OUTPUT_SPENT", "What was locked is spent already.";
    NotExplicit = "NOT_EXPLICIT", "The output's asset or value is blinded.";
    NonceNotNull = "NONCE_NOT_NULL", "The explicit output carries a nonce.";
    SwapFeeAboveCap = "SWAP_FEE_ABOVE_CAP", "The server's fee is above the most that the client would pay.";
    MinerFeeAboveCap = "MINER_FEE_ABOVE_CAP", "What the client's own transaction would have to pay is above the most that it would pay.";
    WrongInvoice = "WRONG_INVOICE", "The reply is about another invoice than the client's own.";
    WrongInternalKey = "WRONG_INTERNAL_KEY", "The internal key is not the one that was asked for and that the two keys, or the published r, make.";
    TimeoutTooFar = "TIMEOUT_TOO_FAR", "The coins could stay locked longer than the client allows.";
    RevealTooLate = "REVEAL_TOO_LATE", "Too few blocks are left until the timeout to show the preimage and claim.";
    NotPublished = "NOT_PUBLISHED", "The server has not locked the coins in time.";
    GivenUp = "GIVEN_UP", "The client has given it up.";
}

impl Reason {
    /// Whether the same swap may be fine later, without anybody having lied.
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Reason::NotFunded
                | Reason::FundingNotFound
                | Reason::TooFewConfirmations
                | Reason::HeightMismatch
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Reason::ALL.iter().find(|reason| reason.name() == name);
        known
            .copied()
            .ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no refusal")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_stable_capitals_and_unique() {
        let names: HashSet<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let debug = format!("{reason:?}").to_uppercase();
            assert_eq!(reason.name().replace('_', ""), debug);
            assert!(reason.sentence().ends_with('.'), "{reason}");
            let text = serde_json::to_string(reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), *reason);
        }
    }
}
