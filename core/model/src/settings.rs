//! A zone's settings: those that exist, with the names and values of the v4 API.

use serde::{Deserialize, Serialize};

use crate::{Invalid, Timestamp};

/// How the edge speaks to the origin (`ssl`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SslMode {
    /// Clear HTTP to the origin, and TLS to visitors refused.
    Off,
    /// TLS to visitors, clear HTTP to the origin.
    Flexible,
    /// TLS to the origin when the visitor came by TLS; the origin's certificate is not verified.
    #[default]
    Full,
    /// As `full`, with the origin's certificate verified.
    Strict,
}

/// Which aliases are answered as the addresses that they lead to (`cname_flattening`). One that is proxied always is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CnameFlattening {
    /// Those that cannot be answered as aliases: at the zone's apex and beside other records; and records that ask for it.
    #[default]
    FlattenAtRoot,
    /// All of the zone.
    FlattenAll,
}

/// Every setting of a zone. What is not set has its default, so that a new setting needs no migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneSettings {
    /// `ssl`.
    pub ssl: SslMode,
    /// `always_use_https`: clear requests are redirected.
    pub always_use_https: bool,
    /// `development_mode`: the cache is passed by, until [`Self::development_mode_until`].
    pub development_mode: bool,
    /// When it ends, or ended; `None` if it was never on.
    pub development_mode_until: Option<Timestamp>,
    /// `websockets`: upgrades are allowed.
    pub websockets: bool,
    /// `brotli`: visitors who accept brotli may get it. (Other codings have no switch.)
    pub brotli: bool,
    /// `browser_cache_ttl` in seconds; 0 respects the origin's headers.
    pub browser_cache_ttl: u32,
    /// `always_online`: a stale answer is served when the origin fails.
    pub always_online: bool,
    /// `min_tls_version`: `1.2` or `1.3`.
    pub min_tls_version: MinTlsVersion,
    /// `http3`: visitors are told that HTTP/3 is spoken.
    pub http3: bool,
    /// `0rtt`: visitors who come again over HTTP/3 may ask before their handshake is over (RFC 8470).
    pub early_data: bool,
    /// `origin_max_http_version`: `1` or `2`; what needs HTTP/2 gets it from origins that speak it.
    pub origin_max_http_version: OriginMaxHttpVersion,
    /// `cname_flattening`, and `flatten_all_cnames` of `dns_settings`.
    pub cname_flattening: CnameFlattening,
    /// `security_header`.
    pub strict_transport_security: StrictTransportSecurity,
    /// Whether the network sees to the zone's certificates (`ssl/universal/settings`).
    pub universal_ssl: bool,
}

impl ZoneSettings {
    /// How long `development_mode` lasts, in seconds: what the v4 API says. Nobody remembers to switch it off.
    pub const DEVELOPMENT_MODE_SECONDS: i64 = 3 * 3_600;

    /// Switches `development_mode` on for as long as it lasts, or off.
    pub fn set_development_mode(&mut self, on: bool, now: Timestamp) {
        if on {
            self.development_mode_until = Some(now.plus_seconds(Self::DEVELOPMENT_MODE_SECONDS));
        } else if self.in_development(now) {
            self.development_mode_until = Some(now);
        }
        self.development_mode = on;
    }

    /// Whether the cache is passed by now. What was switched on before it had an end has none.
    pub fn in_development(&self, now: Timestamp) -> bool {
        self.development_mode && self.development_mode_until.is_none_or(|until| now < until)
    }

    /// Seconds until `development_mode` ends, or less than 0 since it ended; 0 if it was never on.
    pub fn development_mode_seconds(&self, now: Timestamp) -> i64 {
        self.development_mode_until.map_or(0, |until| until.as_seconds().saturating_sub(now.as_seconds()))
    }
}

/// The lowest TLS version that a zone's visitors may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum MinTlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    V1_3,
}

/// The highest version of HTTP that origins are spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OriginMaxHttpVersion {
    /// HTTP/1.1 (RFC 9112).
    #[serde(rename = "1")]
    V1,
    /// HTTP/2 (RFC 9113).
    #[default]
    #[serde(rename = "2")]
    V2,
}

/// What browsers are told about coming by TLS only (RFC 6797), and its companion of the same setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StrictTransportSecurity {
    /// Whether it is said.
    pub enabled: bool,
    /// Seconds for which a browser remembers; 0 makes it forget.
    pub max_age: u32,
    /// It holds for all names below, too.
    pub include_subdomains: bool,
    /// The owner agrees that browsers ship with it.
    pub preload: bool,
    /// `x-content-type-options: nosniff` is said, too.
    pub nosniff: bool,
}

