//! The levels of a sweep and what follows from them: changes, slopes, the band, `sweep.csv` and `sweep.json`.

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::budget::Budget;
use super::signed;
use crate::exit::Ending;
use crate::plan::{ConstitutiveModel, Criterion, LoadKind, MeshKind, MorphUnit, Plan};
use crate::report::{MeshStatistics, RunResult};
use crate::risk::Risk;
use crate::run::beside::Done;
use crate::run::{CaseEnding, Shape, nearest_mm};

/// What a sweep compares between its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The failure load.
    FailureLoad,
    /// Pistoia's estimate of a linear run.
    PistoiaLoad,
    /// The strength estimate of a linear compression.
    LinearStrength,
    /// The stiffness, of a linear run that estimates no strength.
    Stiffness,
}

impl Quantity {
    /// What a plan asks for.
    fn of(plan: &Plan) -> Self {
        let settings = &plan.settings;
        let compression = matches!(
            settings.load.case,
            LoadKind::EndplateCompression | LoadKind::PlatenCompression
        );
        match settings.failure.criterion {
            Criterion::MaximumForce | Criterion::HeightReduction => Self::FailureLoad,
            Criterion::Pistoia => Self::PistoiaLoad,
            Criterion::None
                if compression && settings.material.model == ConstitutiveModel::Linear =>
            {
                Self::LinearStrength
            }
            Criterion::None => Self::Stiffness,
        }
    }

    /// Its value in a result, N or N/mm.
    pub fn value(self, result: &RunResult) -> Option<f64> {
        match self {
            Self::FailureLoad => result.failure_load_n,
            Self::PistoiaLoad => result.pistoia_load_n,
            Self::LinearStrength => result.linear_strength_n,
            Self::Stiffness => result.stiffness_n_per_mm,
        }
    }

    /// Its name in files, with the unit.
    pub fn column(self) -> String {
        let name = match self {
            Self::FailureLoad => "failure_load",
            Self::PistoiaLoad => "pistoia_load",
            Self::LinearStrength => "linear_strength",
            Self::Stiffness => "stiffness",
        };
        format!("{name}_{}", self.key_unit())
    }

    /// Its unit as keys of files carry it.
    fn key_unit(self) -> &'static str {
        match self {
            Self::Stiffness => "n_per_mm",
            _ => "n",
        }
    }

    /// Its name in words, for a figure.
    pub fn title(self) -> &'static str {
        match self {
            Self::FailureLoad => "failure load",
            Self::PistoiaLoad => "load by Pistoia's criterion",
            Self::LinearStrength => "linear strength",
            Self::Stiffness => "stiffness",
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Stiffness => "N/mm",
            _ => "N",
        }
    }
}

/// Edge of an element of mean volume, of a cube or of a regular tetrahedron, mm.
fn edge_mm(mesh: &MeshStatistics) -> f64 {
    let volume = match mesh.kind {
        MeshKind::Hex => mesh.mean_volume_mm3,
        MeshKind::Tet10 => mesh.mean_volume_mm3 * 6.0 * std::f64::consts::SQRT_2,
    };
    volume.cbrt()
}

/// How boundary nodes moved against those of the unmorphed mask.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// Nodes of this level.
    pub nodes: usize,
    /// Those farther than half an element's edge from every node of the unmorphed mask's set, percent.
    pub moved_percent: f64,
    /// Mean distance to the nearest node of that set, mm.
    pub mean_mm: f64,
    /// Largest distance, mm.
    pub max_mm: f64,
}

impl Moved {
    fn of(nodes: &[[f64; 3]], base: &[[f64; 3]], edge_mm: f64) -> Option<Self> {
        let distances = nearest_mm(nodes, base);
        if distances.is_empty() {
            return None;
        }
        let count = distances.len() as f64;
        let moved = distances.iter().filter(|far| **far > 0.5 * edge_mm).count();
        Some(Self {
            nodes: distances.len(),
            moved_percent: 100.0 * moved as f64 / count,
            mean_mm: distances.iter().sum::<f64>() / count,
            max_mm: distances.iter().copied().fold(0.0, f64::max),
        })
    }
}

