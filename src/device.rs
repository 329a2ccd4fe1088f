//! From a recipe's words to Burn's devices.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg(feature = "gpu")]
use burn::backend::{CubeDevice, DispatchDevice};
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
use burn::backend::{WgpuDeviceKind, wgpu::wgpu};
use burn::tensor::{Device, DeviceType, FloatDType, Tensor};
#[cfg(feature = "gpu")]
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig, cache::CacheConfig};

use crate::error::{Problem, Result};
use crate::kernels;
use crate::nn::{set_bf16_products, set_compute_dtype, set_int8};
use crate::ranks::Place;
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

/// The devices of a backend that this machine has, drivers in software last; nothing where the backend is not compiled in. A driver that
/// is missing counts as no device.
pub fn found(backend: Backend) -> Option<Vec<Device>> {
    let (_, kind) = COMPILED.iter().find(|(compiled, _)| *compiled == backend)?;
    #[cfg(feature = "gpu")]
    if !is_cpu(backend) {
        keep_kernels();
    }
    // Some runtimes panic where their driver library cannot be loaded.
    let devices = catch_unwind(AssertUnwindSafe(|| Device::enumerate(kind.clone()).into_vec()));
    let mut devices = devices.unwrap_or_default();
    devices.sort_by_key(is_software);
    Some(devices)
}

/// Has compiled kernels, and which kernel is the fastest for a shape, kept in the user's cache folder from run to run. A `cubecl.toml`
/// in the working folder or above it may say otherwise.
#[cfg(feature = "gpu")]
fn keep_kernels() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    if let Some(cache) = dirs::cache_dir() {
        config.environment.path = CacheConfig::Directory(cache.join("kiln").join("kernels"));
    }
    // Done by the first who asks; later calls change nothing.
    CubeClRuntimeConfig::try_set(config);
}

/// What `backend = "auto"` takes: the first backend that has a device which is no driver in software, and its devices.
pub fn automatic() -> Option<(Backend, Vec<Device>)> {
    let hardware = |&(backend, _): &(Backend, DeviceType)| {
        let devices: Vec<Device> = found(backend)?.into_iter().filter(|device| !is_software(device)).collect();
        (!devices.is_empty()).then_some((backend, devices))
    };
    COMPILED.iter().find_map(hardware)
}

#[cfg(not(feature = "gpu"))]
fn cube(_: &Device) -> Option<std::convert::Infallible> {
    None
}

/// Whether a backend computes on the processor, where a launch costs next to nothing.
pub fn is_cpu(backend: Backend) -> bool {
    matches!(backend, Backend::Flex | Backend::NdArray)
}

/// Whether a device is a graphics driver in software (Mesa's llvmpipe, SwiftShader, WARP): fit for tests, and some fifty times slower
/// than the CPU backends.
pub fn is_software(device: &Device) -> bool {
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
    if let Some(CubeDevice::Wgpu(device)) = cube(device) {
        return device.kind == WgpuDeviceKind::Cpu;
    }
    let _ = device;
    false
}

/// Whether a device is a GPU's, or a driver in software that stands in for one.
pub fn is_gpu(device: &Device) -> bool {
    cube(device).is_some()
}

/// The device as CubeCL knows it, which all of Burn's GPU backends are made with.
#[cfg(feature = "gpu")]
fn cube(device: &Device) -> Option<CubeDevice> {
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.clone()),
        _ => None,
    }
}

/// The number of a card, counted as CUDA counts those that it shows to this process.
#[cfg(all(feature = "cuda", feature = "mpi"))]
pub fn cuda_index(device: &Device) -> Option<usize> {
    match cube(device)? {
        CubeDevice::Cuda(card) => Some(card.index),
        #[allow(unreachable_patterns, reason = "CUDA may be the only backend of a build")]
        _ => None,
    }
}

/// A device as its driver describes it: name, driver, kind and memory, as far as they are known. Opens the device.
pub fn describe(device: &Device) -> String {
    #[cfg(feature = "gpu")]
    if let Some(cube) = cube(device) {
        let client = cube.client();
        let properties = client.properties();
        let mut parts = vec![properties.identity.name.clone()];
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        parts.extend(wgpu_driver(&properties.identity.name));
        if is_software(device) {
            parts.push("software".into());
        }
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        parts.push(match properties.memory.max_memory() {
            Some(memory) => gib(memory),
            None => format!("buffers up to {}", gib(properties.memory.max_page_size)),
        });
        return parts.join(", ");
    }
    let _ = device;
    "the CPU".into()
}

/// The driver of the adapter of this name, and the graphics API that it is reached by.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
fn wgpu_driver(name: &str) -> Option<String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = burn::tensor::read_sync(instance.enumerate_adapters(wgpu::Backends::all()));
    let info = adapters.iter().map(wgpu::Adapter::get_info).find(|info| info.name == name)?;
    Some(format!("{} {} ({})", info.driver, info.driver_info, info.backend))
}

/// The precisions that work on a device, by a small product in each.
pub fn precisions(device: &Device) -> Vec<Precision> {
    Precision::ALL.iter().copied().filter(|&precision| computes(device, precision)).collect()
}

