//! Signed transactions (RFC 8945): a message ends in a TSIG record, whose MAC covers the message and what the record says.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use proxima_model::{TsigAlgorithm, TsigKey};
use proxima_wire::{
    HEADER_OCTETS, Malformed, class, name,
    record::{self, RecordAt},
    rtype,
};

/// How far apart clocks may be, in seconds (RFC 8945, 10: what is recommended).
pub const FUDGE_SECONDS: u16 = 300;
/// Messages of an answer that need not be signed between two that are (RFC 8945, 5.3.1).
pub const UNSIGNED_MAX: usize = 99;
/// Octets of the shortest MAC that is one (RFC 8945, 5.2.2.1).
const MAC_OCTETS_MIN: usize = 10;

/// What a TSIG record says of the one before it (RFC 8945, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigError {
    /// The signature is wrong.
    BadSig,
    /// The key is not known.
    BadKey,
    /// The clocks are too far apart.
    BadTime,
    /// The signature is too short.
    BadTrunc,
}

impl TsigError {
    /// Its number.
    pub const fn code(self) -> u16 {
        match self {
            Self::BadSig => 16,
            Self::BadKey => 17,
            Self::BadTime => 18,
            Self::BadTrunc => 22,
        }
    }

    /// Whether who says so signs that: of the others it is said without, since there is no key that both have (RFC 8945,
    /// 5.3.2), so that anybody may say it.
    pub const fn is_signed(self) -> bool {
        matches!(self, Self::BadTime | Self::BadTrunc)
    }

    /// The one of this number.
    pub const fn of_code(code: u16) -> Option<Self> {
        match code {
            16 => Some(Self::BadSig),
            17 => Some(Self::BadKey),
            18 => Some(Self::BadTime),
            22 => Some(Self::BadTrunc),
            _ => None,
        }
    }
}

/// A key, ready to sign.
#[derive(Clone)]
pub struct Key {
    name: Box<[u8]>,
    algorithm: TsigAlgorithm,
    secret: hmac::Key,
}

impl Key {
    /// The key of this name, on the wire and in lower case.
    pub fn new(name: &[u8], algorithm: TsigAlgorithm, secret: &[u8]) -> Self {
        let hash = match algorithm {
            TsigAlgorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::HmacSha384 => hmac::HMAC_SHA384,
            TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        };
        Self { name: name.into(), algorithm, secret: hmac::Key::new(hash, secret) }
    }

    /// Its name on the wire.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    fn mac_octets(&self) -> usize {
        match self.algorithm {
            TsigAlgorithm::HmacSha1 => 20,
            TsigAlgorithm::HmacSha256 => 32,
            TsigAlgorithm::HmacSha384 => 48,
            TsigAlgorithm::HmacSha512 => 64,
        }
    }

    /// Octets of a TSIG record by this key that says nothing of the message before.
    pub fn record_octets(&self) -> usize {
        self.name.len() + 10 + algorithm_name(self.algorithm).len() + 16 + self.mac_octets()
    }
}

