//! Where networks run.

use super::kernels::Isa;
use crate::error::{Error, Result};
use candle_core::DType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a GPU computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GpuPrecision {
    /// f32.
    #[default]
    F32,
    /// Values and weights of 11 significant bits, up to 65,504: features are some 1e-3 of the greatest away from f32.
    F16,
    /// Values and weights of 8 significant bits: some 1e-2 away.
    Bf16,
}

impl GpuPrecision {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    pub(super) fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// Where networks run; written `cpu`, `cpu:f32`, `cpu:bf16`, `cpu:int8`, `cuda:0`, `cuda:0:f16` or `cuda:0:bf16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The processor, by its fastest instructions: with AMX, products of f32 are sums of products of bf16
    /// ([`Isa::Amx`]).
    #[default]
    Cpu,
    /// The processor, every product in f32.
    CpuF32,
    /// The processor, values and weights rounded to bf16: some 1e-2 of the greatest feature away from f32; needs AMX.
    CpuBf16,
    /// The processor, what convolutions multiply rounded to 8 bits, each pixel or block of them by its own greatest value: some 3e-2 to 7e-2 of the
    /// greatest feature away from f32; needs AVX-512 VNNI or AMX, which give the same to the bit.
    CpuInt8,
    /// The NVIDIA GPU of this number, as CUDA counts them; only in builds with the feature `cuda`.
    Cuda(usize, GpuPrecision),
}

impl DeviceChoice {
    /// Whether this build can use the device at all.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] for a GPU in a build without the feature `cuda`, for bf16 on a processor without AMX, or for int8 on one
    /// without AVX-512 VNNI and AMX.
    pub fn check(&self) -> Result<()> {
        if matches!(self, Self::Cuda(..)) && !cfg!(feature = "cuda") {
            return Err(Error::Parameter {
                name: "device",
                found: self.to_string(),
                expected: "cpu: this build has no GPU support (build with the feature cuda to have it)"
                    .into(),
            });
        }
        if *self == Self::CpuBf16 && !Isa::AmxBf16.is_available() {
            return Err(Error::Parameter {
                name: "device",
                found: self.to_string(),
                expected: "cpu or cpu:f32: this processor has no AMX, or the system does not lend it".into(),
            });
        }
        if *self == Self::CpuInt8 && Isa::best_int8().is_none() {
            return Err(Error::Parameter {
                name: "device",
                found: self.to_string(),
                expected: format!(
                    "cpu or cpu:f32: this processor has neither AVX-512 VNNI nor AMX for 8 bits, its fastest instructions are {:?}",
                    Isa::best()
                ),
            });
        }
        Ok(())
    }

    /// The instructions that it means on the processor.
    pub(super) fn isa(self) -> Isa {
        match self {
            Self::CpuF32 => Isa::best_f32(),
            Self::CpuBf16 => Isa::AmxBf16,
            // One that `check` refuses where there is none.
            Self::CpuInt8 => Isa::best_int8().unwrap_or(Isa::Int8Vnni),
            Self::Cpu | Self::Cuda(..) => Isa::best(),
        }
    }

    /// What [`FeatureExtractor::arithmetic`](crate::FeatureExtractor::arithmetic) says of networks there.
    pub(super) fn arithmetic(self) -> &'static str {
        if let Self::Cuda(_, precision) = self {
            return precision.name();
        }
        match self.isa() {
            Isa::Amx => "bf16x3",
            Isa::AmxBf16 => "bf16",
            Isa::Int8Vnni | Isa::Int8Amx => "int8",
            _ => "f32",
        }
    }

    pub(super) fn open(&self) -> Result<candle_core::Device> {
        self.check()?;
        match self {
            Self::Cpu | Self::CpuF32 | Self::CpuBf16 | Self::CpuInt8 => Ok(candle_core::Device::Cpu),
            Self::Cuda(ordinal, _) => {
                candle_core::Device::new_cuda(*ordinal).map_err(|error| Error::Parameter {
                    name: "device",
                    found: format!("{self}, which cannot be opened ({error})"),
                    expected: "cpu, or the number of a GPU that nvidia-smi lists".into(),
                })
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::CpuF32 => f.write_str("cpu:f32"),
            Self::CpuBf16 => f.write_str("cpu:bf16"),
            Self::CpuInt8 => f.write_str("cpu:int8"),
            Self::Cuda(ordinal, GpuPrecision::F32) => write!(f, "cuda:{ordinal}"),
            Self::Cuda(ordinal, precision) => write!(f, "cuda:{ordinal}:{}", precision.name()),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let gpu = |text: &str| {
            let (ordinal, precision) = match text.strip_prefix("cuda:")?.split_once(':') {
                None => (text.strip_prefix("cuda:")?, GpuPrecision::F32),
                Some((ordinal, "f16")) => (ordinal, GpuPrecision::F16),
                Some((ordinal, "bf16")) => (ordinal, GpuPrecision::Bf16),
                Some(_) => return None,
            };
            Some(Self::Cuda(ordinal.parse().ok()?, precision))
        };
        match text {
            "cpu" => Ok(Self::Cpu),
            "cpu:f32" => Ok(Self::CpuF32),
            "cpu:bf16" => Ok(Self::CpuBf16),
            "cpu:int8" => Ok(Self::CpuInt8),
            _ => gpu(text).ok_or_else(|| Error::Parameter {
                name: "device",
                found: format!("\"{text}\""),
                expected: "\"cpu\", \"cpu:f32\", \"cpu:bf16\", \"cpu:int8\", or \"cuda:0\" with the number of a GPU and perhaps its precision, \":f16\" or \":bf16\"".into(),
            }),
        }
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(device: DeviceChoice) -> Self {
        device.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_as_they_are_written() {
        for device in [
            DeviceChoice::Cpu,
            DeviceChoice::CpuF32,
            DeviceChoice::CpuBf16,
            DeviceChoice::CpuInt8,
            DeviceChoice::Cuda(0, GpuPrecision::F32),
            DeviceChoice::Cuda(3, GpuPrecision::F16),
            DeviceChoice::Cuda(12, GpuPrecision::Bf16),
        ] {
            assert_eq!(device.to_string().parse::<DeviceChoice>().unwrap(), device);
        }
        for wrong in [
            "",
            "gpu",
            "cuda",
            "cuda:",
            "cuda:-1",
            "CPU",
            "cpu:",
            "cpu:f16",
            "cpu:int4",
            "cuda:0:int8",
            "cuda:0:",
            "cuda:0:f32",
            "cuda::f16",
        ] {
            let error = wrong.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains("cuda:0"), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn gpu_is_refused_by_a_build_without_cuda() {
        assert!(DeviceChoice::Cpu.open().is_ok());
        let error = DeviceChoice::Cuda(0, GpuPrecision::F16).open().unwrap_err().to_string();
        assert!(error.contains("feature cuda"), "{error}");
    }

    #[test]
    fn int8_is_taken_where_the_processor_has_it_and_refused_elsewhere_with_what_to_ask_for() {
        match (Isa::best_int8(), DeviceChoice::CpuInt8.check()) {
            (Some(isa), found) => {
                found.unwrap();
                assert!(isa.is_available() && DeviceChoice::CpuInt8.isa() == isa);
                assert!(!Isa::available().contains(&isa), "never taken unless asked for");
            }
            (None, found) => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains("cpu:int8") && error.contains("VNNI"), "{error}");
                assert!(DeviceChoice::CpuInt8.open().is_err());
            }
        }
        assert_eq!(DeviceChoice::CpuInt8.arithmetic(), "int8");
    }
}
