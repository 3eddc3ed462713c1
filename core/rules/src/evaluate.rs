//! Whether an expression holds for a request.

use std::{borrow::Cow, net::IpAddr, ops::ControlFlow};

use crate::{
    expression::{
        AddressSet, AddressTest, List, Node, NumberTest, NumberValue, Order, Quantifier, TextTest, TextValue,
    },
    field::{Flag, Listing, Map, Number, Text},
};

/// A request, as expressions ask it. What is not there is empty text.
pub trait Request {
    /// A field of text.
    fn text(&self, field: Text) -> Cow<'_, [u8]>;
    /// A field that is true or false.
    fn flag(&self, field: Flag) -> bool;
    /// A field that is an integer.
    fn number(&self, field: Number) -> i64;
    /// The client's address.
    fn address(&self) -> IpAddr;
    /// Shows the values under a name, in order, until `see` has seen enough.
    fn values(&self, map: Map, name: &[u8], see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>);
    /// Shows the members of a list, in order, until `see` has seen enough.
    fn listing(&self, listing: Listing, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>);
}

pub(crate) fn holds<R: Request>(node: &Node, request: &R) -> bool {
    match node {
        Node::Constant(value) => *value,
        Node::Flag(flag) => request.flag(*flag),
        Node::Not(inner) => !holds(inner, request),
        Node::And(all) => all.iter().all(|inner| holds(inner, request)),
        Node::Or(all) => all.iter().any(|inner| holds(inner, request)),
        Node::Xor(all) => all.iter().fold(false, |odd, inner| odd ^ holds(inner, request)),
        Node::Number(value, test) => test.holds(number(value, request)),
        Node::Address(test) => test.holds(request.address()),
        Node::Text(value, test) => test_text(value, test, request),
        Node::Each(quantifier, value, test) => each(*quantifier, value, test, request),
    }
}

/// Of a member that does not exist nothing holds.
fn test_text<R: Request>(value: &TextValue, test: &TextTest, request: &R) -> bool {
    let TextValue::Member(list, wanted) = value else {
        return text(value, request, None).is_some_and(|text| test.holds(&text));
    };
    let mut holds = false;
    member(list, *wanted, request, |member| holds = test.holds(member));
    holds
}

/// Shows one member of a list, if it exists.
fn member<R: Request>(list: &List, wanted: usize, request: &R, mut see: impl FnMut(&[u8])) {
    let mut at = 0;
    members(list, request, &mut |member| {
        if at == wanted {
            see(member);
            return ControlFlow::Break(());
        }
        at += 1;
        ControlFlow::Continue(())
    });
}

/// Of an empty list nothing holds, neither for any nor for all: there is nothing that the owner could have meant.
fn each<R: Request>(quantifier: Quantifier, value: &TextValue, test: &TextTest, request: &R) -> bool {
    let Some(list) = value.goes_over() else { return false };
    let (mut any, mut all) = (false, true);
    members(list, request, &mut |member| {
        let holds = text(value, request, Some(member)).is_some_and(|text| test.holds(&text));
        any |= holds;
        all &= holds;
        let decided = match quantifier {
            Quantifier::Any => any,
            Quantifier::All => !all,
        };
        if decided { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match quantifier {
        Quantifier::Any => any,
        Quantifier::All => any && all,
    }
}

fn members<R: Request>(list: &List, request: &R, see: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) {
    match list {
        List::Listing(listing) => request.listing(*listing, see),
        List::Under(map, name) => request.values(*map, name, see),
    }
}

/// The text of a value; `None` if it is a member that does not exist. `member`: the one that it goes over now.
fn text<'a, R: Request>(
    value: &'a TextValue,
    request: &'a R,
    member: Option<&'a [u8]>,
) -> Option<Cow<'a, [u8]>> {
    Some(match value {
        TextValue::Field(field) => request.text(*field),
        TextValue::Literal(literal) => Cow::Borrowed(literal),
        TextValue::Members(_) => Cow::Borrowed(member?),
        TextValue::Member(list, wanted) => {
            let mut found = None;
            self::member(list, *wanted, request, |member| found = Some(member.to_vec()));
            Cow::Owned(found?)
        }
        TextValue::Lower(inner) => Cow::Owned(text(inner, request, member)?.to_ascii_lowercase()),
        TextValue::Upper(inner) => Cow::Owned(text(inner, request, member)?.to_ascii_uppercase()),
        TextValue::Concat(all) => {
            let mut joined = Vec::new();
            for inner in all {
                joined.extend_from_slice(&text(inner, request, member)?);
            }
            Cow::Owned(joined)
        }
    })
}

fn number<R: Request>(value: &NumberValue, request: &R) -> i64 {
    let counted = match value {
        NumberValue::Field(field) => return request.number(*field),
        NumberValue::LengthOf(value) => text(value, request, None).map_or(0, |text| text.len()),
        NumberValue::CountOf(list) => {
            let mut count = 0_usize;
            members(list, request, &mut |_| {
                count += 1;
                ControlFlow::Continue(())
            });
            count
        }
    };
    i64::try_from(counted).unwrap_or(i64::MAX)
}

impl Order {
    fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ne => left != right,
            Self::Lt => left < right,
            Self::Le => left <= right,
            Self::Gt => left > right,
            Self::Ge => left >= right,
        }
    }
}

impl NumberTest {
    fn holds(&self, number: i64) -> bool {
        match self {
            Self::Order(order, than) => order.holds(&number, than),
            Self::In(set) => set.iter().any(|range| range.contains(&number)),
        }
    }
}

impl AddressTest {
    fn holds(&self, address: IpAddr) -> bool {
        // A client that came over IPv4 to a socket of both kinds is an IPv4 client.
        let address = address.to_canonical();
        match self {
            Self::Is(other) => address == *other,
            Self::IsNot(other) => address != *other,
            Self::In(set) => set.iter().any(|member| match member {
                AddressSet::Network(network) => network.contains(&address),
                AddressSet::Range(range) => range.contains(&address),
            }),
        }
    }
}

impl TextTest {
    fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Order(order, than) => order.holds(text, than.as_slice()),
            Self::Contains(needle) => needle.0.find(text).is_some(),
            Self::Matches(pattern) => pattern.0.is_match(text),
            Self::In(set) => set.binary_search_by(|member| member.as_slice().cmp(text)).is_ok(),
            Self::Wildcard(pattern) => pattern.fits(text),
            Self::StartsWith(prefix) => text.starts_with(prefix),
            Self::EndsWith(suffix) => text.ends_with(suffix),
        }
    }
}
