//! What the machine is told when it is drawn, with what it is called. Each observation differs from "nothing new" in what its
//! name says.

use bitcoin::OutPoint;
use swaprig_units::{Height, Preimage, Units};

use crate::swap::machine::{LOST_MARGIN, UNSENT_MARGIN, funding_deadline, pay_by};
use crate::swap::state::{
    ChainName, ChainSpend, ChainState, Depth, Direction, Event, FailureReason, FundingTx,
    Observation, Output, Payment, Phase, Sent, Spend, Swap, Terms, Tips,
};
use crate::swap::view::may_cosign;

/// An event, what it is called, and whether it comes to a swap: the machine takes much that never comes.
pub(super) struct Told {
    pub(super) name: &'static str,
    pub(super) event: Event,
    pub(super) comes: fn(&Swap) -> bool,
}

fn always(_: &Swap) -> bool {
    true
}

fn funded(swap: &Swap) -> bool {
    swap.funding.is_some()
}

fn unfunded(swap: &Swap) -> bool {
    swap.funding.is_none()
}

/// Of a payment that is held first the funding window decides nothing any more once it is funded, and `pay_by` never does.
fn window_counts(swap: &Swap) -> bool {
    unfunded(swap) || swap.terms.direction == Direction::Out
}

fn pay_by_counts(swap: &Swap) -> bool {
    funded(swap) && swap.terms.direction == Direction::Out
}

fn refunded(swap: &Swap) -> bool {
    swap.phase == Phase::Refunded
}

fn cosigned(swap: &Swap) -> bool {
    funded(swap) && swap.terms.internal.is_some() && may_cosign(swap)
}

fn paying(swap: &Swap) -> bool {
    swap.settle_tried && !swap.never_settle && !swap.paid
}

fn paid(swap: &Swap) -> bool {
    swap.paid
}

/// All that can happen to a swap.
pub(super) fn events(start: &Swap, funding: &FundingTx, preimage: Preimage) -> Vec<Told> {
    let scene = Scene {
        terms: &start.terms,
        funding,
        preimage,
    };
    let parts = match start.terms.direction {
        Direction::Out => vec![scene.making(), scene.out()],
        Direction::OutHeld => vec![scene.making(), scene.out(), scene.held()],
        Direction::In => vec![scene.locked_by_client(), scene.paid_by_server()],
    };
    parts.into_iter().flatten().collect()
}

/// What all events of a drawing are about.
struct Scene<'a> {
    terms: &'a Terms,
    funding: &'a FundingTx,
    preimage: Preimage,
}

