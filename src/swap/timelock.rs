//! The timelock policy: how many blocks lie between what on which chain, and why.
//!
//! Two clocks run. Liquid makes a block every 60 s, whatever happens; Bitcoin one every 600 s on average, and a run of slow
//! blocks can double that. A Lightning payment is bounded in Bitcoin blocks (the sum of the CLTV deltas of its route), the
//! HTLC of the swap in Liquid blocks. The seller knows the preimage, so it could hold the payment until its CLTV runs out and
//! take it then. The buyer must be able to claim even after that:
//!
//! ```text
//! (timeout − liquid tip) · 60 s  ≥  slow factor · max total CLTV · 600 s  +  claim margin · 60 s          (at paying)
//! ```
//!
//! and the server's refund delta must leave room for it, after the time that a funding may take:
//!
//! ```text
//! made_at      confirmed                    pay_by                                     timeout
//!    |<- funding window ->|<- time to pay ->|<------------- claim window -------------->|
//!                                  |<- slow · CLTV · 10 + claim margin (the buyer) ---->|
//! ```
//!
//! With the defaults a buyer needs 2 · 64 · 10 + 120 = 1,400 blocks, the funding may take 120 of the 2,000, and 480 blocks
//! (8 hours) remain to pay in. Nothing here is computed from the wall clock: a chain that halts stretches both sides.

use std::time::Duration;

use swaprig_units::{BlockDelta, Height};

/// How fast the chains are taken to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// From one Liquid block to the next.
    pub liquid_block: Duration,
    /// From one Bitcoin block to the next, on average.
    pub bitcoin_block: Duration,
    /// How many times slower Bitcoin may be than on average.
    pub slow_factor: u32,
}

impl Clocks {
    /// Liquid's 60 s (its signers' schedule), Bitcoin's 600 s (its difficulty rule), and a factor of 2: that 64 blocks take
    /// twice their time has a chance of less than one in 10^8 at a steady hash rate.
    pub const DEFAULT: Clocks = Clocks {
        liquid_block: Duration::from_secs(60),
        bitcoin_block: Duration::from_secs(600),
        slow_factor: 2,
    };

    /// How many Liquid blocks may pass while `blocks` of Bitcoin do, rounded up.
    ///
    /// # Errors
    /// [`PolicyError::Clocks`] when a clock stands still, or the number does not fit.
    pub fn liquid_blocks(&self, blocks: BlockDelta) -> Result<BlockDelta, PolicyError> {
        let (liquid, bitcoin) = (
            self.liquid_block.as_millis(),
            self.bitcoin_block.as_millis(),
        );
        if liquid == 0 || bitcoin == 0 || self.slow_factor == 0 {
            return Err(PolicyError::Clocks);
        }
        bitcoin
            .checked_mul(u128::from(self.slow_factor))
            .and_then(|slow| slow.checked_mul(u128::from(blocks.0)))
            .and_then(|time| u32::try_from(time.div_ceil(liquid)).ok())
            .map(BlockDelta)
            .ok_or(PolicyError::Clocks)
    }
}

/// What a buyer holds to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyerPolicy {
    /// The speeds it reckons with.
    pub clocks: Clocks,
    /// The largest sum of CLTV deltas that its payment may have, in Bitcoin blocks; passed to the node, which then offers no more.
    pub max_total_cltv: BlockDelta,
    /// How many Liquid blocks it wants for its claim, after the payment's last moment.
    pub claim_margin: BlockDelta,
    /// The fewest confirmations of a funding before it pays.
    pub min_confirmations: u32,
}

impl BuyerPolicy {
    /// A total CLTV of 64: LDK's hold invoices end in 42 and a direct channel adds nothing; what is left is for the random
    /// offset that hides the payer. Two hours to claim. Two confirmations: Liquid does not reorganise deeper.
    pub const DEFAULT: BuyerPolicy = BuyerPolicy {
        clocks: Clocks::DEFAULT,
        max_total_cltv: BlockDelta(64),
        claim_margin: BlockDelta(120),
        min_confirmations: 2,
    };

