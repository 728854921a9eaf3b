//! The timelock policy.

use std::time::Duration;

use super::*;

#[test]
fn bitcoin_blocks_in_liquid_blocks() {
    let clocks = |liquid, bitcoin, slow_factor| Clocks {
        liquid_block: Duration::from_secs(liquid),
        bitcoin_block: Duration::from_secs(bitcoin),
        slow_factor,
    };
    let cases = [
        (Clocks::DEFAULT, 64, Ok(BlockDelta(1_280))),
        (Clocks::DEFAULT, 0, Ok(BlockDelta(0))),
        (clocks(60, 600, 1), 64, Ok(BlockDelta(640))),
        (clocks(7, 600, 2), 1, Ok(BlockDelta(172))),
        (clocks(0, 600, 2), 64, Err(PolicyError::Clocks)),
        (clocks(60, 0, 2), 64, Err(PolicyError::Clocks)),
        (clocks(60, 600, 0), 64, Err(PolicyError::Clocks)),
        (Clocks::DEFAULT, u32::MAX, Err(PolicyError::Clocks)),
    ];
    for (clocks, blocks, expected) in cases {
        assert_eq!(
            clocks.liquid_blocks(BlockDelta(blocks)),
            expected,
            "{clocks:?} {blocks}"
        );
    }
}

#[test]
fn a_buyer_pays_only_with_time_to_claim() {
    let buyer = BuyerPolicy::DEFAULT;
    let pay = Paying {
        timeout: Height(3_000),
        pay_by: Height(2_880),
        tip: Height(1_600),
        confirmations: 2,
        min_confirmations: 1,
    };
    let cases = [
        (pay, Ok(())),
        (
            Paying {
                tip: Height(1_601),
                ..pay
            },
            Err(PayRefused::TooLate {
                left: BlockDelta(1_399),
                needed: BlockDelta(1_400),
            }),
        ),
        (
            Paying {
                confirmations: 1,
                ..pay
            },
            Err(PayRefused::Confirmations { has: 1, wanted: 2 }),
        ),
        (
            Paying {
                min_confirmations: 3,
                ..pay
            },
            Err(PayRefused::Confirmations { has: 2, wanted: 3 }),
        ),
        (
            Paying {
                tip: Height(2_880),
                ..pay
            },
            Err(PayRefused::PastPayBy {
                pay_by: Height(2_880),
                tip: Height(2_880),
            }),
        ),
        (
            Paying {
                pay_by: Height(1_600),
                ..pay
            },
            Err(PayRefused::PastPayBy {
                pay_by: Height(1_600),
                tip: Height(1_600),
            }),
        ),
        (
            Paying {
                tip: Height(3_001),
                pay_by: Height(9_000),
                ..pay
            },
            Err(PayRefused::TooLate {
                left: BlockDelta(0),
                needed: BlockDelta(1_400),
            }),
        ),
    ];
    for (pay, expected) in cases {
        assert_eq!(buyer.may_pay(&pay), expected, "{pay:?}");
    }
    // A longer route asks for more time.
    let far = BuyerPolicy {
        max_total_cltv: BlockDelta(144),
        ..buyer
    };
    assert_eq!(far.needed(), Ok(BlockDelta(3_000)));
    let near = BuyerPolicy {
        max_total_cltv: BlockDelta(44),
        ..buyer
    };
    assert_eq!(
        near.may_pay(&pay),
        Err(PayRefused::Policy(PolicyError::CltvTooSmall {
            cap: BlockDelta(44)
        }))
    );
}

#[test]
fn a_server_that_its_own_buyers_cannot_pay_is_refused() {
    let (server, buyer) = (ServerPolicy::DEFAULT, BuyerPolicy::DEFAULT);
    let smallest = 1_400 + 120 + 6 + 1;
    let cases = [
        (server, Ok(())),
        (
            ServerPolicy {
                refund_delta: BlockDelta(smallest),
                ..server
            },
            Ok(()),
        ),
        (
            ServerPolicy {
                refund_delta: BlockDelta(smallest - 1),
                ..server
            },
            Err(PolicyError::RefundDelta {
                delta: BlockDelta(smallest - 1),
                needed: BlockDelta(smallest),
            }),
        ),
        (
            ServerPolicy {
                claim_window: BlockDelta(119),
                ..server
            },
            Err(PolicyError::ClaimWindow {
                window: BlockDelta(119),
                margin: BlockDelta(120),
            }),
        ),
        (
            ServerPolicy {
                claim_window: BlockDelta(1_900),
                ..server
            },
            Err(PolicyError::RefundDelta {
                delta: BlockDelta(2_000),
                needed: BlockDelta(2_027),
            }),
        ),
        (
            ServerPolicy {
                funding_window: BlockDelta(0),
                ..server
            },
            Err(PolicyError::FundingWindow),
        ),
        (
            ServerPolicy {
                max_confirmations: 1,
                ..server
            },
            Err(PolicyError::Confirmations { cap: 1, buyer: 2 }),
        ),
        (
            ServerPolicy {
                funding_window: BlockDelta(u32::MAX),
                ..server
            },
            Err(PolicyError::Clocks),
        ),
    ];
    for (server, expected) in cases {
        assert_eq!(server.validate(&buyer), expected, "{server:?}");
    }
    // What is valid can be paid: by its last block for funding, with all its confirmations.
    let tight = ServerPolicy {
        refund_delta: BlockDelta(smallest),
        ..server
    };
    let timeout = tight.timeout(Height(1_000)).expect("a height");
    let pay = Paying {
        timeout,
        pay_by: Height(timeout.0 - tight.claim_window.0),
        tip: Height(1_000 + 120 + 6),
        confirmations: 6,
        min_confirmations: 6,
    };
    assert_eq!(buyer.may_pay(&pay), Ok(()));
}

#[test]
fn timeouts_and_confirmations_have_limits() {
    let server = ServerPolicy::DEFAULT;
    assert_eq!(server.timeout(Height(1_000)), Ok(Height(3_000)));
    assert_eq!(
        server.timeout(Height(499_998_000)),
        Err(PolicyError::Timeout)
    );
    assert_eq!(server.timeout(Height(u32::MAX)), Err(PolicyError::Timeout));
    assert_eq!(server.confirmations(0), Ok(1));
    assert_eq!(server.confirmations(6), Ok(6));
    assert_eq!(
        server.confirmations(7),
        Err(PolicyError::TooManyConfirmations { asked: 7, cap: 6 })
    );
}
