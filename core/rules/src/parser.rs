//! Tokens into an [`Expression`](crate::Expression): by recursive descent, bounded in depth.

mod operand;
mod test;

use crate::{
    error::ParseError,
    expression::{Node, NumberValue, Quantifier, TextTest, TextValue},
    lexer::{self, Kind, Token},
    limits::{EXPRESSION_OCTETS_MAX, NESTING_MAX},
};

pub(crate) fn parse(text: &str) -> Result<Node, ParseError> {
    if text.len() > EXPRESSION_OCTETS_MAX {
        let problem = format!("the expression is longer than {EXPRESSION_OCTETS_MAX} octets");
        return Err(ParseError::at(text, EXPRESSION_OCTETS_MAX, problem, "make several rules of it"));
    }
    let mut parser = Parser {
        text,
        tokens: lexer::tokens(text)?,
        at: 0,
        depth: 0,
        set_members: 0,
        regexes: 0,
        concatenated: 0,
    };
    let node = parser.or()?;
    match parser.peek() {
        Kind::End => Ok(node),
        _ => Err(parser.refuse("the expression should end here", "join conditions by and, or or xor")),
    }
}

/// What a parser has read, and how much of what is bounded.
struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
    set_members: usize,
    regexes: usize,
    concatenated: usize,
}

/// What stands on the left of an operator.
enum Operand {
    Text(TextValue),
    Number(NumberValue),
    Address,
    Flag(crate::field::Flag),
}

/// A condition that stands alone, or that `any` and `all` go over.
enum Condition {
    Node(Node),
    Text(TextValue, TextTest),
}

impl<'a> Parser<'a> {
    fn peek(&self) -> &Kind<'a> {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn offset(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| token.offset)
    }

    fn next(&mut self) -> Kind<'a> {
        let kind = self.peek().clone();
        self.at += usize::from(kind != Kind::End);
        kind
    }

    /// Takes a word or a sign if it comes next.
    fn take(&mut self, wanted: &[&str]) -> bool {
        let found = match self.peek() {
            Kind::Word(word) => wanted.contains(word),
            Kind::Sign(sign) => wanted.contains(sign),
            Kind::Text(_) | Kind::End => false,
        };
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str, remedy: &'static str) -> Result<(), ParseError> {
        if self.take(&[sign]) { Ok(()) } else { Err(self.refuse(format!("`{sign}` is missing"), remedy)) }
    }

    /// An error where the next token stands.
    fn refuse(&self, problem: impl Into<String>, remedy: &'static str) -> ParseError {
        ParseError::at(self.text, self.offset(), problem, remedy)
    }

    fn refuse_at(&self, offset: usize, problem: impl Into<String>, remedy: &'static str) -> ParseError {
        ParseError::at(self.text, offset, problem, remedy)
    }

    /// Goes one step deeper for what `parse` reads.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.depth == NESTING_MAX {
            let problem = format!("this is nested deeper than {NESTING_MAX}");
            return Err(self.refuse(problem, "write it flatter, or make several rules of it"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn or(&mut self) -> Result<Node, ParseError> {
        self.joined(&["or", "||"], Self::xor, Node::Or)
    }

    fn xor(&mut self) -> Result<Node, ParseError> {
        self.joined(&["xor", "^^"], Self::and, Node::Xor)
    }

    fn and(&mut self) -> Result<Node, ParseError> {
        self.joined(&["and", "&&"], Self::not, Node::And)
    }

    fn joined(
        &mut self,
        words: &[&str],
        tighter: fn(&mut Self) -> Result<Node, ParseError>,
        join: fn(Vec<Node>) -> Node,
    ) -> Result<Node, ParseError> {
        let first = tighter(self)?;
        if !self.take(words) {
            return Ok(first);
        }
        let mut all = vec![first, tighter(self)?];
        while self.take(words) {
            all.push(tighter(self)?);
        }
        Ok(join(all))
    }

    fn not(&mut self) -> Result<Node, ParseError> {
        if self.take(&["not", "!"]) {
            return self.deeper(Self::not).map(|inner| Node::Not(Box::new(inner)));
        }
        if self.take(&["("]) {
            let inner = self.deeper(Self::or)?;
            self.expect(")", "close the parenthesis")?;
            return Ok(inner);
        }
        self.single()
    }

    /// A condition without `not` and parentheses around it.
    fn single(&mut self) -> Result<Node, ParseError> {
        for (word, value) in [("true", true), ("false", false)] {
            if self.take(&[word]) {
                return Ok(Node::Constant(value));
            }
        }
        for (word, quantifier) in [("any", Quantifier::Any), ("all", Quantifier::All)] {
            if self.is_call(word) {
                return self.each(quantifier);
            }
        }
        let start = self.offset();
        match self.condition()? {
            Condition::Node(node) => Ok(node),
            Condition::Text(value, _) if value.goes_over().is_some() => Err(self.refuse_at(
                start,
                "`[*]` stands for every member of a list",
                "put the condition into any(…) or all(…)",
            )),
            Condition::Text(value, test) => Ok(Node::Text(value, test)),
        }
    }

    fn is_call(&self, name: &str) -> bool {
        *self.peek() == Kind::Word(name)
            && self.tokens.get(self.at + 1).is_some_and(|token| token.kind == Kind::Sign("("))
    }

    fn each(&mut self, quantifier: Quantifier) -> Result<Node, ParseError> {
        self.at += 2;
        let start = self.offset();
        let condition = self.deeper(Self::condition)?;
        self.expect(")", "give one condition, and close the parenthesis")?;
        match condition {
            Condition::Text(value, test) if value.goes_over().is_some() => {
                Ok(Node::Each(quantifier, value, test))
            }
            _ => Err(self.refuse_at(
                start,
                "this goes over no list",
                "give such as any(http.request.headers[\"accept\"][*] contains \"html\")",
            )),
        }
    }
}
