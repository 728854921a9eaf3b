//! Methods that answer once a block has come: what they wait for. Whoever serves them does the waiting.

use std::time::{Duration, Instant};

use elements::BlockHash;
use tokio::sync::watch;

use super::args;
use super::error::RpcResult;
use super::json::{Json, Object};
use super::request::Call;
use crate::node::Tip;

/// What the tip has to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Another one.
    Not(Tip),
    /// This block.
    Block(BlockHash),
    /// A block at least so high.
    Height(i32),
}

impl Wanted {
    fn is_met(self, tip: &Tip) -> bool {
        match self {
            Wanted::Not(old) => *tip != old,
            Wanted::Block(hash) => tip.hash == hash,
            Wanted::Height(height) => i64::from(tip.height) >= i64::from(height),
        }
    }
}

/// A wait that is not over.
#[derive(Debug)]
pub struct Wait {
    wanted: Wanted,
    /// None to wait for as long as it takes.
    until: Option<Instant>,
    tips: watch::Receiver<Tip>,
}

impl Wait {
    /// What a call has to wait for before it is run; nothing for most methods.
    ///
    /// # Errors
    /// When the parameters are of the wrong kind.
    pub(super) fn before(name: &str, call: Call<'_>) -> RpcResult<Option<Self>> {
        let (wanted, timeout) = match name {
            "waitfornewblock" => (None, 0),
            "waitforblock" => {
                let hash = args::block_hash(call.args.get(0), "blockhash")?;
                (Some(Wanted::Block(hash)), 1)
            }
            "waitforblockheight" => (Some(Wanted::Height(call.args.int(0)?)), 1),
            _ => return Ok(None),
        };
        let timeout = call.args.opt_int(timeout)?.unwrap_or(0);
        let tips = call.shared.lock().tips();
        let tip = *tips.borrow();
        let wanted = wanted.unwrap_or(Wanted::Not(tip));
        // As with elementsd, no time at all is all the time there is, and less than that is none.
        let until = match u64::try_from(timeout) {
            Ok(0) => None,
            Ok(milliseconds) => Some(Instant::now() + Duration::from_millis(milliseconds)),
            Err(_) => return Ok(None),
        };
        Ok((!wanted.is_met(&tip)).then_some(Wait {
            wanted,
            until,
            tips,
        }))
    }

    /// Returns when it is over: the tip is what was wanted, the time has run out, or the node stops.
    #[expect(
        clippy::disallowed_methods,
        reason = "the caller says for how long the node is to wait"
    )]
    pub async fn over(mut self, is_stopping: &mut watch::Receiver<bool>) {
        let met = self.tips.wait_for(|tip| self.wanted.is_met(tip));
        let late = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the state is gone.
            _ = met => {}
            () = late => {}
            () = crate::http::stopping(is_stopping) => {}
        }
    }
}

/// What all of these methods answer in the end: the tip, whatever it is.
pub(super) fn tip(call: Call<'_>) -> RpcResult {
    let tip = call.shared.lock().node.tip();
    let mut out = Object::new();
    out.put("hash", tip.hash.to_string());
    out.put("height", tip.height);
    Ok(Json::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_waited_for() {
        let tip = |byte: u8, height| Tip {
            hash: BlockHash::from_byte_array([byte; 32]),
            height,
        };
        let now = tip(1, 7);
        for (wanted, met) in [
            (Wanted::Not(now), false),
            (Wanted::Not(tip(2, 7)), true),
            (Wanted::Not(tip(1, 6)), true),
            (Wanted::Block(now.hash), true),
            (Wanted::Block(tip(2, 7).hash), false),
            (Wanted::Height(-1), true),
            (Wanted::Height(7), true),
            (Wanted::Height(8), false),
        ] {
            assert_eq!(wanted.is_met(&now), met, "{wanted:?}");
        }
    }
}
