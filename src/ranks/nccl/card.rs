//! NCCL itself, loaded at run time, on the card of a rank.
//!
//! The communicator is non-blocking: no call waits for another rank, so that patience can end. cudarc's `Comm` blocks, and so its plain
//! functions are called here. Type-checked only: it has not run on cards.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaEvent, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DriverError};
use cudarc::nccl::result::{self, NcclError, NcclStatus};
use cudarc::nccl::{Id, sys};

use super::{Link, Nccl, Ticket, admitted};
use crate::error::Result;
use crate::ranks::{Place, Ranks};

/// Communicators that do not block came with 2.14.
const OLDEST: c_int = 21_400;

impl Ranks {
    /// These ranks, with NCCL for their numbers where each has a CUDA card of its own, `card` as CUDA counts them. Where NCCL cannot start
    /// on some rank all stay as they are, and the log says why.
    ///
    /// # Errors
    /// A rank does not answer.
    pub fn with_nccl(&self, card: Option<usize>) -> Result<Self> {
        Ok(match linked(self, card)? {
            None => self.clone(),
            Some(Ok(nccl)) => {
                if self.is_first() {
                    tracing::info!("gradients and weights go between the ranks by NCCL {}", version());
                }
                Self::over(Box::new(nccl))
            }
            Some(Err(why)) => {
                if self.is_first() {
                    tracing::warn!("gradients and weights go between the ranks over MPI, and not by NCCL: {why}");
                }
                self.clone()
            }
        })
    }
}

/// `None` where there is nothing to link: one rank, or none with a card.
pub(super) fn linked(ranks: &Ranks, card: Option<usize>) -> Result<Option<Result<Nccl, String>>> {
    if ranks.is_alone() {
        return Ok(None);
    }
    let ticket = match card {
        // cudarc panics where a library lacks what it looks for.
        Some(card) => catch_unwind(|| ticket(card)).unwrap_or_else(|_| Err("this libnccl cannot be used".into())),
        None => Err("its device is no CUDA card".into()),
    };
    let tickets = ranks.gather((card.is_some(), ticket))?;
    if tickets.iter().all(|(has_card, _)| !has_card) {
        return Ok(None);
    }
    let tickets = tickets.into_iter().map(|(_, ticket)| ticket).collect();
    let (id, card) = match (admitted(tickets), card) {
        (Ok(id), Some(card)) => (id, card),
        (Ok(_), None) => return Ok(None),
        (Err(why), _) => return Ok(Some(Err(why))),
    };
    let place = ranks.place();
    Nccl::join(ranks, move || Card::open(card, &id, place)).map(Some)
}

fn ticket(card: usize) -> Result<Ticket, String> {
    // SAFETY: it only loads the library, whose initializers are trusted as CUDA's are.
    if !unsafe { sys::is_culib_present() } {
        return Err("no libnccl.so was found (NVIDIA's package libnccl-dev; LD_LIBRARY_PATH)".into());
    }
    let found = result::get_nccl_version().map_err(said)?;
    if found < OLDEST {
        return Err(format!("NCCL {} is older than {}", spelled(found), spelled(OLDEST)));
    }
    let card = CudaContext::new(card).and_then(|context| context.uuid()).map_err(said_by_cuda)?;
    let id = Id::new().map_err(said)?;
    Ok(Ticket { card: card.bytes.to_vec(), id: id.internal().to_vec() })
}

fn version() -> String {
    result::get_nccl_version().map(spelled).unwrap_or_default()
}

fn spelled(version: c_int) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

fn said(error: NcclError) -> String {
    // SAFETY: both give strings that NCCL keeps; no communicator is needed.
    let texts = unsafe { [sys::ncclGetErrorString(error.0), sys::ncclGetLastError(std::ptr::null_mut())] };
    let texts = texts.into_iter().filter(|text| !text.is_null());
    // SAFETY: they end with a zero.
    let texts = texts.map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string());
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
}

fn said_by_cuda(error: DriverError) -> String {
    format!("CUDA: {error:?}")
}

/// NCCL's `ncclConfig_t` as of 2.14, which later versions read by its size and version.
#[repr(C)]
struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
    /// Where later versions have a field of their own: `NCCL_CONFIG_UNDEF_INT`.
    unset: c_int,
}

impl Config {
    const NON_BLOCKING: Self =
        Self { size: size_of::<Self>(), magic: 0xcafe_beef, version: OLDEST as c_uint, blocking: 0, unset: c_int::MIN };
}

/// A rank's communicator and the stream that it works on.
struct Card {
    stream: Arc<CudaStream>,
    communicator: sys::ncclComm_t,
    sent: CudaSlice<f32>,
    received: CudaSlice<f32>,
    /// Behind all that was begun, once NCCL has put it on the stream.
    end: CudaEvent,
    is_marked: bool,
    is_leaving: bool,
}

