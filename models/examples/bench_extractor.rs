//! Times the CPU plan, or candle's own operations, on a ResNet-50 with random weights, one inference a line of standard input.
//!
//! `bench_extractor VARIANT ROWS COLUMNS THREADS STAGES [ISA|candle|peak:ISA|layers:ISA] [WEIGHTS IMAGE OUTPUT]` prints `ready`, then for every line it
//! reads the milliseconds of one inference, by the clock and of processor time, so that a script can take turns with other
//! engines. The last three arguments are files of raw little-endian f32 that the script writes and reads, to compare results: all
//! folded weights and biases in the order of the network, an image `[3, rows, columns]`, and the last feature map. candle takes
//! its number of threads from RAYON_NUM_THREADS. With `layers:ISA` it prints where the time of an image goes instead: each step's
//! median over some images, beside the multiply-adds that registers alone allow. See `tests/reference/bench_extractor_peers.py`.
#![allow(clippy::print_stdout, reason = "the answers go to the script that runs this")]

use anomalyd_models::ImageShape;
use anomalyd_models::extractor::kernels::{
    Bottleneck, Convolution, InputChannel, Isa, Network, Peak, Plan, PlanOptions,
};
use anomalyd_models::rng::Rng;
use candle_core::{Device, Tensor};
use ndarray::{Array3, Array4};
use std::io::{BufRead, Write};
use std::time::Instant;

/// Computes the features of the one image.
type Run = Box<dyn FnMut(&mut Vec<f32>) -> Outcome<()>>;
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Gives weights: from a file's values in order, else random of He's scale.
struct Weights {
    file: Option<std::vec::IntoIter<f32>>,
    rng: Rng,
}

impl Weights {
    fn convolution(
        &mut self,
        n_out: usize,
        n_in: usize,
        kernel: usize,
        stride: usize,
    ) -> Outcome<Convolution> {
        let scale = (2.0 / (n_in * kernel * kernel) as f64).sqrt();
        let mut next = || match &mut self.file {
            Some(values) => values.next().unwrap_or(f32::NAN),
            None => (scale * self.rng.normal()) as f32,
        };
        let weight = Array4::from_shape_simple_fn((n_out, n_in, kernel, kernel), &mut next);
        let bias = (0..n_out).map(|_| next()).collect();
        Ok(Convolution::new(weight, bias, stride)?)
    }

    /// ResNet-50; `early` puts the stride into the first convolution of a block (v1, Keras), else into the second (v1.5).
    fn resnet50(&mut self, early: bool, n_stages: usize) -> Outcome<Network> {
        let stem = self.convolution(64, 3, 7, 2)?;
        let (mut stages, mut n_in) = (Vec::new(), 64);
        for (stage, n_blocks) in [3, 4, 6, 3].into_iter().enumerate().take(n_stages) {
            let inner = 64 << stage;
            let mut blocks = Vec::new();
            for idx in 0..n_blocks {
                let stride = if stage > 0 && idx == 0 { 2 } else { 1 };
                let (first, second) = if early { (stride, 1) } else { (1, stride) };
                let reduce = self.convolution(inner, n_in, 1, first)?;
                let spatial = self.convolution(inner, inner, 3, second)?;
                let expand = self.convolution(4 * inner, inner, 1, 1)?;
                let shortcut =
                    if idx == 0 { Some(self.convolution(4 * inner, n_in, 1, stride)?) } else { None };
                blocks.push(Bottleneck { reduce, spatial, expand, shortcut });
                n_in = 4 * inner;
            }
            stages.push(blocks);
        }
        let input = (0..3).map(|source| InputChannel { source, scale: 1.0 / 64.0, shift: -2.0 }).collect();
        Ok(Network { input, stem, stages })
    }
}

fn read(path: &str) -> Outcome<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

/// Processor time of this process so far: on a busy machine it says more than the clock, on one thread.
fn processor_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes the structure it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The network by candle's own operations, batch norms folded in.
struct Candle {
    image: Tensor,
    stem: Layer,
    blocks: Vec<([Layer; 3], Option<Layer>)>,
}

struct Layer {
    weight: Tensor,
    bias: Tensor,
    stride: usize,
}

