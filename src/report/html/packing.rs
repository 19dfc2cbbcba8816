//! Numbers as bytes that pack well (layout: [`super::scene`]).

/// Vectors, component by component, 16 bits each: multiples of `step` from `centre`.
pub(super) fn put_vectors(data: &mut Vec<u8>, vectors: &[[f64; 3]], centre: [f64; 3], step: f64) {
    for axis in 0..3 {
        let mut before = 0_i16;
        let differences: Vec<i16> = vectors
            .iter()
            .map(|vector| {
                let value = ((vector[axis] - centre[axis]) / step).round() as i16;
                value.wrapping_sub(std::mem::replace(&mut before, value))
            })
            .collect();
        for place in 0..2 {
            data.extend(differences.iter().map(|d| d.to_le_bytes()[place]));
        }
    }
}

/// Numbers, 32 bits each.
pub(super) fn put_numbers(data: &mut Vec<u8>, numbers: &[u32]) {
    let mut before = 0_u32;
    let differences: Vec<u32> = numbers
        .iter()
        .map(|number| number.wrapping_sub(std::mem::replace(&mut before, *number)))
        .collect();
    for place in 0..4 {
        data.extend(differences.iter().map(|d| d.to_le_bytes()[place]));
    }
}

/// Values over a range in 255 steps. What is above the low end is never 0.
pub(super) fn put_bytes(data: &mut Vec<u8>, values: &[f64], [low, high]: [f64; 2]) {
    data.extend(values.iter().map(|value| {
        let part = ((value - low) / (high - low)).clamp(0.0, 1.0);
        (255.0 * part).ceil() as u8
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_differences_in_planes() {
        let mut data = Vec::new();
        put_numbers(&mut data, &[1, 257, 0]);
        // 1, 256, -257.
        assert_eq!(data, [1, 0, 255, 0, 1, 254, 0, 0, 255, 0, 0, 255]);
        data.clear();
        put_bytes(&mut data, &[0.0, 1e-9, 1.0, 2.0], [0.0, 1.0]);
        assert_eq!(data, [0, 1, 255, 255]);
    }
}
