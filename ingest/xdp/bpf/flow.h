// Flows that the kernel's connection tracking knows.
#pragma once

#include "layout.h"
#include "parse.h"

// The kernel's types, as far as the program requires them.
struct nf_conn {
	long unused;
};

struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

enum { ORIGINAL, REPLY, UNKNOWN };

extern struct nf_conn *bpf_xdp_ct_lookup(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 size,
					 struct bpf_ct_opts *options, __u32 options_size) __ksym;
extern void bpf_ct_release(struct nf_conn *flow) __ksym;

// direction returns the direction of a datagram with these addresses in its flow.
static __always_inline int direction(struct xdp_md *ctx, struct bpf_sock_tuple *tuple, __u32 size)
{
	struct bpf_ct_opts options = {.netns_id = -1, .l4proto = NEXT_UDP};
	struct nf_conn *flow = bpf_xdp_ct_lookup(ctx, tuple, size, &options, sizeof(options));

	if (!flow)
		return UNKNOWN;
	bpf_ct_release(flow);
	return options.dir == REPLY ? REPLY : ORIGINAL;
}

// tracked reports whether a datagram belongs to a flow that this host began, or that
// goes through this host.
//
// A knock itself can be in the table too, if one went to a socket before: then its
// flow is not translated, and replies would have the inverse addresses. The datagrams
// of a flow that this host leads elsewhere (DNAT) come in the original direction, and
// the replies have other addresses.
static __always_inline int tracked(struct xdp_md *ctx, const struct datagram *d)
{
	struct bpf_sock_tuple tuple = {};
	int found;

	if (d->v4) {
		tuple.ipv4.saddr = d->source[3];
		tuple.ipv4.daddr = d->to.ip[3];
		tuple.ipv4.sport = d->source_port;
		tuple.ipv4.dport = d->port;
		found = direction(ctx, &tuple, sizeof(tuple.ipv4));
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, d->source, 16);
		__builtin_memcpy(tuple.ipv6.daddr, d->to.ip, 16);
		tuple.ipv6.sport = d->source_port;
		tuple.ipv6.dport = d->port;
		found = direction(ctx, &tuple, sizeof(tuple.ipv6));
	}
	if (found != ORIGINAL)
		return found == REPLY;
	if (d->v4) {
		tuple.ipv4.saddr = d->to.ip[3];
		tuple.ipv4.daddr = d->source[3];
		tuple.ipv4.sport = d->port;
		tuple.ipv4.dport = d->source_port;
		return direction(ctx, &tuple, sizeof(tuple.ipv4)) == UNKNOWN;
	}
	__builtin_memcpy(tuple.ipv6.saddr, d->to.ip, 16);
	__builtin_memcpy(tuple.ipv6.daddr, d->source, 16);
	tuple.ipv6.sport = d->port;
	tuple.ipv6.dport = d->source_port;
	return direction(ctx, &tuple, sizeof(tuple.ipv6)) == UNKNOWN;
}
