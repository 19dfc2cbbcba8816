//! The options that `run`, `sweep` and `mesh` share: the case, and the method.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use solver::Device;

use crate::automatic;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::Existing;
use crate::plan::{
    Assignment, Bone, CalibrationSpec, LabelNames, LevelChoice, MorphElement, MorphUnit, Plan,
    RodSource, Side, Subject,
};
use crate::protocol::Protocol;
use crate::run::RunRequest;

/// The case and the method.
#[derive(Clone, Debug, Args)]
pub struct CaseArgs {
    /// CT scan: .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, a directory of DICOM slices, or DIR#SERIES by number or UID
    #[arg(long, value_name = "SCAN")]
    pub ct: PathBuf,
    /// Resample gantry tilt, uneven spacing and gaps of one or two slices of a DICOM series, which are refused otherwise
    // A value, so that a study's table has it as a column and an option can undo a plan.
    #[arg(
        long,
        value_name = "true|false",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub repair: Option<bool>,
    /// Bone: femur or vertebra
    #[arg(long, required_unless_present = "plan")]
    pub bone: Option<Bone>,
    /// Side of the patient: left or right [default: from the label map or the scan's affine]
    #[arg(long)]
    pub side: Option<Side>,
    /// Vertebra: C1 to L6 (or vertebrae_C1 …), whose label is taken where --label is not given; or all [default: from the
    /// label]
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<LevelChoice>,
    /// Numbering of the vertebrae in the label map: verse (1-24 = C1-L5, 25 = L6, 28 = T13) or totalsegmentator (version 2:
    /// 27-31 = L5-L1, 32-43 = T12-T1, 44-50 = C7-C1) [default: verse]
    #[arg(long, value_name = "NAMES")]
    pub label_names: Option<LabelNames>,
    /// Mask or label map on the scan's grid
    #[arg(long, value_name = "MASK")]
    pub mask: Option<PathBuf>,
    /// Label values of the bone in the mask, or of those that a model gives, joined into one; for a vertebra the first is the body
    #[arg(
        long,
        value_name = "K,…",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub label: Vec<u16>,
    /// Segmentation model, used without --mask: builtin, or the folder of an nnU-Net v2 model [default: builtin]
    #[arg(long, value_name = "builtin|DIR", conflicts_with = "mask")]
    pub model: Option<String>,
    /// Protocol: a name (see `osteoload protocol list`) or a file ending in .toml [default: that of the bone]
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "plan")]
    pub protocol: Option<String>,
    /// Plan of an earlier run, which this one repeats
    #[arg(long, value_name = "plan.toml")]
    pub plan: Option<PathBuf>,
    /// One setting of the method; may be repeated (see `osteoload protocol keys`)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,
    /// Unit of --morph: voxel, mm, or sd (standard deviations of the surface, place by place, as the segmentation states them)
    /// [default: voxel]
    #[arg(long, value_name = "UNIT")]
    pub morph_unit: Option<MorphUnit>,
    /// Standard deviation of the surface of --mask, mm: a map on the grid of the scan, for --morph-unit sd (a built-in network
    /// states its own)
    #[arg(long, value_name = "MAP", requires = "mask")]
    pub uncertainty: Option<PathBuf>,
    /// What a mask grows or shrinks by in voxels: faces (6 neighbours), corners (26) or ball [default: faces]
    #[arg(long, value_name = "ELEMENT")]
    pub morph_element: Option<MorphElement>,
    /// From CT number to density: file:calibration.json, line:SLOPE,INTERCEPT[,BASIS] (mg/cm3 = SLOPE HU +
    /// INTERCEPT), density[:BASIS] (the scan is mg/cm3 already), phantom:MODEL, internal (by the patient's tissues),
    /// internal:without=TISSUE[+TISSUE], internal:TISSUE=MG_CM3,TISSUE=MG_CM3[,BASIS] (the line through two); BASIS is
    /// k2hpo4 (default), ha or ash
    #[arg(long, value_name = "SPEC")]
    pub calibration: Option<CalibrationSpec>,
    /// The phantom's rods: a label map with one value per rod, or a .toml with their centres
    #[arg(long, value_name = "LABELS|CENTRES")]
    pub rods: Option<RodSource>,
    /// The patient's tissues for an internal calibration: a label map of 1 adipose, 2 air, 3 blood, 4 cortical bone, 5 muscle (those
    /// not in it are found)
    #[arg(long, value_name = "LABELS")]
    pub tissues: Option<PathBuf>,
    /// Scan of an asynchronous phantom
    #[arg(long, value_name = "SCAN")]
    pub phantom_ct: Option<PathBuf>,
    /// Go on although this quality gate refuses; may be repeated
    #[arg(long, value_name = "GATE")]
    pub accept: Vec<String>,
}