    /// How many Liquid blocks before the timeout it pays at the latest.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy contradicts itself or does not fit.
    pub fn needed(&self) -> Result<BlockDelta, PolicyError> {
        if self.max_total_cltv < MIN_TOTAL_CLTV {
            return Err(PolicyError::CltvTooSmall {
                cap: self.max_total_cltv,
            });
        }
        let lightning = self.clocks.liquid_blocks(self.max_total_cltv)?;
        let needed = lightning.0.checked_add(self.claim_margin.0);
        needed.map(BlockDelta).ok_or(PolicyError::Clocks)
    }

    /// Whether it may pay now. To be asked right before paying, with the buyer's own tip; never at the time of the offer.
    ///
    /// # Errors
    /// Why not.
    pub fn may_pay(&self, pay: &Paying) -> Result<(), PayRefused> {
        let wanted = self.min_confirmations.max(pay.min_confirmations);
        if pay.confirmations < wanted {
            return Err(PayRefused::Confirmations {
                has: pay.confirmations,
                wanted,
            });
        }
        if pay.tip >= pay.pay_by {
            return Err(PayRefused::PastPayBy {
                pay_by: pay.pay_by,
                tip: pay.tip,
            });
        }
        let needed = self.needed()?;
        let left = BlockDelta(pay.timeout.0.saturating_sub(pay.tip.0));
        match left >= needed {
            true => Ok(()),
            false => Err(PayRefused::TooLate { left, needed }),
        }
    }
}

/// The smallest cap on a total CLTV with which a hold invoice of LDK can be paid at all: its final CLTV of 42, and three
/// blocks that the payer's node adds so that a block found meanwhile does not fail the payment.
pub const MIN_TOTAL_CLTV: BlockDelta = BlockDelta(45);

/// What a buyer looks at before it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paying {
    /// The timeout of the HTLC that it verified.
    pub timeout: Height,
    /// From which Liquid height on the server says that it takes nothing.
    pub pay_by: Height,
    /// The Liquid tip, as the buyer itself sees it.
    pub tip: Height,
    /// The confirmations of the funding, as the buyer itself sees them.
    pub confirmations: u32,
    /// After how many the server takes the payment.
    pub min_confirmations: u32,
}

/// Why a buyer does not pay now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayRefused {
    /// The funding is not deep enough; this can still come right.
    #[error("the funding has {has} of {wanted} confirmations; wait for more blocks")]
    Confirmations {
        /// How many it has.
        has: u32,
        /// How many it must have.
        wanted: u32,
    },
    /// The server takes nothing any more.
    #[error("the server takes no payment from Liquid height {pay_by} on; the chain is at {tip}", pay_by = pay_by.0, tip = tip.0)]
    PastPayBy {
        /// From when on it takes nothing.
        pay_by: Height,
        /// Where the chain is.
        tip: Height,
    },
    /// The payment could be taken so late that the claim would come after the timeout.
    #[error(
        "{left} are left until the timeout, and a payment that is taken at its last moment leaves time to claim only with {needed}"
    )]
    TooLate {
        /// Liquid blocks until the timeout.
        left: BlockDelta,
        /// Liquid blocks that it would take.
        needed: BlockDelta,
    },
    /// The policy itself is wrong.
    #[error("the buyer's timelock policy is wrong: {0}")]
    Policy(#[from] PolicyError),
}

/// What a server sells with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerPolicy {
    /// From the making of a swap to its timeout, in Liquid blocks.
    pub refund_delta: BlockDelta,
    /// How many Liquid blocks before the timeout it stops taking payments.
    pub claim_window: BlockDelta,
    /// How many Liquid blocks a funding may take to get into a block.
    pub funding_window: BlockDelta,
    /// The most confirmations that a buyer may ask for.
    pub max_confirmations: u32,
}

impl ServerPolicy {
    /// A day and nine hours of lock; the claim window is two hours, as the default buyer's claim margin; two hours for the
    /// funding; six confirmations.
    pub const DEFAULT: ServerPolicy = ServerPolicy {
        refund_delta: BlockDelta(2_000),
        claim_window: BlockDelta(120),
        funding_window: BlockDelta(120),
        max_confirmations: 6,
    };

