//! Bytes of an image file to pixels, within limits and without panics.

use super::completeness::{self, Extent};
use super::error::{ImageError, ImageErrorKind};
use super::npy::is_npy;
use ::image::{ColorType, ImageDecoder, ImageFormat, ImageReader};
use ndarray::Array3;
use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What an image may cost; checked against its header, before anything is allocated for its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Greatest height, in pixels.
    pub max_rows: usize,
    /// Greatest width, in pixels.
    pub max_columns: usize,
    /// Greatest size of the decoded pixels, in bytes (rows x columns x channels x bytes a sample). A decoder may use as
    /// much again while it works.
    pub max_pixels_bytes: u64,
}

impl Default for Limits {
    /// 16,384 x 16,384 pixels and 256 MiB.
    fn default() -> Self {
        Self { max_rows: 16_384, max_columns: 16_384, max_pixels_bytes: 256 << 20 }
    }
}

/// A decoded image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// `[rows, columns, channels]`, grey levels in 0..=255; channels are 1 (grey) or 3 (red, green, blue).
    pub pixels: Array3<u8>,
    /// The file's format: `png`, `jpeg`, `pnm`, `bmp` or `tiff`.
    pub format: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    Pnm,
    Bmp,
    Tiff,
}

const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";
const OTHER_MAGICS: [(&[u8], Format); 6] = [
    (b"\xFF\xD8\xFF", Format::Jpeg),
    (b"BM", Format::Bmp),
    (b"II*\0", Format::Tiff),
    (b"MM\0*", Format::Tiff),
    (b"II+\0", Format::Tiff),
    (b"MM\0+", Format::Tiff),
];

impl Format {
    /// Recognises a format by its first bytes; the file's name is not looked at.
    fn of(bytes: &[u8]) -> Result<Self, ImageError> {
        if bytes.is_empty() {
            return Err(ImageError::new(ImageErrorKind::Truncated, "the file is empty"));
        }
        if bytes.starts_with(PNG_MAGIC) {
            return Ok(Self::Png);
        }
        for (magic, format) in OTHER_MAGICS {
            if bytes.starts_with(magic) {
                return Ok(format);
            }
        }
        if let [b'P', b'1'..=b'7', blank, ..] = bytes
            && (blank.is_ascii_whitespace() || *blank == b'#')
        {
            return Ok(Self::Pnm);
        }
        let beginning = |magic: &[u8]| magic.starts_with(bytes);
        if beginning(PNG_MAGIC)
            || OTHER_MAGICS.iter().any(|(magic, _)| beginning(magic))
            || matches!(bytes, [b'P'] | [b'P', b'1'..=b'7'])
        {
            let message = format!("the file ends after {} bytes, within its signature", bytes.len());
            return Err(ImageError::new(ImageErrorKind::Truncated, message));
        }
        if is_npy(bytes) {
            let message = "a raw field (NumPy), which only a run can judge: name one, or give an image";
            return Err(ImageError::new(ImageErrorKind::Unsupported, message));
        }
        let shown = bytes[..bytes.len().min(8)].escape_ascii();
        let message = format!(
            "not an image of a known format (it begins with \"{shown}\"): write PNG, JPEG, PNM, BMP or TIFF"
        );
        Err(ImageError::new(ImageErrorKind::Unsupported, message))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Pnm => "pnm",
            Self::Bmp => "bmp",
            Self::Tiff => "tiff",
        }
    }

    fn crate_format(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Pnm => ImageFormat::Pnm,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
        }
    }

    fn extent(self, bytes: &[u8]) -> Extent {
        match self {
            Self::Png => completeness::png(bytes),
            Self::Jpeg => completeness::jpeg(bytes),
            Self::Pnm => completeness::pnm(bytes),
            Self::Bmp => completeness::bmp(bytes),
            Self::Tiff => completeness::tiff(bytes),
        }
    }

    fn error(self, kind: ImageErrorKind, message: impl std::fmt::Display) -> ImageError {
        ImageError::new(kind, format!("{}: {message}", self.name()))
    }

    /// Refuses a file that ends early or whose structure is broken.
    fn check_extent(self, bytes: &[u8]) -> Result<(), ImageError> {
        match self.extent(bytes) {
            Extent::Complete => Ok(()),
            Extent::Truncated(what) => Err(self
                .error(ImageErrorKind::Truncated, format!("truncated: {what}; it may still be in writing"))),
            Extent::Damaged(what) => Err(self.error(ImageErrorKind::Damaged, format!("damaged: {what}"))),
        }
    }

    fn decoder_error(self, error: &::image::ImageError) -> ImageError {
        use ::image::ImageError as Theirs;
        match error {
            Theirs::Unsupported(_) => self.error(
                ImageErrorKind::Unsupported,
                format!("{error}; write 8-bit or 16-bit grey or RGB samples"),
            ),
            Theirs::Limits(_) => {
                self.error(ImageErrorKind::TooLarge, format!("decoding exceeds the limits: {error}"))
            }
            // Only run-length coded BMPs may end early unnoticed by their structure.
            Theirs::IoError(io) if io.kind() == ErrorKind::UnexpectedEof && self == Self::Bmp => self.error(
                ImageErrorKind::Truncated,
                "truncated: the raster ends early; it may still be in writing",
            ),
            _ => self.error(ImageErrorKind::Damaged, format!("damaged: {error}")),
        }
    }
}

