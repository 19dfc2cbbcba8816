//! The kernels against the processor's operator, preconditioner and solver, on whatever device is there.

use meshing::mesh::HEX_CORNERS;
use meshing::{HexMesh, Lattice, NodeSet};

use super::*;
use crate::analysis::{Control, analyse};
use crate::linear::{Hierarchy, conjugate_gradients};
use crate::load_case::{LoadCase, Prescribed, Stepping};
use crate::material::HardeningCurve;
use crate::model::{Formulation, MaterialModel, Materials, Model, SolidMesh};
use crate::operator::Operator;
use crate::response::Response;
use crate::system::{Body, LatticeBody, LatticeTangent, System, Tangent, Want};

/// Runs a check on the devices of this machine that this build knows; says which are missing.
macro_rules! on_devices {
    ($check:ident) => {
        #[cfg(feature = "cuda")]
        match check_cuda(0) {
            Ok(()) => {
                let device = cubecl::cuda::CudaDevice::new(0);
                $check::<cubecl::cuda::CudaRuntime>(Device::Cuda(0), &device);
            }
            Err(error) => eprintln!("skipped: {error}"),
        }
        #[cfg(feature = "wgpu")]
        {
            let device = cubecl::wgpu::WgpuDevice::default();
            match guard(Device::Wgpu, || {
                Ok(cubecl::wgpu::WgpuRuntime::client(&device))
            }) {
                Ok(_) => $check::<cubecl::wgpu::WgpuRuntime>(Device::Wgpu, &device),
                Err(error) => eprintln!("skipped: {error}"),
            }
        }
    };
}

/// A bone-like block: ragged surface, moduli over two decades, two Poisson's ratios, some of it soon yielding.
fn body(cells: [usize; 3], formulation: Formulation, law: MaterialModel) -> Model {
    let spacing = [0.9, 1.0, 1.1];
    let keep = |c: [usize; 3]| {
        let d: [f64; 2] =
            std::array::from_fn(|a| (c[a] as f64 + 0.5) / cells[a] as f64 * 2.0 - 1.0);
        let narrow = 1.0 - 0.3 * (c[2] as f64 / cells[2] as f64 * 3.0).sin().abs();
        d[0] * d[0] + d[1] * d[1] < 1.15 * narrow && (c[0] + 2 * c[1] + 3 * c[2]) % 29 != 7
    };
    let points = cells.map(|n| n + 1);
    let at = |p: [usize; 3]| p[0] + points[0] * (p[1] + points[1] * p[2]);
    let mut element_cells = Vec::new();
    let mut number = vec![u32::MAX; points.iter().product()];
    for at_cell in 0..cells.iter().product::<usize>() {
        let cell = [
            at_cell % cells[0],
            at_cell / cells[0] % cells[1],
            at_cell / (cells[0] * cells[1]),
        ];
        if keep(cell) {
            element_cells.push(cell.map(|i| i as u32));
            for c in HEX_CORNERS {
                number[at(std::array::from_fn(|a| cell[a] + c[a]))] = 0;
            }
        }
    }
    let (mut node_points, mut nodes_mm) = (Vec::new(), Vec::new());
    for place in 0..number.len() {
        if number[place] == 0 {
            number[place] = nodes_mm.len() as u32;
            let point = [
                place % points[0],
                place / points[0] % points[1],
                place / (points[0] * points[1]),
            ];
            node_points.push(point.map(|i| i as u32));
            nodes_mm.push(std::array::from_fn(|a| point[a] as f64 * spacing[a]));
        }
    }
    let elements: Vec<[u32; 8]> = element_cells
        .iter()
        .map(|cell: &[u32; 3]| {
            HEX_CORNERS.map(|c| number[at(std::array::from_fn(|a| cell[a] as usize + c[a]))])
        })
        .collect();
    let n = elements.len();
    let moduli: Vec<f64> = (0..n)
        .map(|e| 150.0 * 10f64.powf(2.0 * ((e * 7919) % 101) as f64 / 101.0))
        .collect();
    let curves = moduli
        .iter()
        .map(|e| {
            let strength = 0.008 * e;
            HardeningCurve::new(vec![
                [0.0, strength],
                [0.01, strength],
                [0.12, 0.3 * strength],
            ])
            .unwrap()
        })
        .collect();
    Model {
        mesh: SolidMesh::Voxels {
            mesh: HexMesh { nodes_mm, elements },
            lattice: Lattice {
                spacing_mm: spacing,
                cells,
                element_cells,
                node_points,
            },
        },
        materials: Materials {
            youngs_modulus_mpa: moduli,
            poissons_ratio: (0..n).map(|e| [0.3, 0.4][e % 5 / 4]).collect(),
            curve: (0..n)
                .map(|e| {
                    if e % 11 == 0 {
                        Materials::ELASTIC
                    } else {
                        e as u32
                    }
                })
                .collect(),
            curves,
        },
        formulation,
        material_model: law,
    }
}

