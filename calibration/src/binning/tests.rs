use super::*;
use crate::density::{Density, DensityKind};
use TissueKind::{Cortical, Trabecular};

/// E = rho in MPa for rho in mg/cm3: the table is the bin centres.
fn plain_law() -> ElasticityLaw {
    let mut law = ElasticityLaw::user(&[1000.0, 1.0], DensityKind::K2Hpo4).unwrap();
    law.floor = crate::law::Floor {
        density_mg_cm3: Some(-31.0),
        mpa: 0.5,
    };
    law
}

fn binned(grid: &[f64], offset: BinOffset, voxels: &[(f64, TissueKind)]) -> BinnedModulus {
    let law = plain_law();
    let binning = Binning::over(grid.iter().copied(), 4, offset, &law).unwrap();
    let density = Density::new(law.kind, voxels.iter().map(|v| v.0).collect());
    let tissue: Vec<_> = voxels.iter().map(|v| v.1).collect();
    binning.modulus(&law, &density, &tissue).unwrap()
}

/// Four bins over 10 ... 90: edges 10, 30, 50, 70, 90 and centres 20, 40, 60, 80.
#[test]
fn a_voxel_gets_the_centre_of_its_bin() {
    let grid = [0.0, 10.0, 90.0, 50.0, 0.0];
    let voxels = [10.0, 29.999, 30.0, 50.0, 69.9, 70.0, 90.0].map(|v| (v, Trabecular));
    let result = binned(&grid, BinOffset::Intended, &voxels);
    let found: Vec<_> = result.mpa.iter().map(|e| e.unwrap().round()).collect();
    assert_eq!(found, [20.0, 20.0, 40.0, 60.0, 60.0, 80.0, 80.0]);
    assert_eq!((result.clamped, result.vanished), (0, 0));
}

/// The slip: one bin further, the last wraps to the first, truncated zeros vanish or fall into the first.
/// Range -30 ... 90 after truncation: centres -15, 15, 45, 75; the first is below the floor.
#[test]
fn the_published_slip() {
    let grid = [-30.9, 0.0, 90.7, 12.0];
    let voxels = [
        (-30.0, Trabecular),
        (29.99, Trabecular),
        (30.2, Cortical),
        (60.0, Trabecular),
        (90.7, Cortical),
        (0.9, Trabecular),
        (-0.9, Cortical),
        (1.0, Trabecular),
    ];
    let result = binned(&grid, BinOffset::Published, &voxels);
    let expected = [
        Some(15.0),
        Some(45.0),
        Some(75.0),
        Some(0.5),
        Some(0.5),
        None,
        Some(0.5),
        Some(45.0),
    ];
    for (found, expected) in result.mpa.iter().zip(expected) {
        assert_eq!(found.is_some(), expected.is_some());
        let difference = found.unwrap_or(0.0) - expected.unwrap_or(0.0);
        assert!(
            difference.abs() < 1e-9,
            "found {found:?}, expected {expected:?}"
        );
    }
    assert_eq!(result.vanished, 1);
    assert_eq!(result.clamped, 3);
}

#[test]
fn the_range_is_that_of_the_grid_after_the_clamp() {
    let law = plain_law();
    let over = |offset| Binning::over([0.0, -500.3, 1893.54, 7.2], 128, offset, &law).unwrap();
    assert_eq!(over(BinOffset::Intended).range_mg_cm3(), [-31.0, 1893.54]);
    assert_eq!(over(BinOffset::Published).range_mg_cm3(), [-31.0, 1893.0]);
    // Bone of one density throughout: one value, its own.
    let one = Binning::over([0.0, 250.0], 128, BinOffset::Intended, &law).unwrap();
    let density = Density::new(law.kind, vec![250.0; 2]);
    let result = one
        .modulus(&law, &density, &[Trabecular, Cortical])
        .unwrap();
    assert_eq!(result.mpa, vec![Some(250.0); 2]);
}

/// Every edge of a range that does not divide evenly belongs to the bin above it.
#[test]
fn edges_belong_to_the_upper_bin() {
    let law = plain_law();
    let binning =
        Binning::over([-31.0, 1893.5427147764588], 128, BinOffset::Intended, &law).unwrap();
    for bin in 0..128 {
        let edge = binning.edge(bin);
        assert_eq!(binning.bin(edge), bin);
        assert_eq!(binning.bin(edge.next_down()), bin.saturating_sub(1));
        assert_eq!(binning.bin(binning.centre(bin)), bin);
    }
    assert_eq!(binning.bin(binning.edge(128)), 127);
}

#[test]
fn wrong_input_is_refused() {
    let law = plain_law();
    let over =
        |grid: &[f64], bins| Binning::over(grid.iter().copied(), bins, BinOffset::Intended, &law);
    assert!(over(&[1.0, 2.0], 0).is_err());
    assert!(
        over(&[0.0, 0.0], 8)
            .unwrap_err()
            .to_string()
            .contains("nothing to bin")
    );
    assert!(
        over(&[1.0, f64::NAN], 8)
            .unwrap_err()
            .to_string()
            .contains("1 of 2")
    );
    let binning = over(&[1.0, 2.0], 8).unwrap();
    let modulus = |kind, density: Vec<f64>, tissue: &[TissueKind]| {
        binning.modulus(&law, &Density::new(kind, density), tissue)
    };
    assert!(modulus(DensityKind::Ash, vec![1.0], &[Trabecular]).is_err());
    assert!(modulus(DensityKind::K2Hpo4, vec![1.0], &[]).is_err());
    assert!(modulus(DensityKind::K2Hpo4, vec![f64::NAN], &[Trabecular]).is_err());
    assert_eq!(BinOffset::from_number(0).unwrap(), BinOffset::Intended);
    assert_eq!(BinOffset::from_number(1).unwrap(), BinOffset::Published);
    assert!(BinOffset::from_number(2).is_err());
}
