//! Why an image could not be taken: few kinds, which callers act upon, and words for a person.

/// What went wrong with an image, as far as a caller would act differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageErrorKind {
    /// No image of a supported format, or a variant of one that is not read (floating-point samples, for example).
    Unsupported,
    /// The file ends before the image does. It may still be in writing: try again.
    Truncated,
    /// The file contradicts itself: a wrong checksum, an impossible header, a decoder that gave up.
    Damaged,
    /// The image exceeds a limit; nothing was allocated for it.
    TooLarge,
    /// The image is smaller than the crop or the reduction asked for.
    Crop,
}

/// Why an image was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ImageError {
    kind: ImageErrorKind,
    message: String,
}

impl ImageError {
    pub(crate) fn new(kind: ImageErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What went wrong.
    pub fn kind(&self) -> ImageErrorKind {
        self.kind
    }
}