impl Scene<'_> {
    /// When a funding in the first block has its confirmations.
    fn early(&self) -> Height {
        Height(self.terms.made_at.0 + self.terms.min_confirmations)
    }

    fn confirmed(&self) -> Depth {
        Depth::Block(Height(self.terms.made_at.0 + 1))
    }

    /// The lapse of a payment that is held for long enough.
    fn lapse(&self) -> Height {
        Height(self.terms.timeout.0 + self.terms.refund_window.0)
    }

    /// The heights when that of its chain is `tip`. Of a swap on Liquid Bitcoin's stands still.
    fn tips(&self, tip: Height) -> Tips {
        match self.terms.chain {
            ChainName::Liquid => Tips {
                liquid: tip,
                bitcoin: Height(500),
                lightning: Height(500),
            },
            ChainName::Bitcoin => Tips {
                liquid: Height(0),
                bitcoin: tip,
                lightning: tip,
            },
        }
    }

    /// Those at which a payment that was held counts as lost.
    fn lost(&self) -> Tips {
        let lost = Height(self.lapse().0 + LOST_MARGIN.0 + 1);
        Tips {
            bitcoin: lost,
            lightning: lost,
            ..self.tips(match self.terms.chain {
                ChainName::Liquid => self.terms.timeout,
                ChainName::Bitcoin => lost,
            })
        }
    }

    fn spend(&self, spend: Spend, at: Height) -> Option<ChainSpend> {
        Some(ChainSpend {
            txid: self.funding.txid,
            spend,
            depth: Depth::Block(at),
            whole: true,
        })
    }

    /// What is seen of a funding by the server.
    fn look(
        &self,
        tips: Tips,
        funding: Depth,
        spend: Option<ChainSpend>,
        payment: Payment,
    ) -> Observation {
        Observation {
            tips,
            chain: Some(ChainState {
                outputs: Vec::new(),
                funding,
                conflicted: false,
                spend,
            }),
            payment,
        }
    }

    /// What is seen of coins that the client locked.
    fn look_at(&self, tip: Height, outputs: Vec<Output>, payment: Payment) -> Observation {
        Observation {
            tips: self.tips(tip),
            chain: Some(ChainState {
                outputs,
                funding: Depth::Unseen,
                conflicted: false,
                spend: None,
            }),
            payment,
        }
    }

    /// The agreed amount.
    fn coins(&self, depth: Depth, spend: Option<ChainSpend>) -> Vec<Output> {
        vec![Output {
            outpoint: self.funding.outpoint(),
            value: self.terms.amount,
            depth,
            spend,
        }]
    }

    fn other_coins(&self, depth: Depth) -> Vec<Output> {
        vec![Output {
            outpoint: OutPoint::new(self.funding.txid, self.funding.vout + 1),
            value: Units(self.terms.amount.0 - 1),
            depth,
            spend: None,
        }]
    }

    fn told(name: &'static str, event: Event, comes: fn(&Swap) -> bool) -> Told {
        Told { name, event, comes }
    }

    fn seen(name: &'static str, seen: Observation, comes: fn(&Swap) -> bool) -> Told {
        Scene::told(name, Event::Observed(seen), comes)
    }

    fn making(&self) -> Vec<Told> {
        let prepay = (self.terms.prepay.0 != 0).then(|| "prepay".to_owned());
        let invoice = "invoice".to_owned();
        let failed = Event::CreationFailed(FailureReason::Funding);
        let signed = Event::FundingSigned(self.funding.clone());
        vec![
            Scene::told(
                "invoice made",
                Event::InvoiceMade { invoice, prepay },
                always,
            ),
            Scene::told("prepaid", Event::Prepaid, always),
            Scene::told("creation failed", failed, always),
            Scene::told("funding signed", signed, always),
        ]
    }

    /// What happens to coins that the server locks.
    fn out(&self) -> Vec<Told> {
        let (terms, absent) = (self.terms, Payment::Absent);
        let (early, timeout) = (self.tips(self.early()), self.tips(terms.timeout));
        let held = Payment::Held {
            until: self.lapse(),
        };
        let confirmed = self.confirmed();
        let in_no_block = |tips| self.look(tips, Depth::Mempool, None, absent);
        let unspent = |tips, payment| self.look(tips, confirmed, None, payment);
        let spent = |tips: Tips, spend| {
            let spend = self.spend(spend, tips.of(terms.chain));
            self.look(tips, confirmed, spend, absent)
        };
        let mut conflicted = self.look(early, Depth::Unseen, None, absent);
        if let Some(chain) = &mut conflicted.chain {
            chain.conflicted = true;
        }
        let claim = Spend::Claim(self.preimage);
        let late = self.tips(funding_deadline(terms));
        let pay_by = self.tips(pay_by(terms));
        let force = Event::ForceRefund(unspent(self.lost(), absent));
        vec![
            Scene::seen("funding in no block", in_no_block(early), funded),
            Scene::seen("funding confirmed", unspent(early, absent), funded),
            Scene::seen("payment held", unspent(early, held), funded),
            Scene::seen(
                "payment arrived",
                unspent(early, Payment::Succeeded),
                funded,
            ),
            Scene::seen("funding window over", in_no_block(late), window_counts),
            Scene::seen("pay_by reached", unspent(pay_by, absent), pay_by_counts),
            Scene::seen("timeout reached", unspent(timeout, absent), funded),
            Scene::seen("claim in a block", spent(early, claim), funded),
            Scene::seen("refund in a block", spent(timeout, Spend::Refund), funded),
            Scene::seen(
                "signed together",
                spent(early, Spend::Cooperative),
                cosigned,
            ),
            Scene::seen("inputs spent otherwise", conflicted, funded),
            Scene::told("force refund, payment lost", force, always),
        ]
    }

    /// What happens besides when the payment is held first.
    fn held(&self) -> Vec<Told> {
        let early = self.tips(self.early());
        let held = Payment::Held {
            until: self.lapse(),
        };
        let before = |payment| Observation {
            tips: early,
            chain: None,
            payment,
        };
        let unspent = self.look(early, self.confirmed(), None, held);
        let claimed = self.spend(Spend::Claim(self.preimage), self.early());
        let claimed = self.look(early, self.confirmed(), claimed, held);
        let unseen = self.look(self.lost(), Depth::Unseen, None, Payment::Absent);
        let deep = self.tips(Height(self.terms.timeout.0 + self.terms.finality));
        let refund = self.spend(Spend::Refund, self.terms.timeout);
        let deep = self.look(deep, self.confirmed(), refund, held);
        vec![
            Scene::seen("payment held for long enough", before(held), unfunded),
            Scene::seen("payment gone", before(Payment::Absent), unfunded),
            Scene::told(
                "preimage shown",
                Event::PreimageShown(self.preimage, unspent),
                always,
            ),
            Scene::seen("claim in a block", claimed, funded),
            Scene::seen("refund deep enough", deep, refunded),
            Scene::seen("payment lapsed long ago, funding not seen", unseen, funded),
        ]
    }

    fn locked_by_client(&self) -> Vec<Told> {
        let (early, late) = (self.early(), funding_deadline(self.terms));
        let (confirmed, waits) = (self.confirmed(), Depth::Mempool);
        let look = |tip, outputs| self.look_at(tip, outputs, Payment::Absent);
        let cancel = |outputs| Event::CancelAsked(look(early, outputs));
        vec![
            Scene::seen("coins seen", look(early, self.coins(waits, None)), always),
            Scene::seen(
                "coins confirmed",
                look(early, self.coins(confirmed, None)),
                always,
            ),
            Scene::seen(
                "another amount seen",
                look(early, self.other_coins(waits)),
                always,
            ),
            Scene::seen(
                "another amount confirmed",
                look(early, self.other_coins(confirmed)),
                always,
            ),
            Scene::seen("no coins", look(early, Vec::new()), always),
            Scene::seen("funding window over", look(late, Vec::new()), always),
            Scene::seen(
                "funding window over",
                look(late, self.coins(waits, None)),
                always,
            ),
            Scene::told("cancel asked", cancel(Vec::new()), unfunded),
            Scene::told("cancel asked", cancel(self.coins(waits, None)), funded),
        ]
    }

    fn paid_by_server(&self) -> Vec<Told> {
        let (terms, confirmed) = (self.terms, self.confirmed());
        let (early, pay_by) = (self.early(), pay_by(terms));
        let unsent = Height(pay_by.0 + UNSENT_MARGIN.0);
        let arrived = Payment::Sent(Sent::Succeeded(self.preimage));
        let unspent = |tip, payment| self.look_at(tip, self.coins(confirmed, None), payment);
        let spent = |tip, spend, payment| {
            let spend = self.spend(spend, tip);
            self.look_at(tip, self.coins(confirmed, spend), payment)
        };
        let failed = Payment::Sent(Sent::Failed);
        let claim = spent(early, Spend::Claim(self.preimage), arrived);
        let refund = spent(terms.timeout, Spend::Refund, Payment::Absent);
        let together = spent(early, Spend::Cooperative, Payment::Absent);
        vec![
            Scene::seen("pay_by reached", unspent(pay_by, Payment::Absent), always),
            Scene::seen(
                "payment never sent",
                unspent(unsent, Payment::Absent),
                paying,
            ),
            Scene::seen("payment failed", unspent(early, failed), paying),
            Scene::seen("payment arrived", unspent(early, arrived), paying),
            Scene::seen("claim in a block", claim, paid),
            Scene::seen("client's refund in a block", refund, funded),
            Scene::seen("signed together", together, cosigned),
        ]
    }
}
