//! How long a client waits for an answer of Proxima's name servers, beside the round trip to the PoP where it lands.
//!
//! Both are asked in turns, one after the other, so that what disturbs the machine for a while disturbs both.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::{Doing, LabError, Result};
use crate::netns::within;
use crate::probe;

/// What has not come by then is lost: several times the longest round trip.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);
const HEADER_BYTES: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
/// Response codes NOERROR and NXDOMAIN: the server has the zone, and said what is in it.
const CODES_OF_ANSWERS: [u8; 2] = [0, 3];

/// What a client saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnswerTimes {
    /// The client.
    pub client: String,
    /// Its region.
    pub region: String,
    /// Questions that were answered.
    pub answers: usize,
    /// Questions that were not.
    pub lost: usize,
    /// The median round trip to the anycast address, of echo requests.
    pub rtt_ms: f64,
    /// The median time from a question to its answer.
    pub p50_ms: f64,
    /// Nine of ten answers came within this.
    pub p90_ms: f64,
}

/// Asks for the addresses of `name` at an anycast address, `count` times.
pub(crate) fn measure(
    (client, region): (&str, &str),
    namespace: &str,
    target: IpAddr,
    (name, count): (&str, u16),
) -> Result<AnswerTimes> {
    let doing = || format!("asking {target} for {name} from {client}");
    let socket = within(namespace, || {
        let any: SocketAddr = if target.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let socket = UdpSocket::bind(any).doing(doing)?;
        socket.connect((target, 53)).doing(doing)?;
        socket.set_read_timeout(Some(ANSWER_DEADLINE)).doing(doing)?;
        Ok(socket)
    })?;
    let (mut answers, mut trips) = (Vec::new(), Vec::new());
    for id in 0..count {
        trips.extend(probe::echo(namespace, target, ANSWER_DEADLINE)?.map(ms));
        let begun = Instant::now();
        socket.send(&question(id, name)?).doing(doing)?;
        if let Some(code) = answer_code(&socket, id, begun) {
            answers.push(ms(begun.elapsed()));
            if !CODES_OF_ANSWERS.contains(&code) {
                let (what, why) =
                    (format!("the answer for {name}"), format!("its code is {code}: add the zone"));
                return Err(LabError::Malformed { what, why });
            }
        }
    }
    let (Some(rtt_ms), Some(p50_ms), Some(p90_ms)) =
        (percentile(&mut trips, 50), percentile(&mut answers, 50), percentile(&mut answers, 90))
    else {
        return Err(LabError::Daemon(format!("{}: nothing came back", doing())));
    };
    let (answers, lost) = (answers.len(), usize::from(count) - answers.len());
    Ok(AnswerTimes {
        client: client.to_owned(),
        region: region.to_owned(),
        answers,
        lost,
        rtt_ms,
        p50_ms,
        p90_ms,
    })
}

/// A query without recursion for the IPv4 addresses of a name (RFC 1035, 4.1).
fn question(id: u16, name: &str) -> Result<Vec<u8>> {
    let mut message = Vec::from(id.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length));
        let length = length.ok_or_else(|| LabError::Malformed {
            what: format!("the name `{name}`"),
            why: "a label has 1 to 63 letters: give a name like www.example.com".to_owned(),
        })?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([TYPE_A, CLASS_IN].map(u16::to_be_bytes).concat());
    Ok(message)
}

/// The code of the answer to this question; late answers to earlier ones are passed over.
fn answer_code(socket: &UdpSocket, id: u16, begun: Instant) -> Option<u8> {
    let mut answer = [0; 1 << 12];
    while begun.elapsed() < ANSWER_DEADLINE {
        let length = socket.recv(&mut answer).ok()?;
        if length >= HEADER_BYTES && answer[..2] == id.to_be_bytes() {
            return Some(answer[3] & 0xf);
        }
    }
    None
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The smallest of the values that so many of a hundred do not exceed.
fn percentile(values: &mut [f64], percent: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.checked_sub(1)?).copied()
}

impl fmt::Display for AnswerTimes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, region, answers, lost, rtt_ms, p50_ms, p90_ms } = self;
        let over = p50_ms - rtt_ms;
        write!(
            out,
            "{client} ({region}): round trip {rtt_ms:.2} ms, answer p50 {p50_ms:.2} ms ({over:+.2}), p90 {p90_ms:.2} ms; \
             {answers} answered, {lost} lost"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&mut values, 50), Some(3.0));
        assert_eq!(percentile(&mut values, 90), Some(5.0));
        assert_eq!(percentile(&mut [], 50), None);
    }

    #[test]
    fn a_question_is_one_name_of_type_a() {
        let asked = question(0x1234, "a.bc.").unwrap();
        assert_eq!(asked[..6], [0x12, 0x34, 0, 0, 0, 1]);
        assert_eq!(asked[HEADER_BYTES..], [1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1]);
        assert!(question(1, "a..b").is_err() && question(1, &"a".repeat(64)).is_err());
    }
}
