//! HTLCs on Liquid: making their script, and paying to it.

use bitcoin::secp256k1::SecretKey;
use elements::{Address, AddressParams, AssetId, Script};
use swaprig_harness::elementsd::FAUCET;
use swaprig_harness::world::Recipient;
use swaprig_record::{Chain, Event};
use swaprig_scenarios::LiquidTransaction;
use swaprig_scenarios::lang::{Arg, AssetOf, LiquidAmount, StepCx, Wallet};
use swaprig_scenarios::run::{Run, Step, StepFailure};
use swaprig_scenarios::{entity, step, words};
use swaprig_units::{BlockDelta, Height, PaymentHash, Preimage, Sat, Units};

use super::KeyOf;
use super::secrets::{public, secret_key};

words! {
    /// A chain with HTLCs that steps know.
    pub enum HtlcChain("chain of HTLCs") {
        /// Liquid.
        Liquid = "liquid",
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
    /// Makes an HTLC of the same shape as the swaps' own. Nothing is sent by it; what is in it belongs, for the money
    /// oracle, to the HTLC itself.
    pub struct MakeHtlc("htlc") -> Htlc {
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
        /// The asset that it is for, which `funded_units` counts.
        asset: AssetOf = AssetOf::Lbtc,
    }
    keys has_one_timeout;
    check is_after_some_block;
}

fn has_one_timeout(cx: &mut StepCx<'_>) -> bool {
    let span = cx.key_span("htlc");
    if !cx.needs_liquid(span.clone()) {
        return false;
    }
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
    /// on after one `mine` on Liquid. `times = 2` pays twice.
    pub struct FundHtlc("fund_htlc") -> LiquidTransaction {
        /// Which HTLC.
        fund_htlc: Arg<Htlc>,
        /// How much.
        amount: LiquidAmount,
    } optional {
        /// Of which asset.
        asset: AssetOf = AssetOf::Lbtc,
        /// Whose coins.
        by: Wallet = Wallet(FAUCET.to_owned()),
        /// Whether the output is blinded, to a key that only this step had: a lie that nobody can read, or spend.
        blinded: bool = false,
    }
    check sends_something;
}

fn sends_something(step: &FundHtlc, cx: &mut StepCx<'_>) -> bool {
    step.amount.fits(&step.asset, cx)
}

impl Step for MakeHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<Htlc, StepFailure> {
        let hash = run.get(&self.hash).await?;
        let (claimer, claimer_key) = self.claimer.get("claimer", run).await?;
        let (refunder, refunder_key) = self.refunder.get("refunder", run).await?;
        let liquid = run.world.liquid()?;
        let tip = liquid.elementsd().rpc().tip(run.deadline).await;
        let since = tip.map_err(|error| run.world.error(error))?.height;
        let timeout = match (&self.timeout, self.timeout_in) {
            (Some(timeout), _) => run.get(timeout).await?,
            (None, Some(delta)) => Height(since.0.saturating_add(delta.0)),
            (None, None) => {
                return Err(StepFailure::refused(
                    "`htlc` needs `timeout` or `timeout_in`",
                ));
            }
        };
        if !(1..NO_HEIGHT).contains(&timeout.0) {
            let title = format!("an HTLC cannot time out at {timeout}");
            return Err(StepFailure::refused(title).at("timeout"));
        }
        let contract = crate::swap::Htlc {
            payment_hash: hash,
            claimer,
            refunder,
            timeout,
        };
        let witness_script = contract.witness_script();
        let address = Address::p2wsh(&witness_script, None, &AddressParams::ELEMENTS);
        let owner = match run.name {
            Some(name) => format!("HTLC {name}"),
            None => format!("HTLC {hash}"),
        };
        liquid.belongs_to(address.script_pubkey(), owner);
        let asset = run.asset(&self.asset).await?;
        let told = swaprig_record::Htlc {
            name: run.name.map(str::to_owned),
            chain: Chain::Liquid,
            address: address.to_string(),
            hash: hash.to_string(),
            timeout: timeout.0,
            value: None,
            asset: Some(super::recorded::asset(&asset.to_string())),
            claimer: None,
            refunder: None,
        };
        run.world.recorder().record(Event::Htlc(Box::new(told)));
        Ok(Htlc {
            address: address.to_string(),
            script: format!("{witness_script:x}"),
            hash,
            claimer: claimer.to_string(),
            refunder: refunder.to_string(),
            timeout,
            asset,
            witness_script,
            claimer_key,
            refunder_key,
            since,
        })
    }
}

impl Step for FundHtlc {
    async fn run(&self, run: &Run<'_>) -> Result<LiquidTransaction, StepFailure> {
        let htlc = run.get(&self.fund_htlc).await?;
        let amount = run.liquid_amount(&self.asset, &self.amount).await?;
        let blinder = self.blinded.then(|| public(&secret_key(run)));
        let address = Address::p2wsh(&htlc.witness_script, blinder, &AddressParams::ELEMENTS);
        let to = Recipient::Address(address);
        let sent = run.world.send_liquid(&self.by.0, &to, amount, run.deadline);
        Ok(LiquidTransaction { txid: sent.await? })
    }
}
