//! The linear solver on a GPU: operator, smoother, V-cycle and conjugate gradients, in kernels of `cubecl`.
//!
//! The preconditioner is set up on the processor and taken over; vectors stay on the device during a solve, and the
//! host reads a handful of scalars once an iteration. The outer iteration is in double precision, the V-cycle in
//! single precision, as on the processor. The code is generic over the runtime, so that Vulkan on a software device
//! runs the same kernels where there is no GPU.

mod kernels;
mod tables;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cubecl::prelude::*;
use cubecl::server::Handle;
use rayon::prelude::*;

use crate::device::{Device, LinearDevice, VoxelBody};
use crate::error::{Error, Result};
use crate::linear::{CgEnd, CgResult, Multigrid, SMOOTHING_STEPS, shares};
use crate::operator::vector::norm;
use crate::operator::{FlowElements, FlowShape, LatticeOperator};

use kernels::elements::{dense_forces, elastic_forces, flow_forces, product};
use kernels::smoother::{
    begin_cycle, prolongate, restrict_residual, smooth_coarse, smooth_fine, solve_coarsest,
};
use kernels::vectors::{
    CHUNK, CURVATURE, NORM, RZ, SCALARS, advance, clear, curvature_products, direction_products,
    finish_curvature, finish_direction, finish_residual, next_direction,
};
use kernels::{ROW_THREADS, THREADS};

/// Whether CUDA can be used here.
#[cfg(feature = "cuda")]
pub(crate) fn check_cuda(number: u16) -> Result<()> {
    let refused = |reason: String, remedy: &str| {
        Err(Error::Device {
            device: Device::Cuda(number),
            reason,
            remedy: remedy.into(),
        })
    };
    // cubecl panics where these are missing.
    // SAFETY: the libraries of CUDA are opened, whose initialisers have no conditions.
    let (driver, compiler) = unsafe {
        (
            cudarc::driver::sys::is_culib_present(),
            cudarc::nvrtc::sys::is_culib_present(),
        )
    };
    if !driver {
        return refused(
            "the driver of NVIDIA (libcuda) was not found".into(),
            "install the driver, or compute on the CPU",
        );
    }
    if !compiler {
        return refused(
            "the run-time compiler of CUDA (libnvrtc) was not found".into(),
            "install the CUDA toolkit or its NVRTC package and let the loader find it, or compute on the CPU",
        );
    }
    if cubecl::cuda::install::cuda_path().is_none() {
        return refused(
            "the headers of CUDA were not found".into(),
            "install the CUDA toolkit and set CUDA_PATH to its folder, or compute on the CPU",
        );
    }
    let count = match cudarc::driver::result::init()
        .and_then(|()| cudarc::driver::result::device::get_count())
    {
        Ok(count) => count,
        Err(error) => {
            return refused(
                format!("the driver of NVIDIA cannot be used ({error:?})"),
                "check the driver with nvidia-smi, or compute on the CPU",
            );
        }
    };
    if i32::from(number) >= count {
        return refused(
            format!("this machine has {count} GPUs, counted from 0"),
            "choose one of them, or compute on the CPU",
        );
    }
    Ok(())
}

/// An NVIDIA GPU for a body; [`check_cuda`] has passed.
#[cfg(feature = "cuda")]
pub(crate) fn open_cuda(number: u16, body: &VoxelBody) -> Result<Box<dyn LinearDevice>> {
    let device = cubecl::cuda::CudaDevice::new(usize::from(number));
    Ok(Box::new(Guarded::<cubecl::cuda::CudaRuntime>::open(
        Device::Cuda(number),
        &device,
        body,
    )?))
}

