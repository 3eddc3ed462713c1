//! A tap into the kernel, while there is a peer to forward to or from: a TUN device, the program that sends strays out of
//! it, and the task that carries packets between it and the peers. Each server has two: as forwarder and as home.

use std::{net::IpAddr, sync::Arc, time::Instant};

use ipnet::IpNet;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    ForwardError, agreement,
    limits::{EVENTS_MAX, LEASE, LEASE_RENEWED_EVERY, READ_AT_ONCE},
    link::Link,
    message::{Message, PACKET_OCTETS_MAX},
    program::{self, Program},
    segment::without_padding,
    side::{LinkId, Part, Side, Verdict},
    tun::Tun,
};
use crate::metrics::ForwardMetrics;

/// What a tap is told.
enum Event {
    /// A peer has come; answered when its strays are forwarded.
    Join(Link, Vec<IpNet>, oneshot::Sender<Result<(), ForwardError>>),
    /// A peer has gone.
    Leave(LinkId),
    /// A peer has sent a packet.
    Packet(LinkId, Vec<u8>),
    /// How many connections are active?
    Active(oneshot::Sender<usize>),
    /// It is over.
    End,
}

/// A tap's task, from outside. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    part: Part,
    events: mpsc::Sender<Event>,
}

impl Tap {
    /// Starts the task, which ends when it is told to, or every clone of the tap is gone. `neighbors` are the routers from
    /// whose side strays come to a forwarder; `own` are the prefixes that this server announces.
    pub(super) fn start(
        part: Part,
        neighbors: Arc<[IpAddr]>,
        own: Arc<[IpNet]>,
        metrics: ForwardMetrics,
    ) -> (Self, JoinHandle<()>) {
        let (events, told) = mpsc::channel(EVENTS_MAX);
        let side = Side::new(part, Instant::now());
        let worker = Worker { part, neighbors, own, metrics, side, links: Vec::new(), device: None };
        (Self { part, events }, tokio::spawn(worker.run(told)))
    }

    /// Forwards for this peer from now on; returns when it is so.
    pub(super) async fn join(&self, link: Link, prefixes: Vec<IpNet>) -> Result<(), ForwardError> {
        let (answer, answered) = oneshot::channel();
        self.tell(Event::Join(link, prefixes, answer)).await?;
        answered.await.unwrap_or(Err(ForwardError::Ending))
    }

    /// No longer forwards for this peer.
    pub(super) async fn leave(&self, link: LinkId) {
        self.tell(Event::Leave(link)).await.ok();
    }

    /// Takes what a peer has sent.
    pub(super) async fn take(&self, link: LinkId, message: Message) -> Result<(), ForwardError> {
        match (self.part, message) {
            (Part::Forwarder, Message::NotMine(packet)) | (Part::Home, Message::Stray(packet)) => {
                self.tell(Event::Packet(link, packet)).await
            }
            _ => Err(ForwardError::Unexpected("something that it may not say now")),
        }
    }

    /// Connections that segments were forwarded of lately.
    pub(super) async fn active(&self) -> usize {
        let (answer, answered) = oneshot::channel();
        self.tell(Event::Active(answer)).await.ok();
        answered.await.unwrap_or(0)
    }

    /// Ends the task; whatever is attached goes.
    pub(super) async fn end(&self) {
        self.tell(Event::End).await.ok();
    }

    async fn tell(&self, event: Event) -> Result<(), ForwardError> {
        self.events.send(event).await.map_err(|_| ForwardError::Ending)
    }
}

/// What is there while there is a peer.
struct Device {
    /// Dropped first, so that nothing is sent to a device that is gone.
    program: Program,
    tun: Tun,
}

impl Device {
    /// Makes it. Blocking.
    fn make(part: Part, neighbors: &[IpAddr]) -> Result<Self, ForwardError> {
        let tun =
            Tun::create().map_err(|source| ForwardError::System { doing: "making a TUN device", source })?;
        let mut program = Program::load(tun.index())?;
        match part {
            Part::Forwarder => {
                for interface in uplinks(neighbors)? {
                    program.attach(&interface)?;
                }
            }
            Part::Home => program.attach(tun.name())?,
        }
        Ok(Self { program, tun })
    }
}

/// The interfaces in whose networks the neighbours lie: from there users' packets come.
pub(super) fn uplinks(neighbors: &[IpAddr]) -> Result<Vec<String>, ForwardError> {
    let interfaces = nix::ifaddrs::getifaddrs()
        .map_err(|error| ForwardError::System { doing: "listing the interfaces", source: error.into() })?;
    let mut found: Vec<String> = interfaces
        .filter(|interface| {
            let network = interface.address.and_then(ip).zip(interface.netmask.and_then(ip));
            let network = network.and_then(|(address, mask)| IpNet::with_netmask(address, mask).ok());
            network.is_some_and(|network| neighbors.iter().any(|neighbor| network.contains(neighbor)))
        })
        .map(|interface| interface.interface_name)
        .collect();
    found.sort_unstable();
    found.dedup();
    if found.is_empty() { Err(ForwardError::NoUplink) } else { Ok(found) }
}

