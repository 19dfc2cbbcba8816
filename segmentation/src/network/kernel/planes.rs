//! Padded planes as lines: where every tap of a window is a constant distance.

/// Numbers behind each plane that vectors may read or write past its end.
pub const SLACK: usize = 64;

/// A window whose padding may be negative, as one part of a transposed convolution can need.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    pub padding: [isize; 3],
}

impl Reach {
    /// The taps, x fastest.
    pub fn taps(&self) -> impl Iterator<Item = [usize; 3]> {
        let [kz, ky, kx] = self.kernel;
        (0..kz).flat_map(move |z| (0..ky).flat_map(move |y| (0..kx).map(move |x| [z, y, x])))
    }
}

/// How the planes of a channel are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    input: [usize; 3],
    reach: Reach,
    /// Remainders of y and of x that taps read; each is a part of the plane, one after the other.
    parts: [usize; 2],
    /// Rows and columns of a part, padding included.
    rows: usize,
    pub columns: usize,
    plane: usize,
    /// Positions of an output plane, the padding at row ends included.
    pub positions: usize,
    /// Distance of each tap from the position, in the planes of the same output plane.
    pub offsets: Vec<usize>,
}

impl Layout {
    pub fn new(reach: Reach, input: [usize; 3], outputs: [usize; 3]) -> Self {
        let [_, sy, sx] = reach.stride;
        let length = |axis: usize| outputs[axis] + (reach.kernel[axis] - 1) / reach.stride[axis];
        let (rows, columns) = (length(1), length(2));
        let parts = [sy.min(reach.kernel[1]), sx.min(reach.kernel[2])];
        let part = rows * columns;
        let plane = parts[0] * parts[1] * part + SLACK;
        let offset = |[z, y, x]: [usize; 3]| {
            let number = (y % sy) * parts[1] + x % sx;
            z * plane + number * part + (y / sy) * columns + x / sx
        };
        Self {
            offsets: reach.taps().map(offset).collect(),
            input,
            reach,
            parts,
            rows,
            columns,
            plane,
            positions: outputs[1] * columns,
        }
    }

    /// Planes that `count` neighbouring output planes read.
    fn planes(&self, count: usize) -> usize {
        (count - 1) * self.reach.stride[0] + self.reach.kernel[0]
    }

    /// Numbers of one channel's planes for `count` output planes.
    pub fn channel(&self, count: usize) -> usize {
        self.planes(count) * self.plane
    }

    /// Distance between the planes that two neighbouring output planes start at.
    pub fn step(&self) -> usize {
        self.reach.stride[0] * self.plane
    }

    /// Lays out what output planes `first` to `first + count` read of one channel; `to` holds [`Self::channel`] numbers.
    pub fn fill(&self, channel: &[f32], first: usize, count: usize, to: &mut [f32]) {
        let [depth, height, width] = self.input;
        let [sz, sy, sx] = self.reach.stride;
        let [pz, py, px] = self.reach.padding;
        let inside = |index: usize, padding: isize, length: usize| {
            let at = index as isize - padding;
            (0..length as isize).contains(&at).then_some(at as usize)
        };
        for (plane, to) in to
            .chunks_exact_mut(self.plane)
            .take(self.planes(count))
            .enumerate()
        {
            to.fill(0.0);
            let Some(z) = inside(first * sz + plane, pz, depth) else {
                continue;
            };
            let source = &channel[z * height * width..(z + 1) * height * width];
            for (number, part) in to.chunks_exact_mut(self.rows * self.columns).enumerate() {
                if number >= self.parts[0] * self.parts[1] {
                    break;
                }
                let (ry, rx) = (number / self.parts[1], number % self.parts[1]);
                // Column c is input column c · stride + remainder − padding: the first that is not before the row.
                let skip = (px - rx as isize).max(0) as usize;
                let skip = skip.div_ceil(sx);
                let start = ((skip * sx + rx) as isize - px) as usize;
                for (row, to) in part.chunks_exact_mut(self.columns).enumerate() {
                    let Some(y) = inside(row * sy + ry, py, height) else {
                        continue;
                    };
                    let source = &source[y * width..(y + 1) * width];
                    if skip >= to.len() || start >= width {
                        continue;
                    }
                    if sx == 1 {
                        let length = (to.len() - skip).min(width - start);
                        to[skip..skip + length].copy_from_slice(&source[start..start + length]);
                    } else {
                        let source = source[start..].iter().step_by(sx);
                        for (to, from) in to[skip..].iter_mut().zip(source) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}
