//! What a user sees while a run goes on, and how long each stage took.
//!
//! A bar with the time left is drawn on a terminal; nothing is printed when standard error is a pipe,
//! unless `--verbose` asks for a line per stage.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Serialize, Serializer};

/// How much to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing but errors.
    Quiet,
    /// A bar on a terminal.
    #[default]
    Normal,
    /// A line per stage and increment, wherever standard error goes.
    Verbose,
}

/// Seconds per stage, in the order of the run. A stage entered twice is summed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    stages: Vec<(String, f64)>,
}

impl Timings {
    /// Adds time to a stage.
    pub fn add(&mut self, stage: &str, seconds: f64) {
        match self.stages.iter_mut().find(|(name, _)| name == stage) {
            Some((_, total)) => *total += seconds,
            None => self.stages.push((stage.to_owned(), seconds)),
        }
    }

    /// Stages and their seconds.
    pub fn stages(&self) -> impl Iterator<Item = (&str, f64)> {
        self.stages.iter().map(|(name, s)| (name.as_str(), *s))
    }

    /// Seconds of all stages.
    pub fn total_s(&self) -> f64 {
        self.stages.iter().map(|(_, seconds)| seconds).sum()
    }

    /// `timings.csv`: `stage,seconds`, the last row being `total`.
    pub fn to_csv(&self) -> String {
        let mut text = String::from("stage,seconds\n");
        for (stage, seconds) in self.stages() {
            text += &format!("{stage},{seconds:.3}\n");
        }
        text + &format!("total,{:.3}\n", self.total_s())
    }
}

impl Serialize for Timings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Milliseconds are what a clock can vouch for here.
        serializer.collect_map(
            self.stages()
                .map(|(stage, seconds)| (stage, (seconds * 1e3).round() / 1e3)),
        )
    }
}

/// Shows stages and increments, and times the stages.
#[derive(Debug)]
pub struct Progress {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    /// The bar of the work that this is a part of.
    whole: Option<ProgressBar>,
    /// Whether its increments move that bar.
    counts: bool,
    /// What is said is said of this part.
    part: String,
    /// Increments that have converged so far.
    seen: usize,
    running: Option<(String, Instant)>,
    timings: Timings,
}

impl Progress {
    /// Shows as much as `verbosity` and the terminal allow.
    pub fn new(verbosity: Verbosity) -> Self {
        let draw = verbosity == Verbosity::Normal && std::io::stderr().is_terminal();
        Self {
            verbosity,
            bar: draw.then(ProgressBar::new_spinner),
            whole: None,
            counts: false,
            part: String::new(),
            seen: 0,
            running: None,
            timings: Timings::default(),
        }
    }

    /// Shows nothing, as in tests; times all the same.
    pub fn silent() -> Self {
        Self::new(Verbosity::Quiet)
    }

    /// For a part of the work that goes on beside others: it is timed on its own, and its increments move the bar of the whole.
    pub fn beside(&self, part: &str) -> Self {
        Self {
            verbosity: self.verbosity,
            bar: None,
            whole: self.bar.clone(),
            counts: true,
            part: format!("{part}: "),
            seen: 0,
            running: None,
            timings: Timings::default(),
        }
    }

    /// How many increments have converged so far.
    pub fn increments_seen(&self) -> usize {
        self.seen
    }

    /// As [`Self::beside`], for a part whose increments are not what the bar of the whole counts.
    pub fn within(&self, part: &str) -> Self {
        let mut progress = self.beside(part);
        progress.counts = false;
        progress
    }

