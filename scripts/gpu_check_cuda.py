"""Finds what Kiln's CUDA kernels are compiled with on a machine, and tries it: NVRTC and the headers that CubeCL's kernels include.

    python3 scripts/gpu_check_cuda.py WORK [MORE_HEADERS]

CubeCL compiles each kernel at run time, with NVRTC (libnvrtc.so, by the loader) and `$CUDA_PATH/include`. PyTorch's pip packages bring NVRTC, but
their headers lack crt/mma.h, and with it every kernel for tensor cores; the failed ones are passed over in silence, and the rest is slow. So each
candidate is tried here, which needs no card: the CUDA toolkit, pip's headers, MORE_HEADERS. What is taken is laid out in WORK/cuda (links
only); WORK/no-tensor-cores is the same with an mma.h that does not compile: no kernel for tensor cores is then left, and f32 products are exact.

Prints one line for a report, then assignments for a shell. Exit code 1, with the reason, where there is no NVRTC or no headers.
"""

import ctypes
import importlib.util
import os
import shutil
import sys
from pathlib import Path

HEADERS = ["cuda_fp16.h", "cuda_bf16.h", "mma.h", "cooperative_groups.h", "cuda/barrier"]
KERNEL = 'extern "C" __global__ void kernel(float* x) { x[0] = 1.0f; }\n'
# A card whose kernels use all of them: H100 and H200.
ARCHITECTURE = b"--gpu-architecture=sm_90a"


def toolkits():
    """Folders that hold include/ and lib64/, the one that CUDA_PATH names first."""
    named = [os.environ.get(word) for word in ("CUDA_PATH", "CUDA_HOME")]
    nvcc = shutil.which("nvcc")
    named += ["/usr/local/cuda", "/opt/cuda", str(Path(nvcc).resolve().parent.parent) if nvcc else None]
    return [Path(folder) for folder in named if folder and Path(folder).is_dir()]


def pip_folders():
    """The folders of NVIDIA's pip packages: nvidia/cu13, or nvidia/cuda_nvrtc and its like."""
    found = importlib.util.find_spec("nvidia")
    places = list(found.submodule_search_locations) if found else []
    return [folder for place in places for folder in sorted(Path(place).iterdir()) if folder.is_dir()]


def driver_version():
    """The newest CUDA that the driver takes kernels of; none where there is no driver."""
    version = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except OSError:
        return None
    return version.value // 1000, version.value % 1000 // 10


def open_nvrtc():
    """(library, file, version) of an NVRTC that is no newer than the driver, of a toolkit rather than of pip."""
    folders = [kit / lib for kit in toolkits() for lib in ("lib64", "lib", "targets/x86_64-linux/lib")]
    folders += [folder / "lib" for folder in pip_folders()]
    driver, found = driver_version(), []
    for file in (file for folder in folders for file in sorted(folder.glob("libnvrtc.so*"))):
        # It asks for its builtins by name, which the loader has once they are loaded.
        for builtins in file.parent.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        library, major, minor = ctypes.CDLL(str(file)), ctypes.c_int(), ctypes.c_int()
        library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        found.append((library, file, (major.value, minor.value)))
    if not found:
        sys.exit("no libnvrtc.so: neither a CUDA toolkit nor NVIDIA's pip packages are here")
    fitting = [one for one in found if not driver or one[2] <= driver]
    if not fitting:
        sys.exit(f"NVRTC {found[0][2]} ({found[0][1]}) is newer than the driver, which takes kernels of CUDA {driver}")
    return fitting[0]


def compiles(library, header, include):
    """Whether NVRTC compiles a kernel that includes the header, with the options that cubecl-cuda gives."""
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), f"#include <{header}>\n{KERNEL}".encode(), None, 0, None, None)
    options = [ARCHITECTURE, f"--include-path={include}".encode(), f"--include-path={include}/cccl".encode(), b"-lineinfo"]
    return library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options)) == 0


def lay_out(include, sources):
    """A folder of links to what the sources hold, of those before rather than of those behind."""
    shutil.rmtree(include, ignore_errors=True)
    include.mkdir(parents=True)
    for entry in (entry for source in sources for entry in sorted(source.iterdir())):
        if not (include / entry.name).exists():
            (include / entry.name).symlink_to(entry.resolve())


def candidates(more):
    """Lists of folders with headers, each list to be laid over one another."""
    yield from ([kit / "include"] for kit in toolkits() if (kit / "include").is_dir())
    pip = [folder / "include" for folder in pip_folders() if (folder / "include/cuda_fp16.h").exists()]
    triton = importlib.util.find_spec("triton")
    crt = [Path(place) / "backends/nvidia/include" for place in (triton.submodule_search_locations if triton else [])]
    if pip:
        yield pip + [folder for folder in crt if folder.is_dir()] + more
    if more:
        yield more


def main():
    work, more = Path(sys.argv[1]).resolve(), [Path(folder).resolve() for folder in sys.argv[2:]]
    library, file, version = open_nvrtc()
    include, best = work / "cuda/include", (0, None, [])
    for sources in candidates(more):
        lay_out(include, sources)
        missing = [header for header in HEADERS if not compiles(library, header, include)]
        if len(HEADERS) - len(missing) > best[0]:
            best = (len(HEADERS) - len(missing), sources, missing)
        if not missing:
            break
    count, sources, missing = best
    if not count:
        sys.exit(f"NVRTC {version[0]}.{version[1]} of {file}, but no CUDA headers that it compiles")
    lay_out(include, sources)
    # cudarc looks for this name first.
    (work / "cuda/lib").mkdir(exist_ok=True)
    link = work / "cuda/lib/libnvrtc.so"
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())
    plain = work / "no-tensor-cores/include"
    lay_out(plain, [include])
    (plain / "mma.h").unlink(missing_ok=True)
    (plain / "mma.h").write_text("#error tensor cores are left out\n")
    said = "compile all that CubeCL includes" if not missing else f"LACK {', '.join(missing)}: kernels that include them are passed over"
    print(f"NVRTC {version[0]}.{version[1]} ({file}), headers {' + '.join(map(str, sources))}: {said}")
    print(f"export CUDA_PATH='{work}/cuda'")
    print(f"export LD_LIBRARY_PATH='{work}/cuda/lib:{file.parent}':\"${{LD_LIBRARY_PATH:-}}\"")


if __name__ == "__main__":
    main()