/// The first Vulkan device for a body.
#[cfg(feature = "wgpu")]
pub(crate) fn open_wgpu(body: &VoxelBody) -> Result<Box<dyn LinearDevice>> {
    let device = cubecl::wgpu::WgpuDevice::default();
    // Not every device has it. CUDA's all do; cubecl does not list it there.
    guard(Device::Wgpu, || {
        let client = cubecl::wgpu::WgpuRuntime::client(&device);
        let double = client.features().supports_type(f64::cube_type());
        double
            .then_some(())
            .ok_or("it has no double precision".into())
    })?;
    Ok(Box::new(Guarded::<cubecl::wgpu::WgpuRuntime>::open(
        Device::Wgpu,
        &device,
        body,
    )?))
}

/// A solver whose panics are errors: `cubecl` panics where memory runs out or the driver fails.
struct Guarded<R: Runtime> {
    device: Device,
    solver: GpuSolver<R>,
}

/// Runs `work` and turns a panic into an error.
fn guard<T>(device: Device, work: impl FnOnce() -> Result<T, String>) -> Result<T> {
    let failed = |reason: String| Error::Device {
        device,
        reason,
        remedy: "check the memory and the driver of the device, or compute on the CPU".into(),
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(failed),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(failed(text.unwrap_or("it failed").to_owned()))
        }
    }
}

impl<R: Runtime> Guarded<R> {
    fn open(device: Device, runtime_device: &R::Device, body: &VoxelBody) -> Result<Self> {
        let solver = guard(device, || GpuSolver::new(R::client(runtime_device), body))?;
        Ok(Self { device, solver })
    }
}

impl<R: Runtime> LinearDevice for Guarded<R> {
    fn load_operator(&mut self, operator: &LatticeOperator) -> Result<()> {
        guard(self.device, || self.solver.load_operator(operator))
    }

    fn load_preconditioner(&mut self, multigrid: &Multigrid) -> Result<()> {
        guard(self.device, || {
            self.solver.load_preconditioner(multigrid);
            Ok(())
        })
    }

    fn conjugate_gradients(
        &mut self,
        b: &[f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult> {
        guard(self.device, || {
            self.solver.conjugate_gradients(b, x, tolerance, limit)
        })
    }
}

/// Numbers on the device.
#[derive(Clone)]
struct Buffer {
    handle: Handle,
    length: usize,
}

impl Buffer {
    fn arg<R: Runtime>(&self) -> ArrayArg<R> {
        // SAFETY: every buffer is made with room for `length` numbers of the type that its kernels give it.
        unsafe { ArrayArg::from_raw_parts(self.handle.clone(), self.length) }
    }
}

/// The elements in plastic flow.
struct Flow {
    count: usize,
    list: Buffer,
    tangents: Buffer,
}

/// The elements with a matrix of their own.
struct Dense {
    count: usize,
    list: Buffer,
    matrices: Buffer,
}

/// What the tangent adds to the mesh.
struct Tangent {
    moduli: Buffer,
    moduli_single: Buffer,
    flow: Option<Flow>,
    dense: Option<Dense>,
}

/// Shape of the box for elements in plastic flow, in both precisions.
struct Shape {
    double: Buffer,
    single: Buffer,
    mean_dilatation: bool,
}

/// A level of the V-cycle; the mesh is the first.
struct Level {
    points: usize,
    /// Points of the next coarser level around each point.
    parents: Option<Buffer>,
    /// Points of the next finer level around each point.
    children: Option<Buffer>,
    /// Neighbours of each point of a coarse level.
    neighbours: Option<Buffer>,
    b: Buffer,
    x: Buffer,
    /// The step under way and room for the next one; on the mesh the same.
    d: [Buffer; 2],
}

/// What the preconditioner adds to a level.
struct Smoother {
    inverse_diagonal: Buffer,
    /// Stencils of a coarse level.
    numbers: Option<Buffer>,
    /// Shares of the Chebyshev steps.
    steps: [(f32, f32); SMOOTHING_STEPS],
}

/// The preconditioner of a tangent.
struct Preconditioner {
    levels: Vec<Smoother>,
    coarsest_inverse: Buffer,
}

/// Vectors of the conjugate gradients.
struct Vectors {
    r: Buffer,
    previous: Buffer,
    p: Buffer,
    q: Buffer,
    x: Buffer,
    sums: Buffer,
    scalars: Buffer,
}

/// The linear systems of one body on a device.
struct GpuSolver<R: Runtime> {
    client: ComputeClient<R>,
    nodes: usize,
    elements: usize,
    corners: Buffer,
    adjacent: Buffer,
    class: Buffer,
    free: Buffer,
    tables: Buffer,
    tables_single: Buffer,
    shape: Option<Shape>,
    /// Forces of the elements; of either precision, one at a time.
    forces: Buffer,
    levels: Vec<Level>,
    vectors: Vectors,
    tangent: Option<Tangent>,
    preconditioner: Option<Preconditioner>,
}

/// Cubes for `count` threads.
fn cubes(count: usize, threads: usize) -> CubeCount {
    CubeCount::Static(count.div_ceil(threads) as u32, 1, 1)
}

fn threads(count: usize) -> CubeDim {
    CubeDim::new_1d(count as u32)
}

/// The kernels count in 32 bits.
fn indexable(numbers: usize, count: usize, what: &str) -> Result<(), String> {
    let most = u32::MAX as usize / numbers;
    if count > most {
        return Err(format!("{count} {what} are more than the {most} that fit"));
    }
    Ok(())
}

/// Makes buffers.
struct Maker<'c, R: Runtime>(&'c ComputeClient<R>);

impl<R: Runtime> Maker<'_, R> {
    fn upload<T: CubeElement>(&self, values: &[T]) -> Buffer {
        Buffer {
            handle: self.0.create_from_slice(T::as_bytes(values)),
            length: values.len(),
        }
    }

