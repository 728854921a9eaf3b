//! Records for tests, built line by line.

use std::path::Path;

use swaprig_record::{
    Began, Contents, Ended, Event, Failure, Line, StepBegan, StepDone, StepOutcome, VERSION,
};

/// A record in the making. Time passes a millisecond an event unless it is told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) began: Began,
    lines: Vec<Line>,
    t: u64,
    /// The places of open steps and when they began.
    open: Vec<(String, u64)>,
}

impl Record {
    pub(crate) fn new(scenario: &str) -> Self {
        Record {
            began: Began {
                version: VERSION,
                swaprig: "0.1.0".to_owned(),
                scenario: scenario.to_owned(),
                title: format!("Title of {scenario}"),
                path: format!("scenarios/{scenario}"),
                round: 1,
                attempt: 1,
                seed: 7,
                unix_ms: 1_767_225_600_000,
                ..Began::default()
            },
            lines: Vec::new(),
            t: 0,
            open: Vec::new(),
        }
    }

    pub(crate) fn event(&mut self, event: Event) -> &mut Self {
        self.t += 1_000;
        let t = self.t;
        self.lines.push(Line {
            t,
            bitcoin: Some(101),
            liquid: None,
            event,
        });
        self
    }

    pub(crate) fn after_ms(&mut self, ms: u64) -> &mut Self {
        self.t += ms * 1_000;
        self
    }

    /// A step at line 10 and its place.
    pub(crate) fn step(&mut self, place: &str, key: &str) -> &mut Self {
        let number: u32 = place.split('.').next().unwrap().parse().unwrap();
        self.event(Event::Step(StepBegan {
            step: place.to_owned(),
            key: key.to_owned(),
            text: format!("{{ {key} = {place} }}"),
            file: "a.scenario.toml".to_owned(),
            line: 10 + number,
            column: 3,
            name: None,
            fails: None,
            within_ms: 5_000,
        }));
        self.open.push((place.to_owned(), self.t));
        self
    }

    /// The step that began last ends well.
    pub(crate) fn done(&mut self) -> &mut Self {
        self.ends(StepOutcome::Passed, None, &[])
    }

    pub(crate) fn ends(
        &mut self,
        outcome: StepOutcome,
        failure: Option<&str>,
        made: &[(&str, &str)],
    ) -> &mut Self {
        let (step, began) = self.open.pop().unwrap();
        let took_us = self.t + 1_000 - began;
        let made = made.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        self.event(Event::Done(StepDone {
            step,
            outcome,
            took_us,
            made: made.collect(),
            failure: failure.map(why),
        }))
    }

    /// The step that began last fails.
    pub(crate) fn fails(&mut self, title: &str) -> &mut Self {
        self.ends(StepOutcome::Failed, Some(title), &[])
    }

    fn end(&self, verdict: &str, title: Option<&str>) -> Self {
        let mut record = self.clone();
        let took_us = record.t + 1_000;
        record.event(Event::Ended(Box::new(Ended {
            verdict: verdict.to_owned(),
            took_us,
            step: None,
            failure: title.map(why),
            problem: None,
            last_words: Vec::new(),
        })));
        record
    }

    pub(crate) fn passed(&self) -> Self {
        self.end("passed", None)
    }

    pub(crate) fn failed(&self, title: &str) -> Self {
        self.end("failed", Some(title))
    }

    pub(crate) fn text(&self) -> String {
        let began = Line {
            t: 0,
            bitcoin: None,
            liquid: None,
            event: Event::Began(Box::new(self.began.clone())),
        };
        let lines = std::iter::once(&began).chain(&self.lines);
        let lines = lines.map(|line| serde_json::to_string(line).unwrap() + "\n");
        lines.collect()
    }

    pub(crate) fn contents(&self) -> Contents {
        swaprig_record::read(self.text().as_bytes()).unwrap()
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.text()).unwrap();
    }
}

fn why(title: &str) -> Failure {
    Failure {
        title: title.to_owned(),
        seen: None,
        why: None,
    }
}
