//! Which rows the diagram has: events in the order in which they happened, with what belongs together in one row.

use std::collections::{HashMap, HashSet};

use swaprig_record::{Chain, Contents, Event, StepOutcome};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// An event as such; a call with its answer.
    Event(usize),
    /// A call that others happened during: its beginning.
    Asked(usize),
    /// Its answer.
    Answered(usize),
    /// A block, and the events of the transactions that it took in.
    Block(usize, Vec<usize>),
    /// Blocks of one chain with nothing in them, right after each other.
    EmptyBlocks(Vec<usize>),
    /// Observations between which nothing else happened.
    Looks(Vec<usize>),
    /// Processes that started or ended between which nothing else happened.
    Processes(Vec<usize>),
}

impl Row {
    /// All events that the row shows.
    pub(super) fn events(&self) -> Vec<usize> {
        match self {
            Row::Block(n, took_in) => std::iter::once(n).chain(took_in).copied().collect(),
            Row::Looks(all) | Row::Processes(all) | Row::EmptyBlocks(all) => all.clone(),
            Row::Event(n) | Row::Asked(n) => vec![*n],
            Row::Answered(_) => Vec::new(),
        }
    }

    /// The event that the row stands for, the first one of several.
    pub(super) fn n(&self) -> Option<usize> {
        match self {
            Row::Event(n) | Row::Asked(n) | Row::Answered(n) | Row::Block(n, _) => Some(*n),
            Row::Looks(all) | Row::Processes(all) | Row::EmptyBlocks(all) => all.first().copied(),
        }
    }
}

/// All rows of a record.
pub(super) fn rows(contents: &Contents) -> Vec<Row> {
    let blocks = Blocks::of(contents);
    let mut moments: Vec<(u64, usize, Row)> = Vec::with_capacity(contents.lines.len());
    for (n, line) in contents.lines.iter().enumerate() {
        match &line.event {
            Event::Call(call) => {
                let asked = line.t.saturating_sub(call.took_us);
                moments.push((asked, n, Row::Asked(n)));
                moments.push((line.t, n, Row::Answered(n)));
            }
            Event::Confirmed(_) if blocks.taken.contains(&n) => {}
            Event::Block(_) => {
                let took_in = blocks.took_in.get(&n).cloned().unwrap_or_default();
                moments.push((line.t, n, Row::Block(n, took_in)));
            }
            event if is_drawn(event) => moments.push((line.t, n, Row::Event(n))),
            _ => {}
        }
    }
    moments.sort_by_key(|(t, n, _)| (*t, *n));
    fold(contents, moments.into_iter().map(|(_, _, row)| row))
}

/// Whether an event has a row of its own: not what the heads of steps, the money table and the summary tell.
fn is_drawn(event: &Event) -> bool {
    match event {
        Event::Began(_) => false,
        Event::Done(done) => done.outcome != StepOutcome::Passed,
        Event::Money(money) => !money.conserved,
        _ => true,
    }
}

fn fold(contents: &Contents, rows: impl Iterator<Item = Row>) -> Vec<Row> {
    let mut folded: Vec<Row> = Vec::new();
    for row in rows {
        let row = match row {
            Row::Event(n) => match &contents.lines[n].event {
                Event::Seen(_) => Row::Looks(vec![n]),
                Event::Started(_) | Event::Exited(_) => Row::Processes(vec![n]),
                Event::Blocks(_) => Row::EmptyBlocks(vec![n]),
                _ => row,
            },
            Row::Block(n, took_in) if took_in.is_empty() && is_empty(contents, n) => {
                Row::EmptyBlocks(vec![n])
            }
            row => row,
        };
        match (&row, folded.last_mut()) {
            (Row::Answered(n), Some(last)) if *last == Row::Asked(*n) => *last = Row::Event(*n),
            (Row::Looks(new), Some(Row::Looks(all)))
            | (Row::Processes(new), Some(Row::Processes(all))) => all.extend(new),
            (Row::EmptyBlocks(new), Some(Row::EmptyBlocks(all)))
                if chain(contents, new[0]) == chain(contents, all[0]) =>
            {
                all.extend(new);
            }
            _ => folded.push(row),
        }
    }
    folded
}

fn is_empty(contents: &Contents, n: usize) -> bool {
    matches!(&contents.lines[n].event, Event::Block(block) if block.txs == 0)
}

fn chain(contents: &Contents, n: usize) -> Option<Chain> {
    match &contents.lines[n].event {
        Event::Block(block) => Some(block.chain),
        Event::Blocks(blocks) => Some(blocks.chain),
        _ => None,
    }
}

/// Which block took in which transaction.
#[derive(Default)]
struct Blocks {
    took_in: HashMap<usize, Vec<usize>>,
    taken: HashSet<usize>,
}

impl Blocks {
    /// A transaction belongs to the last block of its height that was told before, or to the first one told afterwards.
    fn of(contents: &Contents) -> Self {
        let mut blocks = Blocks::default();
        let mut told: HashMap<(Chain, u32), usize> = HashMap::new();
        let mut waiting: HashMap<(Chain, u32), Vec<usize>> = HashMap::new();
        for (n, line) in contents.lines.iter().enumerate() {
            match &line.event {
                Event::Block(block) => {
                    let place = (block.chain, block.height);
                    told.insert(place, n);
                    for confirmed in waiting.remove(&place).unwrap_or_default() {
                        blocks.take(n, confirmed);
                    }
                }
                Event::Orphaned(block) => {
                    told.remove(&(block.chain, block.height));
                }
                Event::Confirmed(confirmed) => {
                    let place = (confirmed.chain, confirmed.height);
                    match told.get(&place) {
                        Some(&block) => blocks.take(block, n),
                        None => waiting.entry(place).or_default().push(n),
                    }
                }
                _ => {}
            }
        }
        blocks
    }

    fn take(&mut self, block: usize, confirmed: usize) {
        self.took_in.entry(block).or_default().push(confirmed);
        self.taken.insert(confirmed);
    }
}