impl From<&TsigKey> for Key {
    fn from(key: &TsigKey) -> Self {
        Self::new(&key.name.wire(), key.algorithm, &key.secret)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn algorithm_name(algorithm: TsigAlgorithm) -> Vec<u8> {
    let name = algorithm.name().as_bytes();
    let length = u8::try_from(name.len()).expect("names of algorithms are short");
    [&[length], name, &[0]].concat()
}

/// A TSIG record of a message (RFC 8945, 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tsig {
    /// The name of the key.
    pub key: Vec<u8>,
    algorithm: Vec<u8>,
    /// When it was signed, in seconds.
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    /// What it says of the message before, by number; 0 if nothing.
    pub error: u16,
    other: Vec<u8>,
    /// Where it begins: the message without it ends there.
    at: usize,
}

/// The TSIG record of a message, if it has one.
///
/// # Errors
/// The message cannot be read, or has one where none may be (RFC 8945, 5.2).
pub fn find(message: &[u8]) -> Result<Option<Tsig>, Malformed> {
    let counts = record::counts(message)?;
    let mut at = HEADER_OCTETS;
    for _ in 0..counts[0] {
        at = name::read(message, at)?.1 + 4;
    }
    let additional = usize::from(counts[1]) + usize::from(counts[2]);
    let records = additional + usize::from(counts[3]);
    for number in 0..records {
        let record = record::record_at(message, at)?;
        if record.rtype == rtype::TSIG {
            if number < additional || number + 1 < records || record.end != message.len() {
                return Err(Malformed);
            }
            return read(message, at, record).map(Some);
        }
        at = record.end;
    }
    Ok(None)
}

fn read(message: &[u8], at: usize, record: RecordAt) -> Result<Tsig, Malformed> {
    if record.class != class::ANY || record.ttl != 0 {
        return Err(Malformed);
    }
    let (algorithm, fixed) = name::read(message, record.data)?;
    let rest = message.get(fixed..record.end).ok_or(Malformed)?;
    let (head, rest) = rest.split_first_chunk::<10>().ok_or(Malformed)?;
    let (mac, rest) =
        rest.split_at_checked(u16::from_be_bytes([head[8], head[9]]).into()).ok_or(Malformed)?;
    let (tail, other) = rest.split_first_chunk::<6>().ok_or(Malformed)?;
    let word = |octets: &[u8], at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
    if usize::from(word(tail, 4)) != other.len() {
        return Err(Malformed);
    }
    let time = head[..6].iter().fold(0, |time, octet| time << 8 | u64::from(*octet));
    Ok(Tsig {
        key: record.owner,
        algorithm,
        time,
        fudge: word(head, 6),
        mac: mac.to_vec(),
        original_id: word(tail, 0),
        error: word(tail, 2),
        other: other.to_vec(),
        at,
    })
}

impl Tsig {
    /// The message without it, as it was before it was signed.
    pub fn stripped(&self, message: &[u8]) -> Vec<u8> {
        let mut unsigned = message[..self.at].to_vec();
        unsigned[..2].copy_from_slice(&self.original_id.to_be_bytes());
        let count = u16::from_be_bytes([unsigned[10], unsigned[11]]);
        unsigned[10..12].copy_from_slice(&count.saturating_sub(1).to_be_bytes());
        unsigned
    }

