//! What is told of a run while it goes: to whoever watches, and into its record.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use swaprig_harness::World;
use swaprig_harness::binary::Passport;
use swaprig_harness::process::load_milli;
use swaprig_harness::time::{Observer, Waiting, unix_ms};
use swaprig_record::{
    Began, Daemon, Ended, Event, FILE_NAME, Failure, Holding, Machine, Money, Recorder, Seen,
    SourceFile, StepBegan, StepDone, StepOutcome, VERSION,
};

use super::StepFailure;
use super::oracle::Sheet;
use super::oracle_liquid::{LiquidSheet, name_of};
use super::outcome::Verdict;
use super::runner::{RunEnded, RunSettings, Watch};
use crate::lang::{Plan, PlannedStep, Source, Value};

/// Columns of a problem in the record.
const WIDTH: usize = 100;

/// Whom to tell of one run of a plan.
#[derive(Clone)]
pub(super) struct Telling {
    pub(super) plan: Arc<Plan>,
    pub(super) round: u32,
    pub(super) attempt: u32,
    pub(super) watch: Arc<dyn Watch>,
    pub(super) recorder: Recorder,
    /// The file that the recorder writes.
    pub(super) record: Option<PathBuf>,
}

impl Telling {
    /// Tells of a run, and records it in a file of its own where `settings` want records.
    ///
    /// # Errors
    /// When that file cannot be made; it is named.
    pub(super) fn new(
        plan: &Arc<Plan>,
        round: u32,
        attempt: u32,
        watch: &Arc<dyn Watch>,
        settings: &RunSettings,
    ) -> io::Result<Self> {
        let (recorder, record) = match &settings.records {
            None => (Recorder::off(), None),
            Some(records) => {
                let dir = records.join(plan.id());
                let path = dir.join(format!("{}-{round}-{attempt}.jsonl", unix_ms()));
                let made = std::fs::create_dir_all(&dir).and_then(|()| Recorder::create(&path));
                let named = |error: io::Error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                };
                (made.map_err(named)?, Some(path))
            }
        };
        Ok(Telling {
            plan: plan.clone(),
            round,
            attempt,
            watch: watch.clone(),
            recorder,
            record,
        })
    }

    /// The run begins.
    pub(super) fn began(&self, settings: &RunSettings) {
        if !self.recorder.is_on() {
            return;
        }
        let plan = &self.plan;
        let path = plan.source.path().display();
        let path = match &plan.case {
            Some(case) => format!("{path}#{case}"),
            None => path.to_string(),
        };
        let again = format!("swaprig run {path} --seed {}", settings.seed);
        self.recorder.record(Event::Began(Box::new(Began {
            version: VERSION,
            swaprig: env!("CARGO_PKG_VERSION").to_owned(),
            scenario: plan.id().to_owned(),
            title: plan.title.clone(),
            path,
            sources: sources(plan),
            round: self.round,
            attempt: self.attempt,
            seed: settings.seed,
            unix_ms: unix_ms(),
            daemons: daemons(&settings.binaries.passport()),
            machine: machine(settings),
            again,
        })));
    }

    /// The world stands.
    pub(super) fn stands(&self, world: &World) {
        self.watch.stands(&self.plan, self.round, world);
    }

    /// A step begins; it may take so long.
    pub(super) fn begins(&self, step: &PlannedStep, within: Duration) {
        self.watch.step(&self.plan, self.round, step);
        if !self.recorder.is_on() {
            return;
        }
        let (line, column) = step.source.position(step.span.start);
        self.recorder.record(Event::Step(StepBegan {
            step: step.place.clone(),
            key: step.key.clone(),
            text: one_line(step.source_text()),
            file: file_name(&step.source),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            name: step.bind.clone(),
            fails: step.fails.clone(),
            within_ms: millis(within),
        }));
    }

    /// Tells what the waits of a step see.
    pub(super) fn waits(&self, step: &PlannedStep) -> Observer {
        let (telling, place) = (self.clone(), step.place.clone());
        Arc::new(move |waiting: Waiting<'_>| {
            let Telling { plan, round, .. } = &telling;
            telling.watch.waits(plan, *round, &place, waiting);
            telling.recorder.record(Event::Seen(Seen {
                step: place.clone(),
                wait: waiting.what.to_owned(),
                seen: waiting.seen.to_owned(),
                after_ms: millis(waiting.waited),
            }));
        })
    }

    /// A step has ended, with this value or failure of its own; `fails` is not taken into account.
    pub(super) fn done(
        &self,
        step: &PlannedStep,
        took: Duration,
        result: Result<Option<&Value>, &StepFailure>,
        is_as_expected: bool,
    ) {
        if !self.recorder.is_on() {
            return;
        }
        let outcome = match (&result, is_as_expected) {
            (Ok(_), true) => StepOutcome::Passed,
            (Err(_), true) => StepOutcome::FailedAsExpected,
            (_, false) => StepOutcome::Failed,
        };
        self.recorder.record(Event::Done(StepDone {
            step: step.place.clone(),
            outcome,
            took_us: micros(took),
            made: result.ok().flatten().map(made).unwrap_or_default(),
            failure: result.err().map(failure),
        }));
    }

    /// The oracle has told who has what, of either chain.
    pub(super) fn money(&self, bitcoin: Option<&Sheet>, liquid: Option<&LiquidSheet>) {
        if !self.recorder.is_on() || (bitcoin.is_none() && liquid.is_none()) {
            return;
        }
        let holding = |owner: &str, asset: &str, amount| Holding {
            owner: owner.to_owned(),
            asset: asset.to_owned(),
            amount,
        };
        let mut holdings: Vec<Holding> = Vec::new();
        let books = bitcoin.into_iter().flat_map(|sheet| &sheet.books);
        holdings.extend(books.map(|(owner, part)| holding(owner, "btc", part.0)));
        for sheet in liquid.into_iter().flat_map(|sheet| &sheet.assets) {
            let asset = name_of(sheet.asset);
            holdings.extend(
                sheet
                    .books
                    .iter()
                    .map(|(owner, parts)| holding(owner, &asset, *parts)),
            );
        }
        let conserved = true;
        self.recorder.record(Event::Money(Money {
            conserved,
            holdings,
        }));
    }

    /// The oracle has found that something has no owner.
    pub(super) fn money_lost(&self) {
        self.recorder.record(Event::Money(Money {
            conserved: false,
            holdings: Vec::new(),
        }));
    }

    /// The run has ended, and its directory is still there.
    pub(super) fn ended(&self, took: Duration, verdict: &Verdict, dir: &Path) {
        let failed = match verdict {
            Verdict::Failed(failed) | Verdict::Broken(failed) => Some(failed),
            _ => None,
        };
        let problem = failed.and_then(|failed| failed.problem.as_ref());
        self.recorder.record(Event::Ended(Box::new(Ended {
            verdict: verdict.word().to_owned(),
            took_us: micros(took),
            step: failed.and_then(|failed| failed.place.clone()),
            failure: failed.map(|failed| failure(&failed.failure)),
            problem: problem.map(|problem| problem.render_plain(WIDTH)),
            last_words: failed.map(|f| f.last_words.clone()).unwrap_or_default(),
        })));
        let record = self.record.as_deref();
        if let Some(record) = record {
            let beside = dir.join(FILE_NAME);
            // On another file system it has to be copied.
            let linked = std::fs::hard_link(record, &beside);
            let kept = linked.or_else(|_| std::fs::copy(record, &beside).map(drop));
            if let Err(error) = kept {
                eprintln!(
                    "swaprig: could not keep the record in {}: {error}",
                    dir.display()
                );
            }
        }
        self.watch.ended(
            &self.plan,
            &RunEnded {
                round: self.round,
                attempt: self.attempt,
                record,
                dir,
                verdict,
            },
        );
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn failure(failure: &StepFailure) -> Failure {
    Failure {
        title: failure.title.clone(),
        seen: failure.seen.clone(),
        why: failure.why.clone(),
    }
}

/// The fields of what a step made, as far as they do not change.
fn made(value: &Value) -> Vec<(String, String)> {
    let Value::Entity(entity) = value else {
        return vec![("value".to_owned(), value.to_string())];
    };
    let fields = entity.entity_type().all_fields();
    let known = fields.into_iter().filter(|field| !field.live);
    let read = |name: &'static str| Some((name.to_owned(), entity.field(name)?.to_string()));
    known.filter_map(|field| read(field.name)).collect()
}

fn file_name(source: &Source) -> String {
    source.path().display().to_string()
}

/// The file of the plan, and the fragments that its steps come from.
fn sources(plan: &Plan) -> Vec<SourceFile> {
    fn add(files: &mut Vec<SourceFile>, source: &Source) {
        let file = file_name(source);
        if files.iter().all(|known| known.file != file) {
            let text = source.text().to_owned();
            files.push(SourceFile { file, text });
        }
    }
    fn walk(files: &mut Vec<SourceFile>, steps: &[PlannedStep]) {
        for step in steps {
            add(files, &step.source);
            walk(files, step.inner());
        }
    }
    let mut files = Vec::new();
    add(&mut files, &plan.source);
    walk(&mut files, &plan.steps);
    files
}

fn daemons(passport: &Passport) -> Vec<Daemon> {
    let stamps = passport.stamps().iter();
    let daemon = |stamp: &swaprig_harness::binary::Stamp| Daemon {
        role: stamp.role.to_string(),
        kind: stamp.kind.to_string(),
        version: stamp.version.clone(),
    };
    stamps.map(daemon).collect()
}

fn machine(settings: &RunSettings) -> Machine {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Machine {
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        load_milli: load_milli(),
        jobs: u32::try_from(settings.jobs.get()).unwrap_or(u32::MAX),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}
