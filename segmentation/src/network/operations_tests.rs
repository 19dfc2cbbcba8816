//! Our kernels against burn's own operations, values and gradients, on shapes that end in every part of a vector.

use burn::backend::Autodiff;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};

use super::operations::NetworkBackend;
use super::reference;

/// Numbers between −1 and 1 that repeat themselves nowhere near.
fn numbers<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<Flex, D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), &FlexDevice)
}

fn vec<const D: usize>(tensor: &Tensor<Flex, D>) -> Vec<f32> {
    tensor.clone().into_data().into_vec().expect("numbers")
}

/// Largest difference over the largest value.
fn off<const D: usize>(found: &Tensor<Flex, D>, wanted: &Tensor<Flex, D>) -> f32 {
    assert_eq!(found.dims(), wanted.dims());
    let (found, wanted) = (vec(found), vec(wanted));
    let largest = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let off = found
        .iter()
        .zip(&wanted)
        .fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    off / largest
}

/// Batch, inputs, outputs, z, y, x, kernel, stride.
const CONVOLUTIONS: [([usize; 6], [usize; 3], [usize; 3]); 10] = [
    ([1, 1, 8, 9, 11, 13], [3, 3, 3], [1, 1, 1]),
    ([2, 5, 9, 6, 16, 16], [3, 3, 3], [1, 1, 1]),
    ([1, 16, 3, 4, 4, 4], [3, 3, 3], [1, 1, 1]),
    ([1, 3, 17, 1, 20, 30], [1, 3, 3], [1, 1, 1]),
    ([2, 4, 8, 8, 10, 12], [3, 3, 3], [2, 2, 2]),
    ([1, 8, 5, 7, 9, 11], [3, 3, 3], [2, 2, 2]),
    ([1, 3, 4, 5, 12, 14], [1, 3, 3], [1, 2, 2]),
    ([1, 6, 3, 5, 40, 50], [1, 1, 1], [1, 1, 1]),
    ([1, 2, 3, 9, 9, 9], [3, 3, 3], [3, 3, 3]),
    ([1, 2, 9, 12, 12, 12], [5, 5, 5], [2, 1, 2]),
];

#[test]
fn convolution() {
    for ([batch, inputs, outputs, z, y, x], kernel, stride) in CONVOLUTIONS {
        let input = numbers([batch, inputs, z, y, x], 1);
        let weight = numbers([outputs, inputs, kernel[0], kernel[1], kernel[2]], 2);
        let bias = numbers([outputs], 3);
        let wanted = reference::convolve(input.clone(), weight.clone(), Some(bias.clone()), stride);
        let found = Flex::convolve(input.clone(), weight.clone(), Some(bias), stride);
        let worst = off(&found, &wanted);
        assert!(worst < 2e-6, "{kernel:?} {stride:?}: off by {worst}");

        let gradient = numbers(wanted.dims(), 4);
        let wanted =
            reference::convolve_gradients(input.clone(), weight.clone(), gradient.clone(), stride);
        let found = Flex::convolve_gradients(input, weight, gradient, stride);
        let worst = [
            off(&found.x, &wanted.x),
            off(&found.weight, &wanted.weight),
            off(&found.bias, &wanted.bias),
        ];
        assert!(
            worst.iter().all(|&w| w < 5e-6),
            "{kernel:?} {stride:?}: off by {worst:?}"
        );
    }
}

#[test]
fn enlargement() {
    for (shape, stride) in [
        ([2, 5, 3, 4, 6], [2, 2, 2]),
        ([1, 8, 1, 9, 20], [1, 2, 2]),
        ([1, 3, 2, 3, 5], [2, 3, 1]),
    ] {
        let x = numbers(shape, 5);
        let weight = numbers([shape[1], 7, stride[0], stride[1], stride[2]], 6);
        let bias = numbers([7], 7);
        let wanted = reference::enlarge(x.clone(), weight.clone(), Some(bias.clone()));
        let found = Flex::enlarge(x.clone(), weight.clone(), Some(bias));
        assert!(off(&found, &wanted) < 2e-6, "{stride:?}");

        let gradient = numbers(wanted.dims(), 8);
        let wanted = reference::enlarge_gradients(x.clone(), weight.clone(), gradient.clone());
        let found = Flex::enlarge_gradients(x, weight, gradient);
        let worst = [
            off(&found.x, &wanted.x),
            off(&found.weight, &wanted.weight),
            off(&found.bias, &wanted.bias),
        ];
        assert!(
            worst.iter().all(|&w| w < 5e-6),
            "{stride:?}: off by {worst:?}"
        );
    }
}

