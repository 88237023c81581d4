//! Rounds, their medians, and how they are printed.

use serde_json::{Value, json};

use crate::load::Answers;

/// One round of one side.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Requests or calls per second.
    pub(crate) per_second: f64,
    /// Median latency in microseconds.
    pub(crate) p50: f64,
    /// Latency in microseconds that 99 of 100 did not exceed.
    pub(crate) p99: f64,
    /// Processor time per request in microseconds, of the process under test.
    pub(crate) cpu: f64,
}

impl Round {
    pub(crate) fn new(answers: &Answers, cpu: f64) -> Self {
        Self {
            per_second: answers.per_second(),
            p50: f64::from(answers.percentile(0.5)),
            p99: f64::from(answers.percentile(0.99)),
            cpu,
        }
    }
}

/// All rounds of one side.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Round>,
}

impl Side {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), rounds: Vec::new() }
    }

    /// The median over the rounds of one figure.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        let mut all: Vec<f64> = self.rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        match all.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => all[count / 2],
            count => f64::midpoint(all[count / 2 - 1], all[count / 2]),
        }
    }

    fn best(&self) -> f64 {
        self.rounds.iter().map(|round| round.per_second).fold(f64::NAN, f64::max)
    }
}

/// Sides that were measured in turns; the first is the reference.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// What was compared, e.g. `layer`.
    pub(crate) name: String,
    /// Callers at the same time.
    pub(crate) concurrency: usize,
    pub(crate) sides: Vec<Side>,
    /// Which side is ours, and the least ratio to a side that it should reach.
    pub(crate) goals: Vec<Goal>,
}

/// What one side should reach against another.
#[derive(Debug)]
pub(crate) struct Goal {
    pub(crate) ours: usize,
    pub(crate) reference: usize,
    pub(crate) least: f64,
}

impl Comparison {
    /// Ratio of median rates.
    pub(crate) fn ratio(&self, ours: usize, reference: usize) -> f64 {
        let rate = |side: usize| self.sides[side].median(|round| round.per_second);
        rate(ours) / rate(reference)
    }

    /// A table for people and a line of JSON for programs.
    pub(crate) fn print(&self) {
        let rounds = self.sides.first().map_or(0, |side| side.rounds.len());
        println!("\n{}, {} at a time, {rounds} rounds in turns", self.name, self.concurrency);
        println!(
            "{:<44}{:>11}{:>11}{:>8}{:>10}{:>10}{:>11}",
            "", "median/s", "best/s", "ratio", "p50 µs", "p99 µs", "CPU µs/req"
        );
        for (at, side) in self.sides.iter().enumerate() {
            println!(
                "{:<44}{:>11.0}{:>11.0}{:>8.3}{:>10.0}{:>10.0}{:>11.1}",
                side.name,
                side.median(|round| round.per_second),
                side.best(),
                self.ratio(at, 0),
                side.median(|round| round.p50),
                side.median(|round| round.p99),
                side.median(|round| round.cpu),
            );
        }
        for goal in &self.goals {
            let ratio = self.ratio(goal.ours, goal.reference);
            let (ours, reference) = (&self.sides[goal.ours].name, &self.sides[goal.reference].name);
            let verdict = if ratio >= goal.least { "reached" } else { "NOT reached" };
            println!("goal {verdict}: {ours} / {reference} = {ratio:.3} (goal {})", goal.least);
        }
        println!("{}", self.line());
    }

    fn line(&self) -> Value {
        let sides = self.sides.iter().enumerate().map(|(at, side)| {
            json!({
                "side": side.name,
                "per_second": side.median(|round| round.per_second).round(),
                "best_per_second": side.best().round(),
                "ratio": (self.ratio(at, 0) * 1000.0).round() / 1000.0,
                "p50_us": side.median(|round| round.p50),
                "p99_us": side.median(|round| round.p99),
                "cpu_us": (side.median(|round| round.cpu) * 10.0).round() / 10.0,
                "rounds": side.rounds.iter().map(|round| round.per_second.round()).collect::<Vec<_>>(),
            })
        });
        json!({
            "bench": self.name,
            "concurrency": self.concurrency,
            "sides": sides.collect::<Vec<_>>(),
        })
    }
}