fn computes(device: &Device, precision: Precision) -> bool {
    let dtype = match (precision, dtype(precision)) {
        (Precision::Bf16, _) if !is_gpu(device) => return kernels::multiplies_bf16(device),
        (_, None) => return kernels::computes_int8(device),
        (_, Some(dtype)) => dtype,
    };
    let product = || {
        // 17 is no multiple of a tile. Each entry is 17 * 0.5 * 0.5.
        let half = Tensor::<2>::full([17, 17], 0.5, device).cast(dtype); // [17, 17]
        half.clone().matmul(half).into_data().iter::<f32>().all(|entry| entry == 4.25)
    };
    device.supports_dtype(dtype) && catch_unwind(AssertUnwindSafe(product)).unwrap_or(false)
}

/// Burn's word for a precision that is a type of its tensors.
fn dtype(precision: Precision) -> Option<FloatDType> {
    match precision {
        Precision::F32 => Some(FloatDType::F32),
        Precision::Bf16 => Some(FloatDType::BF16),
        Precision::F16 => Some(FloatDType::F16),
        Precision::Int8 => None,
    }
}

/// A recipe's device.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub backend: Backend,
    pub device: Device,
}

/// The CPU threads of one of several ranks of a machine; `None` where it has the machine for itself and the recipe says nothing.
pub fn threads(section: &DeviceRecipe, place: Place) -> Option<usize> {
    section.threads.or_else(|| {
        // A launcher may have bound the rank to some of the cores.
        let bound = std::thread::available_parallelism().map_or(1, usize::from);
        (place.local_size > 1).then(|| bound.min(cores().unwrap_or(bound) / place.local_size).max(1))
    })
}

/// The cores of this machine, where it tells: "0-31".
fn cores() -> Option<usize> {
    let present = std::fs::read_to_string("/sys/devices/system/cpu/present").ok()?;
    Some(present.trim().rsplit(['-', ',']).next()?.parse::<usize>().ok()? + 1)
}

/// Which of `count` devices a rank takes.
fn index_of(section: &DeviceRecipe, place: Place, backend: Backend, count: usize) -> Result<usize> {
    let devices = &section.devices;
    match devices[..] {
        // A launcher may show each rank a device of its own, as the only one.
        [index] if place.local_size == 1 || is_cpu(backend) || count == 1 => Ok(index),
        [first] => Ok(first + place.local_rank),
        _ if place.local_size == 1 => {
            let what = format!("device.devices = {devices:?}: one device a process");
            let help = format!("give one number, such as [0], or start a rank for each: mpirun -n {}", devices.len());
            Err(Problem::new(what).help(help).into())
        }
        _ => devices.get(place.local_rank).copied().ok_or_else(|| {
            let what = format!("device.devices = {devices:?}, but {} ranks are on this machine", place.local_size);
            Problem::new(what).help("give a number for each, or leave it out").into()
        }),
    }
}

/// Opens the device that a recipe asks for, in its precision; of several ranks of a machine each has its own.
///
/// # Errors
/// A backend that is not compiled in, a device that is not there, a precision it does not compute in.
pub fn open(section: &DeviceRecipe, place: Place) -> Result<Chosen> {
    let (backend, devices) = match section.backend {
        Backend::Auto => automatic().unwrap_or((Backend::Auto, Vec::new())),
        backend => (backend, found(backend).ok_or_else(|| not_compiled(backend))?),
    };
    if devices.is_empty() {
        let what = format!("this machine has no device for the backend \"{}\"", section.backend.word());
        return Err(Problem::new(what).help(format!("{}{}", needs(backend), there_is())).into());
    }
    let index = index_of(section, place, backend, devices.len())?;
    let Some(device) = devices.get(index).cloned() else {
        let what = format!("there is no device {index}: {} has {}, counted from 0", backend.word(), devices.len());
        return Err(Problem::new(what).help(there_is()).into());
    };
    if is_software(&device) {
        tracing::warn!("{}: far slower than the CPU backend, and good for tests only", describe(&device));
    }
    set_precision(&device, backend, section.precision)?;
    Ok(Chosen { backend, device })
}

/// What a backend without devices may lack.
fn needs(backend: Backend) -> &'static str {
    match backend {
        Backend::Cuda => "no CUDA driver with a card was found: cuda needs NVIDIA's driver, libcuda; ",
        Backend::Wgpu | Backend::Vulkan => {
            "no graphics driver was found: on Linux it is libvulkan and the card's own; "
        }
        _ => "",
    }
}

/// Every device that this build finds on this machine, as `--device` takes it.
fn there_is() -> String {
    let named = |&(backend, _): &(Backend, DeviceType)| {
        let numbers = 0..found(backend).map_or(0, |devices| devices.len());
        numbers.map(move |number| format!("{}:{number}", backend.word()))
    };
    let here: Vec<String> = COMPILED.iter().flat_map(named).collect();
    format!("this build finds {} on this machine; `kiln devices` tells more", here.join(", "))
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

fn set_precision(device: &Device, backend: Backend, precision: Precision) -> Result<()> {
    if precision == Precision::F32 {
        return Ok(());
    }
    if !computes(device, precision) {
        let works: Vec<&str> = precisions(device).into_iter().map(Precision::word).collect();
        let what = format!("{} cannot compute in {}", describe(device), precision.word());
        return Err(Problem::new(what).help(format!("it computes in {}", works.join(", "))).into());
    }
    match dtype(precision) {
        None => set_int8(),
        Some(FloatDType::BF16) if is_cpu(backend) => set_bf16_products(),
        Some(dtype) => {
            if is_cpu(backend) {
                let (backend, word) = (backend.word(), precision.word());
                tracing::warn!("{backend} computes {word} by way of f32: slower than f32, and good for tests only");
            }
            set_compute_dtype(device, dtype);
        }
    }
    Ok(())
}
