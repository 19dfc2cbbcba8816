//! The command line: arguments in, one call per subcommand, exit status out.
//!
//! Nothing is computed here. Each file reads the options of one subcommand, resolves and checks them,
//! and calls the pipeline with a request in which nothing is left open.

mod calibrate;
mod case;
mod cohort;
mod collect;
mod compare;
mod demo;
mod doctor;
mod evaluate;
mod export;
mod image;
mod memory;
mod mesh;
mod output;
mod protocol;
mod report;
mod run;
mod segment;
mod solve;
mod sweep;
mod synth;
mod train;
mod verify;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use solver::Device;

pub use cohort::read_cohort;

use crate::exit::{Ending, Failure, Kind};
use crate::interruption;
use crate::output_dir;
use crate::progress::{Progress, Verbosity};

/// Version and, where TetGen is built in, what that means for passing the program on.
const VERSION: &str = if cfg!(feature = "tetgen") {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (MIT OR Apache-2.0; this build holds TetGen, AGPL-3.0)"
    )
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (MIT OR Apache-2.0)")
};

/// From a CT scan to the load that breaks the bone.
///
/// Lengths are mm, forces N, moduli MPa, densities mg/cm3 (K2HPO4 equivalent unless said). Exit status:
/// 0 done, 2 wrong usage, 3 input refused, 4 quality gate, 5 no answer, 130 interrupted.
#[derive(Debug, Parser)]
#[command(
    name = "osteoload",
    version = VERSION,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// Options of every subcommand.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Print errors only
    #[arg(long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print a line per stage and increment
    #[arg(long, global = true)]
    verbose: bool,
}

impl Globals {
    fn progress(&self) -> Progress {
        Progress::new(match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        })
    }

    /// Prints a line of result, unless `--quiet`.
    fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            output::remark(line);
        }
    }

    /// The device, which this build and this machine can use.
    fn device(&self) -> anyhow::Result<Device> {
        let refused = |reason: &str, remedy: &str| {
            Failure::usage(format!("--device {}: {reason}", self.device)).with_help(remedy)
        };
        let device: Device = self
            .device
            .parse()
            .map_err(|()| refused("no such device", "devices are cpu, cuda and cuda:N"))?;
        match device.check() {
            Ok(()) => Ok(device),
            Err(solver::Error::Device { reason, remedy, .. }) => {
                Err(refused(&reason, &remedy).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Run(Box<run::RunArgs>),
    Sweep(Box<sweep::SweepArgs>),
    Cohort(cohort::CohortArgs),
    Collect(collect::CollectArgs),
    Solve(solve::SolveArgs),
    Calibrate(calibrate::CalibrateArgs),
    Segment(segment::SegmentArgs),
    Evaluate(evaluate::EvaluateArgs),
    Compare(compare::CompareArgs),
    Train(train::TrainArgs),
    Synth(synth::SynthArgs),
    Info(image::InfoArgs),
    Convert(image::ConvertArgs),
    Mesh(Box<mesh::MeshArgs>),
    Export(export::ExportArgs),
    Report(report::ReportArgs),
    Protocol(protocol::ProtocolArgs),
    Verify(verify::VerifyArgs),
    Doctor(doctor::DoctorArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output with status 0, errors to standard error with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage.status()));
        }
    };
    if matches!(cli.command, Command::Solve(_)) {
        memory::return_large_blocks();
    }
    match handle_interruption().and_then(|()| execute(&cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let ending = Ending::of(&error);
            eprintln!("error: {}", ending.error);
            if let Some(help) = &ending.help {
                eprintln!("help: {help}");
            }
            ExitCode::from(ending.status)
        }
    }
}

fn execute(cli: &Cli) -> anyhow::Result<()> {
    let globals = &cli.globals;
    globals.device()?;
    let mut pool =
        rayon::ThreadPoolBuilder::new().stack_size(crate::run::beside::WORKER_STACK_BYTES);
    if let Some(threads) = globals.threads {
        pool = pool.num_threads(usize::from(threads));
    }
    pool.build_global()
        .context("the threads cannot be started")?;
    // On a thread of the pool: from any other, each of the solver's short parallel loops would wait for a hand-over.
    rayon::scope(|_| match &cli.command {
        Command::Demo(args) => args.execute(globals),
        Command::Run(args) => args.execute(globals),
        Command::Sweep(args) => args.execute(globals),
        Command::Cohort(args) => args.execute(globals),
        Command::Collect(args) => args.execute(globals),
        Command::Solve(args) => args.execute(globals),
        Command::Calibrate(args) => args.execute(globals),
        Command::Segment(args) => args.execute(globals),
        Command::Evaluate(args) => args.execute(globals),
        Command::Compare(args) => args.execute(globals),
        Command::Train(args) => args.execute(globals),
        Command::Synth(args) => args.execute(globals),
        Command::Info(args) => args.execute(),
        Command::Convert(args) => args.execute(globals),
        Command::Mesh(args) => args.execute(globals),
        Command::Export(args) => args.execute(globals),
        Command::Report(args) => args.execute(globals),
        Command::Protocol(args) => args.execute(),
        Command::Verify(args) => args.execute(globals),
        Command::Doctor(args) => args.execute(),
    })
}

/// On Ctrl-C or termination: lets an analysis end with its increment and keep what it has; else, and the second time,
/// removes what is half written. Ends with 130.
fn handle_interruption() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if interruption::ask() {
            return;
        }
        let _kept_until_the_end = output_dir::abandon_all();
        eprintln!("error: interrupted");
        std::process::exit(i32::from(Kind::Interrupted.status()));
    })
    .context("the handler of Ctrl-C cannot be set")
}
