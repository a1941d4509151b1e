//! Numbers as a system description writes them.

#![forbid(unsafe_code)]

use std::num::IntErrorKind;

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    /// Digits are missing, or something else stands among them.
    Malformed,
    /// More than 64 bits.
    TooLarge,
}

/// Decimal, or hexadecimal behind `0x`; `_` anywhere between digits.
pub(super) fn parse(text: &str) -> Result<u64, NotANumber> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if digits.starts_with('_') || digits.ends_with('_') {
        return Err(NotANumber::Malformed);
    }
    digits_to_u64(&digits.replace('_', ""), radix)
}

/// Digits alone, as ids, interrupt numbers, pins and vectors are written.
pub(super) fn parse_decimal(text: &str) -> Result<u64, NotANumber> {
    digits_to_u64(text, 10)
}

/// `text` as hexadecimal digits alone.
pub(super) fn parse_hex(text: &str) -> Result<u64, NotANumber> {
    digits_to_u64(text, 16)
}

fn digits_to_u64(digits: &str, radix: u32) -> Result<u64, NotANumber> {
    // `from_str_radix` takes a sign too.
    if !digits.chars().all(|character| character.is_digit(radix)) {
        return Err(NotANumber::Malformed);
    }
    u64::from_str_radix(digits, radix).map_err(|error| match error.kind() {
        IntErrorKind::PosOverflow => NotANumber::TooLarge,
        _ => NotANumber::Malformed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bases_and_underscores_are_read() {
        for (text, number) in [
            ("0", 0),
            ("10", 10),
            ("0x200_000", 0x20_0000),
            ("0x10_000", 0x1_0000),
            ("1__0", 10),
            ("0xfF", 255),
            ("007", 7),
            ("18446744073709551615", u64::MAX),
            ("0xffff_ffff_ffff_ffff", u64::MAX),
            ("0x00000000000000000000001", 1),
        ] {
            assert_eq!(parse(text), Ok(number), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", " 1", "1 ", "+1", "-1", "0x", "0X10", "_1", "1_", "0x_1", "1.0", "0b1", "ten", "٣"]
        {
            assert_eq!(parse(text), Err(NotANumber::Malformed), "{text}");
        }
        for text in ["18446744073709551616", "0x1_0000_0000_0000_0000"] {
            assert_eq!(parse(text), Err(NotANumber::TooLarge), "{text}");
        }
    }

    #[test]
    fn plain_decimal_has_digits_alone() {
        assert_eq!(parse_decimal("61"), Ok(61));
        for text in ["", "0x1", "1_0", "-1", "+1", " 1"] {
            assert_eq!(parse_decimal(text), Err(NotANumber::Malformed), "{text}");
        }
    }
}
