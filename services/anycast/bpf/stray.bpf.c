// The kernel's half of connection forwarding (src/forward/mod.rs): which TCP segments are of no connection of this
// server's?
//
//   segment ──▶ TCP, whole, for one of the prefixes, not a SYN? ──no──▶ pass: the kernel goes on as if we were not here
//                        │ yes
//                        ▼
//               has this server a socket for it (established, being established, or in TIME-WAIT)? ──yes──▶ pass
//                        │ no, or only a listener
//                        ▼
//               redirect to the TUN device, where user space reads it
//
// Attached at tc ingress in direct-action mode. Without a word from user space for some time (`alive_until`), everything
// passes: a program that outlived its process does no harm.
//
// An ACK that completes a handshake by SYN cookie looks like a stray too. It is returned as nobody's, and then handed to
// the kernel, which knows its cookies: a detour, while a SYN flood and a drain last, and no more. (The helper that knows
// cookies here is for programs under the GPL only.)
//
// Whatever it is not sure of passes: IP options are understood, IPv6 extension headers and fragments are not.

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

// The kernel's helpers, by their numbers (bpf-helpers(7)): no package is needed for them.
static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*ktime_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*load_relative)(const void *skb, __u32 offset, void *to, __u32 length,
			     __u32 from) = (void *)BPF_FUNC_skb_load_bytes_relative;
static struct bpf_sock *(*lookup_socket)(void *context, struct bpf_sock_tuple *tuple, __u32 size, __u64 netns,
					 __u64 flags) = (void *)BPF_FUNC_skc_lookup_tcp;
static long (*release_socket)(void *socket) = (void *)BPF_FUNC_sk_release;
static long (*redirect)(__u32 interface, __u64 flags) = (void *)BPF_FUNC_redirect;

#define NET_TO_HOST16(value) __builtin_bswap16(value) // BPF runs in the host's order: little-endian on what we build for
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define IPV4_FRAGMENT 0x3fff // more fragments, or not the first one
#define PREFIXES_MAX 64

// As written by src/forward/program.rs.
struct order {
	__u64 alive_until; // CLOCK_MONOTONIC, nanoseconds
	__u32 tun;	   // interface that strays are sent out of
	__u32 padding;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct order);
} orders SEC(".maps");

// IPv4 as ::ffff:a.b.c.d, so that one table holds both.
struct prefix {
	__u32 bits;
	__u8 address[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, PREFIXES_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u8);
} prefixes SEC(".maps");

struct ipv4 {
	__u8 version_length, service;
	__u16 length, id, fragment;
	__u8 ttl, protocol;
	__u16 checksum;
	__u32 source, destination;
};

struct ipv6 {
	__u32 version_class_label;
	__u16 length;
	__u8 next, hops;
	__u8 source[16], destination[16];
};

struct tcp {
	__u16 source, destination;
	__u32 sequence, acknowledgment;
	__u8 offset, flags;
	__u16 window, checksum, urgent;
};

#define SYN 0x02

// Whether this server has a socket, more than a listener, that the segment belongs to.
static __attribute__((always_inline)) int belongs_here(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
						       __u32 tuple_size)
{
	struct bpf_sock *socket = lookup_socket(skb, tuple, tuple_size, BPF_F_CURRENT_NETNS, 0);
	int here;

	if (!socket)
		return 0;
	here = socket->state != BPF_TCP_LISTEN;
	release_socket(socket);
	return here;
}

SEC("classifier")
int proxima_stray(struct __sk_buff *skb)
{
	__u32 zero = 0, tcp_at;
	struct order *order = map_lookup(&orders, &zero);
	struct prefix prefix = { .bits = 128 };
	struct bpf_sock_tuple tuple = {};
	struct tcp tcp;
	union {
		struct ipv4 v4;
		struct ipv6 v6;
	} ip;
	int here;

	if (!order || order->alive_until < ktime_ns())
		return TC_ACT_UNSPEC;
	if (skb->protocol == NET_TO_HOST16(ETHERTYPE_IPV4)) {
		if (load_relative(skb, 0, &ip.v4, sizeof(ip.v4), BPF_HDR_START_NET))
			return TC_ACT_UNSPEC;
		tcp_at = (ip.v4.version_length & 15) * 4;
		if (ip.v4.protocol != IPPROTO_TCP || (ip.v4.fragment & NET_TO_HOST16(IPV4_FRAGMENT)) || tcp_at < sizeof(ip.v4))
			return TC_ACT_UNSPEC;
		prefix.address[10] = prefix.address[11] = 0xff;
		__builtin_memcpy(&prefix.address[12], &ip.v4.destination, 4);
	} else if (skb->protocol == NET_TO_HOST16(ETHERTYPE_IPV6)) {
		if (load_relative(skb, 0, &ip.v6, sizeof(ip.v6), BPF_HDR_START_NET) || ip.v6.next != IPPROTO_TCP)
			return TC_ACT_UNSPEC;
		tcp_at = sizeof(ip.v6);
		__builtin_memcpy(prefix.address, ip.v6.destination, 16);
	} else {
		return TC_ACT_UNSPEC;
	}
	if (!map_lookup(&prefixes, &prefix))
		return TC_ACT_UNSPEC;
	if (load_relative(skb, tcp_at, &tcp, sizeof(tcp), BPF_HDR_START_NET) || (tcp.flags & SYN))
		return TC_ACT_UNSPEC;
	if (skb->protocol == NET_TO_HOST16(ETHERTYPE_IPV4)) {
		tuple.ipv4.saddr = ip.v4.source;
		tuple.ipv4.daddr = ip.v4.destination;
		tuple.ipv4.sport = tcp.source;
		tuple.ipv4.dport = tcp.destination;
		here = belongs_here(skb, &tuple, sizeof(tuple.ipv4));
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, ip.v6.source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, ip.v6.destination, 16);
		tuple.ipv6.sport = tcp.source;
		tuple.ipv6.dport = tcp.destination;
		here = belongs_here(skb, &tuple, sizeof(tuple.ipv6));
	}
	return here ? TC_ACT_UNSPEC : redirect(order->tun, 0);
}

// No helper above asks for the GPL.
char _license[] SEC("license") = "Apache-2.0";
