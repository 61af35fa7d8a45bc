//! Tensors of numbers as they travel.

use crate::gateway::problem::{Code, Problem, echo};

/// A type of numbers that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Fp32,
    Fp64,
}

/// One input: its values are rows x columns, row-major, as 64-bit floats (integers beyond 2^53 are rounded).
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Datatype {
    /// The type called `name`.
    ///
    /// # Errors
    /// When it is no type of numbers.
    pub fn named(name: &str) -> Result<Self, Problem> {
        Ok(match name {
            "BOOL" => Self::Bool,
            "UINT8" => Self::Uint8,
            "UINT16" => Self::Uint16,
            "UINT32" => Self::Uint32,
            "UINT64" => Self::Uint64,
            "INT8" => Self::Int8,
            "INT16" => Self::Int16,
            "INT32" => Self::Int32,
            "INT64" => Self::Int64,
            "FP16" => Self::Fp16,
            "FP32" => Self::Fp32,
            "FP64" => Self::Fp64,
            _ => {
                let detail = format!(
                    "`{}` cannot be a feature; send FP64, FP32, FP16, INT*, UINT* or BOOL",
                    echo(name)
                );
                return Err(Problem::new(Code::UnsupportedDatatype, detail));
            }
        })
    }

    /// Bytes of one value.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Uint16 | Self::Int16 | Self::Fp16 => 2,
            Self::Uint32 | Self::Int32 | Self::Fp32 => 4,
            Self::Uint64 | Self::Int64 | Self::Fp64 => 8,
        }
    }

    /// Little-endian `bytes`, a whole number of values, as floats.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Vec<f64> {
        match self {
            Self::Bool => bytes.iter().map(|byte| f64::from(u8::from(*byte != 0))).collect(),
            Self::Uint8 => bytes.iter().map(|byte| f64::from(*byte)).collect(),
            Self::Int8 => bytes.iter().map(|byte| f64::from(byte.cast_signed())).collect(),
            Self::Uint16 => each(bytes, |value| f64::from(u16::from_le_bytes(value))),
            Self::Int16 => each(bytes, |value| f64::from(i16::from_le_bytes(value))),
            Self::Fp16 => each(bytes, |value| half(u16::from_le_bytes(value))),
            Self::Uint32 => each(bytes, |value| f64::from(u32::from_le_bytes(value))),
            Self::Int32 => each(bytes, |value| f64::from(i32::from_le_bytes(value))),
            Self::Fp32 => each(bytes, |value| f64::from(f32::from_le_bytes(value))),
            Self::Uint64 => each(bytes, |value| u64::from_le_bytes(value) as f64),
            Self::Int64 => each(bytes, |value| i64::from_le_bytes(value) as f64),
            Self::Fp64 => each(bytes, f64::from_le_bytes),
        }
    }
}

fn each<const WIDTH: usize>(bytes: &[u8], value: impl Fn([u8; WIDTH]) -> f64) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|chunk| value(*chunk)).collect()
}

/// IEEE 754 binary16.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1_024.0);
    sign * match exponent {
        0 => fraction * 2.0_f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2.0_f64.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_read_as_numpy_reads_them() {
        // numpy.float16(x).view(numpy.uint16)
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_953_125),
            (0x7bff, 65_504.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x7c00, f64::INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn every_type_has_its_width() {
        let bytes: Vec<u8> = (0..16).collect();
        for name in
            ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32"]
        {
            let datatype = Datatype::named(name).unwrap();
            assert_eq!(datatype.decode(&bytes).len() * datatype.width(), 16, "{name}");
        }
        assert_eq!(Datatype::Int16.decode(&[0xfe, 0xff]), [-2.0]);
        assert_eq!(Datatype::named("BYTES").unwrap_err().code, Code::UnsupportedDatatype);
    }
}
