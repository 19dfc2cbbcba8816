//! Probabilities in nnU-Net's file format.

use std::io::Write as _;
use std::path::Path;

use super::model::Probabilities;
use crate::error::{Error, Result};

impl Probabilities {
    /// Writes an `.npz` file as numpy's `savez_compressed` does, with the one key `probabilities`: float32 (class, z, y, x).
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_npz(&self, path: &Path) -> Result<()> {
        let write = || -> std::io::Result<()> {
            let file = std::io::BufWriter::new(std::fs::File::create(path)?);
            let mut archive = zip::ZipWriter::new(file);
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated)
                .large_file(true);
            archive.start_file("probabilities.npy", options)?;
            let [z, y, x] = self.values.shape;
            let classes = self.values.channels();
            let mut header = format!(
                "{{'descr': '<f4', 'fortran_order': False, 'shape': ({classes}, {z}, {y}, {x}), }}"
            );
            // Magic, version and length take ten bytes; the whole is padded to a multiple of 64 that ends in a new line.
            let padding = 63 - (10 + header.len()) % 64;
            header.extend(std::iter::repeat_n(' ', padding));
            header.push('\n');
            archive.write_all(b"\x93NUMPY\x01\x00")?;
            archive.write_all(&(header.len() as u16).to_le_bytes())?;
            archive.write_all(header.as_bytes())?;
            for part in self.values.data.chunks(1 << 16) {
                let bytes: Vec<u8> = part.iter().flat_map(|v| v.to_le_bytes()).collect();
                archive.write_all(&bytes)?;
            }
            archive.finish()?.flush()
        };
        write().map_err(|source| Error::io(path, source))
    }
}