    fn room<T: CubeElement>(&self, length: usize) -> Buffer {
        Buffer {
            handle: self.0.empty(length * size_of::<T>()),
            length,
        }
    }
}

impl<R: Runtime> GpuSolver<R> {
    fn new(client: ComputeClient<R>, body: &VoxelBody) -> Result<Self, String> {
        let topology = body.topology;
        let (nodes, elements) = (topology.nodes, topology.elements.len());
        let make = Maker(&client);
        let points = tables::levels(body.hierarchy);
        indexable(24, elements, "elements")?;
        for level in &points[1..] {
            indexable(126, level.count, "points of a coarse level")?;
        }
        let levels = (0..points.len())
            .map(|number| {
                let here = &points[number];
                let size = 3 * here.count;
                let step = make.room::<f32>(size);
                let next = if number == 0 {
                    step.clone()
                } else {
                    make.room::<f32>(size)
                };
                Level {
                    points: here.count,
                    parents: points
                        .get(number + 1)
                        .map(|coarser| make.upload(&tables::parents(here, coarser))),
                    children: (number > 0)
                        .then(|| make.upload(&tables::children(here, &points[number - 1]))),
                    neighbours: (number > 0).then(|| make.upload(&tables::neighbours(here))),
                    b: make.room::<f32>(size),
                    x: make.room::<f32>(size),
                    d: [step, next],
                }
            })
            .collect();
        let class: Vec<u32> = topology.class.iter().map(|&class| class.into()).collect();
        let mut free = vec![1u32; 3 * nodes];
        for &dof in body.constrained {
            free[dof as usize] = 0;
        }
        let tables: Vec<f64> = body
            .tables
            .iter()
            .flat_map(|table| table.blocks.as_flattened().as_flattened())
            .copied()
            .collect();
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let shape = body.flow_shape.map(|shape| {
            let numbers = shape_numbers(shape);
            Shape {
                double: make.upload(&numbers),
                single: make.upload(&single(&numbers)),
                mean_dilatation: shape.gauss_box.mean_dilatation,
            }
        });
        let vector = || make.room::<f64>(3 * nodes);
        let vectors = Vectors {
            r: vector(),
            previous: vector(),
            p: vector(),
            q: vector(),
            x: vector(),
            sums: make.room::<f64>(2 * (3 * nodes).div_ceil(CHUNK)),
            scalars: make.room::<f64>(SCALARS),
        };
        Ok(Self {
            nodes,
            elements,
            corners: make.upload(&tables::corners(topology)),
            adjacent: make.upload(&tables::adjacent(topology)),
            class: make.upload(&class),
            free: make.upload(&free),
            tables: make.upload(&tables),
            tables_single: make.upload(&single(&tables)),
            shape,
            forces: make.room::<f64>(24 * elements),
            levels,
            vectors,
            tangent: None,
            preconditioner: None,
            client,
        })
    }

