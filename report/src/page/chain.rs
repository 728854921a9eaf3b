//! The transactions of a run: which HTLCs and channels they fund, what they spend, and whose they are.

use std::collections::HashMap;

use bitcoin_hashes::{Hash as _, sha256};
use swaprig_record::{Chain, Channel, Contents, Event, Htlc, Input, Tx};

/// A transaction and what became of it.
#[derive(Debug)]
pub(super) struct TxInfo<'a> {
    /// Its event.
    pub n: usize,
    /// When it was seen first, in microseconds.
    pub t: u64,
    pub tx: &'a Tx,
    /// The blocks that took it in, several after a reorganisation: event and height.
    pub confirmed: Vec<(usize, u32)>,
    /// It was dropped, and not confirmed afterwards.
    pub dropped: bool,
    /// The HTLCs that its outputs fund: output and place in [`Txs::htlcs`].
    pub funds: Vec<(usize, usize)>,
    /// The HTLCs that its inputs spend.
    pub spends: Vec<HtlcSpend>,
    /// Its output that funds a channel.
    pub opens: Option<(usize, &'a Channel)>,
    /// The channel whose funding output it spends.
    pub closes: Option<&'a Channel>,
}

/// An input that spends an HTLC's output.
#[derive(Debug, Clone)]
pub(super) struct HtlcSpend {
    /// Which input.
    pub input: usize,
    /// Which HTLC, in [`Txs::htlcs`].
    pub htlc: usize,
    pub path: Path,
}

/// The way in which an HTLC's output was spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// With the preimage, which is this.
    Claim(String),
    /// Without it, at or after the timeout.
    Refund,
    /// With one signature that both have made.
    Cooperative,
    /// In a way that the witness does not tell, or that was not recorded.
    Unknown,
}

/// An HTLC, and the transactions that concern it.
#[derive(Debug)]
pub(super) struct HtlcInfo<'a> {
    /// Its event.
    pub n: usize,
    pub htlc: &'a Htlc,
    /// What the scenario calls what it belongs to.
    pub called: Option<String>,
    /// Transactions that fund it, and with which output.
    pub funded: Vec<(usize, usize)>,
    /// Transactions that spend it.
    pub spent: Vec<(usize, Path)>,
}

impl HtlcInfo<'_> {
    /// What it is called: its name in the scenario, or the beginning of its hash.
    pub(super) fn name(&self) -> String {
        let short = || super::words::short(&self.htlc.hash);
        let name = self.htlc.name.as_ref().or(self.called.as_ref());
        name.cloned().unwrap_or_else(short)
    }
}

/// An output: its chain, transaction and place.
type Outpoint<'a> = (Chain, &'a str, u32);