/// The lower face held, the upper one pushed down and a little sideways.
fn pushed(model: &Model, uz: f64) -> LoadCase {
    let positions = model.mesh.nodes_mm();
    let top = positions.iter().map(|p| p[2]).fold(0.0, f64::max);
    let mut case = LoadCase::default();
    let mut set = NodeSet {
        name: "top".into(),
        nodes: Vec::new(),
    };
    for (node, p) in (0..).zip(positions) {
        let motion = if p[2] == 0.0 {
            [0.0; 3]
        } else if p[2] == top {
            set.nodes.push(node);
            [0.1 * uz, 0.0, uz]
        } else {
            continue;
        };
        for (component, displacement_mm) in (0..).zip(motion) {
            case.prescribed.push(Prescribed {
                node,
                component,
                displacement_mm,
            });
        }
    }
    case.monitors.push(set);
    case
}

/// Numbers between -1 and 1, always the same.
fn noise(n: usize) -> Vec<f64> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect()
}

/// A body in a state, its tangent there, and a device that has taken both over.
struct Prepared<'m> {
    system: System<'m>,
    hierarchy: Hierarchy,
    tangent: LatticeTangent,
}

impl<'m> Prepared<'m> {
    /// The state of a compression by `strain`, with some noise.
    fn new(model: &'m Model, strain: f64) -> Self {
        let mut system = System::new(model, &pushed(model, -1.0)).unwrap();
        let nodes = system.nodes();
        let mut u = noise(3 * nodes);
        for (node, p) in model.mesh.nodes_mm().iter().enumerate() {
            for component in 0..3 {
                u[component * nodes + node] *= 0.2 * strain;
            }
            u[2 * nodes + node] -= strain * p[2];
        }
        let at = system.evaluate(&u, Want::POSITIVE_TANGENT);
        let (Body::Lattice(body), Tangent::Lattice(tangent)) = (&mut system.body, at.tangent)
        else {
            panic!("the body is one of voxels")
        };
        Self {
            hierarchy: body.hierarchy.take().unwrap(),
            tangent,
            system,
        }
    }

    fn body(&self) -> &LatticeBody {
        match &self.system.body {
            Body::Lattice(body) => body,
            Body::General(_) => panic!("the body is one of voxels"),
        }
    }

    fn operator(&self) -> LatticeOperator<'_> {
        LatticeOperator {
            topology: &self.body().topology,
            tables: &self.body().tables,
            moduli: &self.tangent.moduli,
            moduli_single: self.tangent.moduli.iter().map(|&m| m as f32).collect(),
            flow: &self.tangent.flow,
            flow_shape: self.body().flow_shape.as_ref(),
            dense: &self.tangent.dense,
            constrained: &self.system.constrained,
            instructions: self.body().instructions,
        }
    }

    fn solver<R: Runtime>(&self, device: &R::Device) -> GpuSolver<R> {
        let body = VoxelBody {
            topology: &self.body().topology,
            tables: &self.body().tables,
            flow_shape: self.body().flow_shape.as_ref(),
            constrained: &self.system.constrained,
            hierarchy: &self.hierarchy,
        };
        let mut solver = GpuSolver::new(R::client(device), &body).unwrap();
        solver.load_operator(&self.operator()).unwrap();
        solver
    }

    /// A vector that is zero at the supports.
    fn vector(&self) -> Vec<f64> {
        let mut x = noise(3 * self.system.nodes());
        for &dof in &self.system.constrained {
            x[dof as usize] = 0.0;
        }
        x
    }
}

