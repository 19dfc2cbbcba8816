//! The elements of a DICOM file this crate needs, read without trusting a length.
//!
//! Headers of elements are decoded by `dicom-parser`; values, sequences and pixel bytes are only
//! touched after their announced length was compared with the bytes that are there. Nothing but
//! the elements of [`WANTED`] is kept, so a patient's name never enters memory by accident.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::header::SequenceItemHeader;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_parser::{DynStatefulDecoder, StatefulDecode};

use super::syntax::{Encoding, Syntax};
use crate::error::Result;
use crate::payload::{self, format_error, io_error};

/// What a series is read from; every other element is passed over.
const WANTED: [Tag; 55] = [
    tags::TRANSFER_SYNTAX_UID,
    tags::IMAGE_TYPE,
    tags::SOP_CLASS_UID,
    tags::MODALITY,
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::SERIES_DESCRIPTION,
    tags::STUDY_DATE,
    tags::ACQUISITION_DATE,
    tags::ACQUISITION_DATE_TIME,
    tags::SERIES_INSTANCE_UID,
    tags::SERIES_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::PATIENT_POSITION,
    tags::CONTRAST_BOLUS_AGENT,
    tags::CONTRAST_BOLUS_AGENT_SEQUENCE,
    tags::CONTRAST_BOLUS_ROUTE,
    tags::CODE_MEANING,
    tags::SLICE_THICKNESS,
    tags::SPACING_BETWEEN_SLICES,
    tags::KVP,
    tags::EXPOSURE,
    tags::EXPOSURE_TIME,
    tags::X_RAY_TUBE_CURRENT,
    tags::EXPOSURE_INM_AS,
    tags::CONVOLUTION_KERNEL,
    tags::CONVOLUTION_KERNEL_GROUP,
    tags::GANTRY_DETECTOR_TILT,
    tags::TABLE_HEIGHT,
    tags::FRAME_TYPE,
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::PIXEL_SPACING,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::RESCALE_TYPE,
    tags::MODALITY_LUT_SEQUENCE,
    tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
    tags::EXTENDED_OFFSET_TABLE,
    tags::EXTENDED_OFFSET_TABLE_LENGTHS,
    tags::MEDIA_STORAGE_SOP_CLASS_UID,
    tags::PROTOCOL_NAME,
    tags::SOFTWARE_VERSIONS,
];

/// The marks of sequences (PS3.5, 7.5).
const ITEM: Tag = Tag(0xfffe, 0xe000);
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// No wanted value is longer, but the tables of a file of 65 535 frames.
const LONGEST_VALUE: u32 = 1 << 19;
/// Deepest nesting of sequences followed; the standard's deepest is about ten.
const DEEPEST: usize = 32;
/// Most items of one sequence: a file cannot say more frames than this either.
const MOST_ITEMS: usize = 1 << 17;
/// Most bytes a deflated data set may unpack to. A CT slice of 2048 x 2048 needs 8 MiB.
const MOST_INFLATED: u64 = 256 << 20;

/// One value as it stands in the file.
#[derive(Debug)]
struct Element {
    vr: VR,
    bytes: Vec<u8>,
}

/// The wanted elements of a data set or of an item of a sequence.
#[derive(Debug, Default)]
pub(super) struct Dataset {
    elements: BTreeMap<Tag, Element>,
    sequences: BTreeMap<Tag, Vec<Dataset>>,
    big_endian: bool,
}

/// Where the pixel bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PixelPlace {
    /// First byte of the value, in the (inflated) file.
    pub offset: u64,
    /// Announced bytes; `None` for encapsulated fragments.
    pub length: Option<u32>,
}

/// A DICOM file, its wanted elements, and where its pixels are.
#[derive(Debug)]
pub(super) struct Header {
    pub syntax: Syntax,
    pub root: Dataset,
    pub pixels: Option<PixelPlace>,
    /// First byte of the data set in the file, where a deflated one begins.
    pub start: u64,
}

/// The bytes of a data set: in the file, or inflated.
pub(super) enum Source {
    File(BufReader<File>),
    Memory(Cursor<Vec<u8>>),
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Memory(bytes) => bytes.read(buffer),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Memory(bytes) => bytes.seek(to),
        }
    }
}