    fn load_operator(&mut self, operator: &LatticeOperator) -> Result<(), String> {
        let make = Maker(&self.client);
        let (list, tangents) = flow_numbers(operator.flow);
        let flow = (!list.is_empty()).then(|| Flow {
            count: list.len(),
            list: make.upload(&list),
            tangents: make.upload(&tangents),
        });
        let of_blocks = |blocks: &mut dyn Iterator<Item = &Vec<u32>>| -> Vec<u32> {
            blocks.flatten().copied().collect()
        };
        let list = of_blocks(&mut operator.dense.iter().map(|block| &block.elements));
        indexable(576, list.len(), "elements with a matrix of their own")?;
        let dense = (!list.is_empty()).then(|| {
            let matrices: Vec<f32> = operator
                .dense
                .iter()
                .flat_map(|block| &block.matrices)
                .copied()
                .collect();
            Dense {
                count: list.len(),
                list: make.upload(&list),
                matrices: make.upload(&matrices),
            }
        });
        self.tangent = Some(Tangent {
            moduli: make.upload(operator.moduli),
            moduli_single: make.upload(&operator.moduli_single),
            flow,
            dense,
        });
        Ok(())
    }

    fn load_preconditioner(&mut self, multigrid: &Multigrid) {
        let make = Maker(&self.client);
        let levels = (0..self.levels.len())
            .map(|level| {
                let (inverse_diagonal, bound) = multigrid.smoother(level);
                let rows = multigrid.hierarchy().rows(level);
                let inverse_diagonal = tables::without_room(rows, inverse_diagonal);
                Smoother {
                    inverse_diagonal: make.upload(&inverse_diagonal),
                    numbers: (level > 0).then(|| make.upload(&multigrid.numbers(level - 1))),
                    steps: std::array::from_fn(|step| shares(step, bound)),
                }
            })
            .collect();
        self.preconditioner = Some(Preconditioner {
            levels,
            coarsest_inverse: make.upload(&multigrid.coarsest_inverse()),
        });
    }

    /// Forces of the elements for displacements `x`.
    fn launch_forces<F: Float + CubeElement>(
        &self,
        tangent: &Tangent,
        x: &Buffer,
        moduli: &Buffer,
        tables: &Buffer,
        shape: impl Fn(&Shape) -> &Buffer,
    ) {
        let (client, nodes, elements) = (&self.client, self.nodes, self.elements);
        // SAFETY: the buffers hold what the kernels index: 3 numbers a node, 8 nodes and 24 forces an element, 72
        // numbers a class, and lists of existing elements and nodes (Model::check, Topology).
        unsafe {
            elastic_forces::launch_unchecked::<F, R>(
                client,
                cubes(elements, THREADS),
                threads(THREADS),
                x.arg(),
                self.corners.arg(),
                self.class.arg(),
                moduli.arg(),
                tables.arg(),
                self.forces.arg(),
                nodes,
                elements,
            );
            if let (Some(flow), Some(of_box)) = (&tangent.flow, &self.shape) {
                flow_forces::launch_unchecked::<F, R>(
                    client,
                    cubes(flow.count, ROW_THREADS),
                    threads(ROW_THREADS),
                    x.arg(),
                    self.corners.arg(),
                    flow.list.arg(),
                    flow.tangents.arg(),
                    shape(of_box).arg(),
                    self.forces.arg(),
                    nodes,
                    elements,
                    flow.count,
                    of_box.mean_dilatation,
                );
            }
            if let Some(dense) = &tangent.dense {
                dense_forces::launch_unchecked::<F, R>(
                    client,
                    cubes(24 * dense.count, THREADS),
                    threads(THREADS),
                    x.arg(),
                    self.corners.arg(),
                    dense.list.arg(),
                    dense.matrices.arg(),
                    self.forces.arg(),
                    nodes,
                    elements,
                    dense.count,
                );
            }
        }
    }

