//! A network compiled for one image shape: which kernel computes which map from which, and where the maps lie.

use super::arena::Buffer;
use super::convolution::{Chain, GemmConvolution};
use super::int8::{self, Int8, Int8Chain, Int8Convolution, Int8Window};
use super::isa::{Isa, Kernels};
use super::map::Map;
use super::network::{Bottleneck, Convolution, Network};
use super::stem::{Pixels, Stem};
use super::tap::Tap;
use super::team::Team;
use super::winograd::Winograd;
use crate::error::{Error, Result};
use crate::traits::ImageShape;
use ndarray::ArrayView3;

/// How a plan is compiled.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// Feature maps asked for, by the number of stages before them, ascending: 0 is the max-pool's output, 1 is layer1's.
    pub taps: Vec<usize>,
    /// Threads, at least 1; no more are made than the process may use.
    pub n_threads: usize,
    /// Instruction set.
    pub isa: Isa,
}

enum Step {
    Gemm(Chain),
    Winograd(Winograd),
    Int8Chain(Int8, Int8Chain),
    Int8Window(Int8, Int8Window),
    Tap(Tap),
}

/// A compiled network with its weights packed and its memory allocated: running it allocates nothing.
pub struct Plan {
    kernels: &'static Kernels,
    image: ImageShape,
    stem: Stem,
    steps: Vec<Step>,
    taps: Vec<[usize; 3]>,
    arena: Buffer,
    scratch: Buffer,
    scratch_stride: usize,
    team: Team,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan")
            .field("image", &self.image)
            .field("taps", &self.taps)
            .field("team", &self.team)
            .finish()
    }
}

impl Plan {
    /// Compiles `network` for images of shape `image`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] where the network's layers or the image do not fit each other; [`Error::Parameter`] for taps that are
    /// none, not ascending or beyond the network, or an instruction set that this processor lacks.
    pub fn compile(network: &Network, image: ImageShape, options: &PlanOptions) -> Result<Plan> {
        network.check()?;
        let parameter = |name, found: String, expected: String| Error::Parameter { name, found, expected };
        let kernels = options.isa.kernels().ok_or_else(|| {
            parameter(
                "instruction set",
                format!("{:?}", options.isa),
                format!("one of {:?}", Isa::available()),
            )
        })?;
        let n_stages = *options.taps.last().unwrap_or(&usize::MAX);
        if n_stages > network.stages.len() || options.taps.windows(2).any(|pair| pair[0] >= pair[1]) {
            let expected = format!("ascending, from 0 (the max-pool) to {}", network.stages.len());
            return Err(parameter("taps", format!("{:?}", options.taps), expected));
        }
        if image.rows == 0 || image.columns == 0 || network.input.iter().any(|c| c.source >= image.channels) {
            return Err(Error::Shape {
                what: "image",
                wanted: format!("{} channels, at least one row and column", network.input.len()),
                found: format!("[{}, {}, {}]", image.channels, image.rows, image.columns),
            });
        }
        if network.stem.kernel() > 15 {
            return Err(parameter("stem kernel", network.stem.kernel().to_string(), "at most 15".into()));
        }

        let too_deep = |convolution: &Convolution| {
            convolution.kernel().pow(2) * convolution.n_in().next_multiple_of(int8::GROUP) > int8::MAX_DEPTH
        };
        let convolutions = network.stages.iter().flatten();
        if kernels.int8.is_some()
            && convolutions.flat_map(|block| [&block.reduce, &block.spatial, &block.expand]).any(too_deep)
        {
            let found = format!("{:?}, and a convolution of more products", options.isa);
            let expected = format!("at most {} products in a sum, or another set", int8::MAX_DEPTH);
            return Err(parameter("instruction set", found, expected));
        }

        let mut layout = Layout::new(network, image, n_stages, kernels);
        let mut map = layout.maps[0];
        let stem = Stem::new(network, kernels, image, map);
        let (mut steps, mut taps) = (Vec::new(), Vec::new());
        let mut n_channels = network.stem.n_out();
        for stage in 0..=n_stages {
            if stage > 0 {
                for block in &network.stages[stage - 1] {
                    map = match kernels.int8 {
                        None => layout.block(block, map, kernels, &mut steps),
                        Some(int8) => layout.int8_block(block, map, kernels, int8, &mut steps),
                    };
                    n_channels = block.expand.n_out();
                }
            }
            if options.taps.contains(&stage) {
                steps.push(Step::Tap(Tap::new(map, n_channels)));
                taps.push([n_channels, map.rows, map.columns]);
            }
        }
        let team = Team::new(options.n_threads)
            .map_err(|source| Error::Backend { what: "starting a thread", source: source.into() })?;
        let mut needed = [stem.scratch(kernels), 0];
        for step in &steps {
            let more = match step {
                Step::Winograd(step) => step.scratch(kernels),
                Step::Int8Chain(_, step) => [step.scratch(), 0],
                Step::Int8Window(_, step) => [step.scratch(), 0],
                Step::Gemm(_) | Step::Tap(_) => [0, 0],
            };
            needed = [needed[0].max(more[0]), needed[1].max(more[1])];
        }
        let scratch_stride = needed[0].next_multiple_of(1024) + 16;
        let scratch = Buffer::zeros(needed[1].max(scratch_stride * team.n_threads()));
        let arena = Buffer::zeros(layout.length + layout.slack);
        Ok(Plan { kernels, image, stem, steps, taps, arena, scratch, scratch_stride, team })
    }

