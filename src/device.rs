//! From a recipe's words to Burn's devices.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::{Device, DeviceType, FloatDType};

use crate::error::{Problem, Result};
use crate::recipe::{Backend, Device as DeviceRecipe, Precision};

/// The backends compiled in, with Burn's word for each, the best first: what `backend = "auto"` tries in turn.
pub const COMPILED: &[(Backend, DeviceType)] = &[
    #[cfg(feature = "cuda")]
    (Backend::Cuda, DeviceType::Cuda),
    #[cfg(feature = "rocm")]
    (Backend::Rocm, DeviceType::Rocm),
    #[cfg(feature = "metal")]
    (Backend::Metal, DeviceType::Metal),
    #[cfg(feature = "vulkan")]
    (Backend::Vulkan, DeviceType::Vulkan),
    #[cfg(feature = "wgpu")]
    (Backend::Wgpu, DeviceType::Wgpu),
    #[cfg(feature = "flex")]
    (Backend::Flex, DeviceType::Flex),
    #[cfg(feature = "ndarray")]
    (Backend::NdArray, DeviceType::NdArray),
];

/// The devices of a backend that this machine has; nothing where it is not compiled in. A driver that is missing counts as no device.
pub fn found(backend: Backend) -> Option<Vec<Device>> {
    let (_, kind) = COMPILED.iter().find(|(compiled, _)| *compiled == backend)?;
    // Some runtimes panic where their driver library cannot be loaded.
    Some(catch_unwind(AssertUnwindSafe(|| Device::enumerate(kind.clone()).into_vec())).unwrap_or_default())
}

/// Whether a backend computes on the processor, where a launch costs next to nothing.
pub fn is_cpu(backend: Backend) -> bool {
    matches!(backend, Backend::Flex | Backend::NdArray)
}

/// A recipe's device.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub backend: Backend,
    pub device: Device,
}

/// Opens the device that a recipe asks for, in its precision.
///
/// # Errors
/// A backend that is not compiled in, a device that is not there, a precision it does not compute in.
pub fn open(section: &DeviceRecipe) -> Result<Chosen> {
    let found = match section.backend {
        Backend::Auto => {
            let mut all = COMPILED.iter().filter_map(|&(backend, _)| Some((backend, found(backend)?)));
            all.find(|(_, devices)| !devices.is_empty())
        }
        backend => Some((backend, found(backend).ok_or_else(|| not_compiled(backend))?)),
    };
    let Some((backend, devices)) = found.filter(|(_, devices)| !devices.is_empty()) else {
        let what = format!("this machine has no device for the backend \"{}\"", section.backend.word());
        return Err(Problem::new(what).help("`kiln devices` lists what is there").into());
    };
    let [index] = section.devices[..] else {
        let what = format!("device.devices = {:?}: one device a run", section.devices);
        return Err(Problem::new(what).help("give one number, such as [0]").into());
    };
    let Some(mut device) = devices.get(index).cloned() else {
        let what = format!("there is no device {index}: {} has {}, counted from 0", backend.word(), devices.len());
        return Err(Problem::new(what).help("`kiln devices` lists what is there").into());
    };
    set_precision(&mut device, backend, section.precision)?;
    Ok(Chosen { backend, device })
}

fn not_compiled(backend: Backend) -> Problem {
    let known: Vec<&str> = COMPILED.iter().map(|(backend, _)| backend.word()).collect();
    Problem::new(format!(
        "the backend \"{}\" is not part of this build, which has {}",
        backend.word(),
        known.join(", ")
    ))
    .help(format!("build with `cargo build --release --features {}`", backend.word()))
}

fn set_precision(device: &mut Device, backend: Backend, precision: Precision) -> Result<()> {
    let dtype = match precision {
        Precision::F32 => return Ok(()),
        Precision::Bf16 => FloatDType::BF16,
        Precision::F16 => FloatDType::F16,
    };
    let help = "leave the precision out, or give \"f32\"";
    // The CPU backends store halves but compute in f32: nothing is won.
    if is_cpu(backend) {
        let what = format!("the precision \"{}\" is for GPUs; {} computes in f32", precision.word(), backend.word());
        return Err(Problem::new(what).help(help).into());
    }
    device.configure(dtype).map_err(|cause| {
        Problem::new(format!("{} cannot compute in {}: {cause:?}", backend.word(), precision.word())).help(help)
    })?;
    Ok(())
}
