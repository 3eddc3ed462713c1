//! What stands on the left of operators: fields, members of lists, functions.

use super::{Operand, Parser};
use crate::{
    error::ParseError,
    expression::{List, NumberValue, TextValue},
    field::{Field, Map},
    lexer::Kind,
    limits::CONCATENATED_MAX,
};

/// What a field is before it is known what is wanted of it.
pub(super) enum Named {
    Operand(Operand),
    List(List),
}

const A_LIST: &str = "give any(LIST[*] eq \"…\"), or a member such as LIST[0]";
const FUNCTIONS: &str = "there are lower, upper, len, concat, starts_with, ends_with, any and all";

impl Parser<'_> {
    /// A value that can be compared.
    pub(super) fn operand(&mut self) -> Result<Operand, ParseError> {
        let start = self.offset();
        match self.named()? {
            Named::Operand(Operand::Text(TextValue::Literal(_))) => {
                Err(self.refuse_at(start, "a constant stands on the left", "compare a field with it"))
            }
            Named::Operand(operand) => Ok(operand),
            Named::List(list) => Err(self.refuse_at(start, format!("`{list}` is a list"), A_LIST)),
        }
    }

    fn named(&mut self) -> Result<Named, ParseError> {
        let start = self.offset();
        let text = |value| Ok(Named::Operand(Operand::Text(value)));
        let name = match self.next() {
            Kind::Word(name) => name,
            Kind::Text(literal) => return text(TextValue::Literal(literal)),
            _ => {
                let remedy = "give a condition such as http.host eq \"www.example.com\"";
                return Err(self.refuse_at(start, "a field or a function should stand here", remedy));
            }
        };
        if *self.peek() == Kind::Sign("(") {
            return self.function(name, start).map(Named::Operand);
        }
        let Some(field) = Field::by_id(name) else {
            let near = Field::near(name).join(", ");
            let problem = format!("there is no field {name:.60}; near it are {near}");
            return Err(self.refuse_at(
                start,
                problem,
                "give the name of a field as docs/rules.md lists them",
            ));
        };
        match field {
            Field::Text(field) => text(TextValue::Field(field)),
            Field::Flag(flag) => Ok(Named::Operand(Operand::Flag(flag))),
            Field::Number(number) => Ok(Named::Operand(Operand::Number(NumberValue::Field(number)))),
            Field::Address => Ok(Named::Operand(Operand::Address)),
            Field::Listing(listing) => self.members(List::Listing(listing)),
            Field::Map(map) => {
                let list = self.under(map)?;
                self.members(list)
            }
        }
    }

    /// `["NAME"]` behind a map.
    fn under(&mut self, map: Map) -> Result<List, ParseError> {
        let remedy = "name what is wanted of it, such as http.request.headers[\"accept\"]";
        self.expect("[", remedy)?;
        let start = self.offset();
        let Kind::Text(name) = self.next() else {
            return Err(self.refuse_at(start, "a name in quotes should stand here", remedy));
        };
        if map == Map::Headers && name.iter().any(u8::is_ascii_uppercase) {
            let remedy = "write it in lower case";
            return Err(self.refuse_at(start, "names of headers are in lower case", remedy));
        }
        self.expect("]", "close the bracket")?;
        Ok(List::Under(map, name))
    }

    /// `[*]` or `[0]` behind a list, or nothing.
    fn members(&mut self, list: List) -> Result<Named, ParseError> {
        if self.take(&["[*]"]) {
            return Ok(Named::Operand(Operand::Text(TextValue::Members(list))));
        }
        if !self.take(&["["]) {
            return Ok(Named::List(list));
        }
        let start = self.offset();
        let index = match self.next() {
            Kind::Word(digits) => digits.parse::<u16>().ok(),
            _ => None,
        };
        let Some(index) = index else {
            return Err(self.refuse_at(start, "this is no place in a list", "give a number from 0, or *"));
        };
        self.expect("]", "close the bracket")?;
        Ok(Named::Operand(Operand::Text(TextValue::Member(list, usize::from(index)))))
    }

    fn function(&mut self, name: &str, start: usize) -> Result<Operand, ParseError> {
        self.at += 1;
        let operand = self.deeper(|parser| match name {
            "lower" => Ok(Operand::Text(TextValue::Lower(Box::new(parser.text()?)))),
            "upper" => Ok(Operand::Text(TextValue::Upper(Box::new(parser.text()?)))),
            "len" => parser.length().map(Operand::Number),
            "concat" => parser.concat().map(Operand::Text),
            _ => Err(parser.refuse_at(start, format!("there is no function {name:.40} here"), FUNCTIONS)),
        })?;
        self.expect(")", "close the parenthesis")?;
        if let Operand::Text(value) = &operand
            && value.goes_over().is_some()
        {
            // `lower(x[*])[*]` says the same as `lower(x[*])`.
            self.take(&["[*]"]);
        }
        Ok(operand)
    }

    /// Text as an argument.
    pub(super) fn text(&mut self) -> Result<TextValue, ParseError> {
        let start = self.offset();
        match self.named()? {
            Named::Operand(Operand::Text(value)) => Ok(value),
            Named::List(list) => Err(self.refuse_at(start, format!("`{list}` is a list"), A_LIST)),
            Named::Operand(_) => {
                Err(self.refuse_at(start, "this is not text", "give a field of text, or text in quotes"))
            }
        }
    }

    fn length(&mut self) -> Result<NumberValue, ParseError> {
        let start = self.offset();
        match self.named()? {
            Named::List(list) => Ok(NumberValue::CountOf(list)),
            Named::Operand(Operand::Text(value)) if value.goes_over().is_none() => {
                Ok(NumberValue::LengthOf(value))
            }
            Named::Operand(_) => Err(self.refuse_at(
                start,
                "this has no length",
                "give a field of text, or a list without [*]",
            )),
        }
    }

    fn concat(&mut self) -> Result<TextValue, ParseError> {
        let start = self.offset();
        let mut all = vec![self.text()?];
        while self.take(&[","]) {
            all.push(self.text()?);
        }
        self.concatenated += all.len();
        if self.concatenated > CONCATENATED_MAX {
            let problem = format!("more than {CONCATENATED_MAX} texts are put together");
            return Err(self.refuse_at(start, problem, "compare them one by one"));
        }
        if all.iter().filter(|value| value.goes_over().is_some()).count() > 1 {
            return Err(self.refuse_at(start, "only one of these may have [*]", "give the others a place"));
        }
        Ok(TextValue::Concat(all))
    }
}