impl CaseArgs {
    /// The plan: from `--plan` or the protocol, the options on top; `complete` adds to the case.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage or input.
    pub fn resolve(&self, complete: impl FnOnce(&mut Subject)) -> anyhow::Result<Plan> {
        if let Some(path) = &self.plan {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("the plan {} cannot be read", path.display()))
                .kind(Kind::Input)?;
            let mut plan = Plan::from_toml(&text).with_context(|| path.display().to_string())?;
            if let Some(bone) = self.bone.filter(|bone| *bone != plan.subject.bone) {
                return Err(Failure::usage(format!(
                    "--bone {bone} contradicts the plan, which is for a {}",
                    plan.subject.bone
                ))
                .into());
            }
            self.fill(&mut plan.subject);
            complete(&mut plan.subject);
            return plan.with(&self.set);
        }
        let bone = self
            .bone
            .ok_or_else(|| Failure::usage("--bone is missing"))?;
        let mut subject = Subject::new(bone, None);
        self.fill(&mut subject);
        complete(&mut subject);
        let name = self.protocol.as_deref();
        let protocol = Protocol::load(name.unwrap_or(Protocol::default_name(bone)), bone)?;
        Plan::resolve(&protocol, subject, &self.set)
    }

    /// The request of a plan that [`CaseArgs::resolve`] made.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage for a calibration that is missing, a setting that this build cannot follow, or as
    /// [`CaseArgs::mask`].
    pub fn request(
        &self,
        plan: Plan,
        out: PathBuf,
        existing: Existing,
        device: Device,
    ) -> anyhow::Result<RunRequest> {
        plan.subject.calibration()?;
        plan.check_available()?;
        self.check_uncertainty(&plan.subject)?;
        let named = self.protocol.as_ref();
        Ok(RunRequest {
            ct: self.ct.clone(),
            mask: self.mask(&plan)?,
            plan_file: self.plan.clone(),
            protocol_file: named
                .filter(|name| name.ends_with(".toml"))
                .map(PathBuf::from),
            plan,
            out,
            existing,
            device,
        })
    }

    /// Whether somebody states how sure the surface is, where the mask is to be moved by that.
    fn check_uncertainty(&self, subject: &Subject) -> anyhow::Result<()> {
        let stated = match (&self.mask, &subject.model) {
            (Some(_), _) => subject.uncertainty.is_some(),
            (None, Some(model)) => model == automatic::BUILT_IN,
            (None, None) => true,
        };
        if subject.morph_unit != MorphUnit::StandardDeviation || stated {
            return Ok(());
        }
        let (message, help) = match self.mask {
            Some(_) => (
                "--morph-unit sd needs the standard deviation of the mask's surface",
                "give a map in mm with --uncertainty, or another --morph-unit",
            ),
            None => (
                "--morph-unit sd needs the standard deviation of the surface, which a model folder does not state",
                "take the built-in networks, a --mask with --uncertainty, or another --morph-unit",
            ),
        };
        Err(Failure::usage(message).with_help(help).into())
    }

    /// Puts what was given into the case and leaves the rest.
    fn fill(&self, subject: &mut Subject) {
        fn put<T: Clone>(given: &Option<T>, place: &mut Option<T>) {
            if given.is_some() {
                place.clone_from(given);
            }
        }
        let named_anew = self.level.is_some() || self.label_names.is_some();
        if named_anew && subject.label_follows_level() {
            // A label that an earlier plan took from its level goes with that level.
            subject.label.clear();
        }
        if self.side.is_some() && subject.model.is_some() {
            // A label that an earlier plan took from a network goes with that side.
            subject.label.clear();
        }
        put(&self.label_names, &mut subject.label_names);
        put(&self.side, &mut subject.side);
        put(&self.level, &mut subject.level);
        put(&self.model, &mut subject.model);
        put(&self.calibration, &mut subject.calibration);
        put(&self.rods, &mut subject.rods);
        let words = |path: &PathBuf| path.display().to_string();
        put(&self.tissues.as_ref().map(words), &mut subject.tissues);
        put(
            &self.uncertainty.as_ref().map(words),
            &mut subject.uncertainty,
        );
        put(
            &self.phantom_ct.as_ref().map(words),
            &mut subject.phantom_ct,
        );
        if !self.accept.is_empty() {
            subject.accept.clone_from(&self.accept);
        }
        if !self.label.is_empty() {
            subject.label.clone_from(&self.label);
        }
        subject.repair = self.repair.unwrap_or(subject.repair);
        subject.morph_unit = self.morph_unit.unwrap_or(subject.morph_unit);
        subject.morph_element = self.morph_element.unwrap_or(subject.morph_element);
    }

    /// The mask, where one is given; else a network finds the bone.
    ///
    /// # Errors
    /// A [`Failure`] of kind usage for a mask without a label in `plan`, a label without a mask or model that it belongs to, or a bone
    /// that no built-in network knows.
    pub fn mask(&self, plan: &Plan) -> anyhow::Result<Option<PathBuf>> {
        let subject = &plan.subject;
        match &self.mask {
            Some(_) if subject.label.is_empty() && subject.level != Some(LevelChoice::All) => {
                Err(Failure::usage("--mask is given without --label")
                    .with_help("name the values of the bone in the mask with --label K[,K…], or a vertebra with --level")
                    .into())
            }
            None if subject.model.is_none()
                && !subject.label.is_empty()
                && (self.plan.is_some() || !subject.label_follows_level()) =>
            {
                // Also of a plan whose run had a mask: the same value means another bone to a network.
                Err(Failure::usage("a label is given without the --mask it belongs to")
                    .with_help("give the mask it belongs to with --mask, or a model with --model; the built-in networks need no --label")
                    .into())
            }
            None => automatic::check(subject).map(|()| None),
            mask => Ok(mask.clone()),
        }
    }
}
