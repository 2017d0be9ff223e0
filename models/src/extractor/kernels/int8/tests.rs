//! Convolutions in int8 against their definition in whole numbers, to the bit, for each instruction set of this machine.

use super::registers::ROUNDING;
use super::window::blocks;
use super::{MAX_DEPTH, pack, steps};
use crate::extractor::kernels::gemm::Tiling;
use crate::extractor::kernels::network::{Convolution, Network};
use crate::extractor::kernels::tests::{random_convolution, random_image, random_network, run};
use crate::extractor::kernels::{Isa, Plan, PlanOptions};
use crate::traits::ImageShape;
use ndarray::{Array1, Array3, Array4};
use proptest::prelude::*;

fn sets() -> impl Iterator<Item = Isa> {
    [Isa::Int8Vnni, Isa::Int8Amx].into_iter().filter(|isa| isa.is_available())
}

/// Rounded to bf16, ties away from zero, as maps hold values.
fn rounded(value: f32) -> f32 {
    f32::from_bits(value.to_bits().wrapping_add(0x8000) & 0xffff_0000)
}

/// Steps and their number for each channel's weights, `[out, in, y, x]`.
fn quantised_weights(convolution: &Convolution) -> (Vec<f32>, Array4<i64>) {
    let filters = convolution.weight.outer_iter();
    let greatest = filters.map(|filter| filter.iter().fold(0f32, |max, w| max.max(w.abs())));
    let scales: Vec<f32> = greatest.map(|greatest| greatest / 127.0).collect();
    let weights = Array4::from_shape_fn(convolution.weight.dim(), |at| match scales[at.0] {
        0.0 => 0,
        scale => (convolution.weight[at] / scale).round() as i64,
    });
    (scales, weights)
}

/// The definition; maps are `[channels, rows, columns]`.
fn convolve(
    convolution: &Convolution,
    input: &Array3<f32>,
    residual: Option<&Array3<f32>>,
    relu: bool,
) -> Array3<f32> {
    let (n_in, rows, columns) = input.dim();
    let (kernel, stride, pad) = (convolution.kernel(), convolution.stride, convolution.kernel() / 2);
    let (rows_out, columns_out) = (convolution.output_length(rows), convolution.output_length(columns));
    let (scales, weights) = quantised_weights(convolution);
    let mut output = Array3::zeros((convolution.n_out(), rows_out, columns_out));
    let tilings = match kernel {
        1 => [Tiling::new(rows_out, 1), Tiling::new(columns_out, 1)],
        _ => blocks(rows_out, columns_out),
    };
    let tiles = |tiling: Tiling| (0..tiling.count()).map(move |idx| tiling.tile(idx));
    for ((row, n_rows), (column, n_columns)) in
        tiles(tilings[0]).flat_map(|r| tiles(tilings[1]).map(move |c| (r, c)))
    {
        // Positions count from `pad` before the map; what lies outside of it is zero.
        let value = |channel: usize, y: usize, x: usize| {
            let inside = y >= pad && x >= pad && y - pad < rows && x - pad < columns;
            if inside { input[[channel, y - pad, x - pad]] } else { 0.0 }
        };
        let under = |first: usize, n: usize| first * stride..(first + n - 1) * stride + kernel;
        let mut greatest = 0f32;
        for y in under(row, n_rows) {
            for x in under(column, n_columns) {
                greatest = (0..n_in).fold(greatest, |max, channel| max.max(value(channel, y, x)));
            }
        }
        let [factor, worth] = steps(greatest);
        let quantised =
            |channel, y, x| i64::from(value(channel, y, x).mul_add(factor, ROUNDING).to_bits() & 0xff);
        for ((out, y, x), output) in output.indexed_iter_mut() {
            if !(row..row + n_rows).contains(&y) || !(column..column + n_columns).contains(&x) {
                continue;
            }
            let mut sum = 0;
            for ((channel, i, j), weight) in weights.index_axis(ndarray::Axis(0), out).indexed_iter() {
                sum += weight * quantised(channel, y * stride + i, x * stride + j);
            }
            let sum = i32::try_from(sum).expect("within what is added");
            let mut value = (sum as f32 * worth).mul_add(scales[out], convolution.bias[out]);
            value += residual.map_or(0.0, |map| map[[out, y, x]]);
            *output = rounded(if relu { value.max(0.0) } else { value });
        }
    }
    output
}

/// The maps after each stage, from the pooled one on.
fn stages(network: &Network, pooled: Array3<f32>) -> Vec<Array3<f32>> {
    let mut map = pooled;
    let mut maps = Vec::new();
    for stage in &network.stages {
        for block in stage {
            let inner = convolve(&block.spatial, &convolve(&block.reduce, &map, None, true), None, true);
            let shortcut = block.shortcut.as_ref().map(|shortcut| convolve(shortcut, &map, None, false));
            map = convolve(&block.expand, &inner, Some(shortcut.as_ref().unwrap_or(&map)), true);
        }
        maps.push(map.clone());
    }
    maps
}