    /// The shape of the images it was compiled for.
    pub fn image_shape(&self) -> ImageShape {
        self.image
    }

    /// The shapes `[channels, rows, columns]` of the feature maps it gives.
    pub fn tap_shapes(&self) -> &[[usize; 3]] {
        &self.taps
    }

    /// Bytes of weights and memory held.
    pub fn bytes(&self) -> usize {
        let steps = self.steps.iter().map(|step| match step {
            Step::Gemm(step) => step.bytes(),
            Step::Winograd(step) => step.bytes(),
            Step::Int8Chain(_, step) => step.bytes(),
            Step::Int8Window(_, step) => step.bytes(),
            Step::Tap(_) => 0,
        });
        self.arena.bytes() + self.scratch.bytes() + self.stem.bytes() + steps.sum::<usize>()
    }

    /// Multiply-adds that one image takes, as they are done: Winograd's are fewer than the definition's.
    pub fn products(&self) -> usize {
        self.steps().iter().map(|(_, products)| products).sum()
    }

    /// What is computed one after the other: which layers, and their multiply-adds. Layers joined by `+` are computed together,
    /// some pixels at a time.
    pub fn steps(&self) -> Vec<(String, usize)> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Gemm(step) => (step.to_string(), step.products()),
            Step::Winograd(step) => (step.to_string(), step.products()),
            Step::Int8Chain(_, step) => (step.to_string(), step.products()),
            Step::Int8Window(_, step) => (step.to_string(), step.products()),
            Step::Tap(_) => ("tap".to_owned(), 0),
        });
        std::iter::once(("stem and pool".to_owned(), self.stem.products())).chain(steps).collect()
    }

    /// Computes the feature maps of one image into `outputs`, one a tap, each `[channels, rows, columns]` row-major.
    ///
    /// - `image`: `[channels, rows, columns]`, grey levels in 0..=255.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the image or an output has another shape than the plan was compiled for.
    pub fn run(&mut self, image: &ArrayView3<'_, f32>, outputs: &mut [&mut [f32]]) -> Result<()> {
        let ImageShape { channels, rows, columns } = self.image;
        check_image(image.dim(), (channels, rows, columns))?;
        self.compute(Pixels::Planes(image.view()), outputs, &mut |_| ())
    }

    /// As [`run`](Self::run), from an image as it was decoded, without a copy of it; the same to the bit.
    ///
    /// - `levels`: `[rows, columns, channels]`; a single channel stands for all.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run)'s.
    pub fn run_on_levels(&mut self, levels: &ArrayView3<'_, u8>, outputs: &mut [&mut [f32]]) -> Result<()> {
        let ImageShape { channels, rows, columns } = self.image;
        check_image(levels.dim(), (rows, columns, if levels.dim().2 == 1 { 1 } else { channels }))?;
        self.compute(Pixels::Levels(levels.view()), outputs, &mut |_| ())
    }

    /// As [`run`](Self::run), and calls `done` with the number of each of [`steps`](Self::steps) when it has ended.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run)'s.
    pub fn run_observed(
        &mut self,
        image: &ArrayView3<'_, f32>,
        outputs: &mut [&mut [f32]],
        done: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let ImageShape { channels, rows, columns } = self.image;
        check_image(image.dim(), (channels, rows, columns))?;
        self.compute(Pixels::Planes(image.view()), outputs, done)
    }

    fn compute(
        &mut self,
        image: Pixels<'_>,
        outputs: &mut [&mut [f32]],
        done: &mut dyn FnMut(usize),
    ) -> Result<()> {
        let wanted: Vec<usize> = self.taps.iter().map(|shape| shape.iter().product()).collect();
        if !outputs.iter().map(|output| output.len()).eq(wanted.iter().copied()) {
            let found: Vec<usize> = outputs.iter().map(|output| output.len()).collect();
            let (wanted, found) = (format!("{wanted:?}"), format!("{found:?}"));
            return Err(Error::Shape { what: "lengths of the feature maps", wanted, found });
        }
        let Plan { kernels, stem, steps, arena, scratch, scratch_stride, team, .. } = self;
        let scratch = (&*scratch, *scratch_stride);
        let mut outputs = outputs.iter_mut();
        // SAFETY: every map was laid out in this arena for its step, none overlaps another that is live at the same time, the
        // scratch memory is as large as the greediest step asks for, and `&mut self` keeps everyone else out.
        unsafe { stem.run(kernels, team, image, arena, scratch) };
        done(0);
        for (idx, step) in steps.iter().enumerate() {
            match step {
                // SAFETY: as above.
                Step::Gemm(step) => unsafe { step.run(kernels, team, arena) },
                // SAFETY: as above.
                Step::Winograd(step) => unsafe { step.run(kernels, team, arena, scratch) },
                // SAFETY: as above.
                Step::Int8Chain(int8, step) => unsafe { step.run(kernels, int8, team, arena, scratch) },
                // SAFETY: as above.
                Step::Int8Window(int8, step) => unsafe { step.run(kernels, int8, team, arena, scratch) },
                Step::Tap(step) => {
                    let output = outputs.next().expect("as many outputs as taps: checked above");
                    // SAFETY: as above; the output's length was checked.
                    unsafe { step.run(kernels, team, arena, output) }
                }
            }
            done(idx + 1);
        }
        Ok(())
    }
}

