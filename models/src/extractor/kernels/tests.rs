//! The kernels against the definition of a convolution in float64, for every instruction set of this machine.

use super::arena::Buffer;
use super::convolution::{Chain, GemmConvolution};
use super::isa::{Isa, Kernels};
use super::map::Map;
use super::max_pool::Row;
use super::network::{Bottleneck, Convolution, InputChannel, Network};
use super::plan::{Plan, PlanOptions};
#[cfg(target_arch = "x86_64")]
use super::split::{GROUP, encode};
use super::tap::Tap;
use super::team::Team;
use super::winograd::Winograd;
use super::winograd::method::Method;
use crate::rng::Rng;
use crate::traits::ImageShape;
use ndarray::{Array1, Array3, Array4};
use proptest::prelude::*;

/// The greatest error of a kernel relative to the greatest output: rounding of some thousand sums, with room.
const TOLERANCE: f64 = 3e-6;
/// The same where values are sums of two bf16.
const TOLERANCE_SPLIT: f64 = 3e-5;
/// And after a chain of layers.
const TOLERANCE_SPLIT_NETWORK: f64 = 1e-4;
/// The same where values are bf16, rounded by 2^-9 of themselves.
const TOLERANCE_BF16: f64 = 1e-2;
const TOLERANCE_BF16_NETWORK: f64 = 5e-2;
/// The same where weights and what they meet are rounded to 8 bits.
const TOLERANCE_INT8_NETWORK: f64 = 5e-2;
/// The same after Winograd's transforms at stride 1, which lose some bits.
const TOLERANCE_WINOGRAD: f64 = 2e-5;
/// And after a chain of layers, relative to the greatest sum before the last ReLU.
const TOLERANCE_NETWORK: f64 = 8e-6;

/// All sets of this machine, with those that are only taken when asked for.
fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    sets.extend([Isa::AmxBf16, Isa::Int8Vnni, Isa::Int8Amx].into_iter().filter(|isa| isa.is_available()));
    sets
}

fn uniform(rng: &mut Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0
}

fn random_map(rng: &mut Rng, shape: (usize, usize, usize)) -> Array3<f32> {
    Array3::from_shape_simple_fn(shape, || uniform(rng))
}

/// A convolution with weights that keep the scale of its input.
pub(super) fn random_convolution(
    rng: &mut Rng,
    n_out: usize,
    n_in: usize,
    kernel: usize,
    stride: usize,
) -> Convolution {
    let scale = (6.0 / (n_in * kernel * kernel) as f32).sqrt();
    let weight = Array4::from_shape_simple_fn((n_out, n_in, kernel, kernel), || scale * uniform(rng));
    let bias = (0..n_out).map(|_| 0.1 * uniform(rng)).collect();
    Convolution::new(weight, bias, stride).unwrap()
}

/// The definition; maps are `[channels, rows, columns]`.
fn naive(convolution: &Convolution, input: &Array3<f64>) -> Array3<f64> {
    let (n_in, rows, columns) = input.dim();
    let (kernel, stride) = (convolution.kernel(), convolution.stride);
    let shape = (convolution.n_out(), convolution.output_length(rows), convolution.output_length(columns));
    Array3::from_shape_fn(shape, |(out, row, column)| {
        let mut sum = f64::from(convolution.bias[out]);
        for y in 0..kernel {
            for x in 0..kernel {
                let (y_in, x_in) = (row * stride + y, column * stride + x);
                if y_in < kernel / 2
                    || x_in < kernel / 2
                    || y_in - kernel / 2 >= rows
                    || x_in - kernel / 2 >= columns
                {
                    continue;
                }
                for channel in 0..n_in {
                    let value = input[[channel, y_in - kernel / 2, x_in - kernel / 2]];
                    sum += f64::from(convolution.weight[[out, channel, y, x]]) * value;
                }
            }
        }
        sum
    })
}