/// All transactions of a run.
#[derive(Debug, Default)]
pub(super) struct Txs<'a> {
    pub all: Vec<TxInfo<'a>>,
    pub htlcs: Vec<HtlcInfo<'a>>,
    by_address: HashMap<(Chain, &'a str), usize>,
    by_id: HashMap<(Chain, &'a str), usize>,
    /// Who spends an output: transaction and input.
    spenders: HashMap<Outpoint<'a>, Vec<(usize, usize)>>,
}

impl<'a> Txs<'a> {
    /// Reads all transactions of `contents`.
    pub(super) fn of(contents: &'a Contents) -> Self {
        let mut txs = Txs::default();
        let mut channels = Vec::new();
        for (n, line) in contents.lines.iter().enumerate() {
            match &line.event {
                Event::Tx(tx) => txs.add(n, line.t, tx),
                Event::Confirmed(seen) => {
                    if let Some(at) = txs.find(seen.chain, &seen.txid) {
                        txs.all[at].confirmed.push((n, seen.height));
                        txs.all[at].dropped = false;
                    }
                }
                Event::Dropped(gone) => {
                    if let Some(at) = txs.find(gone.chain, &gone.txid) {
                        txs.all[at].dropped = true;
                    }
                }
                Event::Htlc(htlc) => txs.add_htlc(n, htlc),
                Event::Channel(channel) => channels.push(channel),
                _ => {}
            }
        }
        txs.name_channels(&channels);
        txs.name_htlcs();
        txs
    }

    /// The transaction `txid`, where it was seen.
    pub(super) fn find(&self, chain: Chain, txid: &str) -> Option<usize> {
        self.by_id.get(&(chain, txid)).copied()
    }

    /// What an HTLC is called.
    pub(super) fn htlc_name(&self, htlc: &Htlc) -> String {
        let known = self.by_address.get(&(htlc.chain, &*htlc.address));
        known.map_or_else(String::new, |at| self.htlcs[*at].name())
    }

    /// Who spends output `vout` of `txid`: transactions and their inputs.
    pub(super) fn spenders<'b>(
        &'b self,
        chain: Chain,
        txid: &'b str,
        vout: usize,
    ) -> &'b [(usize, usize)] {
        u32::try_from(vout)
            .ok()
            .and_then(|vout| self.spenders.get(&(chain, txid, vout)))
            .map_or(&[], Vec::as_slice)
    }

    /// Who made transaction `at`, where its HTLC tells: whoever claims, whoever takes back, whoever funds what he can take back.
    pub(super) fn sender(&self, at: usize) -> Option<&'a str> {
        let tx = &self.all[at];
        for spend in &tx.spends {
            let htlc = self.htlcs[spend.htlc].htlc;
            let who = match spend.path {
                Path::Claim(_) => htlc.claimer.as_deref(),
                Path::Refund => htlc.refunder.as_deref(),
                Path::Cooperative | Path::Unknown => None,
            };
            if who.is_some() {
                return who;
            }
        }
        let funded = tx.funds.first()?;
        self.htlcs[funded.1].htlc.refunder.as_deref()
    }

    /// What transaction `at` is, in a few words.
    pub(super) fn what(&self, at: usize) -> String {
        let tx = &self.all[at];
        let mut parts: Vec<String> = Vec::new();
        for spend in &tx.spends {
            let verb = match spend.path {
                Path::Claim(_) => "claims",
                Path::Refund => "refunds",
                Path::Cooperative => "spends co-operatively",
                Path::Unknown => "spends",
            };
            parts.push(format!("{verb} HTLC {}", self.htlcs[spend.htlc].name()));
        }
        for (_, htlc) in &tx.funds {
            parts.push(format!("funds HTLC {}", self.htlcs[*htlc].name()));
        }
        if let Some((_, channel)) = tx.opens {
            parts.push(format!("funds the channel {}", ends(channel)));
        }
        if let Some(channel) = tx.closes {
            parts.push(format!("closes the channel {}", ends(channel)));
        }
        parts.dedup();
        match parts.len() {
            0 => "transaction".to_owned(),
            1..=3 => parts.join(", "),
            many => format!("{} and {} more", parts[..2].join(", "), many - 2),
        }
    }

    fn add(&mut self, n: usize, t: u64, tx: &'a Tx) {
        let at = self.all.len();
        if self.by_id.contains_key(&(tx.chain, &*tx.txid)) {
            return;
        }
        self.by_id.insert((tx.chain, &tx.txid), at);
        for (number, input) in tx.inputs.iter().enumerate() {
            let output = (tx.chain, &*input.txid, input.vout);
            self.spenders.entry(output).or_default().push((at, number));
        }
        self.all.push(TxInfo {
            n,
            t,
            tx,
            confirmed: Vec::new(),
            dropped: false,
            funds: Vec::new(),
            spends: Vec::new(),
            opens: None,
            closes: None,
        });
    }

    fn add_htlc(&mut self, n: usize, htlc: &'a Htlc) {
        let next = self.htlcs.len();
        if *(self.by_address.entry((htlc.chain, &htlc.address))).or_insert(next) == next {
            self.htlcs.push(HtlcInfo {
                n,
                htlc,
                called: None,
                funded: Vec::new(),
                spent: Vec::new(),
            });
        }
    }

    fn name_htlcs(&mut self) {
        for at in 0..self.all.len() {
            let tx = self.all[at].tx;
            for (vout, output) in tx.outputs.iter().enumerate() {
                let Some(address) = output.address.as_deref() else {
                    continue;
                };
                let Some(&htlc) = self.by_address.get(&(tx.chain, address)) else {
                    continue;
                };
                self.all[at].funds.push((vout, htlc));
                self.htlcs[htlc].funded.push((at, vout));
                for (spender, input) in self.spenders(tx.chain, &tx.txid, vout).to_vec() {
                    let spending = self.all[spender].tx;
                    let path = path(spending, &spending.inputs[input], self.htlcs[htlc].htlc);
                    self.htlcs[htlc].spent.push((spender, path.clone()));
                    self.all[spender]
                        .spends
                        .push(HtlcSpend { input, htlc, path });
                }
            }
        }
    }

    fn name_channels(&mut self, channels: &[&'a Channel]) {
        for channel in channels {
            let Some((txid, vout)) = (channel.funding.as_deref())
                .and_then(|outpoint| outpoint.split_once(':'))
                .and_then(|(txid, vout)| Some((txid, vout.parse::<usize>().ok()?)))
            else {
                continue;
            };
            if let Some(at) = self.find(Chain::Bitcoin, txid) {
                self.all[at].opens.get_or_insert((vout, channel));
            }
            if let Some((at, _)) = self.spenders(Chain::Bitcoin, txid, vout).last().copied() {
                self.all[at].closes.get_or_insert(channel);
            }
        }
    }
}

/// `alice–bob`, or as much of it as is known.
pub(super) fn ends(channel: &Channel) -> String {
    match &channel.peer {
        Some(peer) if *peer < channel.node => format!("{peer}–{}", channel.node),
        Some(peer) => format!("{}–{peer}", channel.node),
        None => format!("of {}", channel.node),
    }
}

fn path(tx: &Tx, input: &Input, htlc: &Htlc) -> Path {
    if let Some(preimage) = (input.witness.iter()).find(|item| is_preimage(item, &htlc.hash)) {
        return Path::Claim(preimage.clone());
    }
    match input.witness.as_slice() {
        [] => Path::Unknown,
        // A Schnorr signature, perhaps with its hash type: the key path of a taproot output.
        [one] if matches!(one.len(), 128 | 130) => Path::Cooperative,
        _ if tx.lock_time >= htlc.timeout => Path::Refund,
        _ => Path::Unknown,
    }
}

fn is_preimage(item: &str, hash: &str) -> bool {
    item.len() == 64
        && bytes(item)
            .is_some_and(|item| sha256::Hash::hash(&item).to_string() == hash.to_lowercase())
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok())
        .collect()
}
