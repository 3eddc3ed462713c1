//! What a text means: typed, and with its literals made ready.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use memchr::memmem::Finder;
use regex::bytes::Regex;

use crate::{
    error::ParseError,
    evaluate::{self, Request},
    field::{Flag, Listing, Map, Number, Text},
    parser,
    wildcard::Wildcard,
};

/// When a rule holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression(pub(crate) Node);

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parser::parse(text).map(Self)
    }

    /// Whether it holds for a request.
    pub fn holds(&self, request: &impl Request) -> bool {
        evaluate::holds(&self.0, request)
    }

    /// How many regular expressions it has: what bounds the memory of many expressions.
    pub fn regexes(&self) -> usize {
        self.0.regexes()
    }
}

/// Something that is true or false.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Constant(bool),
    Flag(Flag),
    Not(Box<Node>),
    /// Two or more.
    And(Vec<Node>),
    Xor(Vec<Node>),
    Or(Vec<Node>),
    Number(NumberValue, NumberTest),
    Address(AddressTest),
    /// Of text, of the only one that there is.
    Text(TextValue, TextTest),
    /// `any(…)` or `all(…)` over a list.
    Each(Quantifier, TextValue, TextTest),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

/// An integer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NumberValue {
    Field(Number),
    /// Octets of text.
    LengthOf(TextValue),
    /// Members of a list.
    CountOf(List),
}

/// A list of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Listing(Listing),
    /// The values under a name.
    Under(Map, Vec<u8>),
}

/// Text, or each text of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextValue {
    Field(Text),
    Literal(Vec<u8>),
    /// One member of a list, from 0.
    Member(List, usize),
    /// All members: only within [`Node::Each`].
    Members(List),
    Lower(Box<TextValue>),
    Upper(Box<TextValue>),
    Concat(Vec<TextValue>),
}

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NumberTest {
    Order(Order, i64),
    In(Vec<RangeInclusive<i64>>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AddressTest {
    Is(IpAddr),
    IsNot(IpAddr),
    In(Vec<AddressSet>),
}

/// Members of a set of addresses.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AddressSet {
    Network(IpNet),
    Range(RangeInclusive<IpAddr>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextTest {
    Order(Order, Vec<u8>),
    Contains(Needle),
    Matches(Pattern),
    /// Sorted.
    In(Vec<Vec<u8>>),
    Wildcard(Wildcard),
    StartsWith(Vec<u8>),
    EndsWith(Vec<u8>),
}

/// Text to be found in other text.
#[derive(Clone, Debug)]
pub(crate) struct Needle(pub(crate) Box<Finder<'static>>);

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.0.needle() == other.0.needle()
    }
}

/// A regular expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Node {
    fn regexes(&self) -> usize {
        match self {
            Self::Not(inner) => inner.regexes(),
            Self::And(all) | Self::Xor(all) | Self::Or(all) => all.iter().map(Self::regexes).sum(),
            Self::Text(_, TextTest::Matches(_)) | Self::Each(_, _, TextTest::Matches(_)) => 1,
            _ => 0,
        }
    }
}

impl TextValue {
    /// The list over whose members it goes, if it goes over one.
    pub(crate) fn goes_over(&self) -> Option<&List> {
        match self {
            Self::Members(list) => Some(list),
            Self::Lower(inner) | Self::Upper(inner) => inner.goes_over(),
            Self::Concat(all) => all.iter().find_map(Self::goes_over),
            Self::Field(_) | Self::Literal(_) | Self::Member(..) => None,
        }
    }
}