impl Card {
    /// Begins to join the others, on the thread that the link stays on: the card is CUDA's current one there.
    fn open(card: usize, id: &[i8], place: Place) -> Result<Self, String> {
        let internal = id.try_into().map_err(|_| "the first rank's id is not NCCL's".to_string())?;
        let context = CudaContext::new(card).map_err(said_by_cuda)?;
        // SAFETY: all is done on one stream, so that no event need order it.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(said_by_cuda)?;
        let buffer = || stream.alloc_zeros(1).map_err(said_by_cuda);
        let (sent, received) = (buffer()?, buffer()?);
        let end = context.new_event(None).map_err(said_by_cuda)?;
        let mut communicator = std::ptr::null_mut();
        let mut config = Config::NON_BLOCKING;
        // SAFETY: the pointers are to live values; NCCL reads no more of the configuration than its size says, and copies it.
        unsafe {
            result::comm_init_rank_config(
                &raw mut communicator,
                place.size as c_int,
                sys::ncclUniqueId { internal },
                place.rank as c_int,
                (&raw mut config).cast(),
            )
        }
        .map_err(said)?;
        Ok(Self { stream, communicator, sent, received, end, is_marked: false, is_leaving: false })
    }
}

/// Numbers from `from` on of a buffer.
fn place(buffer: u64, from: usize) -> *mut c_void {
    (buffer + (from * size_of::<f32>()) as u64) as *mut c_void
}

impl Link for Card {
    fn upload(&mut self, values: &[f32], room: usize) -> Result<(), String> {
        for (buffer, count) in [(&mut self.sent, values.len()), (&mut self.received, room)] {
            if buffer.len() < count {
                *buffer = self.stream.alloc_zeros(count).map_err(said_by_cuda)?;
            }
        }
        if values.is_empty() {
            return Ok(());
        }
        self.stream.memcpy_htod(values, &mut self.sent).map_err(said_by_cuda)
    }

    fn group_start(&mut self) -> Result<(), String> {
        result::group_start().map(drop).map_err(said)
    }

    fn send(&mut self, part: Range<usize>, to: usize) -> Result<(), String> {
        let (buffer, _all_on_one_stream) = self.sent.device_ptr(&self.stream);
        // SAFETY: the part lies in the buffer, which stays until the exchange is done.
        let queued = unsafe {
            result::send(
                place(buffer, part.start),
                part.len(),
                sys::ncclDataType_t::ncclFloat32,
                to as c_int,
                self.communicator,
                self.stream.cu_stream().cast(),
            )
        };
        queued.map(drop).map_err(said)
    }

    fn receive(&mut self, into: Range<usize>, from: usize) -> Result<(), String> {
        let (buffer, _all_on_one_stream) = self.received.device_ptr_mut(&self.stream);
        // SAFETY: the place lies in the buffer, which stays until the exchange is done.
        let queued = unsafe {
            result::recv(
                place(buffer, into.start),
                into.len(),
                sys::ncclDataType_t::ncclFloat32,
                from as c_int,
                self.communicator,
                self.stream.cu_stream().cast(),
            )
        };
        queued.map(drop).map_err(said)
    }

    fn group_end(&mut self) -> Result<(), String> {
        self.is_marked = false;
        result::group_end().map(drop).map_err(said)
    }

    fn is_done(&mut self) -> Result<bool, String> {
        let mut state = sys::ncclResult_t::ncclInProgress;
        // SAFETY: the communicator lives as long as `self`.
        unsafe { sys::ncclCommGetAsyncError(self.communicator, &raw mut state) }.result().map_err(said)?;
        match state.result().map_err(said)? {
            NcclStatus::InProgress => return Ok(false),
            NcclStatus::Success | NcclStatus::NumResults => {}
        }
        if !self.is_marked {
            self.end.record(&self.stream).map_err(said_by_cuda)?;
            self.is_marked = true;
        }
        self.end.try_is_complete().map_err(said_by_cuda)
    }

    fn download(&mut self, count: usize) -> Result<Vec<f32>, String> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut values = vec![0.0; count];
        self.stream.memcpy_dtoh(&self.received.slice(..count), &mut values).map_err(said_by_cuda)?;
        self.stream.synchronize().map_err(said_by_cuda)?;
        Ok(values)
    }

    fn finalize(&mut self) -> Result<(), String> {
        // SAFETY: the communicator lives as long as `self`.
        unsafe { result::comm_finalize(self.communicator) }.map_err(said)?;
        self.is_leaving = true;
        Ok(())
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        // Either frees it; one that has left, or still does, must not be waited for.
        let has_left = self.is_leaving && self.is_done().unwrap_or(false);
        // SAFETY: nobody uses the communicator after this.
        let _ = unsafe {
            match has_left {
                true => result::comm_destroy(self.communicator),
                false => result::comm_abort(self.communicator),
            }
        };
    }
}