impl Source {
    /// Opens a file whose data set begins at `start`; returns the source and its length.
    pub fn open(path: &Path, encoding: Encoding, start: u64) -> Result<(Self, u64)> {
        let mut file = payload::open(path)?;
        let length = file.metadata().map_err(|e| io_error(path, e))?.len();
        if encoding != Encoding::Deflated {
            return Ok((Self::File(BufReader::new(file)), length));
        }
        file.seek(SeekFrom::Start(start))
            .map_err(|e| io_error(path, e))?;
        // The data set keeps its place in the file, so that one offset means one thing.
        let mut bytes = vec![0; usize::try_from(start).unwrap_or(0)];
        flate2::read::DeflateDecoder::new(BufReader::new(file))
            .take(MOST_INFLATED)
            .read_to_end(&mut bytes)
            .map_err(|e| {
                format_error(
                    path,
                    format!("the deflated data set is damaged or cut off ({e}); copy or export the file again"),
                )
            })?;
        let length = bytes.len() as u64;
        if length >= MOST_INFLATED {
            return Err(format_error(
                path,
                format!(
                    "the deflated data set is longer than {MOST_INFLATED} bytes; export the series uncompressed"
                ),
            ));
        }
        Ok((Self::Memory(Cursor::new(bytes)), length))
    }
}

/// Bytes looked at to tell what a file is.
const START: usize = 140;

/// Where the data set (or group 2) of a file begins, and the file's length; `None` when it is no
/// DICOM file.
fn begin(path: &Path) -> Result<Option<(u64, u64)>> {
    let file = payload::open(path)?;
    let length = file.metadata().map_err(|e| io_error(path, e))?.len();
    let mut first = Vec::with_capacity(START);
    file.take(START as u64)
        .read_to_end(&mut first)
        .map_err(|e| io_error(path, e))?;
    Ok(first_element(&first, length).map(|begin| (begin, length)))
}

/// Whether a file can be read and begins as DICOM files do.
pub(super) fn is_marked(path: &Path) -> bool {
    matches!(begin(path), Ok(Some(_)))
}

/// Opens a file; `None` when it is no DICOM file.
pub(super) fn open(path: &Path) -> Result<Option<Header>> {
    match begin(path)? {
        Some((begin, length)) => read(path, begin, length, &WANTED).map(Some),
        None => Ok(None),
    }
}

/// Name and number of the patient of a DICOM file.
pub(super) fn patient(path: &Path) -> Result<[Option<String>; 2]> {
    const IDENTITY: [Tag; 3] = [
        tags::TRANSFER_SYNTAX_UID,
        tags::PATIENT_NAME,
        tags::PATIENT_ID,
    ];
    let Some((begin, length)) = begin(path)? else {
        return Ok([None, None]);
    };
    let root = read(path, begin, length, &IDENTITY)?.root;
    Ok([root.text(tags::PATIENT_NAME), root.text(tags::PATIENT_ID)])
}

/// Where the first element of a DICOM file stands: behind preamble and mark (PS3.10, 7.1), or at
/// once in a file without them, which then must begin with an element of group 2 or 8.
fn first_element(bytes: &[u8], length: u64) -> Option<u64> {
    if bytes.get(128..132) == Some(b"DICM") {
        return Some(132);
    }
    let [a, b, c, d, e, f, g, h] = *bytes.first_chunk::<8>()?;
    let explicit = VR::from_binary([e, f]).is_some();
    let little = b == 0 && (a == 8 || a == 2);
    let big = a == 0 && b == 8;
    // An implicit header is little endian, and its length must fit the file. All-zero elements
    // such as (0008,0000) of length 4 are common there.
    let fits = u64::from(u32::from_le_bytes([e, f, g, h])) + 8 <= length;
    let group_length_or_more = d <= 0x80 || c <= 0x80;
    ((little && (explicit || fits) || big && explicit) && group_length_or_more).then_some(0)
}

