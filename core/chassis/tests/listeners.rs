//! Sockets are bound once, and a refusal says what to do.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, UdpSocket},
};

use nix::sched::{CloneFlags, unshare};
use proxima_chassis::Listeners;

#[test]
fn an_address_that_is_taken_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let error = Listeners::default().tcp("edge", taken.local_addr().unwrap()).unwrap_err().to_string();
    assert!(error.contains("edge cannot listen at tcp 127.0.0.1:"), "{error}");
    assert!(error.contains("another process listens there"), "{error}");
}

#[test]
fn an_address_that_is_not_on_the_machine_yet_can_be_bound() {
    Listeners::default().tcp("edge", "192.0.2.1:0".parse().unwrap()).unwrap();
    Listeners::default().udp_group("dns", "[2001:db8::1]:0".parse().unwrap(), 1).unwrap();
}

#[test]
fn a_group_has_one_port_and_each_who_sends_there_one_of_its_sockets() {
    let listeners = Listeners::default();
    let group = listeners.udp_group("dns", "127.0.0.1:0".parse().unwrap(), 4).unwrap();
    assert_eq!(group.len(), 4);
    let address = group[0].local_addr().unwrap();
    assert!(group.iter().all(|socket| socket.local_addr().unwrap() == address));
    let other = listeners.udp_group("dns", "127.0.0.1:0".parse().unwrap(), 2).unwrap();
    assert_ne!(other[0].local_addr().unwrap(), address, "another group has another port");
    let mut heard = [0; 4];
    for _ in 0..64 {
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", address).unwrap();
        // Over loopback what was sent is there at once.
        let which = group.iter().position(|socket| socket.recv(&mut [0; 8]).is_ok()).unwrap();
        heard[which] += 1;
    }
    assert!(heard.iter().all(|heard| *heard > 0), "{heard:?}");
}

/// Of eight ports that the kernel may choose one is taken for TCP, and one for UDP. As root.
#[test]
fn a_port_that_the_kernel_chooses_is_free_for_tcp_and_udp_alike() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40007").unwrap();
    let _stream = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 40_001)).unwrap();
    let _datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 40_003)).unwrap();
    let any = "0.0.0.0:0".parse().unwrap();
    for _ in 0..50 {
        let listeners = Listeners::default();
        let group = listeners.udp_group("dns", any, 2).unwrap();
        listeners.tcp("dns", group[0].local_addr().unwrap()).unwrap();
        drop((group, listeners));
        let listeners = Listeners::default();
        let stream = listeners.tcp("edge", any).unwrap();
        listeners.udp_group("edge", stream.local_addr().unwrap(), 1).unwrap();
    }
}