    /// Counts increments that the running stage planned and does not need.
    pub fn skip(&self, increments: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(increments as u64);
        }
    }

    /// Ends the running stage and begins another.
    pub fn stage(&mut self, name: &str) {
        self.end_stage();
        self.running = Some((name.to_owned(), Instant::now()));
        if let Some(bar) = &self.bar {
            if bar.is_finished() {
                bar.reset();
            }
            bar.set_style(style("{spinner} {msg} [{elapsed}]"));
            bar.set_message(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        if self.verbosity == Verbosity::Verbose {
            eprintln!("{}{name} …", self.part);
        }
    }

    /// Says how many increments the running stage plans.
    pub fn increments(&mut self, planned: usize) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(
                "{msg} {wide_bar} {pos}/{len} [{elapsed}, {eta} left]",
            ));
            bar.set_length(planned as u64);
            bar.set_position(0);
            bar.reset_eta();
        }
    }

    /// Says that increment `number` has converged, and where the curve stands.
    pub fn increment(
        &mut self,
        number: usize,
        displacement_mm: f64,
        force_n: f64,
        iterations: usize,
    ) {
        let what = format!("u = {displacement_mm:.3} mm, F = {force_n:.0} N");
        self.seen += 1;
        if let Some(bar) = &self.bar {
            bar.set_position(number as u64);
            bar.set_message(what.clone());
        }
        if let Some(bar) = &self.whole {
            if self.counts {
                bar.inc(1);
            }
            bar.set_message(format!("{}{what}", self.part));
        }
        if self.verbosity == Verbosity::Verbose {
            eprintln!(
                "  {}increment {number}: {what}, {iterations} iterations",
                self.part
            );
        }
    }

    /// Says that `done` of `planned` parts of the running stage are done.
    pub fn part(&mut self, done: usize, planned: usize) {
        if done == 1 {
            self.increments(planned);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
        }
        if self.verbosity == Verbosity::Verbose {
            eprintln!("  {done} of {planned}");
        }
    }

    /// As [`Self::part`], from any thread, with a word on where it stands.
    pub fn whole_part(&self, done: usize, planned: usize, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done as u64);
            bar.set_message(what.to_owned());
        }
        if self.verbosity == Verbosity::Verbose {
            eprintln!("  {done} of {planned}: {what}");
        }
    }

    /// Says something worth knowing above the bar: a gate that wants review, a dropped piece of mask.
    pub fn note(&self, text: &str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        let part = &self.part;
        match self.bar.as_ref().or(self.whole.as_ref()) {
            Some(bar) => bar.suspend(|| eprintln!("note: {part}{text}")),
            None => eprintln!("note: {part}{text}"),
        }
    }

    /// Ends the running stage, clears the bar, and gives the times since the last call: those of one case of several.
    pub fn finish(&mut self) -> Timings {
        self.end_stage();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        std::mem::take(&mut self.timings)
    }

    fn end_stage(&mut self) {
        if let Some((name, start)) = self.running.take() {
            self.timings.add(&name, start.elapsed().as_secs_f64());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error message must not share its line with a bar.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_timed_in_order_and_summed() {
        let mut timings = Timings::default();
        timings.add("read", 1.0);
        timings.add("solve", 2.5);
        timings.add("read", 0.25);
        assert_eq!(
            timings.to_csv(),
            "stage,seconds\nread,1.250\nsolve,2.500\ntotal,3.750\n"
        );
        assert_eq!(
            serde_json::to_string(&timings).unwrap(),
            r#"{"read":1.25,"solve":2.5}"#
        );
    }

    #[test]
    fn a_silent_run_is_timed() {
        let mut progress = Progress::silent();
        progress.stage("read");
        std::thread::sleep(Duration::from_millis(20));
        progress.stage("solve");
        progress.increments(2);
        progress.increment(1, 0.1, 10.0, 3);
        let timings = progress.finish();
        assert_eq!(
            progress.finish().stages().count(),
            0,
            "the next case starts anew"
        );
        let stages: Vec<_> = timings.stages().collect();
        assert_eq!(
            stages.iter().map(|s| s.0).collect::<Vec<_>>(),
            ["read", "solve"]
        );
        assert!(stages[0].1 >= 0.02 && stages[0].1 < 5.0);
    }

    #[test]
    fn templates_are_valid() {
        for template in [
            "{spinner} {msg} [{elapsed}]",
            "{msg} {wide_bar} {pos}/{len} [{elapsed}, {eta} left]",
        ] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
