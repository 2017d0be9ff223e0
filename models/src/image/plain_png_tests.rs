use super::*;
use crate::rng::Rng;
use png::{Encoder, Filter};
use proptest::prelude::*;

const FILTERS: [Filter; 6] =
    [Filter::NoFilter, Filter::Sub, Filter::Up, Filter::Avg, Filter::Paeth, Filter::Adaptive];

/// A file of samples that are noise, flat, or rise, in stretches.
fn file([rows, columns, channels]: [usize; 3], filter: Filter, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut rng = Rng::new(seed);
    let mut kind = 0;
    let mut level = vec![0u8; channels];
    let mut samples = Vec::with_capacity(rows * columns * channels);
    for pixel in 0..rows * columns {
        if rng.below(70) == 0 {
            kind = rng.below(4);
        }
        for (channel, level) in level.iter_mut().enumerate() {
            *level = match kind {
                0 => rng.below(256) as u8,
                1 => *level,
                2 => level.wrapping_add(channel as u8 + 1),
                // As above, where there is a row above.
                _ if pixel >= columns => samples[(pixel - columns) * channels + channel],
                _ => 7,
            };
            samples.push(*level);
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, columns as u32, rows as u32);
    encoder.set_color(if channels == 3 { ColorType::Rgb } else { ColorType::Grayscale });
    encoder.set_depth(BitDepth::Eight);
    encoder.set_filter(filter);
    encoder.write_header().unwrap().write_image_data(&samples).unwrap();
    (bytes, samples)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn samples_are_those_that_were_written_by_any_filter(
        rows in 1usize..40, columns in 1usize..90, is_grey in any::<bool>(), filter in 0usize..6, seed in any::<u64>()
    ) {
        let dim = [rows, columns, if is_grey { 1 } else { 3 }];
        let (bytes, wanted) = file(dim, FILTERS[filter], seed);
        prop_assert_eq!(samples(&bytes, dim), Some(wanted));
    }
}

#[test]
fn images_larger_than_what_is_looked_at_together_are_whole() {
    for (dim, filter) in [
        ([700, 900, 3], Filter::Paeth),
        ([900, 700, 3], Filter::Up),
        ([3, 200_000, 3], Filter::Paeth),
        ([3000, 1, 1], Filter::Avg),
    ] {
        let (bytes, wanted) = file(dim, filter, 5);
        assert!(samples(&bytes, dim) == Some(wanted), "{dim:?}");
    }
}

#[test]
fn file_that_is_cut_or_damaged_gives_no_other_samples() {
    let dim = [12, 31, 3];
    let (bytes, wanted) = file(dim, Filter::Paeth, 8);
    for end in 0..bytes.len() {
        assert_eq!(samples(&bytes[..end], dim), None, "{end} of {} bytes", bytes.len());
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let found = samples(&damaged, dim);
        assert!(found.is_none() || found.as_ref() == Some(&wanted), "byte {at}");
    }
    assert_eq!(samples(&bytes, [12, 30, 3]), None);
    assert_eq!(samples(&bytes, [12, 31, 1]), None);
}

#[test]
fn another_decoder_is_left_what_is_not_plain() {
    let of = |colour, depth, data: &[u8]| {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 4, 2);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        encoder.set_palette(vec![9; 12]);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        bytes
    };
    let plain = of(ColorType::Rgb, BitDepth::Eight, &[5; 24]);
    assert_eq!(samples(&plain, [2, 4, 3]), Some(vec![5; 24]));
    assert_eq!(samples(&of(ColorType::Indexed, BitDepth::Eight, &[1; 8]), [2, 4, 3]), None);
    assert_eq!(samples(&of(ColorType::Rgb, BitDepth::Sixteen, &[1; 48]), [2, 4, 3]), None);
    assert_eq!(samples(&of(ColorType::Rgba, BitDepth::Eight, &[1; 32]), [2, 4, 3]), None);
    assert_eq!(samples(b"no image", [2, 4, 3]), None);
}