    /// What of it is signed with the first message (RFC 8945, 4.3.3).
    fn variables(&self) -> Vec<u8> {
        let mut octets = self.key.clone();
        octets.extend_from_slice(&class::ANY.to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        octets.extend_from_slice(&self.algorithm);
        octets.extend_from_slice(&self.timers());
        octets.extend_from_slice(&self.error.to_be_bytes());
        octets.extend_from_slice(&length(&self.other));
        octets.extend_from_slice(&self.other);
        octets
    }

    /// What of it is signed with every other message (RFC 8945, 4.3.3.1).
    fn timers(&self) -> [u8; 8] {
        let [_, _, time @ ..] = self.time.to_be_bytes();
        let [high, low] = self.fudge.to_be_bytes();
        let [a, b, c, d, e, f] = time;
        [a, b, c, d, e, f, high, low]
    }

    /// Puts it at the end of the message that begins at `base`.
    fn append(&self, out: &mut Vec<u8>, base: usize) {
        out.extend_from_slice(&self.key);
        out.extend_from_slice(&rtype::TSIG.to_be_bytes());
        out.extend_from_slice(&class::ANY.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let data = [
            &self.algorithm[..],
            &self.timers(),
            &length(&self.mac),
            &self.mac,
            &self.original_id.to_be_bytes(),
            &self.error.to_be_bytes(),
            &length(&self.other),
            &self.other,
        ]
        .concat();
        out.extend_from_slice(&length(&data));
        out.extend_from_slice(&data);
        let count = u16::from_be_bytes([out[base + 10], out[base + 11]]) + 1;
        out[base + 10..base + 12].copy_from_slice(&count.to_be_bytes());
    }

    fn is_in_time(&self, now: u64) -> bool {
        self.time.abs_diff(now) <= self.fudge.into()
    }
}

fn length(octets: &[u8]) -> [u8; 2] {
    u16::try_from(octets.len())
        .expect("what is read from or written to a message is no longer than one")
        .to_be_bytes()
}

/// One side of a signed transaction.
#[derive(Clone, Debug)]
pub struct Exchange {
    key: Key,
    /// The MAC that the next one covers.
    prior: Vec<u8>,
    /// Whether none of the answer was signed, or seen, yet.
    is_first: bool,
    /// Messages since the last signed one, as they are signed together with the next.
    held: Vec<u8>,
    held_messages: usize,
}

/// Why a signed message is not taken, and what its sender is told.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub error: TsigError,
    tsig: Tsig,
    /// By what the answer is signed, if it is.
    exchange: Option<Exchange>,
}

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It cannot be read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is not signed.
    #[error("the answer is not signed")]
    Unsigned,
    /// Its signature is not by our key, or wrong.
    #[error("the answer's signature is wrong")]
    Signature,
    /// It was signed at another time.
    #[error("the answer was signed at another time; compare the clocks")]
    Time,
    /// The other side does not take ours.
    #[error("the peer refuses our signature: {0:?}")]
    Refused(TsigError),
}

impl Exchange {
    /// Checks a signed message by the keys that its sender may have, at this time in seconds.
    ///
    /// # Errors
    /// `Ok(Refusal)` in the inner result where it is answered so; [`Malformed`] where it is no signature.
    pub fn check(
        message: &[u8],
        tsig: &Tsig,
        keys: &[Key],
        now: u64,
    ) -> Result<Result<Self, Box<Refusal>>, Malformed> {
        let refuse = |error, exchange| Ok(Err(Box::new(Refusal { error, tsig: tsig.clone(), exchange })));
        let known = keys.iter().find(|key| *key.name == *tsig.key);
        let Some(key) = known.filter(|key| algorithm_name(key.algorithm) == tsig.algorithm) else {
            return refuse(TsigError::BadKey, None);
        };
        let whole = key.mac_octets();
        if tsig.mac.len() > whole || tsig.mac.len() < MAC_OCTETS_MIN.max(whole / 2) {
            return Err(Malformed);
        }
        let made = hmac::sign(&key.secret, &[tsig.stripped(message), tsig.variables()].concat());
        if verify_slices_are_equal(&made.as_ref()[..tsig.mac.len()], &tsig.mac).is_err() {
            return refuse(TsigError::BadSig, None);
        }
        let exchange = Self::after(key.clone(), tsig.mac.clone());
        if !tsig.is_in_time(now) {
            return refuse(TsigError::BadTime, Some(exchange));
        }
        if tsig.mac.len() < whole {
            return refuse(TsigError::BadTrunc, Some(exchange));
        }
        Ok(Ok(exchange))
    }

    /// Signs a question, which is the whole of `message`.
    pub fn ask(key: &Key, message: &mut Vec<u8>, now: u64) -> Self {
        let mut tsig = Tsig::of(key, id(message), now);
        tsig.mac = hmac::sign(&key.secret, &[&message[..], &tsig.variables()].concat()).as_ref().to_vec();
        tsig.append(message, 0);
        Self::after(key.clone(), tsig.mac)
    }

    fn after(key: Key, prior: Vec<u8>) -> Self {
        Self { key, prior, is_first: true, held: Vec::new(), held_messages: 0 }
    }

    /// The key.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Signs the answer's next message, which begins at `base` of `out` and ends where that does.
    pub fn sign(&mut self, out: &mut Vec<u8>, base: usize, now: u64) {
        let tsig = Tsig::of(&self.key, id(&out[base..]), now);
        self.sign_with(tsig, out, base);
    }

