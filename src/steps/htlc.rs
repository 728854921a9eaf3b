//! The steps that make HTLCs and pay into them, and the HTLC on Liquid; that on Bitcoin is `taproot`'s.

use bitcoin::secp256k1::SecretKey;
use elements::{Address, AddressParams, AssetId, Script};
use swaprig_harness::server::ServerSpec;
use swaprig_harness::world::Recipient;
use swaprig_record::{Chain, Event};
use swaprig_scenarios::lang::{Arg, AssetOf, Bind, EntityType, LiquidAmount, StepCx, Table, Value};
use swaprig_scenarios::run::{Run, Step, StepFailure};
use swaprig_scenarios::{entity, step, words};
use swaprig_units::{BlockDelta, Height, PaymentHash, Preimage, Sat, Units};

use super::secrets::{public, secret_key};
use super::taproot::{self, Parts};
use super::{BitcoinHtlc, HtlcOf, HtlcTransaction, Internal, KeyOf, Purse};

words! {
    /// A chain with HTLCs that steps know.
    pub enum HtlcChain("chain of HTLCs") {
        /// Liquid.
        Liquid = "liquid",
        /// Bitcoin.
        Bitcoin = "bitcoin",
    }
}

entity! {
    /// A hashed timelock contract on Liquid: its claimer can spend it with the preimage, its refunder from the timeout on.
    pub struct Htlc("htlc") {
        known {
            /// The unconfidential address of its script (P2WSH).
            address: String,
            /// Its witness script, in hexadecimal digits.
            script: String,
            /// The hash whose preimage opens it.
            hash: PaymentHash,
            /// The public key of who can claim it.
            claimer: String,
            /// The public key of who can take it back.
            refunder: String,
            /// The height from which on it can be taken back (BIP 65).
            timeout: Height,
        }
        late {}
        live {
            /// The L-BTC that blocks have locked in it, and no block has taken out. Blinded outputs do not count.
            funded: Sat,
            /// The same of the asset that it was made for.
            funded_units: Units,
            /// What spends it first, in a block or waiting for one; none while nothing does.
            spent_by: bitcoin::Txid,
            /// The preimage, once a claim that is in a block or waits for one has told it.
            preimage: Preimage,
        }
        private {
            /// Its witness script.
            witness_script: Script,
            /// The asset that it was made for.
            asset: AssetId,
            /// The claimer's key, where the scenario has it.
            claimer_key: Option<SecretKey>,
            /// The refunder's key, where the scenario has it.
            refunder_key: Option<SecretKey>,
            /// The tip when it was made: nothing was paid to it before.
            since: Height,
        }
    }
}

step! {
    /// Makes an HTLC of the same shape as the swaps' own: a script on Liquid, a taproot output on Bitcoin. Nothing is sent by
    /// it; what is in it belongs, for the money oracle, to the HTLC itself. On Bitcoin `as` names a bitcoin htlc.
    pub struct MakeHtlc("htlc") -> MadeHtlc {
        /// On which chain.
        htlc: HtlcChain,
        /// The payment hash.
        hash: Arg<PaymentHash>,
        /// Who can spend it with the preimage.
        claimer: KeyOf,
        /// Who can spend it at the timeout.
        refunder: KeyOf,
    } optional {
        /// The height from which on the refunder can spend it.
        timeout: Option<Arg<Height>> = None,
        /// The same, counted from the tip when the step runs.
        timeout_in: Option<BlockDelta> = None,
        /// On Liquid, the asset that it is for, which `funded_units` counts.
        asset: AssetOf = AssetOf::Lbtc,
        /// On Bitcoin, whose the internal key is.
        internal: Internal = Internal::Musig2,
    }
    output made_on;
    keys has_one_timeout;
    check is_of_its_chain;
}

/// What the step binds.
#[derive(Debug, Clone)]
pub enum MadeHtlc {
    /// On Liquid.
    Liquid(Box<Htlc>),
    /// On Bitcoin.
    Bitcoin(Box<BitcoinHtlc>),
}

impl Bind for MadeHtlc {
    const ENTITY: Option<&'static EntityType> = Some(Htlc::ENTITY_TYPE);

    fn bind(self) -> Option<Value> {
        match self {
            MadeHtlc::Liquid(htlc) => htlc.bind(),
            MadeHtlc::Bitcoin(htlc) => htlc.bind(),
        }
    }
}

