//! Where addresses lead: what anybody's zone may have us ask, and what lies inside (server-side request forgery).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// To the public internet.
    Public,
    /// To this machine, or the house that it stands in: not of the public internet (the IANA registries of
    /// special-purpose addresses, RFC 6890), also by way of a translator or a tunnel.
    Inside,
    /// No host can be there.
    Nowhere,
}

impl Reach {
    /// Where this address leads.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) if is_never_v4(v4) => Self::Nowhere,
            IpAddr::V4(v4) if is_inside_v4(v4) => Self::Inside,
            IpAddr::V4(_) => Self::Public,
            IpAddr::V6(v6) => {
                let embedded = embedded_v4(v6);
                if v6.is_unspecified() || v6.is_multicast() || embedded.is_some_and(is_never_v4) {
                    Self::Nowhere
                } else if is_inside_v6(v6) || embedded.is_some_and(is_inside_v4) {
                    Self::Inside
                } else {
                    Self::Public
                }
            }
        }
    }

    /// Whether it may be gone to, where the inside may be or may not.
    pub const fn is_allowed(self, allow_private: bool) -> bool {
        match self {
            Self::Public => true,
            Self::Inside => allow_private,
            Self::Nowhere => false,
        }
    }
}

const fn is_never_v4(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0 || address.is_multicast() || address.octets()[0] >= 240
}

const fn is_inside_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
}

const fn is_inside_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_unique_local()
        || a & 0xffc0 == 0xfec0
        || (a == 0x2001 && b == 0xdb8)
}

/// The IPv4 address that a translator or a tunnel would take out of this one: NAT64 (RFC 6052), 6to4 (RFC 3056).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_out_in_or_nowhere_whichever_way_it_is_written() {
        for (reach, addresses) in [
            (
                Reach::Public,
                &["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:9.9.9.9"][..],
            ),
            (
                Reach::Inside,
                &[
                    "127.0.0.1",
                    "10.1.2.3",
                    "169.254.169.254",
                    "100.64.0.1",
                    "192.0.2.1",
                    "198.18.0.9",
                    "::1",
                    "fe80::1",
                    "fd00::1",
                    "::ffff:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "2002:7f00:1::",
                ],
            ),
            (
                Reach::Nowhere,
                &["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "64:ff9b::e000:1"],
            ),
        ] {
            for text in addresses {
                assert_eq!(Reach::of(text.parse().unwrap()), reach, "{text}");
            }
            assert_eq!(reach.is_allowed(false), reach == Reach::Public);
            assert_eq!(reach.is_allowed(true), reach != Reach::Nowhere);
        }
    }
}
