//! Images and raw fields as simulations write them: decoding within limits, cropping, colour and reduction.
//!
//! Bytes in, pixels out: nothing here opens a file, so that the caller decides which paths may be read.

mod completeness;
mod crop;
mod decode;
mod encode;
mod error;
mod field;
mod field_scale;
mod input;
mod npy;
mod polar;
mod preprocess;

pub use crop::Crop;
pub use decode::{Decoded, Limits, decode};
pub use encode::encode_png;
pub use error::{ImageError, ImageErrorKind};
pub use field::{ByteOrder, Field, FieldLayout, FieldNumber, MAX_VARIABLES, NotFinite};
pub use field_scale::FieldScale;
pub(crate) use field_scale::ScaleParts;
pub use input::Input;
pub use npy::read_npy;
pub(crate) use npy::{MOST_BEFORE_VALUES, NpyHeader, read_npy_header};
pub use polar::{FieldParams, Grid, PolarPlane, Spacing};
pub use preprocess::{Colour, Preprocess};