#[test]
fn norm() {
    for (shape, slope) in [([2, 3, 4, 5, 7], 0.01), ([1, 2, 16, 20, 24], 1.0)] {
        let x = numbers(shape, 9) * 3.0 + 2.0;
        let (scale, shift) = (numbers([shape[1]], 10) + 1.5, numbers([shape[1]], 11));
        let wanted = reference::normalise(x.clone(), scale.clone(), shift.clone(), slope);
        let found = Flex::normalise(x.clone(), scale.clone(), shift.clone(), slope);
        assert!(off(&found, &wanted) < 2e-6);

        let gradient = numbers(shape, 12);
        let wanted = reference::normalise_gradients(
            x.clone(),
            scale.clone(),
            shift.clone(),
            slope,
            gradient.clone(),
        );
        let found = Flex::normalise_gradients(x, scale, shift, slope, gradient);
        let worst = [
            off(&found.x, &wanted.x),
            off(&found.scale, &wanted.scale),
            off(&found.shift, &wanted.shift),
        ];
        assert!(worst.iter().all(|&w| w < 2e-5), "off by {worst:?}");
    }
}

#[test]
fn channels_are_joined_and_split() {
    let (a, b) = (numbers([2, 3, 2, 3, 4], 22), numbers([2, 5, 2, 3, 4], 23));
    let joined = Flex::join(a.clone(), b.clone());
    assert_eq!(
        vec(&joined),
        vec(&Tensor::cat(vec![a.clone(), b.clone()], 1))
    );
    let [first, second] = Flex::split(joined, 3);
    assert_eq!([vec(&first), vec(&second)], [vec(&a), vec(&b)]);
}

/// The gradients that reach the parameters through burn's own differentiation are those of our operations, and those of burn's.
#[test]
fn gradients_through_the_tape() {
    type Tape = Autodiff<Flex>;
    let lift = |t: Tensor<Flex, 5>| Tensor::<Tape, 5>::from_inner(t).require_grad();
    let lift1 = |t: Tensor<Flex, 1>| Tensor::<Tape, 1>::from_inner(t).require_grad();
    let x = lift(numbers([1, 2, 4, 6, 6], 13));
    let weight = lift(numbers([4, 2, 3, 3, 3], 14));
    let bias = lift1(numbers([4], 15));
    let (scale, shift) = (lift1(numbers([4], 16)), lift1(numbers([4], 17)));
    let factor = Tensor::<Tape, 5>::from_inner(numbers([1, 3, 4, 6, 6], 19));
    let beside = lift(numbers([1, 4, 2, 3, 3], 24));
    let up = lift(numbers([8, 3, 2, 2, 2], 18));
    let run = |ours: bool| {
        let out = match ours {
            true => {
                let y = Tape::convolve(x.clone(), weight.clone(), Some(bias.clone()), [2, 2, 2]);
                let y = Tape::normalise(y, scale.clone(), shift.clone(), 0.01);
                Tape::enlarge(Tape::join(y, beside.clone()), up.clone(), None)
            }
            false => {
                let y =
                    reference::convolve(x.clone(), weight.clone(), Some(bias.clone()), [2, 2, 2]);
                let y = reference::normalise(y, scale.clone(), shift.clone(), 0.01);
                let y = Tensor::cat(vec![y, beside.clone()], 1);
                reference::enlarge(y, up.clone(), None)
            }
        };
        let gradients = (out * factor.clone()).sum().backward();
        let five = |t: &Tensor<Tape, 5>| t.grad(&gradients).expect("a gradient");
        let one = |t: &Tensor<Tape, 1>| t.grad(&gradients).expect("a gradient");
        (
            [five(&x), five(&weight), five(&up), five(&beside)],
            [one(&scale), one(&shift)],
        )
    };
    let ((five, one), (five_wanted, one_wanted)) = (run(true), run(false));
    for (found, wanted) in five.iter().zip(&five_wanted) {
        assert!(off(found, wanted) < 1e-5, "off by {}", off(found, wanted));
    }
    for (found, wanted) in one.iter().zip(&one_wanted) {
        assert!(off(found, wanted) < 1e-5, "off by {}", off(found, wanted));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            let x = numbers([1, 6, 7, 12, 12], 20);
            let weight = numbers([20, 6, 3, 3, 3], 21);
            let y = Flex::convolve(x.clone(), weight.clone(), None, [1; 3]);
            let found = Flex::convolve_gradients(x, weight, y.clone(), [1; 3]);
            [vec(&y), vec(&found.x), vec(&found.weight), vec(&found.bias)]
        })
    };
    let one = run(1);
    for threads in [2, 5] {
        assert!(run(threads) == one, "{threads} threads");
    }
}
