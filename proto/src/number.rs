//! Numbers as text, as in the C locale: the fewest digits that restore the same 64-bit number.

use crate::limits::MAX_NUMBER_BYTES;

/// Writes a score or a threshold; at most 25 bytes.
///
/// ```
/// assert_eq!(anomalyd_proto::format_number(0.1), "0.1");
/// assert_eq!(anomalyd_proto::format_number(2.0), "2");
/// assert_eq!(anomalyd_proto::format_number(1e300), "1e300");
/// assert_eq!(anomalyd_proto::format_number(-f64::INFINITY), "-inf");
/// assert_eq!(anomalyd_proto::format_number(f64::NAN), "nan");
/// ```
pub fn format_number(number: f64) -> String {
    if number.is_nan() {
        // A NaN has a sign and a payload; neither has a meaning here.
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    // Debug, unlike Display, turns to an exponent where the digits would be mostly zeros.
    let mut text = format!("{number:?}");
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

/// Reads a score or a threshold.
///
/// # Errors
///
/// The index of the first byte that does not follow the grammar (PROTOCOL.md, section 4): no plus sign, no blank, no hex, no
/// capital, a digit on both sides of a point. Index 0 if the number is finite but too large for 64 bits.
pub fn parse_number(bytes: &[u8]) -> Result<f64, usize> {
    match bytes {
        b"nan" => return Ok(f64::NAN),
        b"inf" => return Ok(f64::INFINITY),
        b"-inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    if bytes.len() > MAX_NUMBER_BYTES {
        return Err(MAX_NUMBER_BYTES);
    }
    // C and Fortran read what their libraries let through, so what is let through is decided here and not by `parse`.
    let digits = |from: usize| {
        let n_digits = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if n_digits == 0 { Err(from) } else { Ok(from + n_digits) }
    };
    let sign = |at: usize| at + usize::from(bytes.get(at) == Some(&b'-'));
    let mut end = digits(sign(0))?;
    if bytes.get(end) == Some(&b'.') {
        end = digits(end + 1)?;
    }
    if bytes.get(end) == Some(&b'e') {
        end = digits(sign(end + 1))?;
    }
    if end < bytes.len() {
        return Err(end);
    }
    let number: f64 = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or(0usize)?;
    if number.is_finite() { Ok(number) } else { Err(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bad_byte_is_named() {
        for (text, byte) in [
            ("", 0),
            ("-", 1),
            ("+1", 0),
            (" 1", 0),
            (".5", 0),
            ("1.", 2),
            ("1,5", 1),
            ("0x1p3", 1),
            ("1E5", 1),
            ("1e", 2),
            ("1e-", 3),
            ("1.5.5", 3),
            ("NaN", 0),
            ("-nan", 1),
            ("infinity", 0),
            ("1e999", 0),
        ] {
            assert_eq!(parse_number(text.as_bytes()), Err(byte), "{text:?}");
        }
    }

    #[test]
    fn negative_nan_is_written_without_sign() {
        assert_eq!(format_number(-f64::NAN), "nan");
    }

    #[test]
    fn widest_numbers_stay_below_the_limit() {
        for number in
            [-f64::MIN_POSITIVE, -2.225_073_858_507_201e-308, f64::MIN, -0.000_123_456_789_012_345_67, 5e-324]
        {
            let text = format_number(number);
            assert!(text.len() <= 25, "{text}");
            assert_eq!(parse_number(text.as_bytes()).unwrap().to_bits(), number.to_bits());
        }
    }
}
