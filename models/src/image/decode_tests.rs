use super::*;
use crate::rng::Rng;
use ::image::codecs::pnm::{PnmEncoder, PnmSubtype, SampleEncoding};
use ::image::{DynamicImage, ImageEncoder, RgbImage};
use proptest::prelude::*;

/// A small picture in which neighbouring pixels differ.
fn picture(rows: u32, columns: u32) -> DynamicImage {
    let level = |x: u32, y: u32, c: u32| (x * 37 + y * 11 + c * 80) as u8;
    RgbImage::from_fn(columns, rows, |x, y| ::image::Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]))
        .into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn pnm(image: &DynamicImage, subtype: PnmSubtype) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = PnmEncoder::new(&mut bytes).with_subtype(subtype);
    encoder.write_image(image.as_bytes(), image.width(), image.height(), image.color().into()).unwrap();
    bytes
}

/// A valid file of every format and of the variants that end in different ways.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let rgb = picture(9, 14);
    let (grey, alpha) = (DynamicImage::from(rgb.to_luma8()), DynamicImage::from(rgb.to_rgba8()));
    let deep = DynamicImage::from(rgb.to_rgb16());
    let mut files = vec![];
    for image in [&rgb, &grey, &alpha, &deep] {
        files.push(("png", encoded(image, ImageFormat::Png)));
        files.push(("tiff", encoded(image, ImageFormat::Tiff)));
    }
    for image in [&rgb, &grey] {
        files.push(("jpeg", encoded(image, ImageFormat::Jpeg)));
    }
    for image in [&rgb, &grey, &alpha] {
        files.push(("bmp", encoded(image, ImageFormat::Bmp)));
        files.push(("pnm", pnm(image, PnmSubtype::ArbitraryMap)));
    }
    files.push(("pnm", pnm(&rgb, PnmSubtype::Pixmap(SampleEncoding::Binary))));
    files.push(("pnm", pnm(&grey, PnmSubtype::Graymap(SampleEncoding::Binary))));
    files.push(("pnm", b"P4\n# a comment\n10 3\n\xAA\x80\x55\x40\xFF\xC0".to_vec()));
    files.push(("pnm", b"P5 2 2 65535\n\x01\x02\x03\x04\x05\x06\x07\x08".to_vec()));
    files.push(("bmp", rle_bmp()));
    files.push(("tiff", big_endian_tiff_with_its_raster_last()));
    files
}

/// 4 x 2 pixels of two palette colours, run-length coded.
fn rle_bmp() -> Vec<u8> {
    let raster = [2u8, 0, 2, 1, 0, 0, 4, 1, 0, 0, 0, 1];
    let mut bytes = b"BM".to_vec();
    let offset = 14 + 40 + 8;
    for word in
        [offset + raster.len() as u32, 0, offset, 40, 4, 2, 1 | 8 << 16, 1, raster.len() as u32, 0, 0, 2, 0]
    {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0, 0, 0, 0, 255, 255, 255, 0]);
    bytes.extend(raster);
    bytes
}

