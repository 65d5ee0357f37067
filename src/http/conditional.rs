//! `If-None-Match` and `If-Match` (RFC 9110 §13.1). Tags of entities here are digests in quotes.

/// Whether a list of entity tags names `digest`. `*` names whatever exists. Weak tags compare as strong ones do: content
/// named by digest has no weaker twin.
pub fn names(header: &str, digest: &str) -> bool {
    header.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(digest)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn lists_weak_tags_and_the_star() {
        assert!(names("\"sha256:a\"", "sha256:a"));
        assert!(names("\"x\", W/\"sha256:a\"", "sha256:a"));
        assert!(names("*", "sha256:a"));
        assert!(!names("sha256:a", "sha256:a"), "unquoted");
        assert!(!names("\"sha256:b\"", "sha256:a"));
        assert!(!names("", "sha256:a"));
    }
}
