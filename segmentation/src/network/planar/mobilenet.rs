//! MobileNetV3-Large as timm ports it from TensorFlow: zeros put as TensorFlow does, hard swish, squeeze and excitation.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::relu;

use super::super::mode::{BatchNorm, Mode};
use super::super::operations::NetworkBackend;
use super::super::weights::Weights;
use super::layers::Conv;
use crate::error::Result;

/// Channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input.
pub const CHANNELS: [usize; 5] = [16, 24, 40, 112, 960];
/// Added to the variance.
const EPSILON: f64 = 1e-3;

/// Stage, block, kernel, stride, expanded channels, outputs, squeezed channels (0: none), hard swish.
type Row = (usize, usize, usize, usize, usize, usize, usize, bool);

/// The inverted residual blocks (Howard et al. 2019, Table 1).
const ROWS: [Row; 14] = [
    (1, 0, 3, 2, 64, 24, 0, false),
    (1, 1, 3, 1, 72, 24, 0, false),
    (2, 0, 5, 2, 72, 40, 24, false),
    (2, 1, 5, 1, 120, 40, 32, false),
    (2, 2, 5, 1, 120, 40, 32, false),
    (3, 0, 3, 2, 240, 80, 0, true),
    (3, 1, 3, 1, 200, 80, 0, true),
    (3, 2, 3, 1, 184, 80, 0, true),
    (3, 3, 3, 1, 184, 80, 0, true),
    (4, 0, 3, 1, 480, 112, 120, true),
    (4, 1, 3, 1, 672, 112, 168, true),
    (5, 0, 5, 2, 672, 160, 168, true),
    (5, 1, 5, 1, 960, 160, 240, true),
    (5, 2, 5, 1, 960, 160, 240, true),
];

/// A sixth of `x + 3`, cut to 0 and 1.
fn hard_sigmoid<B: NetworkBackend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    (x + 3.0).clamp(0.0, 6.0) / 6.0
}

fn hard_swish<B: NetworkBackend>(x: Tensor<B, 4>) -> Tensor<B, 4> {
    x.clone() * hard_sigmoid(x)
}

#[derive(Module, Debug)]
struct Squeeze<B: NetworkBackend> {
    reduce: Conv<B>,
    expand: Conv<B>,
}

#[derive(Module, Debug)]
struct Block<B: NetworkBackend> {
    widen: Option<Conv<B>>,
    widen_norm: Option<BatchNorm<B>>,
    depthwise: Conv<B>,
    depthwise_norm: BatchNorm<B>,
    squeeze: Option<Squeeze<B>>,
    narrow: Conv<B>,
    narrow_norm: BatchNorm<B>,
    swish: bool,
    beside: bool,
}

impl<B: NetworkBackend> Block<B> {
    fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Tensor<B, 4> {
        let active = |x| if self.swish { hard_swish(x) } else { relu(x) };
        let wide = match (&self.widen, &self.widen_norm) {
            (Some(conv), Some(norm)) => active(norm.forward(conv.forward(x.clone()), mode)),
            _ => x.clone(),
        };
        let deep = self.depthwise.forward(wide);
        let mut y = active(self.depthwise_norm.forward(deep, mode));
        if let Some(squeeze) = &self.squeeze {
            let mean = y.clone().mean_dim(2).mean_dim(3);
            let gate = squeeze.expand.forward(relu(squeeze.reduce.forward(mean)));
            y = y * hard_sigmoid(gate);
        }
        let out = self.narrow_norm.forward(self.narrow.forward(y), mode);
        if self.beside { out + x } else { out }
    }
}

/// MobileNetV3-Large without its classifier.
#[derive(Module, Debug)]
pub struct MobileNet<B: NetworkBackend> {
    stem: Conv<B>,
    stem_norm: BatchNorm<B>,
    blocks: Vec<Block<B>>,
    last: Conv<B>,
    last_norm: BatchNorm<B>,
}

