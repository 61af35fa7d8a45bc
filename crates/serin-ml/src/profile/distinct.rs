//! How many distinct values, about.

use serde::{Deserialize, Serialize};

/// Bits of the hash that choose a register: 4,096 registers, standard error 1.6 %.
const REGISTER_BITS: u32 = 12;
const REGISTERS: usize = 1 << REGISTER_BITS;
/// Largest value of a register.
const LARGEST_REGISTER: u8 = (64 - REGISTER_BITS + 1) as u8;
/// A register is written as this character plus its value.
const FIRST_CHARACTER: u8 = b'0';

/// HyperLogLog over the bits of finite values (0 and -0 are one value).
///
/// P. Flajolet et al.: HyperLogLog (2007); estimated as in O. Ertl: New cardinality estimation algorithms for HyperLogLog
/// sketches (2017), algorithm 6, which needs no tables. The state is the registers and nothing else, so merging is exactly
/// associative and the same set of values gives the same bytes in whatever order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DistinctSketch {
    registers: Vec<u8>,
}

impl DistinctSketch {
    /// No value seen.
    #[must_use]
    pub fn empty() -> Self {
        Self { registers: vec![0; REGISTERS] }
    }

    /// Takes in one finite value.
    pub fn add(&mut self, value: f64) {
        let hash = mixed((value + 0.0).to_bits());
        let place = (hash >> (64 - REGISTER_BITS)) as usize;
        // The marker bit below the hash bits bounds the run of zeros.
        let zeros = ((hash << REGISTER_BITS) | (1 << (REGISTER_BITS - 1))).leading_zeros() as u8;
        if let Some(register) = self.registers.get_mut(place) {
            *register = (*register).max(zeros + 1);
        }
    }

    /// Takes in the values that `other` has seen.
    pub fn merge(&mut self, other: &Self) {
        for (here, there) in self.registers.iter_mut().zip(&other.registers) {
            *here = (*here).max(*there);
        }
    }

    /// The estimate; 0 without values.
    #[must_use]
    pub fn estimate(&self) -> f64 {
        let mut counts = [0.0; LARGEST_REGISTER as usize + 1];
        for &register in &self.registers {
            counts[usize::from(register.min(LARGEST_REGISTER))] += 1.0;
        }
        let m = REGISTERS as f64;
        let mut z = m * tau(1.0 - counts[LARGEST_REGISTER as usize] / m);
        for count in counts[1..LARGEST_REGISTER as usize].iter().rev() {
            z = 0.5 * (z + count);
        }
        z += m * sigma(counts[0] / m);
        m * m / (2.0 * std::f64::consts::LN_2 * z)
    }
}

impl From<DistinctSketch> for String {
    fn from(sketch: DistinctSketch) -> Self {
        sketch.registers.iter().map(|register| char::from(FIRST_CHARACTER + register)).collect()
    }
}

impl TryFrom<String> for DistinctSketch {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let registers: Option<Vec<u8>> = text
            .bytes()
            .map(|byte| byte.checked_sub(FIRST_CHARACTER).filter(|&register| register <= LARGEST_REGISTER))
            .collect();
        match registers {
            Some(registers) if registers.len() == REGISTERS => Ok(Self { registers }),
            _ => Err("a distinct sketch is 4096 characters from 0 to e"),
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). Part of the format:
/// another hash would be another version.
fn mixed(bits: u64) -> u64 {
    let mut hash = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Ertl's correction for registers that are still 0.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// Ertl's correction for registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
