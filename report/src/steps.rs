//! The steps of a record, and which of them each event belongs to.

use std::collections::HashMap;

use serde::Serialize;
use swaprig_record::{Contents, Event, Failure, StepBegan, StepDone, StepOutcome};

/// Which step: its place, and which of its runs where it is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Place {
    /// Its place, such as `3` or `3.2`.
    pub step: String,
    /// Which time it runs, from 1.
    pub time: u32,
}

/// A step that was begun.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub place: Place,
    pub began: &'a StepBegan,
    /// `None` where the run ended before.
    pub done: Option<&'a StepDone>,
    /// What a wait saw, one look after the other.
    pub seen: Vec<&'a swaprig_record::Seen>,
    /// The heights when it ended, or at the end of the record.
    pub heights: (Option<u32>, Option<u32>),
    /// When it began and ended, in microseconds.
    pub span: (u64, u64),
}

impl Step<'_> {
    pub(crate) fn outcome(&self) -> Option<StepOutcome> {
        self.done.map(|done| done.outcome)
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        self.done.and_then(|done| done.failure.as_ref())
    }

    pub(crate) fn took_us(&self) -> u64 {
        let lasted = self.span.1.saturating_sub(self.span.0);
        self.done.map_or(lasted, |done| done.took_us)
    }
}

/// All steps in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Steps<'a> {
    pub list: Vec<Step<'a>>,
    /// The step of each line: of those that had not ended, the one that began last.
    pub of_line: Vec<Option<usize>>,
}

impl<'a> Steps<'a> {
    pub(crate) fn of(contents: &'a Contents) -> Self {
        let mut steps = Steps::default();
        // The open steps in the order of their beginning, and of each place the latest and how often it ran.
        let mut open: Vec<usize> = Vec::new();
        let mut latest: HashMap<&str, (usize, u32)> = HashMap::new();
        for line in &contents.lines {
            steps.of_line.push(open.last().copied());
            let at = |step: &str| latest.get(step).map(|(at, _)| *at);
            match &line.event {
                Event::Step(began) => {
                    let index = steps.list.len();
                    let entry = latest.entry(&began.step).or_insert((index, 0));
                    *entry = (index, entry.1 + 1);
                    steps.list.push(Step {
                        place: Place {
                            step: began.step.clone(),
                            time: entry.1,
                        },
                        began,
                        done: None,
                        seen: Vec::new(),
                        heights: (line.bitcoin, line.liquid),
                        span: (line.t, line.t),
                    });
                    open.push(index);
                }
                Event::Seen(seen) => {
                    if let Some(at) = at(&seen.step) {
                        steps.list[at].seen.push(seen);
                    }
                }
                Event::Done(done) => {
                    if let Some(at) = at(&done.step) {
                        let step = &mut steps.list[at];
                        step.done = Some(done);
                        step.heights = (line.bitcoin, line.liquid);
                        step.span.1 = line.t;
                        open.retain(|open| *open != at);
                    }
                }
                _ => {}
            }
        }
        if let Some(last) = contents.lines.last() {
            for at in open {
                steps.list[at].span.1 = last.t;
                steps.list[at].heights = (last.bitcoin, last.liquid);
            }
        }
        steps
    }

    /// Whether `inner` is a step inside of `outer`.
    pub(crate) fn is_inside(inner: &str, outer: &str) -> bool {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.starts_with('.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Record;

    #[test]
    fn repeated_and_nested_steps_are_told_apart() {
        let mut record = Record::new("a");
        record.step("1", "mine").done();
        for _ in 0..2 {
            record.step("2", "together").step("2.1", "pay");
            record.done().done();
        }
        record.step("3", "pay");
        let contents = record.contents();
        let steps = Steps::of(&contents);
        let places: Vec<(&str, u32)> = steps
            .list
            .iter()
            .map(|step| (step.place.step.as_str(), step.place.time))
            .collect();
        let expected = [
            ("1", 1),
            ("2", 1),
            ("2.1", 1),
            ("2", 2),
            ("2.1", 2),
            ("3", 1),
        ];
        assert_eq!(places, expected);
        assert!(steps.list[4].done.is_some() && steps.list[5].done.is_none());
        // `began`, the first step and its end, the second, the step in it.
        assert_eq!(steps.of_line[..5], [None, None, Some(0), None, Some(1)]);
        assert!(Steps::is_inside("2.1", "2") && !Steps::is_inside("21.1", "2"));
    }
}
