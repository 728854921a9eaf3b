//! How large a funding is, before it is built.

/// What a funding is made of. Its outputs are all explicit; its inputs are taproot key spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FundingSize {
    /// Coins that it spends.
    pub(super) inputs: usize,
    /// Outputs of the HTLC: one, or two with the L-BTC for the claim.
    pub(super) locks: usize,
    /// Outputs that go back to the wallet.
    pub(super) change: usize,
}

/// Weight of an input: outpoint, empty script and sequence; two empty proofs, one signature, no peg-in.
pub(super) const INPUT: usize = 4 * (36 + 1 + 4) + 1 + 1 + (1 + 1 + 64) + 1;
/// Weight of an explicit output with a script of 34 bytes, P2WSH or P2TR: asset, value, no nonce, script; two empty proofs.
pub(super) const OUTPUT: usize = 4 * (33 + 9 + 1 + 1 + 34) + 2;
/// Weight of the fee output.
pub(super) const FEE: usize = 4 * (33 + 9 + 1 + 1) + 2;
/// Bytes that the tag of a swap holds.
const TAG: usize = 4 + 4 + 4 + 33;
/// Weight of version, flag, both counts and lock time.
pub(super) const REST: usize = 4 * (4 + 1 + 1 + 1 + 4);

impl FundingSize {
    pub(super) fn new(has_fee_value: bool) -> Self {
        FundingSize {
            inputs: 0,
            locks: if has_fee_value { 2 } else { 1 },
            change: 0,
        }
    }

    /// In virtual bytes. Nothing is confidential, so that no discount applies.
    pub(super) fn vsize(self) -> usize {
        // The tag is an explicit output with OP_RETURN and one push.
        let tag = 4 * (33 + 9 + 1 + 1 + 2 + TAG) + 2;
        // A count beyond 252 takes two more bytes.
        let wide = if self.inputs > 252 { 2 * 4 } else { 0 };
        let weight =
            REST + wide + INPUT * self.inputs + OUTPUT * (self.locks + self.change) + tag + FEE;
        weight.div_ceil(4)
    }
}
