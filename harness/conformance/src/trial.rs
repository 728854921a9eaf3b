//! One run of one case: what it asks, what it sees, and what of that is not as it should be.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::electrum::Electrum;
use crate::lab::Lab;
use crate::observe::{Observation, mask, shape, told, type_of};
use crate::rpc::Reply;
use crate::tx::{Draft, Seeded};

/// Why a case cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stop(pub String);

impl From<crate::rpc::NoAnswer> for Stop {
    fn from(error: crate::rpc::NoAnswer) -> Self {
        Stop(error.to_string())
    }
}

impl From<crate::electrum::NoAnswer> for Stop {
    fn from(error: crate::electrum::NoAnswer) -> Self {
        Stop(error.to_string())
    }
}

/// A step of a case.
pub type Step<T> = Result<T, Stop>;

/// Something that was seen and is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The observation.
    pub label: String,
    /// What was seen.
    pub saw: String,
    /// What should have been.
    pub expected: String,
}

/// What a node has to say of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It goes into the mempool.
    Accepted,
    /// It does not.
    Refused {
        /// The `reject-reason` of `testmempoolaccept`.
        reason: &'a str,
        /// The code and message of `sendrawtransaction`'s error, such as `-26: dust`.
        error: &'a str,
    },
}

/// A run of a case.
#[derive(Debug)]
pub struct Trial<'l> {
    /// The daemons.
    pub lab: &'l mut Lab,
    /// Keys and blinding factors, the same ones in every run of the case.
    pub random: Seeded,
    seen: RefCell<Vec<Observation>>,
    unmet: RefCell<Vec<Unmet>>,
    index: Option<Electrum>,
}

/// What a run of a case brought.
#[derive(Debug, Clone)]
pub struct CaseRun {
    /// The case.
    pub name: &'static str,
    /// What was seen, in order.
    pub seen: Vec<Observation>,
    /// What was not as it should be.
    pub unmet: Vec<Unmet>,
    /// Why it did not get to its end.
    pub stopped: Option<String>,
    /// How long it took, without the start of its daemons.
    pub took: Duration,
}

/// Runs `case` on `lab`.
pub async fn run(case: &crate::Case, lab: &mut Lab) -> CaseRun {
    let started = Instant::now();
    let mut trial = Trial {
        lab,
        random: Seeded::new(case.name),
        seen: RefCell::default(),
        unmet: RefCell::default(),
        index: None,
    };
    let end = (case.run)(&mut trial).await;
    CaseRun {
        name: case.name,
        seen: trial.seen.into_inner(),
        unmet: trial.unmet.into_inner(),
        stopped: end.err().map(|stop| stop.0),
        took: started.elapsed(),
    }
}

