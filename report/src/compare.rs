//! Where two runs of a scenario part: step by step, and within a step what happened in one and not in the other.
//!
//! What decides is what cannot differ by chance: a step that is not there, says something else, ends otherwise or fails
//! for another reason; a transaction, a state, a fault or a call's error that is in one run alone. Something that came in
//! another step than before is no difference, as daemons take their time. What may differ by chance (a last look, a value
//! that was made, a field of an answer) is noted beside it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use swaprig_record::{Contents, StepOutcome};

use crate::brief::{Brief, Verdict};
use crate::happening::{Counts, Happening, happenings};
use crate::plain::plain;
use crate::steps::{Place, Step, Steps};

mod notes;

/// A step is slower when it lost this much and took twice as long.
const LOST_US: u64 = 250_000;
/// How many slow steps are told.
const SLOWER_TOLD: usize = 5;

/// Why two records cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// They are of different files.
    #[error("these are runs of different scenarios, {left} and {right}; compare two runs of one")]
    OtherScenario {
        /// The first one's.
        left: String,
        /// The second one's.
        right: String,
    },
}

/// Two runs beside each other. The one that did not pass is on the left, if one alone did not.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    pub left: Facts,
    pub right: Facts,
    /// What the runs did not have in common from the start: programs, machine, files.
    pub circumstances: Vec<Difference>,
    /// How many steps went the same way before they part.
    pub same: usize,
    /// The first step where they part.
    pub parted: Option<StepPair>,
    /// The step that failed, if that is a later one.
    pub failed: Option<StepPair>,
    /// What was noticed in steps before, and decides nothing.
    pub noticed: Vec<(String, Difference)>,
    /// Steps of which one run took much longer, the worst first.
    pub slower: Vec<Slower>,
}

/// What a run is and came to.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    pub record: PathBuf,
    pub scenario: String,
    pub verdict: Verdict,
    /// Why it did not pass, on one line.
    pub failure: Option<String>,
    pub unix_ms: u64,
    pub seed: u64,
    pub took_us: u64,
    pub load_milli: Option<u64>,
    pub jobs: u32,
}

/// Something that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is looked at.
    pub what: String,
    /// How it is on the left; `None` where there is no such thing.
    pub left: Option<String>,
    pub right: Option<String>,
    /// Whether runs part because of it.
    pub decides: bool,
}

/// A step in both runs.
#[derive(Debug, Clone, Serialize)]
pub struct StepPair {
    pub place: Place,
    pub key: String,
    pub text: String,
    pub file: String,
    pub line: u32,
    pub column: u32,
    /// `None` where the run did not come to it.
    pub left: Option<StepSide>,
    pub right: Option<StepSide>,
    pub differences: Vec<Difference>,
}

/// A step in one run.
#[derive(Debug, Clone, Serialize)]
pub struct StepSide {
    /// `None`: it had not ended when the run did.
    pub outcome: Option<StepOutcome>,
    pub took_us: u64,
    /// Why it failed.
    pub failure: Option<String>,
    /// What it saw while it waited, one after the other.
    pub seen: Vec<String>,
    /// What happened in it.
    pub happened: Vec<String>,
    /// The heights of Bitcoin and Liquid at its end.
    pub bitcoin: Option<u32>,
    pub liquid: Option<u32>,
}

/// A step, or the start of the world, that took one run much longer.
#[derive(Debug, Clone, Serialize)]
pub struct Slower {
    /// `step 3 (pay)`.
    pub what: String,
    pub left_us: u64,
    pub right_us: u64,
}

/// Compares two runs.
///
/// # Errors
/// When they are not of one scenario; cases of one file may be compared.
pub fn compare(
    left: (&Path, &Contents),
    right: (&Path, &Contents),
) -> Result<Comparison, CompareError> {
    let file = |contents: &Contents| {
        let name = &contents.began.scenario;
        name.split('#').next().unwrap_or(name).to_owned()
    };
    if file(left.1) != file(right.1) {
        return Err(CompareError::OtherScenario {
            left: left.1.began.scenario.clone(),
            right: right.1.began.scenario.clone(),
        });
    }
    let briefs = (Brief::of(left.0, left.1), Brief::of(right.0, right.1));
    let swap = briefs.0.verdict == Verdict::Passed && briefs.1.verdict != Verdict::Passed;
    let ((left, one), (right, other)) = match swap {
        true => ((right.1, briefs.1), (left.1, briefs.0)),
        false => ((left.1, briefs.0), (right.1, briefs.1)),
    };
    let sides = (Side::of(left), Side::of(right));
    Ok(Both::of(&sides.0, &sides.1).comparison((&one, left), (&other, right)))
}