fn naive_pool(input: &Array3<f64>) -> Array3<f64> {
    let (channels, rows, columns) = input.dim();
    Array3::from_shape_fn((channels, (rows - 1) / 2 + 1, (columns - 1) / 2 + 1), |(c, y, x)| {
        let near = |at: usize, length: usize| (2 * at).saturating_sub(1)..(2 * at + 2).min(length);
        let mut greatest = f64::NEG_INFINITY;
        for row in near(y, rows) {
            for column in near(x, columns) {
                greatest = greatest.max(input[[c, row, column]]);
            }
        }
        greatest
    })
}

/// All feature maps of a network, by the definition, each with the greatest of the sums that it is left of after the last ReLU.
fn naive_network(network: &Network, image: &Array3<f32>) -> Vec<(Array3<f64>, f64)> {
    let (_, rows, columns) = image.dim();
    let relu = |map: Array3<f64>| map.mapv(|value| value.max(0.0));
    let input = Array3::from_shape_fn((network.input.len(), rows, columns), |(c, y, x)| {
        let channel = network.input[c];
        f64::from(channel.scale) * f64::from(image[[channel.source, y, x]]) + f64::from(channel.shift)
    });
    let mut sums = naive(&network.stem, &input);
    let mut map = naive_pool(&relu(sums.clone()));
    let mut maps = vec![(map.clone(), greatest(&sums))];
    for stage in &network.stages {
        for block in stage {
            let inner = relu(naive(&block.spatial, &relu(naive(&block.reduce, &map))));
            let shortcut = block.shortcut.as_ref().map_or(map.clone(), |shortcut| naive(shortcut, &map));
            sums = naive(&block.expand, &inner) + shortcut;
            map = relu(sums.clone());
        }
        maps.push((map.clone(), greatest(&sums)));
    }
    maps
}

/// The greatest magnitude.
fn greatest(values: &Array3<f64>) -> f64 {
    values.iter().fold(1e-30, |max: f64, value| max.max(value.abs()))
}

/// The greatest difference, relative to the greatest value wanted.
fn error<'a>(found: impl IntoIterator<Item = &'a f32>, wanted: &Array3<f64>) -> f64 {
    error_beside(found, wanted, greatest(wanted))
}

/// The greatest difference, relative to `greatest`.
fn error_beside<'a>(found: impl IntoIterator<Item = &'a f32>, wanted: &Array3<f64>, greatest: f64) -> f64 {
    found.into_iter().zip(wanted).fold(0.0, |max: f64, (&f, w)| max.max((f64::from(f) - w).abs())) / greatest
}

/// A map in an arena, filled from `[channels, rows, columns]`.
fn place(kernels: &Kernels, arena: &Buffer, map: &Map, values: &Array3<f32>) {
    for (y, x) in (0..map.rows).flat_map(|y| (0..map.columns).map(move |x| (y, x))) {
        let mut pixel: Vec<f32> = values.slice(ndarray::s![.., y, x]).to_vec();
        pixel.resize(pixel.len().next_multiple_of(kernels.panel), 0.0);
        #[cfg(target_arch = "x86_64")]
        if kernels.decode.is_some() {
            let groups = pixel.chunks_exact(GROUP).map(|group| encode(group.try_into().unwrap()));
            pixel = groups.flat_map(|words| words.into_iter().take(kernels.held)).collect();
        }
        // SAFETY: the test owns the arena and laid the map out in it.
        unsafe { arena.at(map.at(y, x)).copy_from_nonoverlapping(pixel.as_ptr(), map.channels) };
    }
}

/// What a map holds, `[channels, rows, columns]`.
fn take(kernels: &Kernels, arena: &Buffer, map: &Map, channels: usize) -> Array3<f32> {
    let mut values = vec![0f32; channels * map.rows * map.columns];
    // SAFETY: the test owns the arena and laid the map out in it.
    unsafe { Tap::new(*map, channels).run(kernels, &mut Team::new(1).unwrap(), arena, &mut values) };
    Array3::from_shape_vec((channels, map.rows, map.columns), values).unwrap()
}