impl Trial<'_> {
    /// Calls a method of the node; any answer will do.
    pub async fn reply(&self, method: &str, params: Value) -> Step<Reply> {
        Ok(self.lab.node.ask(None, method, params).await?)
    }

    /// Calls a method of the node that has to succeed.
    pub async fn node(&self, method: &str, params: Value) -> Step<Value> {
        let reply = self.reply(method, params.clone()).await?;
        succeeded(method, &params, reply)
    }

    /// Calls a method of a wallet; any answer will do.
    pub async fn wallet_reply(&self, wallet: &str, method: &str, params: Value) -> Step<Reply> {
        Ok(self.lab.node.ask(Some(wallet), method, params).await?)
    }

    /// Calls a method of a wallet that has to succeed.
    pub async fn wallet(&self, wallet: &str, method: &str, params: Value) -> Step<Value> {
        let reply = self.wallet_reply(wallet, method, params.clone()).await?;
        succeeded(method, &params, reply)
    }

    /// The connection to the index, made when it is first needed.
    pub async fn index(&mut self) -> Step<&mut Electrum> {
        if self.index.is_none() {
            let mut index = Electrum::connect(&self.lab.index).await?;
            // The protocol wants this to be the first message.
            let hello = json!(["swaprig conformance", "1.4"]);
            index
                .ask("server.version", hello)
                .await?
                .map_err(|error| Stop(format!("server.version: {error}")))?;
            self.index = Some(index);
        }
        Ok(self.index.as_mut().expect("it was just made"))
    }

    /// Calls a method of the index; any answer will do. A server may answer by closing the connection; there is another
    /// one for the next call.
    pub async fn ask_index(&mut self, method: &str, params: Value) -> Step<Result<Value, Value>> {
        match self.index().await?.ask(method, params).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_closed => {
                self.index = None;
                Ok(Err(json!("the connection is closed")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The parameters of the next notification of the index that `wanted` is true for.
    pub async fn notified(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Step<Value> {
        let poke = self.lab.poke.clone();
        Ok(self
            .index()
            .await?
            .notified(method, wanted, || (poke.0)())
            .await?)
    }

    /// Calls a method of the index that has to succeed.
    pub async fn indexed(&mut self, method: &str, params: Value) -> Step<Value> {
        let answer = self.ask_index(method, params.clone()).await?;
        answer.map_err(|error| Stop(format!("{method} {params}: {error}")))
    }

    /// Notes something that the daemons of both kinds should agree on, whatever it is.
    pub fn see(&self, label: impl Into<String>, saw: impl AsRef<str>) {
        let (label, saw) = (label.into(), mask(saw.as_ref()));
        debug_assert!(
            self.seen.borrow().iter().all(|other| other.label != label),
            "{label} is noted twice"
        );
        self.seen.borrow_mut().push(Observation { label, saw });
    }

    /// Notes something that has to be as `expected`.
    pub fn expect(
        &self,
        label: impl Into<String>,
        saw: impl AsRef<str>,
        expected: impl AsRef<str>,
    ) {
        let (label, saw, expected) = (label.into(), saw.as_ref(), expected.as_ref());
        if saw != expected {
            self.unmet.borrow_mut().push(Unmet {
                label: label.clone(),
                saw: saw.to_owned(),
                expected: expected.to_owned(),
            });
        }
        self.see(label, saw);
    }

    /// Notes a JSON value that has to be as `expected`.
    pub fn expect_json(&self, label: impl Into<String>, saw: &Value, expected: &Value) {
        self.expect(label, text(saw), text(expected));
    }

    /// Notes whether something holds that has to.
    pub fn holds(&self, label: impl Into<String>, holds: bool) {
        self.expect(label, if holds { "yes" } else { "no" }, "yes");
    }

    /// Notes the shape of `value`, a line for each path in it, and that it has the `required` ones, each written
    /// `path: type` as [`shape`] has them.
    pub fn shape(&self, label: &str, value: &Value, required: &[&str]) {
        let paths = shape(value);
        for wanted in required {
            let (path, kind) = wanted.split_once(": ").expect("`path: type`");
            let path = if path == "." || path.starts_with('[') {
                path.to_owned()
            } else {
                format!(".{path}")
            };
            let found = paths.get(&path).map_or("nothing", String::as_str);
            if found != kind {
                self.unmet.borrow_mut().push(Unmet {
                    label: format!("{label} {path}"),
                    saw: found.to_owned(),
                    expected: kind.to_owned(),
                });
            }
        }
        for (path, kind) in paths {
            self.see(format!("{label} {path}"), kind);
        }
    }

    /// Notes how a call ends, and that it ends as expected.
    pub async fn expect_reply(
        &self,
        label: impl Into<String>,
        method: &str,
        params: Value,
        expected: &str,
    ) -> Step<()> {
        let reply = self.reply(method, params).await?;
        self.expect(label, told(&reply), expected);
        Ok(())
    }

    /// Gives a transaction to `testmempoolaccept` and to `sendrawtransaction`, and notes what they say.
    pub async fn verdict(&self, label: &str, draft: &Draft, expected: Verdict<'_>) -> Step<()> {
        self.verdict_of(label, &draft.hex(), expected).await
    }

    /// As [`Trial::verdict`], of a transaction in hexadecimal digits.
    pub async fn verdict_of(&self, label: &str, hex: &str, expected: Verdict<'_>) -> Step<()> {
        let tested = self.node("testmempoolaccept", json!([[hex]])).await?;
        let tested = match (&tested[0]["allowed"], &tested[0]["reject-reason"]) {
            (Value::Bool(true), _) => "allowed".to_owned(),
            (_, Value::String(reason)) => reason.clone(),
            _ => tested.to_string(),
        };
        let sent = self.reply("sendrawtransaction", json!([hex])).await?;
        let sent = match &sent.result {
            Ok(_) => "accepted".to_owned(),
            Err(refused) => format!("{}: {}", refused.code, mask(&refused.message)),
        };
        let (reason, error) = match expected {
            Verdict::Accepted => ("allowed", "accepted"),
            Verdict::Refused { reason, error } => (reason, error),
        };
        self.expect(format!("{label}: testmempoolaccept"), tested, reason);
        self.expect(format!("{label}: sendrawtransaction"), sent, error);
        Ok(())
    }

    /// Sends a transaction that has to be accepted; notes nothing.
    pub async fn send(&self, draft: &Draft) -> Step<String> {
        let txid = self
            .node("sendrawtransaction", json!([draft.hex()]))
            .await?;
        Ok(text(&txid))
    }
}

fn succeeded(method: &str, params: &Value, reply: Reply) -> Step<Value> {
    reply.result.map_err(|refused| {
        let params: String = params.to_string().chars().take(300).collect();
        Stop(format!(
            "{method} {params} failed: {} (code {})",
            refused.message, refused.code
        ))
    })
}

/// A JSON value as one line: a string without its quotes.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An amount of a node in satoshi. JSON has it as a decimal number of at most eight places, which is exact.
pub fn sat(value: &Value) -> Step<u64> {
    let not = || Stop(format!("`{value}` ({}) is no amount", type_of(value)));
    let number = value.as_f64().ok_or_else(not)?;
    let text = format!("{number:.8}");
    let (whole, fraction) = text.split_once('.').ok_or_else(not)?;
    format!("{whole}{fraction}").parse().map_err(|_| not())
}