/// A run with what is known of its steps.
struct Side<'a> {
    steps: Steps<'a>,
    happenings: Vec<Happening>,
    by_place: HashMap<Place, usize>,
    contents: &'a Contents,
}

impl<'a> Side<'a> {
    fn of(contents: &'a Contents) -> Self {
        let steps = Steps::of(contents);
        let places = steps.list.iter().enumerate();
        Side {
            happenings: happenings(contents, &steps),
            by_place: places.map(|(at, step)| (step.place.clone(), at)).collect(),
            steps,
            contents,
        }
    }

    fn step(&self, place: &Place) -> Option<&Step<'a>> {
        self.by_place.get(place).map(|at| &self.steps.list[*at])
    }

    fn shown(&self, place: &Place) -> Option<StepSide> {
        let at = *self.by_place.get(place)?;
        let step = &self.steps.list[at];
        let mut seen: Vec<String> = step.seen.iter().map(|seen| seen.seen.clone()).collect();
        seen.dedup();
        let own = self
            .happenings
            .iter()
            .filter(|happening| happening.step == at);
        Some(StepSide {
            outcome: step.outcome(),
            took_us: step.took_us(),
            failure: step.failure().map(|failure| failure.title.clone()),
            seen,
            happened: own.map(|happening| happening.what.clone()).collect(),
            bitcoin: step.heights.0,
            liquid: step.heights.1,
        })
    }
}

/// Both runs, and all steps that are in one of them.
struct Both<'a> {
    left: &'a Side<'a>,
    right: &'a Side<'a>,
    places: Vec<Place>,
    /// What happened in one of them alone, by step.
    alone: HashMap<Place, Vec<Difference>>,
}

impl<'a> Both<'a> {
    fn of(left: &'a Side<'a>, right: &'a Side<'a>) -> Self {
        let mut both = Both {
            left,
            right,
            places: places(&left.steps, &right.steps),
            alone: HashMap::new(),
        };
        for (is_left, side, other) in [(true, left, right), (false, right, left)] {
            for (at, decides) in unmatched(&side.happenings, &other.happenings) {
                let happening = &side.happenings[at];
                let place = &side.steps.list[happening.step].place;
                let what = happening.what.clone();
                let (left, right) = match is_left {
                    true => (Some(what), None),
                    false => (None, Some(what)),
                };
                both.alone
                    .entry(place.clone())
                    .or_default()
                    .push(Difference {
                        what: "only in one".to_owned(),
                        left,
                        right,
                        decides,
                    });
            }
        }
        both
    }

    fn comparison(&self, left: (&Brief, &Contents), right: (&Brief, &Contents)) -> Comparison {
        let differences: Vec<Vec<Difference>> = self
            .places
            .iter()
            .map(|place| self.differences(place))
            .collect();
        let decides = |at: &usize| differences[*at].iter().any(|found| found.decides);
        let all = 0..self.places.len();
        let outer = all.clone().find(decides);
        // An outer step fails because one in it does.
        let inside = |at: &usize, outer: usize| {
            Steps::is_inside(&self.places[*at].step, &self.places[outer].step)
        };
        let parted = outer.map(|outer| {
            let mut deepest = outer;
            for at in all.clone().skip(outer + 1) {
                if inside(&at, deepest) && decides(&at) {
                    deepest = at;
                }
            }
            deepest
        });
        let mut failed = all.clone().filter(|at| self.has_failed(&self.places[*at]));
        // Of nested steps the innermost: the last one that begins.
        let failed = failed
            .next_back()
            .filter(|at| parted.is_some_and(|parted| parted < *at));
        let pair = |at: usize| self.pair(&self.places[at], differences[at].clone());
        let before = 0..parted.unwrap_or(self.places.len());
        let noticed = before.clone().flat_map(|at| {
            let name = self.name(&self.places[at]);
            let notes = differences[at].iter().filter(|found| !found.decides);
            notes.map(move |found| (name.clone(), found.clone()))
        });
        let noticed = noticed.collect();
        // What is around the step has not gone the same way.
        let is_same = |at: &usize| {
            let is_before = outer.is_none_or(|outer| *at < outer);
            is_before || parted.is_some_and(|parted| !inside(&parted, *at))
        };
        Comparison {
            left: facts(left.0),
            right: facts(right.0),
            circumstances: notes::circumstances(left, right),
            same: before.filter(is_same).count(),
            parted: parted.map(pair),
            failed: failed.map(pair),
            noticed,
            slower: self.slower(failed.or(parted)),
        }
    }