/// One convolution by `GemmConvolution` and, at 3 x 3, by `Winograd`, on every instruction set, against the definition.
fn check_convolution(
    seed: u64,
    [n_out, n_in, rows, columns]: [usize; 4],
    kernel: usize,
    stride: usize,
    residual: bool,
) {
    let mut rng = Rng::new(seed);
    let convolution = random_convolution(&mut rng, n_out, n_in, kernel, stride);
    let input = random_map(&mut rng, (n_in, rows, columns));
    let mut wanted = naive(&convolution, &input.mapv(f64::from));
    let added = random_map(&mut rng, wanted.dim());
    if residual {
        wanted = (wanted + added.mapv(f64::from)).mapv(|value| value.max(0.0));
    }
    let border = kernel / 2;
    for isa in sets() {
        let kernels: &Kernels = isa.kernels().unwrap();
        if kernels.int8.is_some() {
            // Those have a definition of their own, and maps without a sign.
            continue;
        }
        let pad = |channels: usize| kernels.words(channels);
        let from = Map { offset: 0, rows, columns, channels: pad(n_in), border };
        let (_, rows_out, columns_out) = wanted.dim();
        let to = Map {
            offset: from.length(),
            rows: rows_out,
            columns: columns_out,
            channels: pad(n_out),
            border: 0,
        };
        let shortcut = Map { offset: to.offset + to.length(), ..to };
        let arena = Buffer::zeros(shortcut.offset + shortcut.length() + from.beyond());
        place(kernels, &arena, &from, &input);
        place(kernels, &arena, &shortcut, &added);
        let mut team = Team::new(2).unwrap();
        let part =
            GemmConvolution::new(&convolution, kernels, from, to, residual.then_some(shortcut), residual);
        let layer = Chain::new(kernels, part);
        // SAFETY: the maps were laid out in this arena above.
        unsafe { layer.run(kernels, &mut team, &arena) };
        let found = error(&take(kernels, &arena, &to, n_out), &wanted);
        let tolerance = match isa {
            Isa::Amx => TOLERANCE_SPLIT,
            Isa::AmxBf16 => TOLERANCE_BF16,
            _ => TOLERANCE,
        };
        assert!(found < tolerance, "{isa:?}: relative error {found:e}");
        if kernel == 3 && !residual && kernels.winograd.is_some() {
            for method in Method::all(stride) {
                let layer = Winograd::by(*method, &convolution, kernels, [from, to], false);
                let [each, all] = layer.scratch(kernels);
                let scratch = Buffer::zeros(all.max(each * team.n_threads()));
                // SAFETY: the maps were laid out in this arena above, and the scratch memory as the layer asks.
                unsafe { layer.run(kernels, &mut team, &arena, (&scratch, each)) };
                let found = error(&take(kernels, &arena, &to, n_out), &wanted);
                let tolerance = if stride == 1 { TOLERANCE_WINOGRAD } else { TOLERANCE };
                assert!(found < tolerance, "{isa:?}, {method:?}: relative error {found:e}");
            }
        }
    }
}

/// A network of `blocks` bottlenecks a stage; `early` puts the stride into the first convolution (ResNet v1).
pub(super) fn random_network(
    seed: u64,
    channels: usize,
    blocks: &[usize],
    kernel: usize,
    early: bool,
) -> Network {
    let mut rng = Rng::new(seed);
    let rng = &mut rng;
    let mut stages = Vec::new();
    let mut n_in = channels;
    for (stage, &n_blocks) in blocks.iter().enumerate() {
        let inner = channels << stage;
        let stage = (0..n_blocks).map(|idx| {
            let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
            let (first, second) = if early { (stride, 1) } else { (1, stride) };
            let block = Bottleneck {
                reduce: random_convolution(rng, inner, n_in, 1, first),
                spatial: random_convolution(rng, inner, inner, 3, second),
                expand: random_convolution(rng, 4 * inner, inner, 1, 1),
                shortcut: (idx == 0).then(|| random_convolution(rng, 4 * inner, n_in, 1, stride)),
            };
            n_in = 4 * inner;
            block
        });
        stages.push(stage.collect());
    }
    let input =
        [2, 0, 1].map(|source| InputChannel { source, scale: 0.017, shift: -2.0 - source as f32 * 0.1 });
    Network { input: input.to_vec(), stem: random_convolution(rng, channels, 3, kernel, 2), stages }
}

