//! What a coarse network may have found of a painted scene, as further input of a fine one.

use super::{Here, Scene};
use crate::train::scenery::{Cloud, Window};

impl Scene<'_> {
    /// What a coarse network may have found: the classes at its spacing, worn, swollen, in places confused or missed.
    pub(super) fn coarse(
        &mut self,
        fields: &[Here],
        named: usize,
        coarse_mm: f32,
        window: &Window,
    ) -> Vec<u8> {
        let [nz, ny, nx] = self.painter.patch;
        let h = self.painter.spacing_mm;
        let spine = self.anatomy.is_spine();
        if self.draw.chance(if spine { 0.1 } else { 0.04 }) {
            return vec![0; nz * ny * nx];
        }
        let error = self.draw.between(0.3, 0.9) * coarse_mm;
        let bias = self.draw.between(-0.4, 0.4) * coarse_mm;
        let worn = Cloud::drawn(&mut self.draw, self.extent, 14.0);
        let swapped = Cloud::drawn(&mut self.draw, self.extent, 20.0);
        let missed = Cloud::drawn(&mut self.draw, self.extent, 24.0);
        let swap_above = if self.draw.chance(0.3) {
            self.draw.between(0.9, 1.6)
        } else {
            9.0
        };
        // Vertebrae are missed in larger parts than femora.
        let (often, least) = if spine { (0.6, 0.3) } else { (0.3, 0.9) };
        let miss_above = if self.draw.chance(often) {
            self.draw.between(least, 1.6)
        } else {
            9.0
        };
        let offset: [f32; 3] = std::array::from_fn(|_| self.draw.unit());
        // At a coarse spacing bodies grow together over their discs.
        let bridged = match spine && self.draw.chance(0.7) {
            true => self.draw.between(0.1, 0.9),
            false => 9.0,
        };
        let mut found = vec![0u8; nz * ny * nx];
        for (index, found) in found.iter_mut().enumerate() {
            let at = [index / (ny * nx), index / nx % ny, index % nx];
            // The middle of the coarse voxel that this one lies in.
            let place: [f32; 3] = std::array::from_fn(|axis| {
                let cell = ((at[axis] as f32 + 0.5) * h / coarse_mm + offset[axis]).floor();
                (cell + 0.5 - offset[axis]) * coarse_mm
            });
            let near = |axis: usize, n: usize| {
                ((place[axis] / h) as isize).clamp(0, n as isize - 1) as usize
            };
            let [z, y, x] = [near(0, nz), near(1, ny), near(2, nx)];
            if !window.holds(at) {
                continue;
            }
            let here = &fields[(z * ny + y) * nx + x];
            let (own, distance) = here.nearest(self.anatomy.classes());
            if here.disc > bridged + 0.3 * worn.at(place) {
                *found = 1;
                continue;
            }
            if distance + bias + error * worn.at(place) < 0.0 && missed.at(place) < miss_above {
                let swap = named > 1 && swapped.at(place) > swap_above;
                *found = match swap {
                    true => own % named as u8 + 1,
                    false => own,
                };
            }
        }
        found
    }
}