    /// `y = A x` in double precision, zero at the constrained unknowns.
    fn apply(&self, tangent: &Tangent, x: &Buffer, y: &Buffer) {
        self.launch_forces::<f64>(tangent, x, &tangent.moduli, &self.tables, |s| &s.double);
        // SAFETY: as in `launch_forces`.
        unsafe {
            product::launch_unchecked::<f64, R>(
                &self.client,
                cubes(3 * self.nodes, THREADS),
                threads(THREADS),
                self.forces.arg(),
                self.adjacent.arg(),
                self.free.arg(),
                y.arg(),
                self.nodes,
                self.elements,
            );
        }
    }

    /// `b -= A d` on a level and, where `shares` says so, a Chebyshev step; `current` says which of the two buffers
    /// of the level holds `d`.
    fn smooth(
        &self,
        tangent: &Tangent,
        smoother: &Smoother,
        number: usize,
        current: &mut usize,
        shares: Option<(f32, f32)>,
    ) {
        let level = &self.levels[number];
        let (keep, take) = shares.unwrap_or((0.0, 0.0));
        let (d, next) = (&level.d[*current], &level.d[1 - *current]);
        if number == 0 {
            self.launch_forces::<f32>(
                tangent,
                d,
                &tangent.moduli_single,
                &self.tables_single,
                |s| &s.single,
            );
            // SAFETY: as in `launch_forces`.
            unsafe {
                smooth_fine::launch_unchecked::<R>(
                    &self.client,
                    cubes(3 * self.nodes, THREADS),
                    threads(THREADS),
                    self.forces.arg(),
                    self.adjacent.arg(),
                    self.free.arg(),
                    smoother.inverse_diagonal.arg(),
                    level.b.arg(),
                    d.arg(),
                    level.x.arg(),
                    keep,
                    take,
                    self.nodes,
                    self.elements,
                    shares.is_some(),
                );
            }
            return;
        }
        let (Some(numbers), Some(neighbours)) = (&smoother.numbers, &level.neighbours) else {
            return;
        };
        // SAFETY: 126 numbers and 26 neighbours a point, 3 numbers a point in the vectors.
        unsafe {
            smooth_coarse::launch_unchecked::<R>(
                &self.client,
                cubes(level.points, ROW_THREADS),
                threads(ROW_THREADS),
                numbers.arg(),
                neighbours.arg(),
                smoother.inverse_diagonal.arg(),
                level.b.arg(),
                d.arg(),
                next.arg(),
                level.x.arg(),
                keep,
                take,
                level.points,
                shares.is_some(),
            );
        }
        if shares.is_some() {
            *current = 1 - *current;
        }
    }

