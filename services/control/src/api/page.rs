//! Query strings: pages, orders and filters.

use std::cmp::Ordering;

use proxima_ledger::Seq;
use proxima_model::excerpt;

use crate::{
    api::envelope::PageInfo,
    error::{ApiError, Code},
    limits,
};

/// A query string, taken apart. Parameters that no list has are ignored, as v4 ignores them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Parses the part of a URL after `?`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let text = text.unwrap_or_default();
        if text.len() > limits::QUERY_OCTETS_MAX {
            return Err(ApiError::new(Code::TooLong, "the query string is longer than 8 KiB"));
        }
        let decode = |part: &str| {
            let spaced = part.replace('+', " ");
            percent_encoding::percent_decode_str(&spaced)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| ApiError::new(Code::QueryInvalid, "the query string is not UTF-8"))
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let parameters = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, ApiError>>()?;
        Ok(Self { parameters })
    }

    /// The value of a parameter, the last one if it is given twice. An empty one is not given.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The values of a parameter that may be given several times. Empty ones are not given.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let found = self.parameters.iter().filter(move |(known, value)| known == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is there, even without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(known, _)| known == name)
    }

    /// A parameter that is a whole number (`20`, also written `20.0`).
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let digits = text.strip_suffix(".0").unwrap_or(text);
        let number = digits.parse().map_err(|_| {
            ApiError::new(Code::QueryInvalid, format!("{name}: {} is not a whole number", excerpt(text)))
        })?;
        Ok(Some(number))
    }

    /// A parameter that is `true` or `false`.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(ApiError::new(
                Code::QueryInvalid,
                format!("{name}: {} is neither true nor false", excerpt(other)),
            )),
        }
    }

    /// A parameter that is one of these words.
    pub(crate) fn choice<'a>(&self, name: &str, words: &'a [&'a str]) -> Result<Option<&'a str>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Ok(Some(word)),
            None => Err(ApiError::new(
                Code::QueryInvalid,
                format!("{name}: {} is not one of {}", excerpt(text), words.join(", ")),
            )),
        }
    }

    /// Whether all filters must hold (`match=all`, the default), or any one of them.
    pub(crate) fn match_all(&self) -> Result<bool, ApiError> {
        Ok(self.choice("match", &["all", "any"])? != Some("any"))
    }

    /// Whether the list is to be in descending order.
    pub(crate) fn descending(&self) -> Result<bool, ApiError> {
        Ok(self.choice("direction", &["asc", "desc"])? == Some("desc"))
    }

    /// The state that the client wants to see at least (`?wait=SEQ`).
    pub(crate) fn wait(&self) -> Result<Option<Seq>, ApiError> {
        Ok(self.number("wait")?.map(Seq))
    }

    /// The page that is asked for.
    pub(crate) fn page(&self, per_page: usize, per_page_max: usize) -> Result<Page, ApiError> {
        let number = |name, otherwise: usize| -> Result<usize, ApiError> {
            Ok(self.number(name)?.map_or(otherwise, |given| usize::try_from(given).unwrap_or(usize::MAX)))
        };
        let page = number("page", 1)?;
        let per_page = number("per_page", per_page)?;
        if page == 0 || per_page == 0 || per_page > per_page_max {
            return Err(ApiError::new(
                Code::QueryInvalid,
                format!("give a page from 1, and from 1 to {per_page_max} things per_page"),
            ));
        }
        Ok(Page { page, per_page })
    }
}

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    page: usize,
    per_page: usize,
}

impl Page {
    /// Which of so many things this page has, and where it is.
    pub(crate) fn window(self, total_count: usize) -> (std::ops::Range<usize>, PageInfo) {
        let begin = (self.page - 1).saturating_mul(self.per_page).min(total_count);
        let end = begin.saturating_add(self.per_page).min(total_count);
        let info = PageInfo { page: self.page, per_page: self.per_page, count: end - begin, total_count };
        (begin..end, info)
    }

    /// Gathers the things up to this page, in an order, of however many there are.
    pub(crate) fn first_of<T, F: FnMut(&T, &T) -> Ordering>(self, order: F) -> First<T, F> {
        First { page: self, order, kept: Vec::new(), total_count: 0 }
    }

    /// How many things there are up to its end, if there are as many.
    pub(crate) const fn end(self) -> usize {
        self.page.saturating_mul(self.per_page)
    }

    /// The things of this page, and where it is.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> (Vec<T>, PageInfo) {
        let (window, info) = self.window(all.len());
        (all.into_iter().skip(window.start).take(window.len()).collect(), info)
    }
}

/// What a list has up to the end of a page: of all others that are given to it, only their number.
pub(crate) struct First<T, F> {
    page: Page,
    order: F,
    kept: Vec<T>,
    total_count: usize,
}

impl<T, F: FnMut(&T, &T) -> Ordering> First<T, F> {
    /// Takes the next one, in no order. Of those that are kept half are let go at a time, so that each costs the same.
    pub(crate) fn take(&mut self, thing: T) {
        self.total_count += 1;
        self.kept.push(thing);
        let most = self.page.end();
        if self.kept.len() >= most.saturating_mul(2) {
            self.kept.select_nth_unstable_by(most - 1, &mut self.order);
            self.kept.truncate(most);
        }
    }

