//! Transfer syntaxes (PS3.5 and PS3.6, table A-1): how the data set and its pixels are written.

use dicom_core::VR;
use dicom_dictionary_std::uids;
use dicom_transfer_syntax_registry::{
    TransferSyntax, TransferSyntaxIndex, TransferSyntaxRegistry, entries,
};

/// Explicit VR Big Endian, retired in 2006 and still met in archives.
const BIG_ENDIAN: &str = entries::EXPLICIT_VR_BIG_ENDIAN.uid();

/// How the elements of a data set are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    ImplicitLittle,
    ExplicitLittle,
    ExplicitBig,
    /// Explicit little endian, packed by deflate as a whole.
    Deflated,
}

impl Encoding {
    /// The definition that decodes the elements (of the inflated data set).
    pub fn definition(self) -> &'static TransferSyntax {
        let uid = match self {
            Self::ImplicitLittle => uids::IMPLICIT_VR_LITTLE_ENDIAN,
            Self::ExplicitLittle | Self::Deflated => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            Self::ExplicitBig => BIG_ENDIAN,
        };
        // The three base syntaxes are part of every registry.
        TransferSyntaxRegistry
            .get(uid)
            .unwrap_or_else(|| panic!("{uid} is not in the registry"))
    }
}

/// How the pixels of a frame are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// Values one after the other.
    Native,
    Rle,
    /// JPEG with 8-bit samples, or lossless with up to 16.
    Jpeg,
    Jpeg2000,
    /// A way that no decoder here knows.
    Unsupported,
}

/// A transfer syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Syntax {
    /// Its UID; empty when the file states none.
    pub uid: String,
    pub name: String,
    pub encoding: Encoding,
    pub packing: Packing,
}

impl Syntax {
    /// The syntax a file states, or the one its first element `first` shows when it states none.
    ///
    /// As pydicom does, an explicit syntax that is stated over an implicit data set, or the other
    /// way round, gives way to what the bytes show.
    pub fn of(stated: Option<&str>, first: &[u8]) -> Self {
        let shown = shown(first);
        let Some(uid) = stated else {
            let encoding = shown.unwrap_or(Encoding::ImplicitLittle);
            return Self {
                uid: String::new(),
                name: format!("{} (not stated)", encoding.definition().name()),
                encoding,
                packing: Packing::Native,
            };
        };
        let known = TransferSyntaxRegistry.get(uid);
        let name = match (uid, known) {
            (uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, _) => {
                "Deflated Explicit VR Little Endian".to_owned()
            }
            (_, Some(syntax)) => syntax.name().to_owned(),
            (_, None) => format!("transfer syntax {uid}"),
        };
        let encoding = match uid {
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Encoding::Deflated,
            BIG_ENDIAN => Encoding::ExplicitBig,
            uids::IMPLICIT_VR_LITTLE_ENDIAN => Encoding::ImplicitLittle,
            _ => Encoding::ExplicitLittle,
        };
        let encoding = match (encoding, shown) {
            (Encoding::ExplicitLittle, Some(Encoding::ImplicitLittle)) => Encoding::ImplicitLittle,
            (Encoding::ImplicitLittle, Some(Encoding::ExplicitLittle)) => Encoding::ExplicitLittle,
            (stated, _) => stated,
        };
        Self {
            packing: packing(uid),
            uid: uid.to_owned(),
            name,
            encoding,
        }
    }
}

/// What the first element of a data set shows of its encoding.
fn shown(first: &[u8]) -> Option<Encoding> {
    let [a, b, _, _, e, f, _, _] = *first.first_chunk::<8>()?;
    let explicit = VR::from_binary([e, f]).is_some();
    Some(match (a, b) {
        // Group numbers of a first element are small: big endian shows in the first byte.
        (0, 1..) if explicit => Encoding::ExplicitBig,
        _ if explicit => Encoding::ExplicitLittle,
        _ => Encoding::ImplicitLittle,
    })
}

fn packing(uid: &str) -> Packing {
    match uid {
        uids::IMPLICIT_VR_LITTLE_ENDIAN
        | uids::EXPLICIT_VR_LITTLE_ENDIAN
        | BIG_ENDIAN
        | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => Packing::Native,
        uids::RLE_LOSSLESS => Packing::Rle,
        uids::JPEG_BASELINE8_BIT
        | uids::JPEG_EXTENDED12_BIT
        | uids::JPEG_LOSSLESS
        | uids::JPEG_LOSSLESS_SV1 => Packing::Jpeg,
        uids::JPEG2000_LOSSLESS | uids::JPEG2000 => Packing::Jpeg2000,
        _ => Packing::Unsupported,
    }
}

/// The syntax this crate writes.
pub(super) const WRITTEN: &str = entries::EXPLICIT_VR_LITTLE_ENDIAN.uid();
