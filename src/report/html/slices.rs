//! Slices of the calibrated scan with the outline of the bone: grey levels as a PNG, all else drawn over it as SVG in
//! millimetres, so that unequal voxels keep their shape.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use imaging::{Grid, LabelMap};
use nalgebra::Vector3;

use super::marks::Mark;
use super::markup::{data_uri, escape, note};

/// Grey levels run over this range, mg/cm³: soft tissue to cortical bone.
const WINDOW_MG_CM3: [f64; 2] = [-100.0, 900.0];
/// What is shown around the bone, mm.
const MARGIN_MM: f64 = 12.0;
/// Length of the scale bar, mm.
const BAR_MM: f64 = 20.0;
/// Length of the arrow of the load, mm.
const ARROW_MM: f64 = 22.0;
/// A direction that lies less than this in a slice is not drawn in it.
const LEAST_IN_PLANE: f64 = 0.3;

/// Letters of the patient's sides at the low and the high end of each world axis (LPS).
const LETTERS: [[&str; 2]; 3] = [["R", "L"], ["A", "P"], ["I", "S"]];

/// Where the load acts and where the bone is held, world (LPS mm).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// Middle of the loaded nodes.
    pub at_mm: Vector3<f64>,
    /// Unit direction of the prescribed motion.
    pub direction: Vector3<f64>,
    /// Middle of the nodes that are held along the motion.
    pub held_mm: Option<Vector3<f64>>,
}

/// How a slice lies: world axes along the picture's width and height and whether they run that way.
struct View {
    name: &'static str,
    across: (usize, bool),
    down: (usize, bool),
}

const VIEWS: [View; 3] = [
    View {
        name: "coronal",
        across: (0, true),
        down: (2, false),
    },
    View {
        name: "sagittal",
        across: (1, true),
        down: (2, false),
    },
    View {
        name: "axial",
        across: (0, true),
        down: (1, true),
    },
];

/// Three slices through the centre of the mask of a run's directory; `side` names the bone.
///
/// # Errors
/// An image of the directory cannot be read, the two do not fit together, or the mask is empty.
pub(super) fn slices(
    directory: &Path,
    bone: &str,
    load: Option<&Load>,
    marks: &[Mark],
) -> anyhow::Result<String> {
    let labels = imaging::read_labels(&directory.join("mask.nii.gz"))?;
    let (low, high, centre) = extent(&labels).context("mask.nii.gz holds no bone")?;
    let grid = labels.grid.clone();
    let planes = VIEWS.map(|view| Plane::new(&grid, &view, low, high, centre));
    let masks = planes
        .each_ref()
        .map(|plane| plane.sample(|[i, j, k]| labels.at(i, j, k) != 0));
    // A scan is large: the mask is gone before the density comes.
    drop(labels);
    let density = imaging::read_volume(&directory.join("density.nii.gz"))?;
    ensure!(
        density.grid.size == grid.size,
        "mask.nii.gz and density.nii.gz differ in size"
    );
    let [from, to] = WINDOW_MG_CM3;
    let mut html = String::from("<div class=\"slices\">\n");
    for ((view, plane), mask) in VIEWS.iter().zip(&planes).zip(&masks) {
        let grey = plane.sample(|[i, j, k]| {
            let level = (f64::from(density.at(i, j, k)) - from) / (to - from);
            (255.0 * level.clamp(0.0, 1.0)).round() as u8
        });
        html += &plane.draw(view, &grid, bone, &grey, mask, load, marks)?;
    }
    html += "</div>\n";
    Ok(html
        + &note(&format!(
            "Through the middle of the bone ({bone}). Grey from {from:.0} to {to:.0} mg/cm³; the outline is the mask that was \
             meshed. R, L, A, P, I, S: the patient's right, left, front, back, foot, head. All three at one scale. The arrow is \
             the load on the middle of the loaded nodes, the square the middle of those held against it, both laid onto the slice. \
             Dashed, where found: the sphere of the femoral head, the axes of neck and shaft (laid onto the slice), and the planes \
             of the endplates (where the slice cuts them)."
        )))
}

/// First and last voxel of the bone and the voxel at its middle.
fn extent(labels: &LabelMap) -> Option<([usize; 3], [usize; 3], [usize; 3])> {
    let (mut low, mut high, mut sum, mut count) = ([usize::MAX; 3], [0; 3], [0_u64; 3], 0_u64);
    for (index, _) in labels.data.iter().enumerate().filter(|(_, v)| **v != 0) {
        let voxel = labels.grid.voxel(index);
        for axis in 0..3 {
            low[axis] = low[axis].min(voxel[axis]);
            high[axis] = high[axis].max(voxel[axis]);
            sum[axis] += voxel[axis] as u64;
        }
        count += 1;
    }
    (count > 0).then(|| {
        (
            low,
            high,
            sum.map(|sum| ((sum + count / 2) / count) as usize),
        )
    })
}