fn made_on(table: &Table<'_>, _servers: &[ServerSpec]) -> Option<&'static EntityType> {
    let chain = table.get("htlc").and_then(|chain| chain.get_ref().as_str());
    Some(match chain == Some(HtlcChain::Bitcoin.as_str()) {
        true => BitcoinHtlc::ENTITY_TYPE,
        false => Htlc::ENTITY_TYPE,
    })
}

fn has_one_timeout(cx: &mut StepCx<'_>) -> bool {
    let span = cx.key_span("htlc");
    match (cx.has("timeout"), cx.has("timeout_in")) {
        (true, false) | (false, true) => true,
        (false, false) => {
            cx.problem(span, "`htlc` has no timeout")
                .label("when can it be taken back?")
                .help("add timeout = 2_000, a height, or timeout_in = 1_440, blocks from now on");
            false
        }
        (true, true) => {
            let (one, two) = (cx.key_span("timeout"), cx.key_span("timeout_in"));
            cx.problem(two, "`timeout_in` beside `timeout`")
                .label("one too many")
                .also(one, "the first")
                .help("leave one of the two out");
            false
        }
    }
}

/// From this number on a locktime is a time and no height (BIP 65).
const NO_HEIGHT: u32 = 500_000_000;

fn is_of_its_chain(step: &MakeHtlc, cx: &mut StepCx<'_>) -> bool {
    let span = cx.key_span("htlc");
    let sound = match step.htlc {
        HtlcChain::Liquid => cx.needs_liquid(span) && is_not_there("internal", "Bitcoin", cx),
        HtlcChain::Bitcoin => is_not_there("asset", "Liquid", cx),
    };
    sound && is_after_some_block(step, cx)
}

/// Whether a key is absent that only HTLCs on `chain` have; when not, that is said.
pub(super) fn is_not_there(key: &str, chain: &str, cx: &mut StepCx<'_>) -> bool {
    if !cx.has(key) {
        return true;
    }
    let (span, title) = (cx.key_span(key), format!("`{key}` is for HTLCs on {chain}"));
    cx.problem(span, title)
        .label("the HTLC is on the other chain")
        .help("leave it out");
    false
}

fn is_after_some_block(step: &MakeHtlc, cx: &mut StepCx<'_>) -> bool {
    let Some(Arg::Literal(Height(height))) = step.timeout else {
        return true;
    };
    if (1..NO_HEIGHT).contains(&height) {
        return true;
    }
    let span = cx.value_span("timeout");
    cx.problem(span, format!("an HTLC cannot time out at {height}"))
        .label("no height of a block")
        .help(format!("write a height from 1 to {}", NO_HEIGHT - 1));
    false
}

step! {
    /// Pays into an HTLC, by an explicit output of exactly this amount: the sender pays the fee on top. It can be relied
    /// on after one `mine` on its chain. `times = 2` pays twice.
    pub struct FundHtlc("fund_htlc") -> HtlcTransaction {
        /// Which HTLC.
        fund_htlc: HtlcOf,
        /// How much.
        amount: LiquidAmount,
    } optional {
        /// On Liquid, of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Whose coins: of a wallet on Liquid, of the on-chain wallet of a Lightning node, or of the faucet of either chain.
        by: Purse = Purse::faucet(),
        /// On Liquid, whether the output is blinded, to a key that only this step had: a lie that nobody can read, or spend.
        blinded: bool = false,
    }
    check sends_something;
}

fn sends_something(step: &FundHtlc, cx: &mut StepCx<'_>) -> bool {
    let sound = match &step.fund_htlc {
        HtlcOf::Liquid(_) => true,
        HtlcOf::Bitcoin(_) => {
            is_not_there("asset", "Liquid", cx)
                && is_not_there("blinded", "Liquid", cx)
                && is_in_sat(&step.amount, cx)
        }
    };
    sound && step.by.is_on_chain(&step.fund_htlc, "by", cx) && step.amount.fits(&step.asset, cx)
}

fn is_in_sat(amount: &LiquidAmount, cx: &mut StepCx<'_>) -> bool {
    if matches!(amount, LiquidAmount::Sat(_)) {
        return true;
    }
    let span = cx.value_span("amount");
    cx.problem(span, "coins on Bitcoin are not counted in units")
        .label("an amount in units")
        .help("write satoshis: \"50_000 sat\"");
    false
}

impl Step for MakeHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<MadeHtlc, StepFailure> {
        let hash = run.get(&self.hash).await?;
        let (claimer, claimer_key) = self.claimer.get("claimer", run).await?;
        let (refunder, refunder_key) = self.refunder.get("refunder", run).await?;
        let fail = |error| StepFailure::from(run.world.error(error));
        let since = match self.htlc {
            HtlcChain::Liquid => {
                let rpc = run.world.liquid()?.elementsd().rpc();
                rpc.tip(run.deadline).await.map_err(fail)?.height
            }
            HtlcChain::Bitcoin => {
                let rpc = run.world.bitcoind().rpc();
                rpc.tip(run.deadline).await.map_err(fail)?.height
            }
        };
        let htlc = crate::swap::Htlc {
            payment_hash: hash,
            claimer,
            refunder,
            timeout: self.timeout(since, run).await?,
        };
        let parts = Parts {
            htlc,
            claimer_key,
            refunder_key,
            since,
        };
        Ok(match self.htlc {
            HtlcChain::Liquid => MadeHtlc::Liquid(Box::new(self.on_liquid(parts, run).await?)),
            HtlcChain::Bitcoin => MadeHtlc::Bitcoin(Box::new(taproot::make(
                parts,
                self.internal.made(run),
                run,
            )?)),
        })
    }
}

