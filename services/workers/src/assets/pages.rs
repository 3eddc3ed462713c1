//! Which file a path leads to, and at which path it is: `html_handling` and `not_found_handling`.
//!
//! A page has one path at which it is; at the others that it could have, who asks is sent there. What each form of a path may lead
//! to is a list, of which the first that holds is taken.

use proxima_model::{AssetConfig, HtmlHandling, NotFoundHandling};

/// Where files are: which of them has this path.
pub(super) trait Paths {
    fn file(&self, path: &str) -> Option<usize>;
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This file.
    File(usize),
    /// The same file is at this path.
    Elsewhere(String),
    /// None, and this file says so.
    NotFound(usize),
    /// None.
    Nowhere,
}

/// Where what belongs to a stem is.
type At = fn(&str) -> String;

/// What a path may lead to.
enum Way {
    /// The file that has this path.
    Exact,
    /// This file.
    To(String),
    /// This path, if it leads to this file, and is not itself that of one.
    Sent(String, String),
}

/// What a path, decoded, leads to.
pub(super) fn place(paths: &impl Paths, config: &AssetConfig, path: &str) -> Place {
    // Most are no pages.
    let may_be_page = path.ends_with('/') || path.ends_with(".html") || path.ends_with("/index");
    if !may_be_page && let Some(file) = paths.file(path) {
        return Place::File(file);
    }
    match find(paths, config.html_handling, path, true) {
        Place::Nowhere => not_found(paths, config.not_found_handling, path),
        found => found,
    }
}

fn find(paths: &impl Paths, handling: HtmlHandling, path: &str, may_send: bool) -> Place {
    for way in ways(handling, path) {
        match way {
            Way::Exact => {
                if let Some(file) = paths.file(path) {
                    return Place::File(file);
                }
            }
            Way::To(name) => {
                if let Some(file) = paths.file(&name) {
                    return Place::File(file);
                }
            }
            Way::Sent(name, to) if may_send && !to.is_empty() && paths.file(&to).is_none() => {
                let Some(file) = paths.file(&name) else { continue };
                if find(paths, handling, &to, false) == Place::File(file) {
                    return Place::Elsewhere(to);
                }
            }
            Way::Sent(..) => {}
        }
    }
    Place::Nowhere
}

/// What a path of this form may lead to, in this order.
fn ways(handling: HtmlHandling, path: &str) -> Vec<Way> {
    use HtmlHandling::{AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash};
    use Way::{Exact, Sent, To};
    if handling == HtmlHandling::None {
        return vec![Exact];
    }
    let page = |stem: &str| format!("{stem}.html");
    let index = |stem: &str| format!("{stem}/index.html");
    let folder = |stem: &str| format!("{stem}/");
    // Where the page of a stem is, and where the index of one is.
    let (page_at, index_at): (At, At) = match handling {
        AutoTrailingSlash => (str::to_owned, |stem| format!("{stem}/")),
        ForceTrailingSlash => (|stem| format!("{stem}/"), |stem| format!("{stem}/")),
        // Of the root nothing can be dropped.
        _ => (str::to_owned, |stem| if stem.is_empty() { "/".to_owned() } else { stem.to_owned() }),
    };
    let mut ways = Vec::with_capacity(6);
    if let Some(stem) = path.strip_suffix("/index") {
        let sent = [Sent(index(stem), index_at(stem)), Sent(page(stem), page_at(stem))];
        ways.push(Exact);
        match handling {
            DropTrailingSlash => ways.extend(sent.into_iter().rev()),
            _ => ways.extend(sent),
        }
    } else if let Some(stem) = path.strip_suffix("/index.html") {
        ways.push(Sent(path.to_owned(), index_at(stem)));
        if handling == DropTrailingSlash {
            ways.push(Exact);
        }
        ways.push(Sent(page(stem), page_at(stem)));
    } else if let Some(stem) = path.strip_suffix('/') {
        match handling {
            AutoTrailingSlash => ways.extend([To(index(stem)), Sent(page(stem), page_at(stem))]),
            ForceTrailingSlash => ways.extend([To(index(stem)), To(page(stem))]),
            _ if stem.is_empty() => ways.push(To(index(stem))),
            _ => ways.extend([Sent(page(stem), page_at(stem)), Sent(index(stem), index_at(stem))]),
        }
    } else if let Some(stem) = path.strip_suffix(".html") {
        ways.push(Sent(path.to_owned(), page_at(stem)));
        if handling == ForceTrailingSlash {
            ways.push(Exact);
        }
        ways.push(Sent(index(stem), index_at(stem)));
    }
    ways.push(Exact);
    match handling {
        AutoTrailingSlash => ways.extend([To(page(path)), Sent(index(path), folder(path))]),
        ForceTrailingSlash => ways.extend([Sent(page(path), folder(path)), Sent(index(path), folder(path))]),
        _ => ways.extend([To(page(path)), To(index(path))]),
    }
    ways
}