    fn name(&self, place: &Place) -> String {
        let step = self.left.step(place).or_else(|| self.right.step(place));
        let key = step.map_or("", |step| step.began.key.as_str());
        let again = match place.time {
            1 => String::new(),
            time => format!(", time {time}"),
        };
        format!("step {} ({key}{again})", place.step)
    }

    fn has_failed(&self, place: &Place) -> bool {
        let failed = |side: &Side<'_>| {
            let step = side.step(place);
            step.is_some_and(|step| matches!(step.outcome(), None | Some(StepOutcome::Failed)))
        };
        failed(self.left) || failed(self.right)
    }

    fn pair(&self, place: &Place, differences: Vec<Difference>) -> StepPair {
        let step = self.left.step(place).or_else(|| self.right.step(place));
        let began = step.map(|step| step.began.clone());
        let began = began.expect("a place is that of a step of one of the runs");
        StepPair {
            place: place.clone(),
            key: began.key,
            text: began.text,
            file: began.file,
            line: began.line,
            column: began.column,
            left: self.left.shown(place),
            right: self.right.shown(place),
            differences,
        }
    }

    fn differences(&self, place: &Place) -> Vec<Difference> {
        let (left, right) = (self.left.step(place), self.right.step(place));
        let mut found = Vec::new();
        let (Some(left), Some(right)) = (left, right) else {
            let began = |step: Option<&Step<'_>>| step.map(|_| "begun".to_owned());
            return vec![Difference {
                what: "step".to_owned(),
                left: began(left),
                right: began(right),
                decides: true,
            }];
        };
        let mut differ = |what: &str, left: Option<String>, right: Option<String>| {
            if left != right {
                found.push(Difference {
                    what: what.to_owned(),
                    left,
                    right,
                    decides: true,
                });
            }
        };
        let text = |step: &Step<'_>| Some(step.began.text.clone());
        differ("text", text(left), text(right));
        let outcome = |step: &Step<'_>| Some(outcome_word(step.outcome()).to_owned());
        differ("outcome", outcome(left), outcome(right));
        let reason = |step: &Step<'_>| step.failure().map(|failure| plain(&failure.title));
        if left.failure().is_some() && right.failure().is_some() {
            differ("reason", reason(left), reason(right));
        }
        found.extend(self.alone.get(place).into_iter().flatten().cloned());
        notes::made(left, right, &mut found);
        notes::last_seen(left, right, &mut found);
        let calls =
            |side: &Side<'a>| notes::calls(side.contents, &side.steps, side.by_place[place]);
        notes::replies(&calls(self.left), &calls(self.right), &mut found);
        found
    }

    /// Steps without steps in them, and the start of the world; `except` is the one that failed.
    fn slower(&self, except: Option<usize>) -> Vec<Slower> {
        let parents = self
            .places
            .iter()
            .filter_map(|place| place.step.rsplit_once('.'));
        let outer: HashSet<&str> = parents.map(|(outer, _)| outer).collect();
        let start = |side: &Side<'_>| side.steps.list.first().map(|step| step.span.0);
        let world = start(self.left).zip(start(self.right));
        let world = world.map(|times| ("the start of the world".to_owned(), times));
        let steps = self.places.iter().enumerate().filter_map(|(at, place)| {
            let (left, right) = (self.left.step(place)?, self.right.step(place)?);
            let both_ended = left.done.is_some() && right.done.is_some();
            let counts = both_ended && Some(at) != except && !outer.contains(place.step.as_str());
            counts.then(|| (self.name(place), (left.took_us(), right.took_us())))
        });
        let mut slower: Vec<Slower> = world
            .into_iter()
            .chain(steps)
            .filter(|(_, (left, right))| {
                let (short, long) = (left.min(right), left.max(right));
                long - short >= LOST_US && long / 2 >= *short
            })
            .map(|(what, (left_us, right_us))| Slower {
                what,
                left_us,
                right_us,
            })
            .collect();
        slower.sort_by_key(|slow| std::cmp::Reverse(slow.left_us.abs_diff(slow.right_us)));
        slower.truncate(SLOWER_TOLD);
        slower
    }
}

