//! How each peer is started: with its defaults, and nothing in its way that it need not have.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::Engine;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::{Instance, Peer, Process, output};
use crate::{Result, client::Target, content::OCI_MANIFEST};

/// A certificate that servers show and the client knows.
pub struct Certificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client: Arc<ClientConfig>,
}

impl Certificate {
    /// # Errors
    /// When `openssl` is not there.
    pub fn make(folder: &Path) -> Result<Self> {
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        output(
            Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
                .args(["-days", "3", "-subj", "/CN=localhost"])
                .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
                .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate),
        )?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&certificate)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { certificate, key, client: Arc::new(client) })
    }
}

/// Starts a peer over a new folder within `within`, and waits until it answers.
///
/// # Errors
/// When it does not.
pub fn start(peer: Peer, within: &Path, tls: Option<&Certificate>) -> Result<Instance> {
    let folder = tempfile::Builder::new().prefix(&format!("{}-", peer.name())).tempdir_in(within)?;
    let place = folder.path().to_owned();
    fs::create_dir(place.join("data"))?;
    let program = peer.program()?;
    let mut login = None;
    let (process, address) = match peer {
        Peer::Ours => {
            let (process, address) = packhouse(&program, &place, tls)?;
            let token = token(&program, &place)?;
            login = Some(("bench".to_owned(), token));
            (process, address)
        }
        Peer::Nginx => nginx(&program, &place, tls)?,
        Peer::Zot => zot(&program, &place, tls)?,
        Peer::Distribution | Peer::Distribution2 => distribution(&program, &place, tls)?,
        Peer::Bare | Peer::BareUnsynced => bare(peer, &program, &place)?,
    };
    // Some give no manifest to who does not say that it understands it.
    let mut headers = format!("Host: {address}\r\nAccept: {OCI_MANIFEST}, */*\r\n");
    if let Some((user, token)) = &login {
        let basic = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{token}"));
        headers.push_str(&format!("Authorization: Basic {basic}\r\n"));
    }
    let target = Target { address, tls: tls.map(|tls| tls.client.clone()), headers };
    let mut instance = Instance { peer, target, process, login, folder, seeded: Default::default() };
    wait(&mut instance)?;
    Ok(instance)
}

