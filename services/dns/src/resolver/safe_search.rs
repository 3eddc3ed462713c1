//! Search engines that leave out what is not for children, where asked by the names that they have for it. Pure.
//!
//! Each has told networks to answer its names with a CNAME record of another one; browsers go on saying the name that they
//! asked for, so that certificates hold.

/// Names, and what they stand for then.
const ENGINES: [(&[&str], &str); 6] = [
    (&["www.bing.com"], "strict.bing.com"),
    (&["duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com"], "safe.duckduckgo.com"),
    (&["search.brave.com"], "forcesafe.search.brave.com"),
    (&["pixabay.com"], "safesearch.pixabay.com"),
    (&["yandex.com", "www.yandex.com", "yandex.ru", "www.yandex.ru"], "familysearch.yandex.ru"),
    (
        &[
            "www.youtube.com",
            "m.youtube.com",
            "youtubei.googleapis.com",
            "youtube.googleapis.com",
            "www.youtube-nocookie.com",
        ],
        "restrict.youtube.com",
    ),
];
/// The one that has a name in each country.
const GOOGLE: &str = "forcesafesearch.google.com";

/// The name that a search engine has for what is safe; `name` is in lower case, without the last dot.
pub(crate) fn safe_name(name: &str) -> Option<&'static str> {
    let known = ENGINES.iter().find(|(names, _)| names.contains(&name)).map(|(_, safe)| *safe);
    known.or_else(|| is_google(name).then_some(GOOGLE))
}

/// `google.` and a country's ending, as the company has them: `com`, `de`, `co.uk`, `com.au`, `cat`.
fn is_google(name: &str) -> bool {
    let ending = name.strip_prefix("www.").unwrap_or(name).strip_prefix("google.");
    let is_country = |text: &str| text.len() == 2 && text.bytes().all(|octet| octet.is_ascii_lowercase());
    ending.is_some_and(|ending| match ending.split_once('.') {
        None => ending == "com" || ending == "cat" || is_country(ending),
        Some((kind, country)) => matches!(kind, "co" | "com") && is_country(country),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_engines_have_other_names_and_nobody_else_has() {
        for (name, safe) in [
            ("www.google.com", Some(GOOGLE)),
            ("google.co.uk", Some(GOOGLE)),
            ("www.google.com.au", Some(GOOGLE)),
            ("www.google.de", Some(GOOGLE)),
            ("www.bing.com", Some("strict.bing.com")),
            ("duckduckgo.com", Some("safe.duckduckgo.com")),
            ("www.youtube.com", Some("restrict.youtube.com")),
            ("mail.google.com", None),
            ("www.google.example.com", None),
            ("google.evil.com", None),
            ("www.google", None),
            ("forcesafesearch.google.com", None),
            ("restrict.youtube.com", None),
            ("www.example.com", None),
        ] {
            assert_eq!(safe_name(name), safe, "{name}");
        }
        // What stands for a name is none that another stands for: it is resolved as it is.
        assert!(ENGINES.iter().all(|(_, safe)| safe_name(safe).is_none()));
    }
}