pub(super) fn random_image(seed: u64, rows: usize, columns: usize) -> Array3<f32> {
    let mut rng = Rng::new(seed);
    Array3::from_shape_simple_fn((3, rows, columns), || (rng.next_u64() >> 56) as f32)
}

pub(super) fn run(
    network: &Network,
    image: &Array3<f32>,
    isa: Isa,
    n_threads: usize,
    taps: &[usize],
) -> Vec<Array1<f32>> {
    let (channels, rows, columns) = image.dim();
    let options = PlanOptions { taps: taps.to_vec(), n_threads, isa };
    let mut plan = Plan::compile(network, ImageShape { channels, rows, columns }, &options).unwrap();
    let mut outputs: Vec<Array1<f32>> = plan
        .tap_shapes()
        .iter()
        .map(|shape| Array1::from_elem(shape.iter().product::<usize>(), f32::NAN))
        .collect();
    // Twice: the second image must find nothing of the first.
    for image in [&image.mapv(|value| 255.0 - value), image] {
        let mut slices: Vec<&mut [f32]> = outputs.iter_mut().map(|o| o.as_slice_mut().unwrap()).collect();
        plan.run(&image.view(), &mut slices).unwrap();
    }
    outputs
}

#[test]
fn convolutions_on_maps_of_one_pixel_and_of_prime_sizes_equal_the_definition() {
    for (rows, columns) in [(1, 1), (1, 2), (2, 1), (1, 17), (7, 1), (5, 7), (13, 11), (3, 31), (8, 29)] {
        for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
            for residual in [false, true] {
                check_convolution(7, [5, 3, rows, columns], kernel, stride, residual);
                check_convolution(8, [64, 64, rows, columns], kernel, stride, residual);
            }
        }
    }
}

#[test]
fn convolutions_whose_weights_exceed_a_chunk_or_the_cache_equal_the_definition() {
    check_convolution(1, [40, 1100, 3, 5], 1, 1, true);
    check_convolution(2, [1024, 1024, 2, 9], 1, 1, true);
    check_convolution(3, [33, 600, 2, 3], 3, 2, false);
    check_convolution(4, [40, 200, 9, 13], 3, 1, false);
    check_convolution(5, [16, 32, 40, 61], 3, 1, false);
    check_convolution(6, [16, 32, 40, 61], 3, 2, false);
    check_convolution(7, [40, 600, 21, 33], 3, 2, false);
}