    fn sign_with(&mut self, mut tsig: Tsig, out: &mut Vec<u8>, base: usize) {
        self.held.extend_from_slice(&out[base..]);
        tsig.mac = self.mac(&tsig).as_ref().to_vec();
        tsig.append(out, base);
        self.go_on(tsig.mac);
    }

    fn mac(&self, tsig: &Tsig) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.key.secret);
        context.update(&length(&self.prior));
        context.update(&self.prior);
        context.update(&self.held);
        match self.is_first {
            true => context.update(&tsig.variables()),
            false => context.update(&tsig.timers()),
        }
        context.sign()
    }

    fn go_on(&mut self, mac: Vec<u8>) {
        self.prior = mac;
        self.is_first = false;
        self.held.clear();
        self.held_messages = 0;
    }

    /// Checks the answer's next message; the message without its signature.
    ///
    /// # Errors
    /// It is not the other side's.
    pub fn take(&mut self, message: &[u8], now: u64) -> Result<Vec<u8>, AnswerError> {
        let Some(tsig) = find(message)? else {
            if self.is_first || self.held_messages >= UNSIGNED_MAX {
                return Err(AnswerError::Unsigned);
            }
            self.held.extend_from_slice(message);
            self.held_messages += 1;
            return Ok(message.to_vec());
        };
        let error = TsigError::of_code(tsig.error);
        if let Some(error) = error.filter(|error| !error.is_signed())
            && tsig.mac.is_empty()
        {
            return Err(AnswerError::Refused(error));
        }
        let unsigned = tsig.stripped(message);
        self.held.extend_from_slice(&unsigned);
        let is_ours = tsig.key == *self.key.name && tsig.algorithm == algorithm_name(self.key.algorithm);
        if !is_ours || verify_slices_are_equal(self.mac(&tsig).as_ref(), &tsig.mac).is_err() {
            return Err(AnswerError::Signature);
        }
        if let Some(error) = error {
            return Err(AnswerError::Refused(error));
        }
        if !tsig.is_in_time(now) {
            return Err(AnswerError::Time);
        }
        self.go_on(tsig.mac);
        Ok(unsigned)
    }

    /// Whether the last message that was taken was signed: an answer ends so.
    pub const fn is_whole(&self) -> bool {
        !self.is_first && self.held_messages == 0
    }
}

impl Tsig {
    fn of(key: &Key, original_id: u16, time: u64) -> Self {
        Self {
            key: key.name.to_vec(),
            algorithm: algorithm_name(key.algorithm),
            time,
            fudge: FUDGE_SECONDS,
            mac: Vec::new(),
            original_id,
            error: 0,
            other: Vec::new(),
            at: 0,
        }
    }
}

fn id(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

impl Refusal {
    /// Puts the reason at the end of the answer that begins at `base`: signed where both sides have the key.
    pub fn sign(self, out: &mut Vec<u8>, base: usize, now: u64) {
        let [_, _, ours @ ..] = now.to_be_bytes();
        let other = if self.error == TsigError::BadTime { ours.to_vec() } else { Vec::new() };
        let tsig = Tsig { mac: Vec::new(), error: self.error.code(), other, ..self.tsig };
        match self.exchange {
            Some(mut exchange) => exchange.sign_with(Tsig { fudge: FUDGE_SECONDS, ..tsig }, out, base),
            None => tsig.append(out, base),
        }
    }

    /// Octets of what [`Self::sign`] appends, at the most.
    pub fn octets(&self) -> usize {
        let mac = self.exchange.as_ref().map_or(0, |exchange| exchange.key.mac_octets());
        self.tsig.key.len() + 10 + self.tsig.algorithm.len() + 16 + mac + 6
    }
}

#[cfg(test)]
#[path = "tsig_tests.rs"]
mod tests;