fn not_found(paths: &impl Paths, handling: NotFoundHandling, path: &str) -> Place {
    match handling {
        NotFoundHandling::None => Place::Nowhere,
        NotFoundHandling::SinglePageApplication => {
            paths.file("/index.html").map_or(Place::Nowhere, Place::File)
        }
        NotFoundHandling::Page404 => {
            let mut rest = path;
            while let Some((folder, _)) = rest.rsplit_once('/') {
                if let Some(file) = paths.file(&format!("{folder}/404.html")) {
                    return Place::NotFound(file);
                }
                rest = folder;
            }
            Place::Nowhere
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(&'static [&'static str]);

    impl Paths for Files {
        fn file(&self, path: &str) -> Option<usize> {
            self.0.iter().position(|known| *known == path)
        }
    }

    const FILES: Files = Files(&[
        "/index.html",
        "/file.html",
        "/folder/index.html",
        "/style.css",
        "/both.html",
        "/both/index.html",
    ]);

    /// The file at a path, `→` and where it is, or nothing.
    fn at(handling: HtmlHandling, path: &str) -> String {
        let config = AssetConfig { html_handling: handling, ..AssetConfig::default() };
        match place(&FILES, &config, path) {
            Place::File(file) => FILES.0[file].to_owned(),
            Place::Elsewhere(to) => format!("→{to}"),
            Place::NotFound(_) => "404".to_owned(),
            Place::Nowhere => String::new(),
        }
    }

    /// As Cloudflare documents it (HTML handling of static assets), and beyond.
    #[test]
    fn a_page_is_at_one_path_and_the_others_lead_there() {
        use HtmlHandling::{AutoTrailingSlash, DropTrailingSlash, ForceTrailingSlash, None};
        for (path, auto, force, drop, none) in [
            ("/", "/index.html", "/index.html", "/index.html", ""),
            ("/index", "→/", "→/", "→/", ""),
            ("/index.html", "→/", "→/", "→/", "/index.html"),
            ("/file", "/file.html", "→/file/", "/file.html", ""),
            ("/file.html", "→/file", "→/file/", "→/file", "/file.html"),
            ("/file/", "→/file", "/file.html", "→/file", ""),
            ("/file/index", "→/file", "→/file/", "→/file", ""),
            ("/file/index.html", "→/file", "→/file/", "→/file", ""),
            ("/folder", "→/folder/", "→/folder/", "/folder/index.html", ""),
            ("/folder.html", "→/folder/", "→/folder/", "→/folder", ""),
            ("/folder/", "/folder/index.html", "/folder/index.html", "→/folder", ""),
            ("/folder/index", "→/folder/", "→/folder/", "→/folder", ""),
            ("/folder/index.html", "→/folder/", "→/folder/", "→/folder", "/folder/index.html"),
            ("/style.css", "/style.css", "/style.css", "/style.css", "/style.css"),
            ("/style", "", "", "", ""),
            ("/style.css/", "", "", "", ""),
            ("/nothing/index.html", "", "", "", ""),
            // Of a page and an index of one name, each keeps a path where there are two.
            ("/both", "/both.html", "→/both/", "/both.html", ""),
            ("/both/", "/both/index.html", "/both/index.html", "→/both", ""),
            ("/both.html", "→/both", "/both.html", "→/both", "/both.html"),
            ("/both/index.html", "→/both/", "→/both/", "/both/index.html", "/both/index.html"),
        ] {
            for (handling, expected) in [
                (AutoTrailingSlash, auto),
                (ForceTrailingSlash, force),
                (DropTrailingSlash, drop),
                (None, none),
            ] {
                assert_eq!(at(handling, path), expected, "{path} with {handling:?}");
            }
        }
    }

    #[test]
    fn where_nothing_is_a_page_may_say_so() {
        const SITE: Files = Files(&["/index.html", "/404.html", "/docs/404.html", "/docs/a.html"]);
        let with = |not_found_handling| AssetConfig { not_found_handling, ..AssetConfig::default() };
        let page = with(NotFoundHandling::Page404);
        for (path, place) in [
            ("/x", Place::NotFound(1)),
            ("/docs/x", Place::NotFound(2)),
            ("/docs/x/y/", Place::NotFound(2)),
            ("/docs", Place::NotFound(1)),
            ("/docs/a", Place::File(3)),
        ] {
            assert_eq!(super::place(&SITE, &page, path), place, "{path}");
        }
        assert_eq!(
            super::place(&SITE, &with(NotFoundHandling::SinglePageApplication), "/x/y"),
            Place::File(0)
        );
        assert_eq!(super::place(&SITE, &with(NotFoundHandling::None), "/x"), Place::Nowhere);
        assert_eq!(super::place(&Files(&["/a"]), &page, "/x"), Place::Nowhere);
        let single = with(NotFoundHandling::SinglePageApplication);
        assert_eq!(super::place(&Files(&["/a"]), &single, "/x"), Place::Nowhere);
    }
}