#[test]
fn convolutions_on_maps_whose_pixels_fill_a_page_equal_the_definition() {
    check_convolution(6, [1024, 40, 5, 9], 3, 1, false);
    check_convolution(7, [64, 1024, 5, 6], 1, 2, false);
    check_convolution(8, [1024, 2048, 3, 5], 1, 1, true);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_convolution_equals_the_definition(
        seed in any::<u64>(),
        n_out in 1usize..70,
        n_in in 1usize..70,
        rows in 1usize..24,
        columns in 1usize..24,
        large in any::<bool>(),
        stride in 1usize..=2,
        residual in any::<bool>(),
    ) {
        check_convolution(seed, [n_out, n_in, rows, columns], if large { 3 } else { 1 }, stride, residual);
    }

    #[test]
    fn any_network_gives_the_maps_of_its_definition_at_every_tap(
        seed in any::<u64>(),
        channels in 1usize..20,
        kernel in prop::sample::select(vec![1usize, 3, 7]),
        rows in 1usize..60,
        columns in 1usize..60,
        early in any::<bool>(),
    ) {
        let network = random_network(seed, channels, &[2, 2], kernel, early);
        let image = random_image(seed, rows, columns);
        let wanted = naive_network(&network, &image);
        for isa in sets() {
            let maps = run(&network, &image, isa, 2, &[0, 1, 2]);
            for (tap, (found, (wanted, greatest))) in maps.iter().zip(&wanted).enumerate() {
                // Of a map of few values a ReLU may leave one alone that almost cancelled: errors are those of the sums before it.
                let found = error_beside(found, wanted, *greatest);
                let tolerance = match isa {
                    Isa::Amx => TOLERANCE_SPLIT_NETWORK,
                    Isa::AmxBf16 => TOLERANCE_BF16_NETWORK,
                    Isa::Int8Vnni | Isa::Int8Amx => TOLERANCE_INT8_NETWORK,
                    _ if tap == 0 => TOLERANCE,
                    _ => TOLERANCE_NETWORK,
                };
                prop_assert!(found < tolerance, "{isa:?}, tap {tap}: relative error {found:e}");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let network = random_network(3, 32, &[2, 2, 1], 7, false);
    let image = random_image(5, 131, 197);
    for isa in sets() {
        let one = run(&network, &image, isa, 1, &[1, 3]);
        assert_eq!(one, run(&network, &image, isa, 2, &[1, 3]));
        assert_eq!(one, run(&network, &image, isa, 64, &[1, 3]));
    }
}

#[test]
fn an_observed_run_tells_of_every_step_in_order_and_gives_the_same_bits() {
    let network = random_network(3, 16, &[2, 1], 7, false);
    let image = random_image(5, 65, 37);
    let wanted = run(&network, &image, Isa::best(), 1, &[2]);
    let shape = ImageShape { channels: 3, rows: 65, columns: 37 };
    let options = PlanOptions { taps: vec![2], n_threads: 1, isa: Isa::best() };
    let mut plan = Plan::compile(&network, shape, &options).unwrap();
    let (mut found, mut seen) = (vec![f32::NAN; wanted[0].len()], Vec::new());
    plan.run_observed(&image.view(), &mut [&mut found], &mut |idx| seen.push(idx)).unwrap();
    assert_eq!(seen, (0..plan.steps().len()).collect::<Vec<_>>());
    assert_eq!(wanted[0].to_vec(), found);
    assert_eq!(plan.products(), plan.steps().iter().map(|(_, products)| products).sum::<usize>());
}

#[test]
fn an_earlier_tap_is_the_same_alone_as_beside_later_ones_and_costs_less() {
    let network = random_network(3, 16, &[1, 1, 1], 7, true);
    let image = random_image(5, 65, 37);
    let all = run(&network, &image, Isa::best(), 1, &[0, 1, 2, 3]);
    let shape = ImageShape { channels: 3, rows: 65, columns: 37 };
    let products = |tap: usize| {
        let options = PlanOptions { taps: vec![tap], n_threads: 1, isa: Isa::best() };
        Plan::compile(&network, shape, &options).unwrap().products()
    };
    for (tap, wanted) in all.iter().enumerate() {
        assert_eq!(run(&network, &image, Isa::best(), 1, &[tap])[0], *wanted);
        assert!(tap == 0 || products(tap - 1) < products(tap));
    }
}

#[test]
fn images_and_taps_that_do_not_fit_are_refused() {
    let network = random_network(3, 4, &[1], 7, true);
    let shape = ImageShape { channels: 3, rows: 8, columns: 9 };
    let options = |taps: &[usize]| PlanOptions { taps: taps.to_vec(), n_threads: 1, isa: Isa::best() };
    for taps in [&[][..], &[2], &[1, 0], &[1, 1]] {
        assert!(Plan::compile(&network, shape, &options(taps)).is_err());
    }
    assert!(Plan::compile(&network, ImageShape { channels: 1, ..shape }, &options(&[1])).is_err());
    assert!(Plan::compile(&network, ImageShape { rows: 0, ..shape }, &options(&[1])).is_err());
    let mut plan = Plan::compile(&network, shape, &options(&[0])).unwrap();
    let mut output = vec![0.0; plan.tap_shapes()[0].iter().product()];
    assert!(plan.run(&random_image(1, 9, 8).view(), &mut [&mut output]).is_err());
    assert!(plan.run(&random_image(1, 8, 9).view(), &mut [&mut output[1..]]).is_err());
    assert!(plan.run(&random_image(1, 8, 9).view(), &mut [&mut output]).is_ok());
}

#[test]
fn a_layer_that_does_not_follow_from_the_one_before_is_refused() {
    let mut network = random_network(3, 4, &[2], 3, false);
    network.stages[0][0].shortcut = None;
    assert!(network.check().is_err());
    let mut network = random_network(3, 4, &[2, 1], 3, false);
    network.stages[1][0].shortcut.as_mut().unwrap().stride = 1;
    assert!(network.check().is_err());
    let mut network = random_network(3, 4, &[1], 3, false);
    network.input.pop();
    assert!(network.check().is_err());
}

#[test]
fn nan_in_any_pixel_of_a_pool_is_in_its_maximum() {
    for isa in sets() {
        let kernels = isa.kernels().unwrap();
        let (columns, channels) = (3, kernels.panel);
        for at in 0..3 * columns {
            let rows: Vec<Vec<f32>> = (0..3)
                .map(|y| {
                    let value = |x: usize| if y * columns + x == at { f32::NAN } else { (y + x) as f32 };
                    (0..columns).flat_map(|x| vec![value(x); channels]).collect()
                })
                .collect();
            let output = Buffer::zeros(2 * channels);
            let row = Row {
                inputs: [0, 1, 2].map(|y| rows[y].as_ptr()),
                columns_in: columns,
                columns_out: 2,
                channels,
                output: output.at(0),
                output_stride: kernels.held,
            };
            // SAFETY: the rows and the output were made of these sizes.
            unsafe { (kernels.pool_row)(&row) };
            let map = Map { offset: 0, rows: 1, columns: 2, channels: kernels.held, border: 0 };
            let found = take(kernels, &output, &map, channels);
            // The first output sees columns 0 and 1, the second 1 and 2.
            let seen = [at % columns < 2, at % columns > 0];
            for ((channel, _, x), value) in found.indexed_iter() {
                assert_eq!(value.is_nan(), seen[x], "{isa:?}, pixel {at}, channel {channel}: {value}");
            }
        }
    }
}

#[test]
fn an_image_with_a_nan_has_features_that_are_not_finite() {
    let network = random_network(3, 32, &[2, 1], 7, false);
    for (y, x) in [(0, 0), (31, 17), (30, 64), (64, 64)] {
        for wrong in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff), f32::INFINITY] {
            let mut image = random_image(5, 65, 65);
            image[[1, y, x]] = wrong;
            for isa in sets() {
                for features in run(&network, &image, isa, 2, &[0, 1, 2]) {
                    assert!(features.iter().any(|value| !value.is_finite()), "{isa:?}: {wrong} at {y}, {x}");
                }
            }
        }
    }
}

#[test]
fn an_image_as_it_was_decoded_gives_the_same_bits_as_its_planes() {
    let network = random_network(3, 16, &[1], 7, false);
    let mut rng = Rng::new(9);
    for channels in [1, 3] {
        let file = Array3::from_shape_simple_fn((60, 80, channels), || (rng.next_u64() >> 56) as u8);
        let levels = file.slice(ndarray::s![7..52, 3..70, ..]);
        let planes = Array3::from_shape_fn((3, 45, 67), |(c, y, x)| {
            f32::from(levels[[y, x, if channels == 1 { 0 } else { c }]])
        });
        let shape = ImageShape { channels: 3, rows: 45, columns: 67 };
        let options = PlanOptions { taps: vec![1], n_threads: 2, isa: Isa::best() };
        let mut plan = Plan::compile(&network, shape, &options).unwrap();
        let mut outputs = [0, 1].map(|_| vec![f32::NAN; plan.tap_shapes()[0].iter().product()]);
        plan.run(&planes.view(), &mut [&mut outputs[0]]).unwrap();
        plan.run_on_levels(&levels, &mut [&mut outputs[1]]).unwrap();
        assert_eq!(outputs[0], outputs[1]);
        let other = file.slice(ndarray::s![7..51, 3..70, ..]);
        assert!(plan.run_on_levels(&other, &mut [&mut outputs[0]]).is_err());
    }
}
