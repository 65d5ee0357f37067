//! Pages of lists: `page` and `per_page`, and the `Link` header (RFC 8288) that leads on.

use http::header;

use crate::{
    error::{Error, Result, What},
    http::{
        Reply, Site,
        query::{Query, encode},
    },
    registry::Window,
};

/// Entries of a page when nobody says how many.
const USUAL: usize = 30;
/// Most entries of a page.
const MOST: usize = 100;
/// How far into a list pages lead: what lies before a page is looked at to find it.
const DEEPEST: usize = 10_000;

/// The page asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    number: usize,
    size: usize,
}

impl Page {
    /// Reads it from a query. More than 100 a page are 100.
    ///
    /// # Errors
    /// Invalid when one is no number, or the page lies too deep.
    pub(super) fn read(query: &Query) -> Result<Self> {
        let number = |name: &str, usual: usize| match query.get(name) {
            None | Some("") => Ok(usual),
            Some(text) => text
                .parse::<usize>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or_else(|| Error::invalid(What::Page, format!("{name} is a whole number from 1 on"))),
        };
        let page = Self { number: number("page", 1)?, size: number("per_page", USUAL)?.min(MOST) };
        if page.number.saturating_mul(page.size) > DEEPEST {
            let text = "pages lead 10,000 entries into a list (page × per_page); ask for less of it";
            return Err(Error::invalid(What::Page, text));
        }
        Ok(page)
    }

    /// The part of the list that it is.
    pub(super) fn window(self) -> Window {
        Window { skip: (self.number - 1) * self.size, limit: self.size }
    }

    /// Adds the links to the pages around it. They are absolute, since clients join relative ones to their base again.
    pub(super) fn link(self, reply: Reply, site: &Site, path: &str, query: &Query, more: bool) -> Reply {
        let to = |number: usize, rel: &str| {
            let mut target = format!("{}{path}?page={number}&per_page={}", site.base, self.size);
            for (name, value) in query.pairs().filter(|(name, _)| !matches!(*name, "page" | "per_page")) {
                target.push_str(&format!("&{}={}", encode(name), encode(value)));
            }
            format!("<{target}>; rel=\"{rel}\"")
        };
        let mut links = Vec::new();
        if more && (self.number + 1).saturating_mul(self.size) <= DEEPEST {
            links.push(to(self.number + 1, "next"));
        }
        if self.number > 1 {
            links.extend([to(self.number - 1, "prev"), to(1, "first")]);
        }
        if links.is_empty() { reply } else { reply.header(header::LINK, links.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn read(query: &str) -> Result<Page> {
        Page::read(&Query::parse(query).unwrap())
    }

    fn links(query: &str, more: bool) -> String {
        let site = Site { base: "https://h".into(), bearer: true };
        let page = read(query).unwrap();
        let query = Query::parse(query).unwrap();
        let reply = page.link(Reply::new(StatusCode::OK), &site, "/api/v3/x", &query, more);
        reply.headers.get(header::LINK).map(|text| text.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn pages_are_counted_from_one_and_end_somewhere() {
        assert_eq!(read("").unwrap().window(), Window { skip: 0, limit: 30 });
        assert_eq!(read("page=3&per_page=7").unwrap().window(), Window { skip: 14, limit: 7 });
        assert_eq!(read("per_page=1000").unwrap().window(), Window { skip: 0, limit: 100 });
        assert_eq!(read("page=100&per_page=100").unwrap().window(), Window { skip: 9900, limit: 100 });
        let all = [
            "page=0",
            "per_page=0",
            "page=-1",
            "page=a",
            "page=101&per_page=100",
            "page=18446744073709551615",
        ];
        for bad in all {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_keep_what_else_was_asked() {
        assert_eq!(links("", false), "");
        assert_eq!(
            links("package_type=container&a=b%26c", true),
            "<https://h/api/v3/x?page=2&per_page=30&package_type=container&a=b%26c>; rel=\"next\""
        );
        let last = "<https://h/api/v3/x?page=99&per_page=100>; rel=\"prev\", \
                    <https://h/api/v3/x?page=1&per_page=100>; rel=\"first\"";
        assert_eq!(links("page=100&per_page=100", true), last, "none leads too deep");
    }
}