fn read(path: &Path, begin: u64, length: u64, wanted: &'static [Tag]) -> Result<Header> {
    let damaged = |reason| format_error(path, reason);
    let (meta, start) = read_meta(path, begin, length)?;
    let stated = meta.text(tags::TRANSFER_SYNTAX_UID);
    let (mut source, _) = Source::open(path, Encoding::ExplicitLittle, 0)?;
    source
        .seek(SeekFrom::Start(start))
        .map_err(|e| io_error(path, e))?;
    let mut first = Vec::new();
    source
        .take(8)
        .read_to_end(&mut first)
        .map_err(|e| io_error(path, e))?;
    let syntax = Syntax::of(stated.as_deref(), &first);
    let (mut source, length) = Source::open(path, syntax.encoding, start)?;
    source
        .seek(SeekFrom::Start(start))
        .map_err(|e| io_error(path, e))?;
    let mut parser =
        Parser::new(source, syntax.encoding, start, length, wanted).map_err(damaged)?;
    let root = parser
        .dataset(length, Place::Root, true, 0)
        .map_err(damaged)?;
    Ok(Header {
        syntax,
        root,
        pixels: parser.pixels,
        start,
    })
}

/// Reads the elements of group 2, which are explicit little endian whatever follows (PS3.10, 7.1);
/// returns them and the place of the data set.
fn read_meta(path: &Path, begin: u64, length: u64) -> Result<(Dataset, u64)> {
    let damaged = |reason| format_error(path, reason);
    let (mut source, _) = Source::open(path, Encoding::ExplicitLittle, 0)?;
    source
        .seek(SeekFrom::Start(begin))
        .map_err(|e| io_error(path, e))?;
    let mut parser =
        Parser::new(source, Encoding::ExplicitLittle, begin, length, &WANTED).map_err(damaged)?;
    let meta = parser
        .dataset(length, Place::Meta, true, 0)
        .map_err(damaged)?;
    Ok((meta, parser.end_of_meta.unwrap_or(length)))
}

/// What a data set is part of, which decides where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Group 2; ends before the first element of another group.
    Meta,
    /// The file's data set; ends at its pixels.
    Root,
    /// An item of stated length.
    Item,
    /// An item that ends with a delimiter.
    DelimitedItem,
}

struct Parser {
    decoder: DynStatefulDecoder<Source>,
    encoding: Encoding,
    pixels: Option<PixelPlace>,
    end_of_meta: Option<u64>,
    length: u64,
    wanted: &'static [Tag],
}

impl Parser {
    fn new(
        source: Source,
        encoding: Encoding,
        start: u64,
        length: u64,
        wanted: &'static [Tag],
    ) -> Result<Self, String> {
        let decoder = DynStatefulDecoder::new_with_ts(source, encoding.definition(), start)
            .map_err(|e| e.to_string())?;
        Ok(Self {
            decoder,
            encoding,
            pixels: None,
            end_of_meta: None,
            length,
            wanted,
        })
    }

    fn dataset(
        &mut self,
        end: u64,
        place: Place,
        keep: bool,
        depth: usize,
    ) -> Result<Dataset, String> {
        if depth > DEEPEST {
            return Err(format!("its sequences are nested more than {DEEPEST} deep"));
        }
        let mut found = Dataset {
            big_endian: self.encoding == Encoding::ExplicitBig,
            ..Dataset::default()
        };
        loop {
            let position = self.decoder.position();
            // Fewer bytes than a header: padding at the end of the file, or the end of the item.
            if position + 8 > end {
                return match place {
                    Place::DelimitedItem => Err(self.cut_off(position)),
                    Place::Item if position != end => Err(self.cut_off(position)),
                    _ => Ok(found),
                };
            }
            let header = self
                .decoder
                .decode_header()
                .map_err(|_| self.cut_off(position))?;
            let tag = header.tag;
            if place == Place::Meta && tag.group() != 2 {
                self.end_of_meta = Some(position);
                return Ok(found);
            }
            if tag == ITEM_END && place == Place::DelimitedItem {
                return Ok(found);
            }
            if tag.group() == 0xfffe {
                return Err(format!(
                    "an item mark {tag} stands at byte {position}, outside of any sequence; copy or export the file again"
                ));
            }
            if place == Place::Root && tag.group() == 0x7fe0 {
                if tag == tags::PIXEL_DATA {
                    self.pixels = Some(PixelPlace {
                        offset: self.decoder.position(),
                        length: header.len.get(),
                    });
                    return Ok(found);
                }
            } else if place == Place::Root && tag.group() > 0x7fe0 {
                return Ok(found);
            }
            let inside = keep && place != Place::Root && place != Place::Meta;
            let wanted = keep && self.wanted.contains(&tag);
            match header.len.get() {
                None if header.vr == VR::UN && self.encoding != Encoding::ImplicitLittle => {
                    // PS3.5, 6.2.2, note 4: such a sequence is implicit inside an explicit file.
                    self.skip_implicit(end, depth)?;
                }
                None => {
                    let items = self.items(None, end, wanted || inside, depth)?;
                    found.keep_items(tag, items, wanted || inside);
                }
                Some(length) => {
                    let left = end.saturating_sub(self.decoder.position());
                    if u64::from(length) > left {
                        return Err(format!(
                            "the file is cut off or damaged: element {tag} needs {length} bytes, {left} are left; copy or export it again"
                        ));
                    }
                    if header.vr == VR::SQ && (wanted || inside) {
                        let items = self.items(Some(length), end, true, depth)?;
                        found.keep_items(tag, items, true);
                    } else if wanted && length <= LONGEST_VALUE {
                        let mut bytes = Vec::new();
                        self.decoder
                            .read_to_vec(length, &mut bytes)
                            .map_err(|_| self.cut_off(position))?;
                        let vr = header.vr;
                        found.elements.insert(tag, Element { vr, bytes });
                    } else {
                        self.skip(length)?;
                    }
                }
            }
        }
    }

