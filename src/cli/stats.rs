//! Figures of a bench: minimum, median and maximum of each metric, as a table or as one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use swaprig_harness::binary::Passport;

/// The samples of one bench, by metric, in the order in which the metrics first appeared.
#[derive(Debug, Default)]
pub(super) struct Samples {
    order: Vec<&'static str>,
    values: BTreeMap<&'static str, (&'static str, Vec<f64>)>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Figures<'a> {
    bench: &'a str,
    runs: u32,
    passport: &'a Passport,
    metrics: BTreeMap<&'static str, Metric>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Metric {
    unit: &'static str,
    min: f64,
    median: f64,
    max: f64,
}

impl Samples {
    /// Adds a sample.
    pub(super) fn add(&mut self, metric: &'static str, unit: &'static str, value: f64) {
        if !self.values.contains_key(metric) {
            self.order.push(metric);
        }
        self.values
            .entry(metric)
            .or_insert_with(|| (unit, Vec::new()))
            .1
            .push(value);
    }

    fn metric(&self, name: &str) -> Option<Metric> {
        let (unit, values) = self.values.get(name)?;
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, *sorted.get(middle)?),
            _ => *sorted.get(middle)?,
        };
        let round = |value: f64| (value * 10.0).round() / 10.0;
        Some(Metric {
            unit,
            min: round(*sorted.first()?),
            median: round(median),
            max: round(*sorted.last()?),
        })
    }

    pub(super) fn figures<'a>(
        &self,
        bench: &'a str,
        runs: u32,
        passport: &'a Passport,
    ) -> Figures<'a> {
        let metrics = self
            .order
            .iter()
            .filter_map(|name| Some((*name, self.metric(name)?)))
            .collect();
        Figures {
            bench,
            runs,
            passport,
            metrics,
        }
    }

    /// A line for each metric.
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "{:<28} {:>10} {:>10} {:>10}  unit",
            "metric", "min", "median", "max"
        );
        for name in &self.order {
            if let Some(Metric {
                unit,
                min,
                median,
                max,
            }) = self.metric(name)
            {
                let _ = write!(
                    text,
                    "\n{name:<28} {min:>10.1} {median:>10.1} {max:>10.1}  {unit}"
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let mut samples = Samples::default();
        for value in [3.0, 1.0, 2.0] {
            samples.add("odd", "ms", value);
        }
        for value in [4.0, 1.0, 2.0, 3.0] {
            samples.add("even", "ms", value);
        }
        assert_eq!(
            samples.metric("odd").map(|m| (m.min, m.median, m.max)),
            Some((1.0, 2.0, 3.0))
        );
        assert_eq!(samples.metric("even").map(|m| m.median), Some(2.5));
        assert!(samples.metric("none").is_none());
    }
}
