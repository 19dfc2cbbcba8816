//! What a scanner makes of painted CT numbers.

use super::scenery::Draw;

/// Blur, coarse slices, sharpening, noise, and a scanner that is off.
pub fn scan(draw: &mut Draw, hu: &mut [f32], shape: [usize; 3]) {
    if draw.chance(0.5) {
        let sigma = draw.between(0.2, 0.8);
        blur(hu, shape, sigma, [true; 3]);
    }
    if draw.chance(0.3) {
        // Thick slices, interpolated back.
        let sigma = draw.between(0.5, 1.5);
        blur(hu, shape, sigma, [true, false, false]);
    }
    if draw.chance(0.2) {
        let mut soft = hu.to_vec();
        blur(&mut soft, shape, 0.8, [true; 3]);
        let strength = draw.between(0.2, 1.0);
        for (hu, soft) in hu.iter_mut().zip(&soft) {
            *hu += strength * (*hu - soft);
        }
    }
    let level = if draw.chance(0.7) {
        draw.between(2.0, 35.0)
    } else {
        draw.between(20.0, 85.0)
    };
    let mut noise: Vec<f32> = hu.iter().map(|_| draw.normal()).collect();
    if draw.chance(0.5) {
        let sigma = draw.between(0.3, 0.8);
        blur(&mut noise, shape, sigma, [true; 3]);
        let spread = noise.iter().map(|n| n * n).sum::<f32>() / noise.len() as f32;
        let factor = 1.0 / spread.sqrt().max(1e-3);
        noise.iter_mut().for_each(|n| *n *= factor);
    }
    let gain = draw.between(0.86, 1.16);
    let offset = draw.between(-40.0, 40.0);
    for (hu, noise) in hu.iter_mut().zip(&noise) {
        // Stored scans end at −1024.
        *hu = (*hu * gain + offset + level * noise).max(-1024.0);
    }
}

/// Gaussian blur of `sigma` voxels along the chosen axes, ends repeated.
fn blur(values: &mut [f32], shape: [usize; 3], sigma: f32, axes: [bool; 3]) {
    let reach = (3.0 * sigma).ceil() as isize;
    let bell: Vec<f32> = (-reach..=reach)
        .map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp())
        .collect();
    let sum: f32 = bell.iter().sum();
    let strides = [shape[1] * shape[2], shape[2], 1];
    let mut line = vec![];
    for axis in (0..3).filter(|&axis| axes[axis]) {
        let (length, stride) = (shape[axis], strides[axis]);
        for start in 0..values.len() {
            if start / stride % length != 0 {
                continue;
            }
            line.clear();
            line.extend((0..length).map(|i| values[start + i * stride]));
            for i in 0..length {
                let mut total = 0.0;
                for (tap, weight) in bell.iter().enumerate() {
                    let from = (i as isize + tap as isize - reach).clamp(0, length as isize - 1);
                    total += weight * line[from as usize];
                }
                values[start + i * stride] = total / sum;
            }
        }
    }
}
