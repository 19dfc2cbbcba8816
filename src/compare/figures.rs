//! Figure 2 of Saillard et al. 2024 for a cohort, the Bland-Altman plots and the scatter plots.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Statistics;
use super::agreement::{Agreement, Limits};
use super::canvas::{
    Axes, Canvas, LEAST_WIDTH, begin, force_unit, head, minus, nothing, padded, panels, signed,
    size,
};
use super::cohort::Bone;
use super::marks::{Groups, Key};
use super::ranks::BoneStatistics;
use super::statistics::mean;
use super::variant::Variant;
use crate::report::Figure;
use crate::report::figure::DrawingFailure;
use crate::report::plot::{INK, SOFT_INK, trimmed};

const NO_PAIRS: &str = "no case has a failure load with the manual and with another mask";

/// Loads of every case by mask.
#[derive(Clone, Copy, Debug)]
pub struct LoadFigure<'a> {
    /// The bones, one panel each.
    pub bones: &'a [Bone],
    /// Their tests, which give the stars.
    pub statistics: &'a Statistics,
}

/// Height of a panel of [`LoadFigure`], pixels.
const LOAD_PANEL: u32 = 640;

impl LoadFigure<'_> {
    fn key(&self) -> Vec<Key> {
        let mut key = Groups::of(self.bones).key();
        key.push(Key::Line(INK, "mean".to_owned()));
        key.push(Key::Note(
            "* p < 0.05 against manual (Dunn, Bonferroni)".to_owned(),
        ));
        key
    }
}

impl Figure for LoadFigure<'_> {
    fn size(&self) -> (u32, u32) {
        let widest = self.bones.iter().map(wanted_width).max().unwrap_or(0);
        let width = widest.max(LEAST_WIDTH);
        let panels = LOAD_PANEL * self.bones.len() as u32;
        (width, head(width, &self.key()) + panels)
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let groups = Groups::of(self.bones);
        let body = begin(area, "Failure load of every case by mask", &self.key())?;
        let (width, _) = body.dim_in_pixel();
        for (number, bone) in self.bones.iter().enumerate() {
            let top = number as i32 * LOAD_PANEL as i32;
            let panel = body.clone().shrink((0, top), (width, LOAD_PANEL));
            draw_loads(&panel, bone, self.statistics.bones.get(&bone.name), &groups)?;
        }
        area.present()?;
        Ok(())
    }
}

/// Width in which the names of neighbouring segmentations do not touch, pixels.
fn wanted_width(bone: &Bone) -> u32 {
    // A name lies centred below its masks; 15 pixels hold the widest letter.
    let names: Vec<[usize; 2]> = bases(bone)
        .map(|base| [15 * base[0].base().len() + 20, base.len()])
        .collect();
    let between = names
        .windows(2)
        .map(|pair| (pair[0][0] + pair[1][0]) / (pair[0][1] + pair[1][1]));
    let at_the_ends = names.iter().map(|[width, masks]| width / (masks + 1));
    let column = between.chain(at_the_ends).max().unwrap_or(0).max(96);
    170 + (column * bone.variants.len()) as u32
}

/// The variants of each segmentation.
fn bases(bone: &Bone) -> impl Iterator<Item = &[Variant]> {
    bone.variants.chunk_by(|a, b| a.base() == b.base())
}

fn draw_loads<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    bone: &Bone,
    statistics: Option<&BoneStatistics>,
    groups: &Groups,
) -> Result<(), DrawingFailure>
where
    B::ErrorType: 'static,
{
    let loads = || {
        bone.cases
            .iter()
            .flat_map(|case| case.variants.values().filter_map(|m| m.load_n))
    };
    let (per_n, unit) = force_unit(loads());
    let mut y = padded(loads().map(|load| per_n * load));
    let star = y[1];
    y[1] += 0.08 * (y[1] - y[0]);
    let p = statistics.and_then(|s| s.tests.friedman.p);
    let test = p.map_or(String::new(), |p| {
        format!(", Friedman p {}", probability(p))
    });
    let two_lines = bases(bone).any(|base| base.len() > 1);
    let axes = Axes {
        title: format!("{}, {} cases{test}", bone.name, bone.cases.len()),
        x: [-0.6, bone.variants.len() as f64 - 0.4],
        y,
        x_name: if two_lines {
            "mask: as it is (0), eroded (−) or dilated (+)"
        } else {
            "mask"
        },
        y_name: &format!("failure load ({unit})"),
        x_numbers: false,
        two_lines,
        ..Axes::default()
    };
    let canvas = Canvas::new(area, &axes)?;
    for case in &bone.cases {
        let mark = groups.mark(&case.group);
        let place = |(at, variant)| Some([at as f64, per_n * case.load_n(variant)?]);
        let points: Vec<Option<[f64; 2]>> = bone.variants.iter().enumerate().map(place).collect();
        canvas.case(&points, mark, 5)?;
    }
    for (at, variant) in bone.variants.iter().enumerate() {
        let loads: Vec<f64> = bone
            .cases
            .iter()
            .filter_map(|case| case.load_n(variant))
            .collect();
        let x = at as f64;
        if let Some(mean) = mean(&loads) {
            let ends = [x - 0.3, x + 0.3].map(|x| [x, per_n * mean]);
            canvas.line(&ends, INK.stroke_width(5))?;
        }
        let p = statistics.and_then(|s| s.tests.dunn.iter().find(|d| d.variant == variant.word()));
        if p.is_some_and(|found| found.p_adjusted < 0.05) {
            canvas.above([x, 0.5 * (star + axes.y[1])], "*")?;
        }
    }
    let mut first = 0;
    for base in bases(bone) {
        for (at, variant) in base.iter().enumerate().filter(|_| two_lines) {
            canvas.below((first + at) as f64, 0, &offset(variant))?;
        }
        let middle = first as f64 + 0.5 * (base.len() - 1) as f64;
        canvas.below(middle, i32::from(two_lines), base[0].base())?;
        first += base.len();
    }
    Ok(())
}

