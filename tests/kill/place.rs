//! Where the data lies: a folder, which outlives any kill, or file systems of its own, whose power can be cut.
//!
//! A cut stops every thread, shuts the file systems down without a flush of their journals (what was not synced is gone
//! then), kills, unmounts, and mounts again, which replays what the journals hold. Everything happens in a mount and
//! process namespace of this run, so that mounts and loop devices end with it, however it ends.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{Result, rng::Rng};

/// Set in the namespace.
const INSIDE: &str = "PACKHOUSE_KILL_INSIDE";

/// A folder, and perhaps the file systems in it.
pub struct Place {
    root: Option<TempDir>,
    pub data: PathBuf,
    volumes: Vec<Volume>,
    /// How it is laid out, for the report.
    pub shown: String,
}

struct Volume {
    image: PathBuf,
    at: PathBuf,
    options: String,
}

impl Place {
    pub fn folder(within: Option<&Path>) -> Result<Self> {
        let root = temporary(within)?;
        let data = root.path().join("data");
        Ok(Self { root: Some(root), data, volumes: Vec::new(), shown: "folder".to_owned() })
    }

    /// ext4 on loop devices. In one half of them metadata has a file system of its own: on a shared one every sync of its
    /// log also makes the names of blobs durable, and would hide that nobody else did.
    pub fn loops(within: Option<&Path>, rng: &mut Rng) -> Result<Self> {
        let root = temporary(within)?;
        let split = rng.chance(50);
        let commit = [1, 5, 60, 300][rng.index(4)];
        let data = ["ordered", "writeback"][rng.index(2)];
        let options = format!("commit={commit},data={data}");
        let shown = format!("ext4 {options} {}", if split { "meta apart" } else { "one" });
        let data = root.path().join("a/data");
        let mut place = Self { root: Some(root), data, volumes: Vec::new(), shown };
        place.volume("a", &options)?;
        fs::create_dir(&place.data)?;
        if split {
            let meta = place.volume("b", &options)?.join("meta");
            fs::create_dir(&meta)?;
            symlink(&meta, place.data.join("meta"))?;
        }
        run(&mut Command::new("sync"))?;
        Ok(place)
    }

    pub fn beside(&self) -> &Path {
        self.root.as_ref().map_or(Path::new("."), TempDir::path)
    }

    fn volume(&mut self, name: &str, options: &str) -> Result<PathBuf> {
        let image = self.beside().join(format!("{name}.img"));
        let at = self.beside().join(name);
        fs::File::create(&image)?.set_len(6 << 30)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        fs::create_dir(&at)?;
        let volume = Volume { image, at: at.clone(), options: options.to_owned() };
        volume.mount()?;
        self.volumes.push(volume);
        Ok(at)
    }

    /// From here on nothing written reaches the disk.
    pub fn cut(&self) -> Result {
        for volume in &self.volumes {
            // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: the ioctl has no safe wrapper in Rust.
            let script = "open(my $f, '<', $ARGV[0]) or die $!; my $how = pack('L', 2); \
                          ioctl($f, 0x8004587d, $how) or die $!;";
            run(Command::new("perl").args(["-e", script]).arg(&volume.at))?;
        }
        Ok(())
    }

    /// Takes the file systems down and up again, as a start of the machine does.
    pub fn restore(&self) -> Result {
        for volume in self.volumes.iter().rev() {
            volume.unmount()?;
        }
        self.volumes.iter().try_for_each(Volume::mount)
    }

    /// Leaves what is there for whoever looks into a failure; says where.
    pub fn keep(&mut self) -> Result<PathBuf> {
        let Some(root) = self.root.take() else { return Err("kept before".into()) };
        let path = root.keep();
        if !self.volumes.is_empty() {
            let kept = path.join("kept");
            run(Command::new("cp").args(["-rL"]).arg(&self.data).arg(&kept)).or_else(|error| {
                // A socket cannot be copied, and need not be.
                if kept.is_dir() { Ok(()) } else { Err(error) }
            })?;
        }
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for volume in self.volumes.iter().rev() {
            if let Err(error) = volume.unmount() {
                eprintln!("{}: {error}", volume.at.display());
            }
            let _ = fs::remove_file(&volume.image);
        }
    }
}

impl Volume {
    fn mount(&self) -> Result {
        // By way of the image's name each time: the loop device then ends with the mount.
        run(Command::new("mount")
            .args(["-o", &format!("loop,{}", self.options)])
            .arg(&self.image)
            .arg(&self.at))
    }

    fn unmount(&self) -> Result {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match run(Command::new("umount").arg(&self.at)) {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
                result => return result,
            }
        }
    }
}

fn temporary(within: Option<&Path>) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("packhouse-kill-");
    Ok(within.map_or_else(|| builder.tempdir(), |within| builder.tempdir_in(within))?)
}

fn run(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}

/// Why this machine cannot cut power, if it cannot; `Ok(false)` in the outer process, which is to hand over.
pub fn inside() -> std::result::Result<bool, String> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    if !rustix::process::geteuid().is_root() {
        return Err("cutting the power needs root".to_owned());
    }
    for program in ["unshare", "mkfs.ext4", "mount", "umount", "perl"] {
        let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Err(format!("cutting the power needs {program}"));
        }
    }
    let probe = namespace().arg("sh").args(["-c", "test -e /dev/loop-control"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return Err("cutting the power needs namespaces and loop devices".to_owned());
    }
    Ok(false)
}

fn namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.env(INSIDE, "1");
    command
}

/// Becomes this program again, with the same arguments, in a namespace of its own. Returns only if it cannot.
pub fn hand_over() -> std::io::Error {
    use std::os::unix::process::CommandExt as _;
    let program = std::env::current_exe();
    match program {
        Ok(program) => namespace().arg(program).args(std::env::args_os().skip(1)).exec(),
        Err(error) => error,
    }
}