impl Layer {
    fn new(folded: &Convolution) -> Outcome<Layer> {
        let weight: Vec<f32> = folded.weight.iter().copied().collect();
        let weight = Tensor::from_vec(weight, folded.weight.dim(), &Device::Cpu)?;
        let bias = Tensor::from_slice(&folded.bias, (1, folded.n_out(), 1, 1), &Device::Cpu)?;
        Ok(Layer { weight, bias, stride: folded.stride })
    }

    fn run(&self, x: &Tensor) -> Outcome<Tensor> {
        let padding = self.weight.dims()[2] / 2;
        Ok(x.conv2d(&self.weight, padding, self.stride, 1, 1)?.broadcast_add(&self.bias)?)
    }
}

impl Candle {
    fn new(network: &Network, image: &Array3<f32>) -> Outcome<Candle> {
        let (channels, rows, columns) = image.dim();
        let pixels: Vec<f32> = image.iter().map(|level| level / 64.0 - 2.0).collect();
        let image = Tensor::from_vec(pixels, (1, channels, rows, columns), &Device::Cpu)?;
        let mut blocks = Vec::new();
        for block in network.stages.iter().flatten() {
            let layers =
                [Layer::new(&block.reduce)?, Layer::new(&block.spatial)?, Layer::new(&block.expand)?];
            blocks.push((layers, block.shortcut.as_ref().map(Layer::new).transpose()?));
        }
        Ok(Candle { image, stem: Layer::new(&network.stem)?, blocks })
    }

    fn run(&self) -> Outcome<Vec<f32>> {
        let x = self.stem.run(&self.image)?.relu()?;
        // After a ReLU a border of zeros is as good as one of minus infinity.
        let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        for ([reduce, spatial, expand], shortcut) in &self.blocks {
            let y = expand.run(&spatial.run(&reduce.run(&x)?.relu()?)?.relu()?)?;
            let shortcut = shortcut.as_ref().map(|shortcut| shortcut.run(&x)).transpose()?;
            x = (y + shortcut.unwrap_or(x))?.relu()?;
        }
        Ok(x.flatten_all()?.to_vec1()?)
    }
}

/// Resident memory of this process in MB, where the system tells.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? / 1024)
}

fn isa(name: &str) -> Option<Isa> {
    Some(match name {
        "best" => Isa::best(),
        "portable" => Isa::Portable,
        "avx2" => Isa::Avx2,
        "avx512" => Isa::Avx512,
        "amx" => Isa::Amx,
        "bf16" => Isa::AmxBf16,
        "int8" => Isa::best_int8()?,
        "int8_vnni" => Isa::Int8Vnni,
        "int8_amx" => Isa::Int8Amx,
        "f32" => Isa::best_f32(),
        "neon" => Isa::Neon,
        _ => return None,
    })
}

