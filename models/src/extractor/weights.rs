//! Tensors of a safetensors file, checked for name, shape and type before they are believed.

use crate::error::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

/// SHA-256 of `bytes`, as 64 lower-case hexadecimal digits.
pub fn sha256_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tensors of one file.
pub(super) struct Weights<'a> {
    name: &'a str,
    tensors: SafeTensors<'a>,
}

impl<'a> Weights<'a> {
    /// Reads the header of a safetensors file; `name` is for errors.
    pub(super) fn new(name: &'a str, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| Error::Weights {
            name: name.to_owned(),
            reason: format!(
                "found {} bytes that are not a whole safetensors file ({error}); fetch or copy the file again",
                bytes.len()
            ),
        })?;
        Ok(Self { name, tensors })
    }

    fn refuse(&self, reason: String) -> Error {
        Error::Weights { name: self.name.to_owned(), reason }
    }

    /// The values of `tensor`, row-major, widened to f32.
    pub(super) fn values(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.tensors.tensor(tensor).map_err(|_| {
            let found = self.tensors.len();
            self.refuse(format!(
                "found no tensor {tensor} among {found}, expected one of shape {shape:?}: the file holds another network, \
                 or ends before the stage asked for"
            ))
        })?;
        if view.shape() != shape {
            let found = view.shape();
            return Err(self.refuse(format!("tensor {tensor}: found shape {found:?}, expected {shape:?}")));
        }
        let data = view.data();
        let pair = |bytes: &[u8]| [bytes[0], bytes[1]];
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => data
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
                .collect(),
            Dtype::F16 => {
                data.chunks_exact(2).map(|bytes| half::f16::from_le_bytes(pair(bytes)).to_f32()).collect()
            }
            Dtype::BF16 => {
                data.chunks_exact(2).map(|bytes| half::bf16::from_le_bytes(pair(bytes)).to_f32()).collect()
            }
            other => {
                return Err(
                    self.refuse(format!("tensor {tensor}: found type {other:?}, expected F32, F16 or BF16"))
                );
            }
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(self.refuse(format!(
                "tensor {tensor}: the value at index {index} is not finite; the file is damaged"
            ))),
            None => Ok(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(dtype: Dtype, shape: &[usize], data: &[u8]) -> Vec<u8> {
        safetensors::serialize([("t", TensorView::new(dtype, shape.to_vec(), data).unwrap())], None).unwrap()
    }

    fn complaint(bytes: &[u8], shape: &[usize]) -> String {
        let values = Weights::new("w", bytes).and_then(|weights| weights.values("t", shape));
        values.unwrap_err().to_string()
    }

    #[test]
    fn numbers_of_every_width_are_widened() {
        let wanted = [1.5f32, -0.25, 3.0];
        let f32s: Vec<u8> = wanted.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = wanted.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect();
        let bf16s: Vec<u8> = wanted.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect();
        for (dtype, data) in [(Dtype::F32, f32s), (Dtype::F16, f16s), (Dtype::BF16, bf16s)] {
            let bytes = file(dtype, &[3], &data);
            assert_eq!(Weights::new("w", &bytes).unwrap().values("t", &[3]).unwrap(), wanted);
        }
    }

    #[test]
    fn tensor_that_differs_is_named_with_what_was_found_and_expected() {
        let bytes = file(Dtype::F32, &[2, 3], &[0; 24]);
        let shape = complaint(&bytes, &[3, 2]);
        assert!(
            shape.contains("tensor t") && shape.contains("[2, 3]") && shape.contains("[3, 2]"),
            "{shape}"
        );
        let missing =
            Weights::new("w", &bytes).unwrap().values("layer4.0.conv1.weight", &[1]).unwrap_err().to_string();
        assert!(missing.contains("layer4.0.conv1.weight"), "{missing}");
        let dtype = complaint(&file(Dtype::I32, &[1], &[0; 4]), &[1]);
        assert!(dtype.contains("I32") && dtype.contains("F16"), "{dtype}");
        let nan = complaint(&file(Dtype::F32, &[1], &f32::NAN.to_le_bytes()), &[1]);
        assert!(nan.contains("not finite"), "{nan}");
    }

    #[test]
    fn every_truncation_of_a_file_is_refused() {
        let bytes = file(Dtype::F32, &[2, 3], &[0; 24]);
        for length in 0..bytes.len() {
            let found = complaint(&bytes[..length], &[2, 3]);
            assert!(found.contains("not a whole safetensors file"), "{length}: {found}");
        }
        let header_of_2_to_the_60_bytes = [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat();
        assert!(complaint(&header_of_2_to_the_60_bytes, &[1]).contains("not a whole"));
    }

    #[test]
    fn checksum_is_that_of_the_standard() {
        let wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(b"abc"), wanted);
    }
}
