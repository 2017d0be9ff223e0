//! How many multiply-adds the processor can do at most: on registers alone, for benchmarks to compare with.

use super::isa::{Isa, Kernels};
use super::team::Team;
use crate::error::{Error, Result};
#[cfg(target_arch = "x86_64")]
use std::arch::asm;

/// Turns of a task, each over more independent sums than the latency of a multiply-add needs.
const ROUNDS: usize = 1 << 16;
/// Tasks of a run, so that no thread waits long for another.
const TASKS: usize = 64;

/// Multiply-adds without memory.
#[derive(Debug)]
pub struct Peak {
    kernels: &'static Kernels,
    isa: Isa,
    team: Team,
}

impl Peak {
    /// Readies a loop of the multiply-adds that `isa` uses.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for a set that this processor lacks or has no such loop, [`Error::Backend`] where the system gives no
    /// further thread.
    pub fn new(isa: Isa, n_threads: usize) -> Result<Peak> {
        let has_loop = !matches!(isa, Isa::Portable | Isa::Neon);
        let kernels = isa.kernels().filter(|_| has_loop);
        let kernels = kernels.ok_or_else(|| Error::Parameter {
            name: "instruction set",
            found: format!("{isa:?}"),
            expected: "AVX2, AVX-512 or AMX, on a processor that has it".into(),
        })?;
        let team = Team::new(n_threads)
            .map_err(|source| Error::Backend { what: "starting a thread", source: source.into() })?;
        Ok(Peak { kernels, isa, team })
    }

    /// Multiply-adds of one run: of f32, of bf16 with AMX, or of 8 bits.
    pub fn products(&self) -> usize {
        TASKS
            * ROUNDS
            * match self.isa {
                Isa::Avx512 => 24 * 16,
                Isa::Int8Vnni => 24 * 16 * 4,
                Isa::Int8Amx => 4 * 16 * 16 * 64 / 16,
                Isa::Amx | Isa::AmxBf16 => 4 * 16 * 16 * 32 / 16,
                _ => 12 * 8,
            }
    }

