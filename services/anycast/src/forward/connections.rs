//! The connections that the kernel still has under our prefixes.
//!
//! A process that has written its last answer and closed the socket is done; the kernel is not, until the client has
//! acknowledged all of it. While segments of such a connection arrive elsewhere, this server must stay to be their home.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// Where the kernel lists them (proc_net(5)).
const TABLES: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// States in which something is under way: established, being established, and closing with something not acknowledged
/// (include/net/tcp_states.h).
const UNDER_WAY: [u8; 6] = [0x01, 0x03, 0x04, 0x08, 0x09, 0x0b];
/// We have closed our half, and all of it has arrived: only the owner, if there is one, may still read.
const FIN_WAIT2: u8 = 0x05;

/// How many connections have something under way. Reads the kernel's tables: blocking.
///
/// # Errors
/// If the kernel has no such tables. Without IPv6 it has only one of them.
pub(super) fn under_way(prefixes: &[IpNet]) -> io::Result<usize> {
    let mut count = 0;
    for table in TABLES {
        match File::open(table) {
            Ok(file) => count += count_in(BufReader::new(file), prefixes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && table != TABLES[0] => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Counts line by line: a busy server's table has tens of MiB.
fn count_in(mut table: impl BufRead, prefixes: &[IpNet]) -> io::Result<usize> {
    let (mut count, mut line) = (0, String::new());
    while table.read_line(&mut line)? > 0 {
        count += usize::from(is_under_way(&line, prefixes));
        line.clear();
    }
    Ok(count)
}

/// Whether this line of the table is such a connection.
fn is_under_way(line: &str, prefixes: &[IpNet]) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let (Some(local), Some(state)) = (words.next(), words.nth(1)) else { return false };
    let Ok(state) = u8::from_str_radix(state, 16) else { return false };
    let owned = words.nth(5).is_some_and(|inode| inode != "0");
    let counts = UNDER_WAY.contains(&state) || state == FIN_WAIT2 && owned;
    counts && address(local).is_some_and(|address| prefixes.iter().any(|prefix| prefix.contains(&address)))
}

/// An address in the kernel's form: words of four octets in the machine's order, and the port.
fn address(text: &str) -> Option<IpAddr> {
    let (words, _port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(words.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match words.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let octets: [u8; 16] = octets.try_into().ok()?;
            Some(Ipv6Addr::from(octets).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn connections_under_our_prefixes_count_while_something_is_under_way() {
        let prefixes = ["198.18.0.0/24".parse().unwrap(), "fd00:198:18::/48".parse().unwrap()];
        let line = |local: &str, state: &str, inode: &str| {
            format!(
                "   1: {local} 01020304:C000 {state} 00000000:00000000 00:00000000 00000000  0  0 {inode} 1 0 20 4 30 10 -1"
            )
        };
        let v4 = "010012C6:01BB";
        assert_eq!(address(v4), Some("198.18.0.1".parse().unwrap()));
        let v6 = "980100FD000018000000000001000000:01BB";
        assert_eq!(address(v6), Some("fd00:198:18::1".parse().unwrap()));
        assert!(is_under_way(&line(v6, "01", "77"), &prefixes));
        let mapped = "0000000000000000FFFF0000010012C6:0050";
        assert_eq!(address(mapped), Some("198.18.0.1".parse().unwrap()));
        for (state, inode, counts) in [
            ("01", "77", true),
            ("03", "0", true),
            ("04", "0", true),
            ("05", "77", true),
            ("05", "0", false),
            ("06", "0", false),
            ("09", "0", true),
            ("0A", "77", false),
        ] {
            assert_eq!(
                is_under_way(&line(v4, state, inode), &prefixes),
                counts,
                "state {state}, inode {inode}"
            );
            assert!(!is_under_way(&line("0100007F:01BB", state, inode), &prefixes));
        }
        assert!(!is_under_way(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when",
            &prefixes
        ));
    }

    #[test]
    fn a_table_is_read_line_by_line() {
        let table = "  sl  local_address\n   1: 0100007F:01BB 00000000:0000 01 0:0 00:0 0 0 0 7 1\n";
        let everything = ["0.0.0.0/0".parse().unwrap()];
        assert_eq!(count_in(table.as_bytes(), &everything).unwrap(), 1);
    }

    #[test]
    fn the_kernels_own_tables_are_understood() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().unwrap();
        let prefixes = ["127.0.0.0/8".parse().unwrap()];
        assert!(under_way(&prefixes).unwrap() >= 2);
        assert_eq!(under_way(&["240.0.0.0/4".parse().unwrap()]).unwrap(), 0);
        drop((client, served));
    }
}
