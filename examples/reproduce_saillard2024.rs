//! The study of Saillard et al. 2024 on synthetic patients: automatic against manual masks, the automatic ones eroded and dilated by
//! one and two voxels, ending in Tables 1 to 3 and Figures 1 and 2.
//!
//! The truth of the synthetic patients stands for the manual segmentation, the built-in networks for the automatic one. Twelve femora, six
//! with a lytic lesion, and fifteen vertebrae, two with one. Run with
//!
//! ```sh
//! cargo run --release --example reproduce_saillard2024 -- OUT            # hours; --cases N takes the first N of each bone
//! cargo run --release --example reproduce_saillard2024                   # one small femur on coarse elements, for a quick look
//! ```
//!
//! An interrupted study is gone on with by the same command. What came out, beside the paper's numbers: `docs/reproduction.md`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use osteoload::cli::read_cohort;
use osteoload::cohort::{CohortRequest, Layout, cohort};
use osteoload::compare::{CompareRequest, compare};
use osteoload::evaluate::{EvaluateRequest, evaluate, table};
use osteoload::output_dir::Existing;
use osteoload::plan::Bone;
use osteoload::progress::{Progress, Verbosity};
use osteoload::synth::{self, Lesion, Options};

/// Femora and vertebrae of the paper's simulations, and how many of each carry a lesion.
const FEMORA: (usize, usize) = (12, 6);
const VERTEBRAE: (usize, usize) = (15, 2);
/// Seeds of the first femur and of the first vertebra.
const SEEDS: [u64; 2] = [2001, 2101];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (mut out, mut cases) = (None, usize::MAX);
    while let Some(argument) = arguments.next() {
        if argument == "--cases" {
            let count = arguments.next().context("--cases takes a number")?;
            cases = count.parse().context("--cases takes a number")?;
        } else {
            out = Some(PathBuf::from(argument));
        }
    }
    match out {
        Some(out) => study(&out, cases, None),
        None => {
            let folder =
                std::env::temp_dir().join(format!("osteoload-study-{}", std::process::id()));
            // Coarse: this shows the way, not the numbers.
            let quick = Some("mesh.voxel_mm=4;load.increments=20");
            let done = study(&folder, 1, quick);
            std::fs::remove_dir_all(&folder)?;
            done
        }
    }
}

/// Draws the patients, computes every variant, and compares. `quick` are settings for femora only, without vertebrae.
fn study(out: &Path, cases: usize, quick: Option<&str>) -> anyhow::Result<()> {
    std::fs::create_dir_all(out)?;
    let mut table = String::from(
        "case,group,ct,bone,side,reference_mask,reference_label,calibration,rods,morph,accept,set\n",
    );
    for (bone, (count, lesions), seed) in [
        (Bone::Femur, FEMORA, SEEDS[0]),
        (Bone::Vertebra, VERTEBRAE, SEEDS[1]),
    ] {
        if quick.is_some() && bone == Bone::Vertebra {
            continue;
        }
        for number in 0..count.min(cases) {
            // Every second patient has a lesion until all are given out.
            let lesion = number % 2 == 1 && number / 2 < lesions;
            let name = format!("{bone}-{:02}", number + 1);
            let (label, side) =
                patient(&out.join(&name), bone, seed + number as u64, lesion, quick)?;
            let group = if lesion { "lesion" } else { "healthy" };
            // The check `segmentation` refuses the networks of vertebrae; this study is to show what they do.
            let accept = if bone == Bone::Vertebra {
                "segmentation"
            } else {
                ""
            };
            let settings = quick.unwrap_or_default();
            table += &format!(
                "{name},{group},{name}/ct.nii.gz,{bone},{side},{name}/labels.nii.gz,{label},phantom:mindways-model3-ct,\
                 {name}/rods.nii.gz,\"-2,-1,0,1,2\",{accept},{settings}\n"
            );
        }
    }
    let file = out.join("cohort.csv");
    std::fs::write(&file, table)?;
    let mut progress = Progress::new(Verbosity::Normal);
    let finished = cohort(
        &CohortRequest {
            cases: read_cohort(&file, solver::Device::Cpu)?,
            file,
            out: out.join("study"),
            resume: true,
            overwrite: false,
            jobs: None,
            memory_mib: None,
            shard: None,
            layout: Layout::Plain,
            device: solver::Device::Cpu,
        },
        &mut progress,
    )?;
    ensure!(
        !finished.interrupted,
        "interrupted; the same command goes on"
    );
    let compared = compare(&CompareRequest {
        results: finished.place.join("results.csv"),
        out: out.join("comparison"),
        existing: Existing::Overwrite,
        device: solver::Device::Cpu,
    })?;
    for line in &compared.summary {
        println!("{line}");
    }
    println!(
        "\n{}",
        std::fs::read_to_string(compared.out.join("table3.md"))?
    );
    for bone in [Bone::Femur, Bone::Vertebra] {
        if let Some(text) = segmentation_table(out, &finished.place, bone)? {
            println!("Segmentation, {bone}\n\n{text}");
            std::fs::write(out.join(format!("comparison/segmentation_{bone}.md")), text)?;
        }
    }
    for row in finished.rows.iter().filter(|row| row.exit_status() != 0) {
        println!("{} {}: {}", row.case(), row.variant(), row.reason());
    }
    Ok(())
}

