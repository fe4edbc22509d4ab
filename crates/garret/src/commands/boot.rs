//! `garret boot`: a machine that runs on an image of an archive, at once.
//!
//! ```text
//! archive -> Exports -> NBD -> base <- overlay (qcow2) <- the guest's disk
//!                                         `-- --to: mirrored into FILE while the guest runs, which then runs on that
//! ```

mod machine;
mod overlay;

use std::ffi::OsString;
use std::path::PathBuf;
use std::thread;

use garret_cli::args::{Usual, size};
use garret_cli::failure::Failure;
use garret_cli::signals::Ending;
use garret_cli::ui::Ui;
use garret_view::Disk;

use crate::disks::{Cache, Door};
use crate::{archives, location};
use machine::{LOOK_TIME, Machine, Way};
use overlay::{Base, Overlay};

/// What a machine of today is like, as fast as this one lets it be.
const BOARD: &str = match cfg!(target_arch = "x86_64") {
    true => "q35,accel=kvm:tcg",
    false => "virt,accel=kvm:tcg",
};

/// How a guest sees its disk.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Bus {
    /// as virtio-blk, which is fast
    Virtio,
    /// as a disk of a SATA controller, for guests without drivers for virtio
    Sata,
}

/// Arguments of `boot`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep what the guest writes in this qcow2 file, and go on with it if it is there [default: thrown away in the end]
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    overlay: Option<PathBuf>,
    /// Restore the disk to FILE while the guest runs, which runs on that from then on; qcow2 if FILE ends in .qcow2, else raw
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// With --to, restore at most so many bytes a second: the guest has the rest
    #[arg(long, value_name = "SIZE", requires = "to", value_parser = size)]
    speed: Option<u64>,
    /// Print the line that starts the machine, and serve its disk until told to end
    #[arg(long, conflicts_with = "to")]
    print: bool,
    /// Memory of the machine, as qemu writes it
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
    /// What the disk is connected to
    #[arg(long, value_name = "BUS", default_value = "virtio")]
    bus: Bus,
    /// The program that is the machine [default: qemu-system- of this machine's kind]
    #[arg(long, value_name = "PROGRAM")]
    qemu: Option<PathBuf>,
    #[command(flatten)]
    cache: Cache,
    #[command(flatten)]
    usual: Usual,
    /// The archive
    #[arg(value_name = "REPO::NAME")]
    archive: OsString,
    /// The image: its path, or the last parts of it
    #[arg(value_name = "PATH")]
    path: OsString,
    /// More options of qemu
    #[arg(value_name = "QEMU OPTION", last = true)]
    more: Vec<OsString>,
}

pub(crate) fn run(args: Args, ui: &Ui) -> Result<(), Failure> {
    args.usual.tell(ui);
    let (location, name) = location::archive(&args.archive, &[])?;
    if args.more.iter().any(|word| word == "-daemonize") {
        let text =
            "-daemonize: the disk is there as long as this program, which ends with the machine";
        return Err(Failure::Usage(text.to_owned()));
    }
    if let Some(to) = args.to.as_deref().filter(|to| to.symlink_metadata().is_ok()) {
        let text = format!("{} is there already: name a new file", to.display());
        return Err(Failure::Fatal(text));
    }
    let repository = args.cache.open(&location, ui)?;
    let archive = archives::find(&repository, &name, ui)?;
    let path = archives::one_file(&repository, &archive, &args.path)?;
    let path = String::from_utf8(path)
        .map_err(|_| Failure::Fatal("the path of the image is not UTF-8".to_owned()))?;
    let Some(disk) = Disk::of(&repository, &archive, &path, ui)? else {
        return Err(Failure::Fatal(format!("{path} cannot be a disk")));
    };
    let ending = Ending::watch();
    let door = Door::private()?;
    let base = Base { socket: overlay::absolute(&door.path())?, export: disk.name() };
    door.serve(&location, &disk, |_| {
        let overlay = match (&args.overlay, &args.to) {
            (Some(kept), _) => Overlay::kept(kept, &base)?,
            (None, Some(to)) => Overlay::beside(to, &base)?,
            (None, None) => Overlay::thrown_away(&base)?,
        };
        let machine = args.machine(&overlay, &base);
        if args.print {
            ui.print(&format!("{}\n", machine.line()))?;
            ui.done("the disk is there until Ctrl-C");
            while ending.signal().is_none() {
                thread::sleep(LOOK_TIME);
            }
            return Ok(());
        }
        match &args.to {
            Some(to) => {
                let way = Way { to, speed: args.speed, len: disk.len() };
                machine.run_and_move(&way, overlay, &door.path(), &ending, ui)
            }
            None => machine.run(&ending),
        }
    })
}

impl Args {
    /// The machine that has the overlay as its disk.
    fn machine(&self, overlay: &Overlay, base: &Base<'_>) -> Machine {
        let device = match self.bus {
            Bus::Virtio => "virtio-blk-pci,drive=disk",
            Bus::Sata => "ide-hd,drive=disk",
        };
        let mut words: Vec<OsString> =
            ["-machine", BOARD, "-cpu", "max", "-m", &self.memory].map(OsString::from).into();
        words.extend(["-blockdev".into(), overlay.node(base).to_string().into()]);
        words.extend(["-device".into(), device.into()]);
        let is_net = |word: &OsString| ["-nic", "-net", "-netdev"].iter().any(|net| word == net);
        if !self.more.iter().any(is_net) {
            // Two machines of one name and address in a network are worse than one without.
            words.extend(["-nic".into(), "none".into()]);
        }
        words.extend(self.more.iter().cloned());
        let program = format!("qemu-system-{}", std::env::consts::ARCH);
        Machine { program: self.qemu.clone().unwrap_or(program.into()), words }
    }
}
