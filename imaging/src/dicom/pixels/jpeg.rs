//! JPEG (ISO/IEC 10918-1) by `jpeg-decoder`: baseline and progressive with 8-bit samples, lossless
//! with up to 16.

use jpeg_decoder::{Decoder, Error, PixelFormat};

use super::{Layout, extend};

/// The stored values of a frame.
pub(super) fn decode(bytes: &[u8], layout: Layout) -> Result<Vec<i64>, String> {
    let mut decoder = Decoder::new(bytes);
    // The decoder allocates by the size of the stream: it must be the size that was checked.
    decoder.read_info().map_err(words)?;
    let Some(info) = decoder.info() else {
        return Err("the JPEG stream states no size".into());
    };
    if (usize::from(info.width), usize::from(info.height)) != (layout.columns, layout.rows) {
        return Err(format!(
            "the JPEG stream is {} x {} pixels, the header says {} x {}",
            info.width, info.height, layout.columns, layout.rows
        ));
    }
    // Eight bits under a signed header of more would have lost their sign, and more bits than the header stores their upper ones.
    let fits = match info.pixel_format {
        PixelFormat::L8 => layout.bits_stored <= 8 || !layout.signed,
        PixelFormat::L16 => layout.bits_stored > 8,
        _ => true,
    };
    if !fits {
        return Err(format!(
            "the JPEG stream holds {:?}, the header says {} bits{}",
            info.pixel_format,
            layout.bits_stored,
            if layout.signed { ", signed" } else { "" }
        ));
    }
    decoder.set_max_decoding_buffer_size(8 * layout.len());
    let samples = decoder.decode().map_err(words)?;
    // Signed values are coded as the bits of their two's complement.
    match info.pixel_format {
        PixelFormat::L8 => Ok(samples
            .iter()
            .map(|&v| extend(u32::from(v), layout.bits_stored.min(8), layout.signed))
            .collect()),
        PixelFormat::L16 => Ok(samples
            .chunks_exact(2)
            .filter_map(|chunk| chunk.first_chunk())
            .map(|chunk| {
                extend(
                    u32::from(u16::from_ne_bytes(*chunk)),
                    layout.bits_stored.min(16),
                    layout.signed,
                )
            })
            .collect()),
        other => Err(format!(
            "the JPEG stream is {other:?}, not one grey channel"
        )),
    }
}

fn words(error: Error) -> String {
    match error {
        Error::Unsupported(what) => {
            format!("the JPEG decoder does not know {what:?}; export the series uncompressed")
        }
        other => other.to_string(),
    }
}