/// Draws a patient into a folder and gives the label and the side of the bone.
fn patient(
    folder: &Path,
    bone: Bone,
    seed: u64,
    lesion: bool,
    quick: Option<&str>,
) -> anyhow::Result<(u16, String)> {
    let options = Options {
        seed,
        lesion: if lesion { Lesion::Lytic } else { Lesion::None },
        spacing_mm: quick.map(|_| [2.0; 3]),
        ..Options::default()
    };
    let drawn = match bone {
        Bone::Femur => synth::femur(&options)?,
        Bone::Vertebra => synth::vertebra(&options)?,
    };
    let bones = &drawn.truth.bones;
    let target = bones
        .iter()
        .find(|bone| bone.femur.is_some())
        .or_else(|| {
            bones
                .iter()
                .max_by(|a, b| a.mask_volume_mm3.total_cmp(&b.mask_volume_mm3))
        })
        .context("a bone")?;
    let side = match (bone, target.label) {
        (Bone::Femur, 1) => "left",
        (Bone::Femur, _) => "right",
        _ => "",
    };
    if !folder.join("rods.nii.gz").is_file() {
        std::fs::create_dir_all(folder)?;
        imaging::write_volume(&folder.join("ct.nii.gz"), &drawn.ct.map(|&hu| hu as i16))?;
        imaging::write_volume(&folder.join("labels.nii.gz"), &drawn.labels)?;
        imaging::write_volume(&folder.join("rods.nii.gz"), &drawn.rods)?;
    }
    Ok((target.label, side.to_owned()))
}

/// Tables 1 and 2 and Figure 1: the automatic masks of a bone against the manual ones, of femora also by head, middle and shaft.
fn segmentation_table(out: &Path, study: &Path, bone: Bone) -> anyhow::Result<Option<String>> {
    let folders =
        ["manual", "automatic"].map(|kind| out.join(format!("comparison/masks-{bone}-{kind}")));
    folders.iter().try_for_each(std::fs::create_dir_all)?;
    let mut found = false;
    let mut cases: Vec<PathBuf> = std::fs::read_dir(study.join("cases"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    cases.sort();
    for case in cases {
        let name = case
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let masks = ["manual", "automatic"].map(|kind| case.join(kind).join("mask.nii.gz"));
        if !name.starts_with(bone.word()) || !masks.iter().all(|mask| mask.is_file()) {
            continue;
        }
        found = true;
        for (mask, folder) in masks.iter().zip(&folders) {
            let labels = imaging::read_labels(mask)?.map(|&label| u16::from(label != 0));
            imaging::write_volume(&folder.join(format!("{name}.nii.gz")), &labels)?;
        }
    }
    if !found {
        return Ok(None);
    }
    let [reference, prediction] = folders;
    let figure = out.join(format!("comparison/figure1-{bone}"));
    if figure.is_dir() {
        std::fs::remove_dir_all(&figure)?;
    }
    let request = |femora: Vec<u16>, figure: Option<PathBuf>| EvaluateRequest {
        reference: reference.clone(),
        prediction: prediction.clone(),
        femora,
        figure,
        ..EvaluateRequest::default()
    };
    let whole = evaluate(&request(Vec::new(), Some(figure)))?;
    let found = match bone {
        Bone::Vertebra => whole,
        Bone::Femur => evaluate(&request(vec![1], None)).unwrap_or_else(|refused| {
            println!("without head, middle and shaft: {refused:#}");
            whole
        }),
    };
    Ok(Some(table(&found)))
}
