//! Work along the lines of an array axis, in parallel.
//!
//! Separable filters and recursive passes see one line at a time as a contiguous slice, whatever the
//! axis. Lines are independent, so the result does not depend on the number of threads.

use rayon::prelude::*;

/// Lines gathered together, so that neighbouring reads share a cache line.
const TILE: usize = 16;
/// Lines along the slowest axis in work at one time; bounds the extra memory to a few MB.
const BLOCK: usize = 32 * TILE;

/// Calls `visit` with every line of `data` along `axis` and writes back what it leaves in the line.
/// `scratch` makes the working memory of one thread.
pub(crate) fn for_each_line<T, S>(
    data: &mut [T],
    size: [usize; 3],
    axis: usize,
    scratch: impl Fn() -> S + Sync + Send,
    visit: impl Fn(&mut [T], &mut S) + Sync + Send,
) where
    T: Copy + Default + Send + Sync,
{
    if data.is_empty() || data.len() != size.iter().product::<usize>() {
        return;
    }
    let [ni, nj, nk] = size;
    match axis {
        0 => data
            .par_chunks_mut(ni)
            .with_min_len(TILE)
            .for_each_init(scratch, |scratch, line| visit(line, scratch)),
        1 => data.par_chunks_mut(ni * nj).for_each_init(
            || (scratch(), vec![T::default(); TILE * nj]),
            |(scratch, tile), slice| {
                for first in (0..ni).step_by(TILE) {
                    let count = TILE.min(ni - first);
                    gather(slice, ni, first, &mut tile[..count * nj], nj);
                    for line in tile[..count * nj].chunks_mut(nj) {
                        visit(line, scratch);
                    }
                    for (j, row) in slice.chunks_mut(ni).enumerate() {
                        for c in 0..count {
                            row[first + c] = tile[c * nj + j];
                        }
                    }
                }
            },
        ),
        _ => {
            let stride = ni * nj;
            let mut block = vec![T::default(); BLOCK.min(stride) * nk];
            for first in (0..stride).step_by(BLOCK) {
                let count = BLOCK.min(stride - first);
                let block = &mut block[..count * nk];
                let source: &[T] = data;
                block.par_chunks_mut(TILE * nk).enumerate().for_each_init(
                    &scratch,
                    |scratch, (at, tile)| {
                        gather(source, stride, first + at * TILE, tile, nk);
                        for line in tile.chunks_mut(nk) {
                            visit(line, scratch);
                        }
                    },
                );
                let block: &[T] = block;
                data.par_chunks_mut(stride)
                    .enumerate()
                    .for_each(|(k, slice)| {
                        for (c, value) in slice[first..first + count].iter_mut().enumerate() {
                            *value = block[c * nk + k];
                        }
                    });
            }
        }
    }
}

/// Copies the lines `first..` of a matrix (rows of `stride` values, `length` rows) into `tile`, each
/// line contiguous.
fn gather<T: Copy>(source: &[T], stride: usize, first: usize, tile: &mut [T], length: usize) {
    let count = tile.len() / length;
    for at in 0..length {
        let row = &source[at * stride + first..at * stride + first + count];
        for (c, value) in row.iter().enumerate() {
            tile[c * length + at] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array larger than one tile and one block, whose values tell every voxel from every other.
    #[test]
    fn every_line_is_visited_once_in_order_and_put_back() {
        let size = [37, 41, 5];
        for axis in 0..3 {
            let step = [1, 37, 37 * 41][axis];
            let mut data: Vec<usize> = (0..size.iter().product()).collect();
            for_each_line(
                &mut data,
                size,
                axis,
                || (),
                |line, ()| {
                    assert_eq!(line.len(), size[axis]);
                    for at in 0..line.len() {
                        assert_eq!(line[at], line[0] % 10_000 + step * at);
                        line[at] += 10_000 * (at + 1);
                    }
                },
            );
            for (index, value) in data.into_iter().enumerate() {
                let at = index / step % size[axis];
                assert_eq!(value, index + 10_000 * (at + 1));
            }
        }
    }

    #[test]
    fn an_empty_array_has_no_lines() {
        for axis in 0..3 {
            for_each_line(
                &mut [0u8; 0],
                [3, 0, 2],
                axis,
                || (),
                |_, ()| unreachable!(),
            );
        }
    }
}
