//! Every instruction set of this machine against sums written out.

use super::*;

/// Numbers between −1 and 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn sets() -> Vec<InstructionSet> {
    let mut sets = vec![InstructionSet::Portable];
    #[cfg(target_arch = "x86_64")]
    {
        let best = InstructionSet::detect();
        if best != InstructionSet::Portable {
            sets.push(InstructionSet::Avx2);
        }
        if best == InstructionSet::Avx512 {
            sets.push(best);
        }
    }
    sets
}

/// Calls `each` for every product of a convolution: output and input index, and index of the weight.
fn products(
    window: &Window,
    shape: [usize; 3],
    [inputs, outputs]: [usize; 2],
    mut each: impl FnMut(usize, usize, usize),
) {
    let out = window.outputs(shape);
    let [kz, ky, kx] = window.kernel;
    let taps: Vec<[usize; 3]> = (0..kz * ky * kx)
        .map(|tap| [tap / (ky * kx), tap / kx % ky, tap % kx])
        .collect();
    for output in 0..outputs {
        for index in 0..out.iter().product() {
            let at = [
                index / (out[1] * out[2]),
                index / out[2] % out[1],
                index % out[2],
            ];
            for input in 0..inputs {
                for (number, tap) in taps.iter().enumerate() {
                    let place: [usize; 3] = std::array::from_fn(|axis| {
                        (at[axis] * window.stride[axis] + tap[axis])
                            .wrapping_sub(window.padding[axis])
                    });
                    if (0..3).any(|axis| place[axis] >= shape[axis]) {
                        continue;
                    }
                    let from = (place[0] * shape[1] + place[1]) * shape[2] + place[2];
                    each(
                        output * out.iter().product::<usize>() + index,
                        input * shape.iter().product::<usize>() + from,
                        (output * inputs + input) * taps.len() + number,
                    );
                }
            }
        }
    }
}

fn close(found: &[f32], wanted: &[f64], what: &str) {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(
            (f64::from(*found) - wanted).abs() < 4e-6 * largest,
            "{what}: {found} {wanted}"
        );
    }
}

#[test]
fn convolutions_are_the_sums_they_stand_for() {
    let windows = [
        ([3, 3, 3], [1, 1, 1], [1, 1, 1]),
        ([3, 3, 3], [2, 2, 2], [1, 1, 1]),
        ([1, 3, 3], [1, 2, 2], [0, 1, 1]),
        ([1, 1, 1], [1, 1, 1], [0, 0, 0]),
        ([1, 1, 1], [2, 2, 2], [0, 0, 0]),
        ([2, 2, 2], [2, 2, 2], [0, 0, 0]),
        ([3, 3, 3], [3, 1, 2], [1, 1, 1]),
    ];
    for (kernel, stride, padding) in windows {
        let window = Window {
            kernel,
            stride,
            padding,
        };
        for (shape, [inputs, outputs]) in [
            ([4, 5, 7], [2, 3]),
            ([6, 6, 34], [3, 9]),
            ([2, 2, 2], [9, 17]),
        ] {
            let out = window.outputs(shape);
            let (voxels, outs): (usize, usize) = (shape.iter().product(), out.iter().product());
            let taps: usize = kernel.iter().product();
            let x = numbers(inputs * voxels, 1);
            let gradient = numbers(outputs * outs, 2);
            let weight = numbers(outputs * inputs * taps, 3);
            let bias = numbers(outputs, 4);
            let mut forward: Vec<f64> = (0..outputs * outs)
                .map(|i| f64::from(bias[i / outs]))
                .collect();
            let mut by_x = vec![0.0f64; x.len()];
            let mut by_weight = vec![0.0f64; weight.len()];
            products(&window, shape, [inputs, outputs], |o, i, w| {
                let [g, v, k] = [gradient[o], x[i], weight[w]].map(f64::from);
                forward[o] += k * v;
                by_x[i] += k * g;
                by_weight[w] += g * v;
            });
            let channels: Vec<&[f32]> = x.chunks_exact(voxels).collect();
            let gradients: Vec<&[f32]> = gradient.chunks_exact(outs).collect();
            for set in sets() {
                let what = format!("{set:?} {window:?} {shape:?}");
                let mut found = vec![7.0; outputs * outs];
                convolve(
                    set,
                    &channels,
                    shape,
                    &weight,
                    Some(&bias),
                    &window,
                    &mut found,
                );
                close(&found, &forward, &what);
                // The gradient by the input takes the weights with the outputs first, as they are.
                let mut found = vec![7.0; x.len()];
                transpose(
                    set, &gradients, out, &weight, None, &window, shape, &mut found,
                );
                close(&found, &by_x, &format!("{what} by x"));
                let mut found = vec![0.0; weight.len()];
                weight_gradient(set, &gradients, &channels, shape, &window, out, &mut found);
                close(&found, &by_weight, &format!("{what} by weight"));
            }
        }
    }
}