impl StrictTransportSecurity {
    /// The longest [`Self::max_age`]: two years, which is what preload lists recommend. What a browser has been told
    /// cannot be taken back from those that do not come again.
    pub const MAX_AGE_MAX: u32 = 63_072_000;

    /// The value of the field `strict-transport-security`, while it is said.
    pub fn field(&self) -> Option<String> {
        self.enabled.then(|| {
            let below = if self.include_subdomains { "; includeSubDomains" } else { "" };
            let preload = if self.preload { "; preload" } else { "" };
            format!("max-age={}{below}{preload}", self.max_age)
        })
    }

    /// Changes what a value of `security_header` names, and leaves the rest.
    fn set(&mut self, value: &serde_json::Value) -> Result<(), Invalid> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct SecurityHeader {
            strict_transport_security: Change,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Change {
            enabled: Option<bool>,
            max_age: Option<u32>,
            include_subdomains: Option<bool>,
            preload: Option<bool>,
            nosniff: Option<bool>,
        }
        let change = SecurityHeader::deserialize(value)
            .ok()
            .map(|header| header.strict_transport_security)
            .filter(|change| change.max_age.is_none_or(|seconds| seconds <= Self::MAX_AGE_MAX))
            .ok_or_else(|| {
                wrong(
                    value,
                    "give {\"strict_transport_security\": {\"enabled\": true, \"max_age\": 0 to 63072000, \
                     \"include_subdomains\": false, \"preload\": false, \"nosniff\": false}}, or some of these",
                )
            })?;
        *self = Self {
            enabled: change.enabled.unwrap_or(self.enabled),
            max_age: change.max_age.unwrap_or(self.max_age),
            include_subdomains: change.include_subdomains.unwrap_or(self.include_subdomains),
            preload: change.preload.unwrap_or(self.preload),
            nosniff: change.nosniff.unwrap_or(self.nosniff),
        };
        Ok(())
    }
}

impl Default for ZoneSettings {
    fn default() -> Self {
        Self {
            ssl: SslMode::default(),
            always_use_https: false,
            development_mode: false,
            development_mode_until: None,
            websockets: true,
            brotli: true,
            browser_cache_ttl: 0,
            always_online: false,
            min_tls_version: MinTlsVersion::default(),
            http3: true,
            early_data: false,
            origin_max_http_version: OriginMaxHttpVersion::default(),
            cname_flattening: CnameFlattening::default(),
            strict_transport_security: StrictTransportSecurity::default(),
            universal_ssl: true,
        }
    }
}

/// The settings by name: how the API lists, reads and changes them one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// [`ZoneSettings::ssl`].
    Ssl,
    /// [`ZoneSettings::always_use_https`].
    AlwaysUseHttps,
    /// [`ZoneSettings::development_mode`].
    DevelopmentMode,
    /// [`ZoneSettings::websockets`].
    Websockets,
    /// [`ZoneSettings::brotli`].
    Brotli,
    /// [`ZoneSettings::browser_cache_ttl`].
    BrowserCacheTtl,
    /// [`ZoneSettings::cname_flattening`].
    CnameFlattening,
    /// [`ZoneSettings::always_online`].
    AlwaysOnline,
    /// [`ZoneSettings::min_tls_version`].
    MinTlsVersion,
    /// [`ZoneSettings::http3`].
    Http3,
    /// [`ZoneSettings::early_data`].
    EarlyData,
    /// [`ZoneSettings::origin_max_http_version`].
    OriginMaxHttpVersion,
    /// [`ZoneSettings::strict_transport_security`].
    SecurityHeader,
}

impl Setting {
    /// All of them, in the order in which the API lists them.
    pub const ALL: [Self; 13] = [
        Self::EarlyData,
        Self::AlwaysOnline,
        Self::AlwaysUseHttps,
        Self::Brotli,
        Self::BrowserCacheTtl,
        Self::CnameFlattening,
        Self::DevelopmentMode,
        Self::Http3,
        Self::MinTlsVersion,
        Self::OriginMaxHttpVersion,
        Self::SecurityHeader,
        Self::Ssl,
        Self::Websockets,
    ];

