//! Numbers of parameters, against those that papers and libraries print.

use segmentation::network::{
    BatchArchitecture, DecoderKind, Device, EncoderKind, Network, NormPlacement, PatchArchitecture,
    PlanarArchitecture, Topology, Weights,
};

/// Hands out zeros and counts them, without the statistics of batch norms, which nobody counts.
struct Counted(usize);

impl Weights for Counted {
    fn take(&mut self, name: &str, shape: &[usize]) -> segmentation::Result<Vec<f32>> {
        let count = shape.iter().product();
        if !name.contains(".running_") {
            self.0 += count;
        }
        Ok(vec![0.0; count])
    }
}

fn count(topology: Topology) -> usize {
    let mut counted = Counted(0);
    Network::new(topology, &mut counted, Device::Cpu).expect("a network");
    counted.0
}

fn batch(dimensions: usize, first: usize, outputs: usize) -> Topology {
    Topology::BatchUNet(BatchArchitecture {
        dimensions,
        inputs: 1,
        outputs,
        features: (0..5).map(|stage| first << stage).collect(),
        norms: NormPlacement::AfterEach,
    })
}

#[test]
fn saillards_networks_have_the_sizes_they_print() {
    // 34.5 million, and 12 million.
    assert_eq!(count(batch(2, 64, 1)), 34_525_889);
    assert_eq!(count(batch(3, 22, 1)), 12_239_327);
}

#[test]
fn slice_networks_have_the_sizes_of_the_library() {
    let planar = |encoder, decoder| {
        count(Topology::Planar(PlanarArchitecture {
            encoder,
            decoder,
            inputs: 1,
            outputs: 2,
        }))
    };
    use DecoderKind::{UNet, UNetPlusPlus};
    use EncoderKind::{MobileNetV3Large, ResNet34, ResNet50};
    assert_eq!(planar(ResNet34, UNet), 24_430_242);
    assert_eq!(planar(ResNet50, UNet), 32_514_978);
    assert_eq!(planar(ResNet34, UNetPlusPlus), 26_072_482);
    assert_eq!(planar(ResNet50, UNetPlusPlus), 48_979_618);
    assert_eq!(planar(MobileNetV3Large, UNet), 6_685_682);
    assert_eq!(planar(MobileNetV3Large, UNetPlusPlus), 6_917_202);
}

#[test]
fn the_other_networks_have_the_sizes_their_layers_add_up_to() {
    // Two 3×3 convolutions and one norm a stage, 2×2 upwards with a norm, 1×1 at the end (Perslev et al. 2019; 40 % more channels than
    // the first U-Net).
    let planes = BatchArchitecture {
        dimensions: 2,
        inputs: 1,
        outputs: 6,
        features: vec![90, 181, 362, 724, 1448],
        norms: NormPlacement::AfterBoth,
    };
    let pair = |a: usize, b: usize| 9 * a * b + b + 9 * b * b + b + 2 * b;
    let f = &planes.features;
    let mut wanted = pair(1, f[0]) + 6 * f[0] + 6;
    for stage in 0..4 {
        let (here, below) = (f[stage], f[stage + 1]);
        wanted += pair(here, below) + pair(2 * here, here) + 4 * below * here + here + 2 * here;
    }
    assert_eq!(count(Topology::BatchUNet(planes)), wanted);
    assert_eq!(
        count(Topology::Patch(PatchArchitecture {
            side: 32,
            inputs: 3,
            outputs: 2,
            features: 32,
        })),
        // 3-32-32-64-64 channels, then 64 × 8 × 8 to 256, 256, 2.
        (3 * 32 * 9 + 32)
            + (32 * 32 * 9 + 32)
            + (32 * 64 * 9 + 64)
            + (64 * 64 * 9 + 64)
            + (4096 * 256 + 256)
            + (256 * 256 + 256)
            + (256 * 2 + 2)
    );
}
