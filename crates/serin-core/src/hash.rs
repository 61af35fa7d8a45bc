//! A hash that is the same on every machine and in every version: what is chosen by it stays chosen.

/// 64-bit FNV-1a (Fowler, Noll and Vo), and then the finaliser of MurmurHash3 (Appleby), because the high bits of FNV
/// alone follow the last bytes.
#[must_use]
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let fnv = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_changes() {
        // By the same two published functions, written in Python.
        assert_eq!(hash(*b"digits\xffstable\xffuser-1\xff"), 0x50fd136c224696);
        assert_eq!(hash([]), 0xefd01f60ba992926);
    }
}
