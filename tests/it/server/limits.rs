//! Too many: requests, connections, files.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Duration,
};

use packhouse::config::{Config, Rate};

use super::harness::{End, client, exchange, get, read_all, start};

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate::Limit { per_second, burst }
}

#[tokio::test]
async fn callers_have_rates_of_their_own() {
    let server = start(|config| {
        config.limits.identity_reads = rate(1, 3);
        config.limits.identity_writes = rate(1, 2);
    })
    .await;
    let address = server.address();
    let read = |user: &'static str| get(address, "/t/x", user);
    for _ in 0..3 {
        assert_eq!(read("Authorization: user 1\r\n").await.status(), 200);
    }
    let refused = read("Authorization: user 1\r\n").await;
    assert_eq!((refused.status(), refused.header("x-by").as_deref()), (429, Some("echo")));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait));
    assert_eq!(read("Authorization: user 2\r\n").await.status(), 200);
    assert_eq!(read("").await.status(), 200, "loopback has no rate");
    let put = b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nAuthorization: user 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(exchange(address, put).await.status(), 200, "writes are counted by themselves");
    let limited = r#"packhouse_http_rate_limited_total{class="read",scope="identity"}"#;
    assert_eq!(server.metric(limited).await, 1.0);
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(read("Authorization: user 1\r\n").await.status(), 200);
}

fn behind_a_proxy(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    config.limits.address_reads = rate(1, 2);
    config.limits.address_sign_ins = rate(1, 2);
}

#[tokio::test]
async fn addresses_have_rates_of_their_own() {
    let server = start(behind_a_proxy).await;
    let from = async |client: &str, path: &str, more: &str| {
        get(server.address(), path, &format!("X-Forwarded-For: {client}\r\n{more}")).await.status()
    };
    assert_eq!(from("192.0.2.1", "/t/x", "").await, 200);
    assert_eq!(from("192.0.2.1", "/t/x", "").await, 200);
    assert_eq!(from("192.0.2.1", "/t/x", "").await, 429);
    assert_eq!(
        from("1.1.1.1, 192.0.2.1", "/t/x", "").await,
        429,
        "what the client wrote itself does not count"
    );
    assert_eq!(from("192.0.2.2", "/t/x", "").await, 200);
    // Guessing credentials is limited like signing in, and then even good ones wait.
    let bad = "Authorization: junk\r\n";
    assert_eq!(from("192.0.2.3", "/t/x", bad).await, 401);
    assert_eq!(from("192.0.2.3", "/t/x", bad).await, 401);
    assert_eq!(from("192.0.2.3", "/t/x", bad).await, 429);
    assert_eq!(from("192.0.2.3", "/t/token", "").await, 429);
    assert_eq!(from("192.0.2.4", "/t/token", "").await, 200);
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let server = start(|config| config.limits.connections_per_address = 3).await;
    let address = server.address();
    let mut held = client(move || {
        let mut held: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for stream in &mut held {
            stream.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 20]).unwrap();
        }
        held
    })
    .await;
    let refused = get(address, "/t/x", "").await;
    assert_eq!((refused.status(), refused.end), (503, End::Closed));
    assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
    assert_eq!(server.metric(r#"packhouse_connections_refused_total{reason="address"}"#).await, 1.0);
    held.pop();
    server.until("packhouse_connections_open", 2.0).await;
    assert_eq!(get(address, "/t/x", "").await.status(), 200);

    let server = start(|config| config.limits.connections = 0x1).await;
    let address = server.address();
    let _held = client(move || TcpStream::connect(address).unwrap()).await;
    server.until("packhouse_connections_open", 1.0).await;
    assert_eq!(get(address, "/t/x", "").await.status(), 503);
    assert_eq!(server.metric(r#"packhouse_connections_refused_total{reason="total"}"#).await, 1.0);
}

const CHILD: &str = "PACKHOUSE_TEST_FEW_FILES";

/// The other half of the next test: a server in a process that has no files left, told by lines on its input what to do.
#[tokio::test(flavor = "multi_thread")]
async fn few_files_child() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let server = start(|_| ()).await;
    let limit = Rlimit { current: Some(200), maximum: Some(200) };
    setrlimit(Resource::Nofile, limit).unwrap();
    println!("\nADDRESS {}", server.address());
    let wait = || client(|| std::io::stdin().lock().read_line(&mut String::new()).unwrap());
    wait().await;
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    println!("HOARDED");
    wait().await;
    drop(hoard);
    println!(
        "FREED {}",
        server.0.metrics().text().unwrap().contains("packhouse_connections_accept_errors_total 0")
    );
    wait().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_outlives_a_lack_of_files() {
    client(|| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server::limits::few_files_child", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut say = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
        let mut hear =
            |word: &str| lines.find_map(|line| line.strip_prefix(word).map(str::to_owned)).unwrap();
        let address: std::net::SocketAddr = hear("ADDRESS ").parse().unwrap();
        let ask = || {
            let mut stream = TcpStream::connect(address).unwrap();
            let _sent = stream.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            read_all(&mut stream, Duration::from_secs(5))
        };
        assert_eq!(ask().status(), 200);
        // One that was there before goes on.
        let mut before = TcpStream::connect(address).unwrap();
        before.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        before.read_exact(&mut [0; 20]).unwrap();
        say.write_all(b"\n").unwrap();
        hear("HOARDED");
        for _ in 0..5 {
            let answer = ask();
            assert!(answer.bytes.is_empty() && answer.end != End::Silence, "turned away at once: {answer:?}");
        }
        before.write_all(b"GET /t/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        assert!(read_all(&mut before, Duration::from_secs(5)).text().ends_with("hello y"));
        say.write_all(b"\n").unwrap();
        assert_eq!(hear("FREED "), "false");
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(ask().status(), 200, "as if nothing had happened");
        say.write_all(b"\n").unwrap();
        assert!(child.wait().unwrap().success());
    })
    .await;
}