    /// Its name in the API.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ssl => "ssl",
            Self::AlwaysUseHttps => "always_use_https",
            Self::DevelopmentMode => "development_mode",
            Self::Websockets => "websockets",
            Self::Brotli => "brotli",
            Self::BrowserCacheTtl => "browser_cache_ttl",
            Self::CnameFlattening => "cname_flattening",
            Self::AlwaysOnline => "always_online",
            Self::MinTlsVersion => "min_tls_version",
            Self::Http3 => "http3",
            Self::EarlyData => "0rtt",
            Self::OriginMaxHttpVersion => "origin_max_http_version",
            Self::SecurityHeader => "security_header",
        }
    }

    /// The setting of this name.
    pub fn by_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|setting| setting.id() == id)
    }

    /// Its value, as the API writes it.
    pub fn value(self, settings: &ZoneSettings) -> serde_json::Value {
        let on_off = |on: bool| if on { "on".into() } else { "off".into() };
        match self {
            Self::Ssl => match settings.ssl {
                SslMode::Off => "off".into(),
                SslMode::Flexible => "flexible".into(),
                SslMode::Full => "full".into(),
                SslMode::Strict => "strict".into(),
            },
            Self::AlwaysUseHttps => on_off(settings.always_use_https),
            Self::DevelopmentMode => on_off(settings.development_mode),
            Self::Websockets => on_off(settings.websockets),
            Self::Brotli => on_off(settings.brotli),
            Self::BrowserCacheTtl => settings.browser_cache_ttl.into(),
            Self::CnameFlattening => match settings.cname_flattening {
                CnameFlattening::FlattenAtRoot => "flatten_at_root".into(),
                CnameFlattening::FlattenAll => "flatten_all".into(),
            },
            Self::AlwaysOnline => on_off(settings.always_online),
            Self::Http3 => on_off(settings.http3),
            Self::EarlyData => on_off(settings.early_data),
            Self::SecurityHeader => {
                serde_json::json!({ "strict_transport_security": settings.strict_transport_security })
            }
            Self::OriginMaxHttpVersion => match settings.origin_max_http_version {
                OriginMaxHttpVersion::V1 => "1".into(),
                OriginMaxHttpVersion::V2 => "2".into(),
            },
            Self::MinTlsVersion => match settings.min_tls_version {
                MinTlsVersion::V1_2 => "1.2".into(),
                MinTlsVersion::V1_3 => "1.3".into(),
            },
        }
    }

    /// Sets it to a value as the API writes it.
    pub fn set(self, settings: &mut ZoneSettings, value: &serde_json::Value) -> Result<(), Invalid> {
        match self {
            Self::Ssl => settings.ssl = choice(value, "give off, flexible, full or strict")?,
            Self::AlwaysUseHttps => settings.always_use_https = on_off(value)?,
            Self::DevelopmentMode => settings.development_mode = on_off(value)?,
            Self::Websockets => settings.websockets = on_off(value)?,
            Self::Brotli => settings.brotli = on_off(value)?,
            Self::BrowserCacheTtl => {
                settings.browser_cache_ttl = value
                    .as_u64()
                    .and_then(|seconds| u32::try_from(seconds).ok())
                    .filter(|seconds| *seconds == 0 || (30..=31_536_000).contains(seconds))
                    .ok_or_else(|| {
                        wrong(value, "give 0 to respect the origin's headers, or 30 to 31536000 seconds")
                    })?;
            }
            Self::CnameFlattening => {
                settings.cname_flattening = choice(value, "give flatten_at_root or flatten_all")?;
            }
            Self::AlwaysOnline => settings.always_online = on_off(value)?,
            Self::Http3 => settings.http3 = on_off(value)?,
            Self::EarlyData => settings.early_data = on_off(value)?,
            Self::SecurityHeader => settings.strict_transport_security.set(value)?,
            Self::OriginMaxHttpVersion => {
                settings.origin_max_http_version = choice(value, "give \"1\" or \"2\"")?;
            }
            Self::MinTlsVersion => settings.min_tls_version = choice(value, "give \"1.2\" or \"1.3\"")?,
        }
        Ok(())
    }
}

fn wrong(value: &serde_json::Value, remedy: &'static str) -> Invalid {
    let shown: String = value.to_string().chars().take(80).collect();
    Invalid::new("value", format!("{shown} is not a value of this setting"), remedy)
}

fn on_off(value: &serde_json::Value) -> Result<bool, Invalid> {
    match value.as_str() {
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        _ => Err(wrong(value, "give \"on\" or \"off\"")),
    }
}

fn choice<T: serde::de::DeserializeOwned>(
    value: &serde_json::Value,
    remedy: &'static str,
) -> Result<T, Invalid> {
    T::deserialize(value).map_err(|_| wrong(value, remedy))
}
