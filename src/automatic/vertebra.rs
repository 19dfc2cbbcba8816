//! Vertebrae by the built-in networks.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use imaging::Volume;
use segmentation::builtin::Vertebrae;
use segmentation::network::Device;
use segmentation::nnunet::Options;

use super::{Labelled, agreement};
use crate::anatomy::Check;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::plan::{FIRST_WITHOUT_LEVEL, LevelChoice, Subject};
use crate::progress::Progress;
use crate::provenance::sha256_of;
use crate::quality::metal::metal_in_hu;

/// What is known of the outlines; figures and commands stand in docs/segmentation.md.
const STATEMENT: &str = "the built-in networks of vertebrae are trained too little to be relied on: whole vertebrae of unseen synthetic spines are found with Dice 0.95 to 0.96, the one real vertebra at hand (L3, cut to itself) with 0.80, a part of its arch taken for its neighbour's; give a checked mask with --mask";

/// Segments a scan in HU with the built-in networks of vertebrae, numbered 101, 102, … from head to foot.
///
/// # Errors
/// As [`super::segmented`].
pub(super) fn vertebrae(
    scan: &Volume<f32>,
    device: Device,
    options: &Options,
    progress: &mut Progress,
) -> anyhow::Result<Labelled> {
    let networks = Vertebrae::load(device)?;
    let mut found = networks
        .segment(scan, options, &mut |done, planned| {
            progress.part(done, planned)
        })
        .context("the scan")
        .kind(Kind::Input)?;
    let number = |label: u16| label + FIRST_WITHOUT_LEVEL - 1;
    for label in found.labels.data.iter_mut().filter(|label| **label > 0) {
        *label = number(*label);
    }
    let mut checks = vec![];
    let mut cut = BTreeSet::new();
    let mut names = BTreeMap::new();
    for vertebra in &found.vertebrae {
        let label = number(vertebra.label);
        checks.push((label, agreement(vertebra.doubt_mm)));
        checks.push((label, metal_in_hu(scan, &found.labels.select(&[label]))));
        checks.push((label, Check::refuse("segmentation", None, STATEMENT)));
        names.insert(label, format!("vertebra_{label}"));
        if vertebra.cut {
            cut.insert(label);
        }
    }
    Ok(Labelled {
        labels: found.labels,
        names,
        checks,
        cut,
        doubt_mm: found.doubt_mm,
        weights: Vertebrae::weights()
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), sha256_of(bytes)))
            .collect(),
    })
}

impl Labelled {
    /// Names the one whole vertebra of the scan as the user does, who knows its level. Nothing in a scan tells the networks which
    /// vertebra is which.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage when the scan shows several whole vertebrae and none is chosen.
    pub(super) fn name_level(&mut self, subject: &Subject) -> anyhow::Result<()> {
        let Some(LevelChoice::One(level)) = &subject.level else {
            return Ok(());
        };
        if !subject.label.is_empty() && !subject.label_follows_level() {
            return Ok(());
        }
        let own = self.only_vertebra()?;
        let named = subject.names().label(level).ok_or_else(|| {
            Failure::usage(format!(
                "{level} has no label in {}",
                subject.names().statement()
            ))
        })?;
        for label in self.labels.data.iter_mut().filter(|label| **label == own) {
            *label = named;
        }
        for (label, _) in self.checks.iter_mut().filter(|(label, _)| *label == own) {
            *label = named;
        }
        if self.cut.remove(&own) {
            self.cut.insert(named);
        }
        self.names.remove(&own);
        self.names.insert(named, level.name().to_lowercase());
        Ok(())
    }

    /// The one vertebra that the scan shows whole, or the only one there is.
    pub(super) fn only_vertebra(&self) -> anyhow::Result<u16> {
        let present = self.labels.labels();
        let whole: Vec<u16> = present
            .iter()
            .copied()
            .filter(|label| !self.cut.contains(label))
            .collect();
        match (&whole[..], &present[..]) {
            ([label], _) | ([], [label]) => Ok(*label),
            _ => {
                let list = |labels: &[u16]| {
                    let labels: Vec<String> = labels.iter().map(u16::to_string).collect();
                    labels.join(", ")
                };
                Err(Failure::usage(format!(
                    "the scan shows the vertebrae {} from head to foot ({} of them whole), and nothing in it tells their levels",
                    list(&present),
                    whole.len()
                ))
                .with_help("choose one with --model builtin --label K, and say with --level which it is; or take --level all")
                .into())
            }
        }
    }
}
