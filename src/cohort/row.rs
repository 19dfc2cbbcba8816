//! A case of a cohort: a row of COHORT.csv, resolved, and the variants of its mask.

use std::path::PathBuf;

use crate::automatic::BUILT_IN;
use crate::exit::Ending;
use crate::plan::{Bone, CalibrationSpec, Level, MorphUnit, Side};
use crate::run::RunRequest;
use crate::sweep::signed;

/// Names of the folders of a cohort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `cases/CASE/VARIANT`.
    #[default]
    Plain,
    /// A BIDS derivative: `sub-CASE/desc-VARIANT`, with `dataset_description.json` (BIDS 1.9, common derivatives).
    Bids,
}

/// The mask that a case is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The mask or label map.
    pub mask: PathBuf,
    /// Label values of the bone in it.
    pub label: Vec<u16>,
}

/// A case.
#[derive(Clone, Debug)]
pub struct CohortCase {
    /// Its name.
    pub case: String,
    /// Group of patients, such as `healthy`; may be empty.
    pub group: String,
    /// Who drew the mask, where several did; may be empty.
    pub operator: String,
    /// The patient's sex; may be empty.
    pub sex: String,
    /// What its row says of the bone, as it stands there: bone, side, level, body weight.
    pub said: [String; 4],
    /// The run of its own mask, or of a network's, unmorphed; or why the row cannot be run.
    pub request: Result<RunRequest, Ending>,
    /// Whether a mask is given, so that no network is asked.
    pub has_mask: bool,
    /// The manual mask, where the row's own is compared with one.
    pub reference: Option<Reference>,
    /// Erosions and dilations in rising order, 0 among them.
    pub morphs: Vec<f64>,
    /// Unit of the morphs.
    pub unit: MorphUnit,
    /// Every cell of the row in one text: a row that was changed is another case.
    pub cells: String,
}

/// A variant of a case's mask.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variant {
    /// `manual`, `automatic`, with a morph as in `manual-1`.
    pub name: String,
    /// Whether its mask is the reference.
    pub of_reference: bool,
    /// Its morph.
    pub morph: f64,
}

/// Volume that a bone is taken to have before its mask is read, mm³: of large ones.
const FEMUR_MM3: f64 = 300_000.0;
const VERTEBRA_MM3: f64 = 80_000.0;
/// Memory of a network at work, MiB: 1.48 GiB of a foreign nnU-Net on 300x250x200 voxels; the built-in ones took 0.64 GB.
const NETWORK_MIB: f64 = 1500.0;

impl CohortCase {
    /// Its name with what tells it from others of the patient.
    pub fn name(&self) -> String {
        let [_, side, level, _] = &self.said;
        let mut name = self.case.clone();
        for part in [side, level] {
            if !part.is_empty() {
                name += &format!("_{part}");
            }
        }
        if !self.operator.is_empty() {
            name += &format!("_op-{}", self.operator);
        }
        name
    }

    /// Bone, side, level and body weight as its row says them, in the words of results; empty where they are none.
    pub(super) fn said_as_words(&self) -> [String; 4] {
        let [bone, side, level, weight] = &self.said;
        let word = |found: Option<String>| found.unwrap_or_default();
        [
            word(bone.parse::<Bone>().ok().map(|bone| bone.to_string())),
            word(side.parse::<Side>().ok().map(|side| side.to_string())),
            word(level.parse::<Level>().ok().map(|level| level.to_string())),
            weight.clone(),
        ]
    }

    /// Labels that are discs or caps.
    pub(super) fn cap_labels(&self) -> &[u16] {
        match &self.request {
            Ok(request) => &request.plan.settings.load.cap_labels,
            Err(_) => &[],
        }
    }

    /// Every file that its runs read.
    pub(super) fn inputs(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self
            .reference
            .iter()
            .map(|reference| reference.mask.clone())
            .collect();
        let Ok(request) = &self.request else {
            return paths;
        };
        let subject = &request.plan.subject;
        paths.push(request.ct.clone());
        paths.extend(request.mask.clone());
        paths.extend(request.plan_file.clone());
        paths.extend(request.protocol_file.clone());
        paths.extend(subject.rods.as_ref().map(|rods| rods.path().to_owned()));
        paths.extend(subject.tissues.as_ref().map(PathBuf::from));
        paths.extend(subject.uncertainty.as_ref().map(PathBuf::from));
        paths.extend(subject.phantom_ct.as_ref().map(PathBuf::from));
        match &subject.calibration {
            Some(CalibrationSpec::File(path)) => paths.push(path.clone()),
            Some(CalibrationSpec::Phantom(model)) if model.ends_with(".toml") => {
                paths.push(PathBuf::from(model));
            }
            _ => {}
        }
        if let Some(model) = subject.model.as_deref().filter(|model| *model != BUILT_IN) {
            paths.push(PathBuf::from(model));
        }
        paths
    }

    /// The variants of its mask, what the others are compared with first. Beside a manual mask it is the case's own that is eroded and
    /// dilated (Saillard 2024, Table 3).
    pub(super) fn variants(&self) -> Vec<Variant> {
        let named = |base: &str, of_reference: bool, morph: f64| {
            let step = match (morph == 0.0, self.unit) {
                (true, _) => String::new(),
                (_, MorphUnit::Voxel) => signed(morph),
                (_, unit) => format!("{}{unit}", signed(morph)),
            };
            Variant {
                name: format!("{base}{step}"),
                of_reference,
                morph,
            }
        };
        let base = match (&self.reference, self.has_mask) {
            (None, true) => "manual",
            _ => "automatic",
        };
        let mut variants: Vec<Variant> = self
            .morphs
            .iter()
            .map(|&morph| named(base, false, morph))
            .collect();
        variants.sort_by_key(|variant| variant.morph != 0.0);
        if self.reference.is_some() {
            variants.insert(0, named("manual", true, 0.0));
        }
        variants
    }

    /// The run of a variant, without its output directory.
    pub(super) fn variant_request(&self, variant: &Variant) -> anyhow::Result<RunRequest> {
        use crate::exit::Failure;
        let mut request = self.request.clone().map_err(Failure::from)?;
        if let (true, Some(reference)) = (variant.of_reference, &self.reference) {
            request.mask = Some(reference.mask.clone());
            request.plan.subject.label.clone_from(&reference.label);
            request.plan.subject.model = None;
        }
        request.plan.subject.morph = variant.morph;
        request.plan = request.plan.with(&[])?;
        Ok(request)
    }

    /// Memory that the case is expected to take, MiB, from the header of its scan.
    pub(super) fn expected_memory_mib(&self) -> f64 {
        let Ok(request) = &self.request else {
            return 0.0;
        };
        // Read or not, the case says itself what is wrong with its scan.
        let Ok(info) = crate::ct::describe(&request.ct, request.plan.subject.repair) else {
            return 0.0;
        };
        let bone_mm3 = match request.plan.subject.bone {
            Bone::Femur => FEMUR_MM3,
            Bone::Vertebra => VERTEBRA_MM3,
        };
        let network = match self.has_mask {
            true => 0.0,
            false => NETWORK_MIB,
        };
        crate::run::beside::expected_memory_of_grid_mib(&info.grid, &request.plan, bone_mm3)
            + network
    }
}
