//! `osteoload doctor`.

use clap::Args;
use solver::Device;

use super::output::print;
use crate::provenance::{instruction_set, total_memory_mib};

/// Say what this machine offers: threads, memory, instruction set, CUDA
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {}

impl DoctorArgs {
    pub(super) fn execute(&self) -> anyhow::Result<()> {
        print(self.text())
    }

    pub(super) fn text(&self) -> String {
        let memory = total_memory_mib().map_or("not known".into(), |mib| format!("{mib:.0} MiB"));
        let cuda = match Device::Cuda(0).check() {
            Ok(()) => "ready".to_owned(),
            Err(solver::Error::Device { reason, .. }) => format!("no: {reason}"),
            Err(error) => error.to_string(),
        };
        format!(
            "version          {}\nplatform         {} {}\nthreads          {}\nmemory           {memory}\n\
             instruction set  {}\ncuda             {cuda}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            rayon::current_num_threads(),
            instruction_set(),
        )
    }
}
