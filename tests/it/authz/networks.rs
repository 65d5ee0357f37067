//! Tokens that are good from some networks alone, over HTTP: whose address counts.

use crate::support::Server;

#[test]
fn the_address_that_counts_is_the_clients_own() {
    let server = Server::with(&[("PACKHOUSE_SERVER_TRUSTED_PROXIES", "127.0.0.1/32")]);
    server.user("ada", "correct horse battery");
    let token = |network: &str| {
        server.admin_ok(&[
            "token",
            "create",
            "--user",
            "ada",
            "--scope",
            "read:packages",
            "--network",
            network,
        ])
    };
    let (here, there) = (token("127.0.0.0/8"), token("192.0.2.0/24"));
    let status = |token: &str, path: &str, forwarded: Option<&str>| {
        let client = server.anonymous().basic("ada", token);
        let headers: Vec<_> = forwarded.map(|address| ("X-Forwarded-For", address)).into_iter().collect();
        client.send("GET", path, &headers, b"").status
    };
    for path in ["/v2/", "/token"] {
        assert_eq!(status(&here, path, None), 200, "the proxy itself");
        assert_eq!(status(&there, path, None), 401);
        assert_eq!(status(&there, path, Some("192.0.2.7")), 200);
        assert_eq!(status(&here, path, Some("192.0.2.7")), 401);
        assert_eq!(status(&there, path, Some("192.0.2.7, 203.0.113.1")), 401, "what a client writes itself");
    }

    let untrusting = Server::with(&[]);
    untrusting.user("ada", "correct horse battery");
    let args = ["token", "create", "--user", "ada", "--scope", "read:packages", "--network", "192.0.2.0/24"];
    let client = untrusting.anonymous().basic("ada", &untrusting.admin_ok(&args));
    assert_eq!(client.send("GET", "/v2/", &[("X-Forwarded-For", "192.0.2.7")], b"").status, 401);
}
