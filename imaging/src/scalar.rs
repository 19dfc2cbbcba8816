//! The ten number types voxels are stored in, and their bytes.

use std::io::{Read, Write};

/// The number type voxels are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ScalarType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl ScalarType {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Name such as `int16` or `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

impl std::fmt::Display for ScalarType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Byte order of stored values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endian {
    Little,
    Big,
}

/// Voxel values in the type they are stored in.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Voxels {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// Runs one expression on the vector of any [`Voxels`].
macro_rules! for_each_type {
    ($voxels:expr, $values:ident => $body:expr) => {
        match $voxels {
            $crate::scalar::Voxels::U8($values) => $body,
            $crate::scalar::Voxels::I8($values) => $body,
            $crate::scalar::Voxels::U16($values) => $body,
            $crate::scalar::Voxels::I16($values) => $body,
            $crate::scalar::Voxels::U32($values) => $body,
            $crate::scalar::Voxels::I32($values) => $body,
            $crate::scalar::Voxels::U64($values) => $body,
            $crate::scalar::Voxels::I64($values) => $body,
            $crate::scalar::Voxels::F32($values) => $body,
            $crate::scalar::Voxels::F64($values) => $body,
        }
    };
}
pub(crate) use for_each_type;

impl Voxels {
    /// Number of values.
    pub fn len(&self) -> usize {
        for_each_type!(self, values => values.len())
    }

    /// Whether there is no value at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type the values are stored in.
    pub fn scalar_type(&self) -> ScalarType {
        match self {
            Self::U8(_) => ScalarType::U8,
            Self::I8(_) => ScalarType::I8,
            Self::U16(_) => ScalarType::U16,
            Self::I16(_) => ScalarType::I16,
            Self::U32(_) => ScalarType::U32,
            Self::I32(_) => ScalarType::I32,
            Self::U64(_) => ScalarType::U64,
            Self::I64(_) => ScalarType::I64,
            Self::F32(_) => ScalarType::F32,
            Self::F64(_) => ScalarType::F64,
        }
    }
}

/// A number with a fixed binary form.
pub(crate) trait Scalar: Copy + std::str::FromStr {
    fn from_bytes(bytes: &[u8], endian: Endian) -> Self;
    fn append_little_endian(self, bytes: &mut Vec<u8>);
    fn to_f64(self) -> f64;
    fn wrap(values: Vec<Self>) -> Voxels;
}

macro_rules! scalar {
    ($($t:ty => $variant:ident),*) => {$(
        impl Scalar for $t {
            #[inline]
            fn from_bytes(bytes: &[u8], endian: Endian) -> Self {
                let mut own = [0; size_of::<$t>()];
                own.copy_from_slice(bytes);
                match endian {
                    Endian::Little => <$t>::from_le_bytes(own),
                    Endian::Big => <$t>::from_be_bytes(own),
                }
            }
            #[inline]
            fn append_little_endian(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn wrap(values: Vec<Self>) -> Voxels {
                Voxels::$variant(values)
            }
        }
    )*};
}
scalar!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64, f32 => F32, f64 => F64);

/// Calls a generic function with the Rust type of a [`ScalarType`].
macro_rules! with_type {
    ($scalar:expr, $t:ident => $body:expr) => {
        match $scalar {
            ScalarType::U8 => {
                type $t = u8;
                $body
            }
            ScalarType::I8 => {
                type $t = i8;
                $body
            }
            ScalarType::U16 => {
                type $t = u16;
                $body
            }
            ScalarType::I16 => {
                type $t = i16;
                $body
            }
            ScalarType::U32 => {
                type $t = u32;
                $body
            }
            ScalarType::I32 => {
                type $t = i32;
                $body
            }
            ScalarType::U64 => {
                type $t = u64;
                $body
            }
            ScalarType::I64 => {
                type $t = i64;
                $body
            }
            ScalarType::F32 => {
                type $t = f32;
                $body
            }
            ScalarType::F64 => {
                type $t = f64;
                $body
            }
        }
    };
}

/// Bytes converted at a time: the stored form of an image never lies in memory beside its values.
const CHUNK_BYTES: usize = 1 << 16;

/// Why values could not be read.
pub(crate) enum Shortage {
    /// The source ended after this many whole values.
    Ended(usize),
    /// The source failed.
    Failed(std::io::Error),
    /// A word of a text file is not a value of the type.
    NotANumber(String),
}

/// Reads `count` binary values. Memory is reserved for `expected` of them and then grows only with
/// what really arrives, so that a lying header cannot ask for more than its file can fill.
pub(crate) fn read_binary(
    source: &mut dyn Read,
    scalar: ScalarType,
    endian: Endian,
    count: usize,
    expected: usize,
) -> Result<Voxels, Shortage> {
    with_type!(scalar, T => read_values::<T>(source, endian, count, expected).map(T::wrap))
}

fn read_values<T: Scalar>(
    source: &mut dyn Read,
    endian: Endian,
    count: usize,
    expected: usize,
) -> Result<Vec<T>, Shortage> {
    let size = size_of::<T>();
    let mut values = Vec::with_capacity(expected.min(count));
    let mut chunk = vec![0; CHUNK_BYTES];
    while values.len() < count {
        let wanted = CHUNK_BYTES.min((count - values.len()) * size);
        let arrived = read_up_to(source, &mut chunk[..wanted]).map_err(Shortage::Failed)?;
        let whole = &chunk[..arrived - arrived % size];
        values.extend(whole.chunks_exact(size).map(|b| T::from_bytes(b, endian)));
        if arrived < wanted {
            return Err(Shortage::Ended(values.len()));
        }
    }
    Ok(values)
}

/// Fills `buffer` as far as the source reaches.
fn read_up_to(source: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Reads `count` values written as words of text.
pub(crate) fn parse_text(text: &str, scalar: ScalarType, count: usize) -> Result<Voxels, Shortage> {
    with_type!(scalar, T => parse_values::<T>(text, count).map(T::wrap))
}

fn parse_values<T: Scalar>(text: &str, count: usize) -> Result<Vec<T>, Shortage> {
    let mut values = Vec::new();
    for word in text.split_whitespace().take(count) {
        values.push(
            word.parse()
                .map_err(|_| Shortage::NotANumber(word.chars().take(40).collect()))?,
        );
    }
    if values.len() < count {
        return Err(Shortage::Ended(values.len()));
    }
    Ok(values)
}

/// Writes values in little-endian order.
pub(crate) fn write_binary(target: &mut dyn Write, voxels: &Voxels) -> std::io::Result<()> {
    fn write<T: Scalar>(target: &mut dyn Write, values: &[T]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        for chunk in values.chunks(CHUNK_BYTES / size_of::<T>()) {
            bytes.clear();
            chunk
                .iter()
                .for_each(|v| v.append_little_endian(&mut bytes));
            target.write_all(&bytes)?;
        }
        Ok(())
    }
    for_each_type!(voxels, values => write(target, values))
}
