//! `osteoload export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Globals;
use crate::export::{ExportRequest, Format, export};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    /// Abaqus and CalculiX deck
    Inp,
    /// Ansys coded database
    Cdb,
    /// FEBio 4.0
    Feb,
    /// Gmsh 4.1, ASCII
    Msh,
    /// VTK unstructured grid
    Vtu,
    /// Binary STL of the surface
    Stl,
}

/// Export the mesh of a finished run with materials and boundary sets
///
/// Lengths are mm, stresses MPa, in the model frame; node and element numbers are the same in every format.
#[derive(Clone, Debug, Args)]
pub struct ExportArgs {
    /// Directory of a finished run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Format
    #[arg(long, value_enum, value_name = "FORMAT")]
    to: FormatChoice,
    /// File to write [default: RUN_DIR/model.FORMAT; RUN_DIR/export.vtu for vtu]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Group the moduli of each kind of material into at most N bins of equal width [default: every material as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    bins: Option<u32>,
    /// Replace an existing file
    #[arg(long)]
    overwrite: bool,
}

impl ExportArgs {
    pub(super) fn execute(&self, globals: &Globals) -> anyhow::Result<()> {
        let exported = export(&ExportRequest {
            run: self.run.clone(),
            format: match self.to {
                FormatChoice::Inp => Format::Inp,
                FormatChoice::Cdb => Format::Cdb,
                FormatChoice::Feb => Format::Feb,
                FormatChoice::Msh => Format::Msh,
                FormatChoice::Vtu => Format::Vtu,
                FormatChoice::Stl => Format::Stl,
            },
            out: self.out.clone(),
            bins: self.bins.map(|bins| bins as usize),
            overwrite: self.overwrite,
        })?;
        for note in &exported.notes {
            globals.say(format!("note: {note}"));
        }
        let materials = match exported.materials {
            0 => String::new(),
            1 => ", 1 material".to_owned(),
            count => format!(", {count} materials"),
        };
        globals.say(format!(
            "{} nodes, {} elements{materials}",
            exported.nodes, exported.elements
        ));
        globals.say(format!("exported to {}", exported.place.display()));
        Ok(())
    }
}