    /// Does them.
    pub fn run(&mut self) {
        let kernels = self.kernels;
        #[cfg(target_arch = "x86_64")]
        let isa = self.isa;
        self.team.run(TASKS, &|_, _| {
            let _entered = kernels.enter();
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` has asked the processor for the set, and `enter` has set the matrix unit up.
            unsafe {
                match isa {
                    Isa::Avx512 => avx512(),
                    Isa::Int8Vnni => vnni(),
                    Isa::Int8Amx => amx_int8(),
                    Isa::Amx | Isa::AmxBf16 => amx(),
                    _ => avx2(),
                }
            }
        });
    }
}

/// A loop of `ROUNDS / $divisor` turns over one instruction with the operands given.
#[cfg(target_arch = "x86_64")]
macro_rules! turns {
    ($divisor:literal, [$($clear:literal)*], $product:literal [$($operands:literal)*], $($clobber:tt)*) => {
        asm!(
            $($clear,)*
            "2:",
            $(concat!($product, " ", $operands),)*
            "dec {n}",
            "jnz 2b",
            n = inout(reg) ROUNDS / $divisor => _,
            $($clobber)*
            options(nomem, nostack)
        )
    };
}

/// Twelve sums of eight.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2() {
    // SAFETY: works on the registers named alone.
    unsafe {
        turns!(1,
            ["vpxor xmm0, xmm0, xmm0" "vpxor xmm1, xmm1, xmm1" "vpxor xmm2, xmm2, xmm2" "vpxor xmm3, xmm3, xmm3" "vpxor xmm4, xmm4, xmm4"
             "vpxor xmm5, xmm5, xmm5" "vpxor xmm6, xmm6, xmm6" "vpxor xmm7, xmm7, xmm7" "vpxor xmm8, xmm8, xmm8" "vpxor xmm9, xmm9, xmm9"
             "vpxor xmm10, xmm10, xmm10" "vpxor xmm11, xmm11, xmm11" "vpxor xmm12, xmm12, xmm12"],
            "vfmadd231ps"
            ["ymm0, ymm12, ymm12" "ymm1, ymm12, ymm12" "ymm2, ymm12, ymm12"
             "ymm3, ymm12, ymm12" "ymm4, ymm12, ymm12" "ymm5, ymm12, ymm12"
             "ymm6, ymm12, ymm12" "ymm7, ymm12, ymm12" "ymm8, ymm12, ymm12"
             "ymm9, ymm12, ymm12" "ymm10, ymm12, ymm12" "ymm11, ymm12, ymm12"],
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _, out("xmm6") _, out("xmm7") _,
            out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _, out("xmm12") _,
        );
    }
}

/// Twenty-four sums in registers of 64 bytes.
#[cfg(target_arch = "x86_64")]
macro_rules! wide_turns {
    ($product:literal) => {
        turns!(1,
            ["vpxord zmm0, zmm0, zmm0" "vmovaps zmm1, zmm0" "vmovaps zmm2, zmm0" "vmovaps zmm3, zmm0" "vmovaps zmm4, zmm0"
             "vmovaps zmm5, zmm0" "vmovaps zmm6, zmm0" "vmovaps zmm7, zmm0" "vmovaps zmm8, zmm0" "vmovaps zmm9, zmm0" "vmovaps zmm10, zmm0"
             "vmovaps zmm11, zmm0" "vmovaps zmm12, zmm0" "vmovaps zmm13, zmm0" "vmovaps zmm14, zmm0" "vmovaps zmm15, zmm0"
             "vmovaps zmm16, zmm0" "vmovaps zmm17, zmm0" "vmovaps zmm18, zmm0" "vmovaps zmm19, zmm0" "vmovaps zmm20, zmm0"
             "vmovaps zmm21, zmm0" "vmovaps zmm22, zmm0" "vmovaps zmm23, zmm0" "vmovaps zmm24, zmm0"],
            $product
            ["zmm0, zmm24, zmm24" "zmm1, zmm24, zmm24" "zmm2, zmm24, zmm24"
             "zmm3, zmm24, zmm24" "zmm4, zmm24, zmm24" "zmm5, zmm24, zmm24"
             "zmm6, zmm24, zmm24" "zmm7, zmm24, zmm24" "zmm8, zmm24, zmm24"
             "zmm9, zmm24, zmm24" "zmm10, zmm24, zmm24" "zmm11, zmm24, zmm24"
             "zmm12, zmm24, zmm24" "zmm13, zmm24, zmm24" "zmm14, zmm24, zmm24"
             "zmm15, zmm24, zmm24" "zmm16, zmm24, zmm24" "zmm17, zmm24, zmm24"
             "zmm18, zmm24, zmm24" "zmm19, zmm24, zmm24" "zmm20, zmm24, zmm24"
             "zmm21, zmm24, zmm24" "zmm22, zmm24, zmm24" "zmm23, zmm24, zmm24"],
            out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _, out("zmm6") _, out("zmm7") _,
            out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _, out("zmm12") _, out("zmm13") _, out("zmm14") _,
            out("zmm15") _, out("zmm16") _, out("zmm17") _, out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _,
            out("zmm22") _, out("zmm23") _, out("zmm24") _,
        )
    };
}

/// Four sums of 16 x 16 in the matrix unit's registers.
#[cfg(target_arch = "x86_64")]
macro_rules! matrix_turns {
    ($product:literal) => {
        turns!(16,
            ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3" "tilezero tmm4" "tilezero tmm5" "tilezero tmm6" "tilezero tmm7"],
            $product
            ["tmm0, tmm4, tmm6" "tmm1, tmm4, tmm7" "tmm2, tmm5, tmm6" "tmm3, tmm5, tmm7"],
        )
    };
}

/// Twenty-four sums of sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512() {
    // SAFETY: works on the registers named alone.
    unsafe {
        wide_turns!("vfmadd231ps");
    }
}

/// Four sums of 16 x 16, each over 32 products a turn.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn amx() {
    // SAFETY: works on the matrix unit's registers alone, which the compiler does not know.
    unsafe {
        matrix_turns!("tdpbf16ps");
    }
}

/// Twenty-four sums of sixteen, each over four products of 8 bits a turn.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn vnni() {
    // SAFETY: works on the registers named alone.
    unsafe {
        wide_turns!("vpdpbusd");
    }
}

/// Four sums of 16 x 16, each over 64 products of 8 bits a turn.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn amx_int8() {
    // SAFETY: works on the matrix unit's registers alone, which the compiler does not know.
    unsafe {
        matrix_turns!("tdpbusd");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_with_a_loop_run_it_and_others_are_refused() {
        for isa in Isa::available() {
            match Peak::new(isa, 2) {
                Ok(mut peak) => {
                    peak.run();
                    assert!(peak.products() > 1 << 20);
                }
                Err(error) => {
                    assert!(matches!(isa, Isa::Portable | Isa::Neon), "{error}");
                    assert!(error.to_string().contains("AVX2"), "{error}");
                }
            }
        }
    }
}
