//! A failure on one screen: where, what was seen, what was said last, how to run it again.

use std::fmt::Write as _;
use std::path::PathBuf;

use swaprig_harness::binary::Passport;
use swaprig_scenarios::lang::{Plan, Problem};
use swaprig_scenarios::run::{Failure, Outcome};

use super::pages::PAGE;
use super::run::{head, shown};
use super::select::{WIDTH, render};

/// What a screen is made of.
pub(super) struct Screen<'a> {
    /// What kind of failure it is.
    pub word: &'a str,
    pub plan: &'a Plan,
    pub outcome: &'a Outcome,
    pub failure: &'a Failure,
    pub passport: &'a Passport,
    pub seed: u64,
    /// Whether the world in which it failed stands yet.
    pub stands: bool,
}

impl Screen<'_> {
    /// The whole text, in colour where somebody looks.
    pub(super) fn text(&self) -> String {
        self.write(render)
    }

    /// The whole text without colour.
    pub(super) fn plain(&self) -> String {
        self.write(|problem| problem.render_plain(WIDTH))
    }

    fn write(&self, render: impl Fn(&Problem) -> String) -> String {
        let Screen {
            outcome, failure, ..
        } = self;
        let mut text = format!("{} {}", self.word, head(outcome));
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
        if let Some(money) = &failure.money {
            line("money", &format!("all owned at {}: {money}", money.height));
        }
        for (process, words) in &failure.last_words {
            line(process, words);
        }
        line("daemons", &self.passport.to_string());
        if let Some(page) = page(outcome) {
            line("report", &shown(&page));
        }
        if let Some(dir) = &outcome.dir {
            line("logs", &format!("{}/*.log", shown(dir)));
        }
        let case = self.plan.case.iter().map(|case| format!("#{case}"));
        let path = shown(self.plan.source.path()) + &case.collect::<String>();
        line(
            "again",
            &format!("swaprig run {path} --keep --seed {}", self.seed),
        );
        if !self.stands {
            line("inspect", "the same with --step-in");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// The page in the directory that a scenario left, if there is one.
pub(super) fn page(outcome: &Outcome) -> Option<PathBuf> {
    let page = outcome.dir.as_ref()?.join(PAGE);
    page.is_file().then_some(page)
}