/// `−1`, `0` or `+0.5 mm`.
pub(super) fn offset(variant: &Variant) -> String {
    let size = trimmed(variant.offset());
    let sign = if variant.offset() > 0.0 { "+" } else { "" };
    let unit = if variant.unit() == "mm" { " mm" } else { "" };
    format!("{sign}{}{unit}", minus(&size))
}

/// The word of a variant with the minus sign of print before an erosion, and only there.
fn named(variant: &Variant) -> String {
    let (base, step) = variant.word().split_at(variant.base().len());
    format!("{base}{}", minus(step))
}

/// `= 0.012`, or `< 0.001`.
fn probability(p: f64) -> String {
    match p < 0.001 {
        true => "< 0.001".to_owned(),
        false => format!("= {p:.3}"),
    }
}

/// A panel per mask: pairs of loads, N, with the marks of their groups.
#[derive(Clone, Debug)]
struct PairPanel<'a> {
    bone: &'a Bone,
    variant: &'a Variant,
    agreement: &'a Agreement,
}

impl PairPanel<'_> {
    fn title(&self) -> String {
        let (bone, cases) = (&self.bone.name, self.agreement.cases);
        format!("{bone}, {}, n = {cases}", named(self.variant))
    }

    fn pairs(&self) -> impl Iterator<Item = ([f64; 2], &str)> {
        self.bone
            .cases
            .iter()
            .filter_map(|case| Some((case.pair_n(self.variant)?, case.group.as_str())))
    }
}

/// All panels by bone, without the masks that no case has with the manual one.
#[derive(Clone, Debug)]
struct PairPanels<'a>(&'a [Bone], Vec<Vec<PairPanel<'a>>>);

/// What the panels of one bone share.
struct Shared<'a> {
    panels: &'a [PairPanel<'a>],
    groups: Groups<'a>,
    per_n: f64,
    unit: &'static str,
}

impl Shared<'_> {
    fn pairs(&self) -> impl Iterator<Item = [f64; 2]> {
        let panels = self.panels.iter();
        panels.flat_map(|panel| panel.pairs().map(|(pair, _)| pair))
    }
}

impl<'a> PairPanels<'a> {
    fn of(bones: &'a [Bone], statistics: &'a Statistics) -> Self {
        let of_bone = |bone: &'a Bone| {
            let found = statistics
                .bones
                .get(&bone.name)
                .map_or(&[][..], |s| &s.agreement);
            let panels = bone
                .compared()
                .zip(found)
                .filter(|(_, found)| found.cases > 0);
            panels
                .map(|(variant, agreement)| PairPanel {
                    bone,
                    variant,
                    agreement,
                })
                .collect()
        };
        Self(bones, bones.iter().map(of_bone).collect())
    }

    fn counts(&self) -> Vec<usize> {
        self.1.iter().map(Vec::len).collect()
    }

    /// The groups and these further entries.
    fn key(&self, further: Vec<Key>) -> Vec<Key> {
        Groups::of(self.0)
            .key()
            .into_iter()
            .chain(further)
            .collect()
    }

    /// Title, key, and the panels of each bone by `draw`.
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        title: &str,
        key: &[Key],
        draw: impl Fn(&Shared, &[DrawingArea<B, Shift>]) -> Result<(), DrawingFailure>,
    ) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let body = begin(area, title, key)?;
        let counts = self.counts();
        if counts.iter().sum::<usize>() == 0 {
            return nothing(&body, NO_PAIRS);
        }
        let areas = panels(&body, &counts);
        let mut areas = areas.as_slice();
        for panels in &self.1 {
            let (own, rest) = areas.split_at(panels.len());
            areas = rest;
            let loads = panels.iter().flat_map(PairPanel::pairs);
            let (per_n, unit) = force_unit(loads.flat_map(|(pair, _)| pair));
            let shared = Shared {
                panels,
                groups: Groups::of(self.0),
                per_n,
                unit,
            };
            draw(&shared, own)?;
        }
        area.present()?;
        Ok(())
    }
}