/// 3 x 2 grey pixels: libtiff and the `image` crate write the directory last, others write it first.
fn big_endian_tiff_with_its_raster_last() -> Vec<u8> {
    let mut bytes = b"MM\0*\0\0\0\x08".to_vec();
    let entries: [[u16; 2]; 8] =
        [[256, 3], [257, 2], [258, 8], [259, 1], [262, 1], [273, 110], [278, 2], [279, 6]];
    bytes.extend((entries.len() as u16).to_be_bytes());
    for [tag, value] in entries {
        for word in [tag, 3, 0, 1, value, 0] {
            bytes.extend(word.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend([1, 2, 3, 4, 5, 6]);
    bytes
}

fn kind(bytes: &[u8]) -> ImageErrorKind {
    decode(bytes, &Limits::default()).expect_err("the file should have been refused").kind()
}

#[test]
fn every_format_is_recognised_by_its_content() {
    for (name, bytes) in files() {
        let image = decode(&bytes, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(image.format, name);
        assert!(image.pixels.len() >= 4);
    }
}

#[test]
fn lossless_formats_give_the_pixels_back() {
    let rgb = picture(9, 14);
    let wanted = rgb.to_rgb8().into_raw();
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm] {
        let image = decode(&encoded(&rgb, format), &Limits::default()).unwrap();
        assert_eq!(image.pixels.dim(), (9, 14, 3));
        assert_eq!(image.pixels.as_slice().unwrap(), &wanted[..], "{format:?}");
    }
}

#[test]
fn every_prefix_of_a_file_is_told_as_truncated() {
    for (name, bytes) in files() {
        for length in 0..bytes.len() {
            let found = decode(&bytes[..length], &Limits::default());
            let kind = found.as_ref().err().map(ImageError::kind);
            assert_eq!(
                kind,
                Some(ImageErrorKind::Truncated),
                "{name}, {length} of {}: {found:?}",
                bytes.len()
            );
        }
    }
}

#[test]
fn ascii_numbers_are_counted() {
    let file = b"P3 2 1 255\n1 2 3 4 5 6\n";
    assert_eq!(decode(file, &Limits::default()).unwrap().pixels.as_slice().unwrap(), [1, 2, 3, 4, 5, 6]);
    for length in 0..file.len() - 2 {
        assert_eq!(kind(&file[..length]), ImageErrorKind::Truncated, "{length}");
    }
}

#[test]
fn png_without_its_end_chunk_is_truncated_and_with_a_wrong_checksum_damaged() {
    let whole = encoded(&picture(40, 40), ImageFormat::Png);
    let without_end = &whole[..whole.len() - 12];
    assert_eq!(kind(without_end), ImageErrorKind::Truncated);
    let mut damaged = whole.clone();
    damaged[60] ^= 0x40;
    assert_eq!(kind(&damaged), ImageErrorKind::Damaged);
    let mut zeroed = whole;
    let middle = zeroed.len() / 2;
    zeroed[middle..].fill(0);
    assert_eq!(kind(&zeroed), ImageErrorKind::Damaged);
}

#[test]
fn text_and_foreign_formats_are_unsupported() {
    for bytes in [
        &b"not an image at all\n"[..],
        b"GIF89a\x01\x00",
        b"%PDF-1.7",
        b"P8\n1 1\n",
        b"\x89HDF\r\n\x1a\n",
        &[0; 64],
    ] {
        assert_eq!(kind(bytes), ImageErrorKind::Unsupported, "{}", bytes.escape_ascii());
    }
    let error = decode(b"step 12\n", &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("step 12") && error.contains("PNG"), "{error}");
}

#[test]
fn floating_point_samples_are_unsupported() {
    let image = DynamicImage::from(picture(4, 4).to_rgb32f());
    let error = decode(&encoded(&image, ImageFormat::Tiff), &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::Unsupported);
    assert!(error.to_string().contains("16-bit"), "{error}");
}

/// The header of a PNG of any size, with a valid checksum, and an end chunk.
fn png_header(columns: u32, rows: u32) -> Vec<u8> {
    let crc = |bytes: &[u8]| {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    };
    let mut file = PNG_MAGIC.to_vec();
    let header = [&columns.to_be_bytes()[..], &rows.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (name, data) in [(b"IHDR", &header[..]), (b"IDAT", &[0x78, 0x9C][..]), (b"IEND", &[])] {
        let body = [name, data].concat();
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&body);
        file.extend(crc(&body).to_be_bytes());
    }
    file
}

#[test]
fn image_beyond_the_limits_is_refused_by_its_header() {
    let start = std::time::Instant::now();
    for (columns, rows) in [(60_000, 60_000), (i32::MAX as u32, i32::MAX as u32), (1, 16_385), (16_385, 1)] {
        let error = decode(&png_header(columns, rows), &Limits::default()).unwrap_err();
        assert_eq!(error.kind(), ImageErrorKind::TooLarge, "{error}");
        assert!(
            error.to_string().contains("16384") || error.to_string().contains("exceeds the limits"),
            "{error}"
        );
    }
    assert_eq!(kind(b"P6 60000 60000 255\n"), ImageErrorKind::TooLarge);
    assert_eq!(kind(b"P5 4000000000 2000000000 255\n"), ImageErrorKind::TooLarge);
    // Ten gigabytes of pixels take seconds to clear.
    assert!(start.elapsed().as_secs_f64() < 1.0);
    let pixels = Limits { max_pixels_bytes: 3 * 14 * 9 - 1, ..Limits::default() };
    let error = decode(&encoded(&picture(9, 14), ImageFormat::Png), &pixels).unwrap_err();
    assert_eq!(error.kind(), ImageErrorKind::TooLarge);
}

#[test]
fn transparency_is_composited_onto_white() {
    let mut image = ::image::RgbaImage::new(3, 1);
    image.put_pixel(0, 0, ::image::Rgba([10, 20, 30, 255]));
    image.put_pixel(1, 0, ::image::Rgba([10, 20, 30, 0]));
    image.put_pixel(2, 0, ::image::Rgba([0, 100, 255, 51]));
    let found = decode(&encoded(&image.into(), ImageFormat::Png), &Limits::default()).unwrap();
    assert_eq!(found.pixels.as_slice().unwrap(), [10, 20, 30, 255, 255, 255, 204, 224, 255]);
}

#[test]
fn sixteen_bits_are_rounded_to_eight() {
    let samples = [0u16, 128, 129, 257, 32_896, 65_406, 65_407, 65_535];
    let image = ::image::ImageBuffer::<::image::Luma<u16>, _>::from_raw(8, 1, samples.to_vec()).unwrap();
    for format in [ImageFormat::Png, ImageFormat::Tiff] {
        let found = decode(&encoded(&image.clone().into(), format), &Limits::default()).unwrap();
        assert_eq!(found.pixels.as_slice().unwrap(), [0, 0, 1, 1, 128, 254, 255, 255], "{format:?}");
    }
    let transparent =
        ::image::ImageBuffer::<::image::LumaA<u16>, _>::from_raw(1, 1, vec![0, 65_535 / 5]).unwrap();
    let found = decode(&encoded(&transparent.into(), ImageFormat::Png), &Limits::default()).unwrap();
    assert_eq!((found.pixels.dim(), found.pixels[[0, 0, 0]]), ((1, 1, 1), 204));
}

#[test]
fn palettes_are_resolved() {
    let found = decode(&rle_bmp(), &Limits::default()).unwrap();
    // BMP rows run upwards: the last row of the file, all white, is the first of the image.
    let wanted = [vec![255; 12], vec![0; 6], vec![255; 6]].concat();
    assert_eq!(found.pixels.as_slice().unwrap(), wanted);
}

#[test]
fn pnm_levels_are_scaled_by_their_maximum() {
    let found = decode(b"P2 3 1 100\n0 50 100\n", &Limits::default()).unwrap();
    assert_eq!(found.pixels.as_slice().unwrap(), [0, 128, 255]);
    let deep = decode(b"P5 2 1 1023\n\x01\xFF\x03\xFF", &Limits::default()).unwrap();
    assert_eq!(deep.pixels.as_slice().unwrap(), [127, 255]);
}

#[test]
fn one_damaged_byte_never_panics() {
    let mut rng = Rng::new(11);
    let limits = Limits { max_rows: 256, max_columns: 256, max_pixels_bytes: 1 << 20 };
    for (_, bytes) in files() {
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            let at = rng.below(damaged.len());
            damaged[at] = rng.next_u64() as u8;
            let _ = decode(&damaged, &limits);
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), start in 0usize..8) {
        let magics: [&[u8]; 8] = [b"", PNG_MAGIC, b"\xFF\xD8\xFF", b"BM", b"II*\0", b"MM\0+", b"P5 3 3 ", b"P7\n"];
        let _ = decode(&[magics[start], &bytes].concat(), &Limits { max_pixels_bytes: 1 << 20, ..Limits::default() });
    }

    #[test]
    fn prefixes_of_any_image_are_truncated(rows in 1u32..20, columns in 1u32..20, cut in 0.0..1.0f64, format in 0usize..4) {
        let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Jpeg];
        let bytes = encoded(&picture(rows, columns), formats[format]);
        let length = (cut * bytes.len() as f64) as usize;
        prop_assert_eq!(kind(&bytes[..length]), ImageErrorKind::Truncated);
    }
}