    /// `x` of the mesh = V-cycle applied to the residual, which is scaled to a unit vector.
    fn cycle(&self, tangent: &Tangent, preconditioner: &Preconditioner) {
        let (client, last) = (&self.client, self.levels.len() - 1);
        let mut current = vec![0; self.levels.len()];
        let mesh = &self.levels[0];
        let smoother = &preconditioner.levels[0];
        // SAFETY: all of these have 3 numbers a node; there are SCALARS scalars.
        unsafe {
            begin_cycle::launch_unchecked::<R>(
                client,
                cubes(3 * mesh.points, THREADS),
                threads(THREADS),
                self.vectors.r.arg(),
                self.vectors.scalars.arg(),
                smoother.inverse_diagonal.arg(),
                mesh.b.arg(),
                mesh.d[0].arg(),
                mesh.x.arg(),
                smoother.steps[0].1,
                3 * mesh.points,
            );
        }
        for number in 0..last {
            let smoother = &preconditioner.levels[number];
            for step in 1..=SMOOTHING_STEPS {
                let shares = smoother.steps.get(step).copied();
                self.smooth(tangent, smoother, number, &mut current[number], shares);
            }
            let (fine, coarse) = (&self.levels[number], &self.levels[number + 1]);
            let smoother = &preconditioner.levels[number + 1];
            let Some(children) = &coarse.children else {
                return;
            };
            // SAFETY: 27 children a point, all of them points of the finer level.
            unsafe {
                restrict_residual::launch_unchecked::<R>(
                    client,
                    cubes(3 * coarse.points, ROW_THREADS),
                    threads(ROW_THREADS),
                    fine.b.arg(),
                    children.arg(),
                    smoother.inverse_diagonal.arg(),
                    coarse.b.arg(),
                    coarse.d[0].arg(),
                    coarse.x.arg(),
                    smoother.steps[0].1,
                    fine.points,
                    coarse.points,
                );
            }
        }
        let coarsest = &self.levels[last];
        // SAFETY: the inverse has a row and a column for each unknown of the level.
        unsafe {
            solve_coarsest::launch_unchecked::<R>(
                client,
                CubeCount::Static(3 * coarsest.points as u32, 1, 1),
                threads(ROW_THREADS),
                preconditioner.coarsest_inverse.arg(),
                preconditioner.levels[last].inverse_diagonal.arg(),
                coarsest.b.arg(),
                coarsest.x.arg(),
                3 * coarsest.points,
            );
        }
        for number in (0..last).rev() {
            let smoother = &preconditioner.levels[number];
            let (fine, coarse) = (&self.levels[number], &self.levels[number + 1]);
            let Some(parents) = &fine.parents else {
                return;
            };
            // SAFETY: 8 parents a point, all of them points of the coarser level.
            unsafe {
                prolongate::launch_unchecked::<R>(
                    client,
                    cubes(3 * fine.points, THREADS),
                    threads(THREADS),
                    coarse.x.arg(),
                    parents.arg(),
                    smoother.inverse_diagonal.arg(),
                    fine.d[current[number]].arg(),
                    fine.x.arg(),
                    coarse.points,
                    fine.points,
                );
            }
            for &shares in &smoother.steps {
                self.smooth(
                    tangent,
                    smoother,
                    number,
                    &mut current[number],
                    Some(shares),
                );
            }
        }
    }

