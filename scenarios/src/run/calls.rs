//! Calls of steps to servers, for the record.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use swaprig_harness::World;
use swaprig_harness::proxy::HARNESS;
use swaprig_record::{Call, Event, Recorder};

/// How many characters of a request or an answer are recorded.
const RECORDED: usize = 4_000;

/// Records calls to one server. A call that is made again and answered as before is left out: it is part of a wait.
#[derive(Debug)]
pub struct Calls {
    recorder: Recorder,
    from: String,
    to: String,
    /// What each method has answered last.
    last: Mutex<HashMap<Question, Answer>>,
}

/// A method and a request.
type Question = (String, String);
/// JSON, or an error.
type Answer = Result<String, String>;

impl Calls {
    /// Calls of `to` by the steps themselves.
    pub fn to(world: &World, to: &str) -> Self {
        Calls {
            recorder: world.recorder().clone(),
            from: HARNESS.to_owned(),
            to: to.to_owned(),
            last: Mutex::default(),
        }
    }

    /// The same, by a party of the world.
    #[must_use]
    pub fn by(mut self, party: &str) -> Self {
        party.clone_into(&mut self.from);
        self
    }

    /// Records a call of `method` (`maker.v1.Maker/Open`, `GET /orders/7`) with `request` as JSON, which was begun at
    /// `started` and has just been answered, with JSON or with an error.
    pub fn answered(
        &self,
        method: &str,
        request: &str,
        started: Instant,
        answer: Result<&str, &str>,
    ) {
        if !self.recorder.is_on() {
            return;
        }
        let question = (method.to_owned(), cut(request));
        let answer = answer.map(cut).map_err(cut);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&question) == Some(&answer) {
            return;
        }
        last.insert(question.clone(), answer.clone());
        let (method, request) = question;
        let error = answer.as_ref().err().cloned();
        self.recorder.record(Event::Call(Box::new(Call {
            from: self.from.clone(),
            to: self.to.clone(),
            method,
            request,
            reply: answer.unwrap_or_default(),
            error,
            took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })));
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(RECORDED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
