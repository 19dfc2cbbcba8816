//! The figure as it comes out.

use imaging::{Grid, Mask};
use nalgebra::Vector3;

use super::*;

/// A ball around the middle of a cube of 60 mm.
pub(super) fn ball(spacing_mm: [f64; 3], radius_mm: f64) -> Mask {
    let grid = Grid::axis_aligned(spacing_mm.map(|h| (60.0 / h) as usize), spacing_mm);
    let place = grid.clone();
    Mask::from_fn(grid, |at| {
        let at = place.to_world(Vector3::from(at.map(|v| v as f64)));
        (at - Vector3::repeat(30.0)).norm() <= radius_mm
    })
}

fn figure(mask: &Mask, reference: &Mask) -> SurfaceFigure {
    let row = SurfaceRow {
        heading: "label 1".into(),
        surface: ColouredSurface::of(mask, reference).map_err(|error| error.to_string()),
    };
    SurfaceFigure {
        title: "a ball".into(),
        rows: vec![row],
    }
}

#[test]
fn a_ball_too_small_is_blue_and_one_too_large_red() {
    let spacing = [1.0, 1.0, 1.5];
    let [small, large] = [20.0, 22.0].map(|radius| ball(spacing, radius));
    for (mask, reference, is_blue) in [(&small, &large, true), (&large, &small, false)] {
        let figure = figure(mask, reference);
        assert!([2.0, 3.0].contains(&figure.range_mm().0));
        let layout = figure.layout();
        let (width, height) = figure.size(&layout);
        let mut pixels = vec![0; 3 * (width * height) as usize];
        {
            let backend = BitMapBackend::with_buffer(&mut pixels, (width, height));
            figure.draw(&backend.into_drawing_area(), &layout).unwrap();
        }
        for [left, across] in layout.columns {
            let x = (left + across / 2) as usize;
            let y = (HEAD + HEADING + layout.rows[0] / 2) as usize;
            let [red, _, blue] =
                [0, 1, 2].map(|n| i32::from(pixels[3 * (y * width as usize + x) + n]));
            assert_eq!(blue > red + 60, is_blue, "{red} {blue}");
            assert_eq!(red > blue + 60, !is_blue, "{red} {blue}");
        }
    }
}

#[test]
fn the_same_figure_has_the_same_bytes_and_an_empty_one_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mask = ball([2.0; 3], 15.0);
    let mut figure = figure(&mask, &ball([2.0; 3], 17.0));
    let bytes = |figure: &SurfaceFigure, name: &str| {
        let path = dir.path().join(name);
        figure.write_png(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    let first = bytes(&figure, "a.png");
    assert!(first.starts_with(b"\x89PNG"));
    assert!(first == bytes(&figure, "b.png"));
    figure.rows[0].surface = Err("not in the prediction".into());
    assert!(bytes(&figure, "c.png") != first);
    figure.rows.clear();
    assert!(bytes(&figure, "d.png").starts_with(b"\x89PNG"));
    assert!(figure.write_png(&dir.path().join("none/e.png")).is_err());
}

#[test]
fn ranges_are_tidy_and_hold_nearly_all_distances() {
    for (value, expected) in [
        (0.5, 0.5),
        (0.61, 0.8),
        (1.01, 1.5),
        (2.0, 2.0),
        (7.0, 8.0),
        (93.0, 100.0),
    ] {
        assert!((tidy(value) - expected).abs() < 1e-9, "{value}");
    }
    let mut figure = figure(&ball([2.0; 3], 15.0), &ball([2.0; 3], 15.0));
    let surface = figure.rows[0].surface.as_mut().unwrap();
    surface.distance_mm.fill(1.2);
    assert_eq!(figure.range_mm(), (1.5, false));
    figure.rows[0].surface.as_mut().unwrap().distance_mm[0] = -30.0;
    assert_eq!(figure.range_mm(), (1.5, true));
}
