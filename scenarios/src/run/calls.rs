//! Calls of steps to servers, for the record.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use swaprig_harness::World;
use swaprig_harness::proxy::HARNESS;
use swaprig_record::{Call, Event, Recorder};

/// How many characters of a request or an answer are recorded.
const RECORDED: usize = 4_000;

/// Records calls of one method, those that are made again and answered as before left out.
#[derive(Debug)]
pub struct Calls {
    recorder: Recorder,
    from: String,
    to: String,
    method: String,
    request: String,
    last: Mutex<Option<Result<String, String>>>,
}

impl Calls {
    /// Calls of `method` (`maker.v1.Maker/Open`, `GET /orders/7`) of `to`, by the steps themselves.
    pub fn new(world: &World, to: &str, method: &str) -> Self {
        Calls {
            recorder: world.recorder().clone(),
            from: HARNESS.to_owned(),
            to: to.to_owned(),
            method: method.to_owned(),
            request: String::new(),
            last: Mutex::default(),
        }
    }

    /// The same, by a party of the world.
    #[must_use]
    pub fn by(mut self, party: &str) -> Self {
        party.clone_into(&mut self.from);
        self
    }

    /// The same, with what is sent, as JSON.
    #[must_use]
    pub fn sending(mut self, request: &str) -> Self {
        self.request = cut(request);
        self
    }

    /// Records a call that was begun at `started` and has just been answered, with JSON or with an error.
    pub fn answered(&self, started: Instant, answer: Result<&str, &str>) {
        if !self.recorder.is_on() {
            return;
        }
        let answer = answer.map(cut).map_err(cut);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() == Some(&answer) {
            return;
        }
        self.recorder.record(Event::Call(Box::new(Call {
            from: self.from.clone(),
            to: self.to.clone(),
            method: self.method.clone(),
            request: self.request.clone(),
            reply: answer.clone().unwrap_or_default(),
            error: answer.clone().err(),
            took_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        })));
        *last = Some(answer);
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(RECORDED) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
