//! Whole pulls by a client that people use.

use std::{
    fs,
    process::{Command, Stdio},
    rc::Rc,
    time::Instant,
};

use base64::Engine;

use super::{Arena, Goal, HowOften, Phase, Place, Row, Sample, Unit};
use crate::{
    Result,
    content::{manifest, noise, sha256},
    peers::{Instance, Peer},
};

const LAYERS: usize = 12;
const AT_ONCE: usize = 8;

pub fn rows(arena: &Arena) -> Vec<Row> {
    let size = crate::report::bytes(arena.options.layer_size as f64);
    vec![Row {
        name: "crane-pull",
        title: format!(
            "the pull of an image of {LAYERS} layers of {size} by crane, which compares every digest; {AT_ONCE} at once"
        ),
        unit: Unit::Time,
        peers: &[Peer::Ours, Peer::Zot, Peer::Distribution, Peer::Distribution2],
        goals: vec![Goal::Of(1.0, &[Peer::Zot]), Goal::Cpu(1.0, Peer::Zot)],
        how_often: HowOften::Warm,
        measure: Box::new(pull),
    }]
}

fn image(instance: &Rc<Instance>, size: usize) -> Result<String> {
    let name = format!("{}/bench/image:1", instance.target.address);
    if !instance.lacks("an image") {
        return Ok(name);
    }
    let layers: Vec<_> = (0..LAYERS).map(|number| noise(0xc0 + number as u64, size)).collect();
    let digests: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let config = config.to_string().into_bytes();
    for blob in layers.iter().chain([&config]) {
        instance.put_blob("bench/image", blob)?;
    }
    let named: Vec<_> = digests.into_iter().map(|digest| (digest, size as u64)).collect();
    instance.put_manifest("bench/image", "1", &manifest(&config, &named))?;
    Ok(name)
}

fn pull(arena: &mut Arena, peer: Peer, _: Phase) -> Result<Sample> {
    let instance = arena.standing(peer, false)?;
    let size = arena.options.layer_size as usize;
    let image = image(&instance, size)?;
    let place = arena.place(if size > 1 << 20 { Place::Memory } else { Place::Disk })?.join("crane");
    fs::create_dir_all(&place)?;
    let mut auths = serde_json::json!({});
    if let Some((user, token)) = &instance.login {
        let basic = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{token}"));
        auths[instance.target.address.to_string()] = serde_json::json!({ "auth": basic });
    }
    fs::write(place.join("config.json"), serde_json::json!({ "auths": auths }).to_string())?;
    let before = instance.process.usage()?;
    let begun = Instant::now();
    let mut running = Vec::new();
    for number in 0..AT_ONCE {
        let mut command = Command::new("crane");
        command.arg("pull").arg(&image).arg(place.join(format!("{number}.tar"))).env("DOCKER_CONFIG", &place);
        let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        running.push(child.map_err(|error| format!("crane (make clients): {error}"))?);
    }
    for child in running {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(format!("crane: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    let value = begun.elapsed().as_secs_f64();
    let after = instance.process.usage()?;
    for number in 0..AT_ONCE {
        let pulled = fs::metadata(place.join(format!("{number}.tar")))?.len();
        if pulled < (LAYERS * size) as u64 {
            return Err(format!("crane pulled {pulled} bytes").into());
        }
    }
    fs::remove_dir_all(&place)?;
    Ok(Sample {
        value,
        server_cpu: after.cpu - before.cpu,
        operations: AT_ONCE as f64,
        bytes: (AT_ONCE * LAYERS * size) as f64,
        peak: after.peak,
        ..Sample::default()
    })
}
