//! The standard nnU-Net (six stages, 32 to 320 channels) on one tile, and a training step of it.
//!
//! `cargo bench -p segmentation --bench networks -- forward`; the numbers of PyTorch beside ours are in docs/performance.md.

use segmentation::Result;
use segmentation::network::{Architecture, Device, Kind, Network, Weights};

fn main() {
    divan::main();
}

/// Parameters of the right size that need no file.
struct Made(u32);

impl Weights for Made {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let fan_in: usize = shape[1..].iter().product();
        let size = match (shape.len(), name.ends_with("weight")) {
            (1, true) => return Ok(vec![1.0; shape[0]]),
            (1, false) => return Ok(vec![0.0; shape[0]]),
            _ => (6.0 / fan_in as f32).sqrt(),
        };
        let value = |_| {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        Ok((0..shape.iter().product())
            .map(value)
            .map(|v| v * size)
            .collect())
    }
}

fn standard() -> Architecture {
    Architecture {
        kind: Kind::Plain,
        dimensions: 3,
        inputs: 1,
        outputs: 2,
        features: vec![32, 64, 128, 256, 320, 320],
        kernels: vec![[3; 3]; 6],
        strides: [vec![[1; 3]], vec![[2; 3]; 5]].concat(),
        encoder: vec![2; 6],
        decoder: vec![2; 5],
        bias: true,
    }
}

#[divan::bench(args = [64, 128], sample_count = 5, sample_size = 1)]
fn forward(bencher: divan::Bencher<'_, '_>, edge: usize) {
    let network = Network::new(standard(), &mut Made(1), Device::Cpu).expect("a network");
    let mut made = Made(2);
    let tile = made
        .take("input.weight", &[1, 1, edge, edge, edge])
        .expect("numbers");
    bencher.bench_local(|| network.forward(tile.clone(), [1, 1, edge, edge, edge]));
}
