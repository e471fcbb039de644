// The program at the network driver. ../README.md has the written rule: which frame
// gets what.
//
//	parse   where the datagram is              (parse.h)
//	judge   is it for a knock port of this host, and does it break a rule?
//	        flows of the kernel                (flow.h)
//	        the rules of knocks                (rules.h)
//	        the ring                           (ring.h)
//	count   one counter a frame
//
// layout.h has the arrays.
#include "layout.h"
#include "parse.h"
#include "flow.h"
#include "rules.h"
#include "ring.h"

static __always_inline int same(const struct address *a, const struct address *b)
{
	__u32 differ = 0;

#pragma unroll
	for (int i = 0; i < 4; i++)
		differ |= a->ip[i] ^ b->ip[i];
#pragma unroll
	for (int i = 0; i < 3; i++)
		differ |= a->mac[i] ^ b->mac[i];
	return differ == 0;
}

// to_host reports whether the datagram is to an address of this host.
static __always_inline int to_host(const struct datagram *d)
{
	__u32 key = bpf_get_smp_processor_id() * FOUND + ((d->to.ip[3] >> 24) & (FOUND - 1)), set = read(host.addresses);
	struct found *f = bpf_map_lookup_elem(&found, &key);

	if (f && f->set == set && same(&f->address, &d->to))
		return 1;
	if (!bpf_map_lookup_elem(&addresses, &d->to))
		return 0;
	if (f) {
		f->address = d->to;
		f->set = set;
	}
	return 1;
}

// beats reports whether the server runs: it has written its time lately. The clock is a
// call, which costs as much as a rule. It goes on with each tick of the kernel, so each
// processor asks it once a tick. The ticks themselves are a word that is read in place.
static __always_inline int beats(const struct settings *s)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct control *c = bpf_map_lookup_elem(&control, &cpu);
	__u64 tick = bpf_jiffies64();

	if (!c)
		return 0;
	if (c->tick != tick) {
		c->tick = tick;
		c->beats = bpf_ktime_get_coarse_ns() + BEAT_AHEAD - read(s->beat) < BEAT_LIMIT + BEAT_AHEAD;
	}
	return c->beats;
}

// unusual reports whether the kernel would discard an address as a source, or read it as
// another one (::ffff:a.b.c.d), or whether it is link-local: at a port of a bond or of a
// bridge, the program does not know the interface that the kernel names with it.
static __always_inline int unusual(const struct datagram *d)
{
	if (d->v4) {
		__u8 first = bpf_ntohl(d->source[3]) >> 24;

		return first == 0 || first == 127 || first >= 224;
	}
	return bpf_ntohl(d->source[0]) >> 24 == 0xff || bpf_ntohl(d->source[0]) >> 22 == 0xfe80 >> 6 ||
	       d->source[0] == 0 && d->source[1] == 0;
}

// intact reports whether the IP header of a plain frame has the right checksum (RFC 1071),
// without which the kernel discards it. IPv6 has none.
static __always_inline int intact(struct xdp_md *ctx, int v4)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 *word = data + sizeof(struct ethernet);
	__u64 sum = 0;

	if (!v4)
		return 1;
	if (data + UDP4 > end)
		return 0;
#pragma unroll
	for (int i = 0; i < 5; i++)
		sum += word[i];
	sum = (sum >> 32) + (__u32)sum;
	sum = (sum >> 16) + (sum & 0xffff);
	sum = (sum >> 16) + (sum & 0xffff);
	return sum == 0xffff;
}

static __always_inline enum count judge(struct xdp_md *ctx, const struct settings *s, const int generic,
					const int lookup)
{
	__u32 port, key, number;
	struct datagram d = {};
	enum count broken;
	struct row *row;
	__u64 *four;

	switch (parse(ctx, &d)) {
	case NOT_UDP:
		return COUNT_OTHER;
	case UNREADABLE:
		return to_host(&d) ? COUNT_SOCKET : COUNT_OTHER;
	case UDP:
		break;
	}

	port = bpf_ntohs(d.port);
	key = port / 4;
	four = bpf_map_lookup_elem(&ports, &key);
	if (!four)
		return COUNT_OTHER;
	number = (__u16)(read(*four) >> port % 4 * 16);
	if (number == 0 || !to_host(&d))
		return COUNT_OTHER;
	row = bpf_map_lookup_elem(&rows, &number);
	if (!row)
		return COUNT_SOCKET;

	if (d.malformed || read(row->places[0]) & PLACE_SOCKET || !beats(s))
		return COUNT_SOCKET;
	if (generic && d.size > KNOCK_SIZE)
		return COUNT_SOCKET; // the kernel may have joined datagrams (GRO)
	if (d.size == 0 && s->flags & FLAG_EMPTY)
		return COUNT_EMPTY;
	if (port >= read(host.first_flow) && port <= read(host.last_flow)) {
		if (!lookup)
			return COUNT_SOCKET;
		if (tracked(ctx, &d))
			return COUNT_FLOW;
	}

	if (d.size != KNOCK_SIZE)
		return COUNT_SIZE;
	broken = check(s, row, &d.knock);
	if (broken != COUNT_RING)
		return broken;
	if (!(s->flags & FLAG_RING) || s->flags & FLAG_MIRROR || !d.plain || unusual(&d) ||
	    !intact(ctx, d.v4))
		return COUNT_SOCKET;
	return push(ctx, s, &d);
}

static __always_inline int shield(struct xdp_md *ctx, const int generic, const int lookup)
{
	__u32 zero = 0, key;
	struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	enum count n;
	__u64 *c;

	if (!s)
		return XDP_PASS;
	n = judge(ctx, s, generic, lookup);
	key = bpf_get_smp_processor_id() * COUNTER_SLOTS + n;
	c = bpf_map_lookup_elem(&counters, &key);
	if (c)
		(*c)++;
	return n <= COUNT_SOCKET || s->flags & FLAG_MIRROR ? XDP_PASS : XDP_DROP;
}

// The variants: where the driver runs the program or the kernel does, after it has made
// an skb; with and without the lookup of flows, which not every kernel grants.

SEC("xdp.frags") int native_flows(struct xdp_md *ctx) { return shield(ctx, 0, 1); }
SEC("xdp.frags") int native_ports(struct xdp_md *ctx) { return shield(ctx, 0, 0); }
SEC("xdp.frags") int generic_flows(struct xdp_md *ctx) { return shield(ctx, 1, 1); }
SEC("xdp.frags") int generic_ports(struct xdp_md *ctx) { return shield(ctx, 1, 0); }

// The kernel offers connection tracking only to programs that declare a licence
// compatible with the GPL.
char licence[] SEC("license") = "GPL";