/// All places, in the order of the left run; what is on the right alone stands behind what it came after there.
fn places(left: &Steps<'_>, right: &Steps<'_>) -> Vec<Place> {
    let own = left.list.iter().enumerate();
    let own: HashMap<&Place, usize> = own.map(|(at, step)| (&step.place, at)).collect();
    // What comes behind which step of the left run; at 0 what comes before all of them.
    let mut behind: HashMap<usize, Vec<Place>> = HashMap::new();
    let mut last_common = 0;
    for step in &right.list {
        match own.get(&step.place) {
            Some(at) => last_common = at + 1,
            None => behind
                .entry(last_common)
                .or_default()
                .push(step.place.clone()),
        }
    }
    let mut all = behind.remove(&0).unwrap_or_default();
    for (at, step) in left.list.iter().enumerate() {
        all.push(step.place.clone());
        all.extend(behind.remove(&(at + 1)).unwrap_or_default());
    }
    all
}

/// Which of `own` the other run does not have, and whether that decides.
fn unmatched(own: &[Happening], other: &[Happening]) -> Vec<(usize, bool)> {
    let mut there: HashMap<&str, usize> = HashMap::new();
    for happening in other {
        *there.entry(&happening.what).or_default() += 1;
    }
    let mut so_far: HashMap<&str, usize> = HashMap::new();
    let mut missing = Vec::new();
    // What each subject's later states are: the other run came further if it has one of them.
    let mut last_matched: HashMap<&str, usize> = HashMap::new();
    for (at, happening) in own.iter().enumerate() {
        let number = so_far.entry(&happening.what).or_default();
        *number += 1;
        let needed = match happening.counts {
            Counts::Once => 1,
            Counts::EachTime | Counts::Passing(_) => *number,
        };
        if there
            .get(happening.what.as_str())
            .is_some_and(|there| *there >= needed)
        {
            if let Counts::Passing(subject) = &happening.counts {
                last_matched.insert(subject, at);
            }
        } else if happening.counts != Counts::Once || *number == 1 {
            missing.push(at);
        }
    }
    let decides = |at: &usize| match &own[*at].counts {
        Counts::Passing(subject) => {
            let later = last_matched.get(subject.as_str());
            later.is_none_or(|later| later < at)
        }
        Counts::Once | Counts::EachTime => true,
    };
    missing.into_iter().map(|at| (at, decides(&at))).collect()
}

fn outcome_word(outcome: Option<StepOutcome>) -> &'static str {
    match outcome {
        Some(StepOutcome::Passed) => "passed",
        Some(StepOutcome::FailedAsExpected) => "failed as it must",
        Some(StepOutcome::Failed) => "failed",
        None => "not ended",
    }
}

fn facts(brief: &Brief) -> Facts {
    Facts {
        record: brief.record.clone(),
        scenario: brief.scenario.clone(),
        verdict: brief.verdict,
        failure: brief.first_line(),
        unix_ms: brief.unix_ms,
        seed: brief.seed,
        took_us: brief.took_us,
        load_milli: brief.load_milli,
        jobs: brief.jobs,
    }
}

#[cfg(test)]
mod tests;
