//! One convolution alone, for benchmarks of its shape.

use super::arena::Buffer;
use super::convolution::{Chain, GemmConvolution};
use super::int8::{Int8, Int8Chain, Int8Convolution, Int8Window};
use super::isa::{Isa, Kernels};
use super::map::Map;
use super::network::Convolution;
use super::team::Team;
use super::winograd::Winograd;
use crate::error::{Error, Result};

enum Step {
    Gemm(Chain),
    Winograd(Winograd),
    Int8Chain(Int8, Int8Chain),
    Int8Window(Int8, Int8Window),
}

/// A convolution with ReLU on a map of its own, computed as a [`Plan`](super::Plan) would.
pub struct Layer {
    kernels: &'static Kernels,
    step: Step,
    arena: Buffer,
    scratch: Buffer,
    scratch_stride: usize,
    team: Team,
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("products", &self.products()).finish_non_exhaustive()
    }
}

impl Layer {
    /// Packs `convolution` for maps of `rows` by `columns`; with `residual`, a map of zeros is added before the ReLU.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for an instruction set that this processor lacks, [`Error::Shape`] for a map without pixels,
    /// [`Error::Backend`] where the system gives no further thread.
    pub fn compile(
        convolution: &Convolution,
        [rows, columns]: [usize; 2],
        residual: bool,
        n_threads: usize,
        isa: Isa,
    ) -> Result<Layer> {
        let kernels = isa.kernels().ok_or_else(|| Error::Parameter {
            name: "instruction set",
            found: format!("{isa:?}"),
            expected: format!("one of {:?}", Isa::available()),
        })?;
        if rows == 0 || columns == 0 {
            let (wanted, found) = ("at least one row and column".into(), format!("{rows} x {columns}"));
            return Err(Error::Shape { what: "map", wanted, found });
        }
        let border = if kernels.int8.is_some() { 0 } else { convolution.kernel() / 2 };
        let channels = |n: usize| kernels.words(n);
        let input = Map { offset: 0, rows, columns, channels: channels(convolution.n_in()), border };
        let output = Map {
            offset: input.length(),
            rows: convolution.output_length(rows),
            columns: convolution.output_length(columns),
            channels: channels(convolution.n_out()),
            border: 0,
        };
        let added = Map { offset: output.offset + output.length(), ..output };
        let arena = Buffer::zeros(added.offset + added.length() + input.beyond());
        let team = Team::new(n_threads)
            .map_err(|source| Error::Backend { what: "starting a thread", source: source.into() })?;
        let (step, [each, all]) = if let Some(int8) = kernels.int8 {
            let added = residual.then_some(added);
            let step = Int8Convolution::new(convolution, kernels, input, output, added, true);
            if convolution.kernel() == 1 {
                let step = Int8Chain::new(step);
                let needed = step.scratch();
                (Step::Int8Chain(int8, step), [needed, 0])
            } else {
                let step = Int8Window::new(step);
                let needed = step.scratch();
                (Step::Int8Window(int8, step), [needed, 0])
            }
        } else if !residual && Winograd::serves(convolution, kernels, &input) {
            let step = Winograd::new(convolution, kernels, input, output, true);
            let needed = step.scratch(kernels);
            (Step::Winograd(step), needed)
        } else {
            let added = residual.then_some(added);
            let step = GemmConvolution::new(convolution, kernels, input, output, added, true);
            (Step::Gemm(Chain::new(kernels, step)), [0, 0])
        };
        let scratch = Buffer::zeros(all.max(each * team.n_threads()));
        Ok(Layer { kernels, step, arena, scratch, scratch_stride: each, team })
    }

    /// Multiply-adds of one run, as they are done.
    pub fn products(&self) -> usize {
        match &self.step {
            Step::Gemm(step) => step.products(),
            Step::Winograd(step) => step.products(),
            Step::Int8Chain(_, step) => step.products(),
            Step::Int8Window(_, step) => step.products(),
        }
    }

    /// Computes the output once.
    pub fn run(&mut self) {
        let scratch = (&self.scratch, self.scratch_stride);
        // SAFETY: the maps were laid out in this arena for this step, the scratch memory as it asks, and `&mut self` keeps
        // everyone else out.
        unsafe {
            match &self.step {
                Step::Gemm(step) => step.run(self.kernels, &mut self.team, &self.arena),
                Step::Winograd(step) => step.run(self.kernels, &mut self.team, &self.arena, scratch),
                Step::Int8Chain(int8, step) => {
                    step.run(self.kernels, int8, &mut self.team, &self.arena, scratch)
                }
                Step::Int8Window(int8, step) => {
                    step.run(self.kernels, int8, &mut self.team, &self.arena, scratch)
                }
            }
        }
    }
}