fn wait(instance: &mut Instance) -> Result {
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(instance.target.address).is_err() {
        if let Some(how) = instance.process.ended() {
            return Err(format!("{} ended at once: {how}\n{}", instance.peer.name(), instance.log()).into());
        }
        if Instant::now() > deadline {
            return Err(format!("{} does not listen\n{}", instance.peer.name(), instance.log()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if !instance.peer.is_static() {
        instance.must(200, instance.target.get("/v2/"))?;
    }
    Ok(())
}

/// An address nobody listens on now.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What differs from the defaults: the limits that a load of one caller from one address would meet.
const LIMITS: [(&str, &str); 11] = [
    // As nginx's access log is off, and the others log errors only.
    ("PACKHOUSE_SERVER_LOG_LEVEL", "warn"),
    ("PACKHOUSE_SPACE_RESERVE", "0"),
    ("PACKHOUSE_LIMITS_SESSIONS_PER_CALLER", "100000"),
    ("PACKHOUSE_LIMITS_PENDING_PER_OWNER", "100000"),
    ("PACKHOUSE_LIMITS_CONNECTIONS_PER_ADDRESS", "8192"),
    ("PACKHOUSE_LIMITS_IDENTITY_READS", "off"),
    ("PACKHOUSE_LIMITS_IDENTITY_WRITES", "off"),
    ("PACKHOUSE_LIMITS_IDENTITY_SIGN_INS", "off"),
    ("PACKHOUSE_LIMITS_ADDRESS_READS", "off"),
    ("PACKHOUSE_LIMITS_ADDRESS_WRITES", "off"),
    ("PACKHOUSE_LIMITS_ADDRESS_SIGN_INS", "off"),
];

fn packhouse(program: &Path, place: &Path, tls: Option<&Certificate>) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", &free()?.to_string(), "--data"]);
    command.arg(place.join("data")).arg("--admin-password-file").arg(place.join("admin-password"));
    command.envs(LIMITS);
    if let Some(tls) = tls {
        command.env("PACKHOUSE_SERVER_TLS_CERT", &tls.certificate);
        command.env("PACKHOUSE_SERVER_TLS_KEY", &tls.key);
    }
    let log = place.join("log");
    let (process, line) = Process::start_and_listen(&mut command, &log)?;
    let address = line.strip_prefix("listening on ").and_then(|line| Some(line.split_once("://")?.1.parse()));
    match address {
        Some(address) => Ok((process, address?)),
        None => {
            Err(format!("packhouse says {line:?}\n{}", fs::read_to_string(log).unwrap_or_default()).into())
        }
    }
}

/// A user `bench`, and a token of its own for packages.
fn token(program: &Path, place: &Path) -> Result<String> {
    let data = place.join("data");
    let mut add = Command::new(program);
    add.args(["user", "add", "bench", "--password-stdin", "--data"]).arg(&data);
    let mut child = add.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no standard input")?.write_all(b"correct horse battery")?;
    let added = child.wait_with_output()?;
    if !added.status.success() {
        return Err(format!("user add: {}", String::from_utf8_lossy(&added.stderr)).into());
    }
    let mut create = Command::new(program);
    create.args(["token", "create", "--user", "bench"]);
    for scope in ["read:packages", "write:packages", "delete:packages"] {
        create.args(["--scope", scope]);
    }
    output(create.arg("--data").arg(data))
}

fn nginx(program: &Path, place: &Path, tls: Option<&Certificate>) -> Result<(Process, SocketAddr)> {
    let address = free()?;
    let shown = place.display();
    // Workers of a root-owned master could not read the folder otherwise.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let secure = tls.map_or(String::new(), |tls| {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        format!("ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.3;")
    });
    let ssl = if tls.is_some() { " ssl http2" } else { "" };
    let config = format!(
        "{user} daemon off; worker_processes auto; pid {shown}/pid; error_log {shown}/log error;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;\n\
         client_body_temp_path {shown}/t1; proxy_temp_path {shown}/t2; fastcgi_temp_path {shown}/t3;\n\
         uwsgi_temp_path {shown}/t4; scgi_temp_path {shown}/t5; default_type {};\n\
         server {{ listen {address}{ssl}; root {shown}/data; {secure} }}\n\
         }}\n",
        OCI_MANIFEST
    );
    let path = place.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&path).arg("-p").arg(place).arg("-e").arg(place.join("log"));
    Ok((Process::start(&mut command, &place.join("log"))?, address))
}

fn zot(program: &Path, place: &Path, tls: Option<&Certificate>) -> Result<(Process, SocketAddr)> {
    let address = free()?;
    let mut http = serde_json::json!({ "address": "127.0.0.1", "port": address.port().to_string() });
    if let Some(tls) = tls {
        http["tls"] = serde_json::json!({ "cert": tls.certificate, "key": tls.key });
    }
    let config = serde_json::json!({
        "distSpecVersion": "1.1.1",
        "storage": { "rootDirectory": place.join("data") },
        "http": http,
        "log": { "level": "error" },
    });
    let path = place.join("zot.json");
    fs::write(&path, config.to_string())?;
    let mut command = Command::new(program);
    Ok((Process::start(command.arg("serve").arg(path), &place.join("log"))?, address))
}

fn distribution(program: &Path, place: &Path, tls: Option<&Certificate>) -> Result<(Process, SocketAddr)> {
    let address = free()?;
    let secure = tls.map_or(String::new(), |tls| {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        format!("  tls:\n    certificate: {certificate}\n    key: {key}\n")
    });
    let config = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: {address}\n{secure}",
        place.join("data").display()
    );
    let path = place.join("registry.yml");
    fs::write(&path, config)?;
    let mut command = Command::new(program);
    // Its traces would go to a collector that is not there.
    command.env("OTEL_TRACES_EXPORTER", "none");
    Ok((Process::start(command.arg("serve").arg(path), &place.join("log"))?, address))
}

fn bare(peer: Peer, program: &Path, place: &Path) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(program);
    command.arg("bare").arg(place.join("data"));
    if peer == Peer::Bare {
        command.arg("--sync");
    }
    let (process, line) = Process::start_and_listen(&mut command, &place.join("log"))?;
    Ok((process, line.parse()?))
}
