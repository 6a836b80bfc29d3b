//! The module's exports: what Envoy calls. A callback that is not exported is not called, and costs nothing.
//!
//! Envoy defers what could call back while a callback runs (local replies, resets, continuing a stream). Should it ever
//! not, the inner call finds the state taken and lets everything pass.
#![expect(unsafe_code, reason = "exported names are declared unsafe")]

use std::cell::RefCell;

use crate::channel::Answer;
use crate::host;
use crate::vm::Vm;

thread_local! {
    static VM: RefCell<Option<Vm>> = const { RefCell::new(None) };
}

fn vm<T: Default>(callback: impl FnOnce(&mut Vm) -> T) -> T {
    let run = |vm: &RefCell<Option<Vm>>| {
        let mut vm = vm.try_borrow_mut().ok()?;
        Some(callback(vm.get_or_insert_with(Vm::new)))
    };
    VM.try_with(run).ok().flatten().unwrap_or_default()
}

/// What a callback of a stream returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    Continue,
    /// The direction waits, and its bytes gather, until it is let go on.
    Pause,
}

impl From<Flow> for u32 {
    fn from(flow: Flow) -> Self {
        match flow {
            Flow::Continue => 0,
            Flow::Pause => 1,
        }
    }
}

#[cfg(target_family = "wasm")]
unsafe extern "C" {
    fn __wasm_call_ctors();
}

#[unsafe(no_mangle)]
extern "C" fn _initialize() {
    // Calling it here keeps the linker from calling it again in front of every export.
    #[cfg(target_family = "wasm")]
    // SAFETY: called once, before anything else.
    unsafe {
        __wasm_call_ctors();
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    host::allocate(size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    vm(|vm| vm.created(context, root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(root: u32, size: usize) -> u32 {
    u32::from(vm(|vm| vm.configured(root, size)))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(root: u32) {
    vm(|vm| vm.ticked(root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(root: u32, _: u32) {
    vm(|vm| vm.woken(root));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(root: u32, token: u32, headers: u32, size: usize, _: u32) {
    let answer = Answer { token, headers, size };
    vm(|vm| vm.answered(root, answer));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(stream: u32, _: u32, _: u32) -> u32 {
    #[cfg(feature = "crash-test")]
    crate::crash::when_told();
    vm(|vm| vm.request_headers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(stream: u32, size: usize, last: u32) -> u32 {
    vm(|vm| vm.request_data(stream, (size, last != 0))).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(stream: u32, _: u32, _: u32) -> u32 {
    vm(|vm| vm.response_headers(stream)).into()
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(stream: u32, size: usize, last: u32) -> u32 {
    vm(|vm| vm.response_data(stream, (size, last != 0))).into()
}

/// The stream is over; what is set of it now, Envoy's access logs show.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(stream: u32) {
    vm(|vm| vm.logged(stream));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(context: u32) {
    vm(|vm| vm.deleted(context));
}
