//! Which addresses a notification may go to: those of the public internet, and what the settings allow besides. A webhook's
//! URL is a way to make the server talk to whoever is near it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

/// What is allowed although it is not public: `10.1.0.0/16`, `fd00::/8`, `192.168.1.7`, or a host by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    Network { address: IpAddr, prefix_bits: u8 },
    Host(String),
}

/// What cannot be allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text:?} is neither an address, a network such as 10.1.0.0/16, nor the name of a host")]
pub struct InvalidAllowed {
    pub text: String,
}

/// Networks of IPv4 that are not the public internet, from the special-purpose registry of IANA (RFC 6890 and later).
const SPECIAL_V4: [(Ipv4Addr, u8, &str); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, "this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "a private network"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "the network of a provider"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "this host"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "the local link"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "a private network"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "a network for protocols"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "a network of examples"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "a relay of 6to4"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "a private network"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "a network for measurements"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "a network of examples"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "a network of examples"),
    // Multicast, reserved, and broadcast.
    (Ipv4Addr::new(224, 0, 0, 0), 3, "no single host"),
];

/// Networks of IPv6 within 2000::/3, which is all that is public, that are not; what tunnels lead to cannot be known.
const SPECIAL_V6: [(Ipv6Addr, u8, &str); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "a tunnel or a network for protocols"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "a network of examples"),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, "a tunnel"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "a network of examples"),
];
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Behind it are the addresses of IPv4 (RFC 6052).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Why an address is not one of the public internet, in words that follow "which is"; `None` when it is one.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    let within = |(network, bits, _): &&(Ipv4Addr, u8, &str)| is_within(address, (*network).into(), *bits);
    let IpAddr::V6(v6) = address else { return SPECIAL_V4.iter().find(within).map(|(_, _, why)| *why) };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return special(v4.into());
    }
    if is_within(address, NAT64.0.into(), NAT64.1) {
        let [.., a, b, c, d] = v6.octets();
        return special(Ipv4Addr::new(a, b, c, d).into());
    }
    if v6.is_loopback() || v6.is_unspecified() {
        return Some("this host");
    }
    if !is_within(address, PUBLIC_V6.0.into(), PUBLIC_V6.1) {
        return Some("no public address");
    }
    let within = |(network, bits, _): &&(Ipv6Addr, u8, &str)| is_within(address, (*network).into(), *bits);
    SPECIAL_V6.iter().find(within).map(|(_, _, why)| *why)
}

/// Whether the settings allow this address, or its host by name. A mapped address is what it maps.
pub(super) fn is_allowed(allowed: &[Allowed], host: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    allowed.iter().any(|allowed| match allowed {
        Allowed::Host(name) => name.eq_ignore_ascii_case(host.trim_end_matches('.')),
        Allowed::Network { address: network, prefix_bits } => is_within(address, *network, *prefix_bits),
    })
}

fn is_within(address: IpAddr, network: IpAddr, prefix_bits: u8) -> bool {
    let (address, network, width) = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u128::from(a.to_bits()), u128::from(n.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits(), n.to_bits(), 128),
        _ => return false,
    };
    let host_bits = width - u32::from(prefix_bits).min(width);
    // Shifting out all bits leaves nothing to compare.
    address.checked_shr(host_bits) == network.checked_shr(host_bits)
}

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAllowed { text: text.chars().take(64).collect() };
        if let Ok(address) = text.parse::<IpAddr>() {
            let prefix_bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(Self::Network { address, prefix_bits });
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| invalid())?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix_bits = bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(invalid)?;
            return Ok(Self::Network { address, prefix_bits });
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        // Digits alone are an address in a form of its own, which a name must not be.
        let is_number = text.chars().all(|c| c.is_ascii_digit() || c == '.');
        if text.is_empty() || text.len() > 253 || is_number || !text.chars().all(is_plain) {
            return Err(invalid());
        }
        Ok(Self::Host(text.trim_end_matches('.').to_owned()))
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { address, prefix_bits } => write!(f, "{address}/{prefix_bits}"),
            Self::Host(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
        ] {
            assert_eq!(special(public.parse().unwrap()), None, "{public}");
        }
        for not in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(special(not.parse().unwrap()).is_some(), "{not}");
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_and_no_more() {
        let allowed: Vec<Allowed> =
            ["10.1.0.0/16", "fd00::/8", "192.168.1.7", "hooks.lan"].map(|text| text.parse().unwrap()).into();
        let is_allowed = |host: &str, address: &str| is_allowed(&allowed, host, address.parse().unwrap());
        for (host, address) in [
            ("x", "10.1.255.255"),
            ("x", "::ffff:10.1.0.1"),
            ("x", "fd00::1"),
            ("x", "192.168.1.7"),
            ("hooks.lan", "127.0.0.1"),
            ("HOOKS.LAN.", "10.9.9.9"),
        ] {
            assert!(is_allowed(host, address), "{host} {address}");
        }
        for (host, address) in
            [("x", "10.2.0.0"), ("x", "192.168.1.8"), ("x.hooks.lan", "10.9.9.9"), ("hooks", "fe80::1")]
        {
            assert!(!is_allowed(host, address), "{host} {address}");
        }
        assert!(is_within("8.8.8.8".parse().unwrap(), "0.0.0.0".parse().unwrap(), 0));
        for wrong in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a b", "http://x", "2130706433", "1.2.3", "*", "x/8"]
        {
            assert!(wrong.parse::<Allowed>().is_err(), "{wrong}");
        }
        assert_eq!("10.1.0.0/16".parse::<Allowed>().unwrap().to_string(), "10.1.0.0/16");
    }
}