/// One level.
#[derive(Clone, Debug)]
pub struct Level {
    /// Dilation (positive) or erosion (negative), in the sweep's unit.
    pub morph: f64,
    /// Its result, where the analysis ran.
    pub result: Option<RunResult>,
    /// How it ended where it did not give what was asked for.
    pub ending: Option<Ending>,
    /// The word for how it ended, as in `results.csv` of `run --level all`.
    pub status: &'static str,
    /// Volume of the mask, mm³.
    pub volume_mm3: Option<f64>,
    /// Dice coefficient against the unmorphed mask.
    pub dice: Option<f64>,
    /// The compared quantity, N or N/mm.
    pub value: Option<f64>,
    /// Its change against the unmorphed mask, percent.
    pub change_percent: Option<f64>,
    /// Slope of the compared quantity over the mask's surface there, N/mm (N/mm² of a stiffness).
    pub slope_per_mm: Option<f64>,
    /// The loaded nodes.
    pub loaded: Option<Moved>,
    /// The held nodes.
    pub fixed: Option<Moved>,
}

impl Level {
    /// How it ended.
    pub(crate) fn case_ending(&self) -> CaseEnding {
        match (&self.result, &self.ending) {
            (Some(result), _) => CaseEnding::Ran(Box::new(result.clone())),
            (None, Some(ending)) if self.status != "not_run" => CaseEnding::Failed(ending.clone()),
            _ => CaseEnding::NotRun,
        }
    }
}

/// A sweep, level by level in rising order.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// What is compared.
    pub quantity: Quantity,
    /// Unit of the levels.
    pub unit: MorphUnit,
    /// What one unit moves the surface by, mm: 1, or for voxels the cube root of a voxel's volume; `None` where that is not the same
    /// everywhere.
    pub mm_per_unit: Option<f64>,
    /// The levels.
    pub levels: Vec<Level>,
    /// Load in proportion: of the lowest, the unmorphed and the highest level.
    pub risk: [Risk; 3],
    /// Direction of the load on the unmorphed mask, in the patient (LPS, unit), where it was computed.
    pub load_direction: Option<[f64; 3]>,
}

