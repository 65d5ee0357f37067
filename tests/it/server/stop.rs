//! Stopping: nothing new, everything begun is finished, and not for ever.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use packhouse::{
    config::{LogFormat, Span},
    server,
};
use rustix::process::{Pid, Signal, kill_process};

use super::harness::{End, client, config, eventually, get, parts, read_all, start};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_finished() {
    let server = start(|_| ()).await;
    let address = server.address();
    let slow = tokio::spawn(async move { get(address, "/t/sleep?1500", "").await });
    let upload = tokio::spawn(client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"PUT /t/sink HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc").unwrap();
        std::thread::sleep(Duration::from_millis(1200));
        stream.write_all(b"def").unwrap();
        read_all(&mut stream, Duration::from_secs(10))
    }));
    let idle = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /t/x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 20]).unwrap();
        stream
    })
    .await;
    server.until("packhouse_http_requests_in_flight", 2.0).await;
    let silent = client(move || TcpStream::connect(address).unwrap()).await;
    server.until("packhouse_connections_open", 4.0).await;
    let stopping = tokio::spawn(server.0.shutdown());
    for mut stream in [idle, silent] {
        let rest = client(move || read_all(&mut stream, Duration::from_secs(10))).await;
        assert_eq!(rest.end, End::Closed, "one with nothing to do is closed at once");
    }
    // Nobody new. In time: the listener has a task of its own, and another test may get the port for a while.
    eventually(async || client(move || TcpStream::connect(address).is_err()).await).await;
    assert_eq!(slow.await.unwrap().body(), "awake");
    let upload = upload.await.unwrap();
    assert_eq!((upload.body().as_str(), upload.end), ("6", End::Closed));
    assert_eq!(upload.header("connection").as_deref(), Some("close"));
    assert!(stopping.await.unwrap(), "all finished by themselves");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_is_cut_off() {
    let server = start(|config| config.limits.drain_time = Span(Duration::from_millis(300))).await;
    let address = server.address();
    let slow = tokio::spawn(async move { get(address, "/t/sleep?60000", "").await });
    server.until("packhouse_http_requests_in_flight", 1.0).await;
    let began = Instant::now();
    assert!(!server.0.shutdown().await);
    assert!(slow.await.unwrap().bytes.is_empty());
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_ends_with_the_signal() {
    let server = start(|_| ()).await;
    let address = server.address();
    // A request that is being sent when the signal comes is still answered.
    let mut asking = client(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
        stream
    })
    .await;
    server.until("packhouse_connections_open", 1.0).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stopping = tokio::spawn(server.0.shutdown());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let answer = client(move || {
        asking.write_all(b"Host: a\r\n\r\n").unwrap();
        read_all(&mut asking, Duration::from_secs(10))
    })
    .await;
    assert_eq!((answer.status(), answer.body().as_str(), answer.end), (503, "draining\n", End::Closed));
    assert!(stopping.await.unwrap());
}

const CHILD: &str = "PACKHOUSE_TEST_DAEMON";

/// The other half of the next tests: the daemon, in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn daemon_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut config = config();
    config.server.metrics = None;
    config.server.log_format = LogFormat::Json;
    server::run(&config, parts(), server::Launch { greeting: "", reread: &|| Ok(config.clone()) })
        .await
        .unwrap();
}

fn daemon() -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::stop::daemon_child", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    // The test runner says two lines of its own first, the second without an end.
    let line = lines.find(|line| line.contains("listening on ")).unwrap();
    let address = line.split_once("listening on http://").unwrap().1.parse().unwrap();
    // Whoever prints later must not die of it.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

fn tell(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().try_into().unwrap()).unwrap(), signal).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_ends_well_on_a_signal_and_logs_a_line_for_each_request() {
    for signal in [Signal::TERM, Signal::INT] {
        let (mut child, address) = client(daemon).await;
        let slow =
            tokio::spawn(async move { get(address, "/t/sleep?1000", "Authorization: user 9\r\n").await });
        get(address, "/t/panic", "").await;
        get(address, "/healthz", "").await;
        get(address, "/t/bad\u{202e}name", "").await;
        // A daemon lives through a lost terminal.
        tell(&child, Signal::HUP);
        tokio::time::sleep(Duration::from_millis(300)).await;
        tell(&child, signal);
        assert_eq!(slow.await.unwrap().body(), "awake", "begun before the signal");
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success(), "{log}");
        let lines: Vec<serde_json::Value> =
            log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |path: &str| {
            let mut found = lines.iter().filter(|line| line["path"] == path);
            (found.next().cloned().unwrap_or_else(|| panic!("no {path} in {log}")), found.count())
        };
        let (slow, others) = of("/t/sleep");
        assert_eq!(others, 0, "one line");
        assert_eq!(
            (&slow["status"], &slow["route"], &slow["method"]),
            (&200.into(), &"do".into(), &"GET".into())
        );
        assert_eq!(slow["caller"], "user:0000000000000009");
        assert_eq!(slow["sent"], 5);
        assert!(slow["ms"].as_f64().unwrap() >= 1000.0 && slow["request"].as_str().unwrap().len() == 16);
        let (panic, _) = of("/t/panic");
        assert_eq!((&panic["level"], &panic["status"]), (&"ERROR".into(), &500.into()));
        assert!(panic["error"].as_str().unwrap().contains("told to panic"));
        assert!(lines.iter().all(|line| line["path"] != "/healthz"), "health is not news");
        assert!(!log.contains('\u{202e}'), "nothing that could disguise a line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let (mut child, address) = client(daemon).await;
    let slow = tokio::spawn(async move { get(address, "/t/sleep?60000", "").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    tell(&child, Signal::TERM);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    tell(&child, Signal::TERM);
    assert!(client(move || child.wait().unwrap()).await.success());
    assert!(began.elapsed() < Duration::from_secs(4), "the drain time is 5 s");
    assert!(slow.await.unwrap().bytes.is_empty());
}
