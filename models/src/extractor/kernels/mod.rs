//! Residual networks on the CPU at the speed of its vector units.
//!
//! A [`Plan`] is a [`Network`] compiled for one image shape: batch normalisation is folded before, bias, residual and ReLU are part
//! of each convolution's last step, weights are packed in the order of their use, activations lie channels-last in memory
//! allocated once, and layers past the last tap are not computed. Results are bit-identical for any number of threads; between
//! instruction sets they differ by rounding: see [`Isa`], of which [`Isa::best`] is taken.
//!
//! The crate's unsafe code is here, vector instructions and maps that threads fill together, and in little of the forest (`memory.rs`, `partition.rs`) and of `samples.rs`, a
//! mapped file. Each kernel is written once over `vector::Vector` and compiled for every instruction set in `isa.rs`.
#![allow(unsafe_code, reason = "vector instructions need raw addresses; see above")]
#![deny(clippy::undocumented_unsafe_blocks)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod amx_products;
mod arena;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod convolution;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod group;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "no other architecture has kernels of 8 bits yet")
)]
mod int8;
mod isa;
mod layer;
mod map;
mod max_pool;
mod network;
mod peak;
mod plan;
mod sleeper;
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "no other architecture has a matrix unit here")
)]
mod split;
mod stem;
mod tap;
mod team;
#[cfg(target_arch = "x86_64")]
mod transpose;
mod vector;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

pub use isa::Isa;
pub use layer::Layer;
pub use network::{Bottleneck, Convolution, InputChannel, Network};
pub use peak::Peak;
pub use plan::{Plan, PlanOptions};
