//! What the owner of a zone wishes for an answer, beside what its origin says. Wishes are of cache rules; without any,
//! RFC 9111 alone decides.

use http::{HeaderMap, header};
use proxima_model::EdgeLifetime;

/// Wishes for one answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes<'a> {
    /// What its lifetime is taken from.
    pub lifetime: EdgeLifetime,
    /// Whether it is never served stale while it is asked about.
    pub never_while_updating: bool,
    /// The extension of its URL, if its type has to be that of the extension.
    pub armored: Option<&'a str>,
}

impl Wishes<'_> {
    /// Whether the lifetime is the owner's: then what the origin says against storing counts for nothing.
    pub const fn overrides(&self) -> bool {
        matches!(self.lifetime, EdgeLifetime::Seconds(_))
    }

    /// Whether the type of an answer is not that of the extension: a page that is served under the name of a picture is a
    /// page of its visitor (web cache deception).
    pub fn deceives(&self, response: &HeaderMap) -> bool {
        let Some(extension) = self.armored else { return false };
        let Some((_, types)) = TYPES
            .iter()
            .find(|(known, _)| known.split(' ').any(|known| known.eq_ignore_ascii_case(extension)))
        else {
            return false;
        };
        let said =
            response.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        !types.split(' ').any(|known| match known.strip_suffix('*') {
            Some(beginning) => media.starts_with(beginning),
            None => media == known,
        })
    }
}

/// Extensions of files that are the same for everybody, and the types that they are served as. What is served as octets of
/// no type is no page. Extensions that are not here are not judged.
const TYPES: [(&str, &str); 12] = [
    ("avif bmp gif ico jpeg jpg png svg svgz tif tiff webp pict", "image/* application/octet-stream"),
    ("css", "text/css"),
    (
        "js mjs",
        "text/javascript application/javascript application/x-javascript text/ecmascript application/ecmascript",
    ),
    (
        "eot otf ttf woff woff2",
        "font/* application/font* application/x-font* application/vnd.ms-fontobject application/octet-stream",
    ),
    ("aac flac mid midi mp3 ogg wav", "audio/* video/ogg application/ogg application/octet-stream"),
    ("avi mkv mov mp4 webm", "video/* application/octet-stream"),
    ("pdf", "application/pdf application/octet-stream"),
    ("csv", "text/csv application/csv text/plain application/octet-stream"),
    ("7z apk bin bz2 class dmg ejs exe gz iso jar rar tar zip zst", "application/*"),
    ("doc docx odt rtf", "application/* text/rtf"),
    ("ppt pptx odp ps eps xls xlsx ods", "application/* image/x-eps"),
    ("swf", "application/x-shockwave-flash application/vnd.adobe.flash.movie application/octet-stream"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_under_the_name_of_a_file_deceives_and_a_file_does_not() {
        for (extension, said, deceives) in [
            ("jpg", Some("text/html; charset=utf-8"), true),
            ("JPG", Some("image/webp"), false),
            ("jpg", None, true),
            ("css", Some("Text/CSS; charset=utf-8"), false),
            ("css", Some("text/plain"), true),
            ("js", Some("application/javascript"), false),
            ("woff2", Some("application/font-woff2"), false),
            ("zip", Some("application/json"), false),
            ("html", Some("text/html"), false),
            ("php", Some("text/html"), false),
        ] {
            let wishes = Wishes { armored: Some(extension), ..Wishes::default() };
            let response: HeaderMap =
                said.map(|said| (header::CONTENT_TYPE, HeaderValue::from_static(said))).into_iter().collect();
            assert_eq!(wishes.deceives(&response), deceives, "{extension} {said:?}");
        }
        assert!(!Wishes::default().deceives(&HeaderMap::new()));
    }
}