impl<B: NetworkBackend> MobileNet<B> {
    pub fn new(inputs: usize, weights: &mut dyn Weights, device: &B::Device) -> Result<Self> {
        let model = "encoder.model";
        let stem = Conv::new(
            weights,
            &format!("{model}.conv_stem"),
            [inputs, 16],
            3,
            device,
        )?;
        let stem_norm = BatchNorm::new(weights, &format!("{model}.bn1"), 16, EPSILON, device)?;
        // The first block has nothing to widen.
        let own = format!("{model}.blocks.0.0");
        let mut blocks = vec![Block {
            widen: None,
            widen_norm: None,
            depthwise: Conv::depthwise(weights, &format!("{own}.conv_dw"), 16, 3, device)?
                .padded_tightly(),
            depthwise_norm: BatchNorm::new(weights, &format!("{own}.bn1"), 16, EPSILON, device)?,
            squeeze: None,
            narrow: Conv::new(weights, &format!("{own}.conv_pw"), [16, 16], 1, device)?,
            narrow_norm: BatchNorm::new(weights, &format!("{own}.bn2"), 16, EPSILON, device)?,
            swish: false,
            beside: true,
        }];
        let mut inputs = 16;
        for (stage, block, kernel, stride, wide, outputs, squeezed, swish) in ROWS {
            let own = format!("{model}.blocks.{stage}.{block}");
            let widen = Conv::new(
                weights,
                &format!("{own}.conv_pw"),
                [inputs, wide],
                1,
                device,
            )?;
            let widen_norm = BatchNorm::new(weights, &format!("{own}.bn1"), wide, EPSILON, device)?;
            let depthwise =
                Conv::depthwise(weights, &format!("{own}.conv_dw"), wide, kernel, device)?;
            let depthwise_norm =
                BatchNorm::new(weights, &format!("{own}.bn2"), wide, EPSILON, device)?;
            let squeeze = match squeezed {
                0 => None,
                squeezed => {
                    let mut conv = |part: &str, channels| {
                        let name = format!("{own}.se.conv_{part}");
                        Conv::new(weights, &name, channels, 1, device)?
                            .with_bias(weights, &name, device)
                    };
                    Some(Squeeze {
                        reduce: conv("reduce", [wide, squeezed])?,
                        expand: conv("expand", [squeezed, wide])?,
                    })
                }
            };
            let narrow = format!("{own}.conv_pwl");
            blocks.push(Block {
                widen: Some(widen),
                widen_norm: Some(widen_norm),
                depthwise: depthwise.with_stride(stride).padded_tightly(),
                depthwise_norm,
                squeeze,
                narrow: Conv::new(weights, &narrow, [wide, outputs], 1, device)?,
                narrow_norm: BatchNorm::new(
                    weights,
                    &format!("{own}.bn3"),
                    outputs,
                    EPSILON,
                    device,
                )?,
                swish,
                beside: stride == 1 && inputs == outputs,
            });
            inputs = outputs;
        }
        let own = format!("{model}.blocks.6.0");
        Ok(Self {
            stem: stem.with_stride(2).padded_tightly(),
            stem_norm,
            blocks,
            last: Conv::new(weights, &format!("{own}.conv"), [inputs, 960], 1, device)?,
            last_norm: BatchNorm::new(weights, &format!("{own}.bn1"), 960, EPSILON, device)?,
        })
    }

    /// Features of the five resolutions, finest first.
    pub fn forward(&self, x: Tensor<B, 4>, mode: Mode<'_>) -> Vec<Tensor<B, 4>> {
        let mut x = hard_swish(self.stem_norm.forward(self.stem.forward(x), mode));
        let mut features = vec![];
        // After the first block, and after stages 1, 2 and 4.
        let ends = [0, 2, 5, 11];
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, mode);
            if ends.contains(&index) {
                features.push(x.clone());
            }
        }
        features.push(hard_swish(
            self.last_norm.forward(self.last.forward(x), mode),
        ));
        features
    }
}