    /// Whether swaps made with it can be paid by buyers that hold to `buyer`.
    ///
    /// # Errors
    /// What is wrong, and with which number.
    pub fn validate(&self, buyer: &BuyerPolicy) -> Result<(), PolicyError> {
        if self.max_confirmations == 0 || self.max_confirmations < buyer.min_confirmations {
            return Err(PolicyError::Confirmations {
                cap: self.max_confirmations,
                buyer: buyer.min_confirmations,
            });
        }
        if self.funding_window.0 == 0 {
            return Err(PolicyError::FundingWindow);
        }
        if self.claim_window < buyer.claim_margin {
            return Err(PolicyError::ClaimWindow {
                window: self.claim_window,
                margin: buyer.claim_margin,
            });
        }
        let last_payment = buyer.needed()?.max(self.claim_window);
        // One block at least to pay in.
        let needed = [self.funding_window.0, self.max_confirmations, 1]
            .iter()
            .try_fold(last_payment.0, |sum, blocks| sum.checked_add(*blocks))
            .ok_or(PolicyError::Clocks)?;
        match self.refund_delta.0 >= needed {
            true => Ok(()),
            false => Err(PolicyError::RefundDelta {
                delta: self.refund_delta,
                needed: BlockDelta(needed),
            }),
        }
    }

    /// The timeout of a swap made at a Liquid height.
    ///
    /// # Errors
    /// [`PolicyError::Timeout`] when that is not a height that a script can hold.
    pub fn timeout(&self, made_at: Height) -> Result<Height, PolicyError> {
        made_at
            .checked_add(self.refund_delta)
            .filter(|timeout| (1..500_000_000).contains(&timeout.0))
            .ok_or(PolicyError::Timeout)
    }

    /// The confirmations that a swap waits for when its buyer asks for `asked`; 0: one.
    ///
    /// # Errors
    /// [`PolicyError::TooManyConfirmations`].
    pub fn confirmations(&self, asked: u32) -> Result<u32, PolicyError> {
        match asked <= self.max_confirmations {
            true => Ok(asked.max(1)),
            false => Err(PolicyError::TooManyConfirmations {
                asked,
                cap: self.max_confirmations,
            }),
        }
    }
}

/// Why a policy cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A block time or the slow factor is zero, or a sum does not fit.
    #[error(
        "block times and the slow factor must be above zero, and the deltas small enough to add"
    )]
    Clocks,
    /// No hold invoice can be paid under this cap.
    #[error("a cap of {cap} on the total CLTV is too small: a hold invoice needs {MIN_TOTAL_CLTV}")]
    CltvTooSmall {
        /// The cap.
        cap: BlockDelta,
    },
    /// Buyers cannot ask for the confirmations that they want.
    #[error(
        "at most {cap} confirmations can be asked for, and buyers wait for {buyer}; raise the cap"
    )]
    Confirmations {
        /// The cap.
        cap: u32,
        /// What buyers wait for.
        buyer: u32,
    },
    /// A funding would be given up at once.
    #[error("the funding window must be at least 1 block")]
    FundingWindow,
    /// A payment could be taken so late that the buyer cannot claim in time.
    #[error(
        "the claim window of {window} is shorter than the {margin} that buyers want for their claim; raise it"
    )]
    ClaimWindow {
        /// The server's.
        window: BlockDelta,
        /// The buyers'.
        margin: BlockDelta,
    },
    /// Buyers could never pay.
    #[error(
        "a refund delta of {delta} leaves buyers no time to pay: it takes at least {needed}; raise it, or shorten the windows"
    )]
    RefundDelta {
        /// The server's.
        delta: BlockDelta,
        /// The smallest that works.
        needed: BlockDelta,
    },
    /// The timeout is not a height.
    #[error("the timeout would not be a block height below 500000000")]
    Timeout,
    /// More confirmations than the server allows.
    #[error("{asked} confirmations are more than the {cap} that can be asked for")]
    TooManyConfirmations {
        /// How many were asked for.
        asked: u32,
        /// The most.
        cap: u32,
    },
}
