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
    Listeners::default().udp("dns", "[2001:db8::1]:0".parse().unwrap()).unwrap();
}
