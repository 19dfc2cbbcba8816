//! How the load follows erosion and dilation of the masks.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::canvas::{Axes, Canvas, begin, nothing, padded, panels, size};
use super::cohort::{Bone, difference};
use super::figures::offset;
use super::marks::{Groups, Key};
use super::statistics::Summary;
use super::variant::Variant;
use crate::report::Figure;
use crate::report::figure::DrawingFailure;
use crate::report::plot::{INK, SOFT_INK};

/// Difference of the load from the manual one over erosion and dilation, a panel per bone and segmentation.
#[derive(Clone, Copy, Debug)]
pub struct SensitivityFigure<'a> {
    /// The bones.
    pub bones: &'a [Bone],
}

/// A segmentation with its eroded and dilated masks in one unit.
struct Curve<'a> {
    bone: &'a Bone,
    variants: Vec<&'a Variant>,
    unit: &'a str,
}

impl<'a> Curve<'a> {
    /// The curves of a bone. A segmentation as it is belongs to those of all units.
    fn of(bone: &'a Bone) -> Vec<Self> {
        let mut curves = Vec::new();
        for base in bone.variants.chunk_by(|a, b| a.base() == b.base()) {
            for unit in ["voxels", "mm", "standard deviations"] {
                let belongs = |variant: &&Variant| variant.is_plain() || variant.unit() == unit;
                let variants: Vec<&Variant> = base.iter().filter(belongs).collect();
                let known = |variant: &&&Variant| {
                    bone.cases.iter().any(|case| case.pair_n(variant).is_some())
                };
                let variants: Vec<&Variant> = variants.iter().filter(known).copied().collect();
                if variants.len() > 1 {
                    curves.push(Self {
                        bone,
                        variants,
                        unit,
                    });
                }
            }
        }
        curves
    }

    /// Differences with one mask, percent of the manual load.
    fn percents(&self, variant: &Variant) -> Vec<f64> {
        let pairs = self
            .bone
            .cases
            .iter()
            .filter_map(|case| case.pair_n(variant));
        pairs.map(|pair| difference(pair)[1]).collect()
    }
}

impl SensitivityFigure<'_> {
    fn curves(&self) -> Vec<Vec<Curve<'_>>> {
        self.bones.iter().map(Curve::of).collect()
    }

    fn key(&self) -> Vec<Key> {
        let mut key = Groups::of(self.bones).key();
        key.push(Key::Line(INK, "mean ± SD".to_owned()));
        key
    }
}

impl Figure for SensitivityFigure<'_> {
    fn size(&self) -> (u32, u32) {
        let counts: Vec<usize> = self.curves().iter().map(Vec::len).collect();
        size(&counts, &self.key())
    }

    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), DrawingFailure>
    where
        B::ErrorType: 'static,
    {
        let groups = Groups::of(self.bones);
        let body = begin(
            area,
            "Failure load over erosion and dilation of the masks",
            &self.key(),
        )?;
        let curves = self.curves();
        let counts: Vec<usize> = curves.iter().map(Vec::len).collect();
        if counts.iter().sum::<usize>() == 0 {
            return nothing(
                &body,
                "no case has a failure load with an eroded or dilated mask",
            );
        }
        let mut areas = panels(&body, &counts).into_iter();
        for of_bone in &curves {
            let values = of_bone.iter().flat_map(|curve| {
                curve.variants.iter().flat_map(|variant| {
                    let percents = curve.percents(variant);
                    let ends = Summary::of(&percents).into_iter().flat_map(|s| {
                        let sd = s.standard_deviation.unwrap_or(0.0);
                        [s.mean - sd, s.mean + sd]
                    });
                    ends.chain(percents.clone()).collect::<Vec<f64>>()
                })
            });
            let y = padded(values.chain([0.0]));
            for (curve, area) in of_bone.iter().zip(areas.by_ref()) {
                draw_curve(&area, curve, y, &groups)?;
            }
        }
        area.present()?;
        Ok(())
    }
}

fn draw_curve<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    curve: &Curve,
    y: [f64; 2],
    groups: &Groups,
) -> Result<(), DrawingFailure>
where
    B::ErrorType: 'static,
{
    let x = padded(curve.variants.iter().map(|variant| variant.offset()));
    let base = curve.variants[0].base();
    let axes = Axes {
        title: format!("{}, {base}", curve.bone.name),
        x,
        y,
        x_name: &format!("erosion (−) or dilation (+) ({})", curve.unit),
        y_name: "load against manual (%)",
        x_numbers: false,
        ..Axes::default()
    };
    let canvas = Canvas::new(area, &axes)?;
    canvas.level(0.0, SOFT_INK.mix(0.6).stroke_width(2))?;
    for case in &curve.bone.cases {
        let point =
            |variant: &&Variant| Some([variant.offset(), difference(case.pair_n(variant)?)[1]]);
        let points: Vec<Option<[f64; 2]>> = curve.variants.iter().map(point).collect();
        canvas.case(&points, groups.mark(&case.group), 4)?;
    }
    let mut means = Vec::new();
    for variant in &curve.variants {
        canvas.below(variant.offset(), 0, offset(variant).trim_end_matches(" mm"))?;
        let Some(summary) = Summary::of(&curve.percents(variant)) else {
            continue;
        };
        means.push([variant.offset(), summary.mean]);
        if let Some(sd) = summary.standard_deviation {
            let ends = [summary.mean - sd, summary.mean + sd].map(|y| [variant.offset(), y]);
            canvas.line(&ends, INK.stroke_width(3))?;
        }
    }
    canvas.line(&means, INK.stroke_width(5))?;
    Ok(())
}
