//! Expressions as they are read back.

use std::fmt::{self, Display, Formatter};

use crate::{
    expression::{
        AddressSet, AddressTest, Expression, List, Node, NumberTest, NumberValue, Order, Quantifier,
        TextTest, TextValue,
    },
    field::ADDRESS,
    lexer::write_quoted,
};

impl Display for Expression {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Node {
    /// How tightly it holds together; what holds less tightly is put into parentheses.
    const fn tightness(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::Xor(_) => 1,
            Self::And(_) => 2,
            _ => 3,
        }
    }

    fn within(&self, f: &mut Formatter<'_>, tightness: u8) -> fmt::Result {
        if self.tightness() <= tightness { write!(f, "({self})") } else { self.fmt(f) }
    }

    fn joined(all: &[Self], word: &str, tightness: u8, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, node) in all.iter().enumerate() {
            if at > 0 {
                write!(f, " {word} ")?;
            }
            node.within(f, tightness)?;
        }
        Ok(())
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(value) => value.fmt(f),
            Self::Flag(flag) => f.write_str(flag.id()),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.within(f, 2)
            }
            Self::Or(all) => Self::joined(all, "or", 0, f),
            Self::Xor(all) => Self::joined(all, "xor", 1, f),
            Self::And(all) => Self::joined(all, "and", 2, f),
            Self::Number(value, test) => match test {
                NumberTest::Order(order, than) => write!(f, "{value} {order} {than}"),
                NumberTest::In(set) => {
                    let range = |range: &std::ops::RangeInclusive<i64>| match (range.start(), range.end()) {
                        (from, to) if from == to => from.to_string(),
                        (from, to) => format!("{from}..{to}"),
                    };
                    write!(f, "{value} in {{{}}}", words(set, range))
                }
            },
            Self::Address(AddressTest::Is(other)) => write!(f, "{ADDRESS} eq {other}"),
            Self::Address(AddressTest::IsNot(other)) => write!(f, "{ADDRESS} ne {other}"),
            Self::Address(AddressTest::In(set)) => {
                let member = |member: &AddressSet| match member {
                    AddressSet::Network(network) => network.to_string(),
                    AddressSet::Range(range) => format!("{}..{}", range.start(), range.end()),
                };
                write!(f, "{ADDRESS} in {{{}}}", words(set, member))
            }
            Self::Text(value, test) => test.write(value, f),
            Self::Each(quantifier, value, test) => {
                f.write_str(match quantifier {
                    Quantifier::Any => "any(",
                    Quantifier::All => "all(",
                })?;
                test.write(value, f)?;
                f.write_str(")")
            }
        }
    }
}

fn words<T>(all: &[T], word: impl Fn(&T) -> String) -> String {
    all.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl TextTest {
    fn write(&self, value: &TextValue, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(order, than) => write!(f, "{value} {order} {}", write_quoted(than)),
            Self::Contains(needle) => write!(f, "{value} contains {}", write_quoted(needle.0.needle())),
            Self::Matches(pattern) => {
                write!(f, "{value} matches {}", write_quoted(pattern.0.as_str().as_bytes()))
            }
            Self::In(set) => {
                write!(f, "{value} in {{{}}}", words(set, |member| write_quoted(member).into_owned()))
            }
            Self::Wildcard(pattern) => {
                let strict = if pattern.strict { "strict " } else { "" };
                write!(f, "{value} {strict}wildcard {}", write_quoted(&pattern.written))
            }
            Self::StartsWith(prefix) => write!(f, "starts_with({value}, {})", write_quoted(prefix)),
            Self::EndsWith(suffix) => write!(f, "ends_with({value}, {})", write_quoted(suffix)),
        }
    }
}

impl Display for Order {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
        })
    }
}

impl Display for NumberValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.id()),
            Self::LengthOf(value) => write!(f, "len({value})"),
            Self::CountOf(list) => write!(f, "len({list})"),
        }
    }
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listing(listing) => f.write_str(listing.id()),
            Self::Under(map, name) => write!(f, "{}[{}]", map.id(), write_quoted(name)),
        }
    }
}

impl Display for TextValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => f.write_str(field.id()),
            Self::Literal(literal) => f.write_str(&write_quoted(literal)),
            Self::Member(list, at) => write!(f, "{list}[{at}]"),
            Self::Members(list) => write!(f, "{list}[*]"),
            Self::Lower(inner) => write!(f, "lower({inner})"),
            Self::Upper(inner) => write!(f, "upper({inner})"),
            Self::Concat(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                write!(f, "concat({})", all.join(", "))
            }
        }
    }
}