/// Elastic only, with elements in flow, and two laws whose elements carry matrices.
fn bodies() -> Vec<(&'static str, Model, f64)> {
    let size = [9, 8, 11];
    vec![
        (
            "elastic",
            body(size, Formulation::BBar, MaterialModel::Linear),
            0.001,
        ),
        (
            "flow",
            body(size, Formulation::BBar, MaterialModel::J2),
            0.012,
        ),
        (
            "flow, full",
            body(size, Formulation::Full, MaterialModel::J2),
            0.012,
        ),
        (
            "modes",
            body(size, Formulation::Incompatible, MaterialModel::J2),
            0.012,
        ),
        (
            "secant",
            body(size, Formulation::Full, MaterialModel::Secant),
            0.012,
        ),
    ]
}

/// Distance of two vectors over the length of the second.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

fn operator_equals<R: Runtime>(_: Device, device: &R::Device) {
    for (name, model, strain) in bodies() {
        let prepared = Prepared::new(&model, strain);
        let operator = prepared.operator();
        let special = |law: &str| match law {
            "elastic" => operator.flow.iter().all(|f| f.len() == 0),
            "modes" | "secant" => operator.dense.iter().any(|d| !d.elements.is_empty()),
            _ => operator.flow.iter().any(|f| f.len() > 0),
        };
        assert!(special(name), "{name}");
        let x = prepared.vector();
        let mut expected = vec![0.0; x.len()];
        operator.apply(&x, &mut expected);
        let solver = prepared.solver::<R>(device);
        let make = Maker(&solver.client);
        let (on_device, y) = (make.upload(&x), make.room::<f64>(x.len()));
        solver.apply(solver.tangent.as_ref().unwrap(), &on_device, &y);
        let mut found = vec![0.0; x.len()];
        solver.download(&y, &mut found).unwrap();
        let error = distance(&found, &expected);
        assert!(error < 1e-12, "{name}: {error}");
        // The same bits every time.
        solver.apply(solver.tangent.as_ref().unwrap(), &on_device, &y);
        let mut again = vec![0.0; x.len()];
        solver.download(&y, &mut again).unwrap();
        assert_eq!(found, again, "{name}");
    }
}

#[test]
fn the_operator_is_that_of_the_processor() {
    on_devices!(operator_equals);
}

fn cycle_equals<R: Runtime>(_: Device, device: &R::Device) {
    let mut list = bodies();
    // Too small to be coarsened, and with three coarse levels.
    list.push((
        "small",
        body([2, 2, 3], Formulation::BBar, MaterialModel::Linear),
        0.001,
    ));
    list.push((
        "long",
        body([11, 10, 50], Formulation::BBar, MaterialModel::J2),
        0.012,
    ));
    for (name, model, strain) in list {
        let prepared = Prepared::new(&model, strain);
        let operator = prepared.operator();
        let mut multigrid = Multigrid::new(&prepared.hierarchy);
        multigrid.set_up(&operator, false).unwrap();
        let r = prepared.vector();
        let mut expected = vec![0.0; r.len()];
        multigrid.precondition(&operator, &r, &mut expected);
        let mut solver = prepared.solver::<R>(device);
        solver.load_preconditioner(&multigrid);
        let make = Maker(&solver.client);
        let (residual, mut scalars) = (make.upload(&r), [0.0; SCALARS]);
        scalars[NORM] = norm(&r);
        let scalars = make.upload(&scalars);
        (solver.vectors.r, solver.vectors.scalars) = (residual, scalars);
        let tangent = solver.tangent.as_ref().unwrap();
        solver.cycle(tangent, solver.preconditioner.as_ref().unwrap());
        let mut found = vec![0.0f32; r.len()];
        solver.download(&solver.levels[0].x, &mut found).unwrap();
        let found: Vec<f64> = found.iter().map(|&x| f64::from(x) * norm(&r)).collect();
        let error = distance(&found, &expected);
        assert!(error < 2e-5, "{name}: {error}");
    }
}

#[test]
fn the_v_cycle_is_that_of_the_processor() {
    on_devices!(cycle_equals);
}

