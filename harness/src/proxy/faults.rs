//! What is wrong with one link at the moment: a list of rules that its connections ask at every turn.
//! It knows no protocol; what a failure looks like is said by the proxy that speaks one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ldk_server_protos::grpc::Code;
use tokio::sync::watch;

use super::tamper::Lie;

/// A direction, as seen from the end that calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the caller: what it sends, and its requests.
    There,
    /// To the caller: what it hears, and the answers.
    Back,
}

impl Way {
    /// What belongs to that way, of what there is for the way there and for the way back.
    pub(super) fn of<T>(self, (there, back): (T, T)) -> T {
        match self {
            Way::There => there,
            Way::Back => back,
        }
    }
}

/// How a call fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The connection is closed (HTTP, JSON-RPC, Electrum) or the call reset (gRPC), without an answer.
    Closed,
    /// A JSON-RPC error with this text, and the code that the daemon uses for what has no code of its own: bitcoind -1,
    /// an index 1.
    Error(String),
    /// An HTTP status without a body, as a server under load gives it.
    Http(u16),
    /// A gRPC status with this text.
    Status(Code, String),
}

/// A fault that was put on a link, and how often something met it.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    hits: Arc<AtomicU64>,
}

impl Fault {
    /// How many calls (of a link of plain bytes: how many pieces of its stream) it has changed, delayed or held.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hits, &other.hits)
    }
}

impl Eq for Fault {}

/// Which calls a fault is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calls {
    /// The method; `None` for all of them, and for links without methods. On a link to an index a space and the first
    /// parameter may follow: `blockchain.scripthash.get_history SCRIPTHASH` is for the calls about that script. On a link of
    /// plain HTTP it is method and path, in which a segment `*` stands for any one: `GET /swaps/*`.
    pub method: Option<String>,
    /// How many calls of it; `None` for all until the link is healed.
    pub next: Option<u64>,
}

impl Calls {
    /// All calls.
    pub fn all() -> Self {
        Calls::default()
    }

    /// The calls of one method.
    pub fn of(method: impl Into<String>) -> Self {
        Calls {
            method: Some(method.into()),
            next: None,
        }
    }

    /// Only those about `subject`, which is their first parameter, on a link to an index.
    #[must_use]
    pub fn about(self, subject: impl std::fmt::Display) -> Self {
        Calls {
            method: self.method.map(|method| format!("{method} {subject}")),
            ..self
        }
    }

    /// The next `n` of them only.
    #[must_use]
    pub fn next(self, n: u64) -> Self {
        Calls {
            next: Some(n),
            ..self
        }
    }
}

/// What happens to a call or to bytes.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Delay { there: Duration, back: Duration },
    Freeze,
    Fail { failure: Failure, carried_out: bool },
    Tamper(Lie),
}

/// What stands for any segment of a path.
pub(super) const ANY: char = '*';

