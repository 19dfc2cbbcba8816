//! Training by a paper's recipe, on scans with label maps.

use std::path::Path;

use anyhow::Context as _;
use segmentation::network::{Device, Network};
use segmentation::recipes::{Case, Fitted, Kept, Method, Recipe, RecipeModel};
use segmentation::training::{Parameters, RawCase, RawDataset};

use super::TrainRequest;
use super::course::{Course, Judgement, Keep};
use super::images::{pretty, provenance, split};
use super::images_plan::Fold;
use super::validation::validate;
use crate::exit::{EndWith as _, Failure, Kind};
use crate::output_dir::{PROVENANCE_FILE, write_file};
use crate::progress::Progress;

/// Voxels of judged cases by which a threshold is chosen.
const SCORED: u64 = 4000;

/// Trains the networks of a recipe one after the other and, when all are done, predicts the cases they never saw.
///
/// # Errors
/// A [`Failure`] of kind input for data that are refused, of kind usage for a recipe that does not suit them.
pub(super) fn train(
    recipe: &Recipe,
    request: &TrainRequest,
    progress: &mut Progress,
) -> anyhow::Result<Judgement> {
    recipe.check().kind(Kind::Usage)?;
    progress.stage("read");
    let data = RawDataset::open(&request.data).kind(Kind::Input)?;
    if data.channels.len() != 1 {
        return Err(Failure::input(format!(
            "{} names {} channels; the papers' networks see one",
            request.data.join("dataset.json").display(),
            data.channels.len()
        ))
        .into());
    }
    let names: Vec<String> = data.names.values().cloned().collect();
    if matches!(recipe.method, Method::Triplanar(_)) && names.len() != 1 {
        return Err(Failure::input(format!(
            "{} names {} labels; this network tells one bone from all else",
            request.data.join("dataset.json").display(),
            names.len()
        ))
        .into());
    }
    std::fs::create_dir_all(&request.out)
        .with_context(|| format!("{} cannot be made", request.out.display()))?;
    let (learned, judged) = split(&data, request)?;
    let read = |cases: &[&RawCase]| -> anyhow::Result<Vec<Case>> {
        let cases = cases.iter().map(|case| {
            let (images, labels) = data.read(case)?;
            let image = images.first().context("no channel")?;
            let made = Case::new(
                image,
                Some(&labels),
                recipe.spacing_mm,
                &recipe.normalisation,
            );
            made.with_context(|| case.name.clone())
        });
        cases.collect()
    };
    let learned_cases = read(&learned).kind(Kind::Input)?;
    let judged_cases = read(&judged).kind(Kind::Input)?;
    let mut fitted = recipe
        .fit(&learned_cases, names.clone())
        .kind(Kind::Usage)?;
    let [recipe_file, fitted_file] = RecipeModel::FILES;
    // Without it the folder is no model: weights of an earlier training must not pass for this one's.
    match std::fs::remove_file(request.out.join(fitted_file)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{}", request.out.display()));
        }
        _ => {}
    }
    write_file(
        &request.out.join(PROVENANCE_FILE),
        provenance(&data, request, &[])?.to_json()?.as_bytes(),
    )?;
    write_file(
        &request.out.join(recipe_file),
        toml::to_string_pretty(recipe)?.as_bytes(),
    )?;
    let given = match &request.initial {
        Some(folder) => given(folder, &recipe.networks()[0])?,
        None => Parameters::default(),
    };
    let topology = recipe.topology(names.len() + 1);
    let mut last = Judgement { dice: vec![] };
    for (number, network) in recipe.networks().into_iter().enumerate() {
        let folder = request.out.join(&network);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let samples = recipe.samples(number, &learned_cases, &fitted, false);
        let judge = recipe.samples(number, &judged_cases, &fitted, true);
        let training = recipe.train_plan(number, &learned_cases, &fitted);
        let course = Course {
            judge_every: training.steps / recipe.epochs,
            training,
            topology: topology.clone(),
            names: names.clone(),
            configuration: network.clone(),
            trainer: "osteoload",
            mirrored: vec![],
            judged_samples: recipe.judged_samples,
            keep: match recipe.keep {
                Kept::Last => Keep::Last,
                Kept::BestDice => Keep::Best,
                Kept::LeastLoss => Keep::LeastLoss,
            },
            patience: recipe.patience,
            weights: request.out.join(RecipeModel::weights_file(&network)),
            folder,
            given: given.clone(),
        };
        let judgement = course.run(
            samples.kind(Kind::Input)?.as_ref(),
            judge.kind(Kind::Input)?.as_ref(),
            request.resume,
            request.at_most,
            progress,
        )?;
        if !judgement.dice.is_empty() {
            last = judgement;
        }
        if !course.is_done()? {
            return Ok(last);
        }
    }
    if matches!(recipe.method, Method::Triplanar(_)) {
        choose_threshold(recipe, &judged_cases, &mut fitted, &request.out)?;
    }
    write_file(
        &request.out.join(fitted_file),
        &pretty(&serde_json::to_value(&fitted)?)?,
    )?;
    if request.fold != Fold::All {
        let model = RecipeModel::open(&request.out, recipe.clone(), Device::Cpu)?;
        validate(&data, &judged, &request.out, progress, &|scan| {
            let scan = scan.first().context("no channel")?;
            Ok(model.segment(scan, &mut |_, _| {})?)
        })?;
    }
    progress.finish();
    Ok(last)
}

