//! Which fragments of encapsulated pixel data (PS3.5, A.4) belong to which frame.

use std::io::{Read, Seek, SeekFrom};

use super::super::dataset::Source;
use super::super::frame::Pixels;

/// A run of bytes of the (inflated) file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub offset: u64,
    pub length: u64,
}

const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];
const END: [u8; 4] = [0xfe, 0xff, 0xdd, 0xe0];

/// The fragments of each frame of a file.
pub(super) fn of_frames(
    source: &mut Source,
    pixels: &Pixels,
    length: u64,
) -> Result<Vec<Vec<Span>>, String> {
    let (table, fragments) = list(source, pixels.place.offset, length)?;
    let table = if pixels.extended_offsets.len() == pixels.frames {
        pixels.extended_offsets.clone()
    } else {
        table
    };
    assign(&fragments, &table, pixels.frames)
}

/// Walks the items: the basic offset table, then the fragments.
fn list(source: &mut Source, start: u64, length: u64) -> Result<(Vec<u64>, Vec<Span>), String> {
    let cut_off = |at: u64| {
        format!(
            "the file is cut off: no fragment of the pixels can be read at byte {at}; copy or export it again"
        )
    };
    let mut at = start;
    let mut spans: Vec<Span> = Vec::new();
    loop {
        let mut head = [0; 8];
        source
            .seek(SeekFrom::Start(at))
            .and_then(|_| source.read_exact(&mut head))
            .map_err(|_| cut_off(at))?;
        let [a, b, c, d, e, f, g, h] = head;
        let bytes = u64::from(u32::from_le_bytes([e, f, g, h]));
        match [a, b, c, d] {
            END => break,
            ITEM if at + 8 + bytes <= length => spans.push(Span {
                offset: at + 8,
                length: bytes,
            }),
            _ => return Err(cut_off(at)),
        }
        at += 8 + bytes;
    }
    let Some(table) = spans.first().copied() else {
        return Err("its pixels have no offset table; export the series again".into());
    };
    let fragments = spans.split_off(1);
    let mut bytes = Vec::new();
    source
        .seek(SeekFrom::Start(table.offset))
        .and_then(|_| source.take(table.length).read_to_end(&mut bytes))
        .map_err(|_| cut_off(table.offset))?;
    let table = bytes
        .chunks_exact(4)
        .filter_map(|chunk| chunk.first_chunk())
        .map(|chunk| u64::from(u32::from_le_bytes(*chunk)))
        .collect();
    Ok((table, fragments))
}

/// Gives each frame its fragments: all to a single frame, one to each where the numbers agree, or
/// by the offset table, whose entries count from the first fragment's item.
fn assign(fragments: &[Span], table: &[u64], frames: usize) -> Result<Vec<Vec<Span>>, String> {
    let Some(first) = fragments.first() else {
        return Err("its pixels have no fragment; export the series again".into());
    };
    if frames == 1 {
        return Ok(vec![fragments.to_vec()]);
    }
    if fragments.len() == frames {
        return Ok(fragments.iter().map(|span| vec![*span]).collect());
    }
    let unclear = || {
        format!(
            "{} fragments belong to {frames} frames, and the offset table does not say which to which; export the series again",
            fragments.len()
        )
    };
    if table.len() != frames || fragments.len() < frames {
        return Err(unclear());
    }
    let start_of = |span: &Span| span.offset - first.offset;
    let mut found = vec![Vec::new(); frames];
    for span in fragments {
        let at = start_of(span);
        let frame = table.partition_point(|&offset| offset <= at);
        let frame = frame.checked_sub(1).ok_or_else(unclear)?;
        found[frame].push(*span);
    }
    if found.iter().any(Vec::is_empty) {
        return Err(unclear());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: u64, length: u64) -> Span {
        Span { offset, length }
    }

    #[test]
    fn fragments_go_to_their_frames() {
        let four = [span(108, 10), span(126, 10), span(144, 10), span(162, 4)];
        assert_eq!(assign(&four, &[], 1).unwrap(), [four.to_vec()]);
        assert_eq!(assign(&four, &[], 4).unwrap().len(), 4);
        let two = assign(&four, &[0, 18], 2).unwrap();
        assert_eq!(two, [four[..1].to_vec(), four[1..].to_vec()]);
        for table in [&[][..], &[0, 999], &[1, 18]] {
            assert!(assign(&four, table, 2).is_err(), "{table:?}");
        }
        assert!(assign(&[], &[], 1).is_err());
    }
}