/// Whether `method` is what a rule for `own` is about. A call about something is one of its method, too.
fn fits(own: &str, method: &str) -> bool {
    match own.split_once(ANY) {
        None => {
            let rest = method.strip_prefix(own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        }
        Some((before, after)) => method.strip_prefix(before).is_some_and(|rest| {
            let (segment, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            !segment.is_empty() && fits(after, rest)
        }),
    }
}

#[derive(Debug)]
struct Rule {
    calls: Calls,
    action: Action,
    fault: Fault,
}

impl Rule {
    fn is_for(&self, method: Option<&str>) -> bool {
        match &self.calls.method {
            None => true,
            Some(own) => method.is_some_and(|method| fits(own, method)),
        }
    }

    /// Counts one hit, and says whether there are more to come.
    fn spend(&mut self) -> bool {
        self.fault.hit();
        let left = self.calls.next.as_mut().map(|left| {
            *left = left.saturating_sub(1);
            *left
        });
        left != Some(0)
    }
}

#[derive(Debug, Default)]
struct State {
    partitioned: bool,
    rules: Vec<Rule>,
    /// How often all connections were dropped.
    drops: u64,
}

impl State {
    fn blocks(&self, way: Way, method: Option<&str>) -> bool {
        self.partitioned || (way == Way::Back && self.frozen(method).next().is_some())
    }

    fn frozen<'a>(&'a self, method: Option<&'a str>) -> impl Iterator<Item = &'a Rule> {
        let frozen =
            move |rule: &&Rule| matches!(rule.action, Action::Freeze) && rule.is_for(method);
        self.rules.iter().filter(frozen)
    }
}

/// The rules of one link, and what tells its connections that they have changed.
#[derive(Debug, Default)]
pub(super) struct Faults {
    state: watch::Sender<State>,
}

impl Faults {
    pub(super) fn add(&self, calls: Calls, action: Action) -> Fault {
        let fault = Fault::default();
        let rule = Rule {
            calls,
            action,
            fault: fault.clone(),
        };
        self.state.send_modify(|state| state.rules.push(rule));
        fault
    }

    pub(super) fn partition(&self) {
        self.state.send_modify(|state| state.partitioned = true);
    }

    /// Ends every fault; gives how many there were.
    pub(super) fn heal(&self) -> usize {
        let mut ended = 0;
        self.state.send_modify(|state| {
            ended = state.rules.len() + usize::from(state.partitioned);
            state.rules.clear();
            state.partitioned = false;
        });
        ended
    }

    /// Ends the freezes of a method, or all of them; gives how many there were.
    pub(super) fn thaw(&self, method: Option<&str>) -> usize {
        let mut ended = 0;
        self.state.send_modify(|state| {
            let before = state.rules.len();
            let thawed = |rule: &Rule| {
                matches!(rule.action, Action::Freeze)
                    && (method.is_none() || rule.calls.method.as_deref() == method)
            };
            state.rules.retain(|rule| !thawed(rule));
            ended = before - state.rules.len();
        });
        ended
    }

    /// Ends all connections that are open now.
    pub(super) fn drop_connections(&self) {
        self.state.send_modify(|state| state.drops += 1);
    }

    /// How often connections were dropped so far; for [`Faults::dropped`].
    pub(super) fn drops(&self) -> u64 {
        self.state.borrow().drops
    }

    /// Returns when connections are dropped again.
    pub(super) async fn dropped(&self, since: u64) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| state.drops != since).await.is_err() {
            unreachable!("the sender is `self`, which is borrowed here");
        }
    }

    /// Whether nothing is wrong, so that nothing needs to be looked into.
    pub(super) fn is_quiet(&self) -> bool {
        let state = self.state.borrow();
        state.rules.is_empty() && !state.partitioned
    }

    /// Returns as soon as nothing holds back what goes that way.
    pub(super) async fn pass(&self, way: Way, method: Option<&str>) {
        {
            let state = self.state.borrow();
            if !state.blocks(way, method) {
                return;
            }
            if way == Way::Back {
                state.frozen(method).for_each(|rule| rule.fault.hit());
            }
        }
        let mut state = self.state.subscribe();
        if state
            .wait_for(|state| !state.blocks(way, method))
            .await
            .is_err()
        {
            unreachable!("the sender is `self`, which is borrowed here");
        }
    }

    /// How long one piece of a stream is held up on its way.
    pub(super) fn delay(&self, way: Way) -> Duration {
        let delays = self.delays(None, |there, back| !way.of((there, back)).is_zero());
        way.of(delays)
    }

    /// How long one call is held up on its way there and on its way back.
    pub(super) fn call_delays(&self, method: Option<&str>) -> (Duration, Duration) {
        self.delays(method, |_, _| true)
    }

    fn delays(
        &self,
        method: Option<&str>,
        meets: impl Fn(Duration, Duration) -> bool,
    ) -> (Duration, Duration) {
        let mut total = (Duration::ZERO, Duration::ZERO);
        self.spend(method, |action| match action {
            Action::Delay { there, back } if meets(*there, *back) => {
                total = (total.0 + *there, total.1 + *back);
                true
            }
            _ => false,
        });
        total
    }

    /// How the call fails, if it does, and whether the daemon carries it out before.
    pub(super) fn failure(&self, method: Option<&str>) -> Option<(Failure, bool)> {
        let mut found = None;
        self.spend(method, |action| match action {
            Action::Fail {
                failure,
                carried_out,
            } if found.is_none() => {
                found = Some((failure.clone(), *carried_out));
                true
            }
            _ => false,
        });
        found
    }

    /// Offers every lie about the method's answer to `apply`, which says whether it told it.
    pub(super) fn tamper(&self, method: Option<&str>, mut apply: impl FnMut(&Lie) -> bool) {
        self.spend(method, |action| match action {
            Action::Tamper(lie) => apply(lie),
            _ => false,
        });
    }

    /// Whether there is a lie about the method's answer.
    pub(super) fn tampers(&self, method: Option<&str>) -> bool {
        let lies = |rule: &Rule| matches!(rule.action, Action::Tamper(_));
        let state = self.state.borrow();
        state
            .rules
            .iter()
            .any(|rule| lies(rule) && rule.is_for(method))
    }

    /// Counts the rules for `method` that `meets`, and forgets those that are used up.
    fn spend(&self, method: Option<&str>, mut meets: impl FnMut(&Action) -> bool) {
        self.state.send_if_modified(|state| {
            state
                .rules
                .retain_mut(|rule| !rule.is_for(method) || !meets(&rule.action) || rule.spend());
            // Nobody waits for fewer rules of these kinds.
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_fault_is_for_its_method_and_as_often_as_it_says() {
        let faults = Faults::default();
        assert!(faults.is_quiet());
        let action = Action::Fail {
            failure: Failure::Closed,
            carried_out: true,
        };
        let fault = faults.add(Calls::of("stop").next(2), action);
        assert_eq!(faults.failure(Some("help")), None);
        assert_eq!(faults.failure(None), None);
        assert_eq!(faults.failure(Some("stop")), Some((Failure::Closed, true)));
        assert_eq!(fault.hits(), 1);
        assert!(faults.failure(Some("stop")).is_some());
        assert_eq!(faults.failure(Some("stop")), None);
        assert_eq!(fault.hits(), 2);
        assert!(faults.is_quiet());
    }

    #[test]
    fn a_rule_is_for_its_method_alone() {
        for (own, method, is_for) in [
            ("stop", "stop", true),
            ("stop", "stopped", false),
            ("history", "history 51", true),
            ("history 51", "history 51", true),
            ("history 52", "history 51", false),
            ("GET /loop/*", "GET /loop/7", true),
            ("GET /loop/*", "GET /loop/", false),
            ("GET /loop/*", "GET /loop/7/events", false),
            ("GET /loop/*", "POST /loop/7", false),
            ("GET /loop/*/events", "GET /loop/7/events", true),
            ("GET /*/*/events", "GET /loop/7/events", true),
            ("GET /*/*/events", "GET /loop/events", false),
        ] {
            assert_eq!(fits(own, method), is_for, "{own} {method}");
        }
    }

    #[test]
    fn delays_add_up_and_know_their_way() {
        let faults = Faults::default();
        let delay = |there, back| Action::Delay { there, back };
        let once = faults.add(Calls::all().next(1), delay(MS, Duration::ZERO));
        faults.add(Calls::all(), delay(MS * 10, MS * 20));
        assert_eq!(faults.delay(Way::Back), MS * 20);
        assert_eq!(once.hits(), 0);
        assert_eq!(faults.delay(Way::There), MS * 11);
        assert_eq!(faults.delay(Way::There), MS * 10);
        // A call is met once, there and back.
        let once = faults.add(Calls::of("stop").next(1), delay(MS, MS));
        assert_eq!(faults.call_delays(Some("stop")), (MS * 11, MS * 21));
        assert_eq!(faults.call_delays(Some("stop")), (MS * 10, MS * 20));
        assert_eq!(once.hits(), 1);
        assert_eq!(faults.heal(), 1);
        assert_eq!(faults.delay(Way::There), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_freeze_holds_answers_and_a_partition_holds_everything() {
        let faults = Arc::new(Faults::default());
        let frozen = faults.add(Calls::of("stop"), Action::Freeze);
        faults.pass(Way::There, Some("stop")).await;
        faults.pass(Way::Back, Some("help")).await;
        let waits = {
            let faults = faults.clone();
            tokio::spawn(async move { faults.pass(Way::Back, Some("stop")).await })
        };
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(faults.thaw(Some("help")), 0);
        assert_eq!(faults.thaw(None), 1);
        waits.await.unwrap();
        assert_eq!(frozen.hits(), 1);

        faults.partition();
        let waits = {
            let faults = faults.clone();
            tokio::spawn(async move { faults.pass(Way::There, None).await })
        };
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        faults.heal();
        waits.await.unwrap();
    }
}