/// Weights to start from: those of another trained recipe in its folder, or of an ImageNet encoder in a `.safetensors` file under the names
/// of torchvision (ResNet) or timm (MobileNetV3). What does not fit by name and shape is made anew.
fn given(path: &Path, network: &str) -> anyhow::Result<Parameters> {
    let is_file = path.is_file();
    let file = match is_file {
        true => path.to_owned(),
        false => path.join(RecipeModel::weights_file(network)),
    };
    let (weights, _) = segmentation::network::Stored::read_safetensors(&file)
        .context("the model to start from")
        .kind(Kind::Input)?;
    if !is_file {
        return Ok(super::images::parameters(weights, |_| true));
    }
    let mut parameters = Parameters::default();
    let mut count = 0;
    let all = weights.into_all();
    let mobile = all.contains_key("conv_stem.weight");
    for (name, (shape, values)) in all {
        let Some(name) = encoder_name(&name, mobile) else {
            continue;
        };
        // A filter of three colours sees one channel as their sum.
        let (shape, values) = match shape[..] {
            [outputs, 3, height, width] => {
                let size = height * width;
                let sums = values.chunks_exact(3 * size).flat_map(|filter| {
                    (0..size).map(|i| filter[i] + filter[size + i] + filter[2 * size + i])
                });
                (vec![outputs, 1, height, width], sums.collect())
            }
            _ => (shape, values),
        };
        parameters.insert(name, shape, values);
        count += 1;
    }
    if count == 0 {
        return Err(Failure::input(format!(
            "{}: holds no weights of a ResNet or MobileNetV3 encoder under the names of torchvision or timm (such as layer1.0.conv1.weight or blocks.0.0.conv_dw.weight)",
            file.display()
        ))
        .into());
    }
    Ok(parameters)
}

/// The name in our networks of a parameter of a MobileNet of timm or a ResNet of torchvision; none for what is not of the encoder.
fn encoder_name(name: &str, mobile: bool) -> Option<String> {
    let parts: (&str, &[&str]) = match mobile {
        true => ("encoder.model", &["conv_stem", "bn1", "blocks"]),
        false => (
            "encoder",
            &["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"],
        ),
    };
    let first = name.split('.').next()?;
    let (prefix, known) = parts;
    known.contains(&first).then(|| format!("{prefix}.{name}"))
}

/// The threshold of the probabilities, by Youden's J over voxels of the cases kept for judging.
fn choose_threshold(
    recipe: &Recipe,
    cases: &[Case],
    fitted: &mut Fitted,
    folder: &Path,
) -> anyhow::Result<()> {
    let known = fitted.clone();
    let samples = recipe.samples(0, cases, &known, true)?;
    let name = &recipe.networks()[0];
    let file = folder.join(RecipeModel::weights_file(name));
    let (mut weights, _) = segmentation::network::Stored::read_safetensors(&file)?;
    let network = Network::new(recipe.topology(2), &mut weights, Device::Cpu)?;
    let mut scores = vec![];
    for index in 0..SCORED {
        let sample = samples.sample(index)?;
        let [z, y, x] = known.patch;
        let logits = network.forward(sample.image, [1, 3, z, y, x])?;
        let [no, yes] = [logits[0], logits[1]];
        scores.push((1.0 / (1.0 + (no - yes).exp()), sample.target[0] > 0));
    }
    fitted.choose_threshold(&scores);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use segmentation::network::Stored;
    use std::collections::BTreeMap;

    #[test]
    fn colours_become_one_channel_and_heads_stay_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("imagenet.safetensors");
        let mut stored = Stored::default();
        let filters: Vec<f32> = (0..2 * 3 * 4).map(|v| v as f32).collect();
        stored.insert("conv1.weight".into(), vec![2, 3, 2, 2], filters);
        stored.insert("layer1.0.bn1.weight".into(), vec![2], vec![5.0, 6.0]);
        stored.insert("fc.weight".into(), vec![2, 2], vec![1.0; 4]);
        stored
            .write_safetensors(&file, &BTreeMap::new(), false)
            .expect("a file");
        let given = given(&file, "fold_0").expect("weights");
        assert_eq!(given.count(), 8 + 2);
        // 0 + 4 + 8 … of the first filter, 12 + 16 + 20 … of the second.
        let wanted: f64 = (0..24).map(f64::from).sum();
        assert_eq!(given.sum("encoder.conv1.weight"), Some(wanted));
        assert_eq!(given.sum("encoder.layer1.0.bn1.weight"), Some(11.0));
        assert_eq!(given.sum("fc.weight"), None);
    }
}