fn ip(address: nix::sys::socket::SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

struct Worker {
    part: Part,
    neighbors: Arc<[IpAddr]>,
    own: Arc<[IpNet]>,
    metrics: ForwardMetrics,
    side: Side,
    links: Vec<Link>,
    device: Option<Device>,
}

impl Worker {
    async fn run(mut self, mut told: mpsc::Receiver<Event>) {
        let mut renew = interval(LEASE_RENEWED_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; PACKET_OCTETS_MAX];
        loop {
            tokio::select! {
                event = told.recv() => match event {
                    Some(Event::End) | None => break,
                    Some(event) => self.hear(event).await,
                },
                read = read(self.device.as_ref(), &mut buffer), if self.device.is_some() => {
                    self.carry_out(read, &mut buffer).await;
                }
                _ = renew.tick(), if self.device.is_some() => self.renew().await,
            }
        }
        self.give_up().await;
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Join(link, prefixes, answer) => {
                let joined = self.join(link, prefixes).await;
                answer.send(joined).ok();
            }
            Event::Leave(link) => self.leave(link).await,
            Event::Packet(link, packet) => {
                if self.part == Part::Forwarder {
                    self.metrics.returned.inc();
                }
                let verdict = self.side.sent_by_peer(&packet, link, Instant::now());
                self.obey(verdict, packet);
            }
            Event::Active(answer) => drop(answer.send(self.side.active(Instant::now()))),
            Event::End => {}
        }
    }

    async fn join(&mut self, link: Link, prefixes: Vec<IpNet>) -> Result<(), ForwardError> {
        if self.device.is_none() {
            let (part, neighbors) = (self.part, Arc::clone(&self.neighbors));
            self.device = Some(program::apart(move || Device::make(part, &neighbors)).await?);
        }
        let (id, name) = (link.id, Arc::clone(&link.name));
        self.admit(link, prefixes);
        if let Err(error) = self.in_force() {
            self.leave(id).await;
            return Err(error);
        }
        self.count();
        match self.part {
            Part::Forwarder => info!(home = %name, "forwarding begins: strays of that server go to it"),
            Part::Home => info!(forwarder = %name, "forwarding begins: that server sends strays of ours"),
        }
        Ok(())
    }

    /// Takes a link, in place of the one by which this peer came before: that connection ends. What we have opened is not
    /// touched, since it would be opened again, and replace this one in turn at the peer.
    fn admit(&mut self, link: Link, prefixes: Vec<IpNet>) {
        let is_former = |other: &Link| link.theirs && other.theirs && other.name == link.name;
        if let Some(at) = self.links.iter().position(is_former) {
            let former = self.links.remove(at);
            self.side.leave(former.id);
            info!(peer = %former.name, "it has come anew: its former connection ends");
        }
        self.side.join(link.id, prefixes);
        self.links.push(link);
    }

    async fn leave(&mut self, id: LinkId) {
        let Some(at) = self.links.iter().position(|link| link.id == id) else { return };
        let peer = self.links.remove(at).name;
        self.side.leave(id);
        info!(%peer, "forwarding ends");
        self.count();
        if self.links.is_empty() {
            self.give_up().await;
        } else if let Err(error) = self.in_force() {
            warn!(%error, "the eBPF program was not told that a peer has gone");
        }
    }

    /// Tells the kernel's half what counts, and that we live. It knows our own prefixes only, as many as its table has room
    /// for: peers could name any number of parts of them, and those are for the side to tell apart.
    fn in_force(&mut self) -> Result<(), ForwardError> {
        let prefixes = agreement::concerned(&self.own, &self.side.prefixes());
        let Some(device) = &mut self.device else { return Ok(()) };
        device.program.set_prefixes(&prefixes)?;
        device.program.keep_alive(LEASE)
    }

    /// Sees to it that the program is where it was attached, and goes on.
    async fn renew(&mut self) {
        let Some(device) = &mut self.device else { return };
        let program = &mut device.program;
        if let Err(error) = program.stay_attached().and_then(|()| program.keep_alive(LEASE)) {
            warn!(%error, "the eBPF program cannot be kept in force: forwarding ends");
            self.lose().await;
        }
    }

    /// The kernel's half is lost. Without their links the connections end, and peers may come anew.
    async fn lose(&mut self) {
        self.links.drain(..).for_each(|link| self.side.leave(link.id));
        self.count();
        self.give_up().await;
    }

    async fn give_up(&mut self) {
        // Waits for the kernel to detach; and a device that is made next must find that done.
        let device = self.device.take();
        tokio::task::spawn_blocking(move || drop(device)).await.ok();
    }

    /// Carries out what was read from the TUN device, and what more there is.
    async fn carry_out(&mut self, read: std::io::Result<usize>, buffer: &mut [u8]) {
        let mut octets = match read {
            Ok(octets) => octets,
            Err(error) => {
                // Somebody has taken it away.
                warn!(%error, "the TUN device cannot be read: forwarding ends");
                return self.lose().await;
            }
        };
        for left in (0..READ_AT_ONCE).rev() {
            let packet = without_padding(&buffer[..octets]);
            let verdict = self.side.sent_by_kernel(packet, Instant::now());
            self.obey(verdict, packet.to_vec());
            if left == 0 {
                return;
            }
            let Some(next) = self.device.as_ref().and_then(|device| device.tun.read_now(buffer)) else {
                return;
            };
            octets = next;
        }
    }

    fn obey(&mut self, verdict: Verdict, packet: Vec<u8>) {
        let done = match verdict {
            Verdict::Send(to) => {
                let link = self.links.iter().find(|link| link.id == to);
                let message = match self.part {
                    Part::Forwarder => Message::Stray(packet),
                    Part::Home => Message::NotMine(packet),
                };
                let sent = link.is_some_and(|link| link.send(&message));
                if sent && self.part == Part::Forwarder {
                    self.metrics.forwarded.inc();
                }
                sent
            }
            Verdict::Inject => {
                let taken = self.device.as_ref().is_some_and(|device| device.tun.write(&packet));
                if taken && self.part == Part::Home {
                    self.metrics.received.inc();
                }
                taken
            }
            Verdict::Drop => false,
            Verdict::Ignore => true,
        };
        if !done {
            self.metrics.dropped.inc();
        }
    }

    fn count(&self) {
        let gauge = match self.part {
            Part::Forwarder => &self.metrics.homes,
            Part::Home => &self.metrics.forwarders,
        };
        gauge.set(i64::try_from(self.links.len()).unwrap_or(i64::MAX));
    }
}

