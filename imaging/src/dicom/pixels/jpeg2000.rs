//! JPEG 2000 (ISO/IEC 15444-1) by `hayro-jpeg2000`.

use hayro_jpeg2000::{DecodeSettings, DecoderContext, Image};

use super::{Layout, extend};

/// SOC and SIZ, the marks a code stream begins with.
const BEGIN: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];

/// What the SIZ segment says (15444-1, table A.9).
#[derive(Debug, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
    components: u16,
    signed: bool,
    precision: u32,
}

impl Size {
    /// Reads it at the beginning of the stream, or behind the boxes of a JP2 file.
    fn of(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(4).position(|w| w == BEGIN)?;
        let segment = bytes.get(at + 4..at + 45)?;
        let long = |n: usize| {
            segment
                .get(n..n + 4)
                .and_then(|b| b.first_chunk())
                .map(|b| u32::from_be_bytes(*b))
        };
        let (x, y, x0, y0) = (long(4)?, long(8)?, long(12)?, long(16)?);
        let (tile_x, tile_y) = (long(20)?, long(24)?);
        // An image of 65 535 tiles is the format's most; far fewer are sane here.
        let tiles = u64::from(x.div_ceil(tile_x.max(1))) * u64::from(y.div_ceil(tile_y.max(1)));
        if tiles > 4096 {
            return None;
        }
        Some(Self {
            width: x.checked_sub(x0)?,
            height: y.checked_sub(y0)?,
            components: u16::from_be_bytes([*segment.get(36)?, *segment.get(37)?]),
            signed: segment.get(38)? & 0x80 != 0,
            precision: u32::from(segment.get(38)? & 0x7f) + 1,
        })
    }
}

/// The stored values of a frame.
pub(super) fn decode(bytes: &[u8], layout: Layout) -> Result<Vec<i64>, String> {
    let size = Size::of(bytes).ok_or("its size (SIZ) cannot be read")?;
    if (size.width as usize, size.height as usize) != (layout.columns, layout.rows)
        || size.components != 1
    {
        return Err(format!(
            "the stream is {} x {} pixels of {} components, the header says {} x {} of one",
            size.width, size.height, size.components, layout.columns, layout.rows
        ));
    }
    if size.precision > layout.bits_allocated || size.signed && !layout.signed {
        return Err(format!(
            "the stream holds {} samples of {} bits, the header says {} of {}",
            if size.signed { "signed" } else { "unsigned" },
            size.precision,
            if layout.signed { "signed" } else { "unsigned" },
            layout.bits_allocated
        ));
    }
    // The decoder computes in f32, whose 24 bits hold these exactly.
    if size.precision > 16 {
        return Err(format!(
            "{} bits a sample; up to 16 are supported",
            size.precision
        ));
    }
    let settings = DecodeSettings {
        resolve_palette_indices: false,
        ..DecodeSettings::default()
    };
    let image = Image::new(bytes, &settings).map_err(|e| e.to_string())?;
    // A JP2 file may hold a stream behind the one that was looked at.
    if (image.width(), image.height()) != (size.width, size.height) {
        return Err("its sizes contradict one another".into());
    }
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(|e| e.to_string())?;
    let [component] = decoded.components() else {
        return Err(format!("{} components", decoded.components().len()));
    };
    // The level shift of unsigned samples is applied to signed ones too, and undone here.
    let shift = if size.signed {
        1_i64 << (size.precision - 1)
    } else {
        0
    };
    let value = |sample: f32| {
        let value = sample.round() as i64 - shift;
        if layout.signed && !size.signed {
            // Signed values coded as the bits of their two's complement.
            extend(value as u32, size.precision, true)
        } else {
            value
        }
    };
    Ok(component.samples().iter().map(|&s| value(s)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_stream_is_read() {
        let mut bytes = vec![0, 0, 0xff, 0x4f, 0xff, 0x51, 0, 41, 0, 0];
        for long in [512_u32, 256, 0, 0, 512, 256, 0, 0] {
            bytes.extend(long.to_be_bytes());
        }
        bytes.extend([0, 1, 0x8f, 1, 1]);
        let size = Size::of(&bytes).unwrap();
        assert_eq!(
            size,
            Size {
                width: 512,
                height: 256,
                components: 1,
                signed: true,
                precision: 16
            }
        );
        for length in 0..bytes.len() - 2 {
            assert_eq!(Size::of(&bytes[..length]), None);
        }
    }
}
