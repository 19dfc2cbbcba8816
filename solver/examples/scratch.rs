#![allow(missing_docs)]
use solver::*;
use std::collections::HashMap;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let text = std::fs::read_to_string(&args[1]).unwrap();
    let inc: usize = args[2].parse().unwrap();
    let mut nodes: Vec<[f64; 3]> = vec![];
    let mut elems: Vec<([u32; 8], String)> = vec![];
    let mut nsets: HashMap<String, Vec<u32>> = HashMap::new();
    let mut mats: HashMap<String, (f64, f64, Vec<[f64; 2]>)> = HashMap::new();
    let mut sect: HashMap<String, String> = HashMap::new();
    let mut bc: Vec<(String, usize, usize, f64)> = vec![];
    let mut form = Formulation::Full;
    let (mut key, mut opt) = (String::new(), HashMap::new());
    let mut mat = String::new();
    for line in text.lines() {
        if line.starts_with("**") || line.trim().is_empty() {
            continue;
        }
        if let Some(l) = line.strip_prefix('*') {
            let parts: Vec<&str> = l.split(',').collect();
            key = parts[0].to_uppercase();
            opt = parts[1..]
                .iter()
                .map(|p| {
                    let mut q = p.split('=');
                    (
                        q.next().unwrap().trim().to_uppercase(),
                        q.next().unwrap_or("").trim().to_string(),
                    )
                })
                .collect::<HashMap<_, _>>();
            if key == "MATERIAL" {
                mat = opt["NAME"].clone();
                mats.insert(mat.clone(), (0.0, 0.0, vec![]));
            }
            if key == "SOLID SECTION" {
                sect.insert(opt["ELSET"].clone(), opt["MATERIAL"].clone());
            }
            if key == "ELEMENT" && opt["TYPE"] == "C3D8I" {
                form = Formulation::Incompatible
            }
            continue;
        }
        let f: Vec<&str> = line
            .split(',')
            .map(str::trim)
            .filter(|s| !s.is_empty())
            .collect();
        match key.as_str() {
            "NODE" => nodes.push([
                f[1].parse().unwrap(),
                f[2].parse().unwrap(),
                f[3].parse().unwrap(),
            ]),
            "ELEMENT" => elems.push((
                std::array::from_fn(|i| f[i + 1].parse::<u32>().unwrap() - 1),
                opt["ELSET"].clone(),
            )),
            "NSET" => nsets
                .entry(opt["NSET"].clone())
                .or_default()
                .extend(f.iter().map(|s| s.parse::<u32>().unwrap() - 1)),
            "ELASTIC" => {
                let m = mats.get_mut(&mat).unwrap();
                m.0 = f[0].parse().unwrap();
                m.1 = f[1].parse().unwrap();
            }
            "PLASTIC" => mats
                .get_mut(&mat)
                .unwrap()
                .2
                .push([f[1].parse().unwrap(), f[0].parse().unwrap()]),
            "BOUNDARY" => bc.push((
                f[0].to_string(),
                f[1].parse().unwrap(),
                f[2].parse().unwrap(),
                f.get(3).map_or(0.0, |s| s.parse().unwrap()),
            )),
            _ => {}
        }
    }
    // sort by z,y,x
    let h = {
        let e = elems[0].0;
        nodes[e[1] as usize][0] - nodes[e[0] as usize][0]
    };
    let lo: [f64; 3] = std::array::from_fn(|a| nodes.iter().map(|n| n[a]).fold(f64::MAX, f64::min));
    let pt =
        |n: &[f64; 3]| -> [u32; 3] { std::array::from_fn(|a| ((n[a] - lo[a]) / h).round() as u32) };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&i| {
        let p = pt(&nodes[i]);
        (p[2], p[1], p[0])
    });
    let mut new = vec![0u32; nodes.len()];
    for (k, &i) in order.iter().enumerate() {
        new[i] = k as u32;
    }
    let nn: Vec<[f64; 3]> = order.iter().map(|&i| nodes[i]).collect();
    elems.sort_by_key(|e| {
        let p = pt(&nodes[e.0[0] as usize]);
        (p[2], p[1], p[0])
    });
    let cells: Vec<[u32; 3]> = elems.iter().map(|e| pt(&nodes[e.0[0] as usize])).collect();
    let points: Vec<[u32; 3]> = nn.iter().map(pt).collect();
    let size: [usize; 3] =
        std::array::from_fn(|a| cells.iter().map(|c| c[a]).max().unwrap() as usize + 1);
    let elements: Vec<[u32; 8]> = elems.iter().map(|e| e.0.map(|n| new[n as usize])).collect();
    let mut names: Vec<&String> = mats.keys().collect();
    names.sort();
    let plastic = names.iter().any(|n| !mats[*n].2.is_empty());
    let m = Materials {
        youngs_modulus_mpa: elems.iter().map(|e| mats[&sect[&e.1]].0).collect(),
        poissons_ratio: elems.iter().map(|e| mats[&sect[&e.1]].1).collect(),
        curve: elems
            .iter()
            .map(|e| {
                if plastic {
                    names.iter().position(|n| **n == sect[&e.1]).unwrap() as u32
                } else {
                    Materials::ELASTIC
                }
            })
            .collect(),
        curves: if plastic {
            names
                .iter()
                .map(|n| HardeningCurve::new(mats[*n].2.clone()).unwrap())
                .collect()
        } else {
            vec![]
        },
    };
    let general = args.iter().any(|a| a == "general");
    let mm = if !plastic {
        MaterialModel::Linear
    } else if args.iter().any(|a| a == "secant") {
        MaterialModel::Secant
    } else {
        MaterialModel::J2
    };
    if args.iter().any(|a| a == "bbar") {
        form = Formulation::BBar
    }
    let model = Model {
        mesh: meshing::HexMesh {
            nodes_mm: nn,
            elements,
        },
        lattice: (!general).then_some(meshing::Lattice {
            spacing_mm: [h; 3],
            cells: size,
            element_cells: cells,
            node_points: points,
        }),
        materials: m,
        formulation: form,
        material_model: mm,
    };
    let mut case = LoadCase::default();
    for (set, a, b, v) in &bc {
        for &n in &nsets[set] {
            for c in *a..=*b {
                case.prescribed.push(Prescribed {
                    node: new[n as usize],
                    component: c as u8 - 1,
                    displacement_mm: *v,
                });
            }
        }
    }
    let mut top: Vec<u32> = nsets["TOP"].iter().map(|&n| new[n as usize]).collect();
    top.sort();
    case.monitors.push(meshing::NodeSet {
        name: "TOP".into(),
        nodes: top,
    });
    let mut st = Stepping::equal(inc);
    if let Some(t) = args.iter().find_map(|a| a.strip_prefix("tol=")) {
        st.tolerance = t.parse().unwrap();
    }
    let t = std::time::Instant::now();
    let r = analyse(&model, &case, &st, &mut |s| {
        let i = s.increment;
        println!(
            "{:3} {:.5} F {:.5} it {} lin {} res {:.1e} phases {:?} bal {:.1e} {:.2}s",
            i.number,
            i.factor,
            i.reactions_n[0][2],
            i.iterations,
            i.linear_iterations,
            i.residual,
            i.phases,
            i.force_balance,
            t.elapsed().as_secs_f64()
        );
        Control::Continue
    })
    .unwrap();
    println!(
        "{:?} newton {} linear {} cut {} {:.2}s",
        r.outcome,
        r.iterations,
        r.linear_iterations,
        r.cutbacks,
        t.elapsed().as_secs_f64()
    );
}