async fn read(device: Option<&Device>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match device {
        Some(device) => device.tun.read(buffer).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker() -> Worker {
        Worker {
            part: Part::Home,
            neighbors: Arc::default(),
            own: Arc::default(),
            metrics: ForwardMetrics::default(),
            side: Side::new(Part::Home, Instant::now()),
            links: Vec::new(),
            device: None,
        }
    }

    fn ids(worker: &Worker) -> Vec<u64> {
        worker.links.iter().map(|link| link.id.0).collect()
    }

    #[tokio::test]
    async fn a_peer_that_comes_anew_replaces_its_former_connection_and_no_other() {
        let mut worker = worker();
        let mut come = |id, name: &str, theirs| {
            let (link, queued) = Link::new(LinkId(id), name.into(), theirs);
            worker.admit(link, vec!["198.18.0.0/24".parse().unwrap()]);
            queued
        };
        let mut first = come(1, "a", true);
        let mut others = [come(2, "b", true), come(3, "a", false)];
        assert!(!first.is_over());
        let mut second = come(4, "a", true);
        assert!(first.is_over() && !second.is_over());
        assert!(others.iter_mut().all(|other| !other.is_over()));
        let mut ours = come(5, "a", false);
        assert!(!second.is_over() && !ours.is_over() && others.iter_mut().all(|other| !other.is_over()));
        assert_eq!(ids(&worker), [2, 3, 4, 5]);
        // The connection that was replaced says at its end that it leaves, as every one does.
        worker.leave(LinkId(1)).await;
        assert_eq!(ids(&worker), [2, 3, 4, 5]);
    }

    #[test]
    fn an_uplink_is_where_a_neighbor_lies() {
        let loopback = uplinks(&[[127, 9, 9, 9].into()]).unwrap();
        assert_eq!(loopback.len(), 1);
        assert!(matches!(uplinks(&[[240, 0, 0, 1].into()]), Err(ForwardError::NoUplink)));
        assert!(matches!(uplinks(&[]), Err(ForwardError::NoUplink)));
    }

    #[tokio::test]
    async fn a_tap_that_loses_its_device_ends_every_connection() {
        let mut worker = worker();
        let (link, mut queued) = Link::new(LinkId(1), "a".into(), false);
        worker.admit(link, vec!["198.18.0.0/24".parse().unwrap()]);
        worker.carry_out(Err(std::io::ErrorKind::BrokenPipe.into()), &mut []).await;
        assert!(queued.is_over());
        assert!(worker.links.is_empty() && worker.side.prefixes().is_empty());
    }
}