/// Images timed by [`print_steps`].
const IMAGES: usize = 15;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the plan's steps, alike ones together: milliseconds, multiply-adds a second, and their share of what registers alone
/// allow between these images.
fn print_steps(network: &Network, image: &Array3<f32>, options: &PlanOptions) -> Outcome<()> {
    let (channels, rows, columns) = image.dim();
    let mut plan = Plan::compile(network, ImageShape { channels, rows, columns }, options)?;
    let mut peak = Peak::new(options.isa, options.n_threads)?;
    let mut features = vec![0.0; plan.tap_shapes()[0].iter().product()];
    let each = if options.isa == Isa::Amx { 3.0 } else { 1.0 };
    let mut alike: Vec<(String, f64, Vec<usize>)> = Vec::new();
    for (idx, (name, products)) in plan.steps().into_iter().enumerate() {
        let products = each * products as f64 * 1e-6;
        match alike.iter_mut().find(|(other, ..)| *other == name) {
            Some((_, sum, steps)) => {
                *sum += products;
                steps.push(idx);
            }
            None => alike.push((name, products, vec![idx])),
        }
    }
    let mut seconds = vec![Vec::new(); plan.steps().len()];
    let mut peaks = Vec::new();
    for round in 0..=IMAGES {
        let mut last = Instant::now();
        plan.run_observed(&image.view(), &mut [&mut features], &mut |idx| {
            let now = Instant::now();
            if round > 0 {
                seconds[idx].push((now - last).as_secs_f64());
            }
            last = now;
        })?;
        let start = Instant::now();
        peak.run();
        peaks.push(peak.products() as f64 * 1e-6 / (start.elapsed().as_secs_f64() * 1e3));
    }
    let (most, mut total) = (median(peaks), [0.0; 2]);
    println!("registers alone: {most:.0} G/s");
    alike.push(("all".to_owned(), 0.0, Vec::new()));
    for (name, products, steps) in &alike {
        let time: f64 = steps.iter().map(|&idx| 1e3 * median(seconds[idx].clone())).sum();
        total = [total[0] + products, total[1] + time];
        let [products, time] = if steps.is_empty() { total } else { [*products, time] };
        let rate = products / time;
        println!("{:2} x {name}: {time:.2} ms, {rate:.0} G/s, {:.0} %", steps.len(), 100.0 * rate / most);
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "bench_extractor v1|v1.5 ROWS COLUMNS THREADS STAGES [portable|avx2|avx512|amx|bf16|int8|int8_vnni|int8_amx|neon|f32|best|candle|peak:SET|layers:SET [WEIGHTS IMAGE OUTPUT]]";
    let [variant, rows, columns, n_threads, n_stages, rest @ ..] = arguments.as_slice() else {
        return Err(usage.into());
    };
    let (rows, columns): (usize, usize) = (rows.parse()?, columns.parse()?);
    let (n_threads, n_stages): (usize, usize) = (n_threads.parse()?, n_stages.parse()?);
    let mut rng = Rng::new(1);
    let mut weights = Weights { file: None, rng: Rng::new(2) };
    let mut image = Array3::from_shape_simple_fn((3, rows, columns), || rng.below(256) as f32);
    if let [_, weights_path, image_path, _] = rest {
        weights.file = Some(read(weights_path)?.into_iter());
        image = Array3::from_shape_vec((3, rows, columns), read(image_path)?)?;
    }
    let network = weights.resnet50(variant == "v1", n_stages)?;
    drop(weights);
    let engine = rest.first().map_or("best", String::as_str);
    if let Some(engine) = engine.strip_prefix("layers:") {
        let options = PlanOptions { taps: vec![n_stages], n_threads, isa: isa(engine).ok_or(usage)? };
        return print_steps(&network, &image, &options);
    }
    let about;
    let mut features = Vec::new();
    let mut run: Run = if let Some(engine) = engine.strip_prefix("peak:") {
        let mut peak = Peak::new(isa(engine).ok_or(usage)?, n_threads)?;
        about = format!("{:.6} G multiply-adds", peak.products() as f64 * 1e-9);
        features.push(0.0);
        Box::new(move |_| {
            peak.run();
            Ok(())
        })
    } else if engine == "candle" {
        let candle = Candle::new(&network, &image)?;
        drop(network);
        about = "candle".to_owned();
        Box::new(move |features| {
            *features = candle.run()?;
            Ok(())
        })
    } else {
        let isa = isa(engine).ok_or(usage)?;
        let options = PlanOptions { taps: vec![n_stages], n_threads, isa };
        let mut plan = Plan::compile(&network, ImageShape { channels: 3, rows, columns }, &options)?;
        drop(network);
        features.resize(plan.tap_shapes()[0].iter().product(), 0.0);
        // The matrix unit takes three multiplications of bf16 for one of f32.
        let each = if isa == Isa::Amx { 3 } else { 1 };
        about = format!("{isa:?}, {:.6} G multiply-adds", (each * plan.products()) as f64 * 1e-9);
        Box::new(move |features| Ok(plan.run(&image.view(), &mut [features])?))
    };
    run(&mut features)?;
    if let [_, _, _, output] = rest {
        let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(output, bytes)?;
    }
    let memory = resident().map_or(String::new(), |megabytes| format!(", {megabytes} MB resident"));
    println!("ready {about}{memory}");
    std::io::stdout().flush()?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let (start, before) = (Instant::now(), processor_seconds());
        run(&mut features)?;
        println!("{:.3} {:.3}", start.elapsed().as_secs_f64() * 1e3, (processor_seconds() - before) * 1e3);
        std::io::stdout().flush()?;
    }
    Ok(())
}