/// One direction of a picture in the array of the image.
#[derive(Clone, Copy)]
struct Direction {
    axis: usize,
    /// Whether the index grows along the picture.
    forward: bool,
    first: usize,
    count: usize,
    spacing_mm: f64,
}

impl Direction {
    fn index(&self, pixel: usize) -> usize {
        if self.forward {
            self.first + pixel
        } else {
            self.first + self.count - 1 - pixel
        }
    }

    /// Place of a (fractional) index along the picture, mm.
    fn place_mm(&self, index: f64) -> f64 {
        let pixel = index - self.first as f64 + 0.5;
        let pixel = if self.forward {
            pixel
        } else {
            self.count as f64 - pixel
        };
        pixel * self.spacing_mm
    }

    fn length_mm(&self) -> f64 {
        self.count as f64 * self.spacing_mm
    }
}

/// A slice: its picture in the array of the image.
struct Plane {
    across: Direction,
    down: Direction,
    at: [usize; 3],
}

impl Plane {
    fn new(
        grid: &Grid,
        view: &View,
        low: [usize; 3],
        high: [usize; 3],
        centre: [usize; 3],
    ) -> Self {
        let axes = grid.closest_axes();
        let direction = |(world, along): (usize, bool)| {
            let axis = (0..3).find(|&axis| axes[axis].0 == world).unwrap_or(world);
            let margin = (MARGIN_MM / grid.spacing_mm[axis]).ceil() as usize;
            let first = low[axis].saturating_sub(margin);
            let last = (high[axis] + margin).min(grid.size[axis].saturating_sub(1));
            Direction {
                axis,
                forward: axes[axis].1 == along,
                first,
                count: last + 1 - first,
                spacing_mm: grid.spacing_mm[axis],
            }
        };
        Self {
            across: direction(view.across),
            down: direction(view.down),
            at: centre,
        }
    }

    /// A value per pixel, row by row.
    fn sample<T>(&self, value: impl Fn([usize; 3]) -> T) -> Vec<T> {
        let mut pixels = Vec::with_capacity(self.across.count * self.down.count);
        for y in 0..self.down.count {
            for x in 0..self.across.count {
                let mut voxel = self.at;
                voxel[self.across.axis] = self.across.index(x);
                voxel[self.down.axis] = self.down.index(y);
                pixels.push(value(voxel));
            }
        }
        pixels
    }

    fn draw(
        &self,
        view: &View,
        grid: &Grid,
        bone: &str,
        grey: &[u8],
        mask: &[bool],
        load: Option<&Load>,
        marks: &[Mark],
    ) -> anyhow::Result<String> {
        let (columns, rows) = (self.across.count, self.down.count);
        let (width, height) = (self.across.length_mm(), self.down.length_mm());
        let name = view.name;
        let title = format!("{name} slice, {bone}");
        // Growing in proportion to their width the three pictures come out at one scale.
        let mut svg = format!(
            "<figure style=\"flex:{width:.2} 1 0\"><svg viewBox=\"0 0 {width:.3} {height:.3}\" role=\"img\" aria-label=\"{}\">\n\
             <image href=\"{}\" width=\"{width:.3}\" height=\"{height:.3}\" preserveAspectRatio=\"none\"/>\n\
             <path class=\"outline\" transform=\"scale({} {})\" d=\"{}\"/>\n",
            escape(&title),
            data_uri("image/png", &png(columns, rows, grey)?),
            self.across.spacing_mm,
            self.down.spacing_mm,
            outline(mask, columns, rows),
        );
        self.draw_marks(&mut svg, grid, marks)?;
        if let Some(load) = load {
            self.draw_load(&mut svg, grid, load)?;
        }
        let ends = |(world, along): (usize, bool)| {
            let [low, high] = LETTERS[world];
            if along { [low, high] } else { [high, low] }
        };
        let ([left, right], [top, bottom]) = (ends(view.across), ends(view.down));
        for (x, y, letter) in [
            (3.5, height / 2.0, left),
            (width - 3.5, height / 2.0, right),
            (width / 2.0, 5.5, top),
            (width / 2.0, height - 2.0, bottom),
        ] {
            writeln!(svg, "<text x=\"{x:.2}\" y=\"{y:.2}\">{letter}</text>")?;
        }
        let (x, y) = (3.0, height - 3.0);
        writeln!(
            svg,
            "<path class=\"bar\" d=\"M{x} {y:.2}h{BAR_MM}\"/><text class=\"small\" x=\"{:.2}\" y=\"{:.2}\">{BAR_MM} mm</text>",
            x + BAR_MM / 2.0,
            y - 1.5
        )?;
        writeln!(
            svg,
            "</svg><figcaption>{name}, {}</figcaption></figure>",
            escape(bone)
        )?;
        Ok(svg)
    }