/// Compares all maps of `network` after the pool.
fn check(network: &Network, image: &Array3<f32>) {
    let (_, rows, columns) = image.dim();
    let taps: Vec<usize> = (0..=network.stages.len()).collect();
    let half = |length: usize| length.div_ceil(2).div_ceil(2);
    let mut wanted: Option<Vec<Array3<f32>>> = None;
    for isa in sets() {
        let mut found = run(network, image, isa, 2, &taps);
        let pooled = found.remove(0).into_raw_vec_and_offset().0;
        let shape = (network.stem.n_out(), half(rows), half(columns));
        let pooled = Array3::from_shape_vec(shape, pooled).unwrap();
        assert!(pooled.iter().all(|&value| rounded(value) == value));
        let wanted = wanted.get_or_insert_with(|| stages(network, pooled));
        for (stage, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let wanted = Array1::from_iter(wanted.iter().copied());
            assert_eq!(found, &wanted, "{isa:?}, after stage {}", stage + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_network_in_int8_is_its_definition_in_whole_numbers_to_the_bit(
        seed in any::<u64>(),
        channels in 1usize..20,
        rows in 1usize..100,
        columns in 1usize..100,
        early in any::<bool>(),
    ) {
        check(&random_network(seed, channels, &[2, 1], 3, early), &random_image(seed, rows, columns));
    }
}

#[test]
fn maps_of_several_blocks_and_pixels_of_a_page_are_those_of_the_definition() {
    check(&random_network(1, 8, &[1, 1], 7, false), &random_image(2, 71, 601));
    check(&random_network(3, 80, &[1], 3, true), &random_image(4, 50, 39));
    // 2,048 channels fill a page.
    check(&random_network(5, 256, &[1, 1], 1, false), &random_image(6, 9, 13));
}

#[test]
fn sums_of_the_greatest_steps_do_not_saturate() {
    let mut network = random_network(1, 64, &[2], 1, false);
    for block in &mut network.stages[0] {
        let shortcut = block.shortcut.iter_mut();
        for layer in [&mut block.reduce, &mut block.spatial, &mut block.expand].into_iter().chain(shortcut) {
            // Every weight is 127 steps or, in every second channel, as many below zero.
            layer
                .weight
                .indexed_iter_mut()
                .for_each(|((out, ..), w)| *w = if out % 2 == 0 { 1e-3 } else { -1e-3 });
        }
    }
    network.stem.weight.fill(1.0);
    check(&network, &Array3::from_elem((3, 21, 33), 255.0));
}

#[test]
fn filters_and_maps_of_zeros_give_the_bias() {
    let mut network = random_network(1, 16, &[1], 1, false);
    let block = &mut network.stages[0][0];
    block.reduce.weight.fill(0.0);
    block.spatial.weight.index_axis_mut(ndarray::Axis(0), 3).fill(0.0);
    network.stem.weight.fill(0.0);
    network.stem.bias.fill(0.0);
    check(&network, &random_image(1, 9, 40));
}

#[test]
fn a_weight_that_is_not_finite_makes_features_that_are_not() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut network = random_network(1, 16, &[1], 1, false);
        network.stages[0][0].expand.weight[[3, 2, 0, 0]] = wrong;
        for isa in sets() {
            let found = &run(&network, &random_image(1, 9, 40), isa, 1, &[1])[0];
            assert!(found.iter().any(|value| !value.is_finite()), "{isa:?}: {wrong}");
        }
    }
}

#[test]
fn a_network_whose_sums_could_overflow_is_refused() {
    let mut rng = crate::rng::Rng::new(1);
    let mut network = random_network(1, 1, &[1], 1, false);
    let n = MAX_DEPTH / 9 + 64;
    let block = &mut network.stages[0][0];
    block.reduce = random_convolution(&mut rng, n, 1, 1, 1);
    block.spatial = random_convolution(&mut rng, 1, n, 3, 1);
    network.check().unwrap();
    for isa in sets() {
        let options = PlanOptions { taps: vec![1], n_threads: 1, isa };
        let shape = ImageShape { channels: 3, rows: 2, columns: 2 };
        let error = Plan::compile(&network, shape, &options).unwrap_err().to_string();
        assert!(error.contains("products in a sum"), "{error}");
    }
}

#[test]
fn weights_are_packed_as_activations_are_quantised() {
    let packed = pack(64, 40, 32, &|k, j| (k as f32 - 32.0) + 0.0 * j as f32);
    assert_eq!(packed.len(), 64 / 4 * 64);
    for (at, word) in packed.iter().enumerate() {
        let (word_idx, column) = (at % (16 * 32) / 32, at / (16 * 32) * 32 + at % 32);
        for (part, byte) in word.to_bits().to_le_bytes().into_iter().enumerate() {
            let wanted = if column < 40 { (part * 16 + word_idx) as i32 - 32 } else { 0 };
            assert_eq!(i32::from(byte as i8), wanted, "word {word_idx}, column {column}, part {part}");
        }
    }
}