/// Difference of the load from that with the manual mask over the mean of the two, a panel per mask (Bland and Altman 1986).
#[derive(Clone, Debug)]
pub struct BlandAltmanFigure<'a>(PairPanels<'a>);

impl<'a> BlandAltmanFigure<'a> {
    /// The figure of some bones.
    pub fn of(bones: &'a [Bone], statistics: &'a Statistics) -> Self {
        Self(PairPanels::of(bones, statistics))
    }

    fn key(&self) -> Vec<Key> {
        self.0.key(vec![
            Key::Line(INK, "mean difference".to_owned()),
            Key::Dashed(SOFT_INK, "mean ± 1.96 SD".to_owned()),
        ])
    }
}

impl Figure for BlandAltmanFigure<'_> {
    fn size(&self) -> (u32, u32) {
        size(&self.0.counts(), &self.key())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let title = "Agreement with the manual masks (Bland-Altman)";
        self.0.draw(area, title, &self.key(), |shared, areas| {
            let (per_n, unit) = (shared.per_n, shared.unit);
            let x = padded(
                shared
                    .pairs()
                    .map(|[manual, other]| 0.5 * per_n * (manual + other)),
            );
            let ends = |limits: &Limits| [limits.lower_limit, limits.upper_limit];
            let limits = shared.panels.iter();
            let limits = limits.filter_map(|panel| panel.agreement.difference_n.as_ref());
            let limits = limits.flat_map(ends).flatten();
            let differences = shared.pairs().map(|[manual, other]| other - manual);
            let y = padded(differences.chain(limits).chain([0.0]));
            for (panel, area) in shared.panels.iter().zip(areas) {
                let axes = Axes {
                    title: panel.title(),
                    x,
                    y,
                    x_name: &format!("mean of the two failure loads ({unit})"),
                    y_name: "difference from manual (N)",
                    right: 96,
                    ..Axes::default()
                };
                let canvas = Canvas::new(area, &axes)?;
                canvas.level(0.0, SOFT_INK.mix(0.5).stroke_width(1))?;
                if let Some(limits) = &panel.agreement.difference_n {
                    canvas.level(limits.mean, INK.stroke_width(4))?;
                    let dashed: Vec<f64> = ends(limits).into_iter().flatten().collect();
                    for height in &dashed {
                        canvas.dashed_level(*height, SOFT_INK)?;
                    }
                    let mut heights = [dashed, vec![limits.mean]].concat();
                    heights.sort_by(|a, b| b.total_cmp(a));
                    let labels: Vec<(f64, String)> =
                        heights.iter().map(|h| (*h, signed(*h, 0))).collect();
                    canvas.right_of(&labels)?;
                }
                for ([manual, other], group) in panel.pairs() {
                    let at = [0.5 * per_n * (manual + other), other - manual];
                    canvas.mark(at, shared.groups.mark(group), 7)?;
                }
            }
            Ok(())
        })
    }
}

/// The load with each mask over that with the manual mask, a panel per mask, with the identity line.
#[derive(Clone, Debug)]
pub struct ScatterFigure<'a>(PairPanels<'a>);

impl<'a> ScatterFigure<'a> {
    /// The figure of some bones.
    pub fn of(bones: &'a [Bone], statistics: &'a Statistics) -> Self {
        Self(PairPanels::of(bones, statistics))
    }

    fn key(&self) -> Vec<Key> {
        self.0.key(vec![Key::Line(SOFT_INK, "identity".to_owned())])
    }
}

impl Figure for ScatterFigure<'_> {
    fn size(&self) -> (u32, u32) {
        size(&self.0.counts(), &self.key())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let title = "Failure loads with other masks over those with the manual masks";
        self.0.draw(area, title, &self.key(), |shared, areas| {
            let (per_n, unit) = (shared.per_n, shared.unit);
            let range = padded(shared.pairs().flatten().map(|load| per_n * load));
            for (panel, area) in shared.panels.iter().zip(areas) {
                let r2 = panel.agreement.regression.as_ref();
                let r2 = r2.map_or(String::new(), |line| format!(", R² = {:.3}", line.r2));
                let axes = Axes {
                    title: panel.title() + &r2,
                    x: range,
                    y: range,
                    x_name: &format!("failure load, manual ({unit})"),
                    y_name: &format!("failure load, {} ({unit})", named(panel.variant)),
                    ..Axes::default()
                };
                let canvas = Canvas::new(area, &axes)?;
                canvas.line(&[[range[0]; 2], [range[1]; 2]], SOFT_INK.stroke_width(3))?;
                for (pair, group) in panel.pairs() {
                    let at = pair.map(|load| per_n * load);
                    canvas.mark(at, shared.groups.mark(group), 7)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_sign_of_an_erosion_is_a_minus() {
        for (word, shown) in [
            ("nnunet-2d", "nnunet-2d"),
            ("nnunet-2d-1", "nnunet-2d−1"),
            ("automatic-0.5mm", "automatic−0.5mm"),
            ("manual+2", "manual+2"),
        ] {
            assert_eq!(named(&Variant::of(word)), shown);
        }
    }
}