    /// Where a point of the world lies on the picture, mm.
    fn place(&self, grid: &Grid, world: Vector3<f64>) -> [f64; 2] {
        let index = grid.to_index(world);
        [self.across, self.down].map(|side| side.place_mm(index[side.axis]))
    }

    fn draw_marks(&self, svg: &mut String, grid: &Grid, marks: &[Mark]) -> anyhow::Result<()> {
        let through = 3 - self.across.axis - self.down.axis;
        let across = grid.direction.column(through).into();
        for mark in marks {
            if let Mark::Sphere {
                centre_mm,
                radius_mm,
            } = mark
            {
                let [x, y] = self.place(grid, *centre_mm);
                writeln!(
                    svg,
                    "<circle class=\"mark\" cx=\"{x:.2}\" cy=\"{y:.2}\" r=\"{radius_mm:.2}\"/>"
                )?;
            } else if let Some(ends) = mark.ends(across) {
                let [[x, y], [to_x, to_y]] = ends.map(|end| self.place(grid, end));
                writeln!(
                    svg,
                    "<path class=\"mark\" d=\"M{x:.2} {y:.2}L{to_x:.2} {to_y:.2}\"/>"
                )?;
            }
        }
        Ok(())
    }

    fn draw_load(&self, svg: &mut String, grid: &Grid, load: &Load) -> anyhow::Result<()> {
        let place = |world| self.place(grid, world);
        let tip = place(load.at_mm);
        let along = place(load.at_mm + load.direction);
        let (dx, dy) = (along[0] - tip[0], along[1] - tip[1]);
        let length = dx.hypot(dy);
        if length >= LEAST_IN_PLANE {
            let (dx, dy) = (dx / length, dy / length);
            let [x, y] = tip;
            let (tail_x, tail_y) = (x - ARROW_MM * dx, y - ARROW_MM * dy);
            // The head of the arrow: two strokes back from its tip.
            let stroke = |side: f64| {
                let (back_x, back_y) = (-dx - side * dy, -dy + side * dx);
                format!("M{x:.2} {y:.2}l{:.2} {:.2}", 3.5 * back_x, 3.5 * back_y)
            };
            writeln!(
                svg,
                "<path class=\"load\" d=\"M{tail_x:.2} {tail_y:.2}L{x:.2} {y:.2}{}{}\"/>",
                stroke(0.6),
                stroke(-0.6)
            )?;
        }
        if let Some(held) = load.held_mm {
            let [x, y] = place(held);
            writeln!(
                svg,
                "<rect class=\"load\" x=\"{:.2}\" y=\"{:.2}\" width=\"4\" height=\"4\"/>",
                x - 2.0,
                y - 2.0
            )?;
        }
        Ok(())
    }
}

/// The edges between pixels inside and outside, as an SVG path in pixels; straight runs are joined.
fn outline(mask: &[bool], columns: usize, rows: usize) -> String {
    let inside = |x: usize, y: usize| {
        (1..=columns).contains(&x) && (1..=rows).contains(&y) && mask[(y - 1) * columns + x - 1]
    };
    let mut path = String::new();
    // Counted from 1 here, so that row 0 and column 0 lie outside.
    let mut runs =
        |lines: usize, length: usize, edge: &dyn Fn(usize, usize) -> bool, along: char| {
            for line in 0..=lines {
                let mut at = 1;
                while at <= length {
                    let begin = at;
                    while at <= length && edge(line, at) {
                        at += 1;
                    }
                    if at > begin {
                        let (x, y) = if along == 'h' {
                            (begin - 1, line)
                        } else {
                            (line, begin - 1)
                        };
                        path += &format!("M{x} {y}{along}{}", at - begin);
                    }
                    at += 1;
                }
            }
        };
    runs(rows, columns, &|y, x| inside(x, y) != inside(x, y + 1), 'h');
    runs(columns, rows, &|x, y| inside(x, y) != inside(x + 1, y), 'v');
    path
}