impl Sweep {
    /// Compares the levels `morphs`, which are in rising order and were computed on a scan with voxels of `spacing_mm`.
    pub(crate) fn of(plan: &Plan, spacing_mm: [f64; 3], morphs: &[f64], done: Vec<Done>) -> Self {
        let unit = plan.subject.morph_unit;
        let mm_per_unit = match unit {
            MorphUnit::Millimetre => Some(1.0),
            MorphUnit::Voxel => Some(spacing_mm.iter().product::<f64>().cbrt()),
            MorphUnit::StandardDeviation => None,
        };
        let base = morphs.iter().position(|&morph| morph == 0.0);
        let base = base.and_then(|place| done.get(place));
        let base_shape = base.and_then(|done| done.shape.clone());
        let quantity = Quantity::of(plan);
        let base_value = base.and_then(|done| match &done.ending {
            CaseEnding::Ran(result) => quantity.value(result),
            _ => None,
        });
        let mut levels: Vec<Level> = morphs
            .iter()
            .zip(done)
            .map(|(&morph, done)| {
                let against_base = |compare: fn(&Shape, &Shape, f64) -> Option<Moved>| {
                    let (shape, base) = (done.shape.as_ref()?, base_shape.as_ref()?);
                    let CaseEnding::Ran(result) = &done.ending else {
                        return None;
                    };
                    compare(shape, base, edge_mm(&result.mesh))
                };
                let ending = done.ending.ending(plan);
                let value = match &done.ending {
                    CaseEnding::Ran(result) => quantity.value(result),
                    _ => None,
                };
                Level {
                    morph,
                    ending,
                    status: done.ending.status(plan),
                    volume_mm3: done.shape.as_ref().map(|shape| shape.volume_mm3),
                    dice: done
                        .shape
                        .as_ref()
                        .zip(base_shape.as_ref())
                        .and_then(|(shape, base)| shape.dice(base)),
                    value,
                    change_percent: value
                        .zip(base_value)
                        .map(|(value, base)| 100.0 * (value / base - 1.0)),
                    slope_per_mm: None,
                    loaded: against_base(|shape, base, edge_mm| {
                        Moved::of(&shape.loaded_mm, &base.loaded_mm, edge_mm)
                    }),
                    fixed: against_base(|shape, base, edge_mm| {
                        Moved::of(&shape.fixed_mm, &base.fixed_mm, edge_mm)
                    }),
                    result: match done.ending {
                        CaseEnding::Ran(result) => Some(*result),
                        _ => None,
                    },
                }
            })
            .collect();
        let points: Vec<(usize, [f64; 2])> = levels
            .iter()
            .enumerate()
            .filter_map(|(place, level)| Some((place, [level.morph * mm_per_unit?, level.value?])))
            .collect();
        let curve: Vec<[f64; 2]> = points.iter().map(|(_, point)| *point).collect();
        for ((place, _), slope) in points.iter().zip(slopes(&curve)) {
            levels[*place].slope_per_mm = slope;
        }
        let loads = || {
            let failure = |level: &Level| level.result.as_ref()?.failure_load_n;
            levels.iter().filter_map(failure)
        };
        let base_load = levels
            .iter()
            .find(|level| level.morph == 0.0)
            .and_then(|level| level.result.as_ref()?.failure_load_n);
        let risk = [
            loads().reduce(f64::min),
            base_load,
            loads().reduce(f64::max),
        ]
        .map(|load_n| Risk::of(load_n, plan));
        Self {
            quantity,
            unit,
            mm_per_unit,
            levels,
            risk,
            load_direction: base_shape.map(|shape| shape.load_direction),
        }
    }

    /// The bone in words, as the first computed level names it.
    pub fn which(&self, plan: &Plan) -> String {
        let first = self.levels.iter().find_map(|level| level.result.as_ref());
        first.map_or_else(|| plan.subject.bone.to_string(), RunResult::which)
    }

    /// The unmorphed mask.
    pub fn base(&self) -> Option<&Level> {
        self.levels.iter().find(|level| level.morph == 0.0)
    }

    /// Smallest and largest value of the compared quantity, N or N/mm.
    pub fn band(&self) -> Option<[f64; 2]> {
        let values = || self.levels.iter().filter_map(|level| level.value);
        Some([values().reduce(f64::min)?, values().reduce(f64::max)?])
    }

    /// One line for the user.
    pub fn headline(&self) -> String {
        let title = self.quantity.title();
        let unit = self.quantity.unit();
        let base = self.base();
        let Some((level, value)) = base.and_then(|level| Some((level, level.value?))) else {
            return format!("no {title} of the unmorphed mask");
        };
        let mut text = format!("{title} {value:.0} {unit}");
        if let Some([low, high]) = self.band() {
            let percent = |of: f64| 100.0 * (of / value - 1.0);
            text += &format!(
                ", {low:.0} to {high:.0} {unit} ({:+.1} to {:+.1} %) over the sweep",
                percent(low),
                percent(high)
            );
        }
        if let Some(slope) = level.slope_per_mm {
            text += &format!("; {slope:+.0} {unit} per mm of surface");
            if let Some(slope) = self.per_voxel(level) {
                text += &format!(", {slope:+.0} {unit} per voxel");
            }
        }
        text
    }

