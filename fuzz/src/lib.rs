//! What the targets share: a folder in memory for the files they open.

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Once};

/// A folder of this process in the machine's memory.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new("/dev/shm").join(format!("kiln-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder in /dev/shm");
    folder
});

/// Where the files of the target `name` are.
pub fn folder(name: &str) -> PathBuf {
    let folder = FOLDER.join(name);
    std::fs::create_dir_all(&folder).expect("a folder in /dev/shm");
    folder
}

/// Writes a file of `folder` and says where it is.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, bytes).expect("a file in /dev/shm");
    file
}

/// Lets panics pass that Kiln catches, where a library of others has them: libfuzzer's own hook ends the process at any. One that Kiln
/// does not catch still ends it. `KILN_FUZZ_PANICS` in the environment has each one printed.
pub fn let_panics_be_caught() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let shown = std::env::var_os("KILN_FUZZ_PANICS").is_some();
        std::panic::set_hook(Box::new(move |panic| {
            if shown {
                eprintln!("{panic}");
            }
        }));
    });
}

/// The first `N` bytes, which choose, and the rest, which is the file.
pub fn choice<const N: usize>(bytes: &[u8]) -> Option<(&[u8; N], &[u8])> {
    bytes.split_first_chunk()
}

/// Opens a checkpoint and reads every tensor of it.
pub fn read_weights(path: &Path) {
    let Ok(weights) = kiln::weights::Weights::open(path) else { return };
    for name in weights.names() {
        if weights.read_f32(name).is_err() {
            let _ = weights.read_i64(name);
        }
        let _ = weights.read_f64(name);
        let _ = weights.read_rows(name, 1..3);
    }
}
