//! Sockets are bound once, and a refusal says what to do.

use std::net::TcpListener;

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
