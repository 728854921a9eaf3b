//! The money of servers on Liquid, as the oracle counts it: by a descriptor, and in the HTLCs that a server lists.

use std::collections::HashSet;

use elements::{Script, TxOut};
use swaprig_harness::World;
use swaprig_harness::elementsd::AssetAmount;

use super::StepFailure;
use super::books_htlcs::Listing;
use super::ct::Wallet;
use crate::lang::{LiquidBooks, ServerBooks};

/// One server's books on Liquid, and what was learnt from them.
#[derive(Debug)]
pub(super) struct Book {
    books: ServerBooks,
    /// The wallet of its descriptor, with the text that it was read from.
    wallet: Option<(String, Wallet)>,
    /// How its HTLCs are asked for.
    listing: Option<Listing>,
    /// The scripts of those on Liquid that it has listed so far.
    htlcs: HashSet<Script>,
}

/// What a look at the books brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Learnt {
    /// Everything that they say.
    All,
    /// The server is down, so that it cannot be told whose an unknown output is.
    Down,
    /// Not everything, for this reason.
    NotAll(String),
}

/// Whose an output is.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) owner: String,
    /// What is in it; `None` when that is blinded to a key that the books do not have.
    pub(super) amount: Option<AssetAmount>,
}

impl Book {
    pub(super) fn new(books: &ServerBooks) -> Option<Self> {
        let by_descriptor = matches!(
            books.liquid,
            Some(LiquidBooks::Descriptor(_) | LiquidBooks::DescriptorFile(_))
        );
        (by_descriptor || books.htlcs.is_some()).then(|| Book {
            books: books.clone(),
            wallet: None,
            listing: Listing::new(books),
            htlcs: HashSet::new(),
        })
    }

    /// Reads the descriptor and asks for the HTLCs, as they are now.
    ///
    /// # Errors
    /// When what is there cannot be read, or the server refuses.
    pub(super) async fn learn(&mut self, world: &World) -> Result<Learnt, StepFailure> {
        let wallet = self.learn_wallet(world)?;
        let Some(listing) = &mut self.listing else {
            return Ok(wallet);
        };
        let Some(listed) = listing.ask(world).await? else {
            return Ok(Learnt::Down);
        };
        self.htlcs.extend(listed.liquid);
        Ok(wallet)
    }

    fn learn_wallet(&mut self, world: &World) -> Result<Learnt, StepFailure> {
        let (text, place) = match &self.books.liquid {
            None | Some(LiquidBooks::Wallet(_)) => return Ok(Learnt::All),
            Some(LiquidBooks::Descriptor(text)) => (text.clone(), "its descriptor".to_owned()),
            Some(LiquidBooks::DescriptorFile(path)) => {
                let server = world.server(&self.books.server)?;
                let path = server.dir().join(path);
                match std::fs::read_to_string(&path) {
                    Ok(text) => (text.trim().to_owned(), path.display().to_string()),
                    Err(_) if server.running().exit().is_some() => return Ok(Learnt::Down),
                    Err(error) => {
                        let why = format!("{} cannot be read: {error}", path.display());
                        return Ok(Learnt::NotAll(why));
                    }
                }
            }
        };
        if self
            .wallet
            .as_ref()
            .is_some_and(|(known, _)| *known == text)
        {
            return Ok(Learnt::All);
        }
        let wallet = Wallet::parse(&text).map_err(|why| {
            let title = format!(
                "the books of the server `{}` cannot be read: {place} is no CT descriptor: {why}",
                self.books.server
            );
            StepFailure::refused(title)
        })?;
        self.wallet = Some((text, wallet));
        Ok(Learnt::All)
    }

    /// Whether an output is the server's, as far as its books are known; `blinded` is the whole of one that is.
    pub(super) fn owner(
        &mut self,
        script: &Script,
        amount: Option<AssetAmount>,
        blinded: Option<&TxOut>,
    ) -> Option<Owned> {
        let server = &self.books.server;
        if self.htlcs.contains(script) {
            let owner = format!("{server} (HTLCs)");
            return Some(Owned { owner, amount });
        }
        let (_, wallet) = self.wallet.as_mut()?;
        if !wallet.owns(script) {
            return None;
        }
        let amount = amount.or_else(|| wallet.unblind(blinded?));
        let owner = format!("{server} (descriptor)");
        Some(Owned { owner, amount })
    }
}