impl MakeHtlc {
    async fn timeout(&self, since: Height, run: &Run<'_>) -> Result<Height, StepFailure> {
        let timeout = match (&self.timeout, self.timeout_in) {
            (Some(timeout), _) => run.get(timeout).await?,
            (None, Some(delta)) => Height(since.0.saturating_add(delta.0)),
            (None, None) => {
                return Err(StepFailure::refused(
                    "`htlc` needs `timeout` or `timeout_in`",
                ));
            }
        };
        match (1..NO_HEIGHT).contains(&timeout.0) {
            true => Ok(timeout),
            false => {
                let title = format!("an HTLC cannot time out at {timeout}");
                Err(StepFailure::refused(title).at("timeout"))
            }
        }
    }

    async fn on_liquid(&self, parts: Parts, run: &Run<'_>) -> Result<Htlc, StepFailure> {
        let htlc = parts.htlc;
        let witness_script = htlc.witness_script();
        let address = Address::p2wsh(&witness_script, None, &AddressParams::ELEMENTS);
        let owner = match run.name {
            Some(name) => format!("HTLC {name}"),
            None => format!("HTLC {}", htlc.payment_hash),
        };
        let liquid = run.world.liquid()?;
        liquid.belongs_to(address.script_pubkey(), owner);
        let asset = run.asset(&self.asset).await?;
        let told = swaprig_record::Htlc {
            name: run.name.map(str::to_owned),
            chain: Chain::Liquid,
            address: address.to_string(),
            hash: htlc.payment_hash.to_string(),
            timeout: htlc.timeout.0,
            value: None,
            asset: Some(super::recorded::asset(&asset.to_string())),
            claimer: None,
            refunder: None,
        };
        run.world.recorder().record(Event::Htlc(Box::new(told)));
        Ok(Htlc {
            address: address.to_string(),
            script: format!("{witness_script:x}"),
            hash: htlc.payment_hash,
            claimer: htlc.claimer.to_string(),
            refunder: htlc.refunder.to_string(),
            timeout: htlc.timeout,
            asset,
            witness_script,
            claimer_key: parts.claimer_key,
            refunder_key: parts.refunder_key,
            since: parts.since,
        })
    }
}

impl Step for FundHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<HtlcTransaction, StepFailure> {
        let htlc = match &self.fund_htlc {
            HtlcOf::Liquid(htlc) => run.get(htlc).await?,
            HtlcOf::Bitcoin(htlc) => {
                let htlc = run.get(htlc).await?;
                let LiquidAmount::Sat(amount) = &self.amount else {
                    let title = "coins on Bitcoin are not counted in units";
                    return Err(StepFailure::refused(title).at("amount"));
                };
                return taproot::fund(&htlc, run.get(amount).await?, &self.by, run).await;
            }
        };
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let blinder = self.blinded.then(|| public(&secret_key(run)));
        let address = Address::p2wsh(&htlc.witness_script, blinder, &AddressParams::ELEMENTS);
        let to = Recipient::Address(address);
        let sent = run.world.send_liquid(&self.by.0, &to, amount, run.deadline);
        let txid = sent.await?;
        let chain = Chain::Liquid;
        Ok(HtlcTransaction { txid, chain })
    }
}
