//! `--device`, `--threads` and `--precision`, of the commands that compute without training.

use clap::Args;
use clap::builder::RangedI64ValueParser;

use crate::device::{self, Chosen};
use crate::error::{Error, Problem, Result};
use crate::ranks::Place;
use crate::recipe::{Backend, Device, Precision};
use crate::suggest;

/// All backends there are, the best first.
pub const BACKENDS: [Backend; 7] =
    [Backend::Cuda, Backend::Rocm, Backend::Metal, Backend::Vulkan, Backend::Wgpu, Backend::Flex, Backend::NdArray];

/// Where to compute, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Device")]
pub struct DeviceArgs {
    /// Where to compute, such as cuda or cuda:1, as `kiln devices` lists it; left out, as the recipe says, else on the best there is
    #[arg(long, value_name = "BACKEND[:INDEX]", value_parser = parse_device)]
    device: Option<(Backend, usize)>,
    /// CPU threads; left out, as the recipe says, else one a core
    #[arg(long, value_name = "N", value_parser = RangedI64ValueParser::<u32>::new().range(1..=65_536))]
    threads: Option<u32>,
    /// The type the network's products are computed in: f32, where the device has it bf16, on GPUs f16, on CPUs int8
    #[arg(long, value_parser = parse_precision)]
    precision: Option<Precision>,
}

impl DeviceArgs {
    /// Opens the device of a recipe's section, but for what the options say otherwise, with as many threads.
    ///
    /// # Errors
    /// See [`device::open`].
    pub fn open(&self, section: &Device) -> Result<Chosen> {
        let mut section = section.clone();
        if let Some((backend, index)) = self.device {
            (section.backend, section.devices) = (backend, vec![index]);
        }
        section.precision = self.precision.unwrap_or(section.precision);
        use_threads(self.threads.map(|threads| threads as usize).or(section.threads))?;
        device::open(&section, Place::ALONE)
    }
}

/// Has the command compute on so many threads; on one a core if none are given.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    pool.map_err(|cause| Error::run(Problem::new(format!("{threads} threads cannot be had: {cause}"))))
}

fn parse_device(text: &str) -> Result<(Backend, usize), String> {
    let (word, index) = text.split_once(':').unwrap_or((text, "0"));
    let backend = std::iter::once(Backend::Auto).chain(BACKENDS).find(|backend| backend.word() == word);
    let backend = backend.ok_or_else(|| {
        let compiled = device::COMPILED.iter().map(|&(backend, _)| match device::is_cpu(backend) {
            true => format!(", {} (the CPU)", backend.word()),
            false => format!(", {}", backend.word()),
        });
        let here = format!("auto{}", compiled.collect::<String>());
        match suggest::nearest(word, BACKENDS.map(Backend::word)) {
            Some(near) => format!("no backend is called `{word}`; did you mean `{near}`? This build has {here}"),
            None => format!("no backend is called `{word}`; this build has {here}"),
        }
    })?;
    let index = index.parse().map_err(|_| format!("`{index}` is not the number of a device, such as 0 in {word}:0"))?;
    Ok((backend, index))
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    let found = Precision::ALL.iter().copied().find(|precision| precision.word() == text);
    let known: Vec<&str> = Precision::ALL.iter().map(|precision| precision.word()).collect();
    found.ok_or_else(|| format!("there are {}", known.join(", ")))
}