    /// `sweep.csv`.
    ///
    /// # Errors
    /// When a record cannot be written.
    pub fn to_csv(&self) -> anyhow::Result<Vec<u8>> {
        let mut table = csv::Writer::from_writer(Vec::new());
        let head = "morph,unit,dice,volume_mm3,failure_load_n,change_percent,stiffness_n_per_mm,outcome,status,slope_n_per_mm,\
            slope_n_per_voxel,pistoia_load_n,linear_strength_n,loaded_nodes,loaded_moved_percent,loaded_moved_mm,loaded_moved_max_mm,\
            held_nodes,held_moved_percent,held_moved_mm,held_moved_max_mm,checks,reason";
        table.write_record(head.split(','))?;
        for level in &self.levels {
            let result = level.result.as_ref();
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
            let moved = |moved: Option<Moved>| {
                [
                    moved.map_or_else(String::new, |m| m.nodes.to_string()),
                    number(moved.map(|m| m.moved_percent)),
                    number(moved.map(|m| m.mean_mm)),
                    number(moved.map(|m| m.max_mm)),
                ]
            };
            let mut row = vec![
                level.morph.to_string(),
                self.unit.to_string(),
                number(level.dice),
                number(level.volume_mm3),
                number(result.and_then(|r| r.failure_load_n)),
                number(level.change_percent),
                number(result.and_then(|r| r.stiffness_n_per_mm)),
                result.map_or("", |r| r.outcome.word()).to_owned(),
                level.status.to_owned(),
                number(self.of_a_load(level.slope_per_mm)),
                number(self.of_a_load(self.per_voxel(level))),
                number(result.and_then(|r| r.pistoia_load_n)),
                number(result.and_then(|r| r.linear_strength_n)),
            ];
            row.extend(moved(level.loaded));
            row.extend(moved(level.fixed));
            row.push(result.map_or_else(String::new, RunResult::reviewed));
            row.push(
                level
                    .ending
                    .as_ref()
                    .map_or_else(String::new, |ending| ending.error.clone()),
            );
            table.write_record(row)?;
        }
        table.into_inner().context("sweep.csv")
    }

    /// A slope where it is that of a load: of a stiffness it has another unit than the column.
    fn of_a_load(&self, slope: Option<f64>) -> Option<f64> {
        slope.filter(|_| self.quantity != Quantity::Stiffness)
    }

    /// Slope per voxel, where the unit is one.
    fn per_voxel(&self, level: &Level) -> Option<f64> {
        let slope = level.slope_per_mm? * self.mm_per_unit?;
        (self.unit == MorphUnit::Voxel).then_some(slope)
    }

