//! Operators and what stands on their right.

use std::{net::IpAddr, ops::RangeInclusive};

use ipnet::IpNet;
use memchr::memmem::Finder;
use regex::bytes::RegexBuilder;

use super::{Condition, Operand, Parser};
use crate::{
    error::ParseError,
    expression::{AddressSet, AddressTest, Needle, Node, NumberTest, Order, Pattern, TextTest},
    lexer::Kind,
    limits::{REGEX_OCTETS_MAX, REGEX_STATES_OCTETS_MAX, REGEXES_MAX, SET_MEMBERS_MAX, WILDCARD_STARS_MAX},
    wildcard::Wildcard,
};

const ORDERS: [(&[&str], Order); 6] = [
    (&["eq", "=="], Order::Eq),
    (&["ne", "!="], Order::Ne),
    (&["lt", "<"], Order::Lt),
    (&["le", "<="], Order::Le),
    (&["gt", ">"], Order::Gt),
    (&["ge", ">="], Order::Ge),
];

impl Parser<'_> {
    /// A comparison, or a function that is one.
    pub(super) fn condition(&mut self) -> Result<Condition, ParseError> {
        for name in ["starts_with", "ends_with"] {
            if self.is_call(name) {
                return self.affix(name == "starts_with");
            }
        }
        match self.operand()? {
            Operand::Text(value) => Ok(Condition::Text(value, self.text_test()?)),
            Operand::Number(value) => Ok(Condition::Node(Node::Number(value, self.number_test()?))),
            Operand::Address => Ok(Condition::Node(Node::Address(self.address_test()?))),
            Operand::Flag(flag) => match self.order() {
                None => Ok(Condition::Node(Node::Flag(flag))),
                Some(_) => {
                    self.at -= 1;
                    let problem = format!("{} is true or false, and is compared with nothing", flag.id());
                    Err(self.refuse(problem, "write it alone, or behind not"))
                }
            },
        }
    }

    fn affix(&mut self, first: bool) -> Result<Condition, ParseError> {
        self.at += 2;
        let value = self.deeper(Self::text)?;
        self.expect(",", "give two arguments: a field, and text in quotes")?;
        let affix = self.literal()?;
        self.expect(")", "close the parenthesis")?;
        let test = if first { TextTest::StartsWith(affix) } else { TextTest::EndsWith(affix) };
        Ok(Condition::Text(value, test))
    }

    fn order(&mut self) -> Option<Order> {
        ORDERS.iter().find(|(words, _)| self.take(words)).map(|(_, order)| *order)
    }

    fn literal(&mut self) -> Result<Vec<u8>, ParseError> {
        let start = self.offset();
        match self.next() {
            Kind::Text(text) => Ok(text),
            _ => Err(self.refuse_at(start, "text should stand here", "put it into quotes")),
        }
    }

    fn text_test(&mut self) -> Result<TextTest, ParseError> {
        if let Some(order) = self.order() {
            return Ok(TextTest::Order(order, self.literal()?));
        }
        if self.take(&["contains"]) {
            return Ok(TextTest::Contains(Needle(Box::new(Finder::new(&self.literal()?).into_owned()))));
        }
        if self.take(&["matches", "~"]) {
            return self.pattern();
        }
        if self.take(&["in"]) {
            let mut set = self.set(|parser| parser.literal())?;
            set.sort_unstable();
            set.dedup();
            return Ok(TextTest::In(set));
        }
        let strict = self.take(&["strict"]);
        if self.take(&["wildcard"]) {
            return self.wildcard(strict);
        }
        Err(self.refuse(
            "an operator for text should stand here",
            "give eq, ne, lt, le, gt, ge, contains, matches, in, wildcard or strict wildcard",
        ))
    }

    fn pattern(&mut self) -> Result<TextTest, ParseError> {
        let start = self.offset();
        self.regexes += 1;
        if self.regexes > REGEXES_MAX {
            let problem = format!("there are more than {REGEXES_MAX} regular expressions");
            return Err(self.refuse_at(start, problem, "join some by |, or use contains or wildcard"));
        }
        let written = self.literal()?;
        let remedy =
            "give a regular expression in the syntax of the crate regex: no look-around, no back-references";
        let written =
            String::from_utf8(written).map_err(|_| self.refuse_at(start, "it is not UTF-8", remedy))?;
        RegexBuilder::new(&written)
            .size_limit(REGEX_OCTETS_MAX)
            .dfa_size_limit(REGEX_STATES_OCTETS_MAX)
            .build()
            .map(|regex| TextTest::Matches(Pattern(regex)))
            .map_err(|error| {
                // The last line says what is wrong; those before draw it.
                let said = error.to_string();
                let said = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.refuse_at(start, format!("this is no regular expression: {said}"), remedy)
            })
    }

    fn wildcard(&mut self, strict: bool) -> Result<TextTest, ParseError> {
        let start = self.offset();
        let remedy =
            "give such as \"*.example.com/*\"; write \\* for a star and \\\\ for a backslash, raw or escaped";
        let pattern = Wildcard::new(self.literal()?, strict)
            .map_err(|problem| self.refuse_at(start, problem, remedy))?;
        if pattern.stars() > WILDCARD_STARS_MAX {
            let problem = format!("the pattern has more than {WILDCARD_STARS_MAX} stars");
            return Err(self.refuse_at(start, problem, remedy));
        }
        Ok(TextTest::Wildcard(pattern))
    }

    fn number_test(&mut self) -> Result<NumberTest, ParseError> {
        if let Some(order) = self.order() {
            return Ok(NumberTest::Order(order, self.integer()?));
        }
        if self.take(&["in"]) {
            return self.set(Self::integers).map(NumberTest::In);
        }
        Err(self.refuse("an operator for integers should stand here", "give eq, ne, lt, le, gt, ge or in"))
    }

    fn integer(&mut self) -> Result<i64, ParseError> {
        let start = self.offset();
        let number = match self.next() {
            Kind::Word(digits) => digits.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.refuse_at(start, "an integer should stand here", "give such as 8080"))
    }

    fn integers(&mut self) -> Result<RangeInclusive<i64>, ParseError> {
        let start = self.offset();
        let from = self.integer()?;
        let to = if self.take(&[".."]) { self.integer()? } else { from };
        if from > to {
            return Err(self.refuse_at(start, "this range is empty", "give the smaller end first"));
        }
        Ok(from..=to)
    }

    fn address_test(&mut self) -> Result<AddressTest, ParseError> {
        let start = self.offset();
        match self.order() {
            Some(Order::Eq) => Ok(AddressTest::Is(self.address()?)),
            Some(Order::Ne) => Ok(AddressTest::IsNot(self.address()?)),
            None if self.take(&["in"]) => self.set(Self::addresses).map(AddressTest::In),
            _ => Err(self.refuse_at(
                start,
                "an operator for addresses should stand here",
                "give eq, ne or in, such as ip.src in {192.0.2.0/24 2001:db8::/32}",
            )),
        }
    }

    fn address(&mut self) -> Result<IpAddr, ParseError> {
        let start = self.offset();
        let address = match self.next() {
            Kind::Word(word) => word.parse::<IpAddr>().ok(),
            _ => None,
        };
        address.map(|address| address.to_canonical()).ok_or_else(|| {
            self.refuse_at(start, "an address should stand here", "give such as 192.0.2.1, without quotes")
        })
    }

    fn addresses(&mut self) -> Result<AddressSet, ParseError> {
        let start = self.offset();
        if let Kind::Word(word) = self.peek()
            && let Ok(network) = word.parse::<IpNet>()
        {
            self.at += 1;
            return Ok(AddressSet::Network(network.trunc()));
        }
        let from = self.address()?;
        if !self.take(&[".."]) {
            return Ok(AddressSet::Network(IpNet::from(from)));
        }
        let to = self.address()?;
        if from.is_ipv4() != to.is_ipv4() || from > to {
            return Err(self.refuse_at(start, "this range is empty", "give the smaller end first"));
        }
        Ok(AddressSet::Range(from..=to))
    }

    /// `{` members with spaces between them `}`.
    fn set<T>(
        &mut self,
        mut member: impl FnMut(&mut Self) -> Result<T, ParseError>,
    ) -> Result<Vec<T>, ParseError> {
        if *self.peek() == Kind::Sign("$") {
            return Err(self.refuse("lists of an account do not exist yet", "write the members out: {…}"));
        }
        self.expect("{", "give a set such as {\"a\" \"b\"}")?;
        let mut members = Vec::new();
        while !self.take(&["}"]) {
            match self.peek() {
                Kind::Sign(",") => {
                    return Err(self.refuse("members have no comma between them", "use spaces"));
                }
                Kind::End => return Err(self.refuse("this set does not end", "close it with }")),
                _ => {}
            }
            self.set_members += 1;
            if self.set_members > SET_MEMBERS_MAX {
                let problem = format!("the sets have more than {SET_MEMBERS_MAX} members together");
                return Err(self.refuse(problem, "use ranges or networks, or make several rules of it"));
            }
            members.push(member(self)?);
        }
        if members.is_empty() {
            return Err(self.refuse("this set is empty", "give it members"));
        }
        Ok(members)
    }
}