    fn items(
        &mut self,
        length: Option<u32>,
        end: u64,
        keep: bool,
        depth: usize,
    ) -> Result<Vec<Dataset>, String> {
        let end = match length {
            Some(length) => self.decoder.position() + u64::from(length),
            None => end,
        };
        let mut items = Vec::new();
        loop {
            let position = self.decoder.position();
            if length.is_some() && position == end {
                return Ok(items);
            }
            if position + 8 > end {
                return Err(self.cut_off(position));
            }
            let header = self
                .decoder
                .decode_item_header()
                .map_err(|_| format!("no item of a sequence stands at byte {position}, where one must; copy or export the file again"))?;
            let item = match header {
                SequenceItemHeader::SequenceDelimiter => return Ok(items),
                SequenceItemHeader::ItemDelimiter => continue,
                SequenceItemHeader::Item { len } => match len.get() {
                    Some(length) => {
                        let item_end = self.decoder.position() + u64::from(length);
                        if item_end > end {
                            return Err(self.cut_off(position));
                        }
                        if keep {
                            self.dataset(item_end, Place::Item, true, depth + 1)?
                        } else {
                            self.skip(length)?;
                            continue;
                        }
                    }
                    None => self.dataset(end, Place::DelimitedItem, keep, depth + 1)?,
                },
            };
            if keep {
                items.push(item);
            }
            if items.len() > MOST_ITEMS {
                return Err(format!("a sequence has more than {MOST_ITEMS} items"));
            }
        }
    }

    /// Passes over a sequence of undefined length in implicit form.
    fn skip_implicit(&mut self, end: u64, depth: usize) -> Result<(), String> {
        const UNDEFINED: u32 = u32::MAX;
        if depth > DEEPEST {
            return Err(format!("its sequences are nested more than {DEEPEST} deep"));
        }
        let mut in_item = false;
        loop {
            let position = self.decoder.position();
            if position + 8 > end {
                return Err(self.cut_off(position));
            }
            let mut bytes = Vec::new();
            self.decoder
                .read_to_vec(8, &mut bytes)
                .map_err(|_| self.cut_off(position))?;
            let Some([a, b, c, d, e, f, g, h]) = bytes.first_chunk::<8>().copied() else {
                return Err(self.cut_off(position));
            };
            let tag = Tag(u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
            let length = u32::from_le_bytes([e, f, g, h]);
            match tag {
                SEQUENCE_END => return Ok(()),
                ITEM_END => in_item = false,
                ITEM if length == UNDEFINED => in_item = true,
                _ if length == UNDEFINED && in_item => self.skip_implicit(end, depth + 1)?,
                _ => {
                    if u64::from(length) > end.saturating_sub(self.decoder.position()) {
                        return Err(self.cut_off(position));
                    }
                    self.skip(length)?;
                }
            }
        }
    }

    /// Passes over bytes that were found to be there.
    fn skip(&mut self, length: u32) -> Result<(), String> {
        let position = self.decoder.position();
        self.decoder
            .skip_bytes(length)
            .map_err(|_| self.cut_off(position))
    }

    fn cut_off(&self, position: u64) -> String {
        format!(
            "the file is cut off or damaged: no element can be read at byte {position} of {}; copy or export it again",
            self.length
        )
    }
}

impl Dataset {
    fn keep_items(&mut self, tag: Tag, items: Vec<Self>, keep: bool) {
        if keep {
            self.sequences.insert(tag, items);
        }
    }

