//! The kernel's half (`bpf/stray.bpf.c`): loaded, attached, told what to do, and taken away.

use std::{io, net::IpAddr, time::Duration};

use aya::{
    Ebpf, Pod, include_bytes_aligned,
    maps::{
        Array,
        lpm_trie::{Key, LpmTrie},
    },
    programs::{
        SchedClassifier, TcAttachType,
        tc::{NlOptions, SchedClassifierLinkId, TcAttachOptions},
    },
};
use ipnet::IpNet;

use super::{ForwardError, filter};

/// Compiled by the build script.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/stray.bpf.o"));
/// The program in it.
const NAME: &str = "proxima_stray";

/// Runs something that loads a program, on a thread of its own. The loader reads all of the kernel's types, tens of MiB,
/// whether a program needs them or not (ours does not). Left to itself, the allocator keeps what that took: twice what an
/// idle node needs.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ForwardError> + Send + 'static,
) -> Result<T, ForwardError> {
    let runtime = tokio::runtime::Handle::current();
    let (done, outcome) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("load-program".to_owned()).spawn(move || {
        let _entered = runtime.enter();
        let outcome = work();
        // SAFETY: it gives back what this thread has freed, and may be called at any time.
        unsafe { libmimalloc_sys::mi_collect(true) };
        done.send(outcome).ok();
    });
    thread.map_err(|source| ForwardError::System { doing: "starting a thread", source })?;
    outcome.await.unwrap_or(Err(ForwardError::Ending))
}

/// `struct order` of the program.
#[repr(C)]
#[derive(Clone, Copy)]
struct Order {
    alive_until_ns: u64,
    tun: u32,
    padding: u32,
}

// SAFETY: plain numbers, without padding of the compiler's: any octets are a valid `Order`, and all are initialised.
unsafe impl Pod for Order {}

/// A loaded program, attached to interfaces; dropped, it is detached, and nothing else is.
pub(super) struct Program {
    kernel: Ebpf,
    attached: Vec<Attached>,
    tun: u32,
    prefixes: Vec<IpNet>,
}

/// Where it is attached.
struct Attached {
    interface: String,
    index: u32,
    link: SchedClassifierLinkId,
}

impl Program {
    /// Loads it, to send strays out of the interface `tun`. It does nothing yet.
    pub(super) fn load(tun: u32) -> Result<Self, ForwardError> {
        let mut kernel = Ebpf::load(OBJECT).map_err(ForwardError::program("loading"))?;
        classifier(&mut kernel)?.load().map_err(ForwardError::program("loading"))?;
        Ok(Self { kernel, attached: Vec::new(), tun, prefixes: Vec::new() })
    }

    /// Attaches it to what comes in at an interface. What a former process that was killed has left there goes.
    pub(super) fn attach(&mut self, interface: &str) -> Result<(), ForwardError> {
        let failed = |source: io::Error| ForwardError::Interface { interface: interface.to_owned(), source };
        filter::make_hook(interface).map_err(failed)?;
        let index = nix::net::if_::if_nametoindex(interface).map_err(|error| failed(error.into()))?;
        filter::remove_leftovers(index, NAME).map_err(failed)?;
        let own = NlOptions { priority: filter::PRIORITY, handle: filter::own_handle() };
        let link = classifier(&mut self.kernel)?
            .attach_with_options(interface, TcAttachType::Ingress, TcAttachOptions::Netlink(own))
            .map_err(ForwardError::program("attaching"))?;
        self.attached.push(Attached { interface: interface.to_owned(), index, link });
        Ok(())
    }

    /// Attaches it again wherever somebody has taken it away: an operator, or a tool that makes the hook new.
    pub(super) fn stay_attached(&mut self) -> Result<(), ForwardError> {
        for at in 0..self.attached.len() {
            let Attached { interface, index, .. } = &self.attached[at];
            match filter::attached(*index, NAME) {
                Ok(handles) if !handles.contains(&filter::own_handle()) => {}
                Ok(_) => continue,
                Err(error) => {
                    // No descriptor is free, most likely: no reason to end what goes on.
                    tracing::warn!(%interface, %error, "it is not known whether the eBPF program is attached");
                    continue;
                }
            }
            tracing::warn!(%interface, "somebody has detached the eBPF program: it is attached again");
            let gone = self.attached.remove(at);
            // There is nothing to detach; but the loader believes that there is.
            classifier(&mut self.kernel)?.detach(gone.link).ok();
            self.attach(&gone.interface)?;
            let back = self.attached.len() - 1;
            self.attached.swap(at, back);
        }
        Ok(())
    }

    /// Makes these the prefixes whose strays count.
    pub(super) fn set_prefixes(&mut self, prefixes: &[IpNet]) -> Result<(), ForwardError> {
        let former = std::mem::replace(&mut self.prefixes, prefixes.to_vec());
        let map = self.kernel.map_mut("prefixes").ok_or(ForwardError::Object)?;
        let mut map: LpmTrie<_, [u8; 16], u8> =
            LpmTrie::try_from(map).map_err(ForwardError::program("telling"))?;
        for gone in former.iter().filter(|prefix| !prefixes.contains(prefix)) {
            map.remove(&key(gone)).ok();
        }
        for prefix in prefixes {
            map.insert(&key(prefix), 1, 0).map_err(ForwardError::program("telling"))?;
        }
        Ok(())
    }

    /// Lets it act for so long from now on.
    pub(super) fn keep_alive(&mut self, lease: Duration) -> Result<(), ForwardError> {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
            .map_err(|error| ForwardError::System { doing: "reading the clock", source: error.into() })?;
        let until = Duration::from(now) + lease;
        let order = Order {
            alive_until_ns: u64::try_from(until.as_nanos()).unwrap_or(u64::MAX),
            tun: self.tun,
            padding: 0,
        };
        let map = self.kernel.map_mut("orders").ok_or(ForwardError::Object)?;
        let mut map: Array<_, Order> = Array::try_from(map).map_err(ForwardError::program("telling"))?;
        map.set(0, order, 0).map_err(ForwardError::program("telling"))
    }
}

fn classifier(kernel: &mut Ebpf) -> Result<&mut SchedClassifier, ForwardError> {
    let program = kernel.program_mut(NAME).ok_or(ForwardError::Object)?;
    program.try_into().map_err(ForwardError::program("finding"))
}

/// A prefix as the program's table has it: IPv4 as ::ffff:a.b.c.d.
fn key(prefix: &IpNet) -> Key<[u8; 16]> {
    let (address, before) = match prefix.trunc().addr() {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), 96),
        IpAddr::V6(address) => (address, 0),
    };
    Key::new(u32::from(before + prefix.prefix_len()), address.octets())
}
