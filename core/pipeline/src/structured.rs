//! Dictionaries of Structured Fields (RFC 8941, 3.2), as far as targeted cache control and overrides of Workers' versions need them.
//!
//! The whole grammar is checked, because a field that does not parse is to be ignored as a whole (RFC 8941, 4.2; RFC 9213, 2.1),
//! but only the types that a cache directive or an id can have are kept.

/// The value of a member: what it is without its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An integer.
    Integer(i64),
    /// A boolean; a key alone is true.
    Boolean(bool),
    /// A string, unescaped.
    String(Vec<u8>),
    /// A decimal, a token, a byte sequence or an inner list.
    Other,
}

/// Digits of an integer (RFC 8941, 3.3.1).
const INTEGER_DIGITS_MAX: usize = 15;
/// Digits before the point of a decimal (RFC 8941, 3.3.2).
const DECIMAL_INTEGER_DIGITS_MAX: usize = 12;
/// Digits after the point of a decimal.
const DECIMAL_FRACTION_DIGITS_MAX: usize = 3;

/// Parses the lines of one field as a dictionary, handing each member on in order (of a key given twice the last
/// counts, so a later call overwrites). `false`: the field is not a dictionary, and what was handed on is void.
pub fn dictionary<'a>(
    mut lines: impl Iterator<Item = &'a [u8]>,
    mut member: impl FnMut(&[u8], &Item),
) -> bool {
    lines.all(|line| one_line(line, &mut member).is_some())
}

fn one_line(line: &[u8], member: &mut impl FnMut(&[u8], &Item)) -> Option<()> {
    let mut input = Input(line);
    input.skip_while(|octet| octet == b' ');
    while !input.0.is_empty() {
        let key = input.key()?;
        let value = if input.take(b'=') { input.item_or_list()? } else { Item::Boolean(true) };
        input.parameters()?;
        member(key, &value);
        input.skip_while(|octet| matches!(octet, b' ' | b'\t'));
        if input.0.is_empty() {
            return Some(());
        }
        if !input.take(b',') {
            return None;
        }
        input.skip_while(|octet| matches!(octet, b' ' | b'\t'));
        if input.0.is_empty() {
            return None;
        }
    }
    Some(())
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, octet: u8) -> bool {
        let found = self.0.first() == Some(&octet);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn skip_while(&mut self, test: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.0.iter().position(|octet| !test(*octet)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        if !self.0.first().is_some_and(|octet| octet.is_ascii_lowercase() || *octet == b'*') {
            return None;
        }
        Some(self.skip_while(|octet| {
            octet.is_ascii_lowercase() || octet.is_ascii_digit() || matches!(octet, b'_' | b'-' | b'.' | b'*')
        }))
    }

    fn item_or_list(&mut self) -> Option<Item> {
        if !self.take(b'(') {
            return self.bare_item();
        }
        loop {
            self.skip_while(|octet| octet == b' ');
            if self.take(b')') {
                return Some(Item::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.0.first(), Some(b' ' | b')')) {
                return None;
            }
        }
    }

    fn parameters(&mut self) -> Option<()> {
        while self.take(b';') {
            self.skip_while(|octet| octet == b' ');
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Some(())
    }

    fn bare_item(&mut self) -> Option<Item> {
        match *self.0.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => {
                self.next();
                match self.next()? {
                    b'0' => Some(Item::Boolean(false)),
                    b'1' => Some(Item::Boolean(true)),
                    _ => None,
                }
            }
            b':' => {
                self.next();
                self.skip_while(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='));
                self.take(b':').then_some(Item::Other)
            }
            first if first.is_ascii_alphabetic() || first == b'*' => {
                self.skip_while(|octet| {
                    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&octet)
                });
                Some(Item::Other)
            }
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Item> {
        let negative = self.take(b'-');
        let digits = self.skip_while(|octet| octet.is_ascii_digit());
        if digits.is_empty() || digits.len() > INTEGER_DIGITS_MAX {
            return None;
        }
        if self.take(b'.') {
            let fraction = self.skip_while(|octet| octet.is_ascii_digit());
            let fits = digits.len() <= DECIMAL_INTEGER_DIGITS_MAX
                && (1..=DECIMAL_FRACTION_DIGITS_MAX).contains(&fraction.len());
            return fits.then_some(Item::Other);
        }
        let value = digits.iter().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Item::Integer(if negative { -value } else { value }))
    }

    fn string(&mut self) -> Option<Item> {
        self.next();
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return Some(Item::String(text)),
                b'\\' => match self.next()? {
                    octet @ (b'"' | b'\\') => text.push(octet),
                    _ => return None,
                },
                octet @ 0x20..=0x7e => text.push(octet),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Vec<(String, Item)>> {
        let mut found = Vec::new();
        dictionary([line.as_bytes()].into_iter(), |key, item| {
            found.push((String::from_utf8_lossy(key).into_owned(), item.clone()));
        })
        .then_some(found)
    }

    #[test]
    fn members_of_every_type_are_read() {
        let found =
            parse("a=1, b, c=?0;x=1;y, d=\"q\\\"q\", e=tok/en:x, f=1.5, g=:AAA=:, h=(1 \"x\";y) , i=-7");
        let kinds: Vec<Item> = found.expect("valid").into_iter().map(|(_, item)| item).collect();
        let expected = [
            Item::Integer(1),
            Item::Boolean(true),
            Item::Boolean(false),
            Item::String(b"q\"q".to_vec()),
            Item::Other,
            Item::Other,
            Item::Other,
            Item::Other,
            Item::Integer(-7),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_the_grammar_does_not_know_voids_the_field() {
        for line in
            ["a=1,", "a=1, &&&", "A=1", "a =1", "a= 1", "a=\"x", "a=1234567890123456", "a=1.", "a=(1", "a=?2"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_empty_field_is_an_empty_dictionary() {
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!(parse("  "), Some(vec![]));
    }
}
