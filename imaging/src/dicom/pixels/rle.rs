//! RLE Lossless (PS3.5, annex G): byte planes, each packed by PackBits.

use super::Layout;

/// Bytes of the header: the number of segments and fifteen offsets.
const HEADER: usize = 64;

/// The stored values of a frame.
pub(super) fn decode(bytes: &[u8], layout: Layout) -> Result<Vec<i64>, String> {
    let planes = layout.bits_allocated as usize / 8;
    let word = |n: usize| {
        bytes
            .get(4 * n..4 * n + 4)
            .and_then(|b| b.first_chunk())
            .map(|b| u32::from_le_bytes(*b) as usize)
            .ok_or("the RLE header is cut off")
    };
    let stated = word(0)?;
    if stated != planes || bytes.len() < HEADER {
        return Err(format!("{stated} RLE segments, {planes} are needed"));
    }
    let mut words = vec![0_u32; layout.len()];
    for plane in 0..planes {
        let start = word(1 + plane)?;
        let end = if plane + 1 < planes {
            word(2 + plane)?
        } else {
            bytes.len()
        };
        let segment = bytes
            .get(start.max(HEADER)..end)
            .ok_or("the RLE segments do not lie behind one another")?;
        let found = unpack(segment, |at, byte| {
            if let Some(word) = words.get_mut(at) {
                *word = *word << 8 | u32::from(byte);
            }
        });
        // An odd plane may end in one more byte.
        if found < layout.len() {
            return Err(format!(
                "RLE segment {} holds {found} of {} bytes",
                plane + 1,
                layout.len()
            ));
        }
    }
    Ok(words.into_iter().map(|word| layout.value(word)).collect())
}

/// Unpacks PackBits and returns the number of bytes.
fn unpack(segment: &[u8], mut put: impl FnMut(usize, u8)) -> usize {
    let mut rest = segment;
    let mut at = 0;
    while let [code, following @ ..] = rest {
        let code = i16::from(*code as i8);
        match code {
            0.. => {
                let (literal, after) = following.split_at(following.len().min(code as usize + 1));
                for &byte in literal {
                    put(at, byte);
                    at += 1;
                }
                rest = after;
            }
            // -128 does nothing.
            -128 => rest = following,
            _ => {
                let [byte, after @ ..] = following else { break };
                for _ in 0..=-code {
                    put(at, *byte);
                    at += 1;
                }
                rest = after;
            }
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_packbits_is_unpacked() {
        // Apple, Technical Note TN1023.
        let packed = [
            0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7,
            0xaa,
        ];
        let mut bytes = Vec::new();
        assert_eq!(unpack(&packed, |_, byte| bytes.push(byte)), 24);
        let mut expected = vec![0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a];
        expected.extend([0xaa; 4]);
        expected.extend([0x80, 0x00, 0x2a, 0x22]);
        expected.extend([0xaa; 10]);
        assert_eq!(bytes, expected);
        assert_eq!(unpack(&[0x80, 0x00, 0x07, 0x05], |_, _| ()), 1);
    }
}