    /// What [`crate::linear::conjugate_gradients`] does, in the same order.
    fn conjugate_gradients(
        &mut self,
        b: &[f64],
        x: &mut [f64],
        tolerance: f64,
        limit: usize,
    ) -> Result<CgResult, String> {
        let (Some(tangent), Some(preconditioner)) = (&self.tangent, &self.preconditioner) else {
            return Err("no matrix has been taken over".into());
        };
        let (client, size) = (&self.client, b.len());
        let make = Maker(client);
        let chunks = size.div_ceil(CHUNK);
        self.vectors.r = make.upload(b);
        let mut scalars = [0.0f64; SCALARS];
        scalars[NORM] = norm(b);
        self.vectors.scalars = make.upload(&scalars);
        let v = &self.vectors;
        // SAFETY: both have 3 numbers a node.
        unsafe {
            clear::launch_unchecked::<R>(
                client,
                cubes(size, THREADS),
                threads(THREADS),
                v.x.arg(),
                v.p.arg(),
                size,
            );
        }
        let target = scalars[NORM] * tolerance;
        let mut residual = scalars[NORM];
        let mut end = CgEnd::IterationLimit;
        let mut iterations = limit;
        let one = CubeCount::Static(1, 1, 1);
        for iteration in 0..limit {
            if residual <= target || residual == 0.0 {
                (end, iterations) = (CgEnd::Converged, iteration);
                break;
            }
            self.cycle(tangent, preconditioner);
            let cycle = &self.levels[0].x;
            // SAFETY: all of these have 3 numbers a node; there are two sums a chunk and SCALARS scalars.
            unsafe {
                direction_products::launch_unchecked::<R>(
                    client,
                    CubeCount::Static(chunks as u32, 1, 1),
                    threads(THREADS),
                    v.r.arg(),
                    v.previous.arg(),
                    cycle.arg(),
                    v.scalars.arg(),
                    v.sums.arg(),
                    size,
                );
                finish_direction::launch_unchecked::<R>(
                    client,
                    one.clone(),
                    threads(THREADS),
                    v.sums.arg(),
                    v.scalars.arg(),
                    chunks,
                    iteration == 0,
                );
                next_direction::launch_unchecked::<R>(
                    client,
                    cubes(size, THREADS),
                    threads(THREADS),
                    cycle.arg(),
                    v.scalars.arg(),
                    v.p.arg(),
                    size,
                );
            }
            self.apply(tangent, &v.p, &v.q);
            // SAFETY: as above.
            unsafe {
                curvature_products::launch_unchecked::<R>(
                    client,
                    CubeCount::Static(chunks as u32, 1, 1),
                    threads(THREADS),
                    v.p.arg(),
                    v.q.arg(),
                    v.sums.arg(),
                    size,
                );
                finish_curvature::launch_unchecked::<R>(
                    client,
                    one.clone(),
                    threads(THREADS),
                    v.sums.arg(),
                    v.scalars.arg(),
                    chunks,
                );
                advance::launch_unchecked::<R>(
                    client,
                    CubeCount::Static(chunks as u32, 1, 1),
                    threads(THREADS),
                    v.p.arg(),
                    v.q.arg(),
                    v.scalars.arg(),
                    v.x.arg(),
                    v.r.arg(),
                    v.previous.arg(),
                    v.sums.arg(),
                    size,
                );
                finish_residual::launch_unchecked::<R>(
                    client,
                    one.clone(),
                    threads(THREADS),
                    v.sums.arg(),
                    v.scalars.arg(),
                    chunks,
                );
            }
            self.download(&v.scalars, &mut scalars)?;
            if scalars[RZ].is_nan() || scalars[RZ] <= 0.0 {
                (end, iterations) = (CgEnd::Preconditioner, iteration);
                break;
            }
            if scalars[CURVATURE].is_nan() || scalars[CURVATURE] <= 0.0 {
                (end, iterations) = (CgEnd::NegativeCurvature, iteration + 1);
                break;
            }
            residual = scalars[NORM];
        }
        if end == CgEnd::IterationLimit && residual <= target {
            end = CgEnd::Converged;
        }
        self.download(&v.x, x)?;
        Ok(CgResult { end, iterations })
    }

    fn download<T: CubeElement>(&self, buffer: &Buffer, values: &mut [T]) -> Result<(), String> {
        let bytes = self
            .client
            .read_one(buffer.handle.clone())
            .map_err(|error| error.to_string())?;
        values.copy_from_slice(&T::from_bytes(&bytes)[..values.len()]);
        Ok(())
    }
}

/// Slopes and weight of the box, as the kernel reads them.
fn shape_numbers(shape: &FlowShape) -> Vec<f64> {
    let mut numbers = shape.gauss_box.slope.as_flattened().to_vec();
    numbers.push(shape.gauss_box.weight);
    numbers
}

/// Elements in plastic flow and their tangents, number by number for all of them.
fn flow_numbers(blocks: &[FlowElements]) -> (Vec<u32>, Vec<f32>) {
    let list: Vec<u32> = blocks.iter().flat_map(FlowElements::elements).collect();
    let count = list.len();
    let mut numbers = vec![0.0; 49 * count];
    numbers
        .par_chunks_exact_mut(count.max(1))
        .enumerate()
        .for_each(|(number, mut values)| {
            for block in blocks {
                let (part, rest) = values.split_at_mut(block.len());
                block.copy_number(number, part);
                values = rest;
            }
        });
    (list, numbers)
}