fn check_image(found: (usize, usize, usize), wanted: (usize, usize, usize)) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::Shape { what: "image", wanted: format!("{wanted:?}"), found: format!("{found:?}") })
}

/// Places the maps in the arena.
struct Layout {
    /// The blocks' inputs and outputs: a block with a shortcut writes into the other, one without adds to its input.
    maps: [Map; 2],
    /// The two maps inside a block.
    inner: [usize; 2],
    /// Maps with a border: each size has its own place, so that the border is written by no other.
    bordered: Vec<Map>,
    length: usize,
    /// Values after the last map that kernels may read and forget.
    slack: usize,
}

impl Layout {
    fn new(network: &Network, image: ImageShape, n_stages: usize, kernels: &Kernels) -> Layout {
        let (rows, columns) = Stem::output_size(&network.stem, image.rows, image.columns);
        let channels = kernels.words(network.stem.n_out());
        let first = Map { offset: 0, rows, columns, channels, border: 0 };
        let (mut outer, mut inner, mut slack, mut map) = ([first.length(), 0], [0; 2], first.beyond(), first);
        let mut place = 0;
        for block in network.stages[..n_stages].iter().flatten() {
            let reduced = after(&block.reduce, map, kernels);
            let spatial = after(&block.spatial, reduced, kernels);
            // Where it has a border it lies elsewhere.
            if kernels.int8.is_some() || Winograd::serves(&block.spatial, kernels, &reduced) {
                inner[0] = inner[0].max(reduced.length());
            }
            inner[1] = inner[1].max(spatial.length());
            map = after(&block.expand, spatial, kernels);
            place ^= usize::from(block.shortcut.is_some());
            outer[place] = outer[place].max(map.length());
            slack = slack.max(map.beyond()).max(reduced.beyond());
        }
        // An odd number of cache lines between the maps: a power of two would make them compete for the same lines.
        let [first_outer, outer, first_inner, inner] =
            [outer[0], outer[1], inner[0], inner[1]].map(|length| length.next_multiple_of(1024) + 144);
        Layout {
            maps: [0, first_outer].map(|offset| Map { offset, ..first }),
            inner: [first_outer + outer, first_outer + outer + first_inner],
            bordered: Vec::new(),
            length: first_outer + outer + first_inner + inner,
            slack,
        }
    }