/// Decodes an image file held in memory.
///
/// The format is recognised by content, never by name: PNG, JPEG, PNM (PBM, PGM, PPM and PAM), BMP and TIFF. Palettes are
/// resolved, transparency is composited onto white, 16-bit samples are rounded to 8 bits, and grey files stay grey. Of an
/// animation or a multi-page TIFF the first image is taken. Orientation tags and colour profiles are ignored.
///
/// # Errors
///
/// [`ImageError`], of kind
/// - `Truncated` if the file ends before the image does. In the ASCII forms of PNM the last number's last digits are the one
///   thing whose absence cannot be seen;
/// - `TooLarge` if the header announces more than `limits` allow;
/// - `Unsupported` or `Damaged` as they say. A panic of a decoder is contained and reported as `Damaged`; the process's
///   panic hook still sees it.
///
/// # Examples
///
/// ```
/// use anomalyd_models::image::{ImageErrorKind, Limits, decode};
///
/// let image = decode(b"P2\n3 1\n255\n0 128 255\n", &Limits::default())?;
/// assert_eq!(image.pixels.dim(), (1, 3, 1));
/// assert_eq!(image.pixels[[0, 1, 0]], 128);
///
/// let cut = decode(b"P2\n3 1\n255\n0 128", &Limits::default()).unwrap_err();
/// assert_eq!(cut.kind(), ImageErrorKind::Truncated);
/// # Ok::<(), anomalyd_models::image::ImageError>(())
/// ```
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, ImageError> {
    let format = Format::of(bytes)?;
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, limits))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(format.error(ImageErrorKind::Damaged, format!("damaged: the decoder panicked: {text}")))
    })
}

fn decode_as(format: Format, bytes: &[u8], limits: &Limits) -> Result<Decoded, ImageError> {
    // Dimensions are checked below, with better words; until then only allocations are limited.
    let mut decoder_limits = ::image::Limits::default();
    decoder_limits.max_alloc = Some(limits.max_pixels_bytes.saturating_mul(2).saturating_add(16 << 20));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.crate_format());
    reader.limits(decoder_limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| {
        // What is missing explains a complaint better than the decoder can, but a limit holds for the whole file too.
        let explained =
            if matches!(error, ::image::ImageError::Limits(_)) { Ok(()) } else { format.check_extent(bytes) };
        explained.err().unwrap_or_else(|| format.decoder_error(&error))
    })?;
    let (columns, rows) = decoder.dimensions();
    let (rows, columns, total) = (rows as usize, columns as usize, decoder.total_bytes());
    if rows > limits.max_rows || columns > limits.max_columns || total > limits.max_pixels_bytes {
        return Err(format.error(
            ImageErrorKind::TooLarge,
            format!(
                "{rows} rows x {columns} columns ({total} bytes) are too large: at most {} rows, {} columns and {} bytes are \
                 allowed",
                limits.max_rows, limits.max_columns, limits.max_pixels_bytes
            ),
        ));
    }
    format.check_extent(bytes)?;
    if rows == 0 || columns == 0 {
        return Err(
            format.error(ImageErrorKind::Damaged, format!("{rows} rows x {columns} columns hold no pixel"))
        );
    }
    decoder_limits.max_image_width = u32::try_from(limits.max_columns).ok();
    decoder_limits.max_image_height = u32::try_from(limits.max_rows).ok();
    decoder.set_limits(decoder_limits).map_err(|error| format.decoder_error(&error))?;
    let colour = decoder.color_type();
    let mut samples = vec![0; total as usize]; // within max_pixels_bytes, and pixels were asked for in memory
    decoder.read_image(&mut samples).map_err(|error| format.decoder_error(&error))?;
    let (samples, channels) = match colour {
        ColorType::L8 => (samples, 1),
        ColorType::Rgb8 => (samples, 3),
        ColorType::La8 => (onto_white::<2>(&widened(&samples)), 1),
        ColorType::Rgba8 => (onto_white::<4>(&widened(&samples)), 3),
        ColorType::L16 => (narrowed(&samples), 1),
        ColorType::Rgb16 => (narrowed(&samples), 3),
        ColorType::La16 => (onto_white::<2>(&paired(&samples)), 1),
        ColorType::Rgba16 => (onto_white::<4>(&paired(&samples)), 3),
        other => {
            return Err(format.error(
                ImageErrorKind::Unsupported,
                format!("samples of type {other:?} are not read: write 8-bit or 16-bit grey or RGB samples"),
            ));
        }
    };
    let pixels = Array3::from_shape_vec((rows, columns, channels), samples).map_err(|_| {
        format.error(
            ImageErrorKind::Damaged,
            "damaged: the decoder gave another number of samples than announced",
        )
    })?;
    Ok(Decoded { pixels, format: format.name() })
}

fn paired(samples: &[u8]) -> Vec<u16> {
    samples.chunks_exact(2).map(|pair| u16::from_ne_bytes([pair[0], pair[1]])).collect()
}

fn widened(samples: &[u8]) -> Vec<u16> {
    samples.iter().map(|&sample| u16::from(sample) * 257).collect()
}

/// The nearest of 256 levels to one of 65,536: both scales end at white.
fn level(sample: u32) -> u8 {
    ((sample + 128) / 257) as u8
}

fn narrowed(samples: &[u8]) -> Vec<u8> {
    samples.chunks_exact(2).map(|pair| level(u32::from(u16::from_ne_bytes([pair[0], pair[1]])))).collect()
}

/// Composites pixels of `N` samples, the last of them opacity, onto white.
fn onto_white<const N: usize>(samples: &[u16]) -> Vec<u8> {
    let white = u64::from(u16::MAX);
    let mut levels = Vec::with_capacity(samples.len() / N * (N - 1));
    for pixel in samples.chunks_exact(N) {
        let opacity = u64::from(pixel[N - 1]);
        for &sample in &pixel[..N - 1] {
            let mixed = u64::from(sample) * opacity + white * (white - opacity);
            levels.push(level(((mixed + white / 2) / white) as u32));
        }
    }
    levels
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