    /// The things of the page, and where it is.
    pub(crate) fn cut(mut self) -> (Vec<T>, PageInfo) {
        self.kept.sort_unstable_by(&mut self.order);
        let (window, info) = self.page.window(self.total_count);
        (self.kept.into_iter().skip(window.start).take(window.len()).collect(), info)
    }
}

/// A filter on a text, by the operators that v4 has. Case is ignored, as it is in names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextFilter {
    Equal(String),
    NotEqual(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
}

impl TextFilter {
    /// As zones are filtered: `name=VALUE` or `name=OPERATOR:VALUE`.
    pub(crate) fn with_operator(text: &str) -> Self {
        let lower = text.to_lowercase();
        let Some((operator, value)) = lower.split_once(':') else { return Self::Equal(lower) };
        let value = value.to_owned();
        match operator.strip_suffix("_case_sensitive").unwrap_or(operator) {
            "equal" => Self::Equal(value),
            "not_equal" => Self::NotEqual(value),
            "starts_with" => Self::StartsWith(value),
            "ends_with" => Self::EndsWith(value),
            "contains" => Self::Contains(value),
            _ => Self::Equal(lower),
        }
    }

    /// As records are filtered: `NAME`, `NAME.exact`, `NAME.contains`, `NAME.startswith`, `NAME.endswith`.
    pub(crate) fn of_parameter(query: &Query, name: &str) -> Vec<Self> {
        let lower = |suffix: &str| query.get(&format!("{name}{suffix}")).map(str::to_lowercase);
        [
            lower("").map(Self::Equal),
            lower(".exact").map(Self::Equal),
            lower(".contains").map(Self::Contains),
            lower(".startswith").map(Self::StartsWith),
            lower(".endswith").map(Self::EndsWith),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Whether a text passes.
    pub(crate) fn passes(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        match self {
            Self::Equal(value) => text == *value,
            Self::NotEqual(value) => text != *value,
            Self::StartsWith(value) => text.starts_with(value),
            Self::EndsWith(value) => text.ends_with(value),
            Self::Contains(value) => text.contains(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(Some(text)).unwrap()
    }

    #[test]
    fn a_page_of_what_comes_in_no_order_is_that_of_the_whole_in_order() {
        let things: Vec<u32> = (0..1_000).map(|number| number * 7_919 % 1_000).collect();
        for (page, per_page) in [(1, 1), (1, 20), (7, 20), (50, 20), (51, 20), (1, 50), (usize::MAX, 2)] {
            let page = query(&format!("page={page}&per_page={per_page}")).page(20, 50).unwrap();
            let mut first = page.first_of(|a: &u32, b| a.cmp(b));
            for thing in &things {
                first.take(*thing);
                assert!(first.kept.len() < page.end().saturating_mul(2), "{page:?}");
            }
            assert_eq!(first.cut(), page.cut((0..1_000).collect()), "{page:?}");
        }
    }

    #[test]
    fn pages_cover_a_list_without_gap_and_end_empty() {
        let page = |number: usize| {
            let (items, info) =
                query(&format!("page={number}&per_page=2")).page(20, 50).unwrap().cut(vec![1, 2, 3]);
            (items, info.count, info.total_count)
        };
        assert_eq!(page(1), (vec![1, 2], 2, 3));
        assert_eq!(page(2), (vec![3], 1, 3));
        assert_eq!(page(3), (vec![], 0, 3));
        assert_eq!(page(usize::MAX), (vec![], 0, 3));
    }

    #[test]
    fn pages_that_do_not_exist_are_refused() {
        for text in ["page=0", "per_page=0", "per_page=51", "page=x", "page=-1", "page=1.5"] {
            assert_eq!(query(text).page(20, 50).unwrap_err().code(), Code::QueryInvalid, "{text}");
        }
        assert!(query("page=1.0&per_page=50").page(20, 50).is_ok());
    }

    #[test]
    fn parameters_are_decoded_and_the_last_one_counts() {
        let query = query("name.contains=a%2Bb+c&name.contains=%C3%A4&tag=&&flag");
        assert_eq!(query.get("name.contains"), Some("ä"));
        assert_eq!(query.get("tag"), None);
        assert!(query.has("tag") && query.has("flag") && !query.has("name"));
    }

    #[test]
    fn a_long_query_is_refused_unread() {
        let long = "a".repeat(limits::QUERY_OCTETS_MAX + 1);
        assert_eq!(Query::parse(Some(&long)).unwrap_err().code(), Code::TooLong);
    }

    #[test]
    fn zone_filters_take_operators_and_plain_values() {
        let passes = |filter: &str| TextFilter::with_operator(filter).passes("Example.com");
        assert!(passes("example.com") && passes("contains:ample") && passes("starts_with:EXAMPLE"));
        assert!(passes("ends_with_case_sensitive:.com") && passes("not_equal:example.net"));
        assert!(!passes("contains:net") && !passes("unknown:example.com"));
    }

    #[test]
    fn record_filters_take_every_suffix() {
        let filters = TextFilter::of_parameter(&query("name=a&name.endswith=b&content=c"), "name");
        assert_eq!(filters, [TextFilter::Equal("a".to_owned()), TextFilter::EndsWith("b".to_owned())]);
    }
}
