//! The label maps that the built-in networks learn from, in the folders `osteoload train --data` wants.
//!
//! ```text
//!    20 hip maps ──┬── 15 ──▶ labelsTr ◀── synthetic pelves or spines 501 …
//!                  └──  5 ──▶ labelsTs ◀── synthetic pelves or spines 601 …
//! ```
//!
//! Run with `cargo run --release --example training_maps`: a map of one synthetic spine. `-- femur OUT HIPS` and
//! `-- vertebra OUT HIPS L2` write the maps of the two built-in networks; HIPS is a folder with the 20 hip maps of the AuToSeg
//! project (femora 1 and 2, hip bones 3 and 4, sacrum 5), L2 the label map of the vertebra of the spine-FE benchmark, all of whose
//! labels are one bone. Expected without arguments:
//!
//! ```text
//! spine 501: labels [18, 19, 20, 21, 22, 23, 24]
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use imaging::LabelMap;
use osteoload::synth::{self, Options};

/// Hip maps that no network learns from.
const HELD_OUT: [&str; 5] = ["a84", "s13", "s17", "s21", "s25"];
/// Hip maps whose pelves the vertebra network learns to leave alone: every third of those not held out, and one of those held out.
const EVERY: usize = 3;
/// In the map of vertebrae, hips are named by their number and this.
const HIPS_FROM: u16 = 100;
/// VerSe number of L2.
const L2: u16 = 21;
/// Distances of a vertebra to the next, mm, at which four copies of the one real vertebra make a spine: its joints nearly fit themselves.
const STACKS_MM: [f64; 4] = [34.0, 36.0, 38.0, 40.0];
/// Copies in such a spine, and the number of the lowest.
const STACKED: usize = 4;
const LOWEST: u16 = 23;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let map = synth::spine(&Options {
                seed: 501,
                ..Options::default()
            })?
            .labels;
            println!("spine 501: labels {:?}", map.labels());
            Ok(())
        }
        ["femur", out, hips] => femur(Path::new(out), Path::new(hips)),
        ["vertebra", out, hips, l2] => vertebra(Path::new(out), Path::new(hips), Path::new(l2)),
        _ => bail!("arguments: none, `femur OUT HIPS` or `vertebra OUT HIPS L2`"),
    }
}

fn femur(out: &Path, hips: &Path) -> anyhow::Result<()> {
    let folders = folders(out)?;
    for file in hip_maps(hips)? {
        let map = imaging::read_labels(&file)?;
        write(&folders[usize::from(held_out(&file))], &name(&file), &map)?;
    }
    for (folder, seeds) in folders.iter().zip([501..507, 601..603]) {
        for seed in seeds {
            let options = Options {
                seed,
                ..Options::default()
            };
            write(folder, &format!("syn{seed}"), &synth::hip(&options)?.labels)?;
        }
    }
    Ok(())
}

fn vertebra(out: &Path, hips: &Path, l2: &Path) -> anyhow::Result<()> {
    let folders = folders(out)?;
    let (held, learned): (Vec<PathBuf>, Vec<PathBuf>) =
        hip_maps(hips)?.into_iter().partition(|file| held_out(file));
    for file in learned.iter().step_by(EVERY).chain(held.first()) {
        let map = imaging::read_labels(file)?;
        let map = map.map(|&label| if label == 0 { 0 } else { label + HIPS_FROM });
        write(&folders[usize::from(held_out(file))], &name(file), &map)?;
    }
    let map = imaging::read_labels(l2)?;
    // Its discs are 5 and 6.
    let map = map.map(|&label| if (1..=4).contains(&label) { L2 } else { 0 });
    write(&folders[0], "l2-1", &map)?;
    for apart_mm in STACKS_MM {
        let spine = stacked(&map, apart_mm);
        write(&folders[0], &format!("l2x4-{apart_mm:.0}"), &spine)?;
    }
    for (folder, seeds) in folders.iter().zip([501..517, 601..604]) {
        for seed in seeds {
            let options = Options {
                seed,
                ..Options::default()
            };
            write(
                folder,
                &format!("syn{seed}"),
                &synth::spine(&options)?.labels,
            )?;
        }
    }
    Ok(())
}

/// Copies of a vertebra one above the other; where two overlap, the lower one stays. The map's third axis runs from foot to head.
fn stacked(one: &LabelMap, apart_mm: f64) -> LabelMap {
    let step = (apart_mm / one.grid.spacing_mm[2]).round() as usize;
    let mut grid = one.grid.clone();
    grid.size[2] += step * (STACKED - 1);
    let mut spine = LabelMap::filled(grid, 0);
    for copy in 0..STACKED {
        for (voxel, _) in one.data.iter().enumerate().filter(|(_, label)| **label > 0) {
            let [i, j, k] = one.grid.voxel(voxel);
            let to = spine.grid.index(i, j, k + copy * step);
            if spine.data[to] == 0 {
                spine.data[to] = LOWEST - copy as u16;
            }
        }
    }
    spine
}

/// `labelsTr` and `labelsTs`.
fn folders(out: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let folders = ["labelsTr", "labelsTs"].map(|folder| out.join(folder));
    for folder in &folders {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    Ok(folders)
}

fn hip_maps(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{}", folder.display()))?;
    let files: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|e| e.path())).collect();
    let mut files = files?;
    files.retain(|file| file.to_string_lossy().ends_with(".nii.gz"));
    files.sort();
    Ok(files)
}

fn held_out(file: &Path) -> bool {
    HELD_OUT.iter().any(|held| name(file).starts_with(held))
}

/// The file's name without its endings.
fn name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.trim_end_matches(".nii.gz").to_owned()
}

fn write(folder: &Path, name: &str, map: &LabelMap) -> anyhow::Result<()> {
    imaging::write_volume(&folder.join(format!("{name}.nii.gz")), map)?;
    println!("{name}: labels {:?}", map.labels());
    Ok(())
}