fn solution_equals<R: Runtime>(_: Device, device: &R::Device) {
    for (name, model, strain) in bodies() {
        let prepared = Prepared::new(&model, strain);
        let operator = prepared.operator();
        let mut multigrid = Multigrid::new(&prepared.hierarchy);
        multigrid.set_up(&operator, false).unwrap();
        let b = prepared.vector();
        let mut expected = vec![0.0; b.len()];
        let on_processor = conjugate_gradients(
            &operator,
            multigrid.cycle_of(&operator),
            &mut b.clone(),
            &mut expected,
            1e-10,
            200,
        );
        assert_eq!(on_processor.end, CgEnd::Converged, "{name}");
        let mut solver = prepared.solver::<R>(device);
        solver.load_preconditioner(&multigrid);
        let mut found = vec![0.0; b.len()];
        let result = solver
            .conjugate_gradients(&b, &mut found, 1e-10, 200)
            .unwrap();
        assert_eq!(result.end, CgEnd::Converged, "{name}");
        let more = result.iterations.abs_diff(on_processor.iterations);
        assert!(more <= 1, "{name}: {result:?} {on_processor:?}");
        let error = distance(&found, &expected);
        assert!(error < 1e-7, "{name}: {error}");
        // A limit that is too low is told.
        let result = solver
            .conjugate_gradients(&b, &mut found, 1e-10, 2)
            .unwrap();
        assert_eq!((result.end, result.iterations), (CgEnd::IterationLimit, 2));
    }
}

#[test]
fn the_solution_is_that_of_the_processor() {
    on_devices!(solution_equals);
}

fn negative_curvature_is_found<R: Runtime>(_: Device, device: &R::Device) {
    let model = body([9, 8, 11], Formulation::BBar, MaterialModel::J2);
    let mut prepared = Prepared::new(&model, 0.012);
    let operator = prepared.operator();
    let mut multigrid = Multigrid::new(&prepared.hierarchy);
    multigrid.set_up(&operator, false).unwrap();
    let b = prepared.vector();
    for modulus in &mut prepared.tangent.moduli {
        *modulus = -*modulus;
    }
    let mut solver = prepared.solver::<R>(device);
    solver.load_preconditioner(&multigrid);
    let mut x = vec![0.0; b.len()];
    let result = solver.conjugate_gradients(&b, &mut x, 1e-10, 200).unwrap();
    assert!(
        matches!(result.end, CgEnd::NegativeCurvature | CgEnd::Preconditioner),
        "{result:?}"
    );
}

#[test]
fn an_indefinite_matrix_is_told() {
    on_devices!(negative_curvature_is_found);
}

/// A run past the peak on a device.
fn softening(device: Device, formulation: Formulation, law: MaterialModel) -> Response {
    let model = body([7, 6, 9], formulation, law);
    let case = pushed(&model, -0.4);
    let mut stepping = Stepping::equal(12);
    stepping.tolerance = 1e-8;
    stepping.device = device;
    analyse(&model, &case, &stepping, &mut |_| Control::Continue).unwrap()
}

fn run_equals<R: Runtime>(device: Device, _: &R::Device) {
    for (formulation, law) in [
        (Formulation::BBar, MaterialModel::Linear),
        (Formulation::BBar, MaterialModel::J2),
        (Formulation::Full, MaterialModel::Secant),
    ] {
        let expected = softening(Device::Cpu, formulation, law);
        let found = softening(device, formulation, law);
        assert_eq!(found.outcome, expected.outcome, "{law:?}");
        assert_eq!(found.increments.len(), expected.increments.len(), "{law:?}");
        let largest = expected
            .increments
            .iter()
            .map(|i| norm(&i.reactions_n[0]))
            .fold(0.0, f64::max);
        for (a, b) in found.increments.iter().zip(&expected.increments) {
            for component in 0..3 {
                let (a, b) = (a.reactions_n[0][component], b.reactions_n[0][component]);
                assert!((a - b).abs() < 1e-6 * largest, "{law:?}: {a} {b}");
            }
        }
        if law == MaterialModel::J2 {
            let force = |i: usize| -expected.increments[i].reactions_n[0][2];
            let last = expected.increments.len() - 1;
            assert!(
                force(last) < 0.98 * largest,
                "no softening: {} {largest}",
                force(last)
            );
        }
    }
}

