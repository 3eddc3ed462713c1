//! The assets of a version, compiled: what a request leads to. Pure.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proxima_model::{
    AccountId, AssetConfig, AssetHash, AssetManifest, ContentRef, NotFoundHandling, WorkerFirst,
    WorkerVersion,
};

use super::{
    answer::Asked,
    fields::Fields,
    pages::{Paths, Place, place},
    paths::{First, Url, Who, decode, encode},
    redirects::{Redirects, Sent},
};

/// Whether a browser asks for a page, or for what belongs to one (Fetch Metadata).
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
/// From this day on, who asks for a page where no file is gets what `not_found_handling` says, without the code being asked.
const NAVIGATION_SINCE: &str = "2025-04-01";
/// The flags that say so whatever the day is.
const NAVIGATION: [(&str, bool); 2] =
    [("assets_navigation_has_no_effect", false), ("assets_navigation_prefers_asset_serving", true)];
/// What a file takes in memory beside its path.
const FILE_OCTETS: u64 = 192;
/// What a site takes beside its files, and its rules for each of their octets: patterns are compiled.
const SITE_OCTETS: u64 = 4 << 10;
const RULES_FACTOR: u64 = 64;

/// See the module.
pub(crate) struct Site {
    pub(super) account: AccountId,
    files: Vec<File>,
    paths: HashMap<Box<str>, usize>,
    config: AssetConfig,
    first: Option<First>,
    redirects: Redirects,
    pub(super) fields: Fields,
    navigation: bool,
    has_code: bool,
    octets: u64,
}

/// A file.
pub(super) struct File {
    pub(super) hash: AssetHash,
    pub(super) octets: u32,
    /// What it is called by who has it already.
    pub(super) tag: HeaderValue,
    /// Where its octets are and what it is served as, once it was read.
    pub(super) about: OnceLock<Arc<About>>,
}

/// What is said of a file in its row.
pub(super) struct About {
    pub(super) content: ContentRef,
    pub(super) content_type: Option<HeaderValue>,
}

/// Who answers a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The version's code.
    Code,
    /// Its assets.
    Assets(Plan),
}

/// How assets answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// With this file.
    File(usize, StatusCode),
    /// By sending on.
    Sent(StatusCode, String),
    /// That they are not there to be changed.
    MethodNotAllowed,
    /// That nothing is there.
    NotFound,
}

/// The rules of a version, as they lie in its files.
#[derive(Default)]
pub(super) struct Rules<'a> {
    pub(super) headers: &'a str,
    pub(super) redirects: &'a str,
}

impl Paths for Site {
    fn file(&self, path: &str) -> Option<usize> {
        self.paths.get(path).copied()
    }
}

impl Site {
    pub(super) fn new(
        version: &WorkerVersion,
        config: AssetConfig,
        manifest: &AssetManifest,
        rules: &Rules<'_>,
    ) -> Self {
        let file = |file: &proxima_model::AssetFile| File {
            hash: file.hash,
            octets: file.octets,
            tag: HeaderValue::try_from(format!("\"{}\"", file.hash)).expect("digits in quotes"),
            about: OnceLock::new(),
        };
        let paths =
            manifest.files().iter().enumerate().map(|(index, file)| (file.path.as_str().into(), index));
        let flag = |(flag, on): &(&str, bool)| {
            version.compatibility_flags.iter().any(|given| given.as_str() == *flag).then_some(*on)
        };
        let navigation = NAVIGATION.iter().find_map(flag);
        let first = match &config.worker_first {
            WorkerFirst::Paths(paths) => Some(First::of(paths)),
            WorkerFirst::Never | WorkerFirst::Always => None,
        };
        let of_files =
            manifest.files().iter().map(|file| FILE_OCTETS + file.path.as_str().len() as u64).sum::<u64>();
        let of_rules = (rules.headers.len() + rules.redirects.len()) as u64 * RULES_FACTOR;
        Self {
            account: version.account,
            files: manifest.files().iter().map(file).collect(),
            paths: paths.collect(),
            first,
            redirects: Redirects::parse(rules.redirects, config.html_handling),
            fields: Fields::parse(rules.headers),
            navigation: navigation.unwrap_or(version.compatibility_date.as_str() >= NAVIGATION_SINCE),
            has_code: version.has_code(),
            octets: SITE_OCTETS + of_files + of_rules,
            config,
        }
    }

    /// What it takes in memory.
    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn file(&self, index: usize) -> &File {
        &self.files[index]
    }

    /// Whether there is any request that the assets answer before the code is asked.
    pub(crate) fn is_asked_first(&self) -> bool {
        !self.has_code || self.config.worker_first != WorkerFirst::Always
    }

    /// Who answers a request that a route has led here.
    pub(crate) fn route(&self, asked: &Asked<'_>) -> Route {
        if !self.has_code {
            return Route::Assets(self.fetch(asked));
        }
        match self.first.as_ref().map(|first| first.who(asked.path)) {
            Some(Who::Assets) => return Route::Assets(self.fetch(asked)),
            Some(Who::Code) => return Route::Code,
            Some(Who::Unsaid) | None if self.config.worker_first == WorkerFirst::Always => {
                return Route::Code;
            }
            Some(Who::Unsaid) | None => {}
        }
        // Where no file is, the code is asked, unless it is plain that a page is wanted.
        let navigates = || asked.headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate");
        let as_configured = self.first.is_some() || self.navigation && navigates();
        let handling = if as_configured { self.config.not_found_handling } else { NotFoundHandling::None };
        self.plan(asked, handling).map_or(Route::Code, Route::Assets)
    }

    /// How assets answer, whatever there is of code.
    pub(crate) fn fetch(&self, asked: &Asked<'_>) -> Plan {
        self.plan(asked, self.config.not_found_handling).unwrap_or(Plan::NotFound)
    }

    fn plan(&self, asked: &Asked<'_>, not_found_handling: NotFoundHandling) -> Option<Plan> {
        let (path, is_proxied) = match self.redirects.find(&Url::new(asked.host, asked.path), asked.query) {
            Some(Sent::To(status, location)) => return Some(Plan::Sent(status, location)),
            Some(Sent::Within(path)) => (path.into(), true),
            None => (std::borrow::Cow::Borrowed(asked.path), false),
        };
        let decoded = decode(&path);
        let config = AssetConfig { not_found_handling, worker_first: WorkerFirst::Never, ..self.config };
        let plan = match place(self, &config, &decoded) {
            Place::Nowhere => return is_proxied.then_some(Plan::NotFound),
            Place::File(file) => Plan::File(file, StatusCode::OK),
            Place::NotFound(file) => Plan::File(file, StatusCode::NOT_FOUND),
            Place::Elsewhere(to) => Self::sent(asked, &to),
        };
        if !matches!(*asked.method, Method::GET | Method::HEAD) {
            return Some(Plan::MethodNotAllowed);
        }
        // Slashes that mean nothing: relative links would lead astray.
        if path.contains("//") && matches!(plan, Plan::File(..)) {
            return Some(Self::sent(asked, &decoded));
        }
        Some(plan)
    }

    fn sent(asked: &Asked<'_>, to: &str) -> Plan {
        let mut location = encode(to);
        if let Some(query) = asked.query {
            location.push('?');
            location += query;
        }
        Plan::Sent(StatusCode::TEMPORARY_REDIRECT, location)
    }

    /// Makes an answer's fields what the site says of them.
    pub(super) fn say(&self, asked: &Asked<'_>, headers: &mut HeaderMap) {
        if !self.fields.is_empty() {
            self.fields.apply(&Url::new(asked.host, asked.path), headers);
        }
    }
}