    /// Adds the steps of one block; returns its output map.
    fn block(&mut self, block: &Bottleneck, input: Map, kernels: &Kernels, steps: &mut Vec<Step>) -> Map {
        let mut reduced = Map { offset: self.inner[0], ..after(&block.reduce, input, kernels) };
        let winograd = Winograd::serves(&block.spatial, kernels, &reduced);
        if !winograd {
            reduced = self.with_border(reduced);
        }
        let spatial = Map { offset: self.inner[1], ..after(&block.spatial, reduced, kernels) };
        let reduce = GemmConvolution::new(&block.reduce, kernels, input, reduced, None, true);
        // The block before is followed by what needs its pixels one by one; a tap in between only reads.
        let before = steps.iter_mut().rev().find(|step| !matches!(step, Step::Tap(_)));
        let reduce = match before {
            Some(Step::Gemm(chain)) if block.reduce.stride == 1 => chain.append(kernels, reduce),
            _ => Some(reduce),
        };
        steps.extend(reduce.map(|reduce| Step::Gemm(Chain::new(kernels, reduce))));
        steps.push(if winograd {
            Step::Winograd(Winograd::new(&block.spatial, kernels, reduced, spatial, true))
        } else {
            let spatial = GemmConvolution::new(&block.spatial, kernels, reduced, spatial, None, true);
            Step::Gemm(Chain::new(kernels, spatial))
        });
        let mut output = Map { offset: input.offset, ..after(&block.expand, spatial, kernels) };
        let mut shortcut = None;
        if let Some(convolution) = &block.shortcut {
            let other = usize::from(input.offset == self.maps[0].offset);
            output.offset = self.maps[other].offset;
            let part = GemmConvolution::new(convolution, kernels, input, output, None, false);
            shortcut = Some(Chain::new(kernels, part));
        }
        let expand = GemmConvolution::new(&block.expand, kernels, spatial, output, Some(output), true);
        let expand = match &mut shortcut {
            Some(chain) => chain.append(kernels, expand),
            None => Some(expand),
        };
        steps.extend(
            shortcut.into_iter().chain(expand.map(|expand| Chain::new(kernels, expand))).map(Step::Gemm),
        );
        output
    }

    /// As [`block`](Self::block), where products are of 8 bits: what a convolution quantises it takes from maps without a border.
    fn int8_block(
        &mut self,
        block: &Bottleneck,
        input: Map,
        kernels: &Kernels,
        int8: Int8,
        steps: &mut Vec<Step>,
    ) -> Map {
        let reduced = Map { offset: self.inner[0], ..after(&block.reduce, input, kernels) };
        let spatial = Map { offset: self.inner[1], ..after(&block.spatial, reduced, kernels) };
        let mut output = Map { offset: input.offset, ..after(&block.expand, spatial, kernels) };
        let reduce = Int8Convolution::new(&block.reduce, kernels, input, reduced, None, true);
        // The block before is followed by what needs its pixels one by one; a tap in between only reads.
        let before = steps.iter_mut().rev().find(|step| !matches!(step, Step::Tap(_)));
        let reduce = match before {
            Some(Step::Int8Chain(_, chain)) if block.reduce.stride == 1 => chain.append(kernels, reduce),
            _ => Some(reduce),
        };
        steps.extend(reduce.map(|reduce| Step::Int8Chain(int8, Int8Chain::new(reduce))));
        let window = Int8Convolution::new(&block.spatial, kernels, reduced, spatial, None, true);
        steps.push(Step::Int8Window(int8, Int8Window::new(window)));
        let mut shortcut = None;
        if let Some(convolution) = &block.shortcut {
            let other = usize::from(input.offset == self.maps[0].offset);
            output.offset = self.maps[other].offset;
            let part = Int8Convolution::new(convolution, kernels, input, output, None, false);
            shortcut = Some(Int8Chain::new(part));
        }
        let expand = Int8Convolution::new(&block.expand, kernels, spatial, output, Some(output), true);
        let expand = match &mut shortcut {
            Some(chain) => chain.append(kernels, expand),
            None => Some(expand),
        };
        let chains = shortcut.into_iter().chain(expand.map(Int8Chain::new));
        steps.extend(chains.map(|chain| Step::Int8Chain(int8, chain)));
        output
    }

    /// The place of a map of this size with a border of one pixel.
    fn with_border(&mut self, map: Map) -> Map {
        let wanted = Map { border: 1, ..map };
        let same = |place: &&Map| Map { offset: wanted.offset, ..**place } == wanted;
        if let Some(place) = self.bordered.iter().find(same) {
            return *place;
        }
        let place = Map { offset: self.length, ..wanted };
        self.length += place.length().next_multiple_of(1024) + 144;
        self.bordered.push(place);
        place
    }
}

/// The size of the map after a convolution.
fn after(convolution: &Convolution, input: Map, kernels: &Kernels) -> Map {
    Map {
        offset: input.offset,
        rows: convolution.output_length(input.rows),
        columns: convolution.output_length(input.columns),
        channels: kernels.words(convolution.n_out()),
        border: 0,
    }
}