#[test]
fn a_softening_run_gives_the_reactions_of_the_processor() {
    on_devices!(run_equals);
}

/// Milliseconds of the median of five runs.
fn median_ms(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..5)
        .map(|_| {
            let start = std::time::Instant::now();
            work();
            1e3 * start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[2]
}

fn print_timings<R: Runtime>(name: Device, device: &R::Device) {
    for (law, strain) in [(MaterialModel::Linear, 0.001), (MaterialModel::J2, 0.012)] {
        let model = body([56, 52, 96], Formulation::BBar, law);
        let prepared = Prepared::new(&model, strain);
        let operator = prepared.operator();
        let mut multigrid = Multigrid::new(&prepared.hierarchy);
        let flow: usize = operator.flow.iter().map(FlowElements::len).sum();
        println!(
            "{name}, {law:?}: {} elements, {flow} of them in flow, {} nodes",
            prepared.body().topology.elements.len(),
            prepared.system.nodes(),
        );
        multigrid.set_up(&operator, true).unwrap();
        let set_up = median_ms(|| multigrid.set_up(&operator, false).unwrap());
        println!("  set-up of the preconditioner on the processor: {set_up:.2} ms");
        let b = prepared.vector();
        let mut x = vec![0.0; b.len()];
        let mut iterations = 0;
        let on_processor = median_ms(|| {
            let cycle = multigrid.cycle_of(&operator);
            let mut r = b.clone();
            iterations =
                conjugate_gradients(&operator, cycle, &mut r, &mut x, 1e-8, 200).iterations;
        });
        println!("  solve on the processor: {on_processor:.2} ms, {iterations} iterations");
        let mut y = vec![0.0; b.len()];
        let product = median_ms(|| operator.apply(&b, &mut y));
        println!("  product on the processor: {product:.3} ms");
        let start = std::time::Instant::now();
        let mut solver = prepared.solver::<R>(device);
        let mut one = [0.0; SCALARS];
        solver.download(&solver.vectors.scalars, &mut one).unwrap();
        println!(
            "  opening the device: {:.1} ms",
            1e3 * start.elapsed().as_secs_f64()
        );
        let load = median_ms(|| {
            solver.load_operator(&operator).unwrap();
            solver.download(&solver.vectors.scalars, &mut one).unwrap();
        });
        println!("  taking over the tangent: {load:.2} ms");
        let load = median_ms(|| {
            solver.load_preconditioner(&multigrid);
            solver.download(&solver.vectors.scalars, &mut one).unwrap();
        });
        println!("  taking over the preconditioner: {load:.2} ms");
        let start = std::time::Instant::now();
        solver.conjugate_gradients(&b, &mut x, 1e-8, 200).unwrap();
        println!(
            "  first solve: {:.1} ms",
            1e3 * start.elapsed().as_secs_f64()
        );
        let mut iterations = 0;
        let solve = median_ms(|| {
            iterations = solver
                .conjugate_gradients(&b, &mut x, 1e-8, 200)
                .unwrap()
                .iterations;
        });
        println!("  solve: {solve:.2} ms, {iterations} iterations");
        let (tangent, preconditioner) = (
            solver.tangent.as_ref().unwrap(),
            solver.preconditioner.as_ref().unwrap(),
        );
        let v = &solver.vectors;
        let products = median_ms(|| {
            for _ in 0..100 {
                solver.apply(tangent, &v.p, &v.q);
            }
            solver.download(&v.scalars, &mut one).unwrap();
        });
        println!("  product: {:.4} ms", products / 100.0);
        let cycles = median_ms(|| {
            for _ in 0..20 {
                solver.cycle(tangent, preconditioner);
            }
            solver.download(&v.scalars, &mut one).unwrap();
        });
        println!("  V-cycle: {:.4} ms", cycles / 20.0);
        let wait = median_ms(|| solver.download(&v.scalars, &mut one).unwrap());
        println!("  reading the scalars: {wait:.4} ms");
    }
}

#[test]
#[ignore = "measures; in release, with --nocapture"]
fn timings() {
    on_devices!(print_timings);
}