/// An 8-bit grey PNG (PNG specification, colour type 0, no filter).
fn png(columns: usize, rows: usize, pixels: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(13);
    for length in [columns, rows] {
        header.extend(u32::try_from(length)?.to_be_bytes());
    }
    header.extend([8, 0, 0, 0, 0]);
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    for row in pixels.chunks(columns) {
        packed.write_all(&[0])?;
        packed.write_all(row)?;
    }
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let end: &[u8] = &[];
    for (kind, data) in [
        (b"IHDR", header.as_slice()),
        (b"IDAT", &packed.finish()?),
        (b"IEND", end),
    ] {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(data);
        file.extend(u32::try_from(data.len())?.to_be_bytes());
        file.extend(kind);
        file.extend(data);
        file.extend(crc.sum().to_be_bytes());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pixel_has_four_edges() {
        let mut mask = vec![false; 12];
        mask[5] = true;
        assert_eq!(outline(&mask, 4, 3), "M1 1h1M1 2h1M1 1v1M2 1v1");
    }

    /// Least and largest column and row of an outline.
    fn extent_of(path: &str) -> [usize; 4] {
        let mut found = [usize::MAX, 0, usize::MAX, 0];
        for run in path.split('M').skip(1) {
            let words = |at: char| run.split_once(at);
            let (begin, along, length) = match (words('h'), words('v')) {
                (Some((begin, length)), _) => (begin, 0, length),
                (_, Some((begin, length))) => (begin, 1, length),
                _ => continue,
            };
            let (x, y) = begin.split_once(' ').unwrap();
            let mut end = [x, y].map(|n| n.parse::<usize>().unwrap());
            let start = end;
            end[along] += length.parse::<usize>().unwrap();
            for axis in 0..2 {
                found[2 * axis] = found[2 * axis].min(start[axis]);
                found[2 * axis + 1] = found[2 * axis + 1].max(end[axis]);
            }
        }
        found
    }

    #[test]
    fn the_patients_sides_are_where_the_letters_say() {
        use nalgebra::Matrix3;
        // An array along RAS: its axes run against x and y of the world. Bone at the patient's right, front and head.
        let grid = Grid {
            direction: Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0)),
            ..Grid::axis_aligned([10, 9, 8], [1.0, 1.0, 1.0])
        };
        let mask = LabelMap::from_fn(grid.clone(), |[i, j, k]| {
            u16::from(i >= 7 && j >= 7 && k >= 6)
        });
        let density = mask.map(|label| 300.0 * f32::from(*label));
        let dir = tempfile::tempdir().unwrap();
        imaging::write_volume(&dir.path().join("mask.nii.gz"), &mask).unwrap();
        imaging::write_volume(&dir.path().join("density.nii.gz"), &density).unwrap();
        let middle = |voxel: [f64; 3]| grid.to_world(Vector3::from(voxel));
        let load = Load {
            at_mm: middle([8.0, 7.5, 6.5]),
            direction: Vector3::new(0.0, 0.0, -1.0),
            held_mm: Some(middle([8.0, 7.5, 0.0])),
        };
        let head = Mark::Sphere {
            centre_mm: middle([8.0, 7.5, 6.5]),
            radius_mm: 1.5,
        };
        let html = slices(dir.path(), "right femur", Some(&load), &[head]).unwrap();
        let figures: Vec<&str> = html.split("<figure").skip(1).collect();
        // Left, right, top, bottom; columns and rows of the outline.
        for (figure, letters, sides) in [
            (figures[0], ["R", "L", "S", "I"], [0, 3, 0, 2]),
            (figures[1], ["A", "P", "S", "I"], [0, 2, 0, 2]),
            (figures[2], ["R", "L", "A", "P"], [0, 3, 0, 2]),
        ] {
            let (_, path) = figure.split_once(" d=\"").unwrap();
            let (path, _) = path.split_once('"').unwrap();
            assert_eq!(extent_of(path), sides, "{letters:?}");
            let said: Vec<&str> = figure
                .split("<text x=")
                .skip(1)
                .map(|text| text.split_once('>').unwrap().1.split_once('<').unwrap().0)
                .collect();
            assert_eq!(said, letters);
        }
        // The load comes from the head down to the bone; what is held lies at the foot.
        assert!(figures[0].contains("L1.50 1.00M"), "{}", figures[0]);
        assert!(figures[0].contains("<rect class=\"load\" x=\"-0.50\" y=\"5.50\""));
        // The head lies where the load is; 2 voxels of the axial slice are in front of it.
        assert!(
            figures[0].contains("cx=\"1.50\" cy=\"1.00\" r=\"1.50\""),
            "{}",
            figures[0]
        );
        assert!(
            figures[2].contains("cx=\"1.50\" cy=\"1.00\""),
            "{}",
            figures[2]
        );
        // Along the axial slice's line of sight there is no arrow.
        assert!(!figures[2].contains("<path class=\"load\""));
    }

    #[test]
    fn the_picture_is_a_png() {
        // CRC-32 of "IEND" (PNG specification).
        let file = png(2, 1, &[0, 255]).unwrap();
        assert!(file.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert!(file.ends_with(&[0xae, 0x42, 0x60, 0x82]));
    }
}
