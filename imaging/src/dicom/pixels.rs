//! The stored values of a frame, unpacked.
//!
//! Sizes are checked before memory is asked for: a native frame against the bytes of its file, a
//! packed one against what its packed bytes can hold and against the size its own code stream
//! states. The decoders are then called with what was checked.

mod fragments;
mod jpeg;
mod jpeg2000;
mod rle;

use std::io::{Read, Seek, SeekFrom};

use super::dataset::Source;
use super::frame::{Frame, Layout, Pixels};
use super::syntax::Packing;
use crate::error::Result;
use crate::payload::format_error;
use fragments::Span;

/// Files whose frames are this small are unpacked whatever their packed size, bytes.
const ALWAYS: u64 = 2 << 20;
/// The most a byte of a packed frame unpacks to. An empty 512 x 512 slice in JPEG 2000 takes about
/// 150 bytes, a ratio of 3500; no real slice comes near.
const MOST_PER_BYTE: u64 = 4096;

impl Layout {
    /// Pixels of a frame.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Bytes of an unpacked frame.
    pub fn bytes(&self) -> u64 {
        self.len() as u64 * u64::from(self.bits_allocated / 8)
    }

    /// The value that stands in the stored bits of `raw` (PS3.5, 8.1.1); what writers leave in the
    /// other bits, such as overlays, is dropped.
    fn value(&self, raw: u32) -> i64 {
        let shifted = raw >> (self.high_bit + 1 - self.bits_stored);
        extend(shifted, self.bits_stored, self.signed)
    }
}

/// The low `bits` of a word as a number.
fn extend(word: u32, bits: u32, signed: bool) -> i64 {
    let unused = 64 - bits;
    if signed {
        (i64::from(word) << unused) >> unused
    } else {
        ((u64::from(word) << unused) >> unused) as i64
    }
}

/// A file whose frames can be read, with the place of each.
pub(super) struct Opened<'a> {
    pixels: &'a Pixels,
    spans: Vec<Vec<Span>>,
}

impl<'a> Opened<'a> {
    /// Finds the bytes of every frame and checks that they can hold the frames.
    pub fn new(pixels: &'a Pixels, layout: Layout) -> Result<Self> {
        let refuse = |reason| format_error(&pixels.path, reason);
        if pixels.syntax.packing == Packing::Unsupported {
            return Err(refuse(format!(
                "its pixels are in {}, which is not supported; export the series uncompressed, or convert it (for example with `gdcmconv --raw`)",
                pixels.syntax.name
            )));
        }
        let (mut source, length) =
            Source::open(&pixels.path, pixels.syntax.encoding, pixels.start)?;
        let spans = match (pixels.syntax.packing, pixels.place.length) {
            (Packing::Native, Some(announced)) => {
                native(pixels, layout, announced, length).map_err(refuse)?
            }
            (Packing::Native, None) => {
                return Err(refuse(format!(
                    "its pixels are in fragments, but its transfer syntax {} has none; export the series again",
                    pixels.syntax.name
                )));
            }
            (_, None) => fragments::of_frames(&mut source, pixels, length).map_err(refuse)?,
            (_, Some(_)) => {
                return Err(refuse(format!(
                    "its pixels should be in fragments of {}, but are not; export the series again",
                    pixels.syntax.name
                )));
            }
        };
        if pixels.syntax.packing != Packing::Native {
            let packed: u64 = spans.iter().flatten().map(|span| span.length).sum();
            if layout.bytes().saturating_mul(spans.len() as u64)
                > ALWAYS.max(packed.saturating_mul(MOST_PER_BYTE))
            {
                return Err(refuse(format!(
                    "{} frames of {} x {} pixels cannot be packed in {packed} bytes: the header is damaged",
                    spans.len(),
                    layout.columns,
                    layout.rows
                )));
            }
        }
        Ok(Self { pixels, spans })
    }

    /// The stored values of a frame of this file, row by row.
    pub fn read(&self, frame: &Frame) -> Result<Vec<i64>> {
        let pixels = self.pixels;
        let refuse = |reason| format_error(&pixels.path, reason);
        let (mut source, _) = Source::open(&pixels.path, pixels.syntax.encoding, pixels.start)?;
        let mut bytes = Vec::new();
        for span in &self.spans[frame.index] {
            source
                .seek(SeekFrom::Start(span.offset))
                .and_then(|_| (&mut source).take(span.length).read_to_end(&mut bytes))
                .map_err(|e| crate::payload::io_error(&pixels.path, e))?;
        }
        let layout = frame.layout;
        let values = match pixels.syntax.packing {
            Packing::Native => Ok(native_values(&bytes, layout, pixels.big_endian)),
            Packing::Rle => rle::decode(&bytes, layout),
            Packing::Jpeg => jpeg::decode(&bytes, layout),
            Packing::Jpeg2000 => jpeg2000::decode(&bytes, layout),
            Packing::Unsupported => Err("cannot be decoded".into()),
        }
        .map_err(|reason| {
            refuse(format!(
                "the pixels of frame {} ({}) cannot be decoded: {reason}; copy or export the file again",
                frame.index + 1,
                pixels.syntax.name
            ))
        })?;
        if values.len() == layout.len() {
            Ok(values)
        } else {
            Err(refuse(format!(
                "the file is cut off: {} of {} pixels of frame {} are there; copy or export it again",
                values.len(),
                layout.len(),
                frame.index + 1
            )))
        }
    }
}

fn native(
    pixels: &Pixels,
    layout: Layout,
    announced: u32,
    length: u64,
) -> Result<Vec<Vec<Span>>, String> {
    let frame = layout.bytes();
    let needed = frame.saturating_mul(pixels.frames as u64);
    let there = length.saturating_sub(pixels.place.offset);
    let available = there.min(u64::from(announced));
    if available < needed {
        return Err(format!(
            "the file is cut off: {} frames of {} x {} pixels of {} bits need {needed} bytes, {available} are there; copy or export it again",
            pixels.frames, layout.columns, layout.rows, layout.bits_allocated
        ));
    }
    Ok((0..pixels.frames as u64)
        .map(|index| {
            vec![Span {
                offset: pixels.place.offset + index * frame,
                length: frame,
            }]
        })
        .collect())
}

fn native_values(bytes: &[u8], layout: Layout, big_endian: bool) -> Vec<i64> {
    macro_rules! words {
        ($t:ty) => {
            bytes
                .chunks_exact(size_of::<$t>())
                .filter_map(|chunk| chunk.first_chunk())
                .map(|chunk| {
                    layout.value(u32::from(if big_endian {
                        <$t>::from_be_bytes(*chunk)
                    } else {
                        <$t>::from_le_bytes(*chunk)
                    }))
                })
                .collect()
        };
    }
    match layout.bits_allocated {
        8 => words!(u8),
        16 => words!(u16),
        _ => words!(u32),
    }
}
