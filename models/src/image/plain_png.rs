//! The pixels of a plain PNG: grey or RGB, 8 bits a sample, not interlaced, as solvers' plots are. Chunks and inflation are those of the crate
//! `png`; its rows are put together here, in half the time: most of a plot's residuals are zero.

use png::chunk::IEND;
use png::{BitDepth, ColorType, DecodeOptions, Decoded, StreamingDecoder, UnfilterRegion};

/// Bytes that an inflater may refer back to.
const LOOK_BACK: usize = 32 << 10;
/// Inflated bytes that are looked at together: they stay in a core's cache.
const BATCH: usize = 128 << 10;
/// Pixels of a row that are looked at together.
const BLOCK: usize = 16;

/// Decodes the samples, `[rows, columns, channels]`; `None` if the file is not a plain one, or anything about it is wrong: another decoder
/// says what.
pub(super) fn samples(bytes: &[u8], dim: [usize; 3]) -> Option<Vec<u8>> {
    let [rows, columns, channels] = dim;
    let row_bytes = columns * channels;
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = StreamingDecoder::new_with_options(options);
    let (mut input, mut is_plain, mut n_idle) = (bytes, false, 0);
    let mut region = UnfilterRegion::default();
    let mut inflated = vec![0; LOOK_BACK + BATCH + 2 * (row_bytes + 1)];
    // From where on it has not been looked at.
    let mut at = 0;
    let mut samples = Vec::with_capacity(rows * row_bytes);
    loop {
        if region.filled + BATCH / 2 > inflated.len() {
            let gone = at.min(region.available);
            inflated.copy_within(gone..region.filled, 0);
            at -= gone;
            region.available -= gone;
            region.filled -= gone;
        }
        let filled = region.filled;
        let (n_read, event) = decoder.update(input, Some(&mut region.as_buf(&mut inflated))).ok()?;
        input = &input[n_read..];
        n_idle = if n_read == 0 && region.filled == filled { n_idle + 1 } else { 0 };
        if !is_plain && let Some(info) = decoder.info() {
            let colour = if channels == 3 { ColorType::Rgb } else { ColorType::Grayscale };
            let is_other = info.bit_depth != BitDepth::Eight || info.interlaced || info.color_type != colour;
            if is_other || info.size() != (columns as u32, rows as u32) {
                return None;
            }
            is_plain = true;
        }
        while region.filled - at > row_bytes && samples.len() < rows * row_bytes {
            let (filter, residuals) = inflated[at..=at + row_bytes].split_first()?;
            let start = samples.len();
            samples.extend_from_slice(residuals);
            let (before, row) = samples.split_at_mut(start);
            let above = &before[start.saturating_sub(row_bytes)..];
            match channels {
                3 => unfilter::<3>(*filter, above, row)?,
                1 => unfilter::<1>(*filter, above, row)?,
                _ => return None,
            }
            at += row_bytes + 1;
        }
        if matches!(event, Decoded::ChunkComplete(IEND)) {
            return (samples.len() == rows * row_bytes).then_some(samples);
        }
        if samples.len() == rows * row_bytes {
            // What comes after the last row is only checked.
            at = region.filled;
        }
        // The end without its chunk, or nothing to go on with.
        if n_idle > 4 || input.is_empty() {
            return None;
        }
    }
}

/// Makes a row of `N` bytes a pixel from its residuals (PNG specification, section 9); `above` is empty for the first. `None` for a filter that there is not.
fn unfilter<const N: usize>(filter: u8, above: &[u8], row: &mut [u8]) -> Option<()> {
    match filter {
        0 => {}
        1 => left::<N>(row),
        2 => row.iter_mut().zip(above).for_each(|(value, &above)| *value = value.wrapping_add(above)),
        3 => average::<N>(above, row),
        // With nothing above, what is on the left is nearest.
        4 if above.is_empty() => left::<N>(row),
        4 => paeth::<N>(above, row),
        _ => return None,
    }
    Some(())
}

fn left<const N: usize>(row: &mut [u8]) {
    let mut left = [0u8; N];
    for pixel in row.as_chunks_mut::<N>().0 {
        for (value, left) in pixel.iter_mut().zip(&mut left) {
            *left = value.wrapping_add(*left);
            *value = *left;
        }
    }
}

fn average<const N: usize>(above: &[u8], row: &mut [u8]) {
    let mut left = [0u8; N];
    for (idx, pixel) in row.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        for (channel, (value, left)) in pixel.iter_mut().zip(&mut left).enumerate() {
            let above = above.get(idx * N + channel).copied().unwrap_or(0);
            *left = value.wrapping_add(((u16::from(*left) + u16::from(above)) / 2) as u8);
            *value = *left;
        }
    }
}

fn paeth<const N: usize>(above: &[u8], row: &mut [u8]) {
    let (mut left, mut corner) = ([0u8; N], [0u8; N]);
    let blocks = row.chunks_mut(BLOCK * N).zip(above.chunks(BLOCK * N));
    for (block, above) in blocks {
        // Where a pixel is like the one above it, the next is predicted to be so too; and so on, until there is a residual.
        if left == corner && block.iter().fold(0, |any, &value| any | value) == 0 {
            block.copy_from_slice(above);
            if let Some(last) = above.last_chunk::<N>() {
                (left, corner) = (*last, *last);
            }
            continue;
        }
        for (pixel, above) in block.as_chunks_mut::<N>().0.iter_mut().zip(above.as_chunks::<N>().0) {
            for i in 0..N {
                pixel[i] = pixel[i].wrapping_add(predicted(left[i], above[i], corner[i]));
            }
            (left, corner) = (*pixel, *above);
        }
    }
}

/// That of left, above and corner which is nearest to left + above - corner; of equally near ones the first. With the arithmetic of stb_image.
#[inline(always)]
fn predicted(left: u8, above: u8, corner: u8) -> u8 {
    let [left, above, corner] = [left, above, corner].map(i16::from);
    let threshold = corner * 3 - (left + above);
    let (low, high) = (left.min(above), left.max(above));
    let nearest = if high <= threshold { low } else { corner };
    (if threshold <= low { high } else { nearest }) as u8
}

#[cfg(test)]
#[path = "plain_png_tests.rs"]
mod tests;
