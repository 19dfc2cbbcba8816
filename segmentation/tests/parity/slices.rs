//! Slice networks filled with numbers made from the parameters' names, against their logits.

use segmentation::network::{
    DecoderKind, Device, EncoderKind, Network, PlanarArchitecture, Topology,
};

use crate::kit::{self, Detgen};

#[test]
fn slice_networks() {
    use DecoderKind::{DeepLabV3, DeepLabV3Plus, UNet, UNetPlusPlus};
    use EncoderKind::{MobileNetV3Large, ResNet34, ResNet50};
    let Some(index) = kit::json("models/index_smp.json") else {
        return;
    };
    let known = [
        ("smp_unet_resnet34", ResNet34, UNet),
        ("smp_unetpp_resnet34", ResNet34, UNetPlusPlus),
        ("smp_unet_resnet50", ResNet50, UNet),
        ("smp_unetpp_resnet50", ResNet50, UNetPlusPlus),
        ("smp_unet_mobilenetv3_large_100", MobileNetV3Large, UNet),
        (
            "smp_unetpp_mobilenetv3_large_100",
            MobileNetV3Large,
            UNetPlusPlus,
        ),
        ("smp_deeplabv3_resnet34", ResNet34, DeepLabV3),
        ("smp_deeplabv3_resnet50", ResNet50, DeepLabV3),
        ("smp_deeplabv3plus_resnet34", ResNet34, DeepLabV3Plus),
        ("smp_deeplabv3plus_resnet50", ResNet50, DeepLabV3Plus),
    ];
    let names: Vec<&str> = known.iter().map(|known| known.0).collect();
    for name in index.as_object().expect("networks").keys() {
        assert!(names.contains(&name.as_str()), "{name} is not compared");
    }
    for (name, encoder, decoder) in known {
        let architecture = PlanarArchitecture {
            encoder,
            decoder,
            inputs: 1,
            outputs: 2,
        };
        let mut detgen = Detgen {
            names: vec![],
            count: 0,
        };
        let topology = Topology::Planar(architecture);
        let network = Network::new(topology, &mut detgen, Device::Cpu).expect("a network");
        let keys = kit::json(&format!("models/{name}.keys.json")).expect("names");
        let mut wanted: Vec<String> = keys
            .as_array()
            .expect("names")
            .iter()
            .map(|key| key["name"].as_str().expect("a name").to_owned())
            .collect();
        wanted.sort();
        detgen.names.sort();
        assert_eq!(detgen.names, wanted, "{name}: names");

        let entry = &index[name];
        let logits = network
            .forward(kit::input("input", 128 * 128), [1, 1, 1, 128, 128])
            .expect("logits");
        let arrays = kit::npz(&format!("models/{name}.npz")).expect("logits");
        let off = kit::largest_difference(&logits, &arrays["logits0"].values);
        let deviation = entry["logits"][0]["std"].as_f64().expect("a deviation");
        println!("{name}: {:.1e} of the deviation", off / deviation);
        assert!(off < 1e-4 * deviation, "{name}: off by {off}");
    }
}
