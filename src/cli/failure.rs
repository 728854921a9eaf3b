//! A failure on one screen: where, what was seen, what was said last, how to run it again.

use std::fmt::Write as _;

use swaprig_harness::binary::Passport;
use swaprig_scenarios::lang::Plan;
use swaprig_scenarios::run::{Failure, Outcome};

use super::run::shown;
use super::select::render;

/// The whole text. `word` is what kind of failure it is.
pub(super) fn screen(
    word: &str,
    head: &str,
    plan: &Plan,
    outcome: &Outcome,
    failure: &Failure,
    passport: &Passport,
) -> String {
    let mut text = format!("{word} {head}");
    if let Some(place) = &failure.place {
        let _ = write!(text, "   step {place} of {}", outcome.steps_planned);
    }
    let _ = writeln!(text, "   {:.2} s", outcome.took.as_secs_f64());
    match &failure.problem {
        Some(problem) => text.push_str(&render(problem)),
        None => {
            let _ = writeln!(text, "  × {}", failure.failure.title);
        }
    }
    let mut line = |name: &str, value: &str| {
        let mut rest = value.lines();
        let _ = writeln!(text, "  {name:<9} {}", rest.next().unwrap_or_default());
        for more in rest {
            let _ = writeln!(text, "  {:<9} {more}", "");
        }
    };
    if let Some(why) = &failure.failure.why {
        line("why", why);
    }
    for (process, words) in &failure.last_words {
        line(process, words);
    }
    line("daemons", &passport.to_string());
    if let Some(dir) = &outcome.dir {
        line("logs", &format!("{}/*.log", shown(dir)));
    }
    let case = plan.case.iter().map(|case| format!("#{case}"));
    let file = shown(plan.source.path()) + &case.collect::<String>();
    line("again", &format!("swaprig run {file} --keep"));
    text.truncate(text.trim_end().len());
    text
}