    /// `sweep.json`: the answer with its band.
    ///
    /// # Errors
    /// When the text cannot be made.
    pub fn to_json(&self, budget: Option<&Budget>, plan: &Plan) -> anyhow::Result<String> {
        let unit = self.quantity.key_unit();
        let with_unit = |name: &str, value: Option<f64>| (format!("{name}_{unit}"), json!(value));
        let budget = budget.map(|budget| {
            let band = budget.band();
            let load = |place: usize| {
                band.filter(|_| budget.quantity == Quantity::FailureLoad)
                    .map(|band| band[place])
            };
            let mut found: Map<String, Value> = [
                with_unit("low", band.map(|band| band[0])),
                with_unit("high", band.map(|band| band[1])),
            ]
            .into_iter()
            .collect();
            found.insert(
                "risk".into(),
                json!({"low": Risk::of(load(0), plan), "high": Risk::of(load(1), plan)}),
            );
            found
        });
        let base = self.base();
        let band = self.band();
        let base_value = base.and_then(|level| level.value);
        let percent = |value: f64| base_value.map(|base| 100.0 * (value / base - 1.0));
        // Per mm of a quantity that is itself per mm.
        let per_mm = match self.quantity {
            Quantity::Stiffness => "slope_n_per_mm2",
            _ => "slope_n_per_mm",
        };
        let levels: Vec<Value> = self
            .levels
            .iter()
            .map(|level| {
                json!({
                    "morph": level.morph,
                    "level": signed(level.morph),
                    "status": level.status,
                    self.quantity.column(): level.value,
                    "change_percent": level.change_percent,
                    per_mm: level.slope_per_mm,
                    "loaded": level.loaded,
                    "held": level.fixed,
                })
            })
            .collect();
        let [low, at_base, high] = &self.risk;
        let mut found = Map::new();
        let mut put = |name: &str, value: Value| found.insert(name.to_owned(), value);
        put("quantity", json!(self.quantity.column()));
        put("unit", json!(self.unit));
        put("surface_mm_per_unit", json!(self.mm_per_unit));
        for (name, value) in [
            (self.quantity.column(), json!(base_value)),
            with_unit("low", band.map(|band| band[0])),
            with_unit("high", band.map(|band| band[1])),
        ] {
            put(&name, value);
        }
        put("low_percent", json!(band.and_then(|band| percent(band[0]))));
        put(
            "high_percent",
            json!(band.and_then(|band| percent(band[1]))),
        );
        put(per_mm, json!(base.and_then(|level| level.slope_per_mm)));
        let per_voxel = base.and_then(|level| self.of_a_load(self.per_voxel(level)));
        put("slope_n_per_voxel", json!(per_voxel));
        put("levels", json!(levels));
        put("risk", json!({"low": low, "base": at_base, "high": high}));
        put("budget", json!(budget));
        Ok(serde_json::to_string_pretty(&found)? + "\n")
    }
}

/// Slopes of a curve at its points, of rising abscissae: the parabola's through a point and its two neighbours, at the ends the line's.
/// `None` of a single point.
fn slopes(curve: &[[f64; 2]]) -> Vec<Option<f64>> {
    let chord = |a: [f64; 2], b: [f64; 2]| (b[1] - a[1]) / (b[0] - a[0]);
    (0..curve.len())
        .map(|at| match (at.checked_sub(1), curve.get(at + 1)) {
            (Some(before), Some(&after)) => {
                let (before, here) = (curve[before], curve[at]);
                let (left, right) = (here[0] - before[0], after[0] - here[0]);
                let weighed = right * chord(before, here) + left * chord(here, after);
                Some(weighed / (left + right))
            }
            (Some(before), None) => Some(chord(curve[before], curve[at])),
            (None, Some(&after)) => Some(chord(curve[at], after)),
            (None, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_of_a_parabola_are_exact_inside_and_chords_at_the_ends() {
        // y = 3 x^2 - 2 x + 1 at -1, 0, 2, 2.5: slopes 6 x - 2.
        let curve: Vec<[f64; 2]> = [-1.0, 0.0, 2.0, 2.5]
            .map(|x| [x, 3.0 * x * x - 2.0 * x + 1.0])
            .to_vec();
        let found: Vec<f64> = slopes(&curve).into_iter().flatten().collect();
        // Chords: from (-1, 6) to (0, 1), and from (2, 9) to (2.5, 14.75).
        for (found, expected) in found.iter().zip([-5.0, -2.0, 10.0, 11.5]) {
            assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        }
        assert_eq!(slopes(&[[0.0, 1.0]]), [None]);
        assert!(slopes(&[]).is_empty());
    }

    #[test]
    fn moved_nodes_by_hand() {
        let base = [[0.0; 3], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        let nodes = [[0.0; 3], [1.0, 0.0, 1.0], [2.0, 0.4, 0.0], [2.0, 0.0, 3.0]];
        let moved = Moved::of(&nodes, &base, 1.0).unwrap();
        assert_eq!((moved.nodes, moved.moved_percent), (4, 50.0));
        assert!((moved.mean_mm - 1.1).abs() < 1e-12);
        assert_eq!(moved.max_mm, 3.0);
        assert_eq!(Moved::of(&nodes, &[], 1.0), None);
    }
}
