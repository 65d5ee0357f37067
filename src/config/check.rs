//! What must hold between settings. A sentence for each that does not.

use super::{Config, load::wrong};
use crate::error::Result;

impl Config {
    /// Judges the settings together.
    ///
    /// # Errors
    /// Invalid, with a sentence that says what to set.
    pub fn check(&self) -> Result<()> {
        self.check_addresses()?;
        self.check_limits()
    }

    fn check_addresses(&self) -> Result<()> {
        let server = &self.server;
        if server.listen.is_empty() {
            return Err(wrong("server.listen names no address".into()));
        }
        match &server.external_url {
            Some(url) => check_url(url)?,
            None => {
                if let Some(open) = server.listen.iter().find(|address| !address.ip().is_loopback()) {
                    return Err(wrong(format!(
                        "{open} is reachable from other machines, so clients need to be told this installation's \
                         address: set server.external_url (PACKHOUSE_EXTERNAL_URL), for example \
                         \"https://packages.example.org\", or listen on 127.0.0.1 alone"
                    )));
                }
            }
        }
        if server.tls_cert.is_some() != server.tls_key.is_some() {
            return Err(wrong(
                "server.tls_cert and server.tls_key belong together: set both or neither".into(),
            ));
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let limits = &self.limits;
        let between = |name: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(wrong(format!("{name} is {value}; it must be at least {least} and at most {most}")))
        };
        between("limits.http2_streams", limits.http2_streams.into(), 1, 128)?;
        // RFC 9113 §6.5.2 and §6.9.1: frames of 2^14 to 2^24-1 bytes, windows below 2^31.
        between("limits.http2_frame", limits.http2_frame.0, 1 << 14, (1 << 24) - 1)?;
        between("limits.http2_stream_window", limits.http2_stream_window.0, 1 << 16, (1 << 31) - 1)?;
        between("limits.http2_connection_window", limits.http2_connection_window.0, 1 << 16, (1 << 31) - 1)?;
        between("limits.headers", limits.headers as u64, 16, 1000)?;
        between("limits.header_bytes", limits.header_bytes.0, 8 << 10, 128 << 10)?;
        between("limits.connections", limits.connections.into(), 1, 1 << 20)?;
        between("limits.connections_per_address", limits.connections_per_address.into(), 1, 1 << 20)?;
        between("limits.manifest_size", limits.manifest_size.0, 1 << 10, 64 << 20)?;
        between("limits.descriptors", limits.descriptors as u64, 1, 1 << 20)?;
        between("limits.layer_size", limits.layer_size.0, limits.manifest_size.0, 1 << 50)?;
        between("memory.budget", self.memory.budget.0, 16 << 20, 1 << 50)?;
        let spans = [
            ("upload_time", limits.upload_time),
            ("session_ttl", limits.session_ttl),
            ("lease_ttl", limits.lease_ttl),
            ("handshake_time", limits.handshake_time),
            ("first_request_time", limits.first_request_time),
            ("header_time", limits.header_time),
            ("idle_time", limits.idle_time),
            ("body_idle_time", limits.body_idle_time),
            ("write_idle_time", limits.write_idle_time),
        ];
        if limits.lease_ttl.0.as_secs() == 0 || self.gc.interval.0.as_millis() < 10 {
            let text = "limits.lease_ttl must be at least 1s, and gc.interval at least 10ms";
            return Err(wrong(text.into()));
        }
        match spans.iter().find(|(_, span)| span.0.is_zero()) {
            Some((name, _)) => Err(wrong(format!("limits.{name} is zero, so nothing would ever succeed"))),
            None => Ok(()),
        }
    }
}

/// An address that absolute links can be made from.
fn check_url(text: &str) -> Result<()> {
    let wrong = |why: &str| wrong(format!("server.external_url is {text:?}: {why}"));
    let url: http::Uri = text.parse().map_err(|cause| wrong(&format!("{cause}")))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it must begin with http:// or https://"));
    }
    let authority = url.authority().ok_or_else(|| wrong("it names no host"))?;
    if authority.as_str().contains('@') {
        return Err(wrong("it must not hold a user name or password"));
    }
    if url.query().is_some() || text.contains('#') {
        return Err(wrong("it must end after the path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Size, Span};

    fn check(change: impl FnOnce(&mut Config)) -> Result<()> {
        let mut config = Config::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn an_open_listener_needs_the_external_url() {
        check(|_| ()).unwrap();
        check(|c| c.server.listen = vec!["[::1]:0".parse().unwrap()]).unwrap();
        let open = |c: &mut Config| c.server.listen = vec!["0.0.0.0:5000".parse().unwrap()];
        assert!(check(open).unwrap_err().public().contains("PACKHOUSE_EXTERNAL_URL"));
        check(|c| {
            open(c);
            c.server.external_url = Some("https://packages.example.org/hub".into());
        })
        .unwrap();
    }

    #[test]
    fn external_urls_that_links_cannot_be_made_from() {
        for url in ["packages.example.org", "ftp://x", "https://u:p@x", "https://x/?a", "https://x/#a", "/x"]
        {
            assert!(check(|c| c.server.external_url = Some(url.into())).is_err(), "{url}");
        }
    }

    #[test]
    fn limits_that_cannot_work() {
        assert!(check(|c| c.limits.http2_streams = 129).is_err());
        assert!(check(|c| c.limits.http2_frame = Size(1)).is_err());
        assert!(check(|c| c.limits.body_idle_time = Span::seconds(0)).is_err());
        assert!(check(|c| c.server.tls_key = Some("key.pem".into())).is_err());
        assert!(check(|c| c.server.listen.clear()).is_err());
    }
}
