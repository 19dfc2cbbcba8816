//! From logits back to labels at the scan's own spacing, slice by slice.

use std::collections::VecDeque;

use half::f16;
use rayon::prelude::*;

use super::plans::Labels;
use super::resample::Taps;

/// Takes slices of logits (class, y, x) in their order and makes label slices of them as soon as it can.
pub(crate) struct Exporter<'a> {
    labels: &'a Labels,
    classes: usize,
    from: [usize; 3],
    to: [usize; 3],
    taps: [Taps; 3],
    /// For each output column: two source columns and their weights.
    columns: Vec<(usize, usize, f64, f64)>,
    /// Whether resampled logits are rounded to half precision, as the original stores them.
    half: bool,
    waiting: VecDeque<Vec<f32>>,
    /// Index of the first waiting slice.
    first: usize,
    done: usize,
    /// The label map, one slice after the other.
    pub map: Vec<u16>,
    /// Resampled logits, slice by slice (class, y, x), where they are asked for.
    pub logits: Option<Vec<f32>>,
}

impl<'a> Exporter<'a> {
    pub fn new(
        labels: &'a Labels,
        from: [usize; 3],
        to: [usize; 3],
        taps: [Taps; 3],
        half: bool,
        keep_logits: bool,
    ) -> Self {
        let columns = (0..to[2]).map(|x| {
            let mut samples = taps[2].of(x, from[2]);
            let (first, weight) = samples.next().unwrap_or((0, 1.0));
            let (second, other) = samples.next().unwrap_or((first, 0.0));
            (first, second, weight, other)
        });
        Self {
            labels,
            classes: labels.outputs(),
            from,
            to,
            columns: columns.collect(),
            taps,
            half,
            waiting: VecDeque::new(),
            first: 0,
            done: 0,
            map: vec![0; to.iter().product()],
            logits: keep_logits.then(Vec::new),
        }
    }

    /// Takes the next slice.
    pub fn push(&mut self, slice: Vec<f32>) {
        self.waiting.push_back(slice);
        while self.done < self.to[0] {
            let needed: Vec<(usize, f64)> = self.taps[0].of(self.done, self.from[0]).collect();
            let needs = |pick: fn(usize, usize) -> usize, start| {
                needed.iter().map(|n| n.0).fold(start, pick)
            };
            let (low, high) = (needs(usize::min, usize::MAX), needs(usize::max, 0));
            while self.first < low && !self.waiting.is_empty() {
                self.waiting.pop_front();
                self.first += 1;
            }
            if high >= self.first + self.waiting.len() {
                return;
            }
            self.emit(&needed);
            self.done += 1;
        }
    }

    fn emit(&mut self, needed: &[(usize, f64)]) {
        let [_, rows, columns] = self.to;
        let slices: Vec<(&[f32], f64)> = needed
            .iter()
            .map(|&(z, weight)| (self.waiting[z - self.first].as_slice(), weight))
            .collect();
        let keep = self.logits.is_some();
        let resampled: Vec<Vec<f32>> = (0..rows)
            .into_par_iter()
            .map(|y| self.row(&slices, y))
            .collect();
        let slice = &mut self.map[self.done * rows * columns..(self.done + 1) * rows * columns];
        let labels = self.labels;
        slice
            .par_chunks_mut(columns)
            .zip(&resampled)
            .for_each(|(out, logits)| label_row(labels, logits, out));
        if keep && let Some(all) = &mut self.logits {
            for class in 0..self.classes {
                for row in &resampled {
                    all.extend_from_slice(&row[class * columns..(class + 1) * columns]);
                }
            }
        }
    }

    /// Resampled logits of one row (class, x).
    fn row(&self, slices: &[(&[f32], f64)], y: usize) -> Vec<f32> {
        let [_, rows, width] = self.from;
        let mut out = Vec::with_capacity(self.classes * self.to[2]);
        let mut mixed = vec![0.0f64; width];
        for class in 0..self.classes {
            mixed.fill(0.0);
            for (y, wy) in self.taps[1].of(y, rows) {
                for (slice, wz) in slices {
                    let from = &slice[(class * rows + y) * width..][..width];
                    for (mixed, &value) in mixed.iter_mut().zip(from) {
                        *mixed += wy * wz * f64::from(value);
                    }
                }
            }
            out.extend(self.columns.iter().map(|&(first, second, weight, other)| {
                let value = weight * mixed[first] + other * mixed[second];
                match self.half {
                    true => f16::from_f64(value).to_f32(),
                    false => value as f32,
                }
            }));
        }
        out
    }
}

/// Labels of a row of logits (class, x): the largest, the first of equals; or the regions painted over one another.
fn label_row(labels: &Labels, logits: &[f32], out: &mut [u16]) {
    let width = out.len();
    match labels {
        Labels::Exclusive(_) => {
            let mut best = logits[..width].to_vec();
            out.fill(0);
            for (class, logits) in logits.chunks_exact(width).enumerate().skip(1) {
                for ((best, out), &logit) in best.iter_mut().zip(out.iter_mut()).zip(logits) {
                    if logit > *best {
                        *best = logit;
                        *out = class as u16;
                    }
                }
            }
        }
        Labels::Regions(regions) => {
            out.fill(0);
            for (logits, (_, value)) in logits.chunks_exact(width).zip(regions) {
                for (out, &logit) in out.iter_mut().zip(logits) {
                    if sigmoid(logit) > 0.5 {
                        *out = *value;
                    }
                }
            }
        }
    }
}

pub(crate) fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}