    /// The items of a sequence.
    pub fn items(&self, tag: Tag) -> &[Self] {
        self.sequences.get(&tag).map_or(&[], Vec::as_slice)
    }

    /// Whether an element or sequence is there, even if empty.
    pub fn has(&self, tag: Tag) -> bool {
        self.elements.contains_key(&tag) || self.sequences.contains_key(&tag)
    }

    /// The data set that holds `tag`: this one, or the first of its items that does.
    pub fn holder(&self, tag: Tag) -> Option<&Self> {
        if self.elements.contains_key(&tag) {
            return Some(self);
        }
        self.sequences
            .values()
            .flatten()
            .find_map(|item| item.holder(tag))
    }

    /// The raw bytes of a value.
    pub fn bytes(&self, tag: Tag) -> Option<&[u8]> {
        self.elements.get(&tag).map(|e| e.bytes.as_slice())
    }

    /// A text, without the padding; `None` when empty. Texts are taken as UTF-8, which ASCII is.
    pub fn text(&self, tag: Tag) -> Option<String> {
        let bytes = self.bytes(tag)?;
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_matches([' ', '\0', '\t', '\r', '\n']);
        // A control character in a description must not reach a terminal.
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        (!text.is_empty()).then_some(text)
    }

    /// The values of a text of several values.
    pub fn texts(&self, tag: Tag) -> Vec<String> {
        self.text(tag)
            .map(|text| text.split('\\').map(|t| t.trim().to_owned()).collect())
            .unwrap_or_default()
    }

    /// The numbers of a value, binary or text; `None` when absent or empty.
    ///
    /// # Errors
    /// A sentence when it holds something else, or a number that is not finite.
    pub fn numbers(&self, tag: Tag) -> Result<Option<Vec<f64>>, String> {
        let Some(Element { vr, bytes }) = self.elements.get(&tag) else {
            return Ok(None);
        };
        let vr = if *vr == VR::UN {
            StandardDataDictionary
                .by_tag(tag)
                .map_or(VR::UN, |entry| entry.vr().relaxed())
        } else {
            *vr
        };
        let big = self.big_endian;
        macro_rules! binary {
            ($t:ty) => {
                bytes
                    .chunks_exact(size_of::<$t>())
                    .filter_map(|chunk| chunk.first_chunk())
                    .map(|chunk| {
                        f64::from(if big {
                            <$t>::from_be_bytes(*chunk)
                        } else {
                            <$t>::from_le_bytes(*chunk)
                        })
                    })
                    .collect::<Vec<f64>>()
            };
        }
        let numbers = match vr {
            VR::US => binary!(u16),
            VR::SS => binary!(i16),
            VR::UL => binary!(u32),
            VR::SL => binary!(i32),
            VR::FL => binary!(f32),
            VR::FD => binary!(f64),
            _ => {
                let Some(text) = self.text(tag) else {
                    return Ok(None);
                };
                text.split('\\')
                    .map(|word| word.trim().parse::<f64>())
                    .collect::<Result<_, _>>()
                    .map_err(|_| {
                        format!(
                            "{} holds {:?}, which is no number; correct it or export the series again",
                            name_of(tag),
                            text.chars().take(40).collect::<String>()
                        )
                    })?
            }
        };
        if let Some(odd) = numbers.iter().find(|n| !n.is_finite()) {
            return Err(format!("{} holds {odd}", name_of(tag)));
        }
        Ok((!numbers.is_empty()).then_some(numbers))
    }

    /// The first number of a value.
    ///
    /// # Errors
    /// As [`Dataset::numbers`].
    pub fn number(&self, tag: Tag) -> Result<Option<f64>, String> {
        Ok(self
            .numbers(tag)?
            .and_then(|numbers| numbers.first().copied()))
    }
}

/// The keyword of an attribute, such as `PixelSpacing`.
pub(super) fn name_of(tag: Tag) -> String {
    StandardDataDictionary
        .by_tag(tag)
        .map_or_else(|| tag.to_string(), |entry| entry.alias().to_owned())
}
